"""Options of commands: the arguments of functions and classes, from the command line and from YAML
files.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from inspect import signature
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NoReturn, Union, get_args, get_origin

import torch
from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import register_type

from ..checkpoint import read_stored
from ..checkpoint.model import problem_class
from ..errors import DescentError
from ..families import (
    Classical,
    Family,
    Polish,
    Recipe,
    learned_part,
    learned_parts,
)
from ..names import PROBLEMS
from ..problem import Problem
from ..registry import configured, names_code, resolve_object, resolve_problem
from ..training.choices import Choice
from ..training.losses import LOSSES, Loss
from ..training.schedules import SCHEDULES, Schedule
from .config import check_options, read_config
from .help import in_words, readable
from .runs import problem_of

_SHORT = {
    "--data": (("--problem.root", "--problem.data"), ""),
    "--skip-bad": (("--problem.skip_bad",), "=true"),
}
"""Short names of options, where the problem has them: the options of which it has one, and what
follows it."""

_EPILOG = (
    "short names, where the problem has them: --data PATH for --problem.root or --problem.data, "
    "--skip-bad for --problem.skip_bad=true"
)

_STORABLE = (dict, list, tuple, str, int, float, Path, torch.dtype, Choice, type(None))

_DTYPES = {"float32": torch.float32, "float64": torch.float64}


def _dtype(name: str) -> torch.dtype:
    found = _DTYPES.get(str(name).removeprefix("torch."))
    if found is None:
        raise ValueError(f"expected one of {', '.join(_DTYPES)}, got {name}")
    return found


register_type(torch.dtype, lambda value: str(value).removeprefix("torch."), _dtype)
for kind, table in ((Schedule, SCHEDULES), (Loss, LOSSES)):
    choose = partial(resolve_object, base=kind, names=table, what=kind.__name__.lower())
    register_type(kind, str, choose, DescentError, isinstance)


def parser(usage: str, function: Callable[..., object], skip: set[str | int]) -> ArgumentParser:
    """A parser of the arguments of ``function``."""
    parser = ArgumentParser(
        prog=f"learned-descent {usage.split()[0]}",
        usage=f"learned-descent {usage} [options]",
        description=(function.__doc__ or "").splitlines()[0],
        epilog=_EPILOG if "problem" in skip else None,
        exit_on_error=False,
    )
    parser.add_argument("--config", action="config", help="a YAML file with any of these options")
    flags = {
        "resume": "go on from the checkpoint in the folder",
        "overwrite": "replace what is there",
        "fast": "one fit of each object, in its crop as it is; the confidence is then unknown",
    }
    arguments = signature(function).parameters
    parser.add_function_arguments(
        function, as_positional="out" not in arguments, skip={*skip, *flags}
    )
    for name in flags:
        if name in arguments:
            parser.add_argument(f"--{name}", action="store_true", help=flags[name])
    return parser


def chosen(parser: ArgumentParser, words: list[str]) -> tuple[str, dict[str, Any]]:
    """The problem and the families that the words and the configuration files name: they decide
    which options there are.
    """
    parser.add_argument(
        "task",
        nargs="?",
        metavar="PROBLEM",
        help="built-in name, package.module:Class or file.py:Class",
    )
    light = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    light.add_argument("--family")
    light.add_argument("--families", nargs="+")
    typed = {
        name: value
        for name, value in vars(light.parse_known_args(words)[0]).items()
        if value is not None
    }
    if words and not words[0].startswith("-"):
        typed["task"] = words[0]
    choice: dict[str, Any] = {}
    for file in _configs(words):
        found = read_config(file)
        if "task" not in typed and names_code(str(found.get("task"))):
            task = found["task"]
            raise DescentError(
                f"--config {file}: task: {task}: a file names no code: give the problem on the "
                f"command line, right after the command: {task} --config {file}"
            )
        for name, value in found.items():
            code = [
                word
                for word in (value if isinstance(value, list) else [value])
                if names_code(str(word))
            ]
            if name in ("family", "families") and name not in typed and code:
                raise DescentError(
                    f"--config {file}: {name}: {code[0]}: a file names no code: give --{name} on "
                    "the command line"
                )
        choice |= found
    choice |= typed
    for name, kind in (("task", str), ("family", str), ("families", list)):
        if not isinstance(choice.get(name, kind()), kind):
            raise DescentError(
                f"--config: {name}: expected {'names' if kind is list else 'a name'}, got "
                f"{choice[name]!r}"
            )
    if not choice.get("task"):
        show_help(
            parser,
            words,
            f"expected a problem right after the command: {', '.join(PROBLEMS)}, or file.py:Class",
        )
    return choice["task"], choice


def show_help(parser: ArgumentParser, words: Sequence[str], missing: str) -> NoReturn:
    """The help where the words ask for it, else the error that something is missing."""
    if not {"-h", "--help"} & set(words):
        raise DescentError(missing)
    readable(parser).print_help()
    raise SystemExit(0)


def _configs(words: list[str]) -> list[Path]:
    """The configuration files that the words name."""
    return _apart(words)[0]


def _apart(words: list[str]) -> tuple[list[Path], list[str]]:
    """The configuration files that the words name, and the other words."""
    light = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    light.add_argument("--config", action="append", default=[], type=Path)
    found, others = light.parse_known_args(words)
    return found.config, others


def add_problem(parser: ArgumentParser, cls: type[Problem]) -> None:
    """The settings of a problem, with their short names in the help."""
    parser.add_class_arguments(cls, "problem", fail_untyped=False)
    for action in parser._actions:
        names = [short for short, (long, _) in _SHORT.items() if {*long} & {*action.option_strings}]
        action.option_strings = [*action.option_strings, *names]


def add_families(parser: ArgumentParser, families: Mapping[str, Family]) -> None:
    """The options of several families, under their names; those of a learned part that families
    share only once.
    """
    for name, recipe in learned_parts(families).items():
        add_recipe(parser, recipe, f"{name}.")
    for name, family in families.items():
        if not isinstance(family, Recipe):
            solver = family.solver if isinstance(family, Polish) else family
            parser.add_class_arguments(solver.solver, name, skip={"problem"})
            parser.set_defaults(
                {f"{name}.{option}": value for option, value in solver.options.items()}
            )


def resolved_families(
    families: Mapping[str, Family], values: Mapping[str, Any]
) -> dict[str, Family]:
    """The families with the values of the options."""
    parts = {
        name: resolved(recipe, _of(name, values))
        for name, recipe in learned_parts(families).items()
    }
    found: dict[str, Family] = {}
    for name, family in families.items():
        if isinstance(family, Classical):
            found[name] = replace(family, options=_of(name, values))
        elif isinstance(family, Polish):
            solver = replace(family.solver, options=_of(name, values))
            found[name] = Polish(parts[learned_part(name)], solver)
        else:
            found[name] = parts[name]
    return found


def _of(family: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return dict(values[family.replace("-", "_")])


def add_recipe(parser: ArgumentParser, recipe: Recipe, prefix: str = "") -> None:
    """The options of a learned family, with the recipe's values as defaults."""
    parser.add_method_arguments(
        recipe.model, "for_problem", f"{prefix}model", skip={"problem", "observation"}
    )
    defaults = {f"{prefix}model.{name}": value for name, value in recipe.options.items()}
    if recipe.observation is not None:
        parser.add_class_arguments(
            recipe.observation, f"{prefix}observation", skip={"points", "image", "num_points"}
        )
        defaults |= {
            f"{prefix}observation.{name}": value
            for name, value in recipe.observation_options.items()
        }
    for name, trainer in recipe.trainers.items():
        parser.add_class_arguments(type(trainer), f"{prefix}{name}", skip=set(trainer.places))
        defaults |= {f"{prefix}{name}.{key}": value for key, value in trainer.settings().items()}
    parser.set_defaults(defaults)


def resolved(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with the values of the options."""
    return replace(
        recipe,
        options=values["model"],
        observation_options=values.get("observation", {}),
        trainers={name: trainer.changed(values[name]) for name, trainer in recipe.trainers.items()},
    )


def parsed(
    parser: ArgumentParser, cls: type[Problem], words: list[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values of all options, and those that are worth keeping as settings."""
    found = _parse(parser, words)
    hidden = {"config", "task", "out", "resume", "overwrite", "weights", "figures", "latex"}
    settings = {name: value for name, value in found.as_dict().items() if name not in hidden}
    values = dict(found.as_dict())
    values["problem"] = configured(cls, values.get("problem", {}))
    return values, _storable(settings)


def _spelt(parser: ArgumentParser, words: list[str]) -> list[str]:
    """The words with the names of options written out, and ``--parts a,b`` as ``--parts=[a,b]``."""
    types = {
        option: getattr(action, "_typehint", str)
        for action in parser._actions
        for option in action.option_strings
    }
    spelt: list[str] = []
    for word in words:
        name, equals, value = _long(word, types).partition("=")
        if equals and _means_items(types.get(name), value):
            value = f"[{value}]"
        elif spelt and not equals and _means_items(types.get(spelt[-1]), name):
            name, equals, value = spelt.pop(), "=", f"[{name}]"
        spelt.append(name + equals + value)
    return spelt


def _long(word: str, types: Mapping[str, Any]) -> str:
    """A word with the name of its option written out."""
    name, equals, value = word.partition("=")
    if name in _SHORT:
        options, implied = _SHORT[name]
        long = next((option for option in options if option in types), None)
        if long is None:
            raise DescentError(
                f"{name}: it is short for {' or '.join(options)}, and this problem has no such "
                "setting"
            )
        return long + (equals + value or implied)
    underscored = "--" + name[2:].replace("-", "_")
    return (
        underscored + equals + value
        if name.startswith("--") and name not in types and underscored in types
        else word
    )


def _means_items(hint: Any, text: str) -> bool:
    """Whether a text means the items of a sequence: ``a`` or ``a,b`` where the type of the option
    takes nothing else.
    """
    if text[:1] in ("[", "(", "-", "") or text == "null":
        return False
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    many = [_is_sequence(kind) for kind in kinds if kind is not NoneType]
    return any(many) and (all(many) or "," in text)


def _is_sequence(kind: Any) -> bool:
    origin = get_origin(kind)
    return isinstance(origin, type) and issubclass(origin, Sequence)


def _storable(value: Any) -> Any:
    """What JSON and YAML can hold of the values of options; paths as text, and nothing in place of
    the rest.
    """
    if isinstance(value, dict):
        return {
            name: _storable(item) for name, item in value.items() if isinstance(item, _STORABLE)
        }
    if isinstance(value, (list, tuple)):
        return [_storable(item) for item in value]
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    return str(value) if isinstance(value, (Path, Choice)) else value


def values(parser: ArgumentParser, words: list[str], *, defaults: bool = True) -> dict[str, Any]:
    """What the words say, by option."""
    found = _parse(parser, words, defaults=defaults)
    found.pop("config", None)
    return dict(found.as_dict())


def _parse(parser: ArgumentParser, words: list[str], *, defaults: bool = True) -> Namespace:
    types = {action.dest: getattr(action, "_typehint", str) for action in parser._actions}
    files, others = _apart(words)
    for file in files:
        check_options(file, types)
    # The files first: what is typed goes before what a file says, wherever it stands.
    words = [*(word for file in files for word in ("--config", str(file))), *others]
    try:
        found: Namespace = readable(parser).parse_args(_spelt(parser, words), defaults=defaults)
    except argparse.ArgumentError as error:
        options = [option for action in parser._actions for option in action.option_strings]
        raise DescentError(in_words(str(error), options)) from error
    return found


def stored(
    usage: str,
    function: Callable[..., object],
    words: list[str],
    find: Callable[[str], Path] = Path,
) -> dict[str, Any]:
    """The arguments of a command on a weights file, which names the problem and gives its settings.

    Args:
        usage: the command and what follows it.
        function: what the command calls.
        words: the words of the user.
        find: finds the file that the first word means.

    Returns:
        The arguments by name; ``weights`` have been read.
    """
    made = parser(usage, function, {"problem", "weights"})
    names = "" if find is Path else ", or the name of weights that come with the package"
    made.add_argument(
        "weights", metavar="WEIGHTS", help=f"the file that train or compare wrote{names}"
    )
    light = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    light.add_argument("--problem-file", "--problem_file")
    named = light.parse_known_args(words)[0].problem_file
    if not words or words[0].startswith("-"):
        values(made, words)  # shows the help, or says what is missing
        raise DescentError("expected a weights file right after the command")
    weights = read_stored(find(words[0]))
    cls = resolve_problem(named) if named else problem_class(weights.description, path=weights.path)
    add_problem(made, cls)
    given = values(made, words, defaults=False)
    problem = problem_of(weights, named, given.pop("problem", {}))
    return {**given, "weights": weights, "problem": problem}
