"""The command line ``learned-descent``: its options are the arguments of the classes that they configure."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace

from . import __version__, commands
from ._check import DescentError
from ._runs import problem_of
from .checkpoint import configured, problem_class, read_description
from .problem import Problem
from .recipe import Recipe
from .registry import PROBLEMS, recipe_for, recipes_for, resolve_problem
from .training import BackpropThroughTime, SequentialRidge

USAGE = """\
usage: learned-descent COMMAND ...

commands:
  train PROBLEM --family F --out DIR   train one family
  evaluate WEIGHTS                     measure a trained model
  compare PROBLEM [--out DIR]          train or load several families and compare them
  align WEIGHTS IMAGE --box X0 Y0 X1 Y1  find the landmarks of a face in an image
  check PROBLEM                        check that a problem keeps the contract

PROBLEM is {problems}, the name of an installed plug-in, package.module:Class or file.py:Class.
Every command explains its options: learned-descent train PROBLEM --family F --help.
--config FILE.yaml gives any of them; --traceback shows where an error came from; --version.
"""

_SHORT = {"--data": ("--problem.root", ""), "--skip-bad": ("--problem.skip_bad", "=true")}
"""Short names of options, where the problem has them: the option, and what follows it."""


_OWN: set[str | int] = {"directory", "resume"}
"""Settings of a trainer that follow from those of the command."""


_STORABLE = (dict, list, tuple, str, int, float, Path, type(None))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: the arguments; those of the process by default.

    Returns:
        The exit code: 0; 1 if a contract is broken; 2 for a mistake of the user, with one message on the error stream.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    show = "--traceback" in words
    words = [word for word in words if word != "--traceback"]
    try:
        return _run(words)
    except (DescentError, argparse.ArgumentError, OSError) as error:
        if show:
            traceback.print_exc()
        print(f"learned-descent: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("learned-descent: interrupted; --resume goes on from the last checkpoint of a training", file=sys.stderr)
        return 130


def _run(words: list[str]) -> int:
    command, rest = (words[0], words[1:]) if words else ("--help", [])
    if command in ("-h", "--help", "--version"):
        print(__version__ if command == "--version" else USAGE.format(problems=", ".join(PROBLEMS)), end="")
        return 0
    if command not in _COMMANDS:
        raise DescentError(f"command {command!r}: expected one of {', '.join(_COMMANDS)}")
    return _COMMANDS[command](rest)


def _train(words: list[str]) -> int:
    parser = _parser("train PROBLEM --family F --out DIR", commands.train, {"problem", "recipe", "settings"})
    parser.add_argument("--family", help="the family: sdm, joint, mdm, ...")
    task, choice = _chosen(parser, words)
    if not choice.get("family"):
        raise DescentError("--family: expected the name of a family, such as sdm, joint or mdm")
    cls = resolve_problem(task)
    recipe = recipe_for(cls, choice["family"])
    _add_problem(parser, cls)
    _add_recipe(parser, recipe)
    values, settings = _parsed(parser, cls, words)
    print(
        commands.train(
            values["problem"],
            _resolved(recipe, values),
            **{name: values[name] for name in ("out", "seed", "init", "resume", "overwrite")},
            settings={**settings, "task": task},
        )
    )
    return 0


def _compare(words: list[str]) -> int:
    parser = _parser("compare PROBLEM", commands.compare, {"problem", "recipes", "settings", "weights"})
    parser.add_argument("--families", nargs="+", metavar="F", help="the families (default: all of the problem)")
    parser.add_argument("--weights", nargs="+", default=[], metavar="F=FILE", help="families that are loaded, not trained")
    task, choice = _chosen(parser, words)
    cls = resolve_problem(task)
    families = choice.get("families") or list(recipes_for(cls))
    recipes = {family: recipe_for(cls, family) for family in families}
    _add_problem(parser, cls)
    for family, recipe in recipes.items():
        _add_recipe(parser, recipe, f"{family}.")
    values, settings = _parsed(parser, cls, words)
    pairs = [word.partition("=") for word in values["weights"]]
    if wrong := [name for name, _, file in pairs if not file]:
        raise DescentError(f"--weights: expected FAMILY=FILE, got {', '.join(wrong)}")
    print(
        commands.compare(
            values["problem"],
            {family: _resolved(recipe, values[family.replace("-", "_")]) for family, recipe in recipes.items()},
            weights={name: Path(file) for name, _, file in pairs},
            **{name: values[name] for name in ("out", "seed", "split", "batch_size", "device", "resume", "overwrite")},
            settings={**settings, "task": task, "families": families},
        )
    )
    return 0


def _evaluate(words: list[str]) -> int:
    parser = _parser("evaluate WEIGHTS", commands.evaluate_weights, {"problem"})
    light = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    light.add_argument("--problem-file", "--problem_file")
    named = light.parse_known_args(words)[0].problem_file
    if not words or words[0].startswith("-"):
        _values(parser, words)  # shows the help, or says what is missing
        raise DescentError("expected a weights file right after the command")
    weights = Path(words[0])
    cls = resolve_problem(named) if named else problem_class(read_description(weights), path=weights)
    _add_problem(parser, cls)
    given = _values(parser, words, defaults=False)
    problem = problem_of(weights, named, given.pop("problem", {}))
    print(commands.evaluate_weights(**given, problem=problem))
    return 0


def _align(words: list[str]) -> int:
    parser = _parser("align WEIGHTS IMAGE --box X0 Y0 X1 Y1", commands.align, {"box"})
    parser.add_argument(
        "--box", nargs=4, type=float, required=True, metavar=("X0", "Y0", "X1", "Y1"), help="the box of the face in pixels"
    )
    print(commands.align(**_values(parser, words)))
    return 0


def _check(words: list[str]) -> int:
    parser = _parser("check PROBLEM", commands.check, {"problem"})
    task, _ = _chosen(parser, words)
    cls = resolve_problem(task)
    _add_problem(parser, cls)
    values, _ = _parsed(parser, cls, words)
    text, passed = commands.check(values["problem"])
    print(text)
    return 0 if passed else 1


_COMMANDS: Mapping[str, Callable[[list[str]], int]] = {
    "train": _train,
    "evaluate": _evaluate,
    "compare": _compare,
    "align": _align,
    "check": _check,
}


def _parser(usage: str, function: Callable[..., object], skip: set[str | int]) -> ArgumentParser:
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


def _chosen(parser: ArgumentParser, words: list[str]) -> tuple[str, dict[str, Any]]:
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


def _add_problem(parser: ArgumentParser, cls: type[Problem]) -> None:
    parser.add_class_arguments(cls, "problem", fail_untyped=False)


def _add_recipe(parser: ArgumentParser, recipe: Recipe, prefix: str = "") -> None:
    """The options of a family, with the recipe's values as defaults."""
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


def _resolved(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with the values of the options."""
    return replace(
        recipe,
        options=values["model"],
        observation_options=values.get("observation", {}),
        ridge=recipe.ridge and SequentialRidge(**values["ridge"]),
        bptt=recipe.bptt and BackpropThroughTime(**values["bptt"]),
    )


def _parsed(parser: ArgumentParser, cls: type[Problem], words: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values of all options, and those that are worth keeping as settings."""
    parsed: Namespace = parser.parse_args(_spelt(parser, words))
    hidden = {"config", "task", "out", "resume", "overwrite", "weights"}
    settings = {name: value for name, value in parsed.as_dict().items() if name not in hidden}
    values = dict(parsed.as_dict())
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


def _values(parser: ArgumentParser, words: list[str], *, defaults: bool = True) -> dict[str, Any]:
    parsed: Namespace = parser.parse_args(_spelt(parser, words), defaults=defaults)
    parsed.pop("config", None)
    return dict(parsed.as_dict())
