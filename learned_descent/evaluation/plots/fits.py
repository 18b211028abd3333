"""Fits on images, with the path of every point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from textwrap import fill
from typing import TypeAlias, cast

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from torch import Tensor

from ...data.batches import num_samples, to_device
from ...data.samples import Batch, Samples
from ...errors import DescentError
from ...model import DescentModel
from ...observation import ImageObservation
from ...problem import Problem
from ..evaluation import Evaluation, check_comparable
from .frames import START, TRUTH, axis_label, canvas, grey, single_sample

NDArray: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

_FINAL = "#E8601C"
_PATH = LinearSegmentedColormap.from_list("path", [START, _FINAL])


def plot_fits(
    families: Mapping[str, tuple[DescentModel, Evaluation]],
    samples: Samples,
    *,
    metric: str | None = None,
    reference: str | None = None,
    each: int = 1,
    names: Sequence[str] = (),
) -> Figure | None:
    """The best, median and worst samples of one family, fitted by all families side by side; of
    several trainings the first.

    Every panel shows the true points (those that are known, see
    :meth:`~learned_descent.Problem.target_weights`), the start, the path of every point and where
    it ends, on the image in grey; the lines are the ``edges`` of the problem. Points come from the
    first :class:`ImageObservation` among the models.

    Args:
        families: model and evaluation by the name of the family, on the same problem and samples;
            one column each.
        samples: the samples of the evaluations.
        metric: the metric that ranks the samples and is printed over each panel; ``None`` for the
            main one.
        reference: the family that ranks the samples; the first by default.
        each: how many samples to show of the best, the median and the worst ones.
        names: what the samples are called; by default their numbers.

    Returns:
        The figure, or ``None`` if no model looks at images.

    Raises:
        DescentError: if the evaluations were not measured alike or on other samples, if one was
            restored without ``xs``, or if there is no such metric or family.
    """
    check_comparable({family: evaluation for family, (_, evaluation) in families.items()})
    reference = next(iter(families)) if reference is None else reference
    if reference not in families:
        raise DescentError(
            f"reference: expected one of the families {list(families)}, got {reference!r}"
        )
    model, ranking = families[reference]
    if num_samples(samples) != ranking.num_samples:
        raise DescentError(
            f"samples: expected the {ranking.num_samples} samples of the evaluation, got "
            f"{num_samples(samples)}; plot the samples that were evaluated"
        )
    sight = first_sight([model, *(other for other, _ in families.values())])
    if sight is None:
        return None
    rows = _extremes(ranking.by_training(metric)[0], each)
    figure = canvas(2.8 * len(families) + 0.3, 3.0 * len(rows) + 0.8)
    panels = figure.subplots(len(rows), len(families), squeeze=False)
    evaluations = {family: evaluation for family, (_, evaluation) in families.items()}
    for (rank, number), row in zip(rows, panels):
        _draw_row(list(row), sight, single_sample(samples, number), evaluations, number, metric)
        row[0].set_ylabel(f"{rank} ({names[number] if names else f'sample {number}'})", fontsize=9)
    title = (
        f"Best, median and worst samples of {reference}: {axis_label(metric or ranking.metrics[0])}"
    )
    figure.suptitle(fill(title, round(12 * figure.get_figwidth())), fontsize=10)
    _explain_marks(figure, columns=4 if len(families) > 1 else 2)
    return figure


def first_sight(models: Sequence[DescentModel]) -> tuple[ImageObservation, DescentModel] | None:
    """The first observation of an image among some models, and the model that it belongs to."""
    for model in models:
        for module in model.modules():
            if isinstance(module, ImageObservation):
                return module, model
    return None


def _draw_row(
    row: Sequence[Axes],
    sight: tuple[ImageObservation, DescentModel],
    sample: Batch,
    evaluations: Mapping[str, Evaluation],
    number: int,
    metric: str | None,
) -> None:
    """One sample, the ``number`` of the evaluations, fitted by all families side by side."""
    eyes, owner = sight
    tensors = chain(owner.parameters(), owner.buffers())
    device = next((tensor.device for tensor in tensors), torch.device("cpu"))
    batch = cast(Batch, to_device(sample, device))
    truth = points_of(known_target(owner.problem, batch), eyes)[0]
    paths = {
        family: points_of(stored_xs(family, evaluation)[:, number].to(device), eyes)
        for family, evaluation in evaluations.items()
    }
    image = grey(batch[eyes.image][0])
    window = window_of([truth[None], *paths.values()], image.shape)
    for axes, (family, evaluation) in zip(row, evaluations.items()):
        _draw_fit(axes, image, truth, paths[family], owner.problem.edges)
        error = float(evaluation.error(metric)[number])
        failure = "" if error <= evaluation.failure_above else " (failure)"
        axes.set_title(f"{family}: {error:.3g}{failure}", fontsize=9)
        axes.set(xticks=[], yticks=[], xlim=window[:2], ylim=window[2:])


def _explain_marks(figure: Figure, *, columns: int) -> None:
    """The legend below the panels."""
    marks = [
        Line2D([], [], color=TRUTH, marker="o", markersize=4, label="truth"),
        Line2D(
            [],
            [],
            color="none",
            marker="o",
            markersize=4,
            markerfacecolor=START,
            markeredgecolor="black",
            label="start",
        ),
        Line2D([], [], color=_PATH(0.5), linewidth=1.5, label="path"),
        Line2D([], [], color=_FINAL, marker="o", markersize=4, label="end"),
    ]
    figure.legend(
        handles=marks, loc="outside lower center", ncols=columns, frameon=False, fontsize=9
    )


def _draw_fit(
    axes: Axes, image: NDArray, truth: NDArray, path: NDArray, edges: Sequence[tuple[int, int]]
) -> None:
    """Truth, start, path and end of all points ``(T + 1, L, 2)`` on one image ``(H, W)``."""
    outline = [withStroke(linewidth=1.6, foreground="black", alpha=0.6)]
    size = min(12.0, max(3.5, 200 / len(truth)))
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    for points, color in ((truth, TRUTH), (path[-1], _FINAL)):
        lines = [points[list(edge)] for edge in edges]
        axes.add_collection(
            LineCollection(lines, colors=color, linewidths=0.7, path_effects=outline), autolim=False
        )
    for step in range(len(path) - 1):
        shade = _PATH((step + 0.5) / (len(path) - 1))
        moves = list(np.stack([path[step], path[step + 1]], 1))
        axes.add_collection(
            LineCollection(moves, colors=[shade], linewidths=0.7, path_effects=outline),
            autolim=False,
        )
    for points, color in ((path[0], START), (truth, TRUTH), (path[-1], _FINAL)):
        axes.scatter(
            points[:, 0],
            points[:, 1],
            s=size,
            color=color,
            edgecolors="black",
            linewidths=0.3,
            zorder=3,
        )


def window_of(
    groups: Sequence[NDArray], size: tuple[int, ...]
) -> tuple[float, float, float, float]:
    """The limits ``left, right, bottom, top`` of the square that holds all points with a margin,
    moved into the image.
    """
    height, width = size
    points = np.concatenate([group.reshape(-1, 2) for group in groups])
    points = np.clip(points[np.isfinite(points).all(1)], 0, (width - 1, height - 1))
    low, high = points.min(0), points.max(0)
    side = min(max(1.25 * float((high - low).max()), 8), height, width)
    left = float(np.clip((low + high)[0] / 2 - side / 2, -0.5, width - 0.5 - side))
    top = float(np.clip((low + high)[1] / 2 - side / 2, -0.5, height - 0.5 - side))
    return left, left + side, top + side, top


def _extremes(errors: Tensor, each: int) -> list[tuple[str, int]]:
    """Rank and number of the best, median and worst samples, without repetition."""
    if each < 1:
        raise DescentError(f"each: expected 1 or more samples, got {each}")
    order = errors.nan_to_num(nan=float("inf")).argsort(stable=True).tolist()
    middle = max(0, (len(order) - each) // 2)
    chosen = {"best": order[:each], "median": order[middle : middle + each], "worst": order[-each:]}
    ranks: dict[int, str] = {}
    for rank, numbers in chosen.items():
        for number in numbers:
            ranks.setdefault(number, rank)
    return [(rank, number) for number, rank in ranks.items()]


def stored_xs(family: str, evaluation: Evaluation) -> Tensor:
    """The parameters after every step; refuses an evaluation that was restored without them."""
    if evaluation.xs is None:
        raise DescentError(
            f"evaluation of {family!r}: its parameters xs were not stored; evaluate the model again"
        )
    return evaluation.xs


def known_target(problem: Problem, batch: Batch) -> Tensor:
    """The target, NaN where it is not known: what depends on that is not drawn."""
    target, weights = problem.target(batch), problem.target_weights(batch)
    if weights is None or weights.shape != target.shape:
        return target
    return target.masked_fill(weights == 0, torch.nan)


@torch.no_grad()
def points_of(x: Tensor, eyes: ImageObservation) -> NDArray:
    """The points ``(B, L, 2)`` of parameters ``(B, p)``, as ``(column, row)`` in pixels."""
    return eyes.points(x).detach().cpu().double().numpy()
