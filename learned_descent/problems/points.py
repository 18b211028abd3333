"""Sets of points in space."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from ..errors import DescentError

_COLLINEAR = 1e-5
_WIDE = 10.0  # focal lengths off the axis, 84 degrees


def as_points(points: Any) -> Tensor:
    """Points that a user gives, lists of numbers or an array, in single precision.

    Raises:
        DescentError: if they are not made of numbers.
    """
    try:
        return torch.as_tensor(np.asarray(points, dtype=np.float32)).clone()
    except (TypeError, ValueError) as error:
        raise DescentError(
            f"points: expected numbers of shape (N, 3), got {type(points).__name__}: {error}"
        ) from error


def cube(count: int, num_points: int, generator: Generator) -> Float[Tensor, "B N 3"]:
    """Points anywhere in the cube of -1..1: their size is 1."""
    return 2 * torch.rand(count, num_points, 3, generator=generator, device=generator.device) - 1


def collinear(points: Float[Tensor, "B N 3"]) -> Bool[Tensor, " B"]:
    """Whether the points of a sample lie on a line, or are not finite."""
    return on_a_line(points - points.mean(1, keepdim=True))


def on_a_line(centred: Float[Tensor, "B N 3"]) -> Bool[Tensor, " B"]:
    """Whether points around their mean lie on a line, or are not finite: the minors of their
    scatter vanish.

    Eigenvalues would say the same, but a GPU is asked whether they were found, and stalls.

    Example:
        >>> line = torch.tensor([[[-1.0, -2.0, 0.5], [0.0, 0.0, 0.0], [1.0, 2.0, -0.5]]])
        >>> on_a_line(line), on_a_line(line + torch.eye(3))
        (tensor([True]), tensor([False]))
    """
    scatter = centred.mT @ centred
    trace = scatter.diagonal(dim1=1, dim2=2).sum(1)
    return ~(trace.square() - scatter.square().sum((1, 2)) > _COLLINEAR * trace.square())


def undetermined(
    projections: Float[Tensor, "B N 2"],
    front: Bool[Tensor, "B 1 N"],
    line: Bool[Tensor, " B"] | None,
) -> dict[str, Bool[Tensor, " B"]]:
    """Why points do not determine a pose, in words, and for which samples.

    Args:
        projections: where they are seen, in focal lengths.
        front: which of them lie in front of the camera.
        line: whether they lie on a line, where that is a matter of the sample.
    """
    away = projections.abs().amax(2).median(1).values
    units = "the projections lie far outside the image: they are in focal lengths, not px"
    found = {units: away > _WIDE}
    if line is not None:
        found["the points lie on a line"] = line
    return {**found, "fewer than three points lie in front of the camera": front.sum((1, 2)) < 3}
