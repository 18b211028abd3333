"""Settings that follow from the number of training samples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from learned_descent import load_model
from learned_descent.checkpoint import read_description
from learned_descent.cli.main import main

from ..landmarks.drawn import write_wings

QUICK = [
    "--problem.crop=64",
    "--sdm.model.num_steps=1",
    "--sdm.observation.cells=1",
    "--sdm.ridge.ridge=1.0",
]


def test_what_is_chosen_is_said_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(write_wings(tmp_path / "wings", 20))
    out = tmp_path / "out"
    words = ["compare", "landmarks", "--data", data, "--families", "sdm", *QUICK]
    assert main([*words, "--out", str(out)]) == 0
    assert "chosen for 14 training samples: sdm.ridge.repeats 48\n" in capsys.readouterr().err
    results = json.loads((out / "results.json").read_text())
    assert results["families"]["sdm"]["settings"]["ridge"]["repeats"] == 48
    assert yaml.safe_load((out / "settings.yaml").read_text())["sdm"]["ridge"]["repeats"] == 48
    training = read_description(out / "sdm.safetensors")["training"]
    assert training["settings"]["sdm"]["ridge"]["repeats"] == 48
    again = ["compare", "landmarks", "--config", str(out / "settings.yaml")]
    assert main([*again, "--out", str(tmp_path / "again")]) == 0
    assert "chosen" not in capsys.readouterr().err, "what is kept is given"
    first, second = (load_model(tmp_path / name / "sdm.safetensors") for name in ("out", "again"))
    assert all(map(lambda a, b: bool((a == b).all()), first.parameters(), second.parameters()))


def test_what_is_given_wins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(write_wings(tmp_path / "wings", 20))
    quick = [word.replace("--sdm.", "--") for word in QUICK]
    command = ["train", "landmarks", "--family", "sdm", "--data", data, *quick]
    assert main([*command, "--ridge.repeats=2", "--out", str(tmp_path / "given")]) == 0
    assert "chosen" not in capsys.readouterr().err
    settings = yaml.safe_load((tmp_path / "given" / "settings.yaml").read_text())
    assert settings["ridge"]["repeats"] == 2
    assert main([*command, "--out", str(tmp_path / "left")]) == 0
    assert "chosen for 14 training samples: ridge.repeats 48\n" in capsys.readouterr().err
    settings = yaml.safe_load((tmp_path / "left" / "settings.yaml").read_text())
    assert settings["ridge"]["repeats"] == 48
