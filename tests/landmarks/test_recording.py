"""What is written of the objects in a video."""

from __future__ import annotations

import csv
import json
import math
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from learned_descent import DescentError
from learned_descent.data.video import Frame
from learned_descent.landmarks.aligner import Fit
from learned_descent.landmarks.recording import annotated, file_of, recording
from learned_descent.landmarks.tracker import Tracked

PIXELS = np.zeros((60, 80, 3), np.uint8)


def thing(identity: int, x: float, confidence: float = 0.5) -> Tracked:
    points = torch.tensor([[x, 20.0], [x + 10, 20.0], [x + 5, 30.0]])
    return Tracked(
        identity,
        Fit((x, 15.0, x + 10, 35.0), points, confidence, torch.ones(3), torch.ones(3).bool()),
    )


def test_files_of_a_video(tmp_path: Path):
    with recording(tmp_path, "a", ["json", "csv"], rate=25, edges=[], noun="wing") as record:
        record(Frame(0, 0.0, "000000", PIXELS), [thing(0, 10), thing(1, 40, math.nan)])
        record(Frame(1, 0.04, "000001", PIXELS), [])
        assert not (tmp_path / "a.json").exists(), "it grows beside its name"
    stored = json.loads((tmp_path / "a.json").read_text())
    assert stored["rate"] == 25
    first, second = stored["frames"]
    assert [wing["identity"] for wing in first["wings"]] == [0, 1]
    assert first["wings"][1]["confidence"] is None, "JSON knows no NaN"
    assert second == {"frame": "000001", "seconds": 0.04, "wings": []}
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["wing"], row["landmark"]) for row in rows] == [
        (str(wing), str(landmark)) for wing in (0, 1) for landmark in range(3)
    ]
    assert rows[1] == {
        "frame": "000000",
        "seconds": "0.0000",
        "wing": "0",
        "landmark": "1",
        "x": "20.0",
        "y": "20.0",
        "confidence": "1.0",
        "wing_confidence": "0.5",
    }


def test_no_file_is_left_by_an_error(tmp_path: Path):
    (tmp_path / "a.json").write_text("old")
    with ExitStack() as stack:
        stack.enter_context(pytest.raises(ZeroDivisionError))
        record = stack.enter_context(recording(tmp_path, "a", ["json", "csv"], rate=25, edges=[]))
        record(Frame(0, 0.0, "0", PIXELS), [])
        _ = 1 / 0
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "old"


def test_frames_of_a_longer_run_go_and_pictures_of_others_stay(tmp_path: Path):
    for count in (3, 2):
        with recording(tmp_path, "a", ["frames"], rate=25, edges=[]) as record:
            for number in range(count):
                record(Frame(number, number / 25, f"{number}", PIXELS), [thing(0, 10)])
        Image.fromarray(PIXELS).save(tmp_path / "a" / "mine.png")
        (tmp_path / "a" / "text.png").write_text("no picture")
    left = ["0.png", "1.png", "mine.png", "text.png"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == left


def test_a_video_without_frames_is_json_too(tmp_path: Path):
    with recording(tmp_path, "a", ["json"], rate=25, edges=[]):
        pass
    assert json.loads((tmp_path / "a.json").read_text())["frames"] == []


@pytest.mark.usefixtures("as_installed")
def test_an_unknown_kind(tmp_path: Path):
    with (
        pytest.raises(DescentError, match="kinds: expected one of video, frames, json, csv, got"),
        recording(tmp_path, "a", ["gif"], rate=25, edges=[]),  # type: ignore[list-item]
    ):
        pass


def test_frames_are_drawn_upon_and_stay_as_they_are(tmp_path: Path):
    with recording(tmp_path, "a", ["frames"], rate=25, edges=[(0, 1)]) as record:
        record(Frame(0, 0.0, "first", PIXELS), [thing(0, 10), thing(1, 40)])
    drawn = np.asarray(Image.open(file_of(tmp_path, "a", "frames") / "first.png"))
    assert not PIXELS.any()
    assert drawn[20, 15].tolist() == [255, 255, 255], "an edge"
    assert drawn[20, 10].tolist() == [232, 96, 28]
    assert drawn[20, 40].tolist() == [86, 180, 233], "another colour for another identity"
    assert not drawn[50:].any()
    assert (annotated(PIXELS, [], []) == PIXELS).all()
