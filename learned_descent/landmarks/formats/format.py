"""What a format is, and what every one of them reads and writes: pictures with labelled points."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ...data.samples import Split
from ...errors import DescentError
from ...system.text import suggestion

_SPLITS: dict[str, Split] = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Labelled:
    """The labelled points of one thing in one picture.

    Args:
        image: the picture.
        points: ``(column, row)`` in px of the picture as it is displayed; the centre of its first
            pixel is ``(0, 0)``. NaN where a point is not labelled.
        weights: what each point counts, from 0 to 1; 0 where it is not labelled.
        where: the place of the label for messages, such as ``wings.csv:3``.
        names: the names of the points, where the file knows them.
        box: the box around the thing, ``x0 y0 x1 y1`` in px, where the file knows it.
        split: the part of the data that the file says it belongs to.

    Raises:
        DescentError: if points and weights do not agree, a position is infinite, or a weight is not
            in 0..1.

    Example:
        >>> label = Labelled.of(Path("a.png"), [[3.0, 4.0], [torch.nan, torch.nan]], "wings.csv:2")
        >>> label.weights.tolist()
        [1.0, 0.0]
    """

    image: Path
    points: Float[Tensor, "L 2"]
    weights: Float[Tensor, " L"]
    where: str
    names: tuple[str, ...] = ()
    box: tuple[float, float, float, float] | None = None
    split: Split | None = None

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.points.shape[1:] != (2,) or not len(self.points):
            raise self._error(f"expected points (L, 2), got {tuple(self.points.shape)}")
        if self.weights.shape != self.points.shape[:1]:
            raise self._error(
                f"expected a weight for each of the {len(self.points)} points, got "
                f"{tuple(self.weights.shape)}"
            )
        if self.names and len(self.names) != len(self.points):
            raise self._error(
                f"expected a name for each of the {len(self.points)} points, got {len(self.names)}"
            )
        if not ((self.weights >= 0) & (self.weights <= 1)).all():
            raise self._error("expected weights from 0 to 1; write 0 for a point that is not known")
        endless = self.points.isinf().any(1)
        if endless.any():
            point = int(endless.nonzero()[0])
            column, row = self.points[point].tolist()
            raise self._error(
                f"point {self.named(point)} lies at ({column:g}, {row:g}): expected finite "
                "numbers; mend it, or write nan where it is not labelled"
            )
        lost = (self.weights > 0) & ~self.points.isfinite().all(1)
        if lost.any():
            point = int(lost.nonzero()[0])
            raise self._error(
                f"point {self.named(point)} counts, but has no position; write both numbers, or a "
                "weight of 0"
            )

    @classmethod
    def of(
        cls,
        image: Path,
        points: Sequence[Sequence[float]] | Tensor,
        where: str,
        *,
        weights: Sequence[float] | None = None,
        names: Sequence[str] = (),
        box: Sequence[float] | None = None,
        split: Split | None = None,
    ) -> Labelled:
        """The label of numbers as they are read; a point without a position weighs nothing.

        Raises:
            DescentError: as the class does, or if the box is no four numbers.
        """
        made = torch.as_tensor(points, dtype=torch.float64)
        if box is not None and len(box) != 4:
            raise DescentError(f"{where}: expected a box x0 y0 x1 y1, got {list(box)}")
        known = made.isfinite().all(-1).double() if made.ndim == 2 else torch.ones(len(made))
        if weights is not None:
            known = known * torch.tensor(list(weights), dtype=torch.float64)
        corners = None if box is None else (box[0], box[1], box[2], box[3])
        return cls(image, made, known, where, tuple(names), corners, split)

    def around(self) -> tuple[float, float, float, float]:
        """The box of the points that count, ``x0 y0 x1 y1`` in px."""
        known = self.points[self.weights > 0]
        x0, y0, x1, y1 = torch.cat([known.amin(0), known.amax(0)]).tolist()
        return x0, y0, x1, y1

    def named(self, point: int) -> str:
        """What a message calls a point: its name, or its number from 0."""
        return repr(self.names[point]) if self.names else f"{point} (from 0)"

    def _error(self, message: str) -> DescentError:
        return DescentError(f"{self.where}: {message}")


class LabelFormat(ABC):
    """A way to write down labelled pictures.

    A format of one's own is named on the command line by ``--problem.format file.py:Class``.
    """

    name: ClassVar[str]
    """What ``--problem.format`` calls it."""

    endings: ClassVar[tuple[str, ...]]
    """The endings of its files, in small letters, such as ``(".csv",)``."""

    a_file_each: ClassVar[bool] = False
    """Whether a file is of one picture, so that labels are written into a folder."""

    @abstractmethod
    def read(self, path: Path) -> list[Labelled]:
        """The labels of a file.

        Raises:
            DescentError: if the file is broken: the message names the place.
        """

    def fits(self, path: Path) -> bool:
        """Whether a file with one of the ``endings`` is of this format; a look inside where other
        formats share them.
        """
        return True

    def write(self, path: Path, labelled: Sequence[Labelled]) -> None:
        """Writes labels, atomically: a file or, of a format of one file a picture, a folder.

        Raises:
            DescentError: if this format is only read, or cannot say what the labels say.
        """
        raise DescentError(
            f"format {self.name!r}: it is only read; write csv, coco, dlib, pts or ljson"
        )


def split_of(word: str, where: str) -> Split | None:
    """The part of the data that a word means; None for no word.

    Raises:
        DescentError: if it means none.

    Example:
        >>> split_of("Training", "wings.csv:2")
        'train'
    """
    text = word.strip().lower()
    if text and text not in _SPLITS:
        raise DescentError(
            f"{where}: split: expected train, val or test, got {word!r}{suggestion(text, _SPLITS)}"
        )
    return _SPLITS[text] if text else None


def parse_number(text: str, where: str, what: str) -> float:
    """A number of a file; NaN where there is none.

    Raises:
        DescentError: if it is something else, or infinite.

    Example:
        >>> parse_number(" 3.5 ", "wings.csv:2", "x0"), parse_number("", "wings.csv:2", "x0")
        (3.5, nan)
    """
    try:
        value = float(text) if text.strip() else torch.nan
    except ValueError as error:
        comma = "; write a point for the comma" if re.fullmatch(r"\s*-?\d+,\d+\s*", text) else ""
        raise DescentError(f"{where}: {what}: expected a number, got {text!r}{comma}") from error
    if math.isinf(value):
        raise DescentError(f"{where}: {what}: expected a finite number, got {text!r}; mend it")
    return value


def relative(image: Path, folder: Path) -> str:
    """The path of a picture as a file in ``folder`` names it.

    Example:
        >>> relative(Path("/data/pictures/a.png"), Path("/data"))
        'pictures/a.png'
    """
    image, folder = image.resolve(), folder.resolve()
    inside = image.is_relative_to(folder)
    return (image.relative_to(folder) if inside else image).as_posix()


def one_markup(path: Path, labelled: Sequence[Labelled]) -> tuple[str, ...]:
    """The names of the points of labels that are to be written to one file; none where they have
    none.

    Raises:
        DescentError: if there are no labels, or they differ in the number or the names of points.
    """
    kinds = {(len(label.points), label.names) for label in labelled}
    if len(kinds) != 1:
        raise DescentError(
            f"{path}: expected labels of one markup to write, got {len(kinds)}; write one file each"
        )
    return kinds.pop()[1]
