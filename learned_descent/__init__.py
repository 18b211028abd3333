"""Learned descent for non-linear least squares: ``x <- retract(x, step(observe(x)))``, with the step learnt from examples.

Each name is imported when it is first used: the package alone imports nothing, not even PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._check import DescentError, ShapeError
    from .checkpoint import load_model, save_model
    from .evaluation import Evaluation, auc, ced, evaluate, failure_rate
    from .model import DescentModel, Trajectory
    from .models import Cascade, MnemonicDescent
    from .observation import Concat, Frozen, ImageObservation, Observation
    from .plots import plot_basin, plot_ced, plot_fits, plot_steps, plot_time
    from .problem import Batch, LeastSquares, Problem
    from .recipe import Recipe
    from .registry import recipes_for, resolve_problem
    from .tables import table
    from .training import BackpropThroughTime, History, SequentialRidge, Trainer

__version__ = "0.1.0"

__all__ = [
    "BackpropThroughTime",
    "Batch",
    "Cascade",
    "Concat",
    "DescentError",
    "DescentModel",
    "Evaluation",
    "Frozen",
    "History",
    "ImageObservation",
    "LeastSquares",
    "MnemonicDescent",
    "Observation",
    "Problem",
    "Recipe",
    "SequentialRidge",
    "ShapeError",
    "Trainer",
    "Trajectory",
    "auc",
    "ced",
    "evaluate",
    "failure_rate",
    "load_model",
    "plot_basin",
    "plot_ced",
    "plot_fits",
    "plot_steps",
    "plot_time",
    "recipes_for",
    "resolve_problem",
    "save_model",
    "table",
]

_HOMES = {
    "_check": ("DescentError", "ShapeError"),
    "checkpoint": ("load_model", "save_model"),
    "evaluation": ("Evaluation", "auc", "ced", "evaluate", "failure_rate"),
    "model": ("DescentModel", "Trajectory"),
    "models": ("Cascade", "MnemonicDescent"),
    "observation": ("Concat", "Frozen", "ImageObservation", "Observation"),
    "plots": ("plot_basin", "plot_ced", "plot_fits", "plot_steps", "plot_time"),
    "problem": ("Batch", "LeastSquares", "Problem"),
    "recipe": ("Recipe",),
    "registry": ("recipes_for", "resolve_problem"),
    "tables": ("table",),
    "training": ("BackpropThroughTime", "History", "SequentialRidge", "Trainer"),
}
"""The modules, and the public names that each of them holds."""


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            value = globals()[name] = getattr(import_module(f".{home}", __name__), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
