"""Samples as they go into a training: truth, start and box on the picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from torch import Tensor

from ...data.batches import num_samples, to_device
from ...data.samples import Batch, Samples
from ...errors import DescentError, check_whole
from ...look import device_of, eyes_of
from ...observation import ImageObservation
from ...problem import Problem
from .frames import START, TRUTH, canvas, grey, single_sample

MOST = 60
"""The samples of one figure, at most."""

_PANEL = 3.0
"""The side of a panel, in inches."""

_BOX = "#CC79A7"


def plot_samples(
    problem: Problem,
    samples: Samples,
    *,
    count: int = 12,
    names: Sequence[str] = (),
) -> Figure:
    """Samples spread evenly over the data, each on its picture: the true points with their numbers,
    the start, and the ``box`` of the batch.

    A true point that does not count, see :meth:`~learned_descent.problem.Problem.target_weights`,
    is not drawn. What lies outside of the picture is drawn too.

    Args:
        problem: the problem.
        samples: its samples.
        count: how many are drawn, at most 60.
        names: what the samples are called; their numbers by default.

    Returns:
        The figure.

    Raises:
        DescentError: if ``count`` is no number from 1 to 60, or the samples have no picture.
    """
    check_whole(count, name="count", most=MOST)
    sight = sight_of(problem)
    there = num_samples(samples)
    count = min(count, there)
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    figure = canvas(_PANEL * columns, _PANEL * rows * 1.08 + 0.5)
    panels = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for axes in panels:
        axes.set_axis_off()
    for axes, number in zip(panels, np.linspace(0, there - 1, count).round().astype(int).tolist()):
        drawn = _draw_sample(axes, problem, single_sample(samples, number), *sight)
        title = names[number] if names else f"sample {number}"
        axes.set_title(title if len(title) < 36 else f"...{title[-33:]}", fontsize=8)
    _explain_marks(figure, boxed=drawn)
    return figure


def sight_of(problem: Problem) -> tuple[str, Callable[[Tensor], Tensor]]:
    """The name of the picture in a batch of a problem, and what gives the points in it that
    parameters stand for.

    They are those of :meth:`~learned_descent.problem.Problem.marks`, else those that the
    observation looks at.

    Raises:
        DescentError: if its samples have no picture.
    """
    if type(problem).marks is not Problem.marks:
        return next(iter(problem.images), "image"), problem.marks
    eyes = (part for part in eyes_of(problem).modules() if isinstance(part, ImageObservation))
    found = next(eyes, None)
    if found is None:
        raise DescentError(
            f"the samples of {type(problem).__name__} are no pictures: there is nothing to draw "
            "before a training; `check` tries them, and `compare` draws what becomes of them"
        )
    return found.image, found.points


@torch.no_grad()
def _draw_sample(
    axes: Axes, problem: Problem, sample: Batch, image: str, marks: Callable[[Tensor], Tensor]
) -> bool:
    """Draws one sample; says whether it has a box."""
    batch = cast(Batch, to_device(sample, device_of(problem)))
    pixels = grey(batch[image][0])
    x = problem.target(batch)
    truth, start = (marks(value)[0].cpu().double().numpy() for value in (x, problem.initial(batch)))
    weights = problem.target_weights(batch)
    known = np.isfinite(truth).all(1)
    if weights is not None and weights.numel() == truth.size:
        known &= weights[0].reshape(truth.shape).gt(0).all(1).cpu().numpy()
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
    box = batch.get("box")
    corners = None if box is None else box[0].reshape(2, 2).cpu().double().numpy()
    if corners is not None:
        sides = corners[1] - corners[0]
        axes.add_patch(Rectangle(corners[0], *sides, fill=False, color=_BOX, linestyle="--"))
    _draw_points(axes, start, np.ones(len(start), bool), problem.edges, START)
    _draw_points(axes, truth, known, problem.edges, TRUTH)
    _draw_numbers(axes, truth, known)
    every = [start, truth[known], *([] if corners is None else [corners])]
    _set_window(axes, np.concatenate(every), pixels.shape)
    return corners is not None


def _draw_points(
    axes: Axes,
    points: Float[np.ndarray, "L 2"],
    known: Bool[np.ndarray, " L"],
    edges: Sequence[tuple[int, int]],
    color: str,
) -> None:
    """Points and the edges between those that are known."""
    lines = [points[list(edge)] for edge in edges if known[list(edge)].all()]
    outline = [withStroke(linewidth=1.6, foreground="black", alpha=0.6)]
    axes.add_collection(
        LineCollection(lines, colors=color, linewidths=0.7, path_effects=outline), autolim=False
    )
    size = min(14.0, max(4.0, 200 / len(points)))
    columns, rows = points[known].T
    axes.scatter(columns, rows, s=size, color=color, edgecolors="black", linewidths=0.3, zorder=3)


def _draw_numbers(
    axes: Axes, points: Float[np.ndarray, "L 2"], known: Bool[np.ndarray, " L"]
) -> None:
    """The number of each point, from 0, beside it: the more there are, the smaller."""
    outline = [withStroke(linewidth=1.4, foreground="black")]
    font = float(np.clip(70 / len(points), 3.5, 8.0))
    for number in np.flatnonzero(known).tolist():
        axes.annotate(
            str(number),
            points[number],
            (2, 2),
            textcoords="offset points",
            fontsize=font,
            color="white",
            path_effects=outline,
            zorder=4,
        )


def _set_window(axes: Axes, points: Float[np.ndarray, "N 2"], size: tuple[int, ...]) -> None:
    """Shows the whole picture ``(H, W)``, and what is drawn outside of it."""
    ends = np.array([[-0.5, -0.5], [size[1] - 0.5, size[0] - 0.5]])
    low, high = (np.concatenate([ends, points]).min(0), np.concatenate([ends, points]).max(0))
    axes.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]))


def _explain_marks(figure: Figure, *, boxed: bool) -> None:
    """The legend below the panels."""
    marks = [
        Line2D([], [], color=color, linestyle="", marker="o", markeredgecolor="black", label=label)
        for color, label in ((TRUTH, "truth, and its number"), (START, "start"))
    ]
    if boxed:
        marks.append(Line2D([], [], color=_BOX, linestyle="--", label="box"))
    figure.legend(handles=marks, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
