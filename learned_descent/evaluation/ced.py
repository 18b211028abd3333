"""The cumulative error distribution, the area under it, and the failure rate."""

from __future__ import annotations

import math
from numbers import Real

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DescentError, check_shape


def ced(errors: Float[Tensor, " N"], thresholds: Float[Tensor, " M"]) -> Float[Tensor, " M"]:
    """The cumulative error distribution: the share of errors at or below each threshold, in 0..1.

    Args:
        errors: errors of the samples, ``(N,)``; those that are not finite are above every
            threshold.
        thresholds: in the unit of the errors, in any order, ``(M,)``.

    Returns:
        Shares in float64, ``(M,)``.

    Raises:
        DescentError: if there are no errors.

    References:
        C. Sagonas, E. Antonakos, G. Tzimiropoulos, S. Zafeiriou and M. Pantic. 300 faces
        in-the-wild challenge: database and results. Image and Vision Computing 2016.

    Example:
        >>> ced(torch.tensor([0.25, 0.5, 1.0, torch.nan]), torch.tensor([0.0, 0.5, 2.0]))
        tensor([0.0000, 0.5000, 0.7500], dtype=torch.float64)
    """
    check_shape(thresholds, "M", name="thresholds")
    ascending = ordered(errors)
    below = torch.searchsorted(ascending, thresholds.to(ascending).contiguous(), right=True)
    finite = ascending.isfinite().sum()
    return below.clamp(max=finite).double() / len(ascending)


def auc(errors: Float[Tensor, " N"], threshold: float) -> float:
    """The area under the cumulative error distribution from 0 to ``threshold``, over ``threshold``:
    1 is perfect.

    It is exact for the empirical distribution, whose integral has a closed form: ``mean(max(0,
    threshold - e)) / threshold``.

    Args:
        errors: errors of the samples, ``(N,)``; those that are not finite count as failures.
        threshold: the error at which the integral ends, in the unit of the errors.

    Raises:
        DescentError: if there are no errors, or if the threshold is not a positive finite number.

    References:
        G. Trigeorgis, P. Snape, M. Nicolaou, E. Antonakos and S. Zafeiriou. Mnemonic descent
        method: a recurrent process applied for end-to-end face alignment. CVPR 2016.

    Example:
        >>> auc(torch.tensor([0.0, 0.5, 1.0, 8.0]), threshold=1.0)
        0.375
    """
    check_threshold(threshold)
    return float((threshold - ordered(errors)).clamp(min=0).mean() / threshold)


def failure_rate(errors: Float[Tensor, " N"], threshold: float) -> float:
    """The share of errors above ``threshold``, in 0..1.

    Args:
        errors: errors of the samples, ``(N,)``; those that are not finite count as failures.
        threshold: the largest error that is no failure, in the unit of the errors.

    Raises:
        DescentError: if there are no errors, or if the threshold is not a positive finite number.

    Example:
        >>> failure_rate(torch.tensor([0.0, 0.5, 1.0, 8.0]), threshold=0.5)
        0.5
    """
    check_threshold(threshold)
    return float((ordered(errors) > threshold).double().mean())


def ordered(errors: Tensor) -> Tensor:
    """The errors in ascending order, in float64; what is not finite is infinite."""
    check_shape(errors, "N", name="errors")
    if len(errors) == 0:
        raise DescentError("errors: expected at least one, got none")
    return errors.double().nan_to_num(nan=math.inf, posinf=math.inf, neginf=math.inf).sort().values


def check_threshold(threshold: float, name: str = "threshold") -> None:
    """Refuses a threshold that is not a positive finite number."""
    if not (isinstance(threshold, Real) and 0 < threshold < math.inf):
        raise DescentError(f"{name}: expected a positive finite number, got {threshold!r}")
