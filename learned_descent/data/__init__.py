"""Samples on their way to a model: what a user gives, batches of it, and pictures from files."""

from .batches import (
    RandomBatches,
    batches,
    check_finite,
    check_images,
    fingerprint,
    floating,
    index,
    mix,
    num_samples,
    to_device,
    training_batches,
)
from .samples import Batch, Parted, Samples, Split
from .shards import Shards, write_shards

__all__ = [
    "Batch",
    "Parted",
    "RandomBatches",
    "Samples",
    "Shards",
    "Split",
    "batches",
    "check_finite",
    "check_images",
    "fingerprint",
    "floating",
    "index",
    "mix",
    "num_samples",
    "to_device",
    "training_batches",
    "write_shards",
]
