"""Learned descent against classical solvers, problem by problem: ``python -m
benchmarks.problems.NAME``."""

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    # Before anything that computes is imported: one thread for every method
    os.environ.setdefault(_name, "1")
