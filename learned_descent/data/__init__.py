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
from .samples import Batch, Samples, Split

__all__ = [
    "Batch",
    "RandomBatches",
    "Samples",
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
]
