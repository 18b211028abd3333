"""Nothing trained is lost: what a run may replace, and what it may go on from."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from learned_descent.cli.main import main

from ..system.test_lock import held_elsewhere

TRAIN = (
    "train analytic --family joint --ridge.ridge 0.1 --bptt.iterations 4 --bptt.batch_size 8 --out "
    "run"
)
COMPARE = (
    "compare analytic --families sdm mdm --sdm.ridge.ridge 0.1 --mdm.model.hidden 4 "
    "--mdm.bptt.iterations 4 --mdm.bptt.batch_size 8 --out all"
)
Run = Callable[[str], tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a line; gives the exit code and what it says of an error."""
    monkeypatch.chdir(tmp_path)

    def call(line: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(shlex.split(line))
        return code, capsys.readouterr().err.partition("learned-descent: error: ")[2]

    return call


def content(folder: str) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(path): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


@pytest.fixture
def trained(run: Run) -> dict[str, bytes]:
    """The files of a finished training in ``run``."""
    assert run(TRAIN)[0] == 0
    return content("run")


@pytest.mark.parametrize(
    ("before", "options", "message"),
    [
        (
            "",
            "",
            (
                "run/model.safetensors: is there already: give another --out, --resume to go on, "
                "or --overwrite to replace it"
            ),
        ),
        (
            "model",
            "",
            (
                "run/checkpoint.safetensors: is there already: give another --out, --resume to go "
                "on, or --overwrite"
            ),
        ),
        (
            "checkpoint",
            "--resume",
            (
                "run/model.safetensors: is there already, and no run/checkpoint.safetensors to go "
                "on from"
            ),
        ),
        (
            "",
            "--resume --seed 1",
            "run/settings.yaml: cannot resume: the run was started with seed=0, this command has 1",
        ),
        (
            "settings",
            "--resume --seed 1",
            "run/checkpoint.safetensors: cannot resume: the checkpoint was made with seed=0, this",
        ),
        (
            "",
            "--resume --model.num_steps 3",
            "was started with model.num_steps=4, this command has 3; give the settings of",
        ),
        ("", "--resume --problem.spread 0.2", "was started with problem.spread="),
        ("", "--resume --overwrite", "--resume, --overwrite: expected one of them"),
    ],
)
def test_a_refused_training_leaves_every_file_as_it_was(
    run: Run, trained, before: str, options: str, message: str
):
    for path in Path("run").glob(f"{before}.*" if before else "-"):
        path.unlink()
    files = content("run")
    code, error = run(f"{TRAIN} {options}")
    assert code == 2
    assert message in error
    assert content("run") == files


def test_a_folder_in_use_is_refused_and_stays_as_it_is(run: Run, trained):
    Path("all").mkdir()
    for line, folder in ((f"{TRAIN} --overwrite", "run"), (COMPARE, "all")):
        with held_elsewhere(Path(folder)):
            files = content(folder)
            code, error = run(line)
            assert code == 2
            assert "is in use by another run (process 77 on far" in error
            assert content(folder) == files


def test_resume_of_the_same_training_may_run_elsewhere(run: Run, trained):
    wanted = load_file("run/model.safetensors")
    shutil.copytree("run", "moved")
    line = TRAIN.replace("--out run", "--out moved")
    code, error = run(f"{line} --resume --bptt.accelerator cpu")
    assert code == 0, error
    found = load_file("moved/model.safetensors")
    assert all(torch.equal(value, found[name]) for name, value in wanted.items())


def test_resume_without_anything_starts_at_the_beginning_and_says_so(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path
):
    assert main(shlex.split(f"{TRAIN} --resume")) == 0
    assert (
        "run/checkpoint.safetensors: is not there: the training starts at its beginning"
        in capsys.readouterr().err
    )


def test_overwrite_leaves_nothing_of_the_old_training(run: Run, trained):
    code, error = run(
        "train analytic --family sdm --ridge.ridge 0.1 --seed 5 --out run --overwrite"
    )
    assert code == 0, error
    assert sorted(path.name for path in Path("run").iterdir()) == [
        "history.json",
        "model.safetensors",
        "settings.yaml",
    ]
    assert yaml.safe_load(Path("run/settings.yaml").read_text())["seed"] == 5


def test_compare_guards_the_checkpoints_and_weights_of_every_family(run: Run):
    assert run(COMPARE)[0] == 0
    files = content("all")
    for removed, options, message in (
        (
            ["results.json"],
            "",
            (
                "all/sdm.safetensors: is there already: give another --out, --resume to go on, or "
                "--overwrite"
            ),
        ),
        (["results.json", "sdm.safetensors"], "", "all/mdm.safetensors: is there already"),
        (
            ["results.json", "sdm.safetensors", "mdm.safetensors"],
            "",
            "all/mdm/checkpoint.safetensors: is there already",
        ),
        (
            ["mdm/checkpoint.safetensors"],
            "--resume",
            "all/mdm.safetensors: is there already, and no all/mdm/checkpoint.safet",
        ),
        (
            [],
            "--resume --sdm.ridge.ridge 1",
            "all/settings.yaml: cannot resume: the run was started with sdm.ridge.ridge=0.1",
        ),
        (
            ["settings.yaml"],
            "--resume --problem.function erf",
            "all/sdm.safetensors: cannot resume: was trained on the data",
        ),
        (
            ["settings.yaml"],
            "--resume --mdm.bptt.lr 1",
            "all/mdm/checkpoint.safetensors: cannot resume: the checkpoint was made",
        ),
    ):
        for name, data in files.items():
            Path(name).write_bytes(data)
        for name in removed:
            Path("all", name).unlink()
        left = content("all")
        code, error = run(f"{COMPARE} {options}")
        assert code == 2
        assert message in error
        assert content("all") == left
    for name, data in files.items():
        Path(name).write_bytes(data)
    code, error = run(f"{COMPARE} --resume --split val")
    assert code == 0, error
    old, new = (
        json.loads(text)["families"]
        for text in (files["all/results.json"], Path("all/results.json").read_text())
    )
    assert new["mdm"]["trainers"] == old["mdm"]["trainers"]


def test_evaluate_replaces_its_own_results_only(run: Run, trained):
    line = "evaluate run/model.safetensors --output"
    for name in ("run/checkpoint.safetensors", "run/history.json", "run/settings.yaml"):
        code, error = run(f"{line} {name}")
        assert code == 2
        assert (
            f"{name}: is there already, and not what this command has written: give another "
            "--output, or --ov" in error
        )
    code, error = run(f"{line} run/model.safetensors --overwrite")
    assert code == 2
    assert (
        "--output run/model.safetensors: expected another file than the one that is read" in error
    )
    assert content("run") == trained
    for _ in range(2):
        assert run(f"{line} run/errors.json")[0] == 0
    assert run(f"{line} run/history.json --overwrite")[0] == 0
    assert "errors" in json.loads(Path("run/history.json").read_text())
