"""Evaluations side by side, as text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from ..errors import DescentError
from ..model import DescentModel
from ..system.text import aligned, lay_out, number
from .evaluation import Evaluation, check_comparable
from .intervals import FLIPS, RESAMPLES, Estimate, PairedTest, against_best, estimates

Columns: TypeAlias = Mapping[str, Mapping[str, float | int | str]]
"""Further columns of a table by title: a number or a text by the name of the family."""


def table(
    evaluations: Mapping[str, Evaluation],
    columns: Columns | None = None,
    *,
    metrics: Sequence[str] | None = None,
) -> str:
    """Two aligned tables with one row per family: mean, median, AUC and failures of each metric,
    and below how sure they are, see :func:`certainty`.

    Args:
        evaluations: evaluations by the name of their family, on the same samples.
        columns: further columns by title: a number or a text by the name of the family.
        metrics: the metrics to show; all by default.

    Raises:
        DescentError: if the evaluations were not measured alike (see
            :func:`~learned_descent.evaluation.evaluation.check_comparable`), if there are no
            metrics, or if a metric or a family of a further column is unknown.

    Example:
        >>> import torch
        >>> errors = {"error (px)": torch.tensor([[4.0, 8.0], [1.0, 3.0]])}
        >>> sdm = Evaluation(errors, None, failure_above=2.0, seconds_per_sample=1e-3,
        ...     batch_size=2, device="cpu")
        >>> print(table({"sdm": sdm}, {"ms/sample": {"sdm": 1.0}}))
                        error (px)
        family  mean  median  AUC %  fail. %  ms/sample
        -----------------------------------------------
        sdm     2.00    2.00  25.00    50.00          1
        2 samples; AUC up to, and failures above, an error of 2
        <BLANKLINE>
                             error (px)
        95 %          mean        median          AUC %        fail. %
        --------------------------------------------------------------
        sdm   [1.00, 3.00]  [1.00, 3.00]  [0.00, 50.00]  [9.45, 90.55]
        intervals over samples (bootstrap, 2,000 draws; failures: Wilson)
    """
    names, columns = checked(evaluations, columns, metrics)
    groups = [[["family", *evaluations]]]
    for name in names:
        found = entries(evaluations, name)
        groups.append([[title, *(entry.text for entry in row)] for title, row in found.items()])
    groups.extend(
        [[title, *(number(values.get(family, "-")) for family in evaluations)]]
        for title, values in columns.items()
    )
    shown = lay_out(groups, ["", *names, *("" for _ in columns)])
    return f"{shown}\n{measured_on(evaluations)}\n\n{certainty(evaluations, names)}"


def checked(
    evaluations: Mapping[str, Evaluation],
    columns: Columns | None,
    metrics: Sequence[str] | None,
) -> tuple[list[str], Columns]:
    """The metrics and the further columns of a table, of which nothing is unknown."""
    check_comparable(evaluations)
    first = next(iter(evaluations.values()))
    names = first.metrics if metrics is None else list(metrics)
    if not names:
        raise DescentError(f"metrics: expected some of {first.metrics}, got none")
    for title, values in (columns or {}).items():
        if unknown := sorted(set(values) - set(evaluations)):
            raise DescentError(
                f"column {title!r}: expected values for the families {list(evaluations)}, got "
                f"{unknown}"
            )
    return names, columns or {}


def measured_on(evaluations: Mapping[str, Evaluation]) -> str:
    """How many samples a table is about, and what failures are, in one line."""
    first = next(iter(evaluations.values()))
    return (
        f"{first.num_samples} samples; AUC up to, and failures above, an error of "
        f"{first.failure_above:g}"
    )


def certainty(evaluations: Mapping[str, Evaluation], metrics: Sequence[str] | None = None) -> str:
    """An aligned table of how sure the figures of each family are: 95 % intervals over samples, the
    standard deviation over trainings where a family has several, and the test against the best.

    Args:
        evaluations: evaluations by the name of their family, on the same samples.
        metrics: the metrics to show; all by default. The test is that of the first.

    Raises:
        DescentError: as :func:`table` does.
    """
    names, _ = checked(evaluations, None, metrics)
    groups = [[["95 %", *evaluations]]]
    for name in names:
        group: list[list[str]] = []
        for title, row in entries(evaluations, name).items():
            group.append([title, *(entry.interval or "-" for entry in row)])
            if any(entry.spread for entry in row):
                group.append([f"\u00b1 {title}", *(entry.spread or "-" for entry in row)])
        groups.append(group)
    test = against_best(evaluations, names[0])
    if test.p:
        groups.append([["p", *(chance(test.p.get(family)) for family in evaluations)]])
    shown = lay_out(groups, ["", *names, *("" for _ in groups[len(names) + 1 :])])
    return f"{shown}\n{legend(evaluations, test)}"


def legend(evaluations: Mapping[str, Evaluation], test: PairedTest) -> str:
    """What the intervals, the spread and the test of a table are, in one line."""
    parts = [f"intervals over samples (bootstrap, {RESAMPLES:,} draws; failures: Wilson)"]
    most = max(result.trainings for result in evaluations.values())
    if most > 1:
        parts.append(f"\u00b1: standard deviation over {most} trainings")
    if test.p:
        parts.append(f"p: AUC against {test.best} (paired permutation test, {FLIPS:,} flips, Holm)")
    return "; ".join(parts)


class Entry(NamedTuple):
    """A figure of a family as text.

    Attributes:
        text: the figure.
        best: whether it is the best of its column.
        interval: its 95 % interval; empty where there is none.
        spread: its standard deviation over trainings; empty for one training.
    """

    text: str
    best: bool = False
    interval: str = ""
    spread: str = ""


def entries(evaluations: Mapping[str, Evaluation], metric: str) -> dict[str, list[Entry]]:
    """The mean, the median, the AUC and the failures of each family, by the title of the column.

    Args:
        evaluations: evaluations by the name of their family.
        metric: the name of a metric.
    """
    found = [estimates(result, metric) for result in evaluations.values()]
    return {
        "mean": _column([each["mean"] for each in found]),
        "median": [
            entry._replace(spread="") for entry in _column([each["median"] for each in found])
        ],
        "AUC %": _column([each["auc"] for each in found], percent=True, largest=True),
        "fail. %": _column([each["failure_rate"] for each in found], percent=True),
    }


def _column(
    column: Sequence[Estimate], *, percent: bool = False, largest: bool = False
) -> list[Entry]:
    values = [estimate.value for estimate in column]

    def shown(numbers: Iterable[float | None]) -> list[str]:
        known = [math.nan if value is None else value for value in numbers]
        texts = [f"{100 * value:.2f}" for value in known] if percent else aligned(known, values)
        return ["" if math.isnan(value) else text for value, text in zip(known, texts)]

    texts = shown(values)
    best = texts[values.index((max if largest else min)(values))]
    alike = len(set(texts)) == 1
    return [
        Entry(text, text == best and not alike, f"[{low}, {high}]" if low else "", spread)
        for text, low, high, spread in zip(
            texts,
            shown(estimate.low for estimate in column),
            shown(estimate.high for estimate in column),
            shown(estimate.spread for estimate in column),
        )
    ]


def chance(p: float | None) -> str:
    """A p-value; ``-`` for the family that the others are tested against.

    Example:
        >>> chance(0.0301), chance(0.0002), chance(None)
        ('0.030', '<.001', '-')
    """
    return "-" if p is None else "<.001" if p < 0.001 else f"{p:.3f}"


def columns(
    evaluations: Mapping[str, Evaluation],
    seconds: Mapping[str, float],
    sizes: Mapping[str, int],
    seen: Mapping[str, str],
) -> dict[str, dict[str, float | str]]:
    """The columns of a table beside the errors; one of which nothing is known is left out.

    Args:
        evaluations: evaluations by the name of their family.
        seconds: how long each training took.
        sizes: how many weights each family has.
        seen: what each family sees, see :func:`eyes`.
    """
    solvers = {name: converged(result) for name, result in evaluations.items()}
    found: dict[str, dict[str, float | str]] = {
        "training s": dict(seconds),
        "converged %": {name: text for name, text in solvers.items() if text},
        "ms/sample": {
            name: 1000 * result.seconds_per_sample for name, result in evaluations.items()
        },
        "parameters": dict(sizes),
        "observation": {name: text for name, text in seen.items() if text},
    }
    return {title: values for title, values in found.items() if values}


def converged(result: Evaluation) -> str:
    """The share of samples in percent that a classical solver left converged; nothing for a learned
    descent.
    """
    return (
        ""
        if result.status is None
        else f"{100 * result.ended.get('converged', 0) / len(result.status):.1f}"
    )


def eyes(model: DescentModel) -> str:
    """The classes of what a learned model sees through; nothing for a classical solver."""
    learned = model.learned_model()
    return "" if learned is None else learned.observation.in_words()


def unusable(evaluations: Mapping[str, Evaluation]) -> list[str]:
    """A line for each family with samples that its classical solver could make nothing of: how all
    of them ended, and why.
    """
    return [f"{name}: {result.endings}" for name, result in evaluations.items() if result.invalid]


def worst(
    evaluations: Mapping[str, Evaluation], names: Sequence[str], count: int = 5
) -> dict[str, str]:
    """The samples that each family fits worst, by name, with their errors; none where the samples
    have no names.

    Raises:
        DescentError: if there is not a name for each sample.

    Example:
        >>> import torch
        >>> errors = {"error (px)": torch.tensor([[4.0, 8.0], [1.0, 3.0]])}
        >>> sdm = Evaluation(errors, None, failure_above=2.0, seconds_per_sample=1e-3,
        ...     batch_size=2, device="cpu")
        >>> worst({"sdm": sdm}, ["a.png", "b.png"])
        {'sdm': 'b.png 3, a.png 1'}
    """
    found = {}
    for family, result in evaluations.items() if names else ():
        if len(names) != result.num_samples:
            raise DescentError(
                f"names: expected one for each of the {result.num_samples} samples, got "
                f"{len(names)}"
            )
        errors = result.by_training().nan_to_num(nan=float("inf")).mean(0)
        order = errors.argsort(descending=True, stable=True)[:count].tolist()
        found[family] = ", ".join(f"{names[place]} {errors[place]:.3g}" for place in order)
    return found


def worst_lines(evaluations: Mapping[str, Evaluation], names: Sequence[str]) -> list[str]:
    """A line for each family of :func:`worst`."""
    return [f"worst of {family}: {text}" for family, text in worst(evaluations, names).items()]


def size(model: DescentModel) -> int:
    """The number of weights."""
    return sum(parameter.numel() for parameter in model.parameters())


def main_metrics(result: Evaluation) -> list[str]:
    """The metrics under the normaliser of the main one, such as those of all landmarks and of a
    part of them.
    """
    normaliser = result.metrics[0].rpartition(" / ")[2]
    return [
        name
        for name in result.metrics
        if name == result.metrics[0] or name.endswith(f" / {normaliser}")
    ]


def steps(result: Evaluation, split: str) -> str:
    """The mean error after every step, in one line."""
    errors = "  ".join(f"{result.mean(step=step):.4g}" for step in range(result.num_steps + 1))
    return (
        f"{split} error after step 0 (the start) to {result.num_steps}: {errors}  "
        f"({result.metrics[0]}, mean)"
    )
