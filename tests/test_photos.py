"""`align` and `calibrate` on the command line: what they write and print, and what they say to bad input."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from learned_descent import Cascade, DescentError, photos, weights
from learned_descent.checkpoint import annotate, read_description, save_model
from learned_descent.cli import main
from learned_descent.faces import calibration, detect
from learned_descent.faces.aligner import FaceAligner
from learned_descent.faces.calibration import BoxOffset, Calibration, Confidence
from learned_descent.faces.output import Format
from learned_descent.problems import Analytic

from .faces.aligners import Bright, small_model
from .faces.fake300w import write_fake_300w

Run = Callable[[str], tuple[int, str, str]]
SURE = Confidence(face=(-6.0, -2.4), landmark=(-3.0, -1.1), threshold=0.08)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with weights and photos: `bright.png` has a face to the detector, `dark.png` has none."""
    monkeypatch.chdir(tmp_path)
    save_model(small_model(), "tiny.safetensors")
    annotate("tiny.safetensors", "calibration", Calibration({"bright": BoxOffset((0.0, 0.1), 0.1)}, SURE).to_json())
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
    def call(line: str) -> tuple[int, str, str]:
        capsys.readouterr()
        return main(
            ["align", *shlex.split(line), *([] if "--weights" in line else ["--weights", "tiny.safetensors"])]
        ), *capsys.readouterr()

    return call


def test_a_picture_and_json_unless_told_otherwise(run: Run):
    code, out, err = run("bright.png")
    assert (code, err) == (0, "")
    assert out.startswith("bright.png: 1 face, confidence 0.")
    assert sorted(path.name for path in Path("aligned").iterdir()) == ["bright.json", "bright.png"]
    (stored,) = json.loads(Path("aligned/bright.json").read_text())["faces"]
    (wanted,) = FaceAligner.from_pretrained("tiny.safetensors", detector=Bright())("bright.png")
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
    Path("boxes.csv").write_text("image,x0,y0,x1,y1\nbright.png,10,12,40,42\nbright.png,15,12,45,42\ndark.png,5,5,35,35\n")
    assert run("bright.png dark.png --boxes boxes.csv --output two")[0] == 0
    assert [face["box"][0] for face in json.loads(Path("two/bright.json").read_text())["faces"]] == [10, 15]
    Path("boxes.json").write_text(json.dumps({"bright.png": [[10, 12, 40, 42], [15, 12, 45, 42]], "dark.png": [5, 5, 35, 35]}))
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
        ("dot.png", "the image has 1 x 1 px, expected a photo of a face"),
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
        ("-400 -400 -300 -300", "the box (-400 -400 -300 -300) has its centre outside of the image of 80 x 60 px"),
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
            "sin.safetensors: expected weights of faces, got weights of the problem 'analytic'",
        ),
        ("bright.png --weights text.jpg", "text.jpg: expected a safetensors file"),
        ("bright.png --weights gone", "weights 'gone': there is no such file"),
        ("bright.png dark.png --box 1 2 30 40", "--box: expected one photo and no --boxes"),
        ("bright.png --boxes gone.csv", "expected a .csv or .json file of boxes, but gone.csv is none"),
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
    assert "aligned/bright.png: is there already: give another --output, or --overwrite to replace it" in err
    assert run("bright.png --overwrite")[0] == 0
    before = Path("bright.png").read_bytes()
    code, _, err = run("bright.png --overwrite --output .")
    assert (code, "bright.png is one of the photos: give another --output" in err) == (1, True)
    assert Path("bright.png").read_bytes() == before


def test_photos_of_the_same_name_do_not_replace_each_other(run: Run):
    for folder in ("a", "b"):
        Path(folder).mkdir()
        shutil.copy("bright.png", folder)
    code, _, err = run("a/bright.png b/bright.png a/bright.png --overwrite")
    assert code == 1
    assert "b/bright.png: would replace the faces of a/bright.png" in err
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
    assert err.count("learned-descent: warning: the weights do not know how the boxes of bright lie on faces") == 1
    assert "confidence nan" in out
    assert (
        "warning: bright.png: face 0: the box (10 10 70 20) is 6.0 times" in run("bright.png --box 10 10 70 20 --overwrite")[2]
    )


def test_the_fall_back_is_announced(run: Run, monkeypatch: pytest.MonkeyPatch):
    def missing() -> None:
        raise DescentError("CenterFace is not installed")

    monkeypatch.setattr(detect, "CenterFace", missing)
    code, _, err = run("dark.png")
    assert code == 1
    assert "learned-descent: warning: CenterFace is not installed; scikit-image's LBP cascade finds the faces instead" in err


def test_calibrate_stores_what_it_found(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(calibration, "VARIANTS", 2)
    monkeypatch.setattr(detect, "LBPCascade", Bright)
    monkeypatch.setattr(
        Bright,
        "__call__",
        lambda _, photo: [(*(0.2 * side for side in photo.shape[1::-1]), *(0.8 * side for side in photo.shape[1::-1]))],
    )
    root = write_fake_300w(here / "300w", {"afw": 12}, size=96)
    options = "--problem.train [afw] --problem.test [] --problem.val_fraction 0.3"
    assert main(shlex.split(f"calibrate tiny.safetensors --data {root} {options}")) == 0
    out, _ = capsys.readouterr()
    assert "bright: finds 100.0% of the faces" in out
    stored = Calibration.from_json(read_description("tiny.safetensors")["calibration"])
    assert stored.boxes["bright"].log_scale == pytest.approx(np.log(28 / (0.6 * 48)), abs=0.03)
    assert stored.confidence is not None
    assert FaceAligner.from_pretrained("tiny.safetensors").calibration == stored
