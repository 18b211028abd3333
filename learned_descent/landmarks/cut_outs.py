"""Labelled pictures as samples: every labelled thing is cut out of its picture, with its points."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..data.pictures import Picture, open_picture
from ..data.samples import Batch
from ..errors import DescentError
from ..system.progress import progress_bar
from .crops import apply_affine, crop_face, invert_affine
from .formats.format import Labelled
from .labels import refuse

OUTSIDE = 0.1
"""How far outside of its picture or its crop a point may lie, in sides of it: annotators guess what
is cut off."""

_log = logging.getLogger(__name__)


class CutOuts(NamedTuple):
    """Labels as samples.

    Attributes:
        batch: ``image`` uint8 ``(N, 3, S, S)``; ``points`` ``(N, L, 2)`` and ``box`` ``(N, 4)`` in
            px of the crop, ``to_photo`` ``(N, 2, 3)``; ``weights`` ``(N, L)``, if one is not 1. A
            point that is not labelled lies amid the others of its sample.
        kept: the labels that are among them, by their places.
    """

    batch: Batch
    kept: Sequence[int]


def cut_out(
    labels: Sequence[Labelled],
    boxes: Sequence[tuple[float, float, float, float] | None],
    *,
    crop: int,
    box_side: float,
    skip_bad: bool,
) -> CutOuts:
    """Reads the pictures of labels, and cuts out what is labelled.

    Args:
        labels: labels of one markup; none gives an empty batch.
        boxes: the box of each, ``x0 y0 x1 y1`` in px of its picture; None for all of it.
        crop: the side of the crop, in px.
        box_side: the longer side of the box in it, in px.
        skip_bad: go on without labels that cannot be used.

    Raises:
        DescentError: if a picture does not decode, or a box or a point lies outside of it, and
            these are not to be skipped.
    """

    def read(places: Sequence[int]) -> dict[int, Batch | str]:
        """What is labelled in one picture, which is decoded once."""
        results: dict[int, Batch | str] = {}
        picture = None
        for place in places:
            label = labels[place]
            try:
                picture = picture or _opened(label.image)
                results[place] = _sample(label, picture, boxes[place], crop, box_side)
            except DescentError as error:
                results[place] = f"{label.where}: {error}"
        return results

    of_one: dict[Path, list[int]] = {}
    for place, label in enumerate(labels):
        of_one.setdefault(label.image, []).append(place)
    with ThreadPoolExecutor() as pool:
        results = pool.map(read, of_one.values())
        silent = len(labels) == 0
        bar = progress_bar(results, "reading pictures", total=len(of_one), disable=silent)
        read_all = {place: result for each in bar for place, result in each.items()}
    found = [read_all[place] for place in range(len(labels))]
    refuse([result for result in found if isinstance(result, str)], len(found), skip_bad)
    samples = {place: each for place, each in enumerate(found) if not isinstance(each, str)}
    if not samples:
        return CutOuts(_none(crop), ())
    names = next(iter(samples.values())).keys()
    batch = {name: torch.stack([each[name] for each in samples.values()]) for name in names}
    if (batch["weights"] == 1).all():
        del batch["weights"]
    return CutOuts(batch, tuple(samples))


def _none(crop: int) -> Batch:
    return {
        "image": torch.zeros(0, 3, crop, crop, dtype=torch.uint8),
        "points": torch.zeros(0, 1, 2),
        "box": torch.zeros(0, 4),
        "to_photo": torch.zeros(0, 2, 3),
    }


def _opened(image: Path) -> Picture:
    """A picture; what is odd in it is logged."""
    picture = open_picture(image)
    turned = "EXIF turns it; its labels are taken to be of the picture as it is displayed"
    for remark in (turned if picture.turned else "", picture.note):
        if remark:
            _log.warning("%s: %s", image, remark)
    return picture


def _sample(
    label: Labelled,
    picture: Picture,
    box: tuple[float, float, float, float] | None,
    crop: int,
    box_side: float,
) -> dict[str, Tensor]:
    """One sample; a message of what is wrong with it says which label it is."""
    known = label.weights > 0
    height, width = picture.pixels.shape[:2]
    last = torch.tensor([width - 1, height - 1], dtype=torch.float64)
    _check_inside(label, label.points, known, last, f"the picture of {width} x {height} px")
    corners = (0.0, 0.0, width - 1.0, height - 1.0) if box is None else box
    pixels, to_photo = crop_face(picture.pixels, corners, crop, box_side)
    to_crop = invert_affine(to_photo.double())
    points = apply_affine(to_crop, label.points)
    side = torch.full((2,), crop - 1.0, dtype=torch.float64)
    _check_inside(label, points, known, side, f"the crop of {crop} px around the box")
    points = torch.where(points.isfinite(), points, points[known].mean(0))
    in_crop = apply_affine(to_crop, torch.tensor(corners, dtype=torch.float64).view(2, 2))
    return {
        "image": pixels,
        "points": points.float(),
        "box": in_crop.flatten().float(),
        "to_photo": to_photo,
        "weights": label.weights.float(),
    }


def _check_inside(
    label: Labelled,
    points: Float[Tensor, "L 2"],
    known: Bool[Tensor, " L"],
    last: Float[Tensor, "2"],
    where: str,
) -> None:
    margin = OUTSIDE * float(last.max())
    outside = known & ((points < -margin) | (points > last + margin)).any(1)
    if outside.any():
        point = int(outside.nonzero()[0])
        column, row = points[point].tolist()
        raise DescentError(
            f"point {label.named(point)} lies at ({column:.0f}, {row:.0f}), outside of {where} "
            f"({int(outside.sum())} of {int(known.sum())} points); mend it, or the box: (0, 0) is "
            "the first pixel, and rows go down"
        )
