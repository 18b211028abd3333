"""Problems, observations, models and families by name; nothing is imported before its name is asked for."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Mapping
from dataclasses import is_dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import DescentError, calling
from .families import (
    RECIPES,
    SOLVERS,
    Classical,
    Family,
    Polish,
    Recipe,
)
from .model import check_made
from .names import PROBLEMS
from .problem import LeastSquares, Problem
from .system.modules import described, import_module, run_file
from .system.text import suggestion

_RECIPES: Mapping[str, str] = {
    **dict.fromkeys(("faces", "synthetic-faces"), "learned_descent.faces.recipes:RECIPES"),
    **dict.fromkeys(("sinusoid", "exponentials"), "learned_descent.problems.curves:RECIPES"),
    "registration": "learned_descent.problems.registration.problem:RECIPES",
    "pose": "learned_descent.problems.pose:RECIPES",
    **dict.fromkeys(("fixed-template", "any-template"), "learned_descent.problems.photometric.problems:RECIPES"),
}

ENTRY_POINTS = "learned_descent.problems"
"""The group of entry points in which an installed package offers problems."""


def resolve_problem(name: str) -> type[Problem]:
    """The problem class that a user names.

    Args:
        name: a built-in name, the name of an entry point, ``"package.module:Class"`` or ``"path/to/file.py:Class"``.

    Raises:
        DescentError: if nothing answers to the name, the file does not exist or does not run, or the class is missing, no
            :class:`Problem`, or abstract.

    Example:
        >>> resolve_problem("analytic").__name__
        'Analytic'
    """
    if name in PROBLEMS:
        cls: object = builtin(PROBLEMS[name])
    elif names_code(name):
        cls = _from_module(name)
    else:
        plugins = {plugin.name: plugin for plugin in entry_points(group=ENTRY_POINTS)}
        if name not in plugins:
            known = ", ".join(sorted({*PROBLEMS, *plugins}))
            near = suggestion(name, {*PROBLEMS, *plugins})
            raise DescentError(f"problem {name!r}: expected one of {known}, or package.module:Class, or file.py:Class{near}")
        cls = _from_entry_point(plugins[name])
    if not (isinstance(cls, type) and issubclass(cls, Problem)):
        raise DescentError(f"problem {name!r}: expected a subclass of learned_descent.Problem, got {cls!r}")
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(cls.__abstractmethods__))
        raise DescentError(f"problem {name!r}: {cls.__name__} is abstract: define {missing}")
    return cls


def names_code(problem: str) -> bool:
    """Whether the name of a problem is that of a class in a module or a file: only the user may say it, never a file.

    Example:
        >>> names_code("analytic"), names_code("evil.py:Evil")
        (False, True)
    """
    return ":" in problem or problem.endswith(".py")


def recipes_for(problem: type[Problem]) -> dict[str, Family]:
    """The families of a problem by name: those made for it or for a built-in class that it derives from, or the general ones.

    What a problem overrides wins: one that derives from a built-in class and has an ``observation`` of its own is trained
    with that, and one with an ``augment`` of its own is augmented. A least-squares problem also has its classical yardstick
    ``lm``, and ``mdm+lm``: learned descent, then a few of its steps.

    Example:
        >>> from learned_descent.problems import Analytic
        >>> list(recipes_for(Analytic))
        ['sdm', 'joint', 'mdm', 'mdm+lm', 'lm']
    """
    base = next((base for base in problem.__mro__ if name_of(base, PROBLEMS) in _RECIPES), None)
    recipes: dict[str, Family] = dict(RECIPES)
    if base is not None:
        recipes = dict(builtin(_RECIPES[name_of(base, PROBLEMS)]))
    if base not in (None, problem):
        recipes = {name: _heeding(family, problem, base) for name, family in recipes.items()}
    if issubclass(problem, LeastSquares):
        solver = _solvers(recipes)["lm"]
        if isinstance(learned := recipes.get("mdm"), Recipe):
            recipes.setdefault("mdm+lm", Polish(learned, solver.brief()))
        recipes.setdefault("lm", solver)
    return recipes


def recipe_for(problem: type[Problem], family: str) -> Family:
    """The recipe of one family: one of :func:`recipes_for`, a solver, or ``LEARNED+SOLVER``.

    Raises:
        DescentError: if the problem has no family of that name, or a solver is asked for a problem without residuals.

    Example:
        >>> from learned_descent.problems import Analytic
        >>> recipe_for(Analytic, "sdm+gn").solver.options
        {'num_steps': 10}
    """
    recipes = recipes_for(problem)
    solvers = _solvers(recipes)
    name, _, solver = family.partition("+")
    learned = recipes.get(name)
    found = recipes.get(family) or solvers.get(family)
    if isinstance(learned, Recipe) and solver in solvers:
        found = found or Polish(learned, solvers[solver].brief())
    known = ", ".join(recipes)
    if issubclass(problem, LeastSquares):
        others = [other for other in solvers if other not in recipes]
        known += f", {', '.join(others)}, or a learned one and a solver, such as {next(iter(recipes))}+{next(iter(solvers))}"
    elif found in SOLVERS.values() or (isinstance(found, Polish) and solver in SOLVERS):
        raise DescentError(
            f"family {family!r}: a classical solver needs the residuals of a LeastSquares problem, and {problem.__name__} is a "
            f"Problem without: expected one of {known}"
        )
    if found is None:
        raise DescentError(f"family {family!r}: expected one of {known}{suggestion(family, recipes)}")
    return found


def configured(problem: type[Problem], settings: Mapping[str, Any]) -> Problem:
    """A problem made with ``settings``, where a mapping may stand for an argument whose default is a dataclass.

    Raises:
        DescentError: if the problem does not take these settings.
    """
    arguments = dict(settings)
    try:
        for name, parameter in inspect.signature(problem).parameters.items():
            if is_dataclass(parameter.default) and isinstance(arguments.get(name), Mapping):
                arguments[name] = replace(parameter.default, **arguments[name])  # type: ignore[type-var]
        inspect.signature(problem).bind(**arguments)
    except TypeError as error:
        raise DescentError(f"{problem.__name__}: cannot be made with the settings {dict(settings)}: {error}") from error
    with calling(f"{problem.__name__}.__init__"):
        made = problem(**arguments)
    check_made(made)
    return made


def _heeding(family: Family, problem: type[Problem], base: type[Problem]) -> Family:
    """A family that was made for ``base``, without what ``problem``, which derives from it, overrides."""
    if isinstance(family, Polish):
        return replace(family, learned=_without(family.learned, problem, base))
    return family if isinstance(family, Classical) else _without(family, problem, base)


def _without(recipe: Recipe, problem: type[Problem], base: type[Problem]) -> Recipe:
    if problem.observation is not base.observation:
        recipe = replace(recipe, observation=None, observation_options={})
    if problem.augment is not base.augment:
        recipe = replace(recipe, trainers={name: trainer.augmenting() for name, trainer in recipe.trainers.items()})
    return recipe


def _solvers(recipes: Mapping[str, Family]) -> dict[str, Classical]:
    """The general solvers, and those made for a problem."""
    return {**SOLVERS, **{name: recipe for name, recipe in recipes.items() if isinstance(recipe, Classical)}}


def name_of(cls: type[Any], table: Mapping[str, str]) -> str:
    """The built-in name of a class, or ``"custom:Class"`` for one that is not in ``table``.

    Example:
        >>> from learned_descent import Cascade, Problem
        >>> from learned_descent.names import MODELS
        >>> name_of(Cascade, MODELS), name_of(Problem, PROBLEMS)
        ('cascade', 'custom:Problem')
    """
    path = f"{cls.__module__}:{cls.__qualname__}"
    return next((name for name, target in table.items() if target == path), f"custom:{cls.__qualname__}")


def builtin(target: str) -> Any:
    """The object that an entry ``"package.module:name"`` of the tables of this module points to."""
    module, name = target.split(":")
    return getattr(importlib.import_module(module), name)


def builtin_class(name: str, table: Mapping[str, str], what: str) -> Any:
    """The class of a built-in name: the only way from a word in a file to a class.

    Raises:
        DescentError: if the name is not in ``table``.
    """
    if name not in table:
        raise DescentError(f"{what} {name!r}: expected one of {', '.join(table)}")
    return builtin(table[name])


def _from_module(name: str) -> object:
    source, _, wanted = name.rpartition(":") if not name.endswith(".py") else (name, "", "")
    module = run_file(Path(source)) if source.endswith(".py") else import_module(source, name)
    candidates = [key for key, value in vars(module).items() if _is_own_problem(value, module)]
    hint = f"; it holds the problems {', '.join(candidates)}" if candidates else "; it holds no subclass of Problem"
    if not wanted:
        example = candidates[0] if candidates else "Class"
        raise DescentError(f"problem {name!r}: name the class too, as in {source}:{example}{hint}")
    if not hasattr(module, wanted):
        raise DescentError(f"{source}: expected a class {wanted!r}{hint}")
    return getattr(module, wanted)


def _is_own_problem(value: object, module: ModuleType) -> bool:
    return isinstance(value, type) and issubclass(value, Problem) and value.__module__ == module.__name__


def _from_entry_point(plugin: EntryPoint) -> object:
    try:
        return plugin.load()
    except Exception as error:
        raise DescentError(f"problem {plugin.name!r}: loading {plugin.value} failed with {described(error)}") from error
