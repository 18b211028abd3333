"""The command line ``learned-descent``: one module a command, and what they share."""
