"""Labels as samples: one markup, parts of the data, boxes, and what is wrong before a picture is
read.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeAlias, final

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from ..data.batches import mix
from ..data.samples import Split
from ..errors import DescentError
from ..system.text import suggestion
from .boxes import find_boxes, read_all_boxes
from .formats import FormatName
from .formats.documents import is_file
from .formats.find import read_labels
from .formats.format import Labelled
from .geometry import completed, mean_shape
from .schema import LandmarkSchema
from .schema_file import find_schema

BoxSource: TypeAlias = Literal["file", "points", "image"]
"""Where the boxes come from: the file of the labels, the points themselves with the noise of a
detector, or the whole picture."""

BOX_NOISE = 0.05
"""Standard deviation of the centre and of the log of the side of a box that is drawn around points,
as a fraction of its side: what detectors do."""

_SHOWN = 10
"""How many unusable labels a message lists."""

_log = logging.getLogger(__name__)

_SAME = 0.8
"""How much the boxes around two labels of one picture may overlap, as a share of both."""

_SCHEMA = ("schema.yaml", "schema.yml", "schema.json")


@final
class Labels:
    """The labels of files and folders, read when they are first asked for.

    Args:
        paths: the files and folders; none for a model that is only to be applied.
        format: how they are written, or None for what their endings tell.
    """

    def __init__(self, paths: Sequence[Path], format: FormatName | Path | None) -> None:  # noqa: A002
        self.paths, self.format = paths, format

    @cached_property
    def every(self) -> list[Labelled]:
        """All labels, of which those of one picture are of one part of the data."""
        if not self.paths:
            raise DescentError(
                "data: expected a file or a folder of labels, got None; give --data FILE"
            )
        labels = read_labels(self.paths, self.format)
        check_labels(labels)
        return labels

    def usable(self, skip_bad: bool) -> list[Labelled]:
        """The labels that have points, and whose pictures are there.

        Raises:
            DescentError: if there is none, if one cannot be used and ``skip_bad`` is not set, or if
                a thing is labelled twice.
        """
        faults = {
            label: f"{label.where}: {fault}" for label in self.every if (fault := _fault(label))
        }
        shown = [f"{text}{_near(each.image)}" for each, text in [*faults.items()][:_SHOWN]]
        refuse([*shown, *[*faults.values()][_SHOWN:]], len(self.every), skip_bad)
        there = [label for label in self.every if label not in faults]
        _check_twice(there, self.content)
        return there

    @cached_property
    def content(self) -> Mapping[Path, object]:
        """What pictures of the same bytes have in common, of those that are there."""
        return _content({label.image for label in self.every if is_file(label.image)})

    def markup(self) -> LandmarkSchema:
        """The markup of a file beside the data, else that which the labels tell; of a single point
        where there are no data.
        """
        if not self.paths:
            return LandmarkSchema("unknown", num_points=1)
        return schema_beside(self.paths) or schema_of(self.every, self.paths[0].stem)

    def usual_boxes(self) -> BoxSource:
        """Those of the labels, if all have one, else around the points."""
        return "file" if all(label.box for label in self.every) else "points"

    @cached_property
    def names(self) -> Mapping[Path, str]:
        """What the pictures are called: their paths below the folder of them all."""
        images = {label.image for label in self.every}
        folder = os.path.commonpath([image.parent.absolute() for image in images])
        return {image: image.absolute().relative_to(folder).as_posix() for image in images}

    def named(self, labels: Sequence[Labelled]) -> list[str]:
        """What labels are called: as their pictures, with a number from 2 for further ones of
        one.
        """
        counts, names = Counter[str](), []
        for label in labels:
            name = self.names[label.image]
            counts[name] += 1
            names.append(name if counts[name] == 1 else f"{name} #{counts[name]}")
        return names


def _fault(label: Labelled) -> str:
    """Why a label cannot be used, whatever its picture shows; nothing if it can."""
    if not (label.weights > 0).any():
        return "no point is labelled"
    return "" if is_file(label.image) else f"there is no picture {label.image}"


def _near(image: Path) -> str:
    """The file beside a picture that is not there whose name is nearly the same, for a message."""
    there = is_file(image) or not image.parent.is_dir()
    return "" if there else suggestion(image.name, [each.name for each in image.parent.iterdir()])


def refuse(reasons: Sequence[str], count: int, skip_bad: bool) -> None:
    """Raises if labels cannot be used; logs them where they are to be skipped and some are left.

    Args:
        reasons: what is wrong with each of them.
        count: how many labels there are.
        skip_bad: whether to go on without.
    """
    if not reasons:
        return
    more = [f"and {len(reasons) - _SHOWN} more"] if len(reasons) > _SHOWN else []
    shown = "\n".join(f"  {line}" for line in [*reasons[:_SHOWN], *more])
    if skip_bad and len(reasons) < count:
        _log.warning("%d of %d labels are left out:\n%s", len(reasons), count, shown)
        return
    way_out = (
        "" if len(reasons) == count else ", or pass --skip-bad (skip_bad=True) to go on without"
    )
    raise DescentError(
        f"data: {len(reasons)} of {count} labels cannot be used:\n{shown}\nMend them{way_out}"
    )


def check_labels(labels: Sequence[Labelled]) -> None:
    """Refuses a picture that is in two parts of the data.

    Raises:
        DescentError: with the places of both.
    """
    first: dict[Path, Labelled] = {}
    for label in labels:
        other = first.setdefault(label.image, label)
        if other.split != label.split:
            raise DescentError(
                f"{label.where}: {label.image.name} is in the part {label.split}, and "
                f"{other.where} has it in {other.split}; keep it in one"
            )


def check_copies(parts: Mapping[Split, Sequence[Labelled]], content: Mapping[Path, object]) -> None:
    """Refuses a picture whose copy is in another part of the data, whatever is labelled in them.

    Raises:
        DescentError: with the places of both.
    """
    first: dict[object, tuple[Labelled, Split]] = {}
    for part, labels in parts.items():
        for label in labels:
            other, place = first.setdefault(content[label.image], (label, part))
            if place != part:
                raise DescentError(
                    f"{label.where}: {label.image.name}, of {part}, is a copy of "
                    f"{other.image.name}, of {place} ({other.where}): what is tested must not be "
                    "trained on; give both the same image, or say one part of both in a column "
                    "split"
                )


def _check_twice(labels: Sequence[Labelled], content: Mapping[Path, object]) -> None:
    """Refuses a thing that is labelled twice, in one picture or in a copy of it."""
    seen: dict[object, list[Labelled]] = {}
    for label in labels:
        for other in seen.setdefault(content[label.image], []):
            if _overlap(label.around(), other.around()) >= _SAME:
                copy = "" if label.image == other.image else f", a copy of {other.image.name},"
                raise DescentError(
                    f"{label.where}: what is labelled in {label.image.name}{copy} is labelled at "
                    f"{other.where} already; keep one"
                )
        seen[content[label.image]].append(label)


def _content(images: Collection[Path]) -> dict[Path, object]:
    """What two files have in common that hold the same bytes; those of one size are read for it."""
    sizes = {image: image.stat().st_size for image in images}
    counts = Counter(sizes.values())
    return {
        image: hashlib.blake2b(image.read_bytes()).digest() if counts[size] > 1 else image
        for image, size in sizes.items()
    }


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """The area that two boxes share, over that of both; 1 for equal ones."""
    if one == other:
        return 1.0
    x0, y0, x1, y1 = (pick(pair) for pick, pair in zip((max, max, min, min), zip(one, other)))
    shared = max(0.0, x1 - x0) * max(0.0, y1 - y0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (areas - shared) if areas > shared else 0.0


def schema_beside(paths: Sequence[Path]) -> LandmarkSchema | None:
    """The markup of a ``schema.yaml`` beside the data, or in their folder; None where there is
    none.

    Raises:
        DescentError: if there are several, and they do not say the same.
    """
    folders = [path if path.is_dir() else path.parent for path in paths]
    found = [folder / name for folder in folders for name in _SCHEMA if (folder / name).is_file()]
    markups = {file: find_schema(file) for file in dict.fromkeys(found)}
    for file, markup in markups.items():
        if markup != markups[found[0]]:
            raise DescentError(
                f"schema: {found[0]} and {file} do not say the same: expected one markup; keep one "
                "of them, or give the schema that is meant (--problem.schema)"
            )
    return markups[found[0]] if found else None


def schema_of(labels: Sequence[Labelled], name: str) -> LandmarkSchema:
    """The markup that the labels themselves tell: the number of points, and their names.

    Raises:
        DescentError: if they differ in the number of points, or share none of their names.
    """
    if labels[0].names:
        names = dict.fromkeys(labels[0].names)
        for label in labels:
            if label.names and not {*label.names} & {*names}:
                raise DescentError(
                    f"{label.where}: its points are {', '.join(label.names)}, and those of "
                    f"{labels[0].where} {', '.join(names)}: expected one markup"
                )
            names.update(dict.fromkeys(label.names))
        return LandmarkSchema(name, len(names), names=tuple(names))
    odd = next((label for label in labels if len(label.points) != len(labels[0].points)), None)
    if odd is not None:
        raise DescentError(
            f"{odd.where}: {len(odd.points)} points, and {labels[0].where} has "
            f"{len(labels[0].points)}: expected one markup; mend the row, or give the schema that "
            "reads both (--problem.schema)"
        )
    return LandmarkSchema(name, len(labels[0].points))


def in_schema(label: Labelled, schema: LandmarkSchema) -> Labelled:
    """A label with its points in the order of a markup, which may be one of another number: a point
    that the label does not have is not labelled.

    Raises:
        DescentError: if it names a point that the markup does not have, or its points are not those
            of the markup. Names of another markup are no reason where the ``sources`` of this one
            say which of that many points are its own.
    """
    if label.names and schema.names:
        unknown = sorted({*label.names} - {*schema.names})
        if unknown and len(unknown) < len(label.names):
            raise DescentError(
                f"{label.where}: point {unknown[0]!r} is not in the schema {schema.name!r}; "
                f"expected {', '.join(schema.names)}"
            )
        if unknown and len(label.points) not in schema.sources:
            raise DescentError(
                f"{label.where}: its points are {', '.join(label.names)}, and those of the schema "
                f"{schema.name!r} {', '.join(schema.names)}: expected one markup; rename them, or "
                "choose another schema"
            )
        if not unknown:
            places = [schema.names.index(name) for name in label.names]
            return _placed(label, places, schema)
    if held := schema.holding(len(label.points)):
        return _placed(label, held, schema)
    try:
        chosen = list(schema.within(len(label.points)))
    except DescentError as error:
        raise DescentError(
            f"{label.where}: {error}; mend the row, or choose another schema"
        ) from error
    return replace(
        label, points=label.points[chosen], weights=label.weights[chosen], names=schema.names
    )


def _placed(label: Labelled, places: Sequence[int], schema: LandmarkSchema) -> Labelled:
    points = torch.full((schema.num_points, 2), torch.nan, dtype=torch.float64)
    weights = torch.zeros(schema.num_points, dtype=torch.float64)
    points[list(places)], weights[list(places)] = label.points, label.weights
    return replace(label, points=points, weights=weights, names=schema.names)


def divided(
    labels: Sequence[Labelled],
    names: Mapping[Path, str],
    *,
    seed: int,
    test_fraction: float,
    val_fraction: float,
) -> dict[Split, list[Labelled]]:
    """The labels of each part of the data: as they say, else by shares of the pictures.

    The pictures of a share are those that come first in an order that the seed and their names
    give: another picture changes the part of few others. The labels of one picture stay together.

    Raises:
        DescentError: if some labels say their part and others do not.
    """
    silent = [label for label in labels if label.split is None]
    if silent and len(silent) < len(labels):
        raise DescentError(
            f"{silent[0].where}: it does not say whether it is of train, val or test, and "
            f"{len(labels) - len(silent)} of {len(labels)} labels do; say it everywhere, or nowhere"
        )
    parts: dict[Path, Split] = {label.image: label.split or "train" for label in labels}
    if silent:
        _draw(parts, names, "test", test_fraction, seed)
    if "val" not in parts.values():
        _draw(parts, names, "val", val_fraction, seed)
    found: dict[Split, list[Labelled]] = {"train": [], "val": [], "test": []}
    for label in labels:
        found[parts[label.image]].append(label)
    return found


def _draw(
    parts: dict[Path, Split], names: Mapping[Path, str], part: Split, share: float, seed: int
) -> None:
    """Moves a share of the training pictures to another part."""
    left = [image for image, own in parts.items() if own == "train"]
    order = sorted(left, key=lambda image: mix(seed, *f"{part}/{names[image]}".encode()))
    for image in order[: round(share * len(left))]:
        parts[image] = part


def boxes_of(
    labels: Sequence[Labelled], names: Mapping[Path, str], source: BoxSource | Path
) -> list[tuple[float, float, float, float] | None]:
    """The box of each label, ``x0 y0 x1 y1`` in px; None for the whole picture.

    Boxes around points are drawn anew by the name of their picture: larger or smaller, and moved,
    as a detector's are. Which variant a picture has never changes.

    Raises:
        DescentError: if a label has no box, none in the file, or its points are in one place.
    """
    if source == "image":
        return [None] * len(labels)
    if isinstance(source, Path):
        known = read_all_boxes(source)
        return [_from_file(label, known) for label in labels]
    if source == "points":
        return [*_squares(labels, names)]
    missing = next((label for label in labels if label.box is None), None)
    if missing is not None:
        raise DescentError(
            f"{missing.where}: no box; add it, or choose --problem.boxes points, image or a file "
            "of boxes"
        )
    return [label.box for label in labels]


def _from_file(
    label: Labelled, known: Mapping[str, list[list[float]]]
) -> tuple[float, float, float, float]:
    """The box of the picture in a file of boxes: of several the one around the middle of the
    points.
    """
    middle = label.points[label.weights > 0].mean(0)
    boxes = torch.tensor(find_boxes(known, label.image), dtype=torch.float64)
    centres = boxes.unflatten(1, (2, 2)).mean(1)
    x0, y0, x1, y1 = boxes[(centres - middle).square().sum(1).argmin()].tolist()
    return x0, y0, x1, y1


def _squares(
    labels: Sequence[Labelled], names: Mapping[Path, str]
) -> list[tuple[float, float, float, float]]:
    """Square boxes around the points, as a detector would draw them for pictures of these names.

    A box is around all points of a thing: those that are not labelled are where the mean shape of
    the others has them.
    """
    if not labels:
        return []
    known = torch.stack([label.weights > 0 for label in labels])
    some = known.any(0)  # what is labelled nowhere makes no box larger
    known, points = known[:, some], torch.stack([label.points[some] for label in labels])
    corners = torch.tensor([label.around() for label in labels], dtype=torch.float64)
    centre = corners.unflatten(1, (2, 2)).mean(1, keepdim=True)
    side = (corners[:, 2:] - corners[:, :2]).amax(1)
    if not (side > 0).any():
        raise DescentError(
            f"{labels[0].where}: all points of a label are in one place, and no box lies around "
            "them; choose --problem.boxes image, file or a file of boxes"
        )
    side = torch.where(side > 0, side, side[side > 0].median())[:, None, None]
    shapes = ((points - centre) / side).nan_to_num()
    if not known.all():
        shapes = completed(shapes, known.double(), mean_shape(shapes, known.double()))
    low, high = shapes.amin(1), shapes.amax(1)
    middles = (centre + side * ((low + high) / 2).unsqueeze(1)).squeeze(1)
    extents = side.flatten() * (high - low).amax(1)
    return [
        _drawn(middle, extent, names[label.image])
        for middle, extent, label in zip(middles, extents.tolist(), labels)
    ]


def _drawn(middle: Float[Tensor, "2"], side: float, name: str) -> tuple[float, float, float, float]:
    """A square, larger or smaller and moved by the noise that belongs to a name."""
    dice = Generator().manual_seed(mix(*name.encode()))
    noise = BOX_NOISE * torch.randn(3, generator=dice, dtype=torch.float64)
    x, y = (middle + side * noise[:2]).tolist()
    side *= math.exp(noise[2])
    return x - side / 2, y - side / 2, x + side / 2, y + side / 2
