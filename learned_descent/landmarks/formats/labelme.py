"""The JSON of labelme: one file a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import torch

from ...errors import DescentError
from .documents import entry, find_image, read_json
from .format import LabelFormat, Labelled


@final
class LabelMe(LabelFormat):
    """The JSON of labelme: shapes with labels, one file a picture.

    Shapes of the type ``point`` are points, named by their label, in any order; a ``rectangle`` is
    the box around them. Where shapes have a ``group_id``, each group is a thing of its own.

    Raises:
        DescentError: if the file is broken, has no points, or a name twice in a group.

    Example:
        >>> import json, tempfile
        >>> file = Path(tempfile.mkdtemp()) / "a.json"
        >>> tip = {"label": "tip", "points": [[50, 6]], "shape_type": "point"}
        >>> _ = file.write_text(json.dumps({"imagePath": "a.png", "shapes": [tip]}))
        >>> label, = LabelMe().read(file)
        >>> label.names, label.points.tolist()
        (('tip',), [[50.0, 6.0]])
    """

    name = "labelme"
    endings = (".json",)

    def fits(self, path: Path) -> bool:
        found = read_json(path)
        return isinstance(found, Mapping) and {"shapes", "imagePath"} <= {*found}

    def read(self, path: Path) -> list[Labelled]:
        found = read_json(path)
        image = find_image(path, str(entry(found, "imagePath", str(path), str)))
        groups: dict[object, list[Mapping[str, Any]]] = {}
        for place, shape in enumerate(entry(found, "shapes", str(path), list)):
            kind = entry(shape, "shape_type", f"{path}: shapes[{place}]")
            if kind in ("point", "rectangle"):
                groups.setdefault(shape.get("group_id"), []).append(shape)
        labels = [_labelled(shapes, image, str(path)) for shapes in groups.values()]
        found_some = [label for label in labels if label is not None]
        if not found_some:
            raise DescentError(f"{path}: there is no shape of the type point; label some")
        return found_some


def _labelled(shapes: Sequence[Mapping[str, Any]], image: Path, where: str) -> Labelled | None:
    """The points of a group; None where it has none."""
    points: dict[str, list[float]] = {}
    box: list[float] | None = None
    for shape in shapes:
        name = str(entry(shape, "label", where))
        corners = _corners(shape, f"{where}: {name}")
        if shape["shape_type"] == "rectangle":
            box = [*corners.amin(0).tolist(), *corners.amax(0).tolist()]
        elif name in points:
            raise DescentError(
                f"{where}: the point {name!r} is there twice; rename one, or give things of their "
                "own a group_id"
            )
        else:
            points[name] = corners[0].tolist()
    if not points:
        return None
    return Labelled.of(image, list(points.values()), where, names=list(points), box=box)


def _corners(shape: Mapping[str, Any], where: str) -> torch.Tensor:
    """The points of a shape ``(K, 2)``."""
    try:
        found = torch.tensor(entry(shape, "points", where, list), dtype=torch.float64)
    except (TypeError, ValueError) as error:
        raise DescentError(f"{where}: points: expected pairs of numbers: {error}") from error
    if found.ndim != 2 or found.shape[1] != 2:
        raise DescentError(f"{where}: points: expected pairs of numbers, got {shape['points']!r}")
    return found
