"""Every setting of every public class and function is checked: none is listed here, all are found
by their annotations."""

from __future__ import annotations

import inspect
import math
import re
import types
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch

from learned_descent import DescentError, Problem
from learned_descent.landmarks.aligner import Aligner
from learned_descent.landmarks.schema import IBUG68
from learned_descent.problems import Analytic
from learned_descent.problems.photometric.problems import FixedTemplate
from learned_descent.problems.registration.problem import Registration

from .landmarks.aligners import small_model

REFERENCE = Path(__file__).parents[1] / "docs" / "reference.md"
RESULTS = {
    "History",
    "Evaluation",
    "Basin",
    "Estimate",
    "PairedTest",
    "Probes",
    "Report",
    "PartReport",
    "Fit",
    "BoxOffset",
    "Confidence",
    "Status",
    "Labelled",
    "Tracked",
}
"""What the library makes and nobody sets; a constructor of :mod:`enum` has arguments of its own."""


def public() -> Iterator[Any]:
    """What the reference lists."""
    for name in re.findall(r"^   ([\w.]+)$", REFERENCE.read_text("utf-8"), re.MULTILINE):
        home, _, last = f"learned_descent.{name}".rpartition(".")
        yield getattr(import_module(home), last)


def settings(subject: Callable[..., Any]) -> dict[str, Any]:
    """The arguments of a function or a constructor, with their types."""
    called = subject.__init__ if inspect.isclass(subject) else subject
    hints = get_type_hints(
        called, {**vars(import_module(subject.__module__)), "Registration": Registration}
    )
    return {name: hints[name] for name in inspect.signature(subject).parameters if name in hints}


def kinds(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a type."""
    return (
        get_args(annotation)
        if get_origin(annotation) in (Union, types.UnionType)
        else (annotation,)
    )


def cases(wanted: Callable[[Any], bool], *, functions: bool) -> list[Any]:
    """Every public class, and function, with each of its arguments of a type."""
    found = []
    for subject in public():
        made = (
            inspect.isclass(subject)
            and not inspect.isabstract(subject)
            and subject.__name__ not in RESULTS
        )
        if (made and not issubclass(subject, Exception)) or (
            functions and inspect.isfunction(subject)
        ):
            for name, annotation in settings(subject).items():
                if any(map(wanted, kinds(annotation))):
                    found.append(pytest.param(subject, name, id=f"{subject.__name__}-{name}"))
    return found


def refused(subject: Callable[..., Any], name: str, value: Any) -> None:
    """Gives one wrong argument, and what else has no default."""
    known: dict[str, Any] = {
        "problem": {"Sides": Registration, "BlockMatches": FixedTemplate}.get(subject.__name__,
        Analytic)(),
        "observation": Analytic("sin").observation(), "num_features": 1, "num_updates": 1,
        "num_groups": 1,
        "num_points": 68, "num_tokens": 1,
        "points": torch.nn.Identity(), "h": torch.sin, "y": "y", "crop": 64, "box_side": 38.0,
        "schema": IBUG68,
        "predicted": torch.rand(1, 68, 2), "target": torch.rand(1, 68, 2), "normaliser": "box",
        "box": torch.ones(1, 4),
        "folder": Path(), "families": {}, "stem": "face", "kind": "png", "fits": [],
        "photo": np.zeros((8, 8, 3), np.uint8), "edges": (), "paths": [Path()],
        "mirror": IBUG68.mirror, "left_eye": IBUG68.left_eye, "right_eye": IBUG68.right_eye,
        "name": "odd",
        "outer_eye_corners": IBUG68.outer_eye_corners, "path": "video.mp4",
    }  # fmt: skip
    if "model" in settings(subject):
        known["model"] = small_model()
    if "aligner" in settings(subject):
        known["aligner"] = Aligner(small_model())
    asked = [
        argument.name
        for argument in inspect.signature(subject).parameters.values()
        if argument.default is argument.empty
        and argument.name != name
        and argument.kind is not argument.VAR_POSITIONAL
    ]
    assert set(asked) <= set(known), (
        "say above what the arguments of a new class or function may be"
    )
    needed = {argument: known[argument] for argument in asked}
    named = rf"{name}\b.*" if inspect.isclass(subject) else ""
    with pytest.raises(DescentError, match=named + re.escape(str(value))):
        subject(**{**needed, name: value})


@pytest.mark.parametrize(
    ("subject", "name"), cases(lambda kind: get_origin(kind) is Literal, functions=True)
)
def test_a_word_that_is_none_of_the_choices_is_refused(subject, name):
    refused(subject, name, "misspelt")


@pytest.mark.parametrize(("subject", "name"), cases(lambda kind: kind is int, functions=False))
def test_a_number_that_cannot_be_counted_is_refused(subject, name):
    if name != "seed":
        refused(subject, name, -1)


@pytest.mark.parametrize(("subject", "name"), cases(lambda kind: kind is float, functions=False))
def test_what_is_not_a_number_is_refused(subject, name):
    refused(subject, name, math.nan)


def problems() -> list[type[Problem]]:
    found = [item for item in public() if inspect.isclass(item) and issubclass(item, Problem)]
    return [item for item in found if not inspect.isabstract(item)]


@pytest.mark.parametrize("problem", problems())
def test_a_split_that_there_is_not_is_refused(problem):
    with pytest.raises(
        DescentError, match="split: expected one of train, val, test, got 'validation'"
    ):
        problem().data("validation")
