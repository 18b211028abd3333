"""What a weights file says of a model: names and settings, as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import Tensor

from ..errors import DescentError
from ..model import DescentModel
from ..names import MODELS, OBSERVATIONS, PROBLEMS
from ..observation import Concat, Frozen, Observation
from ..observations import ScaledEquations
from ..observations.around import Around
from ..problem import Problem
from ..registry import name_of
from ..solvers import Polished, Solver

FORMAT = 1
"""The version of the layout of a weights file."""


def describe(model: DescentModel) -> dict[str, Any]:
    """The names and settings that :func:`learned_descent.checkpoint.model.load_model` needs to
    build a model again.

    Raises:
        DescentError: if the model is a classical solver, or has one behind it; if a setting is
            nothing that JSON can hold.
    """
    if isinstance(model, Polished):
        raise DescentError(
            "model: expected a learned model, got a Polished one: store what it learned, its .model"
        )
    if isinstance(model, Solver):
        raise DescentError(
            f"model: expected a learned model, got {type(model).__name__}, which has no weights to "
            "store"
        )
    return {
        "format": FORMAT,
        "problem": described_problem(model.problem),
        "observation": described_observation(model.observation),
        "model": {"name": name_of(type(model), MODELS), "settings": _settings(model)},
    }


def described_problem(problem: Problem) -> dict[str, Any]:
    """The name and settings of a problem."""
    return {"name": name_of(type(problem), PROBLEMS), "settings": _settings(problem)}


def described_observation(observation: Observation) -> dict[str, Any]:
    """The name and settings of an observation, part by part."""
    if isinstance(observation, Around):  # the model puts it around
        return described_observation(observation.inner)
    if isinstance(observation, Frozen):
        return {"name": "frozen", "inner": described_observation(observation.inner)}
    if isinstance(observation, Concat):
        parts = cast(Iterable[Observation], observation.parts)
        return {"name": "concat", "parts": [described_observation(part) for part in parts]}
    if isinstance(observation, ScaledEquations):
        return {"name": "scaled-equations", "settings": {}}
    return {"name": name_of(type(observation), OBSERVATIONS), "settings": _settings(observation)}


def _settings(owner: Problem | Observation | DescentModel) -> dict[str, Any]:
    return plain_settings(owner.settings(), f"{type(owner).__name__}.settings()")


def plain_settings(settings: object, where: str = "settings()") -> dict[str, Any]:
    """Settings as JSON holds them: arrays and tuples as lists, paths as text.

    Raises:
        DescentError: if they are no mapping, or one is nothing that JSON can hold.

    Example:
        >>> plain_settings({"points": np.eye(2), "root": Path("faces")})
        {'points': [[1.0, 0.0], [0.0, 1.0]], 'root': 'faces'}
    """
    if not isinstance(settings, Mapping):
        raise DescentError(
            f"{where}: expected the constructor's arguments as a dict, got "
            f"{type(settings).__name__}"
        )
    return {str(name): _plain(value, f"{where}[{name!r}]") for name, value in settings.items()}


def _plain(value: Any, where: str) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        return _plain(value.tolist(), where)
    if isinstance(value, Mapping):
        return {str(name): _plain(item, f"{where}[{name!r}]") for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, where) for item in value]
    if isinstance(value, Path):
        return str(value)
    raise DescentError(
        f"{where}: expected what JSON can hold (numbers, text, lists, arrays), got "
        f"{type(value).__name__}: give what makes it, or register it as a buffer, which is stored "
        "with the weights, and leave it out"
    )
