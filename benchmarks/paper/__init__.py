"""The experiments of the paper and those that its readers ask for: ``python -m
benchmarks.paper.NAME --data DIR``."""
