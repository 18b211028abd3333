"""Learned descent for non-linear least squares: ``x <- retract(x, step(observe(x)))``, with the step learnt from examples."""

from __future__ import annotations

from ._check import DescentError, ShapeError
from .model import DescentModel, Trajectory
from .models import Cascade, MnemonicDescent
from .observation import Concat, Frozen, ImageObservation, Observation
from .problem import Batch, LeastSquares, Problem
from .training.trainer import History, Trainer

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "Cascade",
    "Concat",
    "DescentError",
    "DescentModel",
    "Frozen",
    "History",
    "ImageObservation",
    "LeastSquares",
    "MnemonicDescent",
    "Observation",
    "Problem",
    "ShapeError",
    "Trainer",
    "Trajectory",
]
