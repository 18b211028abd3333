"""Grey values, and how they are compared whatever the light."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...kernels import Kernel, Squares

_FLAT = 1.0
"""Grey levels: with a smaller standard deviation there is nothing to align by."""

_ROUNDS, _LEAST, _GAIN = 3, 1e-3, 3.0
"""Rounds of re-weighting for a gain, the weight in it of points that disagree, and the largest
gain."""


def standardised(values: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
    """Grey values with mean 0 and variance 1; NaN where there is no contrast."""
    centred = values - values.mean(1, keepdim=True)
    variance = centred.square().mean(1, keepdim=True)
    return centred / variance.where(variance >= _FLAT**2, torch.nan).sqrt()


def standardised_slope(
    values: Float[Tensor, "B N"], slope: Float[Tensor, "B N d"]
) -> Float[Tensor, "B N d"]:
    """The derivative of :func:`standardised` where that of the values is ``slope``."""
    unit = standardised(values).unsqueeze(2)
    slope = slope - slope.mean(1, keepdim=True) - unit * (unit * slope).mean(1, keepdim=True)
    return slope / values.std(1, correction=0)[:, None, None]


def matched(
    seen: Float[Tensor, "B N"], template: Float[Tensor, "T N"], kernel: Kernel
) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B 1"]]:
    """What is seen minus the template, and the gain that the former got.

    Under a robust kernel gain and bias are those under which the points that agree have the mean
    and the variance of the template's: those of all points are wrong where something hides a part.
    Under squares there are none.
    """
    residual, gain = seen - template, torch.ones_like(seen[:, :1])
    for _ in range(0 if isinstance(kernel, Squares) else _ROUNDS):
        weights = kernel.weights(residual) + _LEAST
        weights = weights / weights.sum(1, keepdim=True)
        image, known = (
            values - (weights * values).sum(1, keepdim=True) for values in (seen, template)
        )
        spreads = [(weights * values.square()).sum(1, keepdim=True) for values in (image, known)]
        gain = (spreads[1] / spreads[0]).sqrt().clamp(1 / _GAIN, _GAIN)
        residual = gain * image - known
    return residual, gain


def without_contrast(
    template: Float[Tensor, "T N"], seen: Float[Tensor, "B N"]
) -> dict[str, Bool[Tensor, " B"]]:
    """Why there is nothing to compare, in words, and for which samples.

    Args:
        template: standardised grey values, NaN where there is no contrast.
        seen: those of the image.
    """
    blank = ~template.isfinite().all(1)
    return {
        "the template has no contrast": blank.expand(len(seen)),
        "the image has no contrast where the template is laid": ~seen.isfinite().all(1),
    }
