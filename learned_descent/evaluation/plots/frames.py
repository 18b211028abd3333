"""What all figures share: colours, and frames without ornament."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours that colour-blind readers can tell apart (M. Okabe and K. Ito. Color Universal Design,
2008)."""

GREY = "#666666"


def styles(families: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Colour and dashes of each family."""
    pairs = ((color, dashes) for dashes in cycle(("-", "--", "-.")) for color in PALETTE)
    return dict(zip(families, pairs))


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
