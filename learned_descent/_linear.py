"""Small symmetric systems, one per sample: what Gauss-Newton steps are made of."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def scale_of(hessian: Float[Tensor, "B d d"]) -> Float[Tensor, "B d"]:
    """The diagonal, kept above the rounding of its largest entry."""
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    floor = torch.finfo(hessian.dtype).eps * diagonal.amax(1, keepdim=True)
    return diagonal.clamp(min=floor.where(floor > 0, torch.ones_like(floor)))


def damped_step(hessian: Tensor, gradient: Tensor, damping: Float[Tensor, " B"]) -> tuple[Float[Tensor, "B d"], Tensor]:
    """The damped step of every sample, and whether there is one: columns are scaled to length 1 first."""
    scale = scale_of(hessian).rsqrt()
    matrix = scale.unsqueeze(2) * hessian * scale.unsqueeze(1)
    valid = matrix.flatten(1).isfinite().all(1) & gradient.isfinite().all(1)
    identity = torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)
    matrix = torch.where(valid[:, None, None], matrix + damping[:, None, None] * identity, identity)
    factor, info = torch.linalg.cholesky_ex(matrix)
    solved = valid & (info == 0)
    factor = torch.where(solved[:, None, None], factor, identity)
    right = torch.where(solved.unsqueeze(1), -scale * gradient, 0)
    return scale * torch.cholesky_solve(right.unsqueeze(2), factor).squeeze(2), solved
