"""What a caller gives as arrays of any kind, as tensors by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor

from ..data.samples import Batch, as_samples
from ..errors import DescentError, ShapeError

Array: TypeAlias = Any
"""A tensor, a numpy array, or numbers that make one."""

Data: TypeAlias = Any
"""What the samples differ in: an array ``(B, ...)``, a tuple of arrays, arrays by name, or
``None``."""

ResidualFunction: TypeAlias = Callable[..., Tensor]
"""The residuals ``(m,)`` of one sample: a function of ``x (p,)`` and of the data of the sample,
``(...)``, as they were given: an array, a tuple or by name; of ``x`` alone where there are none."""


class Arguments(NamedTuple):
    """The data of a batch.

    Attributes:
        batch: the arrays by name, ``(B, ...)`` each.
        given: makes of one sample by name what the function takes after ``x``.
        tensors: whether any of them came as a tensor.
    """

    batch: dict[str, Tensor]
    given: Callable[[Batch], tuple[Any, ...]]
    tensors: bool


def as_arguments(data: Data) -> Arguments:
    """The data as tensors by name.

    Raises:
        DescentError: if they are no numbers, or the arrays hold different numbers of samples.

    Example:
        >>> batch, given, _ = as_arguments((np.zeros((3, 2)), np.ones(3)))
        >>> {name: tuple(value.shape) for name, value in batch.items()}
        {'data[0]': (3, 2), 'data[1]': (3,)}
    """
    if data is None:
        return Arguments({}, _alone, False)
    if isinstance(data, Mapping):
        named: Mapping[str, Any] = data
        given = _by_name
    elif isinstance(data, tuple):
        named = {f"data[{place}]": value for place, value in enumerate(data)}
        given = _as_tuple
    else:
        named = {"data": data}
        given = _alone
    tensors = any(isinstance(value, Tensor) for value in named.values())
    return Arguments(_checked(named), given, tensors)


def _by_name(sample: Batch) -> tuple[Any, ...]:
    return (sample,)


def _as_tuple(sample: Batch) -> tuple[Any, ...]:
    return (tuple(sample.values()),)


def _alone(sample: Batch) -> tuple[Any, ...]:
    return tuple(sample.values())


def as_tensor(value: Array, name: str) -> Tensor:
    """One array as a tensor, of whatever shape.

    Raises:
        DescentError: if it is no array of numbers.
    """
    if isinstance(value, Tensor):
        return value.detach()
    try:
        return torch.from_numpy(np.array(value))  # a copy, which may be written to
    except (TypeError, ValueError) as error:
        raise DescentError(
            f"{name}: expected an array of numbers, got {value!r}: {error}"
        ) from error


def kind_of(values: Iterable[Tensor], *, tensors: bool) -> torch.dtype:
    """The precision to compute in: the widest one among the values, single or double. Where all are
    whole numbers it is that of PyTorch, or double where none came as a tensor.
    """
    floats = [value.dtype for value in values if value.is_floating_point()]
    if floats:
        return reduce(torch.promote_types, floats, torch.float32)
    return torch.get_default_dtype() if tensors else torch.float64


def _checked(data: Mapping[str, Any]) -> dict[str, Tensor]:
    batch = {name: value.detach() for name, value in cast(Batch, as_samples(data, "data")).items()}
    if len({len(value) for value in batch.values()}) > 1:
        shapes = {name: tuple(value.shape) for name, value in batch.items()}
        raise ShapeError(
            f"data: expected the same number of samples in every array, got the shapes {shapes}: "
            "what all samples share is best a variable of the function itself"
        )
    return batch
