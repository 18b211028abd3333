"""``inspect``: the pose in the memory of a model of faces."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from learned_descent import Cascade, MnemonicDescent
from learned_descent.checkpoint.model import save_model
from learned_descent.cli.main import main
from learned_descent.faces.alignment import FaceAlignment
from learned_descent.model import DescentModel
from learned_descent.observations import Patches
from learned_descent.problems import Analytic

from .fake300w import neutral_face

Run = Callable[..., tuple[int, str, str]]


def mnemonic() -> DescentModel:
    problem = FaceAlignment(schema="ibug49", crop=64, box_side=36.0)
    count = problem.schema.num_points
    problem.mean_shape.copy_(0.4 * neutral_face()[list(problem.schema.within(len(neutral_face())))])
    torch.manual_seed(0)
    return MnemonicDescent(
        problem, Patches(problem.points, size=1), 3 * count, 2 * count, num_steps=2, hidden=8
    )


@pytest.fixture
def inspect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    monkeypatch.chdir(tmp_path)

    def call(model: DescentModel | None, *words: str) -> tuple[int, str, str]:
        if model is not None:
            save_model(model, "m.safetensors")
        code = main(["inspect", "m.safetensors", *words])
        return code, *capsys.readouterr()

    return call


def test_a_picture_a_table_and_numbers(inspect: Run):
    code, out, err = inspect(mnemonic(), "--faces", "32", "--out", "seen")
    assert code == 0, err
    lines = out.splitlines()
    assert "yaw told right, % of 16 faces" in lines[0]
    assert lines[1].split() == ["step", "state", "x"]
    assert [line.split()[0] for line in lines[3:6]] == ["0", "1", "2"]
    assert "5 classes of yaw with equally many faces" in out
    assert "figure: seen/inspect.png" in out
    assert Path("seen/inspect.png").read_bytes().startswith(b"\x89PNG")
    stored = json.loads(Path("seen/inspect.json").read_text())
    assert (len(stored["accuracy"]["state"]), len(stored["accuracy"]["x"])) == (2, 3)
    assert (stored["settings"]["schema"], stored["settings"]["crop"], stored["seed"]) == (
        "ibug49",
        64,
        0,
    )
    assert len(stored["classes"]["edges"]) == 4

    before = Path("seen/inspect.json").read_bytes()
    code, _, err = inspect(None, "--faces", "32", "--out", "seen")
    assert (code, "is there already: give another --out, or --overwrite" in err) == (2, True)
    assert Path("seen/inspect.json").read_bytes() == before


def test_models_without_memory_or_faces(inspect: Run):
    model = mnemonic()
    code, _, err = inspect(
        Cascade(model.problem, model.observation, model.num_features, model.num_updates)
    )
    assert (code, "a Cascade has no memory: give a recurrent model, such as mdm" in err) == (
        2,
        True,
    )
    code, _, err = inspect(MnemonicDescent.for_problem(Analytic("sin"), hidden=2))
    assert (code, "expected a model of faces, got one of Analytic" in err) == (2, True)
    assert not Path("runs").exists()


def test_other_mistakes(inspect: Run):
    code, _, err = inspect(None)
    assert (code, "weights 'm.safetensors': there is no such file" in err) == (2, True)
    code, _, err = inspect(mnemonic(), "--faces", "29")
    assert (code, "--faces: expected 30 or more, for 5 classes of yaw, got 29" in err) == (2, True)
    code, _, err = inspect(None, "--batch-size", "0")
    assert (code, "--batch-size: expected 1 or more samples, got 0" in err) == (2, True)
