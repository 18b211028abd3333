"""The files of menpo and of 300-W: the points of one picture in a file beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import final

import torch

from ...data.pictures import PICTURE_ENDINGS
from ...errors import DescentError
from ..point_files import quiet_menpo, read_landmarks, write_landmarks
from .format import LabelFormat, Labelled, one_markup


@final
class PTS(LabelFormat):
    r"""``.pts``: two numbers a line between braces, counted from 1, beside a picture of its name.

    It is written as a folder of one file a picture; a point that is not labelled is ``nan nan``.

    Raises:
        DescentError: if the file is broken, or there is not one picture of its name.

    References:
        C. Sagonas, E. Antonakos, G. Tzimiropoulos, S. Zafeiriou and M. Pantic. 300 faces
        in-the-wild challenge: database and results. Image and Vision Computing 47, 2016.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "a.png").touch()
        >>> _ = (folder / "a.pts").write_text("version: 1\nn_points: 1\n{\n4 5\n}\n")
        >>> PTS().read(folder / "a.pts")[0].points.tolist()
        [[3.0, 4.0]]
    """

    name = "pts"
    endings = (".pts",)
    a_file_each = True

    def read(self, path: Path) -> list[Labelled]:
        return [_beside(path)]

    def write(self, path: Path, labelled: Sequence[Labelled]) -> None:
        _write(path, labelled, self.endings[0])


@final
class LJSON(LabelFormat):
    """``.ljson`` of menpo: rows before columns, counted from 0, beside a picture of its name.

    It is written as a folder of one file a picture; a point that is not labelled is null.

    Raises:
        DescentError: if the file is broken, or there is not one picture of its name.

    References:
        J. Alabort-i-Medina, E. Antonakos, J. Booth, P. Snape and S. Zafeiriou. Menpo: a
        comprehensive platform for parametric image alignment and visual deformable models. ACM
        Multimedia 2014.
    """

    name = "ljson"
    endings = (".ljson",)
    a_file_each = True

    def read(self, path: Path) -> list[Labelled]:
        return [_beside(path)]

    def write(self, path: Path, labelled: Sequence[Labelled]) -> None:
        _write(path, labelled, self.endings[0])


def _beside(path: Path) -> Labelled:
    """The label of the picture that has the name of the file."""
    # Names before paths: a folder is listed for each of its thousands of files.
    with os.scandir(path.parent) as others:
        named = sorted(other.name for other in others if other.name.startswith(path.stem))
    found = [
        other
        for other in map(path.with_name, named)
        if other.stem == path.stem and other.suffix.lower() in PICTURE_ENDINGS
    ]
    if len(found) != 1:
        raise DescentError(
            f"{path}: expected one picture of this name beside it, got {len(found)}; add or remove "
            "files"
        )
    with quiet_menpo():
        points = read_landmarks(path)
    return Labelled.of(found[0], torch.from_numpy(points), str(path))


def _write(folder: Path, labelled: Sequence[Labelled], ending: str) -> None:
    one_markup(folder, labelled)
    counts: dict[str, int] = {}
    for label in labelled:
        if not ((label.weights == 0) | (label.weights == 1)).all():
            raise DescentError(
                f"{label.where}: a point weighs neither 0 nor 1, which {ending} cannot say; write "
                "csv"
            )
        name = label.image.stem
        counts[name] = counts.get(name, 0) + 1
        if counts[name] > 1:
            raise DescentError(
                f"{label.where}: {name}{ending} is written already; a file holds the points of one "
                "thing in a picture"
            )
        known = (label.weights > 0).unsqueeze(1)
        points = torch.where(known, label.points, torch.nan)
        write_landmarks(folder / f"{name}{ending}", points)
