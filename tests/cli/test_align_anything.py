"""From a file of labels to points on a new picture: weights of the problem `landmarks`, which are
no faces, on the command line alone."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from learned_descent.checkpoint import read_description
from learned_descent.cli.main import main
from learned_descent.landmarks import calibration
from learned_descent.landmarks.calibration import Calibration
from learned_descent.landmarks.labelled import LabelledLandmarks
from learned_descent.landmarks.trials import TRIALS

from ..landmarks.drawn import write_wings
from .calls import Run, calling

BRIGHT = Path(__file__).parents[2] / "examples" / "bright_detector.py"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wings, and weights that were trained on their CSV and calibrated."""
    folder = tmp_path_factory.mktemp("wings")
    data = ["--data", str(write_wings(folder, 40))]
    small = ["--family", "sdm", "--problem.crop=64", "--model.num_steps=2", "--ridge.repeats=4"]
    assert main(["train", "landmarks", *data, *small, "--out", str(folder / "run")]) == 0
    weights = folder / "run" / "model.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "VARIANTS", dict.fromkeys(TRIALS, 1))
        assert main(["calibrate", str(weights), *data]) == 0
    return folder


@pytest.fixture
def run(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    monkeypatch.chdir(tmp_path)

    weights = trained / "run" / "model.safetensors"
    return calling(capsys, "align", trained / "03.png", weights=weights)


def truth(folder: Path) -> np.ndarray:
    rows = list(csv.reader((folder / "wings.csv").read_text().splitlines()))
    return np.array(rows[4][1:], float).reshape(-1, 2)


def test_the_whole_picture_is_the_box_where_nothing_else_is_said(run: Run, trained: Path):
    code, out, err = run("--format png json csv pts ljson")
    assert code == 0, err
    assert "03.png: 1 object, confidence " in out
    (found,) = json.loads(Path("aligned/03.json").read_text())["objects"]
    away = np.linalg.norm(np.array(found["landmarks"]) - truth(trained), axis=1)
    assert away.mean() < 4, "of a wing of 85 px"
    assert Path("aligned/03.csv").read_text().startswith("object,landmark,x,y,confidence,object_")
    assert {path.name for path in Path("aligned").iterdir()} == {
        *("03.png", "03.json", "03.csv", "03_0.pts", "03_0.ljson")
    }


def test_calibration_shows_a_detector_the_whole_pictures(trained: Path):
    stored = read_description(trained / "run" / "model.safetensors")["calibration"]
    offset = Calibration.from_json(stored).boxes["picture"]
    assert offset.found == 1
    # A picture has sides of 160 and 120 px, and a wing lies in a box of about 85
    assert np.exp(offset.log_scale) == pytest.approx(85 / (160 * 120) ** 0.5, rel=0.25)


def test_boxes_go_before_the_picture(run: Run):
    assert run("--box 36 20 120 104")[0] == 0
    (found,) = json.loads(Path("aligned/03.json").read_text())["objects"]
    assert found["box"] == [36, 20, 120, 104]
    Path("boxes.csv").write_text("03.png,36,20,120,104\n")
    assert run("--boxes boxes.csv --output two")[0] == 0
    assert Path("two/03.json").read_text() == Path("aligned/03.json").read_text()


def test_a_detector_of_ones_own_is_calibrated_and_asked(
    run: Run, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    detector = f"{BRIGHT}:Bright"
    code, _, err = run(f"--detector {detector}")
    assert code == 0, err
    assert "the weights do not know how the boxes of bright lie on objects: calibrate them" in err
    stored = tmp_path / "copy.safetensors"
    stored.write_bytes((trained / "run" / "model.safetensors").read_bytes())
    data = ["--data", str(trained / "wings.csv")]
    assert main(["calibrate", str(stored), *data, "--detector", f"{detector},picture"]) == 0
    assert "bright: finds 100.0% of the objects" in capsys.readouterr().out
    assert set(read_description(stored)["calibration"]["boxes"]) == {"bright", "picture"}
    code, _, err = run(f"--detector {detector} --weights {stored} --output three")
    assert (code, "do not know" in err) == (0, False)
    code, _, err = run(f"--detector {detector} --box 1 2 30 40 --output two")
    assert (code, "--detector: expected without --box and --boxes" in err) == (2, True)
    code, _, err = run("--detector brigt --output two")
    assert code == 2
    assert "detector 'brigt': expected one of centerface, lbp, picture" in err


def test_the_example_of_a_detector_finds_a_bright_face(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    picture = Image.new("RGB", (200, 160), (20, 20, 30))
    ImageDraw.Draw(picture).ellipse((60, 30, 140, 130), fill=(220, 190, 170))
    picture.save(tmp_path / "face.png")
    words = ["align", str(tmp_path / "face.png"), "--output", str(tmp_path), "--format", "json"]
    assert main([*words, "--views", "1", "--detector", f"{BRIGHT}:Bright"]) == 0
    (face,) = json.loads((tmp_path / "face.json").read_text())["faces"]
    np.testing.assert_allclose(face["box"], (62, 34, 138, 126), atol=3)


def test_boxes_that_are_whole_pictures_need_no_calibration(tmp_path: Path):
    file = str(write_wings(tmp_path, 8))
    assert LabelledLandmarks(file, boxes="image").drawn_by == "picture"
    assert LabelledLandmarks(file).drawn_by is None


def test_mirrored_samples_lie_in_their_pictures(tmp_path: Path):
    file = write_wings(tmp_path, 8)
    (tmp_path / "schema.yaml").write_text(
        "name: wing\nnum_points: 5\nnames: [root, front, tip, back, spot]\n"
        "mirror_pairs: [[root, tip]]\n"
    )
    problem = LabelledLandmarks(str(file), val_fraction=0.0)
    count = len(problem.data("train")["image"])
    assert len(problem.names("train")) == count
    first, mirrored = problem.photos("train", [0, count // 2])
    assert np.array_equal(first[0], mirrored[0])
    torch.testing.assert_close(torch.tensor(first[1]), torch.tensor(mirrored[1]), atol=0.01, rtol=0)
