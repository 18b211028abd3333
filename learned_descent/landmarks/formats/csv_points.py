"""CSV with a row a point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import final

import torch

from ...errors import DescentError
from .documents import in_order
from .format import LabelFormat, Labelled, parse_number
from .tables import Row, plain_title, read_table, read_titles

POINTS = frozenset({"point", "landmark", "keypoint"})
"""The titles of the column of points; capitals, blanks, underscores and hyphens do not matter."""

WEIGHTS = frozenset({"visible", "visibility", "v", "weight"})
"""The titles of the column that weighs a point, from 0 to 1."""


@final
class CSVPoints(LabelFormat):
    r"""CSV with a row a point: ``image,point,x,y`` and, where it is known, ``visible``.

    A point is a name or a number. ``x`` is the column and ``y`` the row in px; the centre of the
    first pixel is ``(0, 0)``. ``visible`` weighs the point, from 0 to 1: one of 0 counts nowhere,
    like one that has no row. ``split`` and the columns of a box are those of
    :class:`~learned_descent.landmarks.formats.csv_pictures.CSVPictures`.

    Raises:
        DescentError: if a column is missing or not known, or a picture has a point twice.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "wings.csv"
        >>> _ = file.write_text("image,point,x,y\na.png,hinge,3,4\na.png,tip,50,6\n")
        >>> CSVPoints().read(file)[0].names
        ('hinge', 'tip')
    """

    name = "csv-points"
    endings = (".csv", ".tsv")

    def fits(self, path: Path) -> bool:
        return bool({*map(plain_title, read_titles(path))} & POINTS)

    def read(self, path: Path) -> list[Labelled]:
        rows = read_table(path)
        titles = {plain_title(title): title for title in rows[0].cells}
        point = next((titles[title] for title in titles if title in POINTS), None)
        weight = next((titles[title] for title in titles if title in WEIGHTS), None)
        known = {point, weight, titles.get("x"), titles.get("y")}
        if point is None or not {"x", "y"} <= {*titles}:
            raise DescentError(
                f"{path}: expected the columns image, point, x and y, got {', '.join(titles)}"
            )
        if unknown := [title for title in titles.values() if title not in known]:
            raise DescentError(
                f"{path}: the column {unknown[0]!r} is not known; expected image, point, x, y, "
                "visible, split and a box"
            )
        pictures: dict[Path, dict[str, Row]] = {}
        for row in rows:
            points = pictures.setdefault(row.image, {})
            if points.setdefault(row.cells[point].strip(), row) is not row:
                raise DescentError(
                    f"{row.where}: {row.image.name} has point {row.cells[point]!r} twice; keep one"
                )
        order = in_order(name for points in pictures.values() for name in points)
        columns = titles["x"], titles["y"], weight
        return [_labelled(points, order, columns) for points in pictures.values()]


def _labelled(
    points: Mapping[str, Row],
    order: tuple[Sequence[str], bool],
    columns: tuple[str, str, str | None],
) -> Labelled:
    first = next(iter(points.values()))
    x, y, weight = columns
    names, named = order
    positions, weights = [], []
    for name in names:
        row = points.get(name)
        cells = {} if row is None else row.cells
        where = first.where if row is None else row.where
        positions.append([parse_number(cells.get(axis, ""), where, axis) for axis in (x, y)])
        known = row is not None and all(value == value for value in positions[-1])
        seen = 1.0 if weight is None else parse_number(cells.get(weight, ""), where, weight)
        weights.append((1.0 if seen != seen else seen) if known else 0.0)
    return Labelled.of(
        first.image, torch.tensor(positions, dtype=torch.float64), first.where, weights=weights,
        names=names if named else (), box=first.box, split=first.split,
    )  # fmt: skip
