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
    jacobian: Float[Tensor, "B R d"],
    weights: Float[Tensor, "*K B R"],
    residual: Float[Tensor, "B R"],
) -> tuple[Float[Tensor, "*K B d d"], Float[Tensor, "*K B d"]]:
    """``J^T W J`` and ``J^T W r``, summed in float64; under several weights at once, if there are.

    A product of two numbers in float32 is exact in float64. Summed in float32, directions that
    change the residuals less than the others by a factor of ``eps^(1/2)`` would drown in rounding;
    so they do by a factor of ``eps`` only.
    """
    root = weights.sqrt()  # so that the matrix is exactly symmetric
    slopes = (jacobian * root.unsqueeze(-1)).double()
    pull = (root * residual).double().unsqueeze(-2)
    return slopes.mT @ slopes, (pull @ slopes).squeeze(-2)


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


def bounded_step(
    hessian: Float[Tensor, "B d d"],
    gradient: Float[Tensor, "B d"],
    damping: Float[Tensor, " B"],
    room: tuple[Float[Tensor, "B d"], Float[Tensor, "B d"]],
    scale: Float[Tensor, "B d"] | None = None,
) -> tuple[Float[Tensor, "B d"], Float[Tensor, " B"], Float[Tensor, "B d"]]:
    """The damped step of every sample that is best within bounds, the lower bound of
    :func:`damped_step` along what no bound holds, and the gradient there that the bounds hold up.

    Block principal pivoting: coordinates that leave their bounds are held there, held ones that are
    drawn inwards are let go, until all is consistent. After some rounds only the last of them
    changes (Murty's rule), which cannot go round in circles. Where the rounds run out, there is no
    step.

    Args:
        hessian: the matrix of the normal equations.
        gradient: their right side, but for the sign.
        damping: the multiple of ``scale``.
        room: how far the step may go along each coordinate, down and up.
        scale: positive; by default :func:`scale_of` the matrix.

    References:
        K. Murty. Note on a Bard-type scheme for solving the complementarity problem. Opsearch 11,
        1974.
        J. Kim and H. Park. Fast nonnegative matrix factorization: an active-set-like method and
        comparisons. SIAM J. Sci. Comput. 33, 2011, section 3 (the rounds).

    Example:
        >>> gradient = torch.tensor([[-2.0, -2.0]])
        >>> room = (torch.full((1, 2), -9.0), torch.tensor([[0.5, 9.0]]))
        >>> bounded_step(torch.eye(2)[None], gradient, torch.zeros(1), room)[0]
        tensor([[0.5000, 2.0000]])
    """
    down, up = room
    scale = scale_of(hessian) if scale is None else scale
    size = hessian.shape[1]
    matrix = hessian + torch.diag_embed(damping.unsqueeze(1) * scale)
    low = (down >= 0) & (gradient > 0)
    high = (up <= 0) & (gradient < 0)
    for turn in range(6 * size + 4):
        held = low | high
        edge = down.where(low, up.where(high, 0))
        pull = (gradient + _times(matrix, edge)).where(~held, 0)
        free = ~(held.unsqueeze(2) | held.unsqueeze(1))
        reduced = hessian.where(free, 0) + torch.diag_embed(scale.where(held, 0))
        step, least = damped_step(reduced, pull, damping, scale)
        step = edge.where(held, step)
        push = (gradient + _times(matrix, step)).where(held, 0)
        rounding = 64 * torch.finfo(matrix.dtype).eps * _times(matrix.abs(), step.abs())
        drawn = (low & (push < -rounding)) | (high & (push > rounding))
        below, above = ~held & (step < down), ~held & (step > up)
        wrong = drawn | below | above
        if not bool(wrong.any()):
            break
        if turn >= size + 4:
            wrong = wrong & (wrong.flip(1).cumsum(1).flip(1) == 1)
        low = (low & ~wrong) | (below & wrong)
        high = (high & ~wrong) | (above & wrong)
    solved = (least > 0) & ~wrong.any(1)
    return step.where(solved.unsqueeze(1), 0), least.where(solved, 0), push


def _times(matrix: Float[Tensor, "B d d"], vector: Float[Tensor, "B d"]) -> Float[Tensor, "B d"]:
    return (matrix @ vector.unsqueeze(2)).squeeze(2)


def all_finite(value: Float[Tensor, "B n"]) -> Bool[Tensor, " B"]:
    """Whether all numbers of a row are finite: zero times anything else is not zero."""
    return (0 * value).sum(1) == 0
