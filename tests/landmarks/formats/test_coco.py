"""COCO keypoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from learned_descent import DescentError
from learned_descent.landmarks.formats.coco import COCO
from learned_descent.landmarks.formats.format import Labelled

from .shared import found, picture, same, written

WING = {
    "image_id": 7,
    "category_id": 1,
    "keypoints": [3, 4, 2, 50, 6, 1, 0, 0, 0],
    "bbox": [1, 2, 60, 40],
}
DATA: dict[str, Any] = {
    "images": [{"id": 7, "file_name": "a.png", "width": 80, "height": 60}],
    "annotations": [
        WING,
        {**WING, "keypoints": [0] * 9},
        {**WING, "iscrowd": 1},
        {**WING, "keypoints": [9, 9, 2] * 3, "bbox": None},
    ],
    "categories": [{"id": 1, "name": "wing", "keypoints": ["root", "tip", "spot"]}],
}


def test_points_and_boxes(tmp_path: Path):
    image = picture(tmp_path / "images" / "a.png")
    first, second = found(tmp_path / "labels.json", json.dumps(DATA), COCO)
    assert first.image == image, "in the folder images"
    assert first.names == ("root", "tip", "spot")
    assert first.points[:2].tolist() == [[3.0, 4.0], [50.0, 6.0]]
    assert first.weights.tolist() == [1.0, 1.0, 0.0], "hidden points count"
    assert first.box == (1.0, 2.0, 61.0, 42.0)
    assert second.box is None
    assert second.where.endswith("labels.json: annotations[3]")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": []}, r"annotations\[0\]: there is no image with the id 7"),
        ({"images": 3}, "images: expected a list, got int"),
        ({"images": [{"id": 7}]}, r"images\[0\]: expected an entry 'file_name'"),
        ({"annotations": [{"image_id": 7}]}, r"annotations\[0\]: expected an entry 'keypoints'"),
        (
            {"annotations": [{**WING, "keypoints": [1, 2, 2, 4]}]},
            "expected x, y and v .* got 4",
        ),
        ({"annotations": [{**WING, "keypoints": ["a", 2, 2]}]}, "keypoints: expected numbers"),
        ({"annotations": [{**WING, "bbox": [1, 2]}]}, "bbox: expected 4 numbers, got 2"),
        ({"annotations": [{**WING, "keypoints": [1, 2, 2]}]}, "1 points, and its category has 3"),
        ({"annotations": []}, "no annotation has a labelled keypoint"),
        ({"annotations": [WING, {**WING, "category_id": 2}]}, "the keypoints of 2 categories"),
        ({"categories": None}, "categories: expected a list, got NoneType"),
    ],
)
def test_each_mistake_is_named(tmp_path: Path, change: dict[str, Any], message: str):
    file = tmp_path / "labels.json"
    file.write_text(json.dumps({**DATA, **change}))
    with pytest.raises(DescentError, match=message):
        COCO().read(file)


def test_a_broken_file(tmp_path: Path):
    (tmp_path / "labels.json").write_text("{")
    with pytest.raises(DescentError, match=r"labels.json: expected a JSON file: "):
        COCO().read(tmp_path / "labels.json")


def test_what_is_written_is_read_again(tmp_path: Path):
    image = picture(tmp_path / "in" / "a.png")
    nowhere = [torch.nan, torch.nan]
    labels = [
        Labelled.of(image, [[1.5, 2.0], [9.0, 8.0]], "a", names=["root", "tip"], box=[1, 1, 9, 9]),
        Labelled.of(image, [[5.0, 6.0], nowhere], "b", names=["root", "tip"]),
    ]
    again = written(tmp_path / "labels.json", COCO, labels)
    for one, other in zip(labels, again):
        same(one, other)
        assert one.names == other.names
    assert again[0].box == (1.0, 1.0, 9.0, 9.0)
    size = json.loads((tmp_path / "labels.json").read_text())["images"][0]
    assert (size["width"], size["height"], size["file_name"]) == (80, 60, "in/a.png")


def test_numbers_are_no_names(tmp_path: Path):
    label = Labelled.of(picture(tmp_path / "a.png"), [[1.5, 2.0], [9.0, 8.0]], "a")
    (again,) = written(tmp_path / "labels.json", COCO, [label])
    assert again.names == ()
    same(label, again)


def test_a_weight_between_is_not_written(tmp_path: Path):
    image = picture(tmp_path / "a.png")
    half = Labelled.of(image, [[1.0, 2.0]], "wings.csv:2", weights=[0.5])
    with pytest.raises(DescentError, match=r"wings.csv:2: a point weighs neither 0 nor 1"):
        COCO().write(tmp_path / "labels.json", [half])
