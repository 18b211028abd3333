"""What a descent is worth: errors after every step, distributions, basins, tables and plots."""
