"""What all figures share: colours, and frames without ornament."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from zlib import crc32

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from ...data.batches import index
from ...data.samples import Batch, Samples

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours that colour-blind readers can tell apart (M. Okabe and K. Ito. Color Universal Design,
2008)."""

GREY = "#666666"

TRUTH, START = "#56B4E9", "#F0E442"
"""The colours of true points and of those that a descent starts from."""


_PLACES = {"sdm": 0, "joint": 1, "mdm": 2, "lm": 3, "scipy": 4, "gn": 5, "tokens": 6}
"""The colours that the families of any problem have, so that they differ; others have the one that
their name gives."""

_SHAPES = (("-", "o"), ("--", "s"), ("-.", "^"), (":", "D"))
"""Dashes and marks that tell families of one colour apart."""


class Style(NamedTuple):
    """How a family is drawn."""

    color: str
    dashes: str
    marker: str


def color_of(family: str) -> str:
    """The colour of a family in every figure: it follows from the name alone.

    A learned descent keeps its colour with a solver behind it.

    Example:
        >>> color_of("mdm") == color_of("mdm+lm"), color_of("sdm"), color_of("of my own")
        (True, '#0072B2', '#D55E00')
    """
    name = family.partition("+")[0]
    return PALETTE[_PLACES.get(name, crc32(name.encode())) % len(PALETTE)]


def styles(families: Iterable[str]) -> dict[str, Style]:
    """The colour of each family, and dashes and marks by which those of one colour differ."""
    found: dict[str, Style] = {}
    used: Counter[str] = Counter()
    for family in families:
        color = color_of(family)
        found[family] = Style(color, *_SHAPES[used[color] % len(_SHAPES)])
        used[color] += 1
    return found


def axis_label(metric: str) -> str:
    """What an axis of errors is called."""
    return metric if "error" in metric.lower() else f"error ({metric})"


def canvas(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    figure = Figure((width, height), dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def frame(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with one pair of axes, without ornament."""
    figure = canvas(width, height)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(which="both", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", labelsize=8)
    return figure, axes


def legend_above(figure: Figure, columns: int) -> None:
    """A legend above the axes, in so many columns, or in fewer where its texts are long; the figure
    grows with it.
    """
    for count in range(columns, 0, -1):
        legend = figure.legend(loc="outside upper center", frameon=False, fontsize=8, ncols=count)
        box = legend.get_window_extent()
        if count == 1 or box.width <= figure.bbox.width:
            break
        legend.remove()
    figure.set_figheight(figure.get_figheight() + max(0.0, box.height / figure.dpi - 0.5))


def single_sample(samples: Samples, number: int) -> Batch:
    """One sample as a batch."""
    if isinstance(samples, Mapping):
        return index(samples, slice(number, number + 1))
    return {name: value.unsqueeze(0) for name, value in samples[number].items()}


def grey(image: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The luminance of an image ``(C, H, W)`` in 0..255, in pale greys on which colours stand out,
    ``(H, W)``.
    """
    pixels = image.detach().cpu().double()
    weights = pixels.new_tensor(
        [0.299, 0.587, 0.114] if len(pixels) == 3 else [1 / len(pixels)] * len(pixels)
    )
    return (55 + 0.75 * torch.einsum("c,chw->hw", weights, pixels)).numpy()
