"""`track` on the command line: what it writes and prints, what it keeps, and what it says to bad
input."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from learned_descent import DescentError
from learned_descent.cli import track as videos
from learned_descent.cli.main import main
from learned_descent.data.video import VideoFile, VideoWriter
from learned_descent.faces import detectors as detect
from learned_descent.landmarks.recording import TrackFormat
from learned_descent.landmarks.tracker import Tracker

from ..landmarks.aligners import Bright, save_calibrated
from .calls import Run, calling

COUNT = 4


def frame(*, face: bool = True) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 90, (60, 80, 3), dtype=np.uint8)
    if face:
        pixels[15:45, 20:50] = 200
    return pixels


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with weights and two folders of frames: `walk` has a face to the
    detector, `empty` has none."""
    monkeypatch.chdir(tmp_path)
    save_calibrated("tiny.safetensors")
    for name in ("walk", "empty"):
        Path(name).mkdir()
        for number in range(COUNT):
            Image.fromarray(frame(face=name == "walk")).save(f"{name}/{number}.png")
    Path("nothing").mkdir()
    monkeypatch.setattr(detect, "CenterFace", Bright)
    return tmp_path


@pytest.fixture
def run(here: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    return calling(capsys, "track")


def test_a_folder_becomes_frames_json_and_a_table(run: Run):
    code, out, err = run("walk --rate 10")
    assert code == 0, err
    assert re.fullmatch(
        r"walk: 4 frames, 1 face in 4 of them, [\d.]+ frames a second; "
        r"tracked/walk, tracked/walk.json, tracked/walk.csv\n",
        out,
    )
    assert "tracking: 100%" in err
    assert [file.name for file in sorted(Path("tracked/walk").iterdir())] == [
        f"{number}.png" for number in range(COUNT)
    ]
    drawn = np.asarray(Image.open("tracked/walk/2.png"))
    assert drawn.shape == (60, 80, 3)
    assert (drawn != frame()).any()
    stored = json.loads(Path("tracked/walk.json").read_text())
    assert stored["rate"] == 10
    assert [line["frame"] for line in stored["frames"]] == [str(n) for n in range(COUNT)]
    assert [line["seconds"] for line in stored["frames"]] == [0.0, 0.1, 0.2, 0.3]
    (face,) = stored["frames"][3]["faces"]
    assert face["identity"] == 0
    with Path("tracked/walk.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == COUNT * len(face["landmarks"])
    assert [float(rows[-1]["x"]), float(rows[-1]["y"])] == face["landmarks"][-1]
    assert float(rows[-1]["face_confidence"]) == face["confidence"]


def test_every_kind_goes_into_the_folder(run: Run):
    pytest.importorskip("av", reason="the extra video is not installed")
    assert get_args(TrackFormat) == videos.KINDS
    code, _, err = run(f"walk --output out --format {' '.join(videos.KINDS)}")
    assert code == 0, err
    names = sorted(path.name for path in Path("out").iterdir())
    assert names == ["walk", "walk.csv", "walk.json", "walk.mp4"]
    assert len(list(VideoFile("out/walk.mp4"))) == COUNT


def test_a_video_becomes_a_video(run: Run):
    pytest.importorskip("av", reason="the extra video is not installed")
    with VideoWriter("walk.mp4", rate=20) as video:
        for number in range(COUNT):
            video.write(frame(), number / 20)
    code, out, err = run("walk.mp4")
    assert code == 0, err
    assert out.endswith("; tracked/walk.mp4, tracked/walk.json, tracked/walk.csv\n")
    assert len(list(VideoFile("tracked/walk.mp4"))) == COUNT
    code, _, err = run("walk.mp4 --output . --overwrite")
    assert (code, "walk.mp4 is what is to be read: give another --output" in err) == (2, True)


def test_nothing_is_replaced_unless_asked(run: Run):
    assert run("walk --format json")[0] == 0
    before = Path("tracked/walk.json").read_bytes()
    code, _, err = run("walk --format json")
    assert (code, "tracked/walk.json: is there already: give another --output" in err) == (2, True)
    assert Path("tracked/walk.json").read_bytes() == before
    assert run("walk --format json --smooth false --overwrite")[0] == 0


def test_smoothing_can_be_left_out(run: Run):
    shrinking = "--format json --every 100"  # the model of the test shrinks what it follows
    assert run(f"walk {shrinking} --output a")[0] == 0
    assert run(f"walk {shrinking} --output b --smooth false")[0] == 0
    smooth, rough = (json.loads(Path(f"{name}/walk.json").read_text()) for name in "ab")
    assert smooth["frames"][0] == rough["frames"][0]
    assert smooth["frames"][3] != rough["frames"][3]


def test_a_video_without_a_face_is_one_message(run: Run):
    code, out, err = run("empty --format json csv")
    assert (code, out) == (1, "")
    assert "empty: no face found in any of its 4 frames; written: tracked/empty.json" in err
    stored = json.loads(Path("tracked/empty.json").read_text())["frames"]
    assert [line["faces"] for line in stored] == [[]] * COUNT
    assert len(Path("tracked/empty.csv").read_text().splitlines()) == 1


def test_what_was_done_before_a_bad_frame_is_kept(run: Run):
    Path("walk/2.png").write_text("no picture")
    code, out, err = run("walk --format json csv")
    assert code == 1
    assert out.startswith("walk: 2 frames, 1 face")
    assert "walk/2.png: the image does not decode" in err
    assert "kept: the 2 frames before, in tracked/walk.json, tracked/walk.csv" in err
    assert len(json.loads(Path("tracked/walk.json").read_text())["frames"]) == 2
    Path("walk/0.png").write_text("no picture")
    code, out, err = run("walk --output other --format json")
    assert (code, out) == (2, "")
    assert "walk/0.png: the image does not decode" in err
    assert not list(Path("other").iterdir())


def test_what_was_done_before_ctrl_c_is_kept(run: Run, monkeypatch: pytest.MonkeyPatch):
    step = Tracker.__call__

    def impatient(self: Tracker, photo: np.ndarray, seconds: float | None = None) -> object:
        if seconds is not None and seconds > 0.08:
            raise KeyboardInterrupt
        return step(self, photo, seconds)

    monkeypatch.setattr(Tracker, "__call__", impatient)
    code, _, err = run("walk --format json")
    assert code == 130
    assert "interrupted; kept: the 3 frames that were done, in tracked/walk.json" in err
    assert len(json.loads(Path("tracked/walk.json").read_text())["frames"]) == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("none.mp4", "none.mp4: there is no such video"),
        ("nothing", "nothing: expected a folder of frames such as 0001.png, found no picture"),
        ("walk --rate 0", "rate: expected a positive number, got 0"),
        ("walk --every 0", "every: expected 1 or more, got 0"),
        ("walk --views 7", "views: expected 0 to 4, got 7"),
        ("walk --least 2", "least: expected a share in [0, 1), got 2"),
        ("walk --format gif", "gif"),
        ("tiny.safetensors --rate 3", "rate: tiny.safetensors is no folder"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(run: Run, line: str, message: str):
    if "none" in line:
        pytest.importorskip("av", reason="the extra video is not installed")
    code, out, err = run(line)
    assert (code, out) == (2, "")
    assert message in err
    assert not Path("tracked").exists() or not list(Path("tracked").iterdir())


def test_without_pyav_a_folder_is_done_and_a_video_names_the_extra(
    run: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "av", None)
    Path("walk.mp4").write_bytes(b"any")
    code, _, err = run("walk.mp4")
    assert (code, "PyAV, which is not installed" in err) == (2, True)
    assert "'learned-descent[video]'" in err
    code, _, err = run("walk --format video json")
    assert (code, "PyAV, which is not installed" in err) == (2, True)
    assert not list(Path("tracked").iterdir())
    assert run("walk")[0] == 0


def test_weights_of_something_else_are_refused(here: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["track", "walk", "--weights", "other.safetensors"]) == 2
    assert "other.safetensors" in capsys.readouterr().err
    with pytest.raises(DescentError, match="rate: expected a positive number"):
        videos.track(Path("walk"), weights="tiny.safetensors", rate=-1.0)
