"""Small symmetric systems, one per sample: what Gauss-Newton steps are made of."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def scale_of(hessian: Float[Tensor, "B d d"]) -> Float[Tensor, "B d"]:
    """The diagonal, kept above what rounding leaves of a column that vanishes; ones where all of it
    vanishes.
    """
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    largest = diagonal.amax(1, keepdim=True)
    return diagonal.clamp(
        min=torch.where(largest > 0, torch.finfo(hessian.dtype).eps ** 2 * largest, 1)
    )


def normal_equations(
    jacobian: Float[Tensor, "B R d"], weights: Float[Tensor, "B R"], residual: Float[Tensor, "B R"]
) -> tuple[Float[Tensor, "B d d"], Float[Tensor, "B d"]]:
    """``J^T W J`` and ``J^T W r``, summed in float64.

    A product of two numbers in float32 is exact in float64. Summed in float32, directions that
    change the residuals less than the others by a factor of ``eps^(1/2)`` would drown in rounding;
    so they do by a factor of ``eps`` only.
    """
    root = weights.sqrt()  # so that the matrix is exactly symmetric
    slopes = (jacobian * root.unsqueeze(2)).double()
    pull = (root * residual).double().unsqueeze(1)
    return slopes.mT @ slopes, (pull @ slopes).squeeze(1)


def damped_step(
    hessian: Float[Tensor, "B d d"],
    gradient: Float[Tensor, "B d"],
    damping: Float[Tensor, " B"],
    scale: Float[Tensor, "B d"] | None = None,
) -> tuple[Float[Tensor, "B d"], Float[Tensor, " B"]]:
    """The step of every sample, damped by a multiple of ``scale``, and a lower bound of the
    eigenvalues of its matrix.

    Both are zero where there is no step. The matrix is the one whose diagonal is scaled to ``1 +
    damping``, or less where ``scale`` is larger than the diagonal; the bound ``1 / trace(A^-1)`` is
    at most ``d`` times too small.

    Args:
        hessian: the matrix of the normal equations.
        gradient: their right side, but for the sign.
        damping: the multiple.
        scale: positive; by default :func:`scale_of` the matrix.
    """
    root = (scale_of(hessian) if scale is None else scale).rsqrt()
    matrix = hessian * (root.unsqueeze(2) * root.unsqueeze(1))
    matrix.diagonal(dim1=1, dim2=2).add_(damping.unsqueeze(1))
    right = root * gradient
    factor, info = torch.linalg.cholesky_ex(matrix)
    solved = (info == 0) & all_finite(matrix.flatten(1)) & all_finite(right)
    identity = torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)
    factor = torch.where(solved[:, None, None], factor, identity)
    inverse = torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False)
    least = inverse.square().sum((1, 2)).reciprocal()
    step = -root * (inverse.mT @ (inverse @ right.unsqueeze(2))).squeeze(2)
    return step.where(solved.unsqueeze(1), 0), least.where(solved, 0)


def all_finite(value: Float[Tensor, "B n"]) -> Bool[Tensor, " B"]:
    """Whether all numbers of a row are finite: zero times anything else is not zero."""
    return (0 * value).sum(1) == 0
