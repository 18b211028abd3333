"""Problems, observations, models and families by name; nothing is imported before its name is asked
for.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import DescentError, calling
from .families import (
    LEARNED_LM,
    RARE,
    RECIPES,
    SOLVERS,
    Classical,
    Family,
    Polish,
    Recipe,
    joint,
)
from .model import DescentModel, check_made
from .names import MODELS, PROBLEMS
from .problem import LeastSquares, Problem
from .system.modules import described_error, import_module, run_file
from .system.text import suggestion


@dataclass(frozen=True)
class _Kind:
    """A kind of thing that a user may name, and where its names are looked up.

    Args:
        what: what messages call it.
        bases: what a class must derive from, or an object be an instance of.
        names: the built-in ones.
        word: what messages call an object of the kind; ``"class"`` where it is a class that is
            named.
        makes: whether a class stands for the object that it makes.
    """

    what: str
    bases: tuple[type, ...]
    names: Mapping[str, str] = field(default_factory=dict)
    word: str = "class"
    makes: bool = False

    @property
    def plural(self) -> str:
        """What messages call several of them."""
        if self.what.endswith("y"):
            return f"{self.what[:-1]}ies"
        return f"{self.what}es" if self.what.endswith("s") else f"{self.what}s"

    @property
    def wanted(self) -> str:
        """What a name must lead to."""
        base = self.bases[0].__name__
        return f"subclass of {base}" if self.word == "class" else base

    def fits(self, found: object) -> bool:
        """Whether it is of this kind."""
        if (self.word == "class" or self.makes) and isinstance(found, type):
            return issubclass(found, self.bases)
        return self.word != "class" and isinstance(found, self.bases)

    def offered(self) -> dict[str, EntryPoint]:
        """What installed packages offer by name, in the entry points of the group
        ``learned_descent.PLURAL``.
        """
        return {point.name: point for point in entry_points(group=f"learned_descent.{self.plural}")}


_PROBLEM = _Kind("problem", (Problem,), PROBLEMS)
_MODEL = _Kind("model", (DescentModel,), MODELS)
_FAMILY = _Kind("family", (Recipe, Classical, Polish), word="recipe")


def _resolved(name: str, kind: _Kind) -> Any:
    """What a user names: the only place where a name becomes code that is not built in.

    Raises:
        DescentError: if nothing answers to the name, the file does not exist or does not run, or
            what it names is missing, of another kind, or abstract.
    """
    if name in kind.names:
        found: object = builtin(kind.names[name])
    elif names_code(name):
        found = _from_module(name, kind)
    else:
        plugins = kind.offered()
        if name not in plugins:
            known = {*kind.names, *plugins}
            thing = "Class" if kind.word == "class" else "NAME"
            raise DescentError(
                f"{kind.what} {name!r}: expected one of {', '.join(sorted(known))}, or "
                f"package.module:{thing}, or file.py:{thing}{suggestion(name, known)}"
            )
        found = _from_entry_point(plugins[name], kind)
    if not kind.fits(found):
        raise DescentError(f"{kind.what} {name!r}: expected a {kind.wanted}, got {found!r}")
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))  # type: ignore[attr-defined]
        raise DescentError(f"{kind.what} {name!r}: {found.__name__} is abstract: define {missing}")  # type: ignore[attr-defined]
    return found


def resolve_problem(name: str) -> type[Problem]:
    """The problem class that a user names.

    Args:
        name: a built-in name, the name of an entry point, ``"package.module:Class"`` or
            ``"path/to/file.py:Class"``.

    Raises:
        DescentError: if nothing answers to the name, the file does not exist or does not run, or
            the class is missing, no :class:`Problem`, or abstract.

    Example:
        >>> resolve_problem("analytic").__name__
        'Analytic'
    """
    cls: type[Problem] = _resolved(name, _PROBLEM)
    return cls


def resolve_model(name: str) -> type[DescentModel]:
    """The model class that a user names, as in :func:`resolve_problem`.

    Example:
        >>> resolve_model("cascade").__name__
        'Cascade'
    """
    cls: type[DescentModel] = _resolved(name, _MODEL)
    return cls


def resolve_class(name: str, base: type, names: Mapping[str, str], *, what: str) -> Any:
    """The class of any other kind that a user names, as in :func:`resolve_problem`.

    Args:
        name: a built-in name, the name of an entry point, ``"package.module:Class"`` or
            ``"path/to/file.py:Class"``.
        base: what it must derive from.
        names: the built-in ones, and where they are.
        what: what messages call it.

    Raises:
        DescentError: as there.

    Example:
        >>> resolve_class("cascade", DescentModel, MODELS, what="model").__name__
        'Cascade'
    """
    return _resolved(name, _Kind(what, (base,), names))


def resolve_object(
    name: str, base: type, names: Mapping[str, Any] | None = None, *, what: str
) -> Any:
    """An object that a user names, such as a landmark schema or a loss, as in
    :func:`resolve_problem`; a class of one's own stands for what it makes without arguments.

    Args:
        name: a built-in name, the name of an entry point, ``"package.module:NAME"`` or
            ``"path/to/file.py:NAME"``.
        base: what it must be an instance of.
        names: the built-in ones.
        what: what messages call it.

    Raises:
        DescentError: as there, or if a class wants arguments.

    Example:
        >>> from learned_descent.training import Schedule
        >>> resolve_object("learned_descent.training:Linear", Schedule, what="schedule")
        Linear()
    """
    known = names or {}
    if name in known:
        return known[name]
    found = _resolved(name, _Kind(what, (base,), dict.fromkeys(known, ""), word=what, makes=True))
    if not isinstance(found, type):
        return found
    with calling(f"{name}()"):
        return found()


def offered(what: str) -> list[str]:
    """The names under which installed packages offer things of a kind.

    Example:
        >>> "no such" in offered("schema")
        False
    """
    return list(_Kind(what, ()).offered())


def family_name(family: str) -> str:
    """What a family is called in options, tables and files: the last part of a name of code.

    Example:
        >>> family_name("mdm+lm"), family_name("my.py:MINE+lm")
        ('mdm+lm', 'MINE+lm')
    """
    return family.rpartition(":")[2]


def families_for(problem: type[Problem], families: Sequence[str]) -> dict[str, Family]:
    """Several families of :func:`recipe_for`, by :func:`family_name`.

    Raises:
        DescentError: as there, or if two of them have one name.
    """
    names: dict[str, str] = {}
    for family in families:
        if names.setdefault(family_name(family), family) != family:
            raise DescentError(
                f"families {names[family_name(family)]} and {family}: have one name: rename one of "
                "them"
            )
    return {name: recipe_for(problem, family) for name, family in names.items()}


def names_code(name: str) -> bool:
    """Whether a name is that of something in a module or a file of code: only the user may say it,
    never a file.

    Example:
        >>> names_code("analytic"), names_code("evil.py:Evil")
        (False, True)
    """
    return ":" in name or name.endswith(".py")


def recipes_for(problem: type[Problem]) -> dict[str, Family]:
    """The families of a problem by name: the general ones, and in their place or beside them what
    :meth:`Problem.families` of its class and of the classes that it derives from bring.

    ``joint`` is the cascade of ``sdm`` and the gradients of ``mdm``, as the problem has tuned them.
    What a problem overrides wins: one that has an ``observation`` of its own is trained with that,
    whatever the families of its bases see, and one with an ``augment`` of its own is augmented. A
    least-squares problem also has its classical yardstick ``lm``, ``mdm+lm``: learned descent, then
    a few of its steps, and ``learned-lm``, which learns damping and step.

    Raises:
        DescentError: if a problem brings something that is no family.

    Example:
        >>> from learned_descent.problems import Analytic
        >>> from learned_descent.problems.curves import Sinusoid
        >>> list(recipes_for(Analytic)) == [*RECIPES, "mdm+lm", "lm", "learned-lm"]
        True
        >>> set(recipes_for(Sinusoid)) - set(recipes_for(Analytic)) == {"mlp", "mlp+lm"}
        True
    """
    own: dict[str, Family] = {}
    for base in reversed(problem.__mro__):
        if "families" in vars(base):
            own |= _families_of(base, problem)
    recipes: dict[str, Family] = {**RECIPES, **own}
    sdm, mdm = recipes["sdm"], recipes["mdm"]
    if "joint" not in own and isinstance(sdm, Recipe) and isinstance(mdm, Recipe):
        recipes["joint"] = joint(sdm, mdm)
    if issubclass(problem, LeastSquares):
        solver = _solvers(recipes)["lm"]
        if isinstance(mdm, Recipe):
            recipes.setdefault("mdm+lm", Polish(mdm, solver.brief()))
        recipes.setdefault("lm", solver)
        recipes.setdefault("learned-lm", LEARNED_LM)
    return recipes


def usual_families(problem: type[Problem]) -> list[str]:
    """The families of a comparison that names none: those of :func:`recipes_for` but for
    :data:`~learned_descent.families.RARE`.

    Example:
        >>> from learned_descent.problems import Analytic
        >>> usual_families(Analytic)
        ['sdm', 'joint', 'mdm', 'mdm+lm', 'lm']
    """
    return [name for name in recipes_for(problem) if name not in RARE]


def recipe_for(problem: type[Problem], family: str) -> Family:
    """The recipe of one family: one of :func:`recipes_for`, a solver, one that an installed package
    offers, one in a file, or ``LEARNED+SOLVER``.

    Args:
        problem: the problem.
        family: a name, or ``"path/to/file.py:NAME"`` of a
            :class:`~learned_descent.families.Recipe`, which only the user may say.

    Raises:
        DescentError: if the problem has no family of that name, or a solver is asked for a problem
            without residuals.

    Example:
        >>> from learned_descent.problems import Analytic
        >>> recipe_for(Analytic, "sdm+gn").solver.options
        {'num_steps': 10}
    """
    recipes = recipes_for(problem)
    solvers = _solvers(recipes)
    source, colon, rest = family.rpartition(":")
    name, _, solver = rest.partition("+")
    if names_code(family):
        given: Family = _resolved(f"{source}{colon}{name}" if colon else family, _FAMILY)
        found, learned = (given if name == rest else None), given
    else:
        found = recipes.get(family) or solvers.get(family)
        learned = recipes.get(name) or _offered_family(name)  # type: ignore[assignment]
        found = found or (learned if name == family else None)
    if isinstance(learned, Recipe) and solver in solvers:
        found = found or Polish(learned, solvers[solver].brief())
    known = ", ".join({**recipes, **_FAMILY.offered()} if found is None else recipes)
    if issubclass(problem, LeastSquares):
        others = [other for other in solvers if other not in recipes]
        known += (
            f", {', '.join(others)}, or a learned one and a solver, such as "
            f"{next(iter(recipes))}+{next(iter(solvers))}"
        )
    elif found in SOLVERS.values() or (isinstance(found, Polish) and solver in SOLVERS):
        raise DescentError(
            f"family {family!r}: a classical solver needs the residuals of a LeastSquares problem, "
            f"and {problem.__name__} is a Problem without: expected one of {known}"
        )
    if found is None:
        raise DescentError(
            f"family {family!r}: expected one of {known}{suggestion(family, recipes)}"
        )
    return found


def configured(problem: type[Problem], settings: Mapping[str, Any]) -> Problem:
    """A problem made with ``settings``, where a mapping may stand for an argument whose default is
    a dataclass.

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
        raise DescentError(
            f"{problem.__name__}: cannot be made with the settings {dict(settings)}: {error}"
        ) from error
    with calling(f"{problem.__name__}.__init__"):
        made = problem(**arguments)
    check_made(made)
    return made


def _offered_family(name: str) -> Family | None:
    """The family that an installed package offers under a name."""
    found: Family | None = _resolved(name, _FAMILY) if name in _FAMILY.offered() else None
    return found


def _families_of(base: type[Any], problem: type[Problem]) -> dict[str, Family]:
    """The families that a class brings, for itself or for ``problem``, which derives from it.

    Raises:
        DescentError: if one is none.
    """
    name = f"{base.__name__}.families()"
    with calling(name):
        given: object = base.families()
    if not isinstance(given, Mapping) or not all(_FAMILY.fits(family) for family in given.values()):
        raise DescentError(
            f"{name}: expected recipes by name, such as {{'mine': Recipe(...)}}, got {given!r}"
        )
    if base is problem:
        return dict(given)
    return {name: _heeding(family, problem, base) for name, family in given.items()}


def _heeding(family: Family, problem: type[Problem], base: type[Problem]) -> Family:
    """A family that was made for ``base``, without what ``problem``, which derives from it,
    overrides.
    """
    if isinstance(family, Polish):
        return replace(family, learned=_without(family.learned, problem, base))
    return family if isinstance(family, Classical) else _without(family, problem, base)


def _without(recipe: Recipe, problem: type[Problem], base: type[Problem]) -> Recipe:
    if problem.observation is not base.observation:
        recipe = replace(recipe, observation=None, observation_options={})
    if problem.augment is not base.augment:
        recipe = replace(
            recipe,
            trainers={name: trainer.augmenting() for name, trainer in recipe.trainers.items()},
        )
    return recipe


def _solvers(recipes: Mapping[str, Family]) -> dict[str, Classical]:
    """The general solvers, and those made for a problem."""
    return {
        **SOLVERS,
        **{name: recipe for name, recipe in recipes.items() if isinstance(recipe, Classical)},
    }


def name_of(cls: type[Any], table: Mapping[str, str]) -> str:
    """The built-in name of a class, or ``"custom:Class"`` for one that is not in ``table``.

    Example:
        >>> from learned_descent import Cascade, Problem
        >>> from learned_descent.names import MODELS
        >>> name_of(Cascade, MODELS), name_of(Problem, PROBLEMS)
        ('cascade', 'custom:Problem')
    """
    path = f"{cls.__module__}:{cls.__qualname__}"
    return next(
        (name for name, target in table.items() if target == path), f"custom:{cls.__qualname__}"
    )


def builtin(target: str) -> Any:
    """The object that an entry ``"package.module:name"`` of the tables of built-in names points
    to.
    """
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


def _from_module(name: str, kind: _Kind) -> object:
    source, _, wanted = name.rpartition(":") if not name.endswith(".py") else (name, "", "")
    module = (
        run_file(Path(source)) if source.endswith(".py") else import_module(source, name, kind.what)
    )
    candidates = [
        key for key, value in vars(module).items() if kind.fits(value) and _is_own(value, module)
    ]
    hint = (
        f"; it holds the {kind.plural} {', '.join(candidates)}"
        if candidates
        else f"; it holds no {kind.wanted}"
    )
    word = kind.word
    if not wanted:
        example = candidates[0] if candidates else word.capitalize()
        raise DescentError(
            f"{kind.what} {name!r}: name the {word} too, as in {source}:{example}{hint}"
        )
    if not hasattr(module, wanted):
        raise DescentError(f"{source}: expected a {word} {wanted!r}{hint}")
    return getattr(module, wanted)


def _is_own(value: object, module: ModuleType) -> bool:
    """Whether a class was made in a module; an object knows not where."""
    return not isinstance(value, type) or value.__module__ == module.__name__


def _from_entry_point(plugin: EntryPoint, kind: _Kind) -> object:
    try:
        return plugin.load()
    except Exception as error:
        raise DescentError(
            f"{kind.what} {plugin.name!r}: loading {plugin.value} failed with "
            f"{described_error(error)}"
        ) from error
