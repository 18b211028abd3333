"""The observations: what a model can see at a guess of the parameters."""

from .residual import Residual

__all__ = ["Residual"]
