"""Intervals that hold what they promise, and a test that is level."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from learned_descent import DescentError
from learned_descent.evaluation.evaluation import Evaluation
from learned_descent.evaluation.intervals import Estimate, against_best, estimates


def made(errors: Tensor, trainings: int = 1) -> Evaluation:
    stored = {"error": torch.stack([errors, errors]).double()}
    return Evaluation(stored, None, 2.0, 1e-3, 4, "cpu", trainings=trainings)


def test_an_interval_of_the_mean_is_that_of_the_normal_distribution() -> None:
    errors = torch.rand(400, generator=torch.Generator().manual_seed(0)) + 0.5
    mean = estimates(made(errors))["mean"]
    half = 1.96 * float(errors.std()) / math.sqrt(400)
    assert mean.value == pytest.approx(float(errors.mean()))
    assert (mean.high - mean.low) / 2 == pytest.approx(half, rel=0.05)


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    draws = torch.rand(60, 50, generator=torch.Generator().manual_seed(0)) + 0.5
    found = [estimates(made(errors)) for errors in draws]
    for figure, truth in (("mean", 1.0), ("median", 1.0), ("auc", 0.5), ("failure_rate", 0.0)):
        held = sum(found_[figure].low <= truth <= found_[figure].high for found_ in found)
        assert held >= 52


def test_equal_results_have_equal_intervals_whatever_their_order_of_metrics() -> None:
    errors = torch.linspace(0, 3, 30)
    assert estimates(made(errors)) == estimates(made(errors), "error")
    with pytest.raises(DescentError, match=r"metric: expected one of \['error'\], got 'other'"):
        estimates(made(errors), "other")


def test_infinite_errors_leave_what_is_finite() -> None:
    found = estimates(made(torch.cat([torch.linspace(0.5, 1.0, 30), torch.tensor([torch.nan])])))
    assert found["mean"].value == found["mean"].high == math.inf
    assert 0.5 < found["median"].low < found["median"].high < 1.0
    assert found["failure_rate"].low < 1 / 31 < found["failure_rate"].high


def test_a_single_sample_has_no_interval() -> None:
    found = estimates(made(torch.ones(1)))
    assert found["mean"].value == 1.0
    assert math.isnan(found["mean"].low)
    assert math.isnan(found["auc"].high)


def test_where_nothing_fails_something_may() -> None:
    assert estimates(made(torch.ones(50)))["failure_rate"][:3] == pytest.approx(
        (0, 0, 0.0713), abs=1e-4
    )


def test_trainings_are_drawn_together_and_have_a_spread() -> None:
    errors = torch.linspace(0.5, 1.5, 100)
    alike = estimates(made(torch.cat([errors, errors, errors]), 3))
    once = estimates(made(errors))
    assert alike["mean"][:3] == pytest.approx(once["mean"][:3])  # not narrower by copies
    assert alike["mean"].spread == 0.0
    assert once["mean"] == Estimate(*once["mean"][:3], None)
    apart = estimates(made(torch.cat([errors, errors + 0.2]), 2))
    assert apart["mean"].spread == pytest.approx(0.2 / math.sqrt(2))
    assert apart["mean"].value == pytest.approx(1.1)


def test_the_test_tells_a_difference_from_none_in_both_directions() -> None:
    errors = torch.rand(80, generator=torch.Generator().manual_seed(0))
    noise = 0.5 * torch.randn(80, generator=torch.Generator().manual_seed(1))
    far = {"near": made(errors + 0.5), "far": made(errors + 0.8)}
    assert against_best(far).best == "near"
    assert against_best(far).p["far"] < 0.001
    level = against_best({"one": made(errors + 0.5), "two": made((errors + 0.5 + noise).abs())})
    assert level.p[next(iter(level.p))] > 0.05
    assert against_best({"one": made(errors)}).p == {}


def test_few_samples_are_tested_exactly_and_several_families_corrected() -> None:
    errors = torch.tensor([0.5, 0.6, 0.7, 0.8])
    two = against_best({"near": made(errors), "far": made(errors + 0.1)})
    assert two.p == {"far": pytest.approx(2 / 16)}
    three = against_best({"near": made(errors), "b": made(errors + 0.1), "c": made(errors)})
    assert three.p == {"b": pytest.approx(2 * 2 / 16), "c": 1.0}


def test_a_single_sample_tells_no_family_from_another() -> None:
    assert against_best({"near": made(torch.ones(1)), "far": made(torch.full((1,), 1.5))}).p == {
        "far": 1.0
    }


def test_equal_errors_are_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = torch.linspace(0.25, 1.25, 33)
    both = {"near": made(errors), "far": made(errors + 0.1)}
    found = [estimates(result) for result in both.values()], against_best(both)
    for name in ("bootstrap", "permutation_test"):
        monkeypatch.delattr(f"scipy.stats.{name}")
    again = {name: Evaluation.from_json(result.to_json()) for name, result in both.items()}
    assert ([estimates(result) for result in again.values()], against_best(again)) == found


def test_what_was_not_measured_alike_is_not_tested() -> None:
    with pytest.raises(DescentError, match="the number of samples differ"):
        against_best({"one": made(torch.ones(3)), "two": made(torch.ones(4))})
    pooled = made(torch.ones(6), 2)
    assert against_best({"one": made(torch.ones(3)), "two": pooled}).p == {"two": 1.0}
