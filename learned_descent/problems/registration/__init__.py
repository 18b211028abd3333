"""Registration of point clouds to a model."""

from .problem import Registration

__all__ = ["Registration"]
