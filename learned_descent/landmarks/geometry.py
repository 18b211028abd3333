"""Similarities of shapes, and what the training boxes say of them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

PRIOR = 1e-3
"""What a point of the mean shape weighs beside a known one: where few points are known, a shape is
neither turned nor scaled without need."""

_MOST_ROUNDS = 100
"""Of completing shapes by their mean; a round brings it nearer by the share of known points."""


def fit_similarity(
    source: Float[Tensor, "L 2"],
    target: Float[Tensor, "B L 2"],
    weights: Float[Tensor, "B L"] | None = None,
) -> Float[Tensor, "B 4"]:
    """The similarities that carry ``source`` nearest to each target, in the sense of least squares.

    Args:
        source: a shape, centred at the origin unless there are weights.
        target: shapes.
        weights: how much each point counts; at least two of each shape, at different places.

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
    if len(source) == 1:  # has neither a size nor a direction
        return torch.cat([torch.zeros_like(target[:, 0]), target[:, 0]], 1)
    if weights is not None:
        return _fit_weighted(source, target, weights.unsqueeze(2))
    shift = target.mean(1)
    centred = target - shift.unsqueeze(1)
    along = (centred * source).sum((1, 2))
    across = (source[:, 0] * centred[..., 1] - source[:, 1] * centred[..., 0]).sum(1)
    log_scale = (along.square() + across.square()).sqrt().log() - source.square().sum().log()
    return torch.cat([torch.stack([log_scale, torch.atan2(across, along)], 1), shift], 1)


def _fit_weighted(source: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """The same, by weights ``(B, L, 1)``: the middles are weighted means, one pair for each
    shape.
    """
    total = weights.sum(1, keepdim=True)
    middle = (weights * source).sum(1, keepdim=True) / total
    shift = (weights * target).sum(1, keepdim=True) / total
    there, here = weights * (target - shift), source - middle
    size = (weights * here.square()).sum((1, 2))
    along = (there * here).sum((1, 2)) / size
    across = (here[..., 0] * there[..., 1] - here[..., 1] * there[..., 0]).sum(1) / size
    turned = torch.stack([along, across, -across, along], 1).unflatten(1, (2, 2))
    log_scale = (along.square() + across.square()).log() / 2
    parts = torch.stack([log_scale, torch.atan2(across, along)], 1)
    return torch.cat([parts, (shift - middle @ turned).squeeze(1)], 1)


def completed(
    shapes: Float[Tensor, "B L 2"], weights: Float[Tensor, "B L"], mean: Float[Tensor, "L 2"]
) -> Float[Tensor, "B L 2"]:
    """Shapes with their missing points where a similarity of the mean shape has them: the one that
    is nearest to the known points.

    Args:
        shapes: in the frame of the mean shape.
        weights: 0 where a point is missing, up to 1; between, a point is drawn to the mean shape.
        mean: the mean shape.

    Example:
        >>> mean = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
        >>> shape, weights = 1 + mean.unsqueeze(0), torch.ones(1, 4)
        >>> shape[0, 2], weights[0, 2] = -9.0, 0.0
        >>> completed(shape, weights, mean)[0, 2]
        tensor([2., 2.])
    """
    known = weights.unsqueeze(2)
    away = torch.where(known > 0, shapes - mean, 0)
    shift = (known * away).sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp(min=PRIOR)
    near = mean + torch.where(known > 0, away, shift)
    predicted = apply_similarity(fit_similarity(mean, near, weights + PRIOR), mean)
    return torch.where(known > 0, torch.lerp(predicted, shapes, known), predicted)


def mean_shape(
    shapes: Float[Tensor, "N L 2"], weights: Float[Tensor, "N L"] | None = None
) -> Float[Tensor, "L 2"]:
    """The mean of shapes of which some points are missing: each is completed by the mean itself.

    Args:
        shapes: in one frame, such as that of their boxes.
        weights: how much each point counts, 0 where it is missing; each counts somewhere.

    References:
        J. C. Gower. Generalized Procrustes analysis. Psychometrika 40, 1975.

    Example:
        >>> mean_shape(torch.tensor([[[0.0, 0.0], [2.0, 0.0]], [[0.0, 2.0], [2.0, 2.0]]]))
        tensor([[0., 1.],
                [2., 1.]])
    """
    if weights is None:
        return shapes.mean(0)
    known = weights.unsqueeze(2)
    mean = (known * shapes).sum(0) / known.sum(0)
    for _ in range(_MOST_ROUNDS):
        before, mean = mean, completed(shapes, weights, mean).mean(0)
        if (mean - before).abs().max() <= 1e-6 * mean.abs().max():
            break
    return mean


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


def boxes_around(
    landmarks: Float[Tensor, "B L 2"], mean_shape: Float[Tensor, "L 2"]
) -> tuple[Float[Tensor, "B 4"], Float[Tensor, " B"]]:
    """The boxes that hold landmarks as those of training do: where the mean shape is carried
    nearest to the landmarks, its box comes along.

    Args:
        landmarks: ``(column, row)`` in px.
        mean_shape: from the centre of its box, over the longer side.

    Returns:
        ``x0 y0 x1 y1`` in px of the boxes as they are before they are turned about their centres,
        and by how much they are, in rad from columns to rows.

    Example:
        >>> mean = torch.tensor([[-0.5, 0.0], [0.5, 0.0], [0.0, 0.5]])
        >>> boxes, angles = boxes_around(20 * mean[None] + 100, mean)
        >>> boxes, angles
        (tensor([[ 90.,  90., 110., 110.]]), tensor([0.]))
    """
    middle = mean_shape.mean(0)
    carried = fit_similarity(mean_shape - middle, landmarks)
    centre = apply_similarity(carried, -middle.unsqueeze(0))[:, 0]
    half = carried[:, :1].exp() / 2
    return torch.cat([centre - half, centre + half], 1), carried[:, 1]
