"""The commands as they are typed: the words after ``learned-descent``, and the exit code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ..errors import DescentError
from ..families import Recipe, learned_part
from ..registry import families_for, recipe_for, recipes_for, resolve_problem, usual_families
from ..system.text import printable, suggestion
from ..weights import find_weights
from . import align as photos
from . import commands, joining
from . import compare as comparison
from . import convert as conversion
from . import export as exporting
from . import inspect as inspection
from . import options as _options
from . import show as showing
from . import suspects as suspecting
from . import track as videos

_FAMILIES = "the families, or file.py:NAME of a recipe (default: the usual ones)"


def run(words: list[str]) -> int:
    """Runs one command.

    Args:
        words: the name of the command, and what follows it.

    Raises:
        DescentError: for a mistake of the user.
    """
    command, rest = words[0], words[1:]
    if command not in _COMMANDS:
        near = suggestion(command, _COMMANDS)
        raise DescentError(f"command {command!r}: expected one of {', '.join(_COMMANDS)}{near}")
    return _COMMANDS[command](rest)


def _say(text: str, end: str = "\n") -> None:
    """Prints a result; what is named in it may come from a file of anybody's."""
    print(printable(text), end=end)


def _told(text: str, done: bool) -> int:
    """Prints what there is to say of several files; 1 where one of them could not be done."""
    _say(text, end="\n" * bool(text))
    return 0 if done else 1


def _train(words: list[str]) -> int:
    parser = _options.parser(
        "train PROBLEM --family F --out DIR", commands.train, {"problem", "recipe", "settings"}
    )
    parser.add_argument(
        "--family",
        type=str,
        help="the family: sdm, joint, mdm, ..., or file.py:NAME; with --help: show its options too",
    )
    task, choice = _options.chosen(parser, words)
    cls = resolve_problem(task)
    _options.add_problem(parser, cls)
    if not (family := choice.get("family")):
        _options.show_help(
            parser, words, f"--family: expected one of {', '.join(recipes_for(cls))}"
        )
    recipe = recipe_for(cls, family)
    if not isinstance(recipe, Recipe):
        alone = f"train {learned_part(family)}, and " if "+" in family else ""
        raise DescentError(
            f"--family {family}: a classical solver has nothing to train: {alone}compare "
            f"--families {family}"
        )
    _options.add_recipe(parser, recipe)
    values, settings = _options.parsed(parser, cls, words)
    _say(
        commands.train(
            values["problem"],
            _options.resolved(recipe, values),
            **{name: values[name] for name in ("out", "seed", "init", "resume", "overwrite")},
            settings={**settings, "task": task},
        )
    )
    return 0


def _update(words: list[str]) -> int:
    _say(commands.update(**_options.stored("update WEIGHTS --out DIR", commands.update, words)))
    return 0


def _compare(words: list[str]) -> int:
    parser = _options.parser(
        "compare PROBLEM",
        comparison.compare,
        {"problem", "families", "seeds", "settings", "weights"},
    )
    parser.add_argument(
        "--seeds",
        nargs="+",
        type=int,
        metavar="N",
        help="train each family once from each of these seeds, for a mean and a spread",
    )
    parser.add_argument("--families", nargs="+", type=str, metavar="F", help=_FAMILIES)
    parser.add_argument(
        "--weights",
        nargs="+",
        type=str,
        default=[],
        metavar="F=FILE",
        help="families that are loaded, not trained",
    )
    task, choice = _options.chosen(parser, words)
    cls = resolve_problem(task)
    families = choice.get("families") or usual_families(cls)
    recipes = families_for(cls, families)
    _options.add_problem(parser, cls)
    _options.add_families(parser, recipes)
    values, settings = _options.parsed(parser, cls, words)
    pairs = [word.partition("=") for word in values["weights"]]
    if wrong := [name for name, _, file in pairs if not file]:
        raise DescentError(f"--weights: expected FAMILY=FILE, got {', '.join(wrong)}")
    compared = comparison.compare(
        values["problem"],
        _options.resolved_families(recipes, values),
        weights={name: Path(file) for name, _, file in pairs},
        **{
            name: values[name]
            for name in (
                "out",
                "seed",
                "seeds",
                "split",
                "batch_size",
                "device",
                "figures",
                "latex",
                "resume",
                "overwrite",
            )
        },
        settings={**settings, "task": task, "families": families},
    )
    _say("" if compared is None else str(compared))
    return 0


def _evaluate(words: list[str]) -> int:
    _say(
        commands.evaluate_weights(
            **_options.stored("evaluate WEIGHTS", commands.evaluate_weights, words, find_weights)
        )
    )
    return 0


def _calibrate(words: list[str]) -> int:
    _say(photos.calibrate(**_options.stored("calibrate WEIGHTS", photos.calibrate, words)))
    return 0


def _align_photos(words: list[str]) -> int:
    parser = _options.parser("align PHOTO ...", photos.align, {"photos", "box", "format"})
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO", help="an image file")
    parser.add_argument(
        "--box", nargs=4, metavar=("X0", "Y0", "X1", "Y1"), help="the box of the one face in pixels"
    )
    parser.add_argument(
        "--format",
        nargs="+",
        default=["png", "json"],
        choices=photos.FORMATS,
        help="what is written",
    )
    return _told(*photos.align(**_options.values(parser, words)))


def _track(words: list[str]) -> int:
    parser = _options.parser("track VIDEO", videos.track, {"video", "format"})
    parser.add_argument(
        "video", type=Path, metavar="VIDEO", help="a video file, or a folder of frames"
    )
    parser.add_argument(
        "--format",
        nargs="+",
        choices=videos.KINDS,
        help="what is written: by default a video (frames of a folder), json and csv",
    )
    return _told(*videos.track(**_options.values(parser, words)))


def _export(words: list[str]) -> int:
    _say(
        exporting.export(**_options.stored("export WEIGHTS", exporting.export, words, find_weights))
    )
    return 0


def _inspect(words: list[str]) -> int:
    parser = _options.parser("inspect WEIGHTS", inspection.inspect, {"weights"})
    parser.add_argument(
        "weights",
        metavar="WEIGHTS",
        help="a weights file, or the name of weights that come with the package",
    )
    _say(inspection.inspect(**_options.values(parser, words)))
    return 0


def _check(words: list[str]) -> int:
    parser = _options.parser("check PROBLEM", commands.check, {"problem", "families"})
    parser.add_argument("--families", nargs="+", type=str, metavar="F", help=_FAMILIES)
    task, choice = _options.chosen(parser, words)
    cls = resolve_problem(task)
    _options.add_problem(parser, cls)
    values, _ = _options.parsed(parser, cls, words)
    text, passed = commands.check(
        values["problem"], families_for(cls, choice.get("families") or usual_families(cls))
    )
    _say(text)
    return 0 if passed else 1


def _show(words: list[str]) -> int:
    parser = _options.parser("show PROBLEM", showing.show, {"problem"})
    task, _ = _options.chosen(parser, words)
    cls = resolve_problem(task)
    _options.add_problem(parser, cls)
    values, _ = _options.parsed(parser, cls, words)
    arguments = {name: values[name] for name in ("split", "count", "output", "overwrite")}
    _say(showing.show(values["problem"], **arguments))
    return 0


def _suspects(words: list[str]) -> int:
    parser = _options.parser("suspects PROBLEM", suspecting.suspects, {"problem"})
    task, _ = _options.chosen(parser, words)
    cls = resolve_problem(task)
    _options.add_problem(parser, cls)
    values, _ = _options.parsed(parser, cls, words)
    _say(suspecting.suspects(values["problem"], folds=values["folds"], seed=values["seed"]))
    return 0


def _table(words: list[str]) -> int:
    parser = _options.parser("table RUN ...", joining.join, {"runs"})
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="a folder that compare has written"
    )
    _say(joining.join(**_options.values(parser, words)))
    return 0


def _convert(words: list[str]) -> int:
    parser = _options.parser("convert LABELS --to FORMAT", conversion.convert, {"labels"})
    parser.add_argument(
        "labels", nargs="+", type=Path, metavar="LABELS", help="a file or a folder of labels"
    )
    _say(conversion.convert(**_options.values(parser, words)))
    return 0


_COMMANDS: Mapping[str, Callable[[list[str]], int]] = {
    "train": _train,
    "update": _update,
    "evaluate": _evaluate,
    "compare": _compare,
    "align": _align_photos,
    "track": _track,
    "calibrate": _calibrate,
    "export": _export,
    "inspect": _inspect,
    "check": _check,
    "show": _show,
    "suspects": _suspects,
    "table": _table,
    "convert": _convert,
}
