"""Bad faces on the command line: one message that names the file, and exit code 2."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from learned_descent import Cascade
from learned_descent.checkpoint import read_description
from learned_descent.checkpoint.model import save_model
from learned_descent.cli.main import main
from learned_descent.faces.alignment import FaceAlignment
from learned_descent.faces.synthetic import SyntheticFaces
from learned_descent.observations import Patches

from .fake300w import neutral_face, write_fake_300w

Run = Callable[..., tuple[int, str, str]]

EXAMPLE = Path(__file__).parents[2] / "examples" / "fine_tune.yaml"


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fake_300w(tmp_path_factory.mktemp("faces"), {"afw": 6, "helen/testset": 6})


@pytest.fixture
def root(faces: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(faces, tmp_path / "300w"))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    problem = FaceAlignment(crop=64, box_side=36.0)
    problem.mean_shape.copy_(0.4 * neutral_face())
    count = problem.schema.num_points
    model = Cascade(problem, Patches(problem.points, size=1), 3 * count, 2 * count, num_steps=2)
    save_model(model, tmp_path / "face.safetensors")
    return tmp_path / "face.safetensors"


@pytest.fixture
def evaluate(weights: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object) -> tuple[int, str, str]:
        code = main(["evaluate", str(weights), *map(str, words)])
        return code, *capsys.readouterr()

    return call


def test_weights_on_another_markup_say_how_it_is_read(evaluate: Run, root: Path):
    words = ("--problem-file", "landmarks", "--problem.schema", "wflw98", "--data", root)
    code, _, err = evaluate(*words)
    assert code == 2
    assert "mean_shape is (68, 2), this one has (98, 2): leave the setting out" in err


def test_a_table_for_all_points_and_the_inner_ones(evaluate: Run, weights: Path, root: Path):
    code, out, err = evaluate("--data", root)
    assert code == 0, err
    assert out.splitlines()[0].split("  ")[-1].strip().endswith("points / inter_ocular")
    assert "68 points / inter_ocular" in out
    assert "51 points / inter_ocular" in out
    assert "inter_pupil" not in out
    stored = json.loads(weights.with_name("face.test.json").read_text())
    assert "68 points / inter_pupil" in stored["errors"]


def test_weights_that_do_not_know_their_data_ask_for_them(evaluate: Run):
    code, _, err = evaluate()
    assert code == 2
    assert "give --data DIR" in err


def test_the_parts_can_be_chosen(evaluate: Run, weights: Path, root: Path):
    code, out, err = evaluate(
        "--data", root, "--problem.train", "[other]", "--problem.test", "[afw, helen/testset]"
    )
    assert code == 0, err
    assert "12 samples" in out


def test_weights_of_synthetic_faces_are_measured_on_real_ones(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
):
    problem = SyntheticFaces(count=4, test_count=1, crop=64, box_side=36.0)
    problem.mean_shape.copy_(0.4 * neutral_face())
    count = problem.schema.num_points
    save_model(
        Cascade(problem, Patches(problem.points, size=1), 3 * count, 2 * count, num_steps=1),
        tmp_path / "made.safetensors",
    )
    words = ["evaluate", str(tmp_path / "made.safetensors"), "--data", str(root)]
    assert main(words) == 2  # synthetic faces are read from no folder
    assert main([*words, "--problem-file", "faces"]) == 0
    assert "6 samples" in capsys.readouterr().out
    assert main([*words[:2], "--problem-file", "analytic"]) == 2
    assert "made for the problem synthetic-faces, got analytic" in capsys.readouterr().err


def test_a_second_training_by_the_example(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = [
        "train",
        "faces",
        "--data",
        str(root),
        "--problem.train",
        "[afw]",
        "--problem.val_fraction",
        "0.2",
    ]
    words += [
        "--observation.filters",
        "[4, 4]",
        "--observation.scales",
        "1",
        "--observation.embedding",
        "4",
    ]
    words += ["--model.hidden", "4", "--bptt.iterations", "2"]
    assert main([*words, "--family", "mdm", "--out", str(tmp_path / "first")]) == 0, (
        capsys.readouterr()
    )
    first = tmp_path / "first" / "model.safetensors"
    # What comes after a file wins: two iterations, not its 1,300
    again = [
        *words[:2],
        "--config",
        str(EXAMPLE),
        *words[2:],
    ]
    assert main([*again, "--init", str(first), "--out", str(tmp_path / "second")]) == 0, (
        capsys.readouterr()
    )
    training = read_description(tmp_path / "second" / "model.safetensors")["training"]
    second, before = training["settings"], training["init"]["settings"]
    assert (second["model"]["dropout"], before["model"]["dropout"]) == (0.2, 0.0)
    assert (second["bptt"]["lr"], second["bptt"]["weight_decay"]) == (
        5e-4,
        before["bptt"]["weight_decay"],
    )
    changed = {
        "rotation": 15.0,
        "scale": 0.1,
        "shift": 0.03,
        "contrast": 0.2,
        "brightness": 20.0,
        "colour": 0.1,
    }
    changed |= {"noise": 5.0, "occlusion": 0.1}
    assert second["problem"]["augmentation"] == {**before["problem"]["augmentation"], **changed}


def _remove(folder: str) -> Callable[[Path], object]:
    return lambda root: shutil.rmtree(root / folder)


def _spoil(name: str, text: str) -> Callable[[Path], object]:
    return lambda root: (root / name).write_text(text)


def _points(count: int, value: str = "3.0") -> str:
    return f"version: 1\nn_points: {count}\n{{\n" + f"{value} 4.0\n" * count + "}\n"


FACE = "helen/testset/face_0001"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_remove("."), "there is no folder"),
        (_remove("helen/testset"), "there is no folder"),
        (
            lambda root: (_remove("helen/testset")(root), (root / "helen/testset").mkdir()),
            "there is no image",
        ),
        (_spoil(f"{FACE}.jpg", "no image"), f"{FACE}.jpg: the image does not decode"),
        (_spoil(f"{FACE}.pts", _points(5)), f"{FACE}.pts: "),
        (_spoil(f"{FACE}.pts", _points(68, "nan")), f"{FACE}.pts: point 0 (from 0) is not finite"),
        (_spoil(f"{FACE}.pts", _points(68, "-500")), f"{FACE}.pts: landmark 0 (from 0) falls on"),
        (_spoil(f"bounding_boxes/{FACE}.pts", _points(4, "900")), "the box"),
        (_remove("bounding_boxes"), "no box"),
    ],
    ids=["no-root", "no-part", "empty", "image", "count", "nan", "outside", "box", "no-boxes"],
)
def test_bad_faces(
    evaluate: Run, weights: Path, root: Path, spoil: Callable[[Path], object], message: str
):
    spoil(root)
    code, _, err = evaluate("--data", root)
    assert code == 2
    assert "Traceback" not in err
    assert message in err
    assert not weights.with_name("face.test.json").exists()


def test_skip_bad_goes_on_without_them(evaluate: Run, root: Path):
    _spoil(f"{FACE}.jpg", "no image")(root)
    code, _, err = evaluate("--data", root)
    assert (code, "--skip-bad" in err) == (2, True)
    code, out, err = evaluate("--data", root, "--skip-bad")
    assert code == 0, err
    assert "5 samples" in out
