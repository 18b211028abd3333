from __future__ import annotations

import json
import math
import weakref
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from learned_descent import Cascade, DescentError, Observation, Problem, ShapeError
from learned_descent.data.samples import Batch
from learned_descent.evaluation.evaluation import Evaluation, auc, ced, evaluate, failure_rate
from learned_descent.problems import Analytic
from learned_descent.solvers import LevenbergMarquardt, Polished, Status

ERRORS = torch.tensor([3.0, 1.0, torch.nan, 2.0, torch.inf], dtype=torch.float64)


class Halving(Observation):
    """Sees the target, so that the stage ``0.5 * features`` halves the update that is left."""

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        return batch["y"] - x


class Line(Problem):
    """Two numbers that start at zero; the error is stated in two units."""

    failure_above = 2.0

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("start", torch.zeros(2))

    def initial(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        return self.start.expand(len(batch["y"]), -1)

    def target(self, batch: Batch) -> Tensor:
        return batch["y"]

    def observation(self) -> Observation:
        return Halving()

    def data(self, split: str) -> Batch:
        return {"y": torch.tensor([[3.0, 4.0], [6.0, 8.0], [0.0, 0.0], [0.0, 40.0], [30.0, 40.0]])}

    def metrics(self, x: Tensor, batch: Batch) -> dict[str, Tensor]:
        error = self.error(x, batch)
        return {"m": error, "km": error / 1000}


class Rows(Dataset[dict[str, Tensor]]):
    """The same samples one by one."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return len(self.batch["y"])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: value[index] for name, value in self.batch.items()}


@pytest.fixture
def model() -> Cascade:
    model = Cascade.for_problem(Line(), num_steps=3)
    for stage in model.stages:
        stage.weight.data = 0.5 * torch.eye(2)
    return model


def made(
    errors: Mapping[str, Tensor], above: float = 2.0, *, xs: Tensor | None = None
) -> Evaluation:
    return Evaluation(
        errors, xs, failure_above=above, seconds_per_sample=1e-3, batch_size=4, device="cpu"
    )


def test_golden_statistics_of_a_distribution_computed_by_hand() -> None:
    thresholds = torch.tensor([2.5, 0.0, 1.0, 0.999, 3.0, torch.inf])
    assert ced(ERRORS, thresholds).tolist() == [0.4, 0.0, 0.2, 0.0, 0.6, 0.6]
    # up to 4: the curve is 0 on [0, 1), .2 on [1, 2), .4 on [2, 3), .6 on [3, 4): 1.2 / 4
    assert auc(ERRORS, 4.0) == pytest.approx(0.3, abs=1e-15)
    assert auc(ERRORS, 2.5) == pytest.approx((0.2 + 0.2) / 2.5, abs=1e-15)
    # An error at the threshold is no failure
    assert failure_rate(ERRORS, 2.0) == pytest.approx(0.6)
    assert failure_rate(ERRORS, 1.999) == pytest.approx(0.8)
    assert failure_rate(ERRORS, 100.0) == pytest.approx(0.4)  # NaN and infinity
    assert auc(torch.zeros(3), 1.0) == 1.0
    assert auc(torch.full((3,), 5.0), 1.0) == 0.0


def test_auc_is_the_integral_of_the_curve() -> None:
    errors = torch.rand(200, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 2
    grid = (torch.arange(200_000, dtype=torch.float64) + 0.5) * (0.3 / 200_000)
    assert auc(errors, 0.3) == pytest.approx(float(ced(errors, grid).mean()), abs=1e-5)
    assert failure_rate(errors, 0.3) == pytest.approx(
        1 - float(ced(errors, torch.tensor([0.3], dtype=torch.float64)))
    )


@pytest.mark.parametrize("threshold", [0.0, -1.0, math.nan, math.inf])
def test_a_threshold_that_is_not_positive_is_refused(threshold: float) -> None:
    for call in (auc, failure_rate):
        with pytest.raises(DescentError, match="threshold: expected a positive finite number, got"):
            call(ERRORS, threshold)
    with pytest.raises(DescentError, match="failure_above: expected a positive finite number"):
        made({"m": torch.ones(2, 3)}, threshold)


def test_no_errors_and_errors_of_another_shape_are_refused() -> None:
    with pytest.raises(DescentError, match="errors: expected at least one, got none"):
        auc(torch.zeros(0), 1.0)
    with pytest.raises(ShapeError, match=r"errors: expected shape \(N\)"):
        failure_rate(torch.zeros(2, 2), 1.0)
    with pytest.raises(ShapeError, match=r"thresholds: expected shape \(M\)"):
        ced(ERRORS, torch.tensor(1.0))


def test_errors_of_every_step_and_their_statistics(model: Cascade) -> None:
    result = evaluate(model, Line().data("test"), batch_size=2)
    start = torch.tensor([5.0, 10.0, 0.0, 40.0, 50.0], dtype=torch.float64)
    expected = torch.stack([start, start / 2, start / 4, start / 8])
    torch.testing.assert_close(result.errors["m"], expected)
    torch.testing.assert_close(result.errors["km"], expected / 1000, atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(result.xs[3], Line().data("test")["y"] * 7 / 8)
    assert (result.metrics, result.num_samples, result.num_steps) == (["m", "km"], 5, 3)
    assert (result.batch_size, result.device, result.failure_above) == (2, "cpu", 2.0)
    assert result.mean() == pytest.approx(105 / 40)
    assert result.mean(step=0) == 21.0
    assert result.median() == 10 / 8
    assert result.median("km", 0) == pytest.approx(0.01)
    assert result.failure_rate() == pytest.approx(2 / 5)  # 5 and 6.25
    assert result.auc() == pytest.approx((2 - 5 / 8 + 2 - 10 / 8 + 2) / 2 / 5)
    assert result.auc(step=0) == pytest.approx(0.2)


def test_the_median_of_an_even_number_lies_between_the_middle_two() -> None:
    errors = torch.tensor([[1.0, 4.0, 2.0, torch.nan], [torch.inf, torch.inf, 0.0, torch.nan]])
    result = made({"m": errors})
    assert result.median(step=0) == 3.0
    assert result.median(step=1) == math.inf
    assert result.mean(step=0) == math.inf


def test_data_sets_and_batch_sizes_change_nothing(model: Cascade) -> None:
    data = Line().data("test")
    whole = evaluate(model, data, batch_size=100)
    assert whole.batch_size == 5
    for other in (evaluate(model, data, batch_size=1), evaluate(model, Rows(data), batch_size=2)):
        assert torch.equal(whole.xs, other.xs)
        assert all(torch.equal(whole.errors[name], other.errors[name]) for name in whole.metrics)


def test_the_model_is_left_as_it_was(model: Cascade) -> None:
    model.train()
    model.observation.eval()
    result = evaluate(model, Line().data("test"))
    assert model.training
    assert model.stages[0].training
    assert not model.observation.training
    assert not result.xs.is_inference()
    assert result.errors["m"].dtype == torch.float64


def test_it_runs_on_the_device_and_comes_back(model: Cascade, device: torch.device) -> None:
    result = evaluate(model, Line().data("test"), batch_size=2, device=device)
    assert result.device == str(device)
    assert result.xs.device.type == "cpu"
    assert next(model.parameters()).device.type == "cpu"
    assert model.problem.start.device.type == "cpu"


def test_the_model_is_in_evaluation_mode_and_restored_after_an_error(model: Cascade) -> None:
    seen: list[bool] = []

    def fails(x: Tensor, batch: Batch) -> dict[str, Tensor]:
        seen.append(model.training or torch.is_grad_enabled())
        raise RuntimeError("broken metric")

    model.problem.metrics = fails
    with pytest.raises(DescentError, match=r"Line.metrics failed with RuntimeError: broken metric"):
        evaluate(model, Line().data("test"))
    assert seen == [False]
    assert model.training


def test_the_time_leaves_out_the_warm_up_and_counts_every_sample_once(
    model: Cascade, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 3.0, 100.0, 104.0, 200.0, 201.0])
    monkeypatch.setattr(
        "learned_descent.evaluation.evaluation.time.perf_counter", lambda: next(clock)
    )
    runs: list[int] = []
    model.observation.register_forward_hook(lambda module, inputs, output: runs.append(len(output)))
    assert evaluate(model, Line().data("test"), batch_size=2).seconds_per_sample == (3 + 4 + 1) / 5
    assert runs == [2] * 6 + [2] * 3 + [1] * 3  # the first batch twice


def test_nothing_but_parameters_and_errors_is_kept(model: Cascade) -> None:
    alive: list[int] = []
    features: list[weakref.ref[Tensor]] = []

    def watch(module: Observation, inputs: object, output: Tensor) -> None:
        alive.append(sum(reference() is not None for reference in features))
        features.append(weakref.ref(output))

    model.observation.register_forward_hook(watch)
    data = {"y": Line().data("test")["y"].repeat(8, 1)}
    evaluate(model, data, batch_size=1)
    assert len(alive) == 3 * 41
    assert max(alive) <= 3


def test_bad_requests_are_refused(model: Cascade) -> None:
    data = Line().data("test")
    with pytest.raises(DescentError, match="batch_size: expected 1 or more samples, got 0"):
        evaluate(model, data, batch_size=0)
    with pytest.raises(DescentError, match="samples: expected at least one sample, got none"):
        evaluate(model, {"y": data["y"][:0]})
    result = evaluate(model, data)
    with pytest.raises(DescentError, match=r"metric: expected one of \['m', 'km'\], got 'mm'"):
        result.mean("mm")
    with pytest.raises(DescentError, match=r"step: expected 0 \(the start\) to 3, or -1"):
        result.auc(step=4)
    with pytest.raises(DescentError, match="errors: expected at least one metric"):
        made({})
    with pytest.raises(ShapeError, match="errors of metric 'b': expected shape"):
        made({"a": torch.ones(2, 3), "b": torch.ones(2, 4)})
    with pytest.raises(ShapeError, match="xs: expected shape"):
        made({"a": torch.ones(2, 3)}, xs=torch.ones(2, 4, 1))
    model.problem.metrics = lambda x, batch: {"m": x}
    with pytest.raises(ShapeError, match="metric 'm' of Line: expected shape"):
        evaluate(model, data)


def test_stored_and_restored_results_are_equal(model: Cascade) -> None:
    result = evaluate(model, Line().data("test"), batch_size=2)
    stored = result.to_json()
    assert stored["summary"]["m"] == {
        "mean": result.mean(),
        "median": result.median(),
        "auc": result.auc(),
        "failure_rate": result.failure_rate(),
    }
    restored = Evaluation.from_json(json.loads(json.dumps(stored, allow_nan=False)))
    assert restored.xs is None
    assert restored.metrics == result.metrics
    assert all(torch.equal(restored.errors[name], result.errors[name]) for name in result.metrics)
    assert restored.to_json() == stored


def test_errors_that_are_not_finite_are_stored_as_strict_json() -> None:
    result = made({"m": torch.tensor([[1.0, 1.0], [torch.nan, 0.5]], dtype=torch.float64)})
    stored = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert stored["errors"]["m"] == [[1.0, 1.0], [None, 0.5]]
    assert stored["summary"]["m"]["mean"] is None
    restored = Evaluation.from_json(stored)
    assert restored.errors["m"][1].tolist() == [math.inf, 0.5]
    assert (restored.auc(), restored.failure_rate()) == (result.auc(), result.failure_rate())


@pytest.mark.parametrize(
    "change",
    [
        lambda stored: stored.pop("failure_above"),
        lambda stored: stored.update(errors=[1, 2]),
        lambda stored: stored.update(errors={"m": [[1.0, 2.0], [1.0]]}),
        lambda stored: stored.update(errors={}),
        lambda stored: stored.update(seconds_per_sample="soon"),
    ],
)
def test_a_damaged_store_is_refused(change) -> None:
    stored = made({"m": torch.ones(2, 3)}).to_json()
    change(stored)
    with pytest.raises(DescentError, match="stored evaluation: cannot be read"):
        Evaluation.from_json(stored)


def test_the_area_agrees_with_numpy_on_float32_errors() -> None:
    errors = torch.rand(50, generator=torch.Generator().manual_seed(1))
    edges = np.concatenate([[0.0], np.sort(errors.double().numpy()[errors.numpy() < 0.5]), [0.5]])
    steps = np.arange(len(edges) - 1) / 50
    assert auc(errors, 0.5) == pytest.approx(float((np.diff(edges) * steps).sum() / 0.5), abs=1e-12)


def test_how_a_solver_left_each_sample_is_kept_and_stored() -> None:
    problem = Analytic("exp")
    samples = dict(problem.data("test"))
    samples["y"] = samples["y"].clone()
    samples["y"][7] = torch.nan
    solver = LevenbergMarquardt(problem, num_steps=30)
    result = evaluate(solver, samples, batch_size=16)
    assert result.status is not None
    assert result.status.shape == (55,)
    assert result.status[7] == Status.INVALID
    assert result.ended == {"converged": 54, "invalid": 1}
    stored = json.loads(json.dumps(result.to_json()))
    assert stored["ended"] == result.ended
    assert stored["invalid"] == {"residuals are not finite: 'y' holds NaN or infinity": 1}
    assert torch.equal(Evaluation.from_json(stored).status, result.status)
    polished = evaluate(Polished(Cascade.for_problem(problem), solver), samples, batch_size=16)
    assert polished.ended == result.ended
    assert polished.num_steps == 34


def test_a_learned_descent_has_no_status(model: Cascade) -> None:
    result = evaluate(model, model.problem.data("test"))
    assert result.status is None
    assert result.ended == {}
    assert "status" not in result.to_json()


def test_a_status_of_another_number_of_samples_is_refused() -> None:
    with pytest.raises(
        ShapeError, match=r"status \(N=3\): expected shape \(3,\), got \(2,\)|status"
    ):
        Evaluation(
            {"m": torch.ones(2, 3)}, None, 2.0, 1e-3, 4, "cpu", torch.zeros(2, dtype=torch.long)
        )


def test_trainings_are_pooled_and_their_figures_are_means() -> None:
    one = made({"m": torch.tensor([[4.0, 4.0], [1.0, 3.0]])})
    two = made({"m": torch.tensor([[4.0, 4.0], [0.5, 1.5]])})
    both = Evaluation.pooled([one, two])
    assert (both.trainings, both.num_samples, both.num_steps) == (2, 2, 1)
    for figure in (Evaluation.mean, Evaluation.auc, Evaluation.failure_rate):
        assert figure(both) == pytest.approx((figure(one) + figure(two)) / 2)
    assert both.by_training().tolist() == [[1.0, 3.0], [0.5, 1.5]]
    assert Evaluation.from_json(json.loads(json.dumps(both.to_json()))).trainings == 2
    assert "trainings" not in one.to_json()
    assert Evaluation.pooled([both, one]).trainings == 3


def test_only_trainings_that_were_measured_alike_are_pooled() -> None:
    one = made({"m": torch.ones(2, 3)})
    with pytest.raises(DescentError, match="evaluations: expected one for each training, got none"):
        Evaluation.pooled([])
    with pytest.raises(
        DescentError, match="measured alike, got 2 steps on 3 samples beside 1 on 3, or other"
    ):
        Evaluation.pooled([one, made({"m": torch.ones(3, 3)})])
    with pytest.raises(
        DescentError, match="trainings: expected a whole part of the 3 errors for each, got 2"
    ):
        replace(one, trainings=2)
