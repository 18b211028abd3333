from __future__ import annotations

import dataclasses
import itertools
import re

import pytest
import torch
from torch import Tensor

from learned_descent import Cascade, DescentError, MnemonicDescent, Observation, SequentialRidge
from learned_descent.observations import Residual
from learned_descent.problems import Analytic

from ..toys import Bent, Line, Rows, Turn

GOLDEN = {
    ("sin", 1): (0.213698519, 0.180010123),
    ("sin", 10): (0.040279395, 0.026156775),
    ("cube", 1): (0.34416553, 0.353428615),
    ("cube", 10): (0.04312725, 0.05889855),
    ("erf", 1): (0.30944183, 0.25736006),
    ("erf", 10): (0.06951067, 0.04632717),
    ("exp", 1): (0.199522516, 0.19245695),
    ("exp", 10): (0.02510868, 0.01253494),
}
"""Function and number of stages: ``|x - x*| / |x*|`` over the training and the test set, as
superviseddescent finds them."""


def cascade(problem, num_steps: int = 1, **settings) -> Cascade:
    return Cascade.for_problem(problem, num_steps=num_steps, **settings).to(torch.float64)


def misfit(model: Cascade, split: str) -> float:
    batch = model.problem.data(split)
    return ((model(batch).final - batch["x"]).norm() / batch["x"].norm()).item()


@pytest.mark.parametrize(("function", "num_steps"), GOLDEN)
def test_golden_values(function, num_steps):
    problem = Analytic(function, spread=0, dtype=torch.float64)
    model = cascade(problem, num_steps, bias=False)
    SequentialRidge(ridge=0, accelerator="cpu").fit(model, problem.data("train"))
    found = misfit(model, "train"), misfit(model, "test")
    assert found == pytest.approx(GOLDEN[function, num_steps], abs=1e-7, rel=0)


def test_golden_values_in_two_dimensions():
    problem = Analytic("sin_erf", spread=0, dtype=torch.float64)
    model = cascade(problem, 10, bias=False)
    SequentialRidge(ridge=0, accelerator="cpu").fit(model, problem.data("train"))
    assert misfit(model, "train") == pytest.approx(0.0002677, abs=4e-7)
    assert misfit(model, "test") == pytest.approx(0.0024807, abs=2.1e-6)


class Still(Line):
    """The line problem with the start of testing in training, too."""

    def initial(self, batch, generator=None):
        return super().initial(batch)


def reference(features: Tensor, updates: Tensor, ridge: float, bias: bool) -> tuple[Tensor, Tensor]:
    """Ridge regression as a least squares problem with more rows: weights ``(F, d)`` and bias
    ``(d,)``."""
    centre = features.mean(0) if bias else torch.zeros_like(features[0])
    middle = updates.mean(0) if bias else torch.zeros_like(updates[0])
    rows = features - centre
    penalty = (ridge * rows.square().mean() * len(rows)) ** 0.5 * torch.eye(rows.shape[1]).to(rows)
    more = torch.zeros(rows.shape[1], updates.shape[1]).to(rows)
    weight = torch.linalg.lstsq(
        torch.cat([rows, penalty]), torch.cat([updates - middle, more])
    ).solution
    return weight, middle - centre @ weight


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("ridge", [0.0, 1e-3, 1.0])
def test_a_stage_is_the_least_squares_solution(ridge, bias, device):
    problem = Still(torch.float64, count=50)
    batch = problem.data("train")
    model = cascade(problem, 2, bias=bias, observation=Bent())
    history = SequentialRidge(ridge=ridge, accelerator=device.type).fit(model, batch)
    model.cpu()
    x = problem.cpu().initial(batch)
    for stage, record in zip(model.stages, history.records):
        features, updates = model.observation(x, batch), batch["x"] - x
        weight, offset = reference(features, updates, ridge, bias)
        torch.testing.assert_close(stage.weight, weight.T, rtol=1e-8, atol=1e-9)
        if bias:
            torch.testing.assert_close(stage.bias, offset, rtol=1e-8, atol=1e-9)
        x = x + features @ weight + offset
        assert record["loss"] == pytest.approx((batch["x"] - x).square().mean().item(), rel=1e-6)


def test_the_bias_is_not_penalised():
    problem = Still(torch.float64)
    model, batch = cascade(problem, observation=Bent()), problem.data("train")
    SequentialRidge(ridge=1e12).fit(model, batch)
    assert model.stages[0].weight.abs().max() < 1e-9
    torch.testing.assert_close(model.stages[0].bias, batch["x"].mean(0))


def test_an_exactly_linear_problem_is_solved_by_one_stage():
    problem = Line(torch.float64)
    model = cascade(problem)
    history = SequentialRidge(ridge=1e-14).fit(model, problem.data("train"))
    assert history.records[0]["loss"] < 1e-12
    assert problem.error(model(problem.data("test")).final, problem.data("test")).max() < 1e-6


@pytest.mark.parametrize("batch_size", [1, 7])
def test_streamed_equals_batched(batch_size):
    problem = Still(torch.float64, count=30)
    models = [cascade(problem, 3, observation=Bent()) for _ in range(2)]
    for model, size in zip(models, (batch_size, 30)):
        SequentialRidge(ridge=1e-4, batch_size=size).fit(model, problem.data("train"))
    for streamed, batched in zip(*(model.parameters() for model in models)):
        torch.testing.assert_close(streamed, batched, rtol=1e-9, atol=1e-11)


def test_a_data_set_equals_a_batch():
    problem = Line(torch.float64)
    models = [cascade(problem, 3) for _ in range(2)]
    for model, samples in zip(models, (problem.data("train"), Rows(problem.data("train")))):
        SequentialRidge(ridge=(1e-4, 1e-2), batch_size=5).fit(model, samples)
    for one, other in zip(*(model.parameters() for model in models)):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    "problem", [Analytic("cube", spread=0), Analytic("exp", spread=0), Still(), Turn()], ids=repr
)
@pytest.mark.parametrize("ridge", [1e-5, 0.1])
def test_training_error_does_not_rise_with_the_stage(problem, ridge):
    problem.initial = lambda batch, generator=None, start=problem.initial: start(batch)
    model, batch = Cascade.for_problem(problem, num_steps=6), problem.data("train")
    records = SequentialRidge(ridge=ridge).fit(model, batch).records
    left = [problem.loss(x, batch).mean().item() for x in model(batch).xs]
    assert [record["loss"] for record in records] == pytest.approx(left[1:], rel=1e-3, abs=1e-7)
    assert all(after <= before * (1 + 1e-5) + 1e-9 for before, after in itertools.pairwise(left))
    assert left[-1] < 0.9 * left[0]


def test_the_ridge_is_chosen_per_stage_on_held_out_samples():
    problem = Still(torch.float64, count=40)
    val = problem.data("val")
    candidates = (1e-6, 1e-2, 10.0)
    model = cascade(problem, 3, observation=Bent())
    records = SequentialRidge(ridge=candidates).fit(model, problem.data("train"), val).records
    for stage, record in enumerate(records):
        losses = []
        for ridge in candidates:  # the stages before were chosen: solve this one again with each
            other = cascade(problem, stage + 1, observation=Bent())
            ridges = [earlier["ridge"] for earlier in records[:stage]] + [ridge]
            x = problem.initial(problem.data("train"))
            for layer, value in zip(other.stages, ridges):
                weight, offset = reference(
                    other.observation(x, problem.data("train")),
                    problem.data("train")["x"] - x,
                    value,
                    True,
                )
                layer.weight.data, layer.bias.data = weight.T, offset
                x = x + other.observation(x, problem.data("train")) @ weight + offset
            losses.append((other(val).final - val["x"]).square().mean().item())
        assert record["ridge"] == candidates[losses.index(min(losses))]
        assert list(record["held_out"].values()) == pytest.approx(
            [loss / min(losses) for loss in losses], rel=1e-6
        )


def noisy(count: int) -> tuple[Still, Batch, Batch]:
    """A few training samples whose targets are mostly noise, which many features learn by heart,
    and held-out ones."""
    problem = Still(torch.float64, count=count)
    draw = torch.Generator().manual_seed(0)
    spoilt = []
    for split in ("train", "val"):
        batch = problem.data(split)
        spoilt.append(
            {
                **batch,
                "x": batch["x"]
                + 3 * torch.randn(batch["x"].shape, generator=draw, dtype=torch.float64),
            }
        )
    return problem, *spoilt


def test_a_held_out_loss_that_rises_is_said(caplog):
    problem, train, val = noisy(12)
    model = cascade(problem, 3, observation=Bent())
    history = SequentialRidge(ridge=1e-8).fit(model, train, val)
    left = [problem.loss(x, val).mean().item() for x in model(val).xs]
    found = [record["held_out_loss"] for record in history.records]
    assert found == [pytest.approx(pair) for pair in itertools.pairwise(left)]
    assert left[1] > left[0]
    [doubt] = history.doubts
    assert doubt.startswith(
        f"SequentialRidge: the held-out loss rises in stage 0, from {left[0]:.3g} to {left[1]:.3g}"
    )
    assert caplog.messages == history.doubts


def test_a_ridge_at_the_edge_of_what_was_compared_is_said():
    problem, train, val = noisy(12)
    history = SequentialRidge(ridge=(1e-6, 1.0)).fit(
        cascade(problem, 1, observation=Bent()), train, val
    )
    edge = (
        "SequentialRidge: the best ridge of stage 0 is 1, the largest one that was compared: give "
        "larger ones too"
    )
    assert edge in history.doubts
    problem = Line(torch.float64, count=40)
    history = SequentialRidge(ridge=(1.0, 10.0)).fit(cascade(problem, 2), problem.data("train"))
    assert history.doubts == [
        (
            "SequentialRidge: the best ridge of stages 0, 1 is 1, the smallest one that was "
            "compared: give smaller ones too"
        )
    ]


def test_a_training_that_goes_well_leaves_no_doubt(caplog):
    problem = Line(torch.float64, count=40)
    history = SequentialRidge(ridge=(1e-8, 1e-6)).fit(
        cascade(problem, 3), problem.data("train"), problem.data("val")
    )
    assert history.records[2]["held_out_loss"][1] < 1e-9, "it is there, and the rest is rounding"
    assert not history.doubts
    assert not caplog.messages


def test_without_validation_samples_a_share_of_the_training_samples_is_held_out():
    problem = Still(torch.float64, count=40)
    batch = problem.data("train")
    model, same = (cascade(problem, 1, observation=Bent()) for _ in range(2))
    record = (
        SequentialRidge(ridge=(1e-3, 1e3), holdout=0.25, batch_size=6).fit(model, batch).records[0]
    )
    kept = {
        name: value[[row for row in range(40) if row % 4 != 3]] for name, value in batch.items()
    }
    SequentialRidge(ridge=record["ridge"]).fit(same, kept)
    torch.testing.assert_close(model.stages[0].weight, same.stages[0].weight, rtol=1e-8, atol=1e-10)
    with pytest.raises(
        DescentError, match=r"ridge: 3 samples are too few to choose among \(0.001, 1000.0\)"
    ):
        SequentialRidge(ridge=(1e-3, 1e3), holdout=0.25).fit(
            model, {name: value[:3] for name, value in batch.items()}
        )


def test_repeats_are_random_starts_of_one_preparation():
    class Counting(Observation):
        prepared, seen = 0, []

        def prepare(self, batch):
            self.prepared += 1
            return batch

        def forward(self, x, batch):
            self.seen.append(x.clone())
            return batch["y"] - x @ torch.ones(2, 3).to(x)

    problem = Line(torch.float64, count=10)
    model = cascade(problem, observation=Counting())
    model.observation.prepared, model.observation.seen = 0, []
    SequentialRidge(ridge=1e-3, repeats=4, batch_size=10).fit(model, problem.data("train"))
    assert model.observation.prepared == 2  # a first look, and the training
    assert len({tuple(x.flatten().tolist()) for x in model.observation.seen if len(x) == 10}) == 4


def test_repeats_follow_from_the_number_of_samples():
    chosen = {count: SequentialRidge(repeats=None).sized(count).repeats for count in (5, 50, 5000)}
    assert chosen == {5: 48, 50: 40, 5000: 4}
    assert SequentialRidge(repeats=3).sized(5).repeats == 3, "what is given stays"
    problem = Line(count=500)
    weights = []
    for repeats in (None, 4):
        model = cascade(problem)
        SequentialRidge(ridge=1e-3, repeats=repeats).fit(model, problem.data("train"))
        weights.append(model.stages[0].weight)
    assert torch.equal(*weights)


def test_passes_draw_afresh_and_augment():
    class Shifted(Still):
        calls = 0

        def augment(self, batch, generator):
            self.calls += 1
            return {
                **batch,
                "x": batch["x"] + torch.randn(1, 2, generator=generator, dtype=torch.float64),
            }

    problem = Shifted(torch.float64)
    model = cascade(problem, observation=Bent())
    SequentialRidge(ridge=1e-3, passes=3).fit(model, problem.data("train"))
    assert problem.calls == 4  # a first look, and three passes
    first = model.stages[0].bias.clone()
    SequentialRidge(ridge=1e-3, augment=False).fit(model, problem.data("train"))
    assert problem.calls == 4
    assert not torch.allclose(first, model.stages[0].bias)


def test_the_seed_decides_and_a_second_fit_forgets_the_first():
    problem, trainer = Line(torch.float64), SequentialRidge(ridge=1e-3, repeats=2)
    models = [cascade(problem, 2) for _ in range(3)]
    trainer.fit(models[0], problem.data("train"), seed=1)
    trainer.fit(models[1], problem.data("val"), seed=5)
    trainer.fit(models[1], problem.data("train"), seed=1)
    trainer.fit(models[2], problem.data("train"), seed=2)
    first, again, other = (model.stages[0].weight for model in models)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_no_global_random_state_is_touched():
    problem = Line()
    state = torch.get_rng_state()
    SequentialRidge(ridge=1e-3).fit(
        Cascade.for_problem(problem, observation=Bent(), num_steps=1), problem.data("train")
    )
    fresh = torch.get_rng_state()
    torch.set_rng_state(state)
    # Weights of fresh layers come from PyTorch's own state
    Cascade.for_problem(problem, observation=Bent(), num_steps=1)
    assert torch.equal(torch.get_rng_state(), fresh)


def test_a_singular_system_names_the_ridge_to_raise():
    problem = Still(torch.float64)
    eyes = Residual(lambda x: torch.cat([x, x[:, :1]], 1), "same")
    batch = {**problem.data("train"), "same": torch.zeros(24, 3, dtype=torch.float64)}
    problem.data = lambda split: batch
    model = cascade(problem, observation=eyes)
    message = (
        "ridge=0: the system of stage 0 with 3 features from 24 rows is not positive definite; "
        "raise ridge (for example"
    )
    with pytest.raises(DescentError, match=re.escape(message)):
        SequentialRidge(ridge=0).fit(model, batch)
    records = SequentialRidge(ridge=(0.0, 0.1)).fit(model, batch).records
    assert {record["ridge"] for record in records} == {0.1}, (
        "of several, one that is enough will do"
    )


def test_fewer_rows_than_features_need_a_ridge():
    problem = Still(torch.float64, count=4)
    model = cascade(problem, observation=Bent())
    with pytest.raises(DescentError, match="6 features from 4 rows is not positive definite"):
        SequentialRidge(ridge=0).fit(model, problem.data("train"))
    assert SequentialRidge(ridge=1e-3).fit(model, problem.data("train")).records[0]["loss"] < 1


@pytest.mark.parametrize(
    "model",
    [MnemonicDescent.for_problem(Line(), hidden=4), Cascade.for_problem(Line(), hidden=4)],
    ids=["mdm", "mlp"],
)
def test_models_without_a_closed_form_are_refused(model):
    with pytest.raises(
        DescentError,
        match=r"SequentialRidge trains linear stages, such as .*, got .*: use BackpropThroughTime",
    ):
        SequentialRidge().fit(model, model.problem.data("train"))


@pytest.mark.parametrize(
    ("rows", "batch_size", "named"), [([3, 17], 64, r"\[3, 17\]"), ([17], 8, r"\[17\]")]
)
def test_samples_that_are_not_finite_are_named(rows, batch_size, named):
    batch = Line().data("train")
    batch["y"][rows] = torch.nan
    with pytest.raises(DescentError, match=rf"samples {named}: expected finite numbers in 'y'"):
        SequentialRidge(ridge=1e-3, batch_size=batch_size).fit(Cascade.for_problem(Line()), batch)


def test_features_that_are_not_finite_are_named():
    class Broken(Observation):
        def forward(self, x, batch):
            return batch["y"] / (batch["y"] != bad)

    problem = Line()
    bad = problem.data("train")["y"][5]
    model = Cascade(problem, Broken(), 3, 2)
    with pytest.raises(
        DescentError, match=r"samples \[5\]: expected finite numbers in 'features of stage 0'"
    ):
        SequentialRidge(ridge=1e-3).fit(model, problem.data("train"))


def test_no_samples():
    with pytest.raises(DescentError, match="samples: expected at least one sample, got none"):
        SequentialRidge().fit(
            Cascade.for_problem(Line()), {"x": torch.zeros(0, 2), "y": torch.zeros(0, 3)}
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ridge": -1.0}, "ridge: expected a number >= 0, got -1"),
        ({"ridge": (0.1, float("nan"))}, "ridge: expected a number >= 0, got nan"),
        ({"ridge": ()}, "ridge"),
        ({"repeats": 0}, "repeats: expected 1 or more, got 0"),
        ({"passes": 0}, "passes: expected 1 or more, got 0"),
        ({"batch_size": 0}, "batch_size: expected 1 or more, got 0"),
        ({"holdout": 1.0}, r"holdout: expected a share in \(0, 1\), got 1"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(DescentError, match=message):
        SequentialRidge(**settings)


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SequentialRidge().ridge = 1.0
