"""CSV with a row a picture."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import final

import torch

from ...errors import DescentError
from ...files import atomic_write
from .csv_points import POINTS
from .format import LabelFormat, Labelled, one_markup, parse_number, relative
from .tables import Row, plain_title, read_table, read_titles

_NUMBERED = re.compile(r"([xyv])[\s_-]?(\d+)", re.IGNORECASE)
_NAMED = re.compile(r"(.*\S)[\s_-]([xyv])", re.IGNORECASE)


@final
class CSVPictures(LabelFormat):
    r"""CSV with a row a picture: ``image,x0,y0,x1,y1,...`` or ``image,hinge_x,hinge_y,tip_x,...``.

    Coordinates are ``(column, row)`` in px; the centre of the first pixel is ``(0, 0)``. A point
    whose cells are empty is not labelled. A column ``v0`` or ``hinge_v`` weighs a point, from 0 to
    1, which it is where the cell is empty. A column ``split`` says train, val or test, and
    ``box_x0,box_y0,box_x1,box_y1`` (or ``left,top,width,height`` and the like) hold a box. Pictures
    lie beside the file, or where the
    path in it leads from there. Semicolons and tabs separate as well as commas do.

    Raises:
        DescentError: if a column is not known or half of a point is missing, or a row has another
            number of cells than there are titles.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "wings.csv"
        >>> _ = file.write_text("image,hinge_x,hinge_y,tip_x,tip_y\na.png,3,4,50,6\nb.png,5,4,,")
        >>> first, second = CSVPictures().read(file)
        >>> first.names, first.points.tolist(), second.weights.tolist()
        (('hinge', 'tip'), [[3.0, 4.0], [50.0, 6.0]], [1.0, 0.0])
    """

    name = "csv"
    endings = (".csv", ".tsv")

    def fits(self, path: Path) -> bool:
        titles = read_titles(path)
        return any(map(_part, titles)) and not {*map(plain_title, titles)} & POINTS

    def read(self, path: Path) -> list[Labelled]:
        rows = read_table(path)
        columns, named = _columns(path, list(rows[0].cells))
        return [_labelled(row, columns, named) for row in rows]

    def write(self, path: Path, labelled: Sequence[Labelled]) -> None:
        names = one_markup(path, labelled)
        places = [str(number) for number in range(len(labelled[0].points))]
        titles = ["image", "split", "box_x0", "box_y0", "box_x1", "box_y1"]
        titles += (
            [f"{name}_{axis}" for name in names for axis in "xyv"]
            if names
            else [f"{axis}{place}" for place in places for axis in "xyv"]
        )
        rows = [
            [relative(label.image, path.parent), label.split or "", *_cells(label)]
            for label in labelled
        ]

        def write(temporary: Path) -> None:
            with temporary.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows([titles, *rows])

        atomic_write(path, write)


def _cells(label: Labelled) -> list[str]:
    """The numbers of a label: its box, then column, row and weight of every point."""
    points = torch.cat([label.points, label.weights[:, None]], 1).flatten().tolist()
    values = [*(label.box or [math.nan] * 4), *points]
    return [f"{value:.10g}" if math.isfinite(value) else "" for value in values]


def _part(title: str) -> tuple[str, str] | None:
    """The point and the part of it (x, y or v) that a title means."""
    if found := _NUMBERED.fullmatch(title.strip()):
        return found[2], found[1].lower()
    if found := _NAMED.fullmatch(title.strip()):
        return found[1], found[2].lower()
    return None


def _columns(path: Path, titles: Sequence[str]) -> tuple[dict[str, dict[str, str]], bool]:
    """The titles of each point by their part, in the order of the points; and whether they have
    names.
    """
    points: dict[str, dict[str, str]] = {}
    for title in titles:
        part = _part(title)
        if part is None:
            raise DescentError(
                f"{path}: the column {title!r} is not known; expected image, split, a box, and "
                "x0,y0,... or NAME_x,NAME_y of each point"
            )
        points.setdefault(part[0], {})[part[1]] = title
    for point, parts in points.items():
        if not {"x", "y"} <= {*parts}:
            raise DescentError(
                f"{path}: point {point!r} has the columns {', '.join(parts.values())}; expected "
                "its x and its y"
            )
    if not points:
        raise DescentError(f"{path}: no column of points; expected x0,y0,... or NAME_x,NAME_y,...")
    if all(point.isdecimal() for point in points):
        return dict(sorted(points.items(), key=lambda item: int(item[0]))), False
    return points, True


def _labelled(row: Row, columns: Mapping[str, Mapping[str, str]], named: bool) -> Labelled:
    points, weights = [], []
    for point, parts in columns.items():
        x, y = (parse_number(row.cells[parts[axis]], row.where, parts[axis]) for axis in "xy")
        if (x == x) != (y == y):
            raise DescentError(
                f"{row.where}: point {point!r} has half a position ({x:g}, {y:g}); write both "
                "numbers, or none"
            )
        weight = row.cells[parts["v"]].strip() if "v" in parts else ""
        points.append((x, y))
        known = parse_number(weight, row.where, parts["v"]) if weight else 1.0
        weights.append(known if x == x else 0.0)
    return Labelled.of(
        row.image, torch.tensor(points, dtype=torch.float64), row.where, weights=weights,
        names=list(columns) if named else (), box=row.box, split=row.split,
    )  # fmt: skip
