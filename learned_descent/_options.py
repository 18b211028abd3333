"""Options of commands: the arguments of functions and classes, from the command line and from YAML files."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace

from ._check import DescentError
from ._runs import problem_of
from .checkpoint import problem_class, read_description
from .names import PROBLEMS
from .problem import Problem
from .recipe import Classical, Family, Polish, Recipe, learned_part, learned_parts
from .registry import configured, resolve_problem
from .training import BackpropThroughTime, SequentialRidge

_SHORT = {"--data": ("--problem.root", ""), "--skip-bad": ("--problem.skip_bad", "=true")}
"""Short names of options, where the problem has them: the option, and what follows it."""

_OWN: set[str | int] = {"directory", "resume"}
"""Settings of a trainer that follow from those of the command."""

_STORABLE = (dict, list, tuple, str, int, float, Path, type(None))


def parser(usage: str, function: Callable[..., object], skip: set[str | int]) -> ArgumentParser:
    """A parser of the arguments of ``function``."""
    parser = ArgumentParser(
        prog=f"learned-descent {usage.split()[0]}",
        usage=f"learned-descent {usage} [options]",
        description=(function.__doc__ or "").splitlines()[0],
        exit_on_error=False,
    )
    parser.add_argument("--config", action="config", help="a YAML file with any of these options")
    flags = {"resume": "go on from the checkpoint in the folder", "overwrite": "replace what is there"}
    arguments = signature(function).parameters
    parser.add_function_arguments(function, as_positional="out" not in arguments, skip={*skip, *flags})
    for name in flags:
        if name in arguments:
            parser.add_argument(f"--{name}", action="store_true", help=flags[name])
    return parser


def chosen(parser: ArgumentParser, words: list[str]) -> tuple[str, dict[str, Any]]:
    """The problem and the families that the words and the configuration files name: they decide which options there are."""
    parser.add_argument("task", nargs="?", metavar="PROBLEM", help="built-in name, package.module:Class or file.py:Class")
    light = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    light.add_argument("--config", action="append", default=[])
    light.add_argument("--family")
    light.add_argument("--families", nargs="+")
    found = vars(light.parse_known_args(words)[0])
    choice: dict[str, Any] = {}
    for file in found.pop("config"):
        choice |= _read_yaml(Path(file))
    choice |= {name: value for name, value in found.items() if value is not None}
    if words and not words[0].startswith("-"):
        choice["task"] = words[0]
    if not choice.get("task"):
        if {"-h", "--help"} & set(words):
            parser.print_help()
            raise SystemExit(0)
        raise DescentError(f"expected a problem right after the command: {', '.join(PROBLEMS)}, or file.py:Class")
    return str(choice["task"]), choice


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DescentError(f"--config {file}: expected a YAML file: {error}") from error
    if not isinstance(content, dict):
        raise DescentError(f"--config {file}: expected options as NAME: VALUE, got {type(content).__name__}")
    return content


def add_problem(parser: ArgumentParser, cls: type[Problem]) -> None:
    parser.add_class_arguments(cls, "problem", fail_untyped=False)


def add_families(parser: ArgumentParser, families: Mapping[str, Family]) -> None:
    """The options of several families, under their names; those of a learned part that families share only once."""
    for name, recipe in learned_parts(families).items():
        add_recipe(parser, recipe, f"{name}.")
    for name, family in families.items():
        if not isinstance(family, Recipe):
            solver = family.solver if isinstance(family, Polish) else family
            parser.add_class_arguments(solver.solver, name, skip={"problem"})
            parser.set_defaults({f"{name}.{option}": value for option, value in solver.options.items()})


def resolved_families(families: Mapping[str, Family], values: Mapping[str, Any]) -> dict[str, Family]:
    """The families with the values of the options."""
    parts = {name: resolved(recipe, _of(name, values)) for name, recipe in learned_parts(families).items()}
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
    parser.add_method_arguments(recipe.model, "for_problem", f"{prefix}model", skip={"problem", "observation"})
    defaults = {f"{prefix}model.{name}": value for name, value in recipe.options.items()}
    if recipe.observation is not None:
        parser.add_class_arguments(recipe.observation, f"{prefix}observation", skip={"points", "image", "num_points"})
        defaults |= {f"{prefix}observation.{name}": value for name, value in recipe.observation_options.items()}
    for name, trainer in (("ridge", recipe.ridge), ("bptt", recipe.bptt)):
        if trainer is not None:
            parser.add_class_arguments(type(trainer), f"{prefix}{name}", skip=_OWN)
            defaults |= {f"{prefix}{name}.{key}": value for key, value in vars(trainer).items() if key not in _OWN}
    parser.set_defaults(defaults)


def resolved(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with the values of the options."""
    return replace(
        recipe,
        options=values["model"],
        observation_options=values.get("observation", {}),
        ridge=recipe.ridge and SequentialRidge(**values["ridge"]),
        bptt=recipe.bptt and BackpropThroughTime(**values["bptt"]),
    )


def parsed(parser: ArgumentParser, cls: type[Problem], words: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values of all options, and those that are worth keeping as settings."""
    found: Namespace = parser.parse_args(_spelt(parser, words))
    hidden = {"config", "task", "out", "resume", "overwrite", "weights"}
    settings = {name: value for name, value in found.as_dict().items() if name not in hidden}
    values = dict(found.as_dict())
    values["problem"] = configured(cls, values.get("problem", {}))
    return values, _storable(settings)


def _spelt(parser: ArgumentParser, words: list[str]) -> list[str]:
    """The words with short names written out, and ``--batch-size`` as ``--batch_size``."""
    options = {option for action in parser._actions for option in action.option_strings}

    def spelt(word: str) -> str:
        name, equals, value = word.partition("=")
        if name in options or not name.startswith("--"):
            return word
        long, implied = _SHORT.get(name, ("", ""))
        if long in options:
            return long + (equals + value or implied)
        underscored = "--" + name[2:].replace("-", "_")
        return (underscored if underscored in options else name) + equals + value

    return [spelt(word) for word in words]


def _storable(value: Any) -> Any:
    """What JSON and YAML can hold of the values of options; paths as text, and nothing in place of the rest."""
    if isinstance(value, dict):
        return {name: _storable(item) for name, item in value.items() if isinstance(item, _STORABLE)}
    if isinstance(value, (list, tuple)):
        return [_storable(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def values(parser: ArgumentParser, words: list[str], *, defaults: bool = True) -> dict[str, Any]:
    found: Namespace = parser.parse_args(_spelt(parser, words), defaults=defaults)
    found.pop("config", None)
    return dict(found.as_dict())


def stored(usage: str, function: Callable[..., object], words: list[str], find: Callable[[str], Path] = Path) -> dict[str, Any]:
    """The arguments of a command on a weights file, which names the problem and gives its settings.

    Args:
        usage: the command and what follows it.
        function: what the command calls.
        words: the words of the user.
        find: finds the file that the first word means.
    """
    made = parser(usage, function, {"problem"})
    light = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    light.add_argument("--problem-file", "--problem_file")
    named = light.parse_known_args(words)[0].problem_file
    if not words or words[0].startswith("-"):
        values(made, words)  # shows the help, or says what is missing
        raise DescentError("expected a weights file right after the command")
    weights = find(words[0])
    cls = resolve_problem(named) if named else problem_class(read_description(weights), path=weights)
    add_problem(made, cls)
    given = values(made, words, defaults=False)
    return {**given, "problem": problem_of(weights, named, given.pop("problem", {}))}
