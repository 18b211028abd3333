"""A training that is killed, at whatever moment, goes on to the same end; and it says what is kept
where it is asked to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from learned_descent.cli import main as cli

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="processes are forked and watched as under Linux"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("killed")


@pytest.fixture(scope="module")
def told(folder: Path) -> dict:
    """What became of trainings that were killed, and of commands that were asked to end."""
    program = [sys.executable, "-m", "tests.cli.killed_runs", str(folder), "8"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        program, capture_output=True, text=True, env=environment, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]) | {"stderr": done.stderr}


@pytest.mark.slow
def test_a_training_goes_on_after_any_number_of_kills(folder: Path, told: dict):
    ends = told["killed"]["ends"]
    assert set(ends[:-2]) <= {-signal.SIGKILL, 0}, told["stderr"]
    assert ends.count(-signal.SIGKILL) >= 4
    assert ends[-2:] == [0, 0], told["stderr"]
    assert max(told["killed"]["left"]) == 1, (
        "what one killed writer leaves, the next training removes"
    )
    names = [
        "checkpoint.safetensors",
        "history.json",
        "log.csv",
        "model.safetensors",
        "settings.yaml",
    ]
    assert sorted(path.name for path in (folder / "parts").iterdir()) == names
    whole, parts = (load_file(folder / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "code", "word"), [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated")]
)
def test_a_training_that_is_asked_to_end_says_what_is_kept(
    folder: Path, told: dict, name: str, code: int, word: str
):
    found = told["asked"][name]
    assert found["code"] == code
    kept = folder / name / "checkpoint.safetensors"
    assert (
        f"learned-descent: {word}; kept: {kept}; --resume goes on from the last checkpoint\n"
        in found["text"]
    )
    assert "Traceback" not in found["text"]
    assert not list((folder / name).glob(".*")), "neither a lock nor half a file is left"


@pytest.mark.slow
def test_the_workers_of_a_command_end_with_it(told: dict):
    found = told["asked"]["faces"]
    assert (found["code"], found["workers"], found["left"]) == (143, 2, [])
    assert "learned-descent: terminated\n" in found["text"]
    assert "Traceback" not in found["text"]


@pytest.mark.parametrize(
    ("rank", "parents", "messages"), [("0", [7], 1), ("1", [7, 7], 1), ("1", [7, 1], 0)]
)
def test_one_rank_speaks_for_all(monkeypatch, capsys, rank, parents, messages):
    """The first one at once; another one if it is still there a while later, and whoever started it
    is, too."""
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr(cli, "_PATIENCE", 0.0)
    left = iter(parents)
    monkeypatch.setattr(cli.os, "getppid", lambda: next(left))
    assert cli.main(["evaluate", "gone.safetensors"]) == 2
    assert (
        capsys.readouterr().err.count(
            "learned-descent: error: weights 'gone.safetensors': there is no such"
        )
        == messages
    )
