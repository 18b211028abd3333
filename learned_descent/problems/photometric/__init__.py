"""Alignment of images by their grey values: templates, warps and the search of blocks."""

from .problems import AnyTemplate, FixedTemplate

__all__ = ["AnyTemplate", "FixedTemplate"]
