"""Several fits of one object: where they agree, and how well."""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

from ..errors import DescentError
from ..model import DescentModel
from ..system.precision import multiplies_bfloat16
from .crops import apply_affine, sampling_grid
from .geometry import fit_similarity
from .problem import Landmarks

VIEWS = ((0.0, 1.0), (12.0, 1.08), (-12.0, 1.08), (0.0, 1.08))
"""How a crop is looked at: turned by so many degrees, and enlarged. Chosen on held-out faces."""

ROLLS = (0.0, 60.0, 120.0, 180.0, 240.0, 300.0)
"""Degrees by which a crop is turned where nothing is known of how its object lies."""

_SMOOTHER = 1.04
"""How much larger than their mean shape objects are on the mean: its points are means, and reach
less far. By held-out faces."""


def landmarks_of(model: DescentModel) -> Landmarks:
    """The problem of a model of landmarks that is ready for use.

    Raises:
        DescentError: if the problem is another one, its mean shape was never learnt, or a weight is
            not finite.
    """
    problem = model.problem
    if not isinstance(problem, Landmarks):
        raise DescentError(
            f"model: expected one of landmarks, got one of the problem {type(problem).__name__}"
        )
    if not problem.mean_shape.isfinite().all():
        raise DescentError("model: its mean shape is not known; train it, or load trained weights")
    bad = [name for name, value in model.state_dict().items() if not value.isfinite().all()]
    if bad:
        raise DescentError(
            f"model: {bad[0]} holds NaN or infinity ({len(bad)} of {len(model.state_dict())} "
            "tensors do); train it again, or load other weights"
        )
    return problem


@torch.inference_mode()
def fit_once(
    model: DescentModel, images: Shaped[Tensor, "B 3 S S"], *, batch_size: int = 16
) -> Float[Tensor, "B L 2"]:
    """One fit of each object, from the crop as it is: the quickest.

    Args:
        model: a model of landmarks.
        images: as for :func:`fit_often`.
        batch_size: objects at once.

    Raises:
        DescentError: if a fit is not finite.
    """
    start = _start(cast(Landmarks, model.problem), images.device)
    chunks = images.split(batch_size)
    return _checked(torch.cat([_found(model, chunk, start) for chunk in chunks]), model)


@torch.inference_mode()
def fit_often(
    model: DescentModel, images: Shaped[Tensor, "B 3 S S"], *, views: int, batch_size: int = 16
) -> Float[Tensor, "B K L 2"]:
    """Fits of each object from several starts: in turned and enlarged copies of its crop, and in
    their mirror images.

    A first fit, from the crop as it is and its mirror image, says where the object lies; the copies
    are then cut around it, as if the box had been drawn well. On held-out faces that saves most of
    those in badly placed boxes, and those in good ones lose nothing to speak of. The start lies on
    each copy where it lies on the crop, so on another part of the face; and no two copies have the
    same features.

    Args:
        model: a model of landmarks.
        images: crops, in which the box has the centre and the side that the problem gives it.
        views: the number of copies that are looked at, from 1 to 4.
        batch_size: objects at once.

    Returns:
        ``K = 2 views`` fits per object, in px of its crop; those in the mirror images come last.
        Half of them where the schema has no ``mirror_pairs``.

    Raises:
        DescentError: if a fit is not finite.
    """
    problem = cast(Landmarks, model.problem)
    start = _start(problem, images.device)
    fits = []
    for chunk in images.split(batch_size):
        first, _ = agree(torch.stack(_fits(model, chunk, start), 1))
        back = _onto(problem.points(start), first)
        centred = _seen(chunk, back)
        seen = (_view(centred, *view) for view in VIEWS[:views])  # one at a time
        pairs = [
            [apply_affine(way, points) for points in _fits(model, copies, start)]
            for copies, way in seen
        ]
        fits.append(
            torch.stack([apply_affine(back, points) for side in zip(*pairs) for points in side], 1)
        )
    return _checked(torch.cat(fits), model)


@torch.inference_mode()
def fit_anew(
    model: DescentModel, images: Shaped[Tensor, "B 3 S S"], *, views: int, batch_size: int = 16
) -> list[Float[Tensor, "B K L 2"]]:
    """Fits of objects that may lie at any angle, or in colours that the model never saw.

    Two fits of each grey copy, turned by one of :data:`ROLLS`, say how the object lies: it is the
    turn in which the two agree best. Around that fit the crop is turned
    upright, and fitted by :func:`fit_often`, in its colours and in grey. Grey is the brightest
    channel: where pictures are in shades of one colour, a mean would be dark.

    Args:
        model: a model of landmarks.
        images: as for :func:`fit_often`.
        views: as for :func:`fit_often`.
        batch_size: objects at once.

    Returns:
        The fits in colours and those in grey, in px of the crops.
    """
    problem = cast(Landmarks, model.problem)
    start = _start(problem, images.device)
    mean = problem.mean_shape - problem.mean_shape.mean(0)
    ways, turned = [], []
    for chunk in images.split(batch_size):
        grey = _grey(chunk)
        pairs = [_fitted_twice(model, grey, roll, start) for roll in ROLLS]
        points, spread = (torch.stack(parts, 1) for parts in zip(*pairs))
        best = points[torch.arange(len(chunk), device=points.device), spread.argmin(1)]
        way = _turns(fit_similarity(mean, best)[:, 1], (problem.crop - 1) / 2)
        ways.append(way)
        turned.append(_seen(chunk, way))
    back, upright = torch.cat(ways), torch.cat(turned)
    found = [
        fit_often(model, copies, views=views, batch_size=batch_size)
        for copies in (upright, _grey(upright))
    ]
    return [apply_affine(back, fits.flatten(1, 2)).view_as(fits) for fits in found]


def look_again(
    model: DescentModel,
    images: Shaped[Tensor, "B 3 S S"],
    first: tuple[Float[Tensor, "B L 2"], Float[Tensor, "B L"]],
    *,
    views: int,
) -> tuple[Float[Tensor, "B L 2"], Float[Tensor, "B L"]]:
    """Of what was found first, and of the fits of :func:`fit_anew`, those that agree best.

    Args:
        model: a model of landmarks.
        images: as for :func:`fit_often`.
        first: points and spread of each object, see :func:`agree`.
        views: as for :func:`fit_often`.
    """
    points, spread = first
    for found, apart in map(agree, fit_anew(model, images, views=views)):
        better = apart.mean(1) < spread.mean(1)
        points = torch.where(better[:, None, None], found, points)
        spread = torch.where(better[:, None], apart, spread)
    return points, spread


def _grey(images: Shaped[Tensor, "B 3 S S"]) -> Shaped[Tensor, "B 3 S S"]:
    return images.amax(1, keepdim=True).expand_as(images)


def _checked(fits: Tensor, model: DescentModel) -> Tensor:
    """Fits that are finite.

    Raises:
        DescentError: if one is not.
    """
    bad = (~fits.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
    if bad:
        raise DescentError(
            f"{cast(Landmarks, model.problem).noun} {bad[0]}: the fit is not finite; train the "
            "model again, or load other weights"
        )
    return fits


def _start(problem: Landmarks, device: torch.device) -> Float[Tensor, "1 p"]:
    """The mean shape in the box that every crop has."""
    middle, half = (problem.crop - 1) / 2, problem.box_side / 2
    box = torch.tensor([[middle - half] * 2 + [middle + half] * 2], device=device)
    return problem.initial({"box": box})


def _fitted_twice(
    model: DescentModel, images: Tensor, degrees: float, start: Tensor
) -> tuple[Float[Tensor, "B L 2"], Float[Tensor, " B"]]:
    """What two fits of turned images agree on, in px of the images, and their mean spread: of each
    copy and its mirror image, or of a larger copy where there is none.
    """
    mirrored = cast(Landmarks, model.problem).schema.mirror is not None
    views = [_view(images, degrees, factor) for factor in ((1.0,) if mirrored else (1.0, 1.08))]
    points, spread = agree(
        torch.stack(
            [apply_affine(way, fit) for copy, way in views for fit in _fits(model, copy, start)], 1
        )
    )
    return points, spread.mean(1)


def _fits(model: DescentModel, images: Tensor, start: Tensor) -> list[Float[Tensor, "B L 2"]]:
    """The landmarks found in images and, where they have mirror images, in those, in px of the
    former.
    """
    problem = cast(Landmarks, model.problem)
    seen = [images] if problem.schema.mirror is None else [images, images.flip(-1)]
    there, *others = _found(model, torch.cat(seen), start).split(len(images))
    fits = [there]
    for other in others:
        back = other[:, problem.mirror_points]
        fits.append(torch.stack([problem.crop - 1 - back[..., 0], back[..., 1]], -1))
    return fits


def _found(model: DescentModel, images: Tensor, start: Tensor) -> Float[Tensor, "B L 2"]:
    """What the model finds in images, in their px."""
    quick = model.observation.coarse and images.device.type == "cpu" and multiplies_bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=quick):
        prepared = model.observation.prepare({"image": images})
    seen = {name: value.to(start.dtype) for name, value in prepared.items() if name != "image"}
    found = model.descend({**seen, "image": images}, start.expand(len(images), -1)).final
    return cast(Landmarks, model.problem).points(found)


def _view(
    images: Shaped[Tensor, "B 3 S S"], degrees: float, factor: float
) -> tuple[Tensor, Float[Tensor, "B 2 3"]]:
    """Turned and enlarged copies, and the affine map from their px to those of the images."""
    angle = torch.tensor([math.radians(degrees)], device=images.device)
    back = _turns(angle, (images.shape[-1] - 1) / 2, factor).expand(len(images), 2, 3)
    return (images if (degrees, factor) == VIEWS[0] else _seen(images, back)), back


def _turns(
    angle: Float[Tensor, " B"], middle: float, factor: float = 1.0
) -> Float[Tensor, "B 2 3"]:
    """The affine maps that turn about a middle by angles in rad, and shrink by a factor."""
    cos, sin = angle.cos() / factor, angle.sin() / factor
    turn = torch.stack([cos, -sin, sin, cos], 1).unflatten(1, (2, 2))
    return torch.cat([turn, middle * (1 - turn.sum(2, keepdim=True))], 2)


def _onto(start: Float[Tensor, "1 L 2"], points: Float[Tensor, "B L 2"]) -> Float[Tensor, "B 2 3"]:
    """What carries the box around a start onto those around landmarks, without a turn; to at most
    twice or half its size.
    """
    (low, high), (lowest, highest) = ((found.amin(1), found.amax(1)) for found in (start, points))
    factor = ((highest - lowest).amax(1) / (_SMOOTHER * (high - low).amax(1))).clamp(0.5, 2.0)[
        :, None, None
    ]
    shift = (lowest + highest).unsqueeze(2) / 2 - factor * (low + high).unsqueeze(2) / 2
    return torch.cat([factor * torch.eye(2, device=points.device), shift], 2)


def _seen(
    images: Shaped[Tensor, "B 3 S S"], back: Float[Tensor, "B 2 3"]
) -> Float[Tensor, "B 3 S S"]:
    """Copies of images, given the affine map from their px to those of the images."""
    side = images.shape[-1]
    return F.grid_sample(images.float(), sampling_grid(back, side, side), align_corners=True)


def agree(fits: Float[Tensor, "B K L 2"]) -> tuple[Float[Tensor, "B L 2"], Float[Tensor, "B L"]]:
    """The median of several fits, and their spread about it.

    Returns:
        The median of each coordinate, and the root mean square distance of the fits from it, both
        in the unit of the fits.

    Example:
        >>> points, spread = agree(torch.tensor([[[[0.0, 0.0]], [[3.0, 0.0]], [[3.0, 4.0]]]]))
        >>> points, spread.square()
        (tensor([[[3., 0.]]]), tensor([[8.3333]]))
    """
    points = fits.quantile(0.5, dim=1)
    return points, (fits - points.unsqueeze(1)).square().sum(-1).mean(1).sqrt()
