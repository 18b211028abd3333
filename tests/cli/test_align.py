"""`align` and `calibrate` on the command line: what they write and print, and what they say to bad
input."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

from learned_descent import Cascade, DescentError, weights
from learned_descent.checkpoint import read_description
from learned_descent.checkpoint.model import annotate, save_model
from learned_descent.cli import align as photos
from learned_descent.cli.main import main
from learned_descent.faces import detectors as detect
from learned_descent.landmarks import calibration
from learned_descent.landmarks.aligner import Aligner, Fit
from learned_descent.landmarks.calibration import Calibration
from learned_descent.landmarks.detector import Box
from learned_descent.landmarks.output import Format
from learned_descent.landmarks.trials import TRIALS
from learned_descent.problems import Analytic
from learned_descent.registry import resolve_model

from ..faces.fake300w import write_fake_300w
from ..landmarks.aligners import Bright, save_calibrated, small_model
from .calls import Run, calling


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with weights and photos: `bright.png` has a face to the detector,
    `dark.png` has none."""
    monkeypatch.chdir(tmp_path)
    save_calibrated("tiny.safetensors")
    save_model(Cascade.for_problem(Analytic("sin")), "sin.safetensors")
    pixels = np.random.default_rng(0).integers(0, 90, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("dark.png")
    pixels[15:45, 20:50] = 200
    Image.fromarray(pixels).save("bright.png")
    Path("text.jpg").write_text("no image")
    Path("folder.jpg").mkdir()
    Image.fromarray(pixels[:1, :1]).save("dot.png")
    frames = [Image.fromarray(np.roll(pixels, shift, 1)) for shift in (0, 5)]
    for name in ("moving.gif", "moving.png", "moving.webp"):
        frames[0].save(name, save_all=True, append_images=frames[1:])
    Image.fromarray(pixels).save("whole.jpg")
    Path("cut.jpg").write_bytes(Path("whole.jpg").read_bytes()[:-400])
    monkeypatch.setattr(detect, "CenterFace", Bright)
    return tmp_path


@pytest.fixture
def run(here: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    return calling(capsys, "align")


def test_a_picture_and_json_unless_told_otherwise(run: Run):
    code, out, err = run("bright.png")
    assert (code, err) == (0, "")
    assert out.startswith("bright.png: 1 face, confidence 0.")
    assert sorted(path.name for path in Path("aligned").iterdir()) == ["bright.json", "bright.png"]
    (stored,) = json.loads(Path("aligned/bright.json").read_text())["faces"]
    (wanted,) = Aligner.from_pretrained("tiny.safetensors", detector=Bright())("bright.png")
    assert stored == wanted.to_json()


def test_every_format_goes_into_the_folder(run: Run):
    assert get_args(Format) == photos.FORMATS
    code, out, err = run(f"bright.png --output out --format {' '.join(photos.FORMATS)}")
    assert code == 0, err
    names = ["bright.csv", "bright.json", "bright.png", "bright_0.ljson", "bright_0.pts"]
    assert sorted(path.name for path in Path("out").iterdir()) == names
    assert all(name in out for name in names)


def test_given_boxes_go_before_the_detector_and_are_not_moved(run: Run):
    assert run("dark.png --box 10 12 40 42")[0] == 0
    (face,) = json.loads(Path("aligned/dark.json").read_text())["faces"]
    assert face["box"] == [10, 12, 40, 42]
    Path("boxes.csv").write_text(
        "image,x0,y0,x1,y1\nbright.png,10,12,40,42\nbright.png,15,12,45,42\ndark.png,5,5,35,35\n"
    )
    assert run("bright.png dark.png --boxes boxes.csv --output two")[0] == 0
    assert [
        face["box"][0] for face in json.loads(Path("two/bright.json").read_text())["faces"]
    ] == [10, 15]
    Path("boxes.json").write_text(
        json.dumps({"bright.png": [[10, 12, 40, 42], [15, 12, 45, 42]], "dark.png": [5, 5, 35, 35]})
    )
    assert run("bright.png dark.png --boxes boxes.json --output three")[0] == 0
    assert Path("two/bright.json").read_text() == Path("three/bright.json").read_text()


def test_weights_of_the_package_go_by_name(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(weights, "FOLDER", here)
    assert run("bright.png --weights tiny")[0] == 0
    code, _, err = run("bright.png --weights huge")
    assert code == 2
    assert "weights 'huge': there is no such file" in err
    assert err.rstrip().endswith("sin, tiny")


def test_the_photo_is_taken_as_it_is_displayed(run: Run):
    turned = Image.open("bright.png").rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown a quarter turn clockwise
    turned.save("turned.png", exif=exif)
    assert run("bright.png turned.png --format json")[0] == 0
    assert Path("aligned/bright.json").read_text() == Path("aligned/turned.json").read_text()


def test_no_face_is_an_error_and_an_empty_list(run: Run):
    code, out, err = run("dark.png")
    assert (code, out) == (1, "")
    assert err == "learned-descent: dark.png: no face found; give its box by --box or --boxes\n"
    assert json.loads(Path("aligned/dark.json").read_text()) == {"faces": []}


@pytest.mark.parametrize(
    ("photo", "message"),
    [
        ("text.jpg", "the image does not decode"),
        ("cut.jpg", "the image does not decode"),
        ("moving.gif", "the image is animated, with 2 frames; save the one that is meant"),
        ("moving.png", "the image is animated, with 2 frames"),
        ("moving.webp", "the image is animated, with 2 frames"),
        ("dot.png", "the image has 1 x 1 px, expected a photo of faces"),
        ("gone.jpg", "there is no such image; check the path"),
        ("folder.jpg", "it is a folder; name the images in it"),
        ("tiny.safetensors", "the image does not decode"),
    ],
)
def test_a_bad_photo_gets_one_message(run: Run, photo: str, message: str):
    code, out, err = run(photo)
    assert (code, out) == (1, "")
    assert err.startswith(f"learned-descent: {photo}: ")
    assert message in err
    assert err.count("\n") == 1
    assert not list(Path("aligned").iterdir())


def test_the_rest_are_done_and_the_summary_names_those_that_failed(run: Run):
    code, out, err = run("text.jpg bright.png gone.jpg")
    assert code == 1
    assert out.startswith("bright.png: 1 face")
    assert "learned-descent: 2 of 3 photos failed: text.jpg, gone.jpg\n" in err
    assert "aligning: 100%" in err
    assert Path("aligned/bright.json").is_file()


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ("nan 0 50 50", "bright.png: the box (nan 0 50 50) has a side that is not a finite number"),
        ("20 20 20 20", "bright.png: the box (20 20 20 20) is 0 x 0 px, expected 2 px or more"),
        ("50 20 10 60", "bright.png: the box (50 20 10 60) is mirrored"),
        (
            "-400 -400 -300 -300",
            "the box (-400 -400 -300 -300) has its centre outside of the image of 80 x 60 px",
        ),
        ("1 2 3 x", "--box: expected the four numbers x0 y0 x1 y1, got 1 2 3 x"),
    ],
)
def test_a_bad_box_gets_one_message(run: Run, box: str, message: str):
    code, _, err = run(f"bright.png --box {box}")
    assert code == 1
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "bright.png --weights sin.safetensors",
            "sin.safetensors: expected weights of landmarks, got weights of the problem 'analytic'",
        ),
        ("bright.png --weights text.jpg", "text.jpg: expected a safetensors file"),
        ("bright.png --weights gone", "weights 'gone': there is no such file"),
        ("bright.png dark.png --box 1 2 30 40", "--box: expected one photo and no --boxes"),
        (
            "bright.png --boxes gone.csv",
            "expected a .csv or .json file of boxes, but gone.csv is none",
        ),
        ("bright.png --output text.jpg", "text.jpg: expected a folder that can be written to"),
        ("bright.png --format gif", "invalid choice: 'gif'"),
        ("bright.png --box 1 2 3", "--box"),
        ("", "photos"),
    ],
)
def test_a_mistake_gets_one_message_and_exit_code_2(run: Run, line: str, message: str):
    code, _, err = run(line)
    assert code == 2, err
    assert "Traceback" not in err
    assert message in err
    assert not Path("aligned").exists() or not list(Path("aligned").iterdir())


def test_nothing_is_replaced_unasked(run: Run):
    assert run("bright.png")[0] == 0
    code, _, err = run("bright.png")
    assert code == 1
    assert (
        "aligned/bright.png: is there already: give another --output, or --overwrite to replace it"
        in err
    )
    assert run("bright.png --overwrite")[0] == 0
    before = Path("bright.png").read_bytes()
    code, _, err = run("bright.png --overwrite --output .")
    assert (code, "bright.png is one of the files to read: give another --output" in err) == (
        1,
        True,
    )
    assert Path("bright.png").read_bytes() == before


def test_photos_of_the_same_name_do_not_replace_each_other(run: Run):
    for folder in ("a", "b"):
        Path(folder).mkdir()
        shutil.copy("bright.png", folder)
    code, _, err = run("a/bright.png b/bright.png a/bright.png --overwrite")
    assert code == 1
    assert "b/bright.png: would replace the files of a/bright.png" in err
    assert "1 of 2 photos failed: b/bright.png" in err
    assert Path("aligned/bright.json").is_file()


def test_a_photo_without_a_box_in_the_file_fails_alone(run: Run):
    Path("boxes.csv").write_text("bright.png,10,12,40,42\n")
    code, _, err = run("bright.png dark.png --boxes boxes.csv")
    assert code == 1
    assert "dark.png: there is no box for it in the file of boxes" in err


def test_warnings_name_the_photo_and_those_of_the_set_up_come_once(run: Run):
    shutil.copy("bright.png", "copy.png")
    annotate("tiny.safetensors", "calibration", Calibration().to_json())
    code, out, err = run("bright.png copy.png")
    assert code == 0
    assert (
        err.count(
            "learned-descent: warning: the weights do not know how the boxes of bright lie on faces"
        )
        == 1
    )
    assert "1 face, confidence unknown: calibrate the weights; " in out
    assert (
        "warning: bright.png: face 0: the box (10 10 70 20) is 6.0 times"
        in run("bright.png --box 10 10 70 20 --overwrite")[2]
    )


def test_one_odd_photo_does_not_end_the_others(run: Run):
    """Seen before: a photo of 200,000 x 2 px ended all in a traceback; one of NaN gave NaN in the
    JSON, exit code 0."""
    Image.fromarray(np.zeros((2, 30_000, 3), np.uint8)).save("wide.png")
    code, out, err = run("cut.jpg wide.png bright.png")
    assert code == 1
    assert out.startswith("bright.png: 1 face")
    assert "learned-descent: cut.jpg: the image does not decode" in err
    assert "learned-descent: wide.png: no face found" in err
    assert "2 of 3 photos failed: cut.jpg, wide.png\n" in err


def test_a_detector_that_fails_costs_one_photo(run: Run, monkeypatch: pytest.MonkeyPatch):
    def odd(self: Bright, photo: np.ndarray) -> list[Box]:
        if photo.max() < 100:
            raise RuntimeError("the network")
        return [(20.0, 15.0, 50.0, 45.0)]

    monkeypatch.setattr(Bright, "__call__", odd)
    code, out, err = run("dark.png bright.png")
    assert (code, out[:18]) == (1, "bright.png: 1 face")
    assert "dark.png: Bright(photo) failed with RuntimeError: the network (" in err


def test_what_nobody_thought_of_costs_one_photo(run: Run, monkeypatch: pytest.MonkeyPatch):
    fit = Aligner._fit

    def odd(self: Aligner, pixels: np.ndarray, boxes: list[Box]) -> list[Fit]:
        if pixels.max() < 100:
            raise RuntimeError("the\nnetwork")
        return fit(self, pixels, boxes)

    monkeypatch.setattr(Aligner, "_fit", odd)
    monkeypatch.setattr(Bright, "__call__", lambda *_: [(20.0, 15.0, 50.0, 45.0)])
    code, out, err = run("dark.png bright.png")
    assert (code, out[:18]) == (1, "bright.png: 1 face")
    assert (
        "learned-descent: dark.png: could not be aligned (RuntimeError('the\\nnetwork'))\n" in err
    )


def test_weights_that_are_not_finite_are_refused_before_any_photo(run: Run):
    model = small_model()
    model.stages[0].bias.data[3] = np.nan
    save_model(model, "nan.safetensors")
    code, out, err = run("bright.png dark.png --weights nan.safetensors")
    assert (code, out) == (2, "")
    assert "nan.safetensors: model: stages.0.bias holds NaN or infinity" in err
    assert not Path("aligned").exists()


def test_many_faces_are_told_in_one_line(run: Run):
    rows = [
        f"bright.png,{x},{y},{x + 30},{y + 12}\n" for x in range(0, 45, 5) for y in range(0, 45, 15)
    ]
    Path("boxes.csv").write_text("".join(rows))
    code, out, err = run("bright.png --boxes boxes.csv --format json pts")
    assert code == 0, err
    assert re.fullmatch(
        r"bright.png: 27 faces, confidence 0.\d\d; aligned/bright.json, aligned/bright_0.pts to "
        r"bright_26.pts\n",
        out,
    )
    assert re.fullmatch(
        r"learned-descent: warning: bright.png: face 0: (.*; ){3}and \d+ more\n", err
    )
    assert "face 0: the box (0 0 30 12) is 2.5 times as long as wide, unlike a face's" in err


def test_the_confidence_of_many_faces_is_a_range():
    points = torch.zeros(68, 2)
    faces = [
        Fit((0.0, 0.0, 9.0, 9.0), points, sure, torch.ones(68), torch.ones(68).bool())
        for sure in (0.91, 0.3, 0.305, 1.0)
    ]
    assert photos._summary(faces, "face", 4) == "4 faces, confidence 0.30 to 1.00"


def test_views_is_an_option(run: Run):
    for views in (1, 4):
        assert run(f"bright.png --views {views} --output {views} --format json")[0] == 0
    assert Path("1/bright.json").read_text() != Path("4/bright.json").read_text()
    code, _, err = run("bright.png --views 5")
    assert (code, "views: expected 0 to 4, got 5" in err) == (2, True)


def test_fast_is_one_fit(run: Run):
    code, out, _ = run("bright.png --fast --output fast --format json")
    assert (code, "confidence unknown: one fit tells nothing" in out) == (0, True)
    (face,) = json.loads(Path("fast/bright.json").read_text())["faces"]
    assert face["confidence"] is None
    assert run("bright.png --views 0 --output none --format json")[0] == 0
    assert Path("none/bright.json").read_text() == Path("fast/bright.json").read_text()
    code, _, err = run("bright.png --fast --views 2")
    assert (code, "--fast: is one fit, expected without --views 2" in err) == (2, True)


def test_files_of_faces_that_are_gone_do_not_pass_for_new_ones(run: Run):
    box = "bright.png,10,12,40,42\n"
    Path("boxes.csv").write_text(box + "bright.png,15,12,45,42\n")
    assert run("bright.png --boxes boxes.csv --format pts")[0] == 0
    Path("aligned/bright_0.pts").unlink()
    Path("boxes.csv").write_text(box)
    code, _, err = run("bright.png --boxes boxes.csv --format pts")
    assert (code, "aligned/bright_1.pts: is there already" in err) == (1, True)
    code, _, err = run("bright.png --boxes boxes.csv --format pts --overwrite")
    assert code == 0
    assert "bright_1.pts is left of an earlier run that found more: remove it" in err


def test_the_file_of_boxes_is_not_replaced(run: Run):
    Path("bright.json").write_text(json.dumps({"bright.png": [10, 12, 40, 42]}))
    code, _, err = run("bright.png --boxes bright.json --output . --format json --overwrite")
    assert (code, "bright.json is one of the files to read" in err) == (1, True)


def test_the_fall_back_is_announced(run: Run, monkeypatch: pytest.MonkeyPatch):
    def missing() -> None:
        raise DescentError("CenterFace is not installed")

    monkeypatch.setattr(detect, "CenterFace", missing)
    code, _, err = run("dark.png")
    assert code == 1
    assert (
        "learned-descent: warning: CenterFace is not installed; scikit-image's LBP cascade finds "
        "the faces instead" in err
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sin.safetensors", "model: expected one of landmarks, got one of the problem Analytic"),
        ("nan.safetensors", "model: stages.0.bias holds NaN or infinity"),
        ("tiny.safetensors --faces -3", "calibrate: expected 10 or more faces, got -3"),
        (
            "tiny.safetensors --output tiny.safetensors",
            "--output tiny.safetensors: is the weights file itself",
        ),
        (
            "tiny.safetensors --output sin.safetensors",
            "sin.safetensors: is there already: give another --output",
        ),
    ],
)
def test_calibrate_refuses_before_it_reads_a_face(
    here: Path, capsys: pytest.CaptureFixture[str], line: str, message: str
):
    """Seen before: a KeyError, all but three faces, and weights that were replaced."""
    model = small_model()
    model.stages[0].bias.data[3] = np.nan
    save_model(model, "nan.safetensors")
    before = Path("sin.safetensors").read_bytes()
    assert main(["calibrate", *shlex.split(line)]) == 2
    _, err = capsys.readouterr()
    assert message in err
    assert err.count("\n") == 1
    assert Path("sin.safetensors").read_bytes() == before


def test_calibrate_stores_what_it_found(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(calibration, "VARIANTS", dict.fromkeys(TRIALS, 1))
    monkeypatch.setattr(detect, "LBPCascade", Bright)
    monkeypatch.setattr(
        Bright,
        "__call__",
        lambda _, photo: [
            (
                *(0.2 * side for side in photo.shape[1::-1]),
                *(0.8 * side for side in photo.shape[1::-1]),
            )
        ],
    )
    root = write_fake_300w(here / "300w", {"afw": 12}, size=96)
    options = "--problem.train [afw] --problem.test [] --problem.val_fraction 0.3"
    assert main(shlex.split(f"calibrate tiny.safetensors --data {root} {options}")) == 0
    out, _ = capsys.readouterr()
    assert "bright: finds 100.0% of the faces" in out
    stored = Calibration.from_json(read_description("tiny.safetensors")["calibration"])
    assert stored.boxes["bright"].log_scale == pytest.approx(np.log(28 / (0.6 * 48)), abs=0.03)
    assert stored.confidence is not None
    assert Aligner.from_pretrained("tiny.safetensors").calibration == stored


LSTM = Path(__file__).parents[2] / "examples" / "lstm_descent.py"


def test_weights_of_a_model_of_ones_own(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    cls = resolve_model(f"{LSTM}:LSTMDescent")
    plain = small_model()
    sizes = (plain.num_features, plain.num_updates)
    own = cls(plain.problem, plain.observation, sizes, num_steps=2, hidden=6)
    save_model(own, "lstm.safetensors")
    root = write_fake_300w(here / "faces", {"afw": 12}, size=96)
    monkeypatch.setattr(calibration, "VARIANTS", dict.fromkeys(TRIALS, 1))
    data = f"--data {root} --problem.train [afw] --problem.test [] --problem.val_fraction 0.3"
    commands = (
        f"calibrate lstm.safetensors {data} --detector picture",
        "align whole.jpg --weights lstm.safetensors --box 20 15 50 45",
        "inspect lstm.safetensors --faces 30 --out seen",
    )
    for command in commands:
        assert main(shlex.split(command)) == 2
        assert "--model file.py:LSTMDescent" in capsys.readouterr().err
        code = main([*shlex.split(command), "--model", f"{LSTM}:LSTMDescent"])
        assert code == 0, capsys.readouterr().err
    assert Path("aligned/whole.json").exists()
    assert Path("seen/inspect.json").exists()
    assert "calibration" in read_description(Path("lstm.safetensors"))


def test_a_file_of_options_names_no_model(here: Path, capsys: pytest.CaptureFixture[str]):
    Path("own.yaml").write_text(f"model: {LSTM}:LSTMDescent")
    commands = ("align whole.jpg", "calibrate tiny.safetensors", "inspect tiny.safetensors")
    for command in commands:
        assert main([*command.split(), "--config", "own.yaml"]) == 2
        assert "model: a file sets options and names no code" in capsys.readouterr().err
