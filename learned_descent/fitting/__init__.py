"""Least squares from a plain function of one sample: solved for a whole batch in one call, or
learnt.
"""

from .problem import FunctionProblem
from .solving import Solution, least_squares

__all__ = ["FunctionProblem", "Solution", "least_squares"]
