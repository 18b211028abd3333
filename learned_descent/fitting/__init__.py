"""Least squares from a plain function of one sample: solved for a whole batch in one call, or
learnt.
"""

from .learning import LearnedLeastSquares, learn
from .solving import LeastSquaresResult, least_squares

__all__ = ["LearnedLeastSquares", "LeastSquaresResult", "learn", "least_squares"]
