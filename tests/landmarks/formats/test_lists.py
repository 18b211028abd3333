"""The lists of WFLW, COFW and AFLW."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from learned_descent import DescentError
from learned_descent.landmarks.formats.format import LabelFormat
from learned_descent.landmarks.formats.lists import AFLW, COFW, WFLW

from .shared import found, picture


def words(count: int, start: int = 1) -> str:
    return " ".join(map(str, range(start, start + count)))


def test_wflw(tmp_path: Path):
    image = picture(tmp_path / "WFLW_images" / "0--Parade" / "a.jpg")
    folder = tmp_path / "WFLW_annotations" / "lists"
    folder.mkdir(parents=True)
    line = f"{words(196)} 5 6 70 80 0 1 0 0 0 1 0--Parade/a.jpg\n"
    (label,) = found(folder / "list_98pt_rect_attr_train.txt", line, WFLW)
    assert label.image == image
    assert label.points.shape == (98, 2)
    assert label.points[-1].tolist() == [195.0, 196.0]
    assert label.box == (5.0, 6.0, 70.0, 80.0)
    assert label.split == "train"


@pytest.mark.parametrize("box", ["", " 5 6 70 80"])
def test_cofw(tmp_path: Path, box: str):
    line = f"a.jpg {words(29)} {words(29, 101)} {'0 ' * 28}1{box}\n"
    (label,) = found(tmp_path / "cofw.txt", line, COFW)
    assert label.points[0].tolist() == [0.0, 100.0], "pixels count from 1"
    assert label.points[28].tolist() == [28.0, 128.0]
    assert (label.weights == 1).all(), "hidden points count"
    assert label.box == ((4.0, 5.0, 74.0, 85.0) if box else None)
    assert label.split is None


@pytest.mark.parametrize("box", ["", " 5 70 6 80"])
def test_aflw(tmp_path: Path, box: str):
    line = f"0/a.jpg 0 {words(18, 2)} 0 {words(18, 102)} {'1 ' * 19}{box}\n"
    (label,) = found(tmp_path / "aflw_test.txt", line, AFLW)
    assert label.points[1].tolist() == [2.0, 102.0]
    assert label.weights.tolist() == [0.0] + [1.0] * 18, "0 0 is no position"
    assert torch.isnan(label.points[0]).all()
    assert label.box == ((5.0, 6.0, 70.0, 80.0) if box else None)
    assert label.split == "test"


@pytest.mark.parametrize("kind", [WFLW, COFW, AFLW])
def test_each_mistake_is_named(tmp_path: Path, kind: type[LabelFormat]):
    file = tmp_path / "faces.txt"
    file.write_text("a.jpg 1 2 3\n")
    with pytest.raises(DescentError, match=r"faces.txt:1: expected \d+.* words, got 4; mend"):
        kind().read(file)
    file.write_text("\n")
    with pytest.raises(DescentError, match=r"faces.txt: it is empty"):
        kind().read(file)
    file.write_text(f"{'a ' * (207 if kind is WFLW else 88 if kind is COFW else 58)}\n")
    with pytest.raises(DescentError, match=r"faces.txt:1: face: expected a number, got 'a'"):
        kind().read(file)
