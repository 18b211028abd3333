"""Least squares from a plain function of one sample, solved for a whole batch in one call."""

from .solving import LeastSquaresResult, least_squares

__all__ = ["LeastSquaresResult", "least_squares"]
