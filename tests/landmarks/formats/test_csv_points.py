"""CSV with a row a point."""

from __future__ import annotations

from pathlib import Path

import pytest

from learned_descent import DescentError
from learned_descent.landmarks.formats.csv_points import CSVPoints

from .shared import found

NAMED = """\
image,point,x,y,visible,split
a.png,root,3,4,1,train
a.png,tip,50,6,0,train
b.png,tip,40,7,,test
"""


def test_named_points(tmp_path: Path):
    first, second = found(tmp_path / "wings.csv", NAMED, CSVPoints)
    assert first.names == second.names == ("root", "tip")
    assert first.points.tolist() == [[3.0, 4.0], [50.0, 6.0]]
    assert first.weights.tolist() == [1.0, 0.0], "what is not visible counts nowhere"
    assert second.weights.tolist() == [0.0, 1.0], "a row that is not there"
    assert (first.split, second.split) == ("train", "test")
    assert first.where == f"{tmp_path / 'wings.csv'}:2"


def test_numbered_points_are_sorted(tmp_path: Path):
    text = "image,landmark,x,y\na.png,10,1,2\na.png,9,3,4\n"
    (label,) = found(tmp_path / "wings.csv", text, CSVPoints)
    assert label.names == ()
    assert label.points.tolist() == [[3.0, 4.0], [1.0, 2.0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,point,x\na,0,1\n", "expected the columns image, point, x and y, got point, x"),
        ("image,point,x,y,z\na,0,1,2,3\n", "the column 'z' is not known; expected image, point"),
        ("image,point,x,y\na,0,1,2\na,0,3,4\n", "wings.csv:3: a has point '0' twice"),
        ("image,point,x,y\na,0,1,two\n", "wings.csv:2: y: expected a number, got 'two'"),
    ],
)
def test_each_mistake_is_named(tmp_path: Path, text: str, message: str):
    file = tmp_path / "wings.csv"
    file.write_text(text)
    with pytest.raises(DescentError, match=message):
        CSVPoints().read(file)


def test_it_is_only_read(tmp_path: Path):
    with pytest.raises(DescentError, match="format 'csv-points': it is only read; write csv, coco"):
        CSVPoints().write(tmp_path / "wings.csv", [])
