"""Files of boxes, and which of them belong to a picture."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from ..errors import DescentError
from .formats.tables import delimiter_of, plain_title

NAMES = frozenset(
    {"image", "imagename", "imagepath", "file", "filename", "filepath", "name", "path", "photo"}
)
"""The titles of a column of images; capitals, blanks and underscores do not matter in any title."""

CORNERS = (
    ("x0", "y0", "x1", "y1"),
    ("x1", "y1", "x2", "y2"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("left", "top", "right", "bottom"),
)
"""The titles of the corners of a box, in px from 0."""

SIZES = (
    ("x", "y", "width", "height"),
    ("x", "y", "w", "h"),
    ("left", "top", "width", "height"),
)
"""The titles of the first corner of a box, its width and its height, in px: its last column is the
first one plus the width."""


def read_boxes(path: str | Path) -> dict[str, list[float]]:
    r"""Detector boxes ``x0 y0 x1 y1`` in px from 0, by the path of their image relative to the root
    of the data.

    Args:
        path: a ``.csv`` of rows ``IMAGE,x0,y0,x1,y1``, or in the order of a first row of titles,
            see :data:`CORNERS`, :data:`SIZES` and :data:`NAMES`; or a ``.json`` of entries
            ``"IMAGE": [x0, y0, x1, y1]``.

    Raises:
        DescentError: if the file is missing or broken, if its titles are not known, if an entry is
            not a path with four numbers, or if an image is named twice.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = Path(folder) / "boxes.csv"
        ...     _ = table.write_text("image,x0,y0,x1,y1\nafw/a.jpg,10,20,110,120\n")
        ...     read_boxes(table)
        {'afw/a.jpg': [10.0, 20.0, 110.0, 120.0]}
    """
    boxes = read_all_boxes(path)
    twice = [image for image, found in boxes.items() if len(found) > 1]
    if twice:
        raise DescentError(f"boxes: {path} names {twice[0]!r} twice; keep one box for each image")
    return {image: found[0] for image, found in boxes.items()}


def read_all_boxes(path: str | Path) -> dict[str, list[list[float]]]:
    """Boxes ``x0 y0 x1 y1`` in px from 0, by the path of their image: as :func:`read_boxes`, but
    several for each.

    Args:
        path: a ``.csv``, where an image may have several rows, or a ``.json`` of entries ``"IMAGE":
            [x0, y0, x1, y1]`` or ``"IMAGE": [[x0, y0, x1, y1], ...]``.

    Raises:
        DescentError: if the file is missing or broken, if its titles are not known, or if an entry
            is not a path with boxes of four numbers.
    """
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".json") or not path.is_file():
        raise DescentError(f"boxes: expected a .csv or .json file of boxes, but {path} is none")
    try:
        rows = _json_rows(path) if path.suffix.lower() == ".json" else _csv_rows(path)
    except (ValueError, RecursionError, csv.Error) as error:
        raise DescentError(
            f"boxes: {path} cannot be read ({error}); expected an image and x0 y0 x1 y1 in each "
            "entry"
        ) from error
    boxes: dict[str, list[list[float]]] = {}
    for name, values in rows:
        image = PurePosixPath(name.strip()).as_posix()
        if not isinstance(values, list) or len(values) != 4 or not all(map(_is_number, values)):
            raise DescentError(
                f"boxes: {path} gives {values} for {image!r}, expected the four numbers x0 y0 x1 y1"
            )
        boxes.setdefault(image, []).append([float(value) for value in values])
    return boxes


def find_boxes(boxes: Mapping[str, list[list[float]]], photo: Path) -> list[list[float]]:
    """The boxes of a photo: those of the longest entry that its path ends with.

    Args:
        boxes: what :func:`read_all_boxes` returned.
        photo: the path of the photo.

    Raises:
        DescentError: if there is no entry for it.

    Example:
        >>> find_boxes({"a.jpg": [[0, 0, 9, 9]], "afw/a.jpg": [[5, 5, 9, 9]]},
        ...     Path("faces/afw/a.jpg"))
        [[5, 5, 9, 9]]
    """
    paths = (photo.parts, photo.resolve().parts)
    ends = [parts[start:] for parts in paths for start in range(len(parts))]
    for end in sorted(ends, key=len, reverse=True):
        if (name := PurePosixPath(*end).as_posix()) in boxes:
            return boxes[name]
    raise DescentError(f"{photo}: there is no box for it in the file of boxes; add one")


def _json_rows(path: Path) -> list[tuple[str, object]]:
    table = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(table, dict):
        raise ValueError(f"it holds a {type(table).__name__}, not an object")
    return [
        (image, box)
        for image, value in table.items()
        for box in (
            value if isinstance(value, list) and value and isinstance(value[0], list) else [value]
        )
    ]


def _csv_rows(path: Path) -> list[tuple[str, object]]:
    """The image of each row, and its box as ``x0 y0 x1 y1`` if that is what the row holds."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        text = file.read().splitlines()
    delimiter = delimiter_of(text[0] if text else "")
    rows = [row for row in csv.reader(text, delimiter=delimiter) if row]
    if not rows or any(map(_is_number, rows[0][1:])):
        return [(row[0], row[1:]) for row in rows]
    order, sized = _columns([*map(plain_title, rows[0])])
    found: list[tuple[str, object]] = []
    for row in rows[1:]:
        image, *box = [row[column] for column in order] if len(row) == len(order) else row
        if sized and len(box) == 4 and all(map(_is_number, box)):
            x, y, width, height = map(float, box)
            found.append((image, [x, y, x + width, y + height]))
        else:
            found.append((image, box))
    return found


def _columns(titles: list[str]) -> tuple[list[int], bool]:
    """Where the image and the four numbers of its box are in a row, and whether the last two are
    its width and height.
    """
    for layout in (*CORNERS, *SIZES):
        names = [title for title in titles if title not in layout]
        if len(titles) == 5 and len(names) == 1 and names[0] in NAMES and {*layout} <= {*titles}:
            return [titles.index(title) for title in (names[0], *layout)], layout in SIZES
    raise ValueError(
        f"its titles are {','.join(titles)}, not image,x0,y0,x1,y1 or image,x,y,width,height, in "
        "any order"
    )


def _is_number(value: object) -> bool:
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True
