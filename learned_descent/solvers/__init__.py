"""The classical yardstick: batched Gauss-Newton and Levenberg-Marquardt over any least-squares problem."""

from .gauss_newton import GaussNewton
from .levenberg import LevenbergMarquardt
from .solver import NormalEquations, Solver, Status

__all__ = ["GaussNewton", "LevenbergMarquardt", "NormalEquations", "Solver", "Status"]
