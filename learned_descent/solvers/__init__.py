"""The classical yardstick: batched Gauss-Newton and Levenberg-Marquardt, methods from elsewhere,
and polishing.
"""

from .external import External, ScipyLeastSquares
from .gauss_newton import GaussNewton
from .levenberg_marquardt import LevenbergMarquardt
from .polished import Polished
from .solver import NormalEquations, Solver, Status

__all__ = [
    "External",
    "GaussNewton",
    "LevenbergMarquardt",
    "NormalEquations",
    "Polished",
    "ScipyLeastSquares",
    "Solver",
    "Status",
]
