"""Similarities of shapes, and what the training boxes say of them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def fit_similarity(
    source: Float[Tensor, "L 2"], target: Float[Tensor, "B L 2"]
) -> Float[Tensor, "B 4"]:
    """The similarities that carry ``source`` nearest to each target, in the sense of least squares.

    Args:
        source: a shape centred at the origin.
        target: shapes.

    Returns:
        Log of the scale, angle in rad (from columns to rows), and shift ``(column, row)``, per
        target.

    References:
        S. Umeyama. Least-squares estimation of transformation parameters between two point
        patterns. PAMI 1991.

    Example:
        >>> square = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
        >>> fit_similarity(square, 2 * square[None] + 3)[0, 2:]
        tensor([3., 3.])
    """
    shift = target.mean(1)
    centred = target - shift.unsqueeze(1)
    along = (centred * source).sum((1, 2))
    across = (source[:, 0] * centred[..., 1] - source[:, 1] * centred[..., 0]).sum(1)
    log_scale = (along.square() + across.square()).sqrt().log() - source.square().sum().log()
    return torch.cat([torch.stack([log_scale, torch.atan2(across, along)], 1), shift], 1)


def apply_similarity(
    similarity: Float[Tensor, "B 4"], shape: Float[Tensor, "L 2"]
) -> Float[Tensor, "B L 2"]:
    """A shape moved by each similarity (log of the scale, angle in rad, shift).

    Example:
        >>> apply_similarity(torch.tensor([[0.0, torch.pi / 2, 1.0, 0.0]]), torch.tensor([[1.0,
        ...     0.0]])).round()
        tensor([[[1., 1.]]])
    """
    log_scale, angle, shift = similarity[:, 0], similarity[:, 1], similarity[:, 2:]
    a, b = log_scale.exp() * angle.cos(), log_scale.exp() * angle.sin()
    rotation = torch.stack([torch.stack([a, b], 1), torch.stack([-b, a], 1)], 1)
    return shape @ rotation + shift.unsqueeze(1)
