"""The TPS files of geometric morphometrics, as tpsDig writes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import torch

from ...data.pictures import picture_size
from ...errors import DescentError
from .documents import find_image, is_file
from .format import LabelFormat, Labelled, parse_number


@final
class TPS(LabelFormat):
    r"""TPS files: ``LM=`` and the points of a specimen, then ``IMAGE=``, ``ID=`` and ``SCALE=``.

    Rows are counted from the bottom of the picture, so its height is looked up: the first row from
    the bottom is 0. A point of negative numbers, or ``NA``, is not labelled. The scale turns pixels
    into millimetres and changes no position; curves and outlines are passed over.

    Raises:
        DescentError: if a specimen has fewer points than it says or no picture, a number is none,
            or a picture does not decode.

    References:
        F. J. Rohlf. The tps series of software. Hystrix 26, 2015.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (80, 60)).save(folder / "a.png")
        >>> _ = (folder / "wings.tps").write_text("LM=2\n3 4\n50 6\nIMAGE=a.png\nID=0\n")
        >>> TPS().read(folder / "wings.tps")[0].points.tolist()
        [[3.0, 55.0], [50.0, 53.0]]
    """

    name = "tps"
    endings = (".tps",)

    def read(self, path: Path) -> list[Labelled]:
        return [_labelled(path, specimen) for specimen in _specimens(path)]


@dataclass
class _Specimen:
    """A specimen of a file: its points as they are written, and its entries by their names."""

    line: int
    count: int
    points: list[tuple[float, float]] = field(default_factory=list)
    entries: dict[str, str] = field(default_factory=dict)


def _specimens(path: Path) -> Iterator[_Specimen]:
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise DescentError(f"{path}: expected a TPS file: {error}") from error
    current: _Specimen | None = None
    for number, line in enumerate(lines, 1):
        where = f"{path}:{number}"
        key, equals, value = (word.strip() for word in line.partition("="))
        if key.upper() == "LM":
            if current is not None:
                yield current
            current = _Specimen(number, _count(value, where))
        elif equals and current is not None:
            current.entries[key.upper()] = value
        elif key and current is not None:
            # What follows CURVES= or OUTLINES= are no landmarks
            if len(current.points) < current.count:
                current.points.append(_point(line, where))
            elif not {"CURVES", "OUTLINES", "POINTS"} & {*current.entries}:
                raise DescentError(
                    f"{where}: more points than the {current.count} of LM= in line {current.line}; "
                    "mend one of them"
                )
        elif key or equals:
            raise DescentError(
                f"{where}: expected LM= and a number of points, got {line.strip()!r}"
            )
    if current is None:
        raise DescentError(f"{path}: there is no specimen; expected LM= and a number of points")
    yield current


def _count(value: str, where: str) -> int:
    if not value.isdecimal() or int(value) == 0:
        raise DescentError(f"{where}: LM: expected a number of points, got {value!r}")
    return int(value)


def _point(line: str, where: str) -> tuple[float, float]:
    words = line.split()
    if len(words) != 2:
        raise DescentError(f"{where}: expected a column and a row, got {line.strip()!r}")
    if all(word.upper() in ("NA", "NAN") for word in words):
        return torch.nan, torch.nan
    x, y = (parse_number(word, where, "point") for word in words)
    return (torch.nan, torch.nan) if x < 0 and y < 0 else (x, y)


def _labelled(path: Path, specimen: _Specimen) -> Labelled:
    where = f"{path}:{specimen.line}"
    if len(specimen.points) != specimen.count:
        raise DescentError(
            f"{where}: LM={specimen.count}, and {len(specimen.points)} points follow; mend it"
        )
    if not specimen.entries.get("IMAGE"):
        raise DescentError(f"{where}: it names no picture; add a line IMAGE=")
    image = find_image(path, specimen.entries["IMAGE"])
    points = torch.tensor(specimen.points, dtype=torch.float64)
    if is_file(image):  # that there is none is said of all pictures at once
        points[:, 1] = _height(image, where) - 1 - points[:, 1]
    return Labelled.of(image, points, where)


def _height(image: Path, where: str) -> int:
    try:
        return picture_size(image)[0]
    except DescentError as error:
        raise DescentError(f"{where}: {error}") from error
