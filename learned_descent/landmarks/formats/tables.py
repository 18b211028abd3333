"""Tables of text: rows of columns with titles, and what the titles of both CSV formats mean."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...data.samples import Split
from ...errors import DescentError
from .documents import unreadable
from .format import parse_number, split_of

_IMAGES = frozenset(
    {"image", "imagename", "imagepath", "file", "filename", "filepath", "path", "photo", "picture"}
)
"""The titles of the column of pictures; capitals, blanks, underscores and hyphens do not matter."""

_SPLITS = frozenset({"split", "set", "subset", "part"})
"""The titles of the column that says train, val or test."""

_CORNERS = (
    ("boxx0", "boxy0", "boxx1", "boxy1"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("left", "top", "right", "bottom"),
)
"""The titles of the corners of a box, in px from 0."""

_SIZES = (("boxx", "boxy", "boxwidth", "boxheight"), ("left", "top", "width", "height"))
"""The titles of the first corner of a box, its width and its height, in px."""


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Args:
        where: its place, such as ``wings.csv:3``.
        image: the picture that it names.
        box: the box ``x0 y0 x1 y1`` in px, where there is one.
        split: the part of the data, where it says so.
        cells: the other cells, by title.
    """

    where: str
    image: Path
    box: tuple[float, float, float, float] | None
    split: Split | None
    cells: Mapping[str, str]


def read_titles(path: Path) -> list[str]:
    """The first row of a table."""
    return next((cells for _, cells in _rows(path)), [])


def plain_title(title: str) -> str:
    """A title without what does not matter.

    Example:
        >>> plain_title("Image Name")
        'imagename'
    """
    return re.sub(r"[\s_-]", "", title).lower()


def read_table(path: Path) -> list[Row]:
    """The rows of a table whose first row holds titles; pictures are beside the file.

    Raises:
        DescentError: if the file cannot be read, has no column of pictures or two of one title, or
            if a row has another number of cells than there are titles.
    """
    lines = [*_rows(path)]
    if not lines:
        raise DescentError(f"{path}: it is empty; expected a row of titles, and labels below it")
    titles = [title.strip() for title in lines[0][1]]
    twice = [title for place, title in enumerate(titles) if title in titles[:place]]
    if twice:
        raise DescentError(f"{path}: the column {twice[0]!r} is there twice; keep one")
    plain = [plain_title(title) for title in titles]
    image = next((place for place, title in enumerate(plain) if title in _IMAGES), None)
    if image is None:
        raise DescentError(
            f"{path}: no column of pictures; expected one with the title image, got "
            f"{', '.join(titles)}"
        )
    split = next((place for place, title in enumerate(plain) if title in _SPLITS), None)
    layout = next((layout for layout in (*_CORNERS, *_SIZES) if {*layout} <= {*plain}), ())
    box = [plain.index(title) for title in layout]
    known = {image, split, *box}
    found = []
    for line, cells in lines[1:]:
        where = f"{path}:{line}"
        if len(cells) != len(titles):
            raise DescentError(
                f"{where}: expected {len(titles)} cells, as there are titles, got {len(cells)}; "
                "mend the row, and write numbers with a point, not a comma"
            )
        rest = {title: cells[place] for place, title in enumerate(titles) if place not in known}
        part = None if split is None else split_of(cells[split], where)
        corners = _box([cells[place] for place in box], where, sized=layout in _SIZES)
        if not cells[image].strip():
            raise DescentError(f"{where}: it names no picture; remove the row, or name one")
        found.append(Row(where, path.parent / cells[image].strip(), corners, part, rest))
    if not found:
        raise DescentError(f"{path}: there are no labels below its titles; add some")
    return found


def _box(
    cells: Sequence[str], where: str, *, sized: bool
) -> tuple[float, float, float, float] | None:
    if not any(cell.strip() for cell in cells):
        return None
    x0, y0, x1, y1 = (parse_number(cell, where, "box") for cell in cells)
    return (x0, y0, x0 + x1, y0 + y1) if sized else (x0, y0, x1, y1)


def delimiter_of(line: str) -> str:
    """What separates the cells of a line: comma, semicolon or tab.

    Example:
        >>> delimiter_of("image;x0;y0")
        ';'
    """
    return max(",;\t", key=line.count)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, with their numbers from 1, as far as they are asked for."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter_of(first))
            for row in reader:
                if any(cell.strip() for cell in row):
                    yield reader.line_num, row
    except (OSError, ValueError, csv.Error) as error:
        raise unreadable(path, "a table of text", error) from error
