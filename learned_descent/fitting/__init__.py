"""Least squares from a plain function of one sample: solved for a whole batch in one call, or
learnt.
"""

from .problem import FunctionProblem
from .solving import LeastSquaresResult, least_squares

__all__ = ["FunctionProblem", "LeastSquaresResult", "least_squares"]
