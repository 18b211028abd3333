"""The basin of attraction: how often a descent succeeds, by how far away it starts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DescentError, check_shape
from ..system.text import lay_out
from .ced import check_threshold
from .evaluation import Evaluation, check_comparable
from .intervals import wilson


@dataclass(frozen=True)
class Basin:
    """How many samples each family solves, by the size of the error that they start from.

    Attributes:
        starts: the mean size of the start in each of ``K`` bins, ascending.
        counts: the number of samples in each bin.
        solved: how many of them each family solves, by its name; the mean of several trainings.
        within: the largest error that counts as solved.

    Example:
        >>> starts = Basin((1.0, 2.0), (20, 20), {"sdm": (20, 15)}, within=0.1)
        >>> starts.rates("sdm"), [round(share, 2) for share in starts.interval("sdm")[0]]
        ([1.0, 0.75], [0.84, 0.53])
    """

    starts: tuple[float, ...]
    counts: tuple[int, ...]
    solved: Mapping[str, tuple[int, ...]]
    within: float

    def rates(self, family: str) -> list[float]:
        """The share of each bin that a family solves, in 0..1."""
        return [solved / count for solved, count in zip(self.solved[family], self.counts)]

    def interval(self, family: str) -> tuple[list[float], list[float]]:
        """The lower and upper ends of the 95 % confidence interval of each share (Wilson's)."""
        pairs = [wilson(solved, count) for solved, count in zip(self.solved[family], self.counts)]
        return [low for low, _ in pairs], [high for _, high in pairs]

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON."""
        solved = {family: list(counts) for family, counts in self.solved.items()}
        return {
            "starts": list(self.starts),
            "counts": list(self.counts),
            "solved": solved,
            "within": self.within,
        }

    def table(self, title: str = "start error") -> str:
        """An aligned table with a row per family, and the share of each bin that it solves in
        percent.

        Args:
            title: what the size of a start is.

        Example:
            >>> print(Basin((1.0, 2.0), (20, 20), {"sdm": (20, 15)}, within=0.1).table())
            start error    1   2
            --------------------
            sdm          100  75
            % of the 20 samples of each bin that end with an error of at most 0.1
        """
        columns = [
            [f"{start:.3g}", *(f"{100 * self.rates(family)[place]:.0f}" for family in self.solved)]
            for place, start in enumerate(self.starts)
        ]
        shown = lay_out([[[title, *self.solved]], columns], ["", ""]).lstrip()
        counts = (
            f"{min(self.counts)} to {max(self.counts)}"
            if len(set(self.counts)) > 1
            else str(self.counts[0])
        )
        return (
            f"{shown}\n% of the {counts} samples of each bin that end with an error of at most "
            f"{self.within:g}"
        )


def basin(
    evaluations: Mapping[str, Evaluation],
    levels: Float[Tensor, " N"] | None = None,
    *,
    within: float | None = None,
    most: int = 10,
    least: int = 20,
) -> Basin | None:
    """How many samples each family solves, in bins of starts of the same size; starts of equal size
    share a bin.

    Args:
        evaluations: evaluations by the name of their family, on the same samples from the same
            starts.
        levels: the size of each start ``(N,)``, in any unit; by default its error.
        within: the largest error that counts as solved; by default ``failure_above``.
        most: the largest number of bins.
        least: the smallest number of samples in a bin.

    Returns:
        The counts, or ``None`` where the starts are too few, or too much alike, for two bins.

    Raises:
        DescentError: if the evaluations were not measured alike or started elsewhere, or ``within``
            is not a positive number.

    Example:
        >>> errors = {"error": torch.stack([torch.arange(40.0), torch.arange(40.0) - 19])}
        >>> sdm = Evaluation(errors, None, failure_above=1.0, seconds_per_sample=1e-3,
        ...     batch_size=2, device="cpu")
        >>> basin({"sdm": sdm}).solved
        {'sdm': (20, 1)}
    """
    check_comparable(evaluations)
    (name, first), *others = evaluations.items()
    for other, evaluation in others:
        if not torch.allclose(
            first.by_training(step=0)[0],
            evaluation.by_training(step=0)[0],
            rtol=1e-2,
            equal_nan=True,
        ):
            raise DescentError(
                f"{name!r} and {other!r} start elsewhere: measure both from the same starts"
            )
    within = first.failure_above if within is None else within
    check_threshold(within, "within")
    sizes = (first.by_training(step=0)[0] if levels is None else levels).double().cpu()
    check_shape(sizes, "N", {"N": first.num_samples}, name="levels")
    bins = _bins(sizes, most, least)
    if len(bins) < 2:
        return None
    return Basin(
        starts=tuple(float(sizes[rows].mean()) for rows in bins),
        counts=tuple(len(rows) for rows in bins),
        solved={
            name: tuple(_solved(evaluation, rows, within) for rows in bins)
            for name, evaluation in evaluations.items()
        },
        within=within,
    )


def _solved(evaluation: Evaluation, rows: Tensor, within: float) -> int:
    """How many of some samples a family solves: of several trainings, the mean, rounded."""
    solved = (evaluation.by_training()[:, rows] <= within).sum()
    return round(float(solved) / evaluation.trainings)


def _bins(sizes: Float[Tensor, " N"], most: int, least: int) -> list[Tensor]:
    """The samples of each bin, in ascending order: a bin is full when it has its share, and the
    last one takes the rest.
    """
    order = sizes.argsort(stable=True)
    order = order[sizes[order].isfinite()]
    full = math.ceil(len(order) / max(1, min(most, len(order) // least)))
    alike = [f"{size:.3g}" for size in sizes[order].tolist()]
    cuts = [0]
    for row in range(1, len(order)):
        if row - cuts[-1] >= full and len(order) - row >= least and alike[row] != alike[row - 1]:
            cuts.append(row)
    return [
        order[start:stop]
        for start, stop in zip(cuts, [*cuts[1:], len(order)])
        if stop - start >= least
    ]
