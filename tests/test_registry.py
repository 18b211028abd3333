"""Names of problems and families, and what a user hears when one is wrong."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from learned_descent import Cascade, DescentError, DescentModel, ImageObservation, Problem, registry
from learned_descent.names import MODELS, OBSERVATIONS, PROBLEMS
from learned_descent.problems import Analytic
from learned_descent.recipe import RECIPES, Classical, Polish
from learned_descent.registry import (
    builtin_class,
    name_of,
    recipe_for,
    recipes_for,
    resolve_problem,
)
from learned_descent.solvers import GaussNewton, LevenbergMarquardt
from tests.toys import Line

TOY = """
from learned_descent.problems import Analytic
from learned_descent import Problem

class Toy(Problem):
    failure_above = 1.0
    def data(self, split): ...
    def initial(self, batch, generator=None): ...
    def target(self, batch): ...
    def observation(self): ...

class Half(Problem):
    failure_above = 1.0
    def data(self, split): ...

number = 3
"""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    (tmp_path / "toy_problem.py").write_text(TOY)
    return tmp_path / "toy_problem.py"


@pytest.mark.parametrize(
    ("table", "base"),
    [(PROBLEMS, Problem), (OBSERVATIONS, ImageObservation), (MODELS, DescentModel)],
    ids=["problem", "eyes", "model"],
)
def test_every_built_in_name_leads_to_a_class_and_back(table: dict[str, str], base: type):
    for name in table:
        cls = builtin_class(name, table, "name")
        assert issubclass(cls, base)
        assert name_of(cls, table) == name


def test_a_class_of_a_file(toy: Path):
    cls = resolve_problem(f"{toy}:Toy")
    assert issubclass(cls, Problem)
    assert name_of(cls, PROBLEMS) == "custom:Toy"
    assert list(recipes_for(cls)) == ["sdm", "joint", "mdm"]


def test_a_class_of_a_module():
    assert resolve_problem("learned_descent.problems.analytic:Analytic") is Analytic


def test_an_installed_plug_in(monkeypatch: pytest.MonkeyPatch):
    plugin = EntryPoint("theirs", "learned_descent.problems.analytic:Analytic", registry.ENTRY_POINTS)
    broken = EntryPoint("broken", "learned_descent.nothing:Analytic", registry.ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [plugin, broken] if group == registry.ENTRY_POINTS else [])
    assert resolve_problem("theirs") is Analytic
    with pytest.raises(
        DescentError, match=r"problem 'broken': loading learned_descent.nothing:Analytic failed with ModuleNotFound"
    ):
        resolve_problem("broken")
    with pytest.raises(
        DescentError,
        match=rf"problem 'cats': expected one of {', '.join(sorted([*PROBLEMS, 'broken', 'theirs']))}, or package.module:Class",
    ):
        resolve_problem("cats")


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        (":Missing", r"toy_problem.py: expected a class 'Missing'; it holds the problems Toy, Half"),
        ("", r"name the class too, as in .*toy_problem.py:Toy; it holds the problems Toy, Half"),
        (":number", r"expected a subclass of learned_descent.Problem, got 3"),
        (":Half", r"Half is abstract: define initial, observation, target"),
    ],
)
def test_a_file_without_the_class(toy: Path, ending: str, message: str):
    with pytest.raises(DescentError, match=message):
        resolve_problem(f"{toy}{ending}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\nclass Toy(:\n", r"broken.py:2: syntax error: .*: class Toy\(:"),
        ("\n\nimport nothing_like_this\n", r"broken.py:3: running the file failed with ModuleNotFoundError: No module named"),
        ("def f():\n    return 1 / 0\nf()\n", r"broken.py:2: running the file failed with ZeroDivisionError: division by zero"),
    ],
)
def test_a_file_that_does_not_run(tmp_path: Path, text: str, message: str):
    (tmp_path / "broken.py").write_text(text)
    with pytest.raises(DescentError, match=message):
        resolve_problem(f"{tmp_path / 'broken.py'}:Toy")
    assert "broken" not in sys.modules


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(DescentError, match=r"gone.py: expected a Python file, found nothing there"):
        resolve_problem(f"{tmp_path / 'gone.py'}:Toy")
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(DescentError, match=r"folder.py: expected a Python file, found a folder there"):
        resolve_problem(f"{tmp_path / 'folder.py'}:Toy")


def test_a_module_that_is_not_there():
    with pytest.raises(DescentError, match=r"No module named 'nothing'; install it, put it on PYTHONPATH, or name the file"):
        resolve_problem("nothing.here:Toy")


def test_a_file_does_not_hide_a_module_of_the_same_name(tmp_path: Path):
    import json

    (tmp_path / "json.py").write_text(TOY)
    assert resolve_problem(f"{tmp_path / 'json.py'}:Toy").__name__ == "Toy"
    assert sys.modules["json"] is json


def test_unknown_names():
    for family in ("cnn", "cnn+lm", "lm+lm", "sdm+cnn", "sdm+"):
        with pytest.raises(
            DescentError, match=r"expected one of sdm, joint, mdm, mdm\+lm, lm, gn, scipy, or a learned one and a"
        ):
            recipe_for(Analytic, family)
    with pytest.raises(DescentError, match="model 'os:system': expected one of cascade, mnemonic"):
        builtin_class("os:system", MODELS, "model")
    assert name_of(Cascade, PROBLEMS) == "custom:Cascade"


def test_a_least_squares_problem_has_solvers_among_its_families(toy: Path, monkeypatch: pytest.MonkeyPatch):
    assert list(recipes_for(Line)) == ["sdm", "joint", "mdm", "mdm+lm", "lm"]
    assert recipe_for(Line, "gn") == Classical(GaussNewton)
    assert recipe_for(Line, "joint+lm") == Polish(RECIPES["joint"], Classical(LevenbergMarquardt, {"num_steps": 10}))
    scipy = recipe_for(Line, "sdm+scipy")
    assert isinstance(scipy, Polish)
    assert scipy.solver.options == {}  # it counts no steps
    with pytest.raises(
        DescentError, match=r"family 'sdm\+lm': a classical solver needs the residuals of a LeastSquares problem"
    ):
        recipe_for(resolve_problem(f"{toy}:Toy"), "sdm+lm")


def test_a_problem_may_have_solvers_of_its_own(monkeypatch: pytest.MonkeyPatch):
    own = {"sdm": RECIPES["sdm"], "lm": Classical(LevenbergMarquardt, {"num_steps": 7}), "short": Classical(GaussNewton)}
    monkeypatch.setattr(registry, "builtin", lambda target: own)
    monkeypatch.setitem(registry._RECIPES, "analytic", "somewhere:RECIPES")
    assert list(recipes_for(Analytic)) == ["sdm", "lm", "short"]
    assert recipe_for(Analytic, "lm") is own["lm"]
    assert recipe_for(Analytic, "sdm+short") == Polish(RECIPES["sdm"], Classical(GaussNewton, {"num_steps": 10}))
