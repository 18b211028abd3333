"""The lists of WFLW, COFW and AFLW: a line of numbers a face."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import final

import torch

from ...data.samples import Split
from ...errors import DescentError
from .documents import find_image, unreadable
from .format import LabelFormat, Labelled, parse_number

_WFLW, _COFW, _AFLW = 98, 29, 19
"""The points of a face."""

_WIDTH = 2 * _WFLW + 4 + 6 + 1
"""The words of a line of WFLW: points, box, attributes and picture."""


@final
class WFLW(LabelFormat):
    """The list of WFLW: 196 numbers ``x y`` of the points, the box ``x0 y0 x1 y1``, six attributes,
    and the picture in ``WFLW_images``; a file with train or test in its name is of that part.

    Raises:
        DescentError: if a line does not hold that.

    References:
        W. Wu, C. Qian, S. Yang, Q. Wang, Y. Cai and Q. Zhou. Look at boundary: a boundary-aware
        face alignment algorithm. CVPR 2018.
    """

    name = "wflw"
    endings = (".txt",)

    def fits(self, path: Path) -> bool:
        return _width(path) == _WIDTH

    def read(self, path: Path) -> list[Labelled]:
        labels = []
        for where, words in _lines(path, _WIDTH):
            values = [parse_number(word, where, "face") for word in words[:-1]]
            points = torch.tensor(values[: 2 * _WFLW], dtype=torch.float64).view(-1, 2)
            box = values[2 * _WFLW : 2 * _WFLW + 4]
            image = find_image(path, words[-1], ("WFLW_images", "images"))
            labels.append(Labelled.of(image, points, where, box=box, split=_part(path)))
        return labels


@final
class COFW(LabelFormat):
    """COFW as text: the picture, then the row of ``phis``: 29 numbers ``x``, 29 ``y``, and whether
    each point is hidden; perhaps the box ``x y width height``. Pixels count from 1.

    A hidden point counts as any other: its position is labelled.

    Raises:
        DescentError: if a line does not hold that.

    References:
        X. P. Burgos-Artizzu, P. Perona and P. Dollar. Robust face landmark estimation under
        occlusion. ICCV 2013.
    """

    name = "cofw"
    endings = (".txt",)

    def fits(self, path: Path) -> bool:
        return _width(path) in (3 * _COFW + 1, 3 * _COFW + 5)

    def read(self, path: Path) -> list[Labelled]:
        labels = []
        for where, words in _lines(path, 3 * _COFW + 1, 3 * _COFW + 5):
            points, box = _columns(words, _COFW, where)
            corners = None
            if box:
                x, y, width, height = box
                corners = [x - 1, y - 1, x - 1 + width, y - 1 + height]
            image = find_image(path, words[0])
            labels.append(Labelled.of(image, points - 1, where, box=corners, split=_part(path)))
        return labels


@final
class AFLW(LabelFormat):
    """AFLW of 19 points as text: the picture, 19 numbers ``x``, 19 ``y``, and whether each point is
    seen; perhaps the box ``left right top bottom``.

    A hidden point counts as any other where it has a position; one at ``0 0`` or below has none.

    Raises:
        DescentError: if a line does not hold that.

    References:
        S. Zhu, C. Li, C. C. Loy and X. Tang. Unconstrained face alignment via cascaded
        compositional learning. CVPR 2016.
    """

    name = "aflw"
    endings = (".txt",)

    def fits(self, path: Path) -> bool:
        return _width(path) in (3 * _AFLW + 1, 3 * _AFLW + 5)

    def read(self, path: Path) -> list[Labelled]:
        labels = []
        for where, words in _lines(path, 3 * _AFLW + 1, 3 * _AFLW + 5):
            points, box = _columns(words, _AFLW, where)
            points[(points <= 0).all(1)] = torch.nan
            corners = [box[0], box[2], box[1], box[3]] if box else None
            image = find_image(path, words[0])
            labels.append(Labelled.of(image, points, where, box=corners, split=_part(path)))
        return labels


def _columns(words: list[str], count: int, where: str) -> tuple[torch.Tensor, list[float]]:
    """The points ``(L, 2)`` of a line that has all columns before all rows, and its box."""
    values = [parse_number(word, where, "face") for word in words[1:]]
    points = torch.tensor(values[: 2 * count], dtype=torch.float64).view(2, count).T.clone()
    return points, values[3 * count :]


def _lines(path: Path, *widths: int) -> Iterator[tuple[str, list[str]]]:
    """The lines that are not empty, in words, with their places."""
    found = False
    for number, words in enumerate(_words(path), 1):
        if words and len(words) not in widths:
            wanted = " or ".join(map(str, widths))
            raise DescentError(
                f"{path}:{number}: expected {wanted} words, got {len(words)}; mend the line"
            )
        if words:
            found = True
            yield f"{path}:{number}", words
    if not found:
        raise DescentError(f"{path}: it is empty; expected a line for each face")


def _width(path: Path) -> int:
    """The words of the first line that has some."""
    return next((len(words) for words in _words(path) if words), 0)


def _words(path: Path) -> Iterator[list[str]]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            for line in file:
                yield line.split()
    except (OSError, ValueError) as error:
        raise unreadable(path, "lines of text", error) from error


def _part(path: Path) -> Split | None:
    """The part of the data that the name of a file tells."""
    name = path.stem.lower()
    parts: list[Split] = [part for part in ("train", "test") if part in name]
    return parts[0] if len(parts) == 1 else None
