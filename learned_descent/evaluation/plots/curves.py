"""Curves: error distributions, the error after every step, the basin of attraction, and the error
against time.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from ..basin import basin
from ..evaluation import Evaluation, ced, check_comparable
from .frames import GREY, axis_label, frame, legend_above, styles


def plot_ced(evaluations: Mapping[str, Evaluation], metric: str | None = None) -> Figure:
    """The cumulative error distribution of each family, with its AUC and failures; the largest AUC
    first.

    The distribution at the start is shown too where all families start alike.

    Args:
        evaluations: evaluations by the name of their family, on the same samples.
        metric: the metric to show; ``None`` for the main one.

    Raises:
        DescentError: if the evaluations were not measured alike, or if there is no such metric.

    Example:
        >>> errors = {"point error (px)": torch.tensor([[4.0, 8.0], [1.0, 3.0]])}
        >>> sdm = Evaluation(errors, None, failure_above=2.0, seconds_per_sample=1e-3,
        ...     batch_size=2, device="cpu")
        >>> plot_ced({"sdm": sdm}).axes[0].get_xlabel()
        'point error (px)'
    """
    check_comparable(evaluations)
    reference = next(iter(evaluations.values()))
    name, above = metric or reference.metrics[0], reference.failure_above
    figure, axes = frame(5.2, 3.6)

    def draw(
        family: str, evaluation: Evaluation, step: int, color: str, dashes: str, width: float
    ) -> None:
        errors = evaluation.error(name, step)
        jumps = torch.cat(
            [
                errors.new_zeros(1),
                errors[errors < 2 * above].sort().values,
                errors.new_tensor([2 * above]),
            ]
        )
        rates = 100 * evaluation.auc(name, step), 100 * evaluation.failure_rate(name, step)
        label = f"{family}: AUC {rates[0]:.1f} %, failures {rates[1]:.1f} %"
        shares = 100 * ced(errors, jumps)
        axes.step(
            jumps.numpy(),
            shares.numpy(),
            where="post",
            label=label,
            color=color,
            linestyle=dashes,
            linewidth=width,
        )

    pairs = styles(evaluations)
    for family in sorted(evaluations, key=lambda family: -evaluations[family].auc(name)):
        color, dashes, _ = pairs[family]
        draw(family, evaluations[family], -1, color, dashes, 1.6)
    if all(
        torch.equal(other.by_training(name, 0)[0], reference.by_training(name, 0)[0])
        for other in evaluations.values()
    ):
        draw("start", reference, 0, GREY, ":", 1.3)
    axes.axvspan(above, 2 * above, color="#eeeeee", linewidth=0, zorder=0)
    axes.axvline(above, color=GREY, linewidth=0.8, zorder=1)
    axes.set(
        xlim=(0, 1.12 * above),
        ylim=(0, 100),
        xlabel=axis_label(name),
        ylabel="samples with at most this error (%)",
    )
    axes.text(
        above, 101, f"failure above {above:g}", color=GREY, ha="right", va="bottom", fontsize=8
    )
    legend_above(figure, 2 if len(evaluations) > 2 else 1)
    return figure


def plot_steps(evaluations: Mapping[str, Evaluation], metric: str | None = None) -> Figure:
    """The mean (line) and the median (dashed) error of each family at the start and after every
    step.

    The errors have a logarithmic axis where they span more than a decade; a mean that is infinite
    is left out.

    Args:
        evaluations: evaluations by the name of their family, on the same samples.
        metric: the metric to show; ``None`` for the main one.

    Raises:
        DescentError: if the evaluations were not measured alike, or if there is no such metric.
    """
    check_comparable(evaluations)
    reference = next(iter(evaluations.values()))
    name, above = metric or reference.metrics[0], reference.failure_above
    figure, axes = frame(5.2, 3.6)
    shown = []
    for family, (color, _, marker) in styles(evaluations).items():
        evaluation = evaluations[family]
        steps = range(evaluation.num_steps + 1)
        means, medians = (
            [value(name, step) for step in steps] for value in (evaluation.mean, evaluation.median)
        )
        label = f"{family}: mean {means[-1]:.3g}, median {medians[-1]:.3g}"
        axes.plot(steps, means, f"{marker}-", label=label, color=color, linewidth=1.6, markersize=4)
        axes.plot(
            steps,
            medians,
            f"{marker}--",
            color=color,
            linewidth=1.2,
            markersize=4,
            markerfacecolor="white",
        )
        shown += [value for value in chain(means, medians) if 0 < value < float("inf")]
    _draw_bound(axes, above)
    if shown and max(shown) > 10 * min(shown):
        axes.set_yscale("log", subs=(2, 5) if max(shown) < 1000 * min(shown) else ())
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
    else:
        axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="steps done (0: the start)", ylabel=axis_label(name))
    axes.plot([], [], "o-", label="mean", color=GREY, linewidth=1.6, markersize=4)
    axes.plot(
        [],
        [],
        "o--",
        label="median",
        color=GREY,
        linewidth=1.2,
        markersize=4,
        markerfacecolor="white",
    )
    legend_above(figure, 2)
    return figure


def plot_basin(
    evaluations: Mapping[str, Evaluation],
    levels: Float[Tensor, " N"] | None = None,
    *,
    within: float | None = None,
    label: str | None = None,
) -> Figure | None:
    """The share of samples that each family solves against the error that they start from, with its
    95 % confidence band.

    Args:
        evaluations: evaluations by the name of their family, on the same samples from the same
            starts.
        levels: the size of each start ``(N,)``; by default its error.
        within: the largest error that counts as solved; by default ``failure_above``.
        label: what ``levels`` are, with their unit.

    Returns:
        The figure, or ``None`` where the starts are too few, or too much alike: see
        :func:`~learned_descent.evaluation.basin.basin`.

    Raises:
        DescentError: if the evaluations were not measured alike or started elsewhere.
    """
    found = basin(evaluations, levels, within=within)
    if found is None:
        return None
    figure, axes = frame(5.2, 3.6)
    for family, (color, dashes, marker) in styles(evaluations).items():
        rates, (low, high) = found.rates(family), found.interval(family)
        axes.fill_between(
            found.starts,
            [100 * x for x in low],
            [100 * x for x in high],
            color=color,
            alpha=0.12,
            linewidth=0,
        )
        shares = [100 * rate for rate in rates]
        axes.plot(
            found.starts,
            shares,
            marker=marker,
            linestyle=dashes,
            label=family,
            color=color,
            linewidth=1.6,
            markersize=4,
        )
    start = (
        f"start: {axis_label(next(iter(evaluations.values())).metrics[0])}"
        if label is None
        else label
    )
    axes.set(ylim=(-2, 102), xlabel=start, ylabel=f"samples solved to {found.within:g} (%)")
    legend_above(figure, 3)
    return figure


def plot_time(evaluations: Mapping[str, Evaluation], metric: str | None = None) -> Figure:
    """The median error of each family after each step against the time that a sample has taken so
    far.

    The time of a descent is spread evenly over its steps, up to the last one that moved any sample.
    An error below a millionth of ``failure_above`` is drawn there.

    Args:
        evaluations: evaluations by the name of their family, on the same samples.
        metric: the metric to show; ``None`` for the main one.

    Raises:
        DescentError: if the evaluations were not measured alike, or if there is no such metric.
    """
    check_comparable(evaluations)
    reference = next(iter(evaluations.values()))
    name, above = metric or reference.metrics[0], reference.failure_above
    figure, axes = frame(5.2, 3.6)
    for family, (color, dashes, marker) in styles(evaluations).items():
        evaluation = evaluations[family]
        moved = (evaluation.errors[name].diff(dim=0) != 0).any(1).nonzero().flatten().tolist()
        last = moved[-1] + 1 if moved else evaluation.num_steps
        times = [1000 * evaluation.seconds_per_sample * step / last for step in range(1, last + 1)]
        medians = [max(evaluation.median(name, step), 1e-6 * above) for step in range(1, last + 1)]
        axes.plot(
            times,
            medians,
            linestyle=dashes,
            color=color,
            linewidth=1.6,
            marker="." if last > 1 else None,
        )
        axes.plot(
            times[-1:],
            medians[-1:],
            marker=marker,
            linestyle="none",
            color=color,
            markersize=6,
            label=f"{family}: {evaluation.median(name):.2g}",
        )
    _draw_bound(axes, above)
    axes.set(xscale="log", yscale="log")
    axes.grid(visible=False, which="minor")
    batch = f"{reference.batch_size} at once" if reference.batch_size > 1 else "one at a time"
    axes.set(xlabel=f"time per sample (ms; {batch})", ylabel=f"median {axis_label(name)}")
    legend_above(figure, 3)
    return figure


def _draw_bound(axes: Axes, above: float) -> None:
    """A line at the error above which a sample is a failure, named beside the axes."""
    axes.axhline(above, color=GREY, linewidth=0.8, zorder=1)
    axes.text(
        1.01,
        above,
        f"failure\nabove {above:g}",
        color=GREY,
        va="center",
        fontsize=8,
        transform=axes.get_yaxis_transform(),
    )
