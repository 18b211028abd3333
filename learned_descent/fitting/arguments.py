"""What a caller gives as arrays of any kind, as tensors by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..data.samples import Batch, as_samples
from ..errors import DescentError, ShapeError, check_shape

Array: TypeAlias = Any
"""A tensor, a numpy array, or numbers that make one."""

Data: TypeAlias = Any
"""What the samples differ in: an array ``(B, ...)``, a tuple of arrays, arrays by name, or
``None``."""

ResidualFunction: TypeAlias = Callable[..., Tensor]
"""The residuals ``(m,)`` of one sample: a function of ``x (p,)`` and of the data of the sample,
``(...)``, as they were given: an array, a tuple or by name; of ``x`` alone where there are none."""


Form: TypeAlias = Literal["alone", "tuple", "names"]
"""How the data came: as one array or none, as a tuple, or by name."""


START_KEY = "(start)"
"""The start in a batch, ``(B, p)``; brackets, for these are names that no caller gives."""

ROOTS_KEY = "(weights)"
"""The roots of the weights in a batch, ``(B, m)``, unless all are 1; a residual of weight 0 does
not count, whatever it is."""

TRUTH_KEY = "(truth)"
"""The true parameters in a batch, ``(B, p)``."""


class Arguments(NamedTuple):
    """The data of a batch.

    Attributes:
        batch: the arrays by name, ``(B, ...)`` each.
        form: how they came, and how the function gets them.
        tensors: whether any of them came as a tensor.
    """

    batch: dict[str, Tensor]
    form: Form
    tensors: bool


def as_arguments(data: Data) -> Arguments:
    """The data as tensors by name.

    Raises:
        DescentError: if they are no numbers, or the arrays hold different numbers of samples.

    Example:
        >>> batch, form, _ = as_arguments((np.zeros((3, 2)), np.ones(3)))
        >>> form, {name: tuple(value.shape) for name, value in batch.items()}
        ('tuple', {'data[0]': (3, 2), 'data[1]': (3,)})
    """
    if data is None:
        return Arguments({}, "alone", False)
    form: Form = "alone"
    named: Mapping[str, Any] = {"data": data}
    if isinstance(data, Mapping):
        named, form = data, "names"
    elif isinstance(data, tuple):
        named, form = {f"data[{place}]": value for place, value in enumerate(data)}, "tuple"
    tensors = any(isinstance(value, Tensor) for value in named.values())
    return Arguments(_checked(named), form, tensors)


def as_given(sample: Batch, form: Form) -> tuple[Any, ...]:
    """What the function takes after ``x``, of one sample by name.

    Example:
        >>> as_given({"data[0]": torch.ones(1), "data[1]": torch.zeros(1)}, "tuple")
        ((tensor([1.]), tensor([0.])),)
    """
    if form == "names":
        return (sample,)
    values = tuple(sample.values())
    return (values,) if form == "tuple" else values


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


def roots_of(
    weights: Tensor | None, mask: Array | None, ones: Float[Tensor, "B m"]
) -> Float[Tensor, "B m"]:
    """The roots of the weights; 0 where a residual does not count.

    Raises:
        DescentError: if they are none, or a sample has no residual that counts.
    """
    roots = ones
    sizes = dict(zip("Bm", ones.shape))
    if weights is not None:
        check_shape(weights, "m" if weights.ndim == 1 else "B m", sizes, name="weights")
        if not bool(((weights >= 0) & weights.isfinite()).all()):
            raise DescentError("weights: expected finite numbers >= 0, such as 1 / sigma**2")
        roots = roots * weights.sqrt()
    if mask is not None:
        counts = as_tensor(mask, "mask").to(ones.device)
        check_shape(counts, "m" if counts.ndim == 1 else "B m", sizes, name="mask")
        if counts.dtype != torch.bool:
            raise DescentError(
                f"mask: expected true for the residuals that count, got {counts.dtype}: give "
                "weights, or mask.astype(bool)"
            )
        roots = roots * counts
    empty = (roots == 0).all(1).nonzero().flatten().tolist()
    if empty:
        raise DescentError(
            f"mask, weights: expected a residual that counts in every sample, got none in "
            f"{len(empty)} of them, the first one sample {empty[0]}: leave these out"
        )
    return roots


def _checked(data: Mapping[str, Any]) -> dict[str, Tensor]:
    batch = {name: value.detach() for name, value in cast(Batch, as_samples(data, "data")).items()}
    if len({len(value) for value in batch.values()}) > 1:
        shapes = {name: tuple(value.shape) for name, value in batch.items()}
        raise ShapeError(
            f"data: expected the same number of samples in every array, got the shapes {shapes}: "
            "what all samples share is best a variable of the function itself"
        )
    return batch
