"""Samples on their way to a model: on the device where they fit, through a ``DataLoader`` where
they do not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence, Sized
from itertools import count as counted
from typing import Any, cast, final

import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ..errors import DescentError, calling, check_levels, check_shape
from .samples import Batch, Parted, Rows, as_samples, collated
from .samples import Samples as Samples


def num_samples(samples: Samples) -> int:
    """The number ``N`` of samples.

    Raises:
        DescentError: if there is none, if the tensors of a batch disagree, or if it is neither a
            batch nor a data set.
    """
    samples = as_samples(samples)
    if not isinstance(samples, Mapping):
        count = len(cast(Sized, samples))
    else:
        sizes = {name: len(value) for name, value in samples.items()}
        if len(set(sizes.values())) > 1:
            raise DescentError(
                f"samples: expected the same number of samples in every tensor, got {sizes}"
            )
        count = next(iter(sizes.values()), 0)
    if count == 0:
        raise DescentError("samples: expected at least one sample, got none")
    return count


def to_device(
    samples: Samples, device: torch.device | str, dtype: torch.dtype | None = None
) -> Samples:
    """A batch moved to ``device``; a data set is left as it is, for its batches are moved one by
    one.

    Args:
        samples: the samples.
        device: where they go.
        dtype: the floating-point type that they get; ``None`` for their own.
    """
    if not isinstance(samples, Mapping):
        return samples
    tensors = cast(Batch, as_samples(samples))
    kinds = {name: dtype if value.is_floating_point() else None for name, value in tensors.items()}
    return {
        name: value.to(device=device, dtype=kinds[name], non_blocking=True)
        for name, value in tensors.items()
    }


def index(batch: Batch, indices: Tensor | slice) -> Batch:
    """The samples ``indices`` of a batch.

    Example:
        >>> index({"y": torch.arange(4)}, torch.tensor([2, 0]))
        {'y': tensor([2, 0])}
    """
    return {
        name: value[indices.to(value.device) if isinstance(indices, Tensor) else indices]
        for name, value in batch.items()
    }


def batches(
    samples: Samples,
    batch_size: int,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    rank: int = 0,
    world: int = 1,
) -> Iterator[Batch]:
    """Every ``world``-th batch of consecutive samples, beginning with batch ``rank``, as
    :func:`to_device` moves it; batches of several parts take turns.
    """
    for _, batch in placed_batches(
        samples, batch_size, device=device, dtype=dtype, rank=rank, world=world
    ):
        yield batch


def placed_batches(
    samples: Samples,
    batch_size: int,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    rank: int = 0,
    world: int = 1,
) -> Iterator[tuple[range, Batch]]:
    """The batches of :func:`batches`, each after the places of its samples among all."""
    samples = as_samples(samples)
    parts = _parts(samples, rank, world)
    for number in counted():
        left = [part[number * batch_size : (number + 1) * batch_size] for part in parts]
        if not any(left):
            return
        for part, places in enumerate(left):
            if places and (number * len(parts) + part) % world == rank:
                yield places, cast(Batch, to_device(_read(samples, places), device, dtype))


def first_samples(
    samples: Samples,
    count: int,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> Batch:
    """The first samples that this machine has, as many as there are up to ``count``, as
    :func:`to_device` moves them.

    Example:
        >>> first_samples({"y": torch.arange(4)}, 2)
        {'y': tensor([0, 1])}
    """
    samples = as_samples(samples)
    places = range(num_samples(samples))
    if isinstance(samples, Parted):
        first = samples.first()
        places = next(part for part in samples.parts() if first in part)
    return cast(Batch, to_device(_read(samples, places[:count]), device, dtype))


def _read(samples: Batch | Rows, places: range) -> Batch:
    """Consecutive samples."""
    if isinstance(samples, Mapping):
        return index(samples, slice(places.start, places.stop))
    rows = _Numbered(samples)
    return _collated([rows[place] for place in places])


def _parts(samples: Batch | Rows, rank: int, world: int) -> Sequence[range]:
    """The places of the samples of each part, of which those of this rank have to be here."""
    if not isinstance(samples, Parted):
        return [range(num_samples(samples))]
    parts = samples.parts()
    own = range(rank, len(parts), world) if len(parts) % world == 0 else range(len(parts))
    samples.check_here(own)
    return parts


@final
class _Numbered(Dataset[tuple[int, Any]]):
    """The samples of a data set, each with its number."""

    def __init__(self, samples: Rows) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(cast(Sized, self.samples))

    def __getitem__(self, position: int) -> tuple[int, Any]:
        with calling(f"sample {position}: reading it"):
            return position, self.samples[position]


def _collated(numbered: Sequence[tuple[int, Any]]) -> Batch:
    return collated([row for _, row in numbered], [position for position, _ in numbered])


def fingerprint(samples: Samples) -> str:
    """A digest of the content of all samples: results with equal fingerprints were measured on
    equal data.

    Example:
        >>> fingerprint({"y": torch.zeros(3)}) == fingerprint({"y": torch.zeros(3)})
        True
    """
    if isinstance(samples, Parted):
        return samples.fingerprint()
    digest = hashlib.sha256()
    for batch in batches(samples, 1024):
        for name in sorted(batch):
            value = batch[name].detach().cpu().contiguous()
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


class RandomBatches(Sampler[list[int]]):
    """The indices of the training batches ``start`` to ``stop``: every epoch is a permutation drawn
    from ``(seed, epoch)``.

    The batch of an iteration depends on nothing but the seed, so a resumed training sees the
    batches that an uninterrupted one would have seen. Data-parallel ranks take turns within each
    batch. Of several parts a batch holds as many samples of each, in turns too: of the larger ones
    an epoch leaves some out.

    Args:
        samples: the samples, or their number ``N``.
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

    def __init__(
        self,
        samples: Samples | int,
        batch_size: int,
        *,
        seed: int,
        start: int,
        stop: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if isinstance(samples, int):
            self.parts: Sequence[range] = [range(samples)]
        else:
            self.parts = _parts(as_samples(samples), rank, world)
        self.each = min(map(len, self.parts))
        self.count = self.each * len(self.parts)
        self.batch_size, self.seed = min(batch_size, self.count), seed
        self.start, self.stop, self.rank, self.world = start, stop, rank, world
        if self.batch_size < world:
            raise DescentError(
                f"batch_size: expected at least one sample for each of the {world} ranks, got "
                f"{self.batch_size}"
            )
        if self.batch_size % len(self.parts):
            raise DescentError(
                f"batch_size: expected as many samples of each of the {len(self.parts)} parts, "
                f"got {self.batch_size}, which they do not divide"
            )

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def __iter__(self) -> Iterator[list[int]]:
        per_epoch = self.count // self.batch_size
        epoch, order = -1, torch.empty(0, dtype=torch.long)
        for iteration in range(self.start, self.stop):
            if iteration // per_epoch != epoch:
                epoch = iteration // per_epoch
                order = self._order(epoch)
            first = iteration % per_epoch * self.batch_size
            yield order[first + self.rank : first + self.batch_size : self.world].tolist()

    def _order(self, epoch: int) -> Tensor:
        """The places of an epoch, of one part after the other."""
        if len(self.parts) == 1:
            return torch.randperm(
                self.count, generator=Generator().manual_seed(mix(self.seed, epoch))
            )
        columns = []
        for number, part in enumerate(self.parts):
            draw = Generator().manual_seed(mix(self.seed, epoch, number))
            columns.append(part.start + torch.randperm(len(part), generator=draw)[: self.each])
        return torch.stack(columns, 1).flatten()


def training_batches(
    samples: Samples, sampler: RandomBatches, device: torch.device, dtype: torch.dtype | None = None
) -> Iterator[tuple[list[int], Batch]]:
    """The indices and the samples of each batch of ``sampler``, as :func:`to_device` moves it.

    A batch of all samples is moved to the device once and indexed there; a data set is read by a
    ``DataLoader``.
    """
    samples = as_samples(samples)
    if isinstance(samples, Mapping):
        resident = cast(Batch, to_device(samples, device, dtype))
        for indices in sampler:
            yield indices, index(resident, torch.tensor(indices).to(device, non_blocking=True))
    else:
        pinned = device.type == "cuda"
        loader = DataLoader(
            _Numbered(samples), batch_sampler=sampler, collate_fn=_collated, pin_memory=pinned
        )
        for indices, batch in zip(sampler, loader):
            yield indices, cast(Batch, to_device(batch, device, dtype))


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
        bad = ~value.isfinite().reshape(len(value), -1).all(1)
        if bad.any():
            which = [indices[row] for row in bad.nonzero().flatten().tolist()]
            raise DescentError(
                f"samples {which[:10]}: expected finite numbers in {name!r}, got NaN or infinity; "
                "remove or mend them"
            )


def check_images(names: Collection[str], samples: Samples) -> None:
    """Refuses samples whose images are in 0..1: once, where they come in, for a device is waited
    for.

    Raises:
        DescentError: if an image, one of ``names``, is (see ``check_levels``); of a data set only
            the first sample is read.
    """
    samples = as_samples(samples)
    batch = samples if isinstance(samples, Mapping) else first_samples(samples, 1)
    for name in sorted(batch.keys() & names):
        check_levels(batch[name], name, wait=True)
