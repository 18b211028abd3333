"""Figures for a paper: error distributions, steps, basins, times, and fits with the path of every
point.

The figures use no global state (no ``pyplot``) and need no display; save one by
``figure.savefig("ced.png")``.
"""

from .curves import plot_basin, plot_ced, plot_steps, plot_time
from .fits import plot_fits
from .frames import PALETTE, canvas
from .samples import plot_samples

__all__ = [
    "PALETTE",
    "canvas",
    "plot_basin",
    "plot_ced",
    "plot_fits",
    "plot_samples",
    "plot_steps",
    "plot_time",
]
