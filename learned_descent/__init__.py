"""Learned descent for non-linear least squares: ``x <- retract(x, step(observe(x)))``, with the
step learnt from examples.

Each name is imported when it is first used: the package alone imports nothing, not even PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checkpoint.model import load_model, save_model
    from .cli.compare import compare
    from .data.samples import Batch
    from .errors import DescentError, ShapeError
    from .evaluation.comparison import Comparison
    from .evaluation.evaluation import Evaluation, auc, ced, evaluate, failure_rate
    from .evaluation.plots import plot_basin, plot_ced, plot_fits, plot_steps, plot_time
    from .evaluation.tables import table
    from .families import Recipe
    from .fitting import LearnedLeastSquares, learn, least_squares
    from .model import DescentModel, Trajectory
    from .models import Cascade, MnemonicDescent
    from .observation import Concat, Frozen, ImageObservation, Observation
    from .problem import LeastSquares, Problem
    from .registry import recipes_for, resolve_problem
    from .training import BackpropThroughTime, History, SequentialRidge, Trainer

__version__ = "0.1.0"

__all__ = [
    "BackpropThroughTime",
    "Batch",
    "Cascade",
    "Comparison",
    "Concat",
    "DescentError",
    "DescentModel",
    "Evaluation",
    "Frozen",
    "History",
    "ImageObservation",
    "LearnedLeastSquares",
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
    "compare",
    "evaluate",
    "failure_rate",
    "learn",
    "least_squares",
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
    "errors": ("DescentError", "ShapeError"),
    "checkpoint": ("load_model", "save_model"),
    "cli.compare": ("compare",),
    "evaluation.comparison": ("Comparison",),
    "evaluation.evaluation": ("Evaluation", "auc", "ced", "evaluate", "failure_rate"),
    "model": ("DescentModel", "Trajectory"),
    "models": ("Cascade", "MnemonicDescent"),
    "observation": ("Concat", "Frozen", "ImageObservation", "Observation"),
    "evaluation.plots": ("plot_basin", "plot_ced", "plot_fits", "plot_steps", "plot_time"),
    "data": ("Batch",),
    "problem": ("LeastSquares", "Problem"),
    "families": ("Recipe",),
    "fitting": ("LearnedLeastSquares", "learn", "least_squares"),
    "registry": ("recipes_for", "resolve_problem"),
    "evaluation.tables": ("table",),
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
