"""Names of problems and families, and what a user hears when one is wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from learned_descent import (
    Cascade,
    DescentError,
    DescentModel,
    ImageObservation,
    Problem,
    registry,
)
from learned_descent.cli.main import main
from learned_descent.faces.detectors import LBPCascade
from learned_descent.families import RECIPES, Classical, Polish, Recipe
from learned_descent.landmarks.formats.find import find_format
from learned_descent.landmarks.schema_file import find_schema
from learned_descent.names import MODELS, OBSERVATIONS, PROBLEMS
from learned_descent.problems import Analytic
from learned_descent.registry import (
    builtin_class,
    name_of,
    offered,
    recipe_for,
    recipes_for,
    resolve_class,
    resolve_model,
    resolve_object,
    resolve_problem,
)
from learned_descent.solvers import GaussNewton, LevenbergMarquardt
from learned_descent.system import modules as _modules
from learned_descent.training.losses import LOSSES, Loss
from learned_descent.training.schedules import SCHEDULES, Schedule
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
    assert list(recipes_for(cls)) == [*RECIPES]


def test_a_class_of_a_module():
    assert resolve_problem("learned_descent.problems.analytic:Analytic") is Analytic


PLUGINS = """
from learned_descent import Cascade, Recipe, SequentialRidge
from learned_descent.faces.detectors import LBPCascade as Boxes
from learned_descent.landmarks.formats.csv_pictures import CSVPictures as Labels
from learned_descent.landmarks.schema import LandmarkSchema
from learned_descent.problems.analytic import Analytic as Problem
from learned_descent.training import Linear, ProblemLoss

MINE = Recipe(Cascade, trainers={"ridge": SequentialRidge()})
HINGE = LandmarkSchema("hinge", num_points=3)
STAIRS, LOSS = Linear(), ProblemLoss()
"""

OFFERED = {
    "problem": "Problem",
    "model": "Cascade",
    "family": "MINE",
    "schema": "HINGE",
    "format": "Labels",
    "detector": "Boxes",
    "schedule": "STAIRS",
    "loss": "LOSS",
}
"""What a package offers of each kind: the name in its module."""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package that is installed, and offers something of each kind, and something broken."""
    (tmp_path / "fake_plugins.py").write_text(PLUGINS)
    metadata = tmp_path / "fake_plugins-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-plugins\nVersion: 1.0\n")
    groups = {"family": "families", "loss": "losses"}
    lines = []
    for what, name in OFFERED.items():
        lines += [f"[learned_descent.{groups.get(what, what + 's')}]"]
        lines += [f"theirs = fake_plugins:{name}", "broken = fake_plugins:Nothing"]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("fake_plugins", None)


FOUND = {
    "problem": resolve_problem,
    "model": resolve_model,
    "family": lambda name: recipe_for(Analytic, name),
    "schema": lambda name: find_schema(Path(name)),
    "format": lambda name: type(find_format(Path(name))),
    "detector": lambda name: resolve_class(name, LBPCascade, {}, what="detector"),
    "schedule": lambda name: resolve_object(name, Schedule, SCHEDULES, what="schedule"),
    "loss": lambda name: resolve_object(name, Loss, LOSSES, what="loss"),
}
"""How each kind is found by name."""


@pytest.mark.parametrize("what", OFFERED)
def test_an_installed_package_offers_plug_ins_of_every_kind(what: str, installed: None):
    found = FOUND[what]("theirs")
    assert found is getattr(sys.modules["fake_plugins"], OFFERED[what])
    with pytest.raises(
        DescentError,
        match=rf"{what} 'broken': loading fake_plugins:Nothing failed with AttributeError",
    ):
        FOUND[what]("broken")


def test_what_is_offered_is_among_the_names_that_are_known(installed: None):
    for what, known in (("problem", PROBLEMS), ("model", MODELS)):
        names = ", ".join(sorted([*known, "broken", "theirs"]))
        with pytest.raises(
            DescentError,
            match=rf"{what} 'cats': expected one of {names}, or package.module:Class, or file.py:",
        ):
            FOUND[what]("cats")
    with pytest.raises(DescentError, match=r"family 'cats': expected one of sdm, .*, theirs, bro"):
        recipe_for(Analytic, "cats")
    assert sorted(offered("schema")) == ["broken", "theirs"]
    assert recipe_for(Analytic, "theirs+lm").learned == recipe_for(Analytic, "theirs")
    assert "theirs" not in recipes_for(Analytic), "only what is asked for by name"


def test_a_family_of_an_installed_package_is_compared(
    installed: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    words = ["compare", "analytic", "--families", "theirs", "--theirs.model.num_steps", "1"]
    assert main([*words, "--out", str(out)]) == 0
    assert "theirs" in capsys.readouterr().out
    assert (out / "theirs.safetensors").exists()


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        (
            ":Missing",
            r"toy_problem.py: expected a class 'Missing'; it holds the problems Toy, Half",
        ),
        ("", r"name the class too, as in .*toy_problem.py:Toy; it holds the problems Toy, Half"),
        (":number", r"expected a subclass of Problem, got 3"),
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
        (
            "\n\nimport nothing_like_this\n",
            r"broken.py:3: running the file failed with ModuleNotFoundError: No module named",
        ),
        (
            "import sys\nsys.exit(3)\n",
            r"broken.py:2: .* failed with SystemExit: 3; .* under if __name__ == .__main__.",
        ),
        (
            "def f():\n    return 1 / 0\nf()\n",
            r"broken.py:2: running the file failed with ZeroDivisionError: division by zero",
        ),
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
    with pytest.raises(
        DescentError, match=r"folder.py: expected a Python file, found a folder there"
    ):
        resolve_problem(f"{tmp_path / 'folder.py'}:Toy")


HELPED = TOY.replace(
    "number = 3", "import {helper}\n\n\ndef late():\n    import {late}\n    return {late}.number"
)


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for modules that are forgotten afterwards."""
    monkeypatch.setattr(_modules, "_BESIDE", _modules._Beside())
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    yield tmp_path
    for name, module in [*sys.modules.items()]:
        if Path(getattr(module, "__file__", None) or "/").is_relative_to(tmp_path):
            del sys.modules[name]


def write(folder: Path, number: int) -> str:
    """A problem with two helpers beside it, one of which it imports late."""
    folder.mkdir()
    (folder / "helped.py").write_text(HELPED.format(helper="first_helper", late="late_helper"))
    (folder / "first_helper.py").write_text(f"number = {number}")
    (folder / "late_helper.py").write_text(f"number = {number}")
    return f"{folder / 'helped.py'}:Toy"


def test_a_file_imports_what_lies_beside_it(beside: Path):
    path = [*sys.path]
    module = sys.modules[resolve_problem(write(beside / "one", 1)).__module__]
    assert module.first_helper.number == module.late() == 1
    assert sys.path == path


def test_two_files_with_helpers_of_one_name_are_not_mixed_up(beside: Path):
    first = sys.modules[resolve_problem(write(beside / "one", 1)).__module__]
    second = write(beside / "two", 2)
    with pytest.raises(
        DescentError,
        match=r"helped.py: in .*two lies the module first_helper, and another .*one: rename one",
    ):
        resolve_problem(second)
    (beside / "two" / "first_helper.py").rename(beside / "two" / "other_helper.py")
    (beside / "two" / "helped.py").write_text(
        HELPED.format(helper="other_helper", late="late_helper")
    )
    resolve_problem(second)
    with pytest.raises(
        ImportError, match=r"late_helper is in each of .*one, .*two: rename all but one"
    ):
        first.late()


def test_what_is_installed_is_not_hidden_by_a_neighbour(beside: Path):
    import json

    name = write(beside / "one", 1)
    (beside / "one" / "json.py").write_text("raise RuntimeError")
    (beside / "one" / "helped.py").write_text(HELPED.format(helper="json", late="late_helper"))
    assert sys.modules[resolve_problem(name).__module__].json is json


def test_a_package_in_the_current_folder_imports_its_own_parts(
    beside: Path, monkeypatch: pytest.MonkeyPatch
):
    package = beside / "toy_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "helper.py").write_text("number = 3")
    (package / "task.py").write_text(TOY.replace("number = 3", "from .helper import number"))
    monkeypatch.chdir(beside)
    with pytest.raises(
        DescentError,
        match=r"task.py:\d+: .*relative import.*: name it package.module:Class, from the folder",
    ):
        resolve_problem(f"{package / 'task.py'}:Toy")
    assert sys.modules[resolve_problem("toy_package.task:Toy").__module__].number == 3


def test_a_module_that_is_not_there():
    with pytest.raises(
        DescentError,
        match=r"No module named 'nothing'; install it, put it on PYTHONPATH, or name the file",
    ):
        resolve_problem("nothing.here:Toy")


def test_a_file_does_not_hide_a_module_of_the_same_name(tmp_path: Path):
    import json

    (tmp_path / "json.py").write_text(TOY)
    assert resolve_problem(f"{tmp_path / 'json.py'}:Toy").__name__ == "Toy"
    assert sys.modules["json"] is json


def test_unknown_names():
    for family in ("cnn", "cnn+lm", "lm+lm", "sdm+cnn", "sdm+"):
        with pytest.raises(
            DescentError,
            match=r"expected one of sdm, joint, mdm, .*cfss, mdm\+lm, lm, learned-lm, gn, "
            r"scipy, or a learned one and a",
        ):
            recipe_for(Analytic, family)
    with pytest.raises(DescentError, match="model 'os:system': expected one of cascade, "):
        builtin_class("os:system", MODELS, "model")
    assert name_of(Cascade, PROBLEMS) == "custom:Cascade"


def test_a_least_squares_problem_has_solvers_among_its_families(
    toy: Path, monkeypatch: pytest.MonkeyPatch
):
    assert list(recipes_for(Line)) == [*RECIPES, "mdm+lm", "lm", "learned-lm"]
    assert recipe_for(Line, "gn") == Classical(GaussNewton)
    assert recipe_for(Line, "joint+lm") == Polish(
        RECIPES["joint"], Classical(LevenbergMarquardt, {"num_steps": 10})
    )
    scipy = recipe_for(Line, "sdm+scipy")
    assert isinstance(scipy, Polish)
    assert scipy.solver.options == {}  # it counts no steps
    with pytest.raises(
        DescentError,
        match=r"family 'sdm\+lm': a classical solver needs the residuals of a LeastSquares problem",
    ):
        recipe_for(resolve_problem(f"{toy}:Toy"), "sdm+lm")


def test_a_problem_may_have_solvers_of_its_own():
    own = {"lm": Classical(LevenbergMarquardt, {"num_steps": 7}), "short": Classical(GaussNewton)}

    class Solved(Line):
        @classmethod
        def families(cls):
            return own

    assert list(recipes_for(Solved)) == [*RECIPES, "lm", "short", "mdm+lm", "learned-lm"]
    assert recipe_for(Solved, "lm") is own["lm"]
    assert recipe_for(Solved, "sdm+short") == Polish(
        RECIPES["sdm"], Classical(GaussNewton, {"num_steps": 10})
    )


@pytest.mark.parametrize("problem", PROBLEMS)
def test_general_families_reach_every_problem(problem: str):
    cls = resolve_problem(problem)
    for name in RECIPES:
        assert isinstance(recipes_for(cls)[name], Recipe)
    sdm, joint = recipe_for(cls, "sdm"), recipe_for(cls, "joint")
    assert joint.after(sdm) is not None, "joint goes on where sdm ends"


def test_a_problem_brings_families_of_its_own():
    class Bringing(Line):
        @classmethod
        def families(cls):
            return {"own": RECIPES["sdm"]}

    assert list(recipes_for(Bringing)) == [*RECIPES, "own", "mdm+lm", "lm", "learned-lm"]
    assert recipe_for(Bringing, "own+lm").learned == RECIPES["sdm"]
    with pytest.raises(
        DescentError, match=r"family 'own': expected one of sdm, joint, mdm, .*mdm\+lm"
    ):
        recipe_for(Line, "own")

    class Heir(Bringing):
        @classmethod
        def families(cls):
            return {"more": RECIPES["mdm"]}

    assert list(recipes_for(Heir))[len(RECIPES) :][:2] == ["own", "more"], (
        "those of its bases, and its own"
    )

    class Broken(Line):
        @classmethod
        def families(cls):
            return {"own": 3}

    with pytest.raises(
        DescentError,
        match=r"Broken.families\(\): expected recipes by name, such as .*, got {'own': 3}",
    ):
        recipes_for(Broken)


def test_a_family_of_a_file(tmp_path: Path):
    file = tmp_path / "kept_families.py"
    file.write_text(
        "from learned_descent.families import RECIPES\nMINE = RECIPES['mdm']\nnumber = 3\n"
    )
    assert recipe_for(Analytic, f"{file}:MINE") == RECIPES["mdm"]
    assert recipe_for(Analytic, f"{file}:MINE+lm") == Polish(
        RECIPES["mdm"], Classical(LevenbergMarquardt, {"num_steps": 10})
    )
    assert list(registry.families_for(Analytic, ["sdm", f"{file}:MINE"])) == ["sdm", "MINE"]
    for ending, message in (
        ("", r"name the recipe too, as in .*:MINE; it holds the families MINE"),
        (":YOURS", r"kept_families.py: expected a recipe 'YOURS'; it holds the families MINE"),
        (":number", r"expected a Recipe, got 3"),
        (":MINE+cnn", r"expected one of sdm"),
    ):
        with pytest.raises(DescentError, match=message):
            recipe_for(Analytic, f"{file}{ending}")
    (tmp_path / "more.py").write_text("from kept_families import MINE\n")
    with pytest.raises(DescentError, match="have one name: rename one of them"):
        registry.families_for(Analytic, [f"{file}:MINE", f"{tmp_path / 'more.py'}:MINE"])


def test_a_file_runs_once(tmp_path: Path):
    file = tmp_path / "once_run.py"
    file.write_text("class Model:\n    pass\n")
    assert _modules.run_file(file) is _modules.run_file(file)
    before = _modules.run_file(file)
    file.write_text("class Other:\n    pass\n\n")
    assert _modules.run_file(file) is not before
