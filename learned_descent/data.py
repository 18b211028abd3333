"""Samples on their way to a model: on the device where they fit, through a ``DataLoader`` where they do not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sized
from typing import TypeAlias, cast

import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ._check import DescentError, check_levels, check_shape
from .model import DescentModel
from .problem import Batch

Samples: TypeAlias = Batch | Dataset[dict[str, Tensor]]
"""One batch of all samples (kept on the device), or a data set of single samples (read by a ``DataLoader``)."""


def num_samples(samples: Samples) -> int:
    """The number ``N`` of samples.

    Raises:
        DescentError: if there is none, or if the tensors of a batch disagree.
    """
    if not isinstance(samples, Mapping):
        count = len(cast(Sized, samples))
    else:
        sizes = {name: len(value) for name, value in samples.items()}
        if len(set(sizes.values())) > 1:
            raise DescentError(f"samples: expected the same number of samples in every tensor, got {sizes}")
        count = next(iter(sizes.values()), 0)
    if count == 0:
        raise DescentError("samples: expected at least one sample, got none")
    return count


def to_device(samples: Samples, device: torch.device | str) -> Samples:
    """A batch moved to ``device``; a data set is left as it is, for its batches are moved one by one."""
    if isinstance(samples, Mapping):
        return {name: value.to(device, non_blocking=True) for name, value in samples.items()}
    return samples


def index(batch: Batch, indices: Tensor | slice) -> Batch:
    """The samples ``indices`` of a batch.

    Example:
        >>> index({"y": torch.arange(4)}, torch.tensor([2, 0]))
        {'y': tensor([2, 0])}
    """
    return {name: value[indices.to(value.device) if isinstance(indices, Tensor) else indices] for name, value in batch.items()}


def batches(
    samples: Samples, batch_size: int, *, device: torch.device | str = "cpu", rank: int = 0, world: int = 1
) -> Iterator[Batch]:
    """Every ``world``-th batch of consecutive samples, beginning with batch ``rank``, on ``device``."""
    starts = range(rank * batch_size, num_samples(samples), world * batch_size)
    for start in starts:
        if isinstance(samples, Mapping):
            chosen: Batch = index(samples, slice(start, start + batch_size))
        else:
            stop = min(start + batch_size, num_samples(samples))
            rows = [samples[position] for position in range(start, stop)]
            chosen = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        yield cast(Batch, to_device(chosen, device))


def fingerprint(samples: Samples) -> str:
    """A digest of the content of all samples: results with equal fingerprints were measured on equal data.

    Example:
        >>> fingerprint({"y": torch.zeros(3)}) == fingerprint({"y": torch.zeros(3)})
        True
    """
    digest = hashlib.sha256()
    for batch in batches(samples, 1024):
        for name in sorted(batch):
            value = batch[name].detach().cpu().contiguous()
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


class RandomBatches(Sampler[list[int]]):
    """The indices of the training batches ``start`` to ``stop``: every epoch is a permutation drawn from ``(seed, epoch)``.

    The batch of an iteration depends on nothing but the seed, so a resumed training sees the batches that an uninterrupted
    one would have seen. Data-parallel ranks take turns within each batch.

    Args:
        count: the number ``N`` of samples.
        batch_size: samples per batch over all ranks; at most ``N`` are used.
        seed: the seed of the permutations.
        start: the first iteration.
        stop: one past the last iteration.
        rank: this rank.
        world: the number of ranks.

    Example:
        >>> [sorted(batch) for batch in RandomBatches(4, 4, seed=0, start=0, stop=2)]
        [[0, 1, 2, 3], [0, 1, 2, 3]]
    """

    def __init__(self, count: int, batch_size: int, *, seed: int, start: int, stop: int, rank: int = 0, world: int = 1) -> None:
        self.count, self.batch_size, self.seed = count, min(batch_size, count), seed
        self.start, self.stop, self.rank, self.world = start, stop, rank, world
        if self.batch_size < world:
            raise DescentError(f"batch_size: expected at least one sample for each of the {world} ranks, got {self.batch_size}")

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def __iter__(self) -> Iterator[list[int]]:
        per_epoch = self.count // self.batch_size
        epoch, order = -1, torch.empty(0, dtype=torch.long)
        for iteration in range(self.start, self.stop):
            if iteration // per_epoch != epoch:
                epoch = iteration // per_epoch
                order = torch.randperm(self.count, generator=Generator().manual_seed(mix(self.seed, epoch)))
            first = iteration % per_epoch * self.batch_size
            yield order[first + self.rank : first + self.batch_size : self.world].tolist()


def training_batches(
    samples: Samples, sampler: RandomBatches, device: torch.device, num_workers: int = 0
) -> Iterator[tuple[list[int], Batch]]:
    """The indices and the samples of each batch of ``sampler``, on ``device``.

    A batch of all samples is moved to the device once and indexed there; a data set is read by a ``DataLoader``.
    """
    if isinstance(samples, Mapping):
        resident = cast(Batch, to_device(samples, device))
        for indices in sampler:
            yield indices, index(resident, torch.tensor(indices, device=device))
    else:
        loader = DataLoader(samples, batch_sampler=sampler, num_workers=num_workers, pin_memory=device.type == "cuda")
        for indices, batch in zip(sampler, loader):
            yield indices, cast(Batch, to_device(batch, device))


def mix(*numbers: int) -> int:
    """One seed of 63 bits from several numbers, well mixed."""
    digest = hashlib.blake2b(",".join(map(str, numbers)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def floating(batch: Batch) -> Batch:
    """The tensors of a batch that a gradient or a NaN could touch."""
    return {name: value for name, value in batch.items() if value.is_floating_point()}


def check_finite(batch: Batch, indices: list[int]) -> None:
    """Names the samples of a batch that hold NaN or infinity.

    Args:
        batch: the samples.
        indices: their positions in the whole set, for the message.

    Raises:
        DescentError: if there are any.
    """
    for name, value in floating(batch).items():
        check_shape(value, "B ...", name=name)
        bad = ~value.isfinite().flatten(1).all(1)
        if bad.any():
            which = [indices[row] for row in bad.nonzero().flatten().tolist()]
            raise DescentError(
                f"samples {which[:10]}: expected finite numbers in {name!r}, got NaN or infinity; remove or mend them"
            )


def check_images(model: DescentModel, samples: Samples) -> None:
    """Refuses samples whose images are in 0..1: once, where they come in, for a device is waited for.

    Raises:
        DescentError: if an image that the model or its problem looks at is (see ``check_levels``); of a data set only
            the first sample is read.
    """
    batch = samples if isinstance(samples, Mapping) else samples[0]
    for name in sorted(model.images & batch.keys()):
        if isinstance(batch[name], Tensor):
            check_levels(batch[name], name, wait=True)
