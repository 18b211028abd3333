"""What a GPU makes of the library: one command of at most eight minutes, ``benchmarks/gpu.sh``, for
a card that is lent."""
