"""What a user gives as samples, made into tensors: the one place that knows numpy, lists and
rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from ..errors import DescentError, ShapeError

Batch: TypeAlias = Mapping[str, Tensor]
"""Samples by name; the first axis of every tensor counts the samples."""

Split: TypeAlias = Literal["train", "val", "test"]

Samples: TypeAlias = Mapping[str, Any] | Dataset[Any] | Sequence[Mapping[str, Any]]
"""One batch of all samples by name, ``(N, ...)`` each, or a data set of single samples: tensors,
arrays or numbers."""


Rows: TypeAlias = Dataset[Any] | Sequence[Mapping[str, Any]]
"""Single samples, which are read one by one."""


class Parted(Dataset[Mapping[str, Tensor]], ABC):
    """Single samples in parts, which need not all be on one machine.

    Random batches hold as many samples of each part, whatever the number of ranks; of ranks whose
    number divides that of the parts, each reads its own ones alone.
    """

    @abstractmethod
    def parts(self) -> Sequence[range]:
        """The places of the samples of each part."""

    @abstractmethod
    def check_here(self, parts: Iterable[int]) -> None:
        """Refuses parts that this machine does not have.

        Raises:
            DescentError: if there are any.
        """

    @abstractmethod
    def first(self) -> int:
        """The place of the first sample that this machine has."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A digest of all samples, also of those that are elsewhere."""

    def __len__(self) -> int:
        return sum(map(len, self.parts()))


def as_samples(samples: object, name: str = "samples") -> Batch | Rows:
    """Samples, checked: a batch becomes one of tensors, a data set stays; its rows are made into
    tensors when they are read.

    Args:
        samples: what a user gave.
        name: what a message calls it.

    Raises:
        DescentError: if it is neither, or does not consist of numbers.

    Example:
        >>> as_samples({"y": np.zeros((3, 2), np.float32)})["y"].shape
        torch.Size([3, 2])
    """
    if isinstance(samples, Mapping):
        return {str(key): _all(value, f"{name}: {key!r}") for key, value in samples.items()}
    if isinstance(samples, DataLoader):
        raise DescentError(
            f"{name}: expected samples, got a DataLoader: give its data set, loader.dataset; "
            "batches are drawn here"
        )
    rows = isinstance(samples, (list, tuple)) and all(
        isinstance(row, Mapping) for row in samples[:1]
    )
    if rows or (
        isinstance(samples, Dataset)
        and isinstance(samples, Sized)
        and not isinstance(samples, IterableDataset)
    ):
        return cast(Rows, samples)
    raise DescentError(
        f"{name}: expected a batch (a dict of tensors or arrays (N, ...)) or a data set of dicts "
        f"with a length, got {_kind(samples)}"
    )


def check_tensors(batch: object) -> None:
    """Refuses what is no batch of tensors; it asks the device for nothing.

    Raises:
        DescentError: if it is none.
    """
    if not isinstance(batch, Mapping):
        raise DescentError(f"batch: expected tensors by name (a dict), got {_kind(batch)}")
    for name, value in batch.items():
        if not isinstance(value, Tensor) or value.ndim == 0:
            raise DescentError(
                f"batch: expected a tensor (B, ...) as {name!r}, got {_kind(value)}: make it one"
            )


def collated(rows: Sequence[object], positions: Sequence[int]) -> dict[str, Tensor]:
    """Single samples as a batch.

    Args:
        rows: tensors, arrays or numbers by name.
        positions: the numbers of the samples, for messages.

    Raises:
        DescentError: if a row is no mapping, or the rows differ in their names or shapes.

    Example:
        >>> collated([{"y": [1.0, 2.0], "k": 3}, {"y": np.ones(2), "k": 4}], [0, 1])["k"]
        tensor([3, 4])
    """
    for row, position in zip(rows, positions):
        if not isinstance(row, Mapping):
            raise DescentError(
                f"sample {position}: expected tensors by name (a dict), got {_kind(row)}"
            )
        if set(row) != set(cast(Batch, rows[0])):
            raise DescentError(
                f"samples {positions[0]} and {position}: expected the same names, got "
                f"{sorted(cast(Batch, rows[0]))} and {sorted(row)}"
            )
    first = cast(Mapping[str, Any], rows[0])
    return {
        name: _stacked([cast(Batch, row)[name] for row in rows], positions, name) for name in first
    }


def floating_type(tensors: Iterable[Tensor]) -> torch.dtype | None:
    """The floating-point type of the first tensor that has one."""
    return next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), None)


def _stacked(values: Sequence[object], positions: Sequence[int], name: str) -> Tensor:
    made = [
        _tensor(value, f"sample {position}: {name!r}") for value, position in zip(values, positions)
    ]
    for value, position in zip(made, positions):
        if value.shape != made[0].shape:
            raise ShapeError(
                f"samples {positions[0]} and {position}: expected {name!r} of one shape, got "
                f"{tuple(made[0].shape)} and {tuple(value.shape)}: crop or pad them to one size"
            )
    return torch.stack(made)


def _all(value: object, name: str) -> Tensor:
    """A tensor of all samples."""
    tensor = _tensor(value, name)
    if tensor.ndim == 0:
        raise ShapeError(
            f"{name}: expected (N, ...), an entry per sample, got the single number {tensor.item()}"
        )
    return tensor


def _tensor(value: object, name: str) -> Tensor:
    if isinstance(value, Tensor):
        return value
    try:
        if isinstance(value, (list, tuple)) and value and isinstance(value[0], Tensor):
            return torch.stack(list(value))
        if isinstance(value, (list, tuple)) and value and isinstance(value[0], np.ndarray):
            value = np.stack(value)
        if isinstance(value, np.ndarray):
            value = np.require(value, requirements=["C", "W"])
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DescentError(
            f"{name}: expected a tensor, or numbers that make one, got {_kind(value)}: {error}"
        ) from error


def _kind(value: object) -> str:
    shape = f" {tuple(value.shape)}" if isinstance(value, (Tensor, np.ndarray)) else ""
    return f"{type(value).__name__}{shape}"
