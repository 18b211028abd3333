"""The direction of imports, read from the sources, and the size of the files."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "learned_descent"

LAYERS = [
    {"errors", "files", "kernels", "linear", "names", "system", "provenance", "signals", "weights"},
    {"data"},
    {"problem", "observation"},
    {"model"},
    {"models", "observations", "look"},
    {"training", "evaluation", "solvers"},
    {"families"},
    {"registry"},
    {"checkpoint", "export", "testing"},
    {"fitting"},
    {"landmarks", "problems"},
    {"faces"},
    {"cli"},
    {"__main__"},
]
"""Lowest first: a module imports from its own layer and from those below."""

LAZY = {"faces", "landmarks", "problems"}
"""What is imported by name through the registry, and by commands inside a function; nobody else
imports it."""

SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def unit(path: Path) -> str:
    """The module or subpackage directly below the package that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path, *, everywhere: bool = True) -> set[str]:
    """The units of the package that a file imports, but for type checking; ``everywhere`` also
    inside functions."""
    tree = ast.parse(path.read_text())
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            skipped.update(inner for statement in node.body for inner in ast.walk(statement))
        if not everywhere and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            skipped.update(ast.walk(node))
    depth = len(path.relative_to(PACKAGE).parts)  # dots that lead to the package
    units: set[str] = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        names: list[list[str]] = []
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            home = node.module.split(".") if node.module else []
            if node.level == 0:
                names = [[*home, alias.name] for alias in node.names]
            else:
                parts = [
                    "learned_descent",
                    *path.relative_to(PACKAGE).parts[: depth - node.level],
                    *home,
                ]
                names = [[*parts, alias.name] for alias in node.names]
        units.update(name[1] for name in names if name[0] == "learned_descent" and len(name) > 1)
    return units - {"__version__"}


def layer(name: str) -> int:
    found = [index for index, names in enumerate(LAYERS) if name in names]
    assert len(found) == 1, f"{name} is in no layer of this test: add it"
    return found[0]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    own = unit(path)
    upwards = {name for name in imported(path) if layer(name) > layer(own)}
    assert not upwards, f"{own} imports {sorted(upwards)} from a layer above"


def test_there_are_no_cycles():
    graph: dict[str, set[str]] = {}
    for path in SOURCES:
        graph.setdefault(unit(path), set()).update(imported(path) - {unit(path)})
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert order.index("problem") < order.index("model") < order.index("cli")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_faces_and_problems_are_imported_by_name_only(path):
    own = unit(path)
    if own not in LAZY:
        allowed_in_functions = LAZY if own == "cli" else set()
        assert not imported(path) & LAZY - allowed_in_functions
    assert not imported(path, everywhere=False) & LAZY - {
        own,
        *({"landmarks"} if own == "faces" else ()),
    }


@pytest.mark.parametrize(
    "path",
    sorted((PACKAGE / "problems").rglob("*.py")),
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_no_problem_imports_face_code(path):
    assert not imported(path) & {"faces", "landmarks"}


def test_a_comparison_of_a_least_squares_problem_runs_no_face_code(tmp_path):
    program = (
        "import sys; from learned_descent.cli.main import main\n"
        "code = main(['compare', 'analytic', '--families', 'sdm', 'sdm+lm', 'lm', '--out', "
        "sys.argv[1]])\n"
        "print(code, [name for name in sys.modules if name.startswith('learned_descent.faces')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_functions_are_short(path):
    """No more than 60 lines without the docstring; ruff counts their branches."""
    long = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0]
            described = ast.get_docstring(node) is not None
            lines = (
                node.end_lineno
                - node.lineno
                + 1
                - (first.end_lineno - first.lineno + 1 if described else 0)
            )
            if lines > 60:
                long.add(f"{path.relative_to(PACKAGE)}:{node.name}")
    assert not long


def defined(source: str) -> set[str]:
    """The public names that a module defines on top: functions, classes, aliases and constants."""
    names: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            places = [place for target in targets for place in ast.walk(target)]
            stored = (place for place in places if isinstance(place, ast.Name))
            names.update(place.id for place in stored if isinstance(place.ctx, ast.Store))
    return {name for name in names if not name.startswith("_")}


SHARED = {"RECIPES"}
"""What a module calls the families that its problems bring."""


def test_a_public_name_is_defined_once():
    homes: dict[str, list[str]] = {}
    for path in SOURCES:
        for name in defined(path.read_text()) - SHARED:
            homes.setdefault(name, []).append(str(path.relative_to(PACKAGE)))
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


def test_the_reader_of_names_sees_all_but_methods_and_private_ones():
    source = (
        "import os\ndef f(): g = 1\nasync def h(): ...\nclass C:\n    def method(self): ...\n"
        "A = B = 1\nD, (E, _F) = 1, (2, 3)\nT: TypeAlias = int\nC.attribute = 1\ndef _g(): ...\n"
    )
    assert defined(source) == {"f", "h", "C", "A", "B", "D", "E", "T"}


def test_the_top_of_the_package_fits_a_glance():
    assert len(list(PACKAGE.glob("*.py"))) <= 16


def test_the_reader_sees_every_kind_of_import(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    folder = tmp_path / "training"
    folder.mkdir()
    file = folder / "some.py"
    file.write_text(
        "import torch\nimport learned_descent.evaluation.plots\nfrom learned_descent import "
        "cli\nfrom .trainer import Trainer\n"
        "from ..model import State\nfrom .. import registry\n"
        "if TYPE_CHECKING:\n    from ..faces import schema\n"
        "def later():\n    from ..problems.analytic import Analytic\n"
    )
    assert imported(file) == {"evaluation", "cli", "training", "model", "registry", "problems"}
    assert imported(file, everywhere=False) == {
        "evaluation",
        "cli",
        "training",
        "model",
        "registry",
    }
