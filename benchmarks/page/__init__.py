"""One page of the library beside its peers: ``python -m benchmarks.page``."""
