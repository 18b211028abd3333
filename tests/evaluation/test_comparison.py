"""A comparison as an object, and what a model says of itself for it."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import learned_descent
from learned_descent import (
    Cascade,
    Comparison,
    DescentError,
    DescentModel,
    History,
    Recipe,
    Trainer,
    compare,
    recipes_for,
)
from learned_descent.data.samples import Samples
from learned_descent.evaluation.basin import Basin
from learned_descent.evaluation.tables import eyes
from learned_descent.observation import Concat, Frozen
from learned_descent.problems import Analytic
from learned_descent.registry import recipe_for, resolve_problem
from learned_descent.solvers import LevenbergMarquardt, Polished, Status


@pytest.fixture
def problem() -> Analytic:
    return Analytic("erf")


@pytest.fixture
def models(problem):
    learned = Cascade.for_problem(problem, num_steps=2)
    solver = LevenbergMarquardt(problem, num_steps=4)
    return {"still": learned, "both": Polished(learned, solver), "lm": solver}


def test_a_comparison_is_what_the_command_prints_and_writes(problem, tmp_path):
    families = {name: recipe_for(Analytic, name) for name in ("sdm", "sdm+lm", "lm")}
    comparison = compare(problem, families, out=tmp_path)
    assert isinstance(comparison, Comparison)
    assert comparison.folder == tmp_path
    assert list(comparison.evaluations) == list(comparison.models) == list(families)
    assert str(comparison).startswith(comparison.table())
    assert str(comparison).endswith(f"\n\nresults: {tmp_path}\nreport: {tmp_path / 'report.html'}")
    written = json.loads((tmp_path / "results.json").read_text())
    assert written == json.loads(json.dumps(comparison.to_json()))
    drawn = {f"{name}.png" for name in comparison.figures()}
    assert drawn == {"basin.png", "ced.png", "steps.png", "time.png"}
    assert {path.name for path in tmp_path.glob("*.png")} == drawn
    weights = {name: note["weights"] for name, note in comparison.notes.items()}
    file = str(tmp_path / "sdm.safetensors")
    assert weights == {"sdm": file, "sdm+lm": file, "lm": None}
    assert comparison.seconds["sdm"] == comparison.seconds["sdm+lm"]
    assert "lm" not in comparison.seconds


def test_a_comparison_has_figures_and_a_table_for_a_paper(problem, tmp_path):
    families = {name: recipe_for(Analytic, name) for name in ("sdm", "lm")}
    out, file = tmp_path / "out", tmp_path / "table.tex"
    comparison = compare(problem, families, out=out, figures="pdf", latex=file)
    assert file.read_text() == comparison.latex() + "\n"
    assert "observation" not in comparison.latex()
    for kind in ("png", "pdf"):
        assert {path.stem for path in out.glob(f"*.{kind}")} == set(comparison.figures())
    assert b"/FontFile2" in (out / "ced.pdf").read_bytes()
    with pytest.raises(DescentError, match=r"table.tex: is there already: give another --out, "):
        compare(problem, families, out=tmp_path / "other", latex=file)
    with pytest.raises(DescentError, match="--figures: expected one of png, pdf, got 'svg'"):
        compare(problem, families, out=tmp_path / "other", figures="svg")
    with pytest.raises(DescentError, match=r"--latex .*table.pdf: expected a file that ends in"):
        compare(problem, families, out=tmp_path / "other", latex=tmp_path / "table.pdf")
    assert not (tmp_path / "other" / "settings.yaml").exists()
    (out / "errors.csv").write_text("of an earlier run")
    (out / "own.pdf").write_text("of the user")
    compare(problem, {"lm": families["lm"]}, out=out, overwrite=True)
    assert {path.name for path in out.glob("*.pdf")} == {"own.pdf"}
    assert not (out / "errors.csv").exists()


def test_models_are_compared_without_files(problem, models):
    comparison = Comparison.measured(models, problem.data("test"), batch_size=32)
    assert str(comparison) == comparison.table()
    lines = comparison.table().splitlines()
    first = [line.split()[0] for line in lines[1:6]]
    assert first == ["family", "-" * len(lines[2]), "still", "both", "lm"]
    assert isinstance(comparison.basin, Basin)
    assert comparison.basin is comparison.basin
    stored = comparison.to_json()["families"]
    assert stored["lm"]["weights"] is None
    assert stored["lm"]["parameters"] == 0
    weights = list(models["still"].parameters())
    assert stored["still"]["parameters"] == sum(weight.numel() for weight in weights)
    assert "ended" not in stored["still"]
    assert sum(stored["both"]["ended"].values()) == comparison.evaluations["both"].num_samples


def test_what_was_not_measured_alike_is_no_comparison(problem, models):
    samples = problem.data("test")
    whole = Comparison.measured(models, samples)
    half = Comparison.measured(models, {name: value[::2] for name, value in samples.items()})
    mixed = {"still": whole.evaluations["still"], "lm": half.evaluations["lm"]}
    with pytest.raises(DescentError, match="the number of samples differ"):
        Comparison(models, mixed, samples)
    with pytest.raises(DescentError, match="expected at least one, got none"):
        Comparison.measured({}, samples)


def test_a_model_says_what_is_learned_and_what_is_classical(problem, models):
    learned, both, solver = models.values()
    assert [model.learned_model() for model in models.values()] == [learned, learned, None]
    assert [model.classical_solver() for model in models.values()] == [None, solver, solver]
    assert eyes(both) == eyes(learned) == type(problem.observation()).__name__
    assert eyes(solver) == ""


def test_a_model_says_how_its_samples_ended(problem, models):
    learned, both, solver = models.values()
    batch = {"y": torch.tensor([[0.5], [torch.nan]])}
    for model, reason in (
        (both, "x is not finite where the solver starts"),  # the learned steps left it there
        (solver, "residuals are not finite: 'y' holds NaN or infinity"),
    ):
        outcome = model.outcome(model(batch, torch.zeros(2, 1), keep_states=True), batch)
        assert outcome.status.tolist()[1] == Status.INVALID
        assert outcome.reasons == ["", reason]
    assert learned.outcome(learned(batch, torch.zeros(2, 1)), batch) is None


def test_an_observation_says_what_it_is_made_of(problem):
    own = problem.observation()
    name = type(own).__name__
    assert Concat(own, Frozen(own), own).in_words() == f"{name} + frozen {name}"


def test_families_of_the_registry_are_taken_as_they_are(problem, tmp_path):
    families = recipes_for(Analytic)
    comparison = compare(problem, {"lm": families["lm"]}, out=tmp_path, seed=3)
    assert comparison.origin["seed"] == 3
    assert comparison.origin["problem"]["name"] == "analytic"


PACKAGE = Path(learned_descent.__file__).parent
MEASURING = [
    *sorted((PACKAGE / "evaluation").rglob("*.py")),
    *(PACKAGE / "cli" / name for name in ("compare.py", "report.py")),
]


@pytest.mark.parametrize("path", MEASURING, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_measures_knows_no_concrete_model_and_no_faces(path):
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, (ast.Name, ast.arg)):
            names.add(node.id if isinstance(node, ast.Name) else node.arg)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)
    concrete = {"Cascade", "MnemonicDescent", "Solver", "Polished", "Frozen", "Concat"}
    assert not names & {*concrete, "faces", "synthetic-faces", "faces.png"}


@pytest.mark.parametrize("name", ["faces", "synthetic-faces"])
def test_faces_say_themselves_what_the_report_says_of_them(name):
    problem = resolve_problem(name)
    assert problem.pictured == "faces"
    assert "300-W" in problem.other_data.title
    assert (Analytic.pictured, Analytic.other_data) == ("fits", None)


@dataclass(frozen=True)
class Looked(Trainer):
    """A trainer with a setting that JSON does not know."""

    table: Path = Path("table.csv")

    def fit(
        self, model: DescentModel, train: Samples, val: Samples | None = None, *, seed: int = 0
    ) -> History:
        return History()


def test_a_setting_of_any_kind_is_reported_as_a_text(tmp_path: Path):
    """It once ended a comparison when all was trained."""
    families = {"looked": Recipe(Cascade, {"num_steps": 2}, trainers={"look": Looked()})}
    compare(Analytic("sin"), families, out=tmp_path)
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["families"]["looked"]["settings"]["look"] == {"table": "table.csv"}
