"""Which files hold labels, and in which format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from learned_descent import DescentError
from learned_descent.landmarks.formats import LABEL_FORMATS, FormatName
from learned_descent.landmarks.formats.find import find_format, read_labels
from learned_descent.landmarks.labelled import LabelledLandmarks

from .shared import picture

ROW = "image,x0,y0\na.png,3,4\n"
OWN = """\
from pathlib import Path
from learned_descent.landmarks.formats.format import LabelFormat, Labelled

class Pairs(LabelFormat):
    name = "pairs"
    endings = (".pairs",)

    def read(self, path):
        return [Labelled.of(path.parent / "a.png", [[1.0, 2.0]], str(path))]
"""


def test_every_format_has_the_name_it_is_called_by():
    assert get_args(FormatName) == tuple(LABEL_FORMATS)
    for name in LABEL_FORMATS:
        made = find_format(name)  # type: ignore[arg-type]
        assert made.name == name
        assert all(ending.startswith(".") for ending in made.endings)


def test_a_format_of_ones_own(tmp_path: Path):
    code = tmp_path / "own.py"
    code.write_text(OWN)
    (tmp_path / "wings.pairs").touch()
    (label,) = read_labels([tmp_path], Path(f"{code}:Pairs"))
    assert label.points.tolist() == [[1.0, 2.0]]
    problem = LabelledLandmarks(str(tmp_path / "wings.pairs"), format=Path(f"{code}:Pairs"))
    assert problem.schema.num_points == 1
    with pytest.raises(DescentError, match=r"format: expected one of csv, .*own.py:Pairs"):
        LabelledLandmarks(format=f"{code}:Pairs")  # type: ignore[arg-type]  # text runs no code


def test_folders_of_several_files(tmp_path: Path):
    for folder in ("one", "two/deep"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "labels.csv").write_text(ROW)
    (tmp_path / "boxes.csv").write_text("a.png,1,2,3,4\n")
    (tmp_path / ".hidden.csv").write_text("nonsense")
    labels = read_labels([tmp_path])
    assert [label.image.parent.name for label in labels] == ["one", "deep"]
    with pytest.raises(DescentError, match=r"there are no labels in .*; expected files of .* dlib"):
        read_labels([tmp_path], "dlib")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (None, "", "data: there is no file or folder .*nothing.csv; check the path"),
        ("a.odd", "", "a.odd: no format is known by this ending and content; expected one of csv"),
        ("a.txt", "1 2 3", "a.txt: no format is known by this ending"),
        ("a.json", "{}", "a.json: no format is known by this ending"),
        ("a.csv", "one,two\n1,2\n", "a.csv: no format is known by this ending"),
    ],
)
def test_what_is_not_recognised(tmp_path: Path, name: str | None, text: str, message: str):
    path = tmp_path / (name or "nothing.csv")
    if name:
        path.write_text(text)
    with pytest.raises(DescentError, match=message):
        read_labels([path])


def test_several_formats_in_a_folder(tmp_path: Path):
    picture(tmp_path / "a.png")
    (tmp_path / "a.pts").write_text("{\n1 2\n}\n")
    (tmp_path / "labels.csv").write_text(ROW)
    with pytest.raises(DescentError, match="holds labels in several formats, pts and csv: name"):
        read_labels([tmp_path])
    assert len(read_labels([tmp_path], "csv")) == 1
    with pytest.raises(DescentError, match="there are no labels in"):
        read_labels([picture(tmp_path / "empty" / "a.png").parent])
    with pytest.raises(DescentError, match="data: expected files or folders of labels, got none"):
        read_labels([])


def test_what_is_odd_in_an_unforeseen_way_is_one_message(tmp_path: Path):
    file = tmp_path / "labels.json"
    image = {"id": [], "file_name": "a.png"}
    file.write_text(json.dumps({"images": [image], "annotations": [], "categories": []}))
    with pytest.raises(DescentError, match=r"labels.json: reading it as coco failed with Type"):
        read_labels([file])
