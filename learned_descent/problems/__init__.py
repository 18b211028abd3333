"""The problems that come with the library."""

from .analytic import Analytic

__all__ = ["Analytic"]
