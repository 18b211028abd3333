"""Images under a blur, and how much of a template it leaves to compare."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import DescentError

REACH = 3
"""Standard deviations up to which a blur reaches."""

LEAST = 0.2
"""The least share of a side of a template that is compared."""


def smoothed(images: Float[Tensor, "B 1 H W"], sigma: float) -> Float[Tensor, "B 1 H W"]:
    """Images under a Gaussian of ``sigma`` px; beyond the border go on the values of the border."""
    down, across = (
        _smoothing(length, sigma, images.device).to(images) for length in images.shape[2:]
    )
    # One product a side: on a CPU faster than convolutions of a single channel
    smooth: Tensor = down @ images @ across.T
    return smooth


def _smoothing(length: int, sigma: float, device: torch.device) -> Float[Tensor, "L L"]:
    """The matrix that takes ``length`` values to their means under a Gaussian."""
    reach = math.ceil(REACH * sigma)
    ticks = torch.arange(-reach, reach + 1, dtype=torch.float64, device=device)
    weights = (-0.5 * (ticks / sigma).square()).softmax(0).expand(length, -1)
    taken = (torch.arange(length, device=device)[:, None] + ticks.long()).clamp(0, length - 1)
    return torch.zeros(length, length, dtype=torch.float64, device=device).scatter_add(
        1, taken, weights
    )


def pool_of(side: int, grid: int) -> int:
    """The pixels of an image that become one: about two are left along a spacing of the grid."""
    return max(1, side // (2 * grid))


def inner_share(side: int, grid: int, sigma: float) -> float:
    """The share of a side that a grid may have, so that none of its points sees beyond the
    template.

    Args:
        side: the side of the template, in px.
        grid: points along it.
        sigma: the standard deviation of the blur, in px after pooling.
    """
    if sigma == 0:
        return 1.0
    # A point between pixels sees one more
    border = pool_of(side, grid) * (math.ceil(REACH * sigma) + 1)
    return min(1.0, (1 - 2 * border / (side - 1)) * grid / (grid - 1))


def widest_blur(side: int, grid: int) -> float:
    """The widest blur, in spacings of the grid, that leaves enough of a template by itself."""
    pool = pool_of(side, grid)
    reach = math.floor((side - 1) * (1 - LEAST * (grid - 1) / grid) / (2 * pool)) - 1
    return max(0.0, reach / REACH) * grid * pool / side


def check_blur(side: int, grid: int, blur: float) -> None:
    """Refuses a blur that is wider than :func:`widest_blur`."""
    widest = widest_blur(side, grid)
    if blur > widest:
        raise DescentError(
            f"blur: expected at most {widest:.3g} spacings of a grid of {grid} points, got {blur}: "
            "nothing is known of what lies around a template, and a wider blur leaves too little "
            "that is out of its reach; lower it or raise grid"
        )
