"""The machine below: memory, precision, progress, locks, and modules that a user names."""
