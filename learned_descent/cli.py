"""The command line ``learned-descent``: its options are the arguments of the classes that they configure."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from . import __version__, _options, commands, comparison, inspection, photos
from ._check import DescentError
from .recipe import Recipe, learned_part
from .registry import PROBLEMS, recipe_for, recipes_for, resolve_problem
from .weights import find_weights

USAGE = """\
usage: learned-descent COMMAND ...

commands:
  train PROBLEM --family F --out DIR   train one family
  evaluate WEIGHTS                     measure a trained model
  compare PROBLEM [--out DIR]          train or load several families and compare them
  align PHOTO ...                      find the faces in photos, and their landmarks
  calibrate WEIGHTS                    fit the boxes and the confidence that align relies on
  inspect WEIGHTS                      show how much of the pose of a head a recurrent model remembers
  check PROBLEM                        check that a problem keeps the contract

PROBLEM is {problems}, the name of an installed plug-in, package.module:Class or file.py:Class.
Every command explains its options: learned-descent train PROBLEM --family F --help.
--config FILE.yaml gives any of them; --traceback shows where an error came from; --version.
"""


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
    parser = _options.parser("train PROBLEM --family F --out DIR", commands.train, {"problem", "recipe", "settings"})
    parser.add_argument("--family", help="the family: sdm, joint, mdm, ...")
    task, choice = _options.chosen(parser, words)
    if not choice.get("family"):
        raise DescentError("--family: expected the name of a family, such as sdm, joint or mdm")
    cls = resolve_problem(task)
    recipe = recipe_for(cls, family := choice["family"])
    if not isinstance(recipe, Recipe):
        alone = f"train {learned_part(family)}, and " if "+" in family else ""
        raise DescentError(f"--family {family}: a classical solver has nothing to train: {alone}compare --families {family}")
    _options.add_problem(parser, cls)
    _options.add_recipe(parser, recipe)
    values, settings = _options.parsed(parser, cls, words)
    print(
        commands.train(
            values["problem"],
            _options.resolved(recipe, values),
            **{name: values[name] for name in ("out", "seed", "init", "resume", "overwrite")},
            settings={**settings, "task": task},
        )
    )
    return 0


def _compare(words: list[str]) -> int:
    parser = _options.parser("compare PROBLEM", comparison.compare, {"problem", "families", "settings", "weights"})
    parser.add_argument("--families", nargs="+", metavar="F", help="the families (default: all of the problem)")
    parser.add_argument("--weights", nargs="+", default=[], metavar="F=FILE", help="families that are loaded, not trained")
    task, choice = _options.chosen(parser, words)
    cls = resolve_problem(task)
    families = choice.get("families") or list(recipes_for(cls))
    recipes = {family: recipe_for(cls, family) for family in families}
    _options.add_problem(parser, cls)
    _options.add_families(parser, recipes)
    values, settings = _options.parsed(parser, cls, words)
    pairs = [word.partition("=") for word in values["weights"]]
    if wrong := [name for name, _, file in pairs if not file]:
        raise DescentError(f"--weights: expected FAMILY=FILE, got {', '.join(wrong)}")
    print(
        comparison.compare(
            values["problem"],
            _options.resolved_families(recipes, values),
            weights={name: Path(file) for name, _, file in pairs},
            **{name: values[name] for name in ("out", "seed", "split", "batch_size", "device", "resume", "overwrite")},
            settings={**settings, "task": task, "families": families},
        )
    )
    return 0


def _evaluate(words: list[str]) -> int:
    print(commands.evaluate_weights(**_options.stored("evaluate WEIGHTS", commands.evaluate_weights, words, find_weights)))
    return 0


def _calibrate(words: list[str]) -> int:
    print(photos.calibrate(**_options.stored("calibrate WEIGHTS", photos.calibrate, words)))
    return 0


def _align_photos(words: list[str]) -> int:
    parser = _options.parser("align PHOTO ...", photos.align, {"photos", "box", "format"})
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO", help="an image file")
    parser.add_argument("--box", nargs=4, metavar=("X0", "Y0", "X1", "Y1"), help="the box of the one face in pixels")
    parser.add_argument("--format", nargs="+", default=["png", "json"], choices=photos.FORMATS, help="what is written")
    text, done = photos.align(**_options.values(parser, words))
    print(text, end="\n" * bool(text))
    return 0 if done else 1


def _inspect(words: list[str]) -> int:
    parser = _options.parser("inspect WEIGHTS", inspection.inspect, {"weights"})
    parser.add_argument("weights", metavar="WEIGHTS", help="a weights file, or the name of weights that come with the package")
    print(inspection.inspect(**_options.values(parser, words)))
    return 0


def _check(words: list[str]) -> int:
    parser = _options.parser("check PROBLEM", commands.check, {"problem"})
    task, _ = _options.chosen(parser, words)
    cls = resolve_problem(task)
    _options.add_problem(parser, cls)
    values, _ = _options.parsed(parser, cls, words)
    text, passed = commands.check(values["problem"])
    print(text)
    return 0 if passed else 1


_COMMANDS: Mapping[str, Callable[[list[str]], int]] = {
    "train": _train,
    "evaluate": _evaluate,
    "compare": _compare,
    "align": _align_photos,
    "calibrate": _calibrate,
    "inspect": _inspect,
    "check": _check,
}
