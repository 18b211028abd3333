from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from learned_descent.landmarks.aligner import Fit
from learned_descent.landmarks.output import (
    FONT,
    LARGEST,
    draw,
    files_of,
    write_fits,
)
from learned_descent.landmarks.point_files import quiet_menpo, read_landmarks

POINTS = torch.tensor([[10.0, 20.5], [30.25, 20.0], [20.0, 40.0]])
FACES = [
    Fit(
        (5.0, 15.0, 35.0, 45.0),
        POINTS,
        0.91,
        torch.tensor([0.9, 0.8, 0.7]),
        torch.tensor([True, True, False]),
    ),
    Fit(
        (50.0, 50.0, 60.0, 60.0),
        POINTS + 30,
        math.nan,
        torch.full((3,), math.nan),
        torch.ones(3).bool(),
    ),
]
EDGES = [(0, 1), (1, 2)]
PHOTO = np.zeros((60, 80, 3), np.uint8)


def read(path: Path) -> np.ndarray:
    with quiet_menpo():
        return read_landmarks(path)


def test_json_holds_the_faces_and_null_where_nothing_is_known(tmp_path: Path):
    write_fits(tmp_path, "a", "json", FACES, PHOTO, EDGES, "face")
    known, unknown = json.loads((tmp_path / "a.json").read_text())["faces"]
    assert known == {
        "box": [5, 15, 35, 45],
        "landmarks": [[10, 20.5], [30.25, 20], [20, 40]],
        "confidence": 0.91,
        "landmark_confidence": [0.9, 0.8, 0.7],
        "inside": [True, True, False],
    }
    assert (unknown["confidence"], unknown["landmark_confidence"]) == (None, [None] * 3)
    write_fits(tmp_path, "b", "json", [], PHOTO, EDGES)
    assert json.loads((tmp_path / "b.json").read_text()) == {"objects": []}


def test_a_table_has_a_row_for_each_landmark(tmp_path: Path):
    write_fits(tmp_path, "a", "csv", FACES, PHOTO, EDGES, "face")
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert len(rows) == 6
    assert rows[1] == {
        "face": "0",
        "landmark": "1",
        "x": "30.25",
        "y": "20.0",
        "confidence": "0.8",
        "face_confidence": "0.91",
        "inside": "true",
    }
    assert (rows[3]["face"], rows[3]["confidence"]) == ("1", "")


@pytest.mark.parametrize("kind", ["pts", "ljson"])
def test_menpo_reads_the_landmarks_of_each_face_back(tmp_path: Path, kind: str):
    write_fits(tmp_path, "a", kind, FACES, PHOTO, EDGES)
    assert sorted(tmp_path.iterdir()) == files_of(tmp_path, "a", kind, 2)
    np.testing.assert_allclose(read(tmp_path / f"a_0.{kind}"), POINTS, atol=1e-4)
    np.testing.assert_allclose(read(tmp_path / f"a_1.{kind}"), POINTS + 30, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "drawn"),
    [
        ((60, 80), (600, 450)),
        ((600, 900), (900, 600)),
        ((1250, 2500), (2048, 1024)),
        ((2, 20000), (2048, 1)),
        ((2, 2), (600, 600)),
    ],
)
def test_the_picture_is_neither_too_small_nor_too_large(
    tmp_path: Path, size: tuple[int, int], drawn: tuple[int, int]
):
    write_fits(tmp_path, "a", "png", FACES, np.zeros((*size, 3), np.uint8), EDGES)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == drawn


def test_the_drawing_holds_landmarks_lines_boxes_and_confidence():
    axes = draw(PHOTO, FACES, EDGES).axes[0]
    lines, points = axes.collections[:2]
    assert len(lines.get_segments()) == len(EDGES)
    np.testing.assert_allclose(points.get_offsets(), POINTS)
    assert [patch.get_xy() for patch in axes.patches] == [(5, 15), (50, 50)]
    assert [text.get_text() for text in axes.texts] == ["0.91"]


def box_at(x: float, y: float, confidence: float = 1.0) -> Fit:
    return Fit((x, y, x + 30.0, y + 30.0), POINTS, confidence, torch.ones(3), torch.ones(3).bool())


@pytest.mark.parametrize("size", [(60, 80), (90, 160), (1250, 2500)])
def test_a_label_is_seen_whole_wherever_its_face_lies(size: tuple[int, int]):
    """Seen before: ".00" of 1.00 where the face lay at the left border, and nothing at the upper
    one."""
    height, width = size
    corners = [
        (x, y) for x in (-40, -5, width / 2, width - 2) for y in (-40, -5, height / 2, height - 2)
    ]
    figure = draw(np.zeros((*size, 3), np.uint8), [box_at(x, y) for x, y in corners], EDGES)
    figure.draw_without_rendering()
    room = figure.bbox
    for text in figure.axes[0].texts:
        patch = text.get_bbox_patch()
        assert patch is not None
        label = patch.get_window_extent()
        assert room.x0 - 1 <= label.x0 < label.x1 <= room.x1 + 1
        assert room.y0 - 1 <= label.y0 < label.y1 <= room.y1 + 1


def test_labels_have_one_size_and_stand_on_their_boxes():
    figure = draw(np.zeros((480, 640, 3), np.uint8), [box_at(200, 200), box_at(400, 300)], EDGES)
    assert {text.get_fontsize() for text in figure.axes[0].texts} == {FONT}
    np.testing.assert_allclose(figure.axes[0].texts[0].get_position(), (200, 200), atol=3)


def test_a_large_photo_is_drawn_small():
    """What Matplotlib is given is bounded; it took 60 bytes for each px of the photo."""
    photo = np.zeros((3000, 4000, 3), np.uint8)
    figure = draw(photo, FACES, EDGES)
    assert figure.axes[0].images[0].get_size() == (1536, LARGEST)
    assert figure.axes[0].get_xlim() == (-0.5, 3999.5)
    np.testing.assert_allclose(figure.axes[0].collections[1].get_offsets(), POINTS)
