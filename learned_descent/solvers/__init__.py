"""The classical yardstick: batched Gauss-Newton and Levenberg-Marquardt, methods from elsewhere,
and polishing.
"""

from .external import External, OutsideState, ScipyLeastSquares
from .gauss_newton import GaussNewton, GaussNewtonState
from .levenberg_marquardt import LevenbergMarquardt, LevenbergMarquardtState
from .polished import Polished, PolishedState
from .solver import NormalEquations, Solver, SolverState, Status

__all__ = [
    "External",
    "GaussNewton",
    "GaussNewtonState",
    "LevenbergMarquardt",
    "LevenbergMarquardtState",
    "NormalEquations",
    "OutsideState",
    "Polished",
    "PolishedState",
    "ScipyLeastSquares",
    "Solver",
    "SolverState",
    "Status",
]
