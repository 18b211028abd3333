"""Small symmetric systems, one per sample: what Gauss-Newton steps are made of."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def scale_of(hessian: Float[Tensor, "B d d"]) -> Float[Tensor, "B d"]:
    """The diagonal, kept above what rounding leaves of a column that vanishes; ones where all of it vanishes."""
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    largest = diagonal.amax(1, keepdim=True)
    return diagonal.clamp(min=torch.where(largest > 0, torch.finfo(hessian.dtype).eps ** 2 * largest, 1))


def damped_step(
    hessian: Float[Tensor, "B d d"],
    gradient: Float[Tensor, "B d"],
    damping: Float[Tensor, " B"],
    scale: Float[Tensor, "B d"] | None = None,
) -> tuple[Float[Tensor, "B d"], Bool[Tensor, " B"]]:
    """The step of every sample, damped by a multiple of ``scale``, and whether there is one; zero where there is none.

    Args:
        hessian: the matrix of the normal equations.
        gradient: their right side, but for the sign.
        damping: the multiple.
        scale: positive; by default :func:`scale_of` the matrix.
    """
    root = (scale_of(hessian) if scale is None else scale).rsqrt()
    matrix = root.unsqueeze(2) * hessian * root.unsqueeze(1)
    right = root * gradient
    valid = matrix.flatten(1).isfinite().all(1) & right.isfinite().all(1)
    identity = torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)
    matrix = torch.where(valid[:, None, None], matrix + damping[:, None, None] * identity, identity)
    factor, info = torch.linalg.cholesky_ex(matrix)
    solved = valid & (info == 0)
    factor = torch.where(solved[:, None, None], factor, identity)
    right = torch.where(solved.unsqueeze(1), right, 0)
    return -root * torch.cholesky_solve(right.unsqueeze(2), factor).squeeze(2), solved
