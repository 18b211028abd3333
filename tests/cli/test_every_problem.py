"""The three families of every built-in problem, through the command line."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

from learned_descent.checkpoint.model import load_model
from learned_descent.cli.main import main
from learned_descent.families import Recipe
from learned_descent.names import PROBLEMS
from learned_descent.observations import ConvolutionalMap, DenseSIFT
from learned_descent.problem import Problem
from learned_descent.registry import recipe_for, resolve_problem
from tests.faces.fake300w import write_fake_300w
from tests.landmarks.drawn import write_wings

FAMILIES = ("sdm", "joint", "mdm")

SMALL = {
    "num_train": 48,
    "num_test": 8,
    "count": 24,
    "test_count": 4,
    "num_model": 64,
    "num_scan": 32,
    "crop": 64,
    "box_side": 36,
    "grid": 8,
}
"""Settings that make a problem quick, where it has them."""

QUICK = (
    *(f"--{family}.model.num_steps=2" for family in FAMILIES),
    *("--mdm.model.hidden=16", "--sdm.ridge.ridge=1.0", "--joint.ridge.ridge=1.0"),
    *(f"--{family}.ridge.repeats=1" for family in ("sdm", "joint")),
    *(f"--{family}.bptt.iterations=2" for family in ("joint", "mdm")),
    *(f"--{family}.bptt.batch_size=4" for family in ("joint", "mdm")),
    *(f"--{family}.bptt.accelerator=cpu" for family in ("joint", "mdm")),
)


FEW = {DenseSIFT: ["cells=1"], ConvolutionalMap: ["filters=[4,4,4,4]", "sampled=4"]}
"""What makes few features, by the observation that a family has of its own."""


def small(problem: type[Problem], folder: Path, families: tuple[str, ...] = FAMILIES) -> list[str]:
    """The words that make a problem small; what needs data of the world gets drawn ones."""
    known = inspect.signature(problem).parameters
    words = [f"--problem.{name}={value}" for name, value in SMALL.items() if name in known]
    for family in families:
        recipe = recipe_for(problem, family)
        own = recipe.observation if isinstance(recipe, Recipe) else None
        words += [f"--{family}.observation.{few}" for few in FEW.get(own, [])]
    if "data" in known:
        words += ["--data", str(write_wings(folder, 12))]
    if "root" in known:
        words += ["--data", str(write_fake_300w(folder, {"afw": 6, "helen/testset": 4}, size=96))]
        words += ["--problem.train=[afw]"]
    return words


@pytest.mark.parametrize("name", PROBLEMS)
def test_three_families_are_compared(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = small(resolve_problem(name), tmp_path / "data")
    command = ["compare", name, "--families", *FAMILIES, *QUICK, *words]
    code = main([*command, "--out", str(tmp_path / "out")])
    assert code == 0, capsys.readouterr().err
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert tuple(results["families"]) == FAMILIES
    trained = {family: list(results["families"][family]["trainers"]) for family in FAMILIES}
    assert trained == {"sdm": ["ridge"], "joint": ["ridge", "bptt"], "mdm": ["bptt"]}
    assert (tmp_path / "out" / "report.html").exists()


TRAINED_QUICKLY = {
    "tokens": ["model.hidden=8", "bptt.iterations=2", "bptt.batch_size=4", "bptt.accelerator=cpu"],
    "ert": ["model.num_steps=2", "model.trees=2", "model.depth=2", "boosting.repeats=1"],
    "lbf": ["model.num_steps=2", "model.trees=1", "model.depth=2", "forests.repeats=1"],
}


@pytest.mark.parametrize("family", TRAINED_QUICKLY)
@pytest.mark.parametrize("name", ["faces", "landmarks"])
def test_families_of_landmarks(
    name: str, family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if family == "ert":
        pytest.importorskip("dlib")
    words = small(resolve_problem(name), tmp_path / "data", (family,))
    words += [f"--{family}.{word}" for word in TRAINED_QUICKLY[family]]
    code = main(["compare", name, "--families", family, *words, "--out", str(tmp_path / "out")])
    assert code == 0, capsys.readouterr().err
    settings = load_model(tmp_path / "out" / f"{family}.safetensors").settings()
    for word in TRAINED_QUICKLY[family]:
        part, _, value = word.partition(".")[2].partition("=")
        assert str(settings.get(part, value)) == value
