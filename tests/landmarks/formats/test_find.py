"""Which files hold labels, and in which format."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import get_args

import pytest

from learned_descent import DescentError
from learned_descent.landmarks.formats import LABEL_FORMATS, FormatName
from learned_descent.landmarks.formats.find import find_format, read_labels
from learned_descent.landmarks.labelled import LabelledLandmarks

from .shared import picture

COCO = {
    "images": [{"id": 1, "file_name": "a.png"}],
    "categories": [{"id": 1, "keypoints": []}],
    "annotations": [{"image_id": 1, "category_id": 1, "keypoints": [math.inf, 4, 2]}],
}
LABELME = {
    "imagePath": "a.png",
    "shapes": [{"label": "tip", "points": [[3, -math.inf]], "shape_type": "point"}],
}

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
    (tmp_path / ".checkpoints").mkdir()
    (tmp_path / ".checkpoints" / "labels.csv").write_text(ROW)
    labels = read_labels([tmp_path])
    assert [label.image.parent.name for label in labels] == ["one", "deep"]
    with pytest.raises(DescentError, match=r"there are no labels in .*; expected files of .* dlib"):
        read_labels([tmp_path], "dlib")


@pytest.mark.parametrize("name", ["boxes", "bounding_boxes", ".hidden"])
def test_folders_above_the_data_have_any_name(tmp_path: Path, name: str):
    folder = tmp_path / name / "wings"
    folder.mkdir(parents=True)
    (folder / "labels.csv").write_text(ROW)
    for given in (folder, folder.parent):
        assert len(read_labels([given])) == 1
    with pytest.raises(DescentError, match="there are no labels in"):
        read_labels([tmp_path])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (None, "", "data: there is no file or folder .*nothing.csv; check the path"),
        ("a.odd", "", "a.odd: no format is known by this ending and content; expected one of csv"),
        ("a.txt", "1 2 3", "a.txt: no format is known by this ending"),
        ("a.json", "{}", "a.json: no format is known by this ending"),
        ("a.csv", "a.png,1,2\n", "known by .* its first row, a.png,1,2: expected titles such as"),
        ("a.csv", b"image,x0,y0\nfl\xfcgel.png,1,2\n", "a table of text in UTF-8, got byte 0xfc"),
        ("a.csv", "image;x0;y0\na.png;1,5;2\n", "expected a number, got '1,5'; write a point"),
        ("a.csv", "image,x0,y0\na.png,1,5,2\n", "write numbers with a point, not a comma"),
        ("a.json", b'{"\xfc": 1}', "a JSON file in UTF-8, got byte 0xfc"),
    ],
)
def test_what_is_not_recognised(tmp_path: Path, name: str | None, text: str | bytes, message: str):
    path = tmp_path / (name or "nothing.csv")
    if name:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
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


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "image,x0,y0\na.png,inf,-inf\n", "a.csv:2: x0: expected a finite number, got"),
        ("a.csv", "image,x0,y0\na.png,1,-Infinity\n", "a.csv:2: y0: expected a finite .*'-Infin"),
        ("a.csv", "image,x0,y0\na.png,1e999,4\n", "a.csv:2: x0: expected a finite .*'1e999'"),
        ("a.csv", "image,point,x,y\na.png,0,3,inf\n", "a.csv:2: y: expected a finite number"),
        ("a.tps", "LM=1\n-inf -inf\nIMAGE=a.png\n", "a.tps:2: point: expected a finite number"),
        ("a.pts", "{\ninf inf\n}\n", "a.pts: point 0 .* is not finite"),
        ("a.json", json.dumps(COCO), r"a.json: annotations\[0\]: point 0 .* lies at \(inf, 4\)"),
        ("a.json", json.dumps(LABELME), r"a.json: point 'tip' lies at \(3, -inf\): expected fin"),
    ],
)
def test_what_is_infinite_is_not_missing(tmp_path: Path, name: str, text: str, message: str):
    picture(tmp_path / "a.png")
    (tmp_path / name).write_text(text)
    with pytest.raises(DescentError, match=message):
        read_labels([tmp_path / name])


@pytest.mark.parametrize("cells", ["nan,NaN", ","])
def test_nan_and_an_empty_cell_are_missing(tmp_path: Path, cells: str):
    (tmp_path / "a.csv").write_text(f"image,x0,y0,x1,y1\na.png,3,4,{cells}\n")
    (label,) = read_labels([tmp_path / "a.csv"])
    assert label.weights.tolist() == [1.0, 0.0]


def test_a_json_is_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each format that shares the ending looks into it."""
    picture(tmp_path / "a.png")
    tip = {"label": "tip", "points": [[3, 4]], "shape_type": "point"}
    (tmp_path / "a.json").write_text(json.dumps({"imagePath": "a.png", "shapes": [tip]}))
    parsed, loads = [], json.loads
    monkeypatch.setattr(json, "loads", lambda text: parsed.append(text) or loads(text))
    assert len(read_labels([tmp_path / "a.json"])) == 1
    assert len(parsed) == 1
