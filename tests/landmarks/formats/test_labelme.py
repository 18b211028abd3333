"""The JSON of labelme."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from learned_descent import DescentError
from learned_descent.landmarks.formats.labelme import LabelMe
from learned_descent.landmarks.labelled import LabelledLandmarks

from .shared import found, picture

ROOT = {"label": "root", "points": [[3.5, 4]], "shape_type": "point", "group_id": None}
TIP = {**ROOT, "label": "tip", "points": [[50, 6]]}
BOX = {**ROOT, "label": "wing", "points": [[60, 40], [1, 2]], "shape_type": "rectangle"}
OUTLINE = {**ROOT, "label": "outline", "points": [[1, 2], [3, 4], [5, 6]], "shape_type": "polygon"}


def text(*shapes: dict[str, Any]) -> str:
    return json.dumps({"version": "5.0", "imagePath": "a.png", "shapes": shapes})


def test_points_and_a_box(tmp_path: Path):
    (label,) = found(tmp_path / "a.json", text(TIP, BOX, OUTLINE, ROOT), LabelMe)
    assert label.names == ("tip", "root")
    assert label.points.tolist() == [[50.0, 6.0], [3.5, 4.0]]
    assert label.box == (1.0, 2.0, 60.0, 40.0)
    assert label.image == tmp_path / "a.png"


def test_groups_are_things_of_their_own(tmp_path: Path):
    shapes = [ROOT, {**ROOT, "group_id": 1}, {**TIP, "group_id": 1}, {**BOX, "group_id": 2}]
    first, second = found(tmp_path / "a.json", text(*shapes), LabelMe)
    assert first.names == ("root",)
    assert second.names == ("root", "tip")


def test_points_in_any_order_are_one_markup(tmp_path: Path):
    orders = [(ROOT, TIP), (TIP, ROOT), (ROOT,), (TIP, ROOT), (ROOT, TIP)]
    for number, shapes in enumerate(orders):
        picture(tmp_path / f"{number}.png")
        content = text(*shapes).replace("a.png", f"{number}.png")
        (tmp_path / f"{number}.json").write_text(content)
    problem = LabelledLandmarks(str(tmp_path), test_fraction=0, val_fraction=0)
    assert problem.schema.names == ("root", "tip")
    assert len(problem.names("train")) == 5
    assert problem.data("train")["weights"].tolist() == [[1, 1], [1, 1], [1, 0], [1, 1], [1, 1]]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([ROOT, ROOT], "a.json: the point 'root' is there twice; rename one"),
        ([BOX], "there is no shape of the type point"),
        ([{**ROOT, "points": [3, 4]}], r"a.json: root: points: expected pairs of numbers"),
        ([{**ROOT, "points": [["a", 4]]}], r"a.json: root: points: expected pairs of numbers"),
        ([{"label": "root"}], r"shapes\[0\]: expected an entry 'shape_type'"),
    ],
)
def test_each_mistake_is_named(tmp_path: Path, shapes: list[dict[str, Any]], message: str):
    (tmp_path / "a.json").write_text(text(*shapes))
    with pytest.raises(DescentError, match=message):
        LabelMe().read(tmp_path / "a.json")
