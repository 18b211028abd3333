"""Any points in any picture: markups, crops, augmentation, errors, what finds them on a photo."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .aligner import Aligner, Fit
    from .detector import Detector

__all__ = ["Aligner", "Detector", "Fit"]

_HOMES = {"Aligner": "aligner", "Detector": "detector", "Fit": "aligner"}
"""The modules of the public names, which are imported when they are first used."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return value
