"""CSV with a row a picture."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from learned_descent import DescentError
from learned_descent.landmarks.formats.csv_pictures import CSVPictures
from learned_descent.landmarks.formats.format import Labelled

from .shared import found, same, written

NAMED = """\
Image Name,split,box_x0,box_y0,box_x1,box_y1,root_x,root_y,tip_x,tip_y,tip_v
a.png,train,1,2,60,50,3.5,4,50,6,0.5
b.png,,,,,,5,4,,,
"""


def test_named_points(tmp_path: Path):
    first, second = found(tmp_path / "wings.csv", NAMED, CSVPictures)
    assert first.image == tmp_path / "a.png"
    assert first.names == ("root", "tip")
    assert first.points.tolist() == [[3.5, 4.0], [50.0, 6.0]]
    assert first.weights.tolist() == [1.0, 0.5]
    assert first.box == (1.0, 2.0, 60.0, 50.0)
    assert first.split == "train"
    assert second.weights.tolist() == [1.0, 0.0]
    assert second.box is None
    assert second.split is None


@pytest.mark.parametrize(
    "titles", ["file;x0;y0;x1;y1", "file;x_1;y_1;x_2;y_2", "file;x9;y9;X10;Y10"]
)
def test_numbered_points_in_their_order(tmp_path: Path, titles: str):
    (label,) = found(tmp_path / "wings.csv", f"{titles}\na.png;1;2;3;4\n", CSVPictures)
    assert label.names == ()
    assert label.points.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    back = ";".join([*titles.split(";")[:1], *titles.split(";")[:0:-1]])
    (label,) = found(tmp_path / "back.csv", f"{back}\na.png;4;3;2;1\n", CSVPictures)
    assert label.points.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_an_empty_weight_is_one(tmp_path: Path):
    (label,) = found(tmp_path / "wings.csv", "image,x0,y0,v0\na.png,1,2,\n", CSVPictures)
    assert label.weights.tolist() == [1.0]


def test_sides_of_a_box(tmp_path: Path):
    text = "image\tleft\ttop\twidth\theight\tx0\ty0\na.png\t5\t6\t10\t20\t7\t8\n"
    (label,) = found(tmp_path / "wings.tsv", text, CSVPictures)
    assert label.box == (5.0, 6.0, 15.0, 26.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "wings.csv: it is empty"),
        ("image,x0,y0\n", "there are no labels below its titles"),
        ("x0,y0\n1,2\n", "no column of pictures; expected one with the title image, got x0, y0"),
        ("image,x0,y0,x0\na,1,2,3\n", "the column 'x0' is there twice"),
        ("image,x0,y0,size\na,1,2,3\n", "the column 'size' is not known; expected image, split"),
        ("image,x0,y0,x1\na,1,2,3\n", "point '1' has the columns x1; expected its x and its y"),
        ("image,x0,y0\na,1,2,3\n", "wings.csv:2: expected 3 cells, as there are titles, got 4"),
        ("image,x0,y0\na,1,two\n", "wings.csv:2: y0: expected a number, got 'two'"),
        ("image,x0,y0\na,1,\n", r"wings.csv:2: point '0' has half a position \(1, nan\)"),
        ("image,x0,y0,v0\na,1,2,7\n", "wings.csv:2: expected weights from 0 to 1"),
        ("image,x0,y0\n,1,2\n", "wings.csv:2: it names no picture"),
        (
            "image,split,x0,y0\na,trian,1,2\n",
            "got 'trian': did you mean train?",
        ),
        ("image\na\n", "no column of points"),
    ],
)
def test_each_mistake_is_named(tmp_path: Path, text: str, message: str):
    file = tmp_path / "wings.csv"
    file.write_text(text)
    with pytest.raises(DescentError, match=message):
        CSVPictures().read(file)


@pytest.mark.parametrize("names", [(), ("root", "tip")])
def test_what_is_written_is_read_again(tmp_path: Path, names: tuple[str, ...]):
    nowhere = [torch.nan, torch.nan]
    labels = [
        Labelled.of(
            tmp_path / "in" / "a.png", [[1.25, 2.0], [3.0, 4.5]], "a", weights=[1.0, 0.25],
            names=names, box=[0, 1, 9, 8.5], split="val",
        ),
        Labelled.of(tmp_path / "b.png", [[5.0, 6.0], nowhere], "b", names=names),
    ]  # fmt: skip
    again = written(tmp_path / "wings.csv", CSVPictures, labels)
    for one, other in zip(labels, again):
        same(one, other)
        assert (one.names, one.box, one.split) == (other.names, other.box, other.split)
    assert again[0].image == tmp_path / "in" / "a.png"


def test_labels_of_several_markups_are_not_written(tmp_path: Path):
    labels = [Labelled.of(tmp_path / "a.png", torch.ones(count, 2), "a") for count in (1, 2)]
    with pytest.raises(DescentError, match="expected labels of one markup to write, got 2"):
        CSVPictures().write(tmp_path / "wings.csv", labels)
