"""Evaluations side by side, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ._check import DescentError
from ._text import aligned, lay_out, number
from .evaluation import Evaluation


def check_comparable(evaluations: Mapping[str, Evaluation]) -> None:
    """Refuses to set side by side what was not measured alike.

    Args:
        evaluations: evaluations by the name of their family.

    Raises:
        DescentError: if there are none, or if metrics, ``failure_above`` or the number of samples differ.
    """
    if not evaluations:
        raise DescentError("evaluations: expected at least one, got none")
    (first, reference), *others = evaluations.items()
    for name, other in others:
        for what, one, two in (
            ("metrics", reference.metrics, other.metrics),
            ("failure_above", reference.failure_above, other.failure_above),
            ("number of samples", reference.num_samples, other.num_samples),
        ):
            if one != two:
                raise DescentError(
                    f"{first!r} and {name!r} cannot be compared: the {what} differ, {one} and {two}; "
                    "evaluate both on the same samples with the same problem"
                )


def table(
    evaluations: Mapping[str, Evaluation],
    columns: Mapping[str, Mapping[str, float | int | str]] | None = None,
    *,
    metrics: Sequence[str] | None = None,
) -> str:
    """An aligned table with one row per family: mean, median, AUC and failures of each metric.

    Args:
        evaluations: evaluations by the name of their family, on the same samples.
        columns: further columns by title: a number or a text by the name of the family.
        metrics: the metrics to show; all by default.

    Raises:
        DescentError: if the evaluations were not measured alike (see :func:`check_comparable`), or if a metric or a family of a
            further column is unknown.

    Example:
        >>> import torch
        >>> errors = {"error (px)": torch.tensor([[4.0, 8.0], [1.0, 3.0]])}
        >>> sdm = Evaluation(errors, None, failure_above=2.0, seconds_per_sample=1e-3, batch_size=2, device="cpu")
        >>> print(table({"sdm": sdm}, {"ms/sample": {"sdm": 1.0}}))
                        error (px)
        family  mean  median  AUC %  fail. %  ms/sample
        -----------------------------------------------
        sdm     2.00    2.00  25.00    50.00          1
        2 samples; AUC up to, and failures above, an error of 2
    """
    check_comparable(evaluations)
    columns = columns or {}
    rows = list(evaluations.values())
    reference = rows[0]
    names = reference.metrics if metrics is None else list(metrics)
    for title, values in columns.items():
        if unknown := sorted(set(values) - set(evaluations)):
            raise DescentError(f"column {title!r}: expected values for the families {list(evaluations)}, got {unknown}")
    groups = [[["family", *evaluations]]]
    for name in names:
        groups.append(
            [
                ["mean", *aligned([row.mean(name) for row in rows])],
                ["median", *aligned([row.median(name) for row in rows])],
                ["AUC %", *(f"{100 * row.auc(name):.2f}" for row in rows)],
                ["fail. %", *(f"{100 * row.failure_rate(name):.2f}" for row in rows)],
            ]
        )
    groups.extend([[title, *(number(values.get(family, "-")) for family in evaluations)]] for title, values in columns.items())
    return lay_out(groups, ["", *names, *("" for _ in columns)]) + (
        f"\n{reference.num_samples} samples; AUC up to, and failures above, an error of {reference.failure_above:g}"
    )
