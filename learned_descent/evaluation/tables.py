"""Evaluations side by side, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import DescentError
from ..model import DescentModel
from ..system.text import aligned, lay_out, number
from .evaluation import Evaluation


def check_comparable(evaluations: Mapping[str, Evaluation]) -> None:
    """Refuses to set side by side what was not measured alike.

    Args:
        evaluations: evaluations by the name of their family.

    Raises:
        DescentError: if there are none, or if metrics, ``failure_above`` or the number of samples
            differ.
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
                    f"{first!r} and {name!r} cannot be compared: the {what} differ, {one} and "
                    f"{two}; evaluate both on the same samples with the same problem"
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
        DescentError: if the evaluations were not measured alike (see :func:`check_comparable`), or
            if a metric or a family of a further column is unknown.

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
    """
    check_comparable(evaluations)
    columns = columns or {}
    rows = list(evaluations.values())
    reference = rows[0]
    names = reference.metrics if metrics is None else list(metrics)
    for title, values in columns.items():
        if unknown := sorted(set(values) - set(evaluations)):
            raise DescentError(
                f"column {title!r}: expected values for the families {list(evaluations)}, got "
                f"{unknown}"
            )
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
    groups.extend(
        [[title, *(number(values.get(family, "-")) for family in evaluations)]]
        for title, values in columns.items()
    )
    return lay_out(groups, ["", *names, *("" for _ in columns)]) + (
        f"\n{reference.num_samples} samples; AUC up to, and failures above, an error of "
        f"{reference.failure_above:g}"
    )


def columns(
    measured: Mapping[str, tuple[DescentModel, Evaluation]], seconds: Mapping[str, float]
) -> dict[str, dict[str, float | str]]:
    """The columns of a table beside the errors: seconds of training and fit, sizes, and what each
    family sees.

    Args:
        measured: models and their evaluations by the name of the family.
        seconds: how long each training took.
    """
    columns: dict[str, dict[str, float | str]] = {}
    if seconds:
        columns["training s"] = dict(seconds)
    if any(result.status is not None for _, result in measured.values()):
        columns["converged %"] = {
            name: text for name, (_, result) in measured.items() if (text := converged(result))
        }
    columns["ms/sample"] = {
        name: 1000 * result.seconds_per_sample for name, (_, result) in measured.items()
    }
    columns["parameters"] = {name: size(model) for name, (model, _) in measured.items()}
    if seen := {name: text for name, (model, _) in measured.items() if (text := eyes(model))}:
        columns["observation"] = dict(seen)
    return columns


def converged(result: Evaluation) -> str:
    """The share of samples in percent that a classical solver left converged; nothing for a learned
    descent.
    """
    return (
        ""
        if result.status is None
        else f"{100 * result.ended.get('converged', 0) / result.num_samples:.1f}"
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
        errors = result.error().nan_to_num(nan=float("inf"))
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
