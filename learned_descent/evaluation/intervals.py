"""How sure a figure is: its interval over samples, its spread over trainings, and a paired test of
two families.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .evaluation import Evaluation, check_comparable

RESAMPLES = 2000
"""How often the bootstrap draws the samples anew."""

FLIPS = 9999
"""How many flips of signs the paired test draws; it tries all where there are no more."""

_NORMAL = 1.96
"""Standard deviations that hold 95 % of a normal distribution."""

_LARGE = 1e100
"""Stands for an infinite error: between infinities there are no quantiles."""

_AT_ONCE = 2**22
"""How many errors are drawn at once."""

_KEPT = 256
"""How many results are kept by their errors: a comparison asks for each in its table, its file and
its report."""

_Array: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[Any]]


class Estimate(NamedTuple):
    """A figure of one family, and how sure it is.

    Attributes:
        value: the figure; of several trainings, their mean (for a median: that of all together).
        low: the lower end of its 95 % interval over samples; NaN where a single sample gives none.
        high: the upper end.
        spread: its standard deviation over trainings; ``None`` for one training.
    """

    value: float
    low: float
    high: float
    spread: float | None = None


class PairedTest(NamedTuple):
    """Families against the best of them, on the same samples.

    Attributes:
        best: the family of the largest AUC.
        p: how probable a difference in AUC as large as that of each other family is by chance.
    """

    best: str
    p: Mapping[str, float]


def estimates(result: Evaluation, metric: str | None = None) -> dict[str, Estimate]:
    """The mean, the median, the AUC and the failure rate of a family, with 95 % intervals over
    samples: percentiles of a bootstrap that draws samples with all their trainings.

    The draws are the same in every call, so that equal results have equal intervals. The interval
    of the failure rate is Wilson's, for where nothing fails no draw fails either.

    Args:
        result: what one family reached.
        metric: the name of a metric; ``None`` for the main one.

    Returns:
        An estimate for each of ``mean``, ``median``, ``auc`` and ``failure_rate``; the last two in
        0..1.

    Raises:
        DescentError: if there is no such metric.

    References:
        B. Efron and R. Tibshirani. An introduction to the bootstrap. Chapman and Hall 1993, section
        13.3.

    Example:
        >>> import torch
        >>> errors = {"error": torch.stack([torch.full((200,), 9.0), torch.arange(200.0) / 100])}
        >>> sdm = Evaluation(errors, None, failure_above=2.0, seconds_per_sample=1e-3,
        ...     batch_size=2, device="cpu")
        >>> mean = estimates(sdm)["mean"]
        >>> mean.low < mean.value < mean.high, round(mean.high - mean.low, 2)
        (True, 0.16)
    """
    errors = np.nan_to_num(result.by_training(metric).double().numpy(), nan=np.inf, posinf=np.inf)
    errors = errors.clip(max=_LARGE)
    above = result.failure_above
    failures = result.failure_rate(metric)
    ends = [
        *_drawn(errors.tobytes(), result.trainings, above),
        wilson(failures * result.num_samples, result.num_samples),
    ]
    values = (result.mean(metric), result.median(metric), result.auc(metric), failures)
    each = [*_figures(errors, above, -1), (errors > above).mean(-1)]
    several = result.trainings > 1
    return {
        name: Estimate(value, *interval, float(rows.std(ddof=1)) if several else None)
        for name, value, interval, rows in zip(
            ("mean", "median", "auc", "failure_rate"), values, ends, each
        )
    }


@lru_cache(_KEPT)
def _drawn(errors: bytes, trainings: int, above: float) -> tuple[tuple[float, float], ...]:
    """The interval of each of :func:`_figures`, of errors in float64, ``(S, N)``."""
    from scipy.stats import bootstrap  # slow to import

    values = np.frombuffer(errors).reshape(trainings, -1)
    if values.shape[1] < 2:
        return ((math.nan, math.nan),) * 3
    low, high = bootstrap(
        (np.arange(values.shape[1]),),
        lambda rows, axis: _figures(values[:, rows], above, (0, axis)),
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, _AT_ONCE // values.size),
        method="percentile",
        random_state=0,
    ).confidence_interval
    return tuple(zip(map(_unbounded, low), map(_unbounded, high)))


def _unbounded(end: float) -> float:
    """The end of an interval, infinite where infinite errors made it."""
    return float("inf") if end > _LARGE / 1e10 else float(end)


def _figures(errors: _Array, above: float, axis: int | tuple[int, ...]) -> _Array:
    """Mean, median and AUC along axes of errors, ``(3, ...)``."""
    return np.stack(
        [
            errors.mean(axis),
            np.median(errors, axis),
            (above - errors).clip(min=0).mean(axis) / above,
        ]
    )


def wilson(part: float, count: int) -> tuple[float, float]:
    """The lower and upper end of the 95 % confidence interval of a share.

    Args:
        part: how many, of several trainings their mean.
        count: out of how many, 1 or more.

    References:
        E. Wilson. Probable inference, the law of succession, and statistical inference. JASA 22,
        1927.

    Example:
        >>> [round(end, 3) for end in wilson(0, 50)]
        [0.0, 0.071]
    """
    square = _NORMAL**2
    middle = (part + square / 2) / (count + square)
    half = _NORMAL * math.sqrt(part * (count - part) / count + square / 4) / (count + square)
    return max(0.0, middle - half), min(1.0, middle + half)


def against_best(evaluations: Mapping[str, Evaluation], metric: str | None = None) -> PairedTest:
    """Whether each family differs from the best one by more than chance: a paired permutation test
    of the AUC, which flips signs of the differences of single samples.

    Several trainings of a family count by their mean on each sample. The p-values are corrected for
    the number of families.

    Args:
        evaluations: evaluations by the name of their family, on the same samples.
        metric: the name of a metric; ``None`` for the main one.

    Raises:
        DescentError: if the evaluations were not measured alike, or there is no such metric.

    References:
        P. Good. Permutation, parametric and bootstrap tests of hypotheses. Springer 2005; S. Holm.
        A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics
        6, 1979.

    Example:
        >>> import torch
        >>> def made(errors):
        ...     return Evaluation({"error": torch.stack([errors, errors])}, None, failure_above=2.0,
        ...         seconds_per_sample=1e-3, batch_size=2, device="cpu")
        >>> errors = torch.linspace(0.5, 1.5, 50)
        >>> found = against_best({"sdm": made(errors + 0.1), "mdm": made(errors),
        ...     "same": made(errors)})
        >>> found.best, {name: round(p, 3) for name, p in found.p.items()}
        ('mdm', {'sdm': 0.0, 'same': 1.0})
    """
    check_comparable(evaluations)
    best = max(evaluations, key=lambda name: evaluations[name].auc(metric))
    area = {name: _areas(result, metric) for name, result in evaluations.items()}
    chances = {
        name: _chance((area[best] - area[name]).tobytes()) for name in evaluations if name != best
    }
    return PairedTest(best, _holm(chances))


@lru_cache(_KEPT)
def _chance(differences: bytes) -> float:
    """How probable a mean as far from 0 is by chance, of differences in float64, ``(N,)``."""
    from scipy.stats import permutation_test  # slow to import

    values = np.frombuffer(differences)
    if len(values) < 2:  # either sign is as far
        return 1.0
    found = permutation_test(
        (values,),
        lambda flipped, axis: flipped.mean(axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=FLIPS,
        batch=max(1, _AT_ONCE // len(values)),
        random_state=0,
    )
    return float(found.pvalue)


def _areas(result: Evaluation, metric: str | None) -> _Array:
    """What each sample adds to the AUC, in 0..1, ``(N,)``."""
    above = result.failure_above
    left = (above - result.by_training(metric).double().nan_to_num(nan=float("inf"))) / above
    found: _Array = left.clamp(min=0).mean(0).numpy()
    return found


def _holm(chances: Mapping[str, float]) -> dict[str, float]:
    """The p-values of several tests, each corrected for all (Holm)."""
    corrected, largest = {}, 0.0
    for place, name in enumerate(sorted(chances, key=lambda name: chances[name])):
        largest = max(largest, min(1.0, (len(chances) - place) * chances[name]))
        corrected[name] = largest
    return {name: corrected[name] for name in chances}
