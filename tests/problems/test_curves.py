from __future__ import annotations

import math

import pytest
import torch
from torch import Generator

from learned_descent import BackpropThroughTime, Cascade, DescentError, LeastSquares, ShapeError
from learned_descent.problems.curves import RECIPES, Curve, Sinusoid, TwoExponentials
from learned_descent.registry import recipe_for, resolve_problem
from learned_descent.solvers import LevenbergMarquardt, Status

CURVES = {"sinusoid": Sinusoid, "exponentials": TwoExponentials}


@pytest.fixture(params=CURVES)
def problem(request) -> Curve:
    return CURVES[request.param](num_train=64, num_test=16)


def test_values_are_those_of_the_formula():
    problem = Sinusoid(num_values=40)
    t = (torch.arange(40) + 0.5) / 40 - 0.5
    wave = 0.8 * (2 * math.pi * 3 * t + 0.5).cos()  # cos(w + p) = cos(p) cos(w) - sin(p) sin(w)
    x = torch.tensor([[3.0, 0.8 * math.cos(0.5), -0.8 * math.sin(0.5)]])
    torch.testing.assert_close(problem.curve(x), wave[None])
    decays = TwoExponentials(num_values=8).curve(torch.tensor([[math.log(0.5), 0.0, 2.0, 3.0]]))
    t = (torch.arange(8) + 0.5) / 8
    torch.testing.assert_close(decays, (2 * (-t / 0.5).exp() + 3 * (-t).exp())[None])


def test_jacobian_is_the_derivative(problem):
    batch = {name: value.double() for name, value in problem.data("test").items()}
    x = problem.initial(batch)
    torch.testing.assert_close(problem.jacobian(x, batch), LeastSquares.jacobian(problem, x, batch))


def test_updates_are_in_units_of_the_scale(problem):
    x = problem.data("test")["x"]
    ones = torch.ones_like(x)
    torch.testing.assert_close(problem.retract(x, ones) - x, problem.scale.expand_as(x))
    torch.testing.assert_close(problem.local(x, problem.retract(x, ones)), ones)


def test_splits_differ_and_come_back(problem):
    train, val, test = (problem.data(split) for split in ("train", "val", "test"))
    assert len(train["y"]) == 64
    assert len(val["y"]) == len(test["y"]) == 16
    assert not torch.equal(val["x"], test["x"])
    assert torch.equal(problem.data("test")["y"], test["y"])
    other = type(problem)(num_train=64, num_test=16, seed=1)
    assert not torch.equal(other.data("test")["x"], test["x"])


def test_training_batches_are_new_curves_under_noise_of_the_stated_size(problem):
    batch = problem.data("train")
    fresh = problem.augment(batch, Generator().manual_seed(9))
    assert {name: value.shape for name, value in fresh.items()} == {
        name: value.shape for name, value in batch.items()
    }
    assert (fresh["x"] != batch["x"]).all()
    noise = fresh["y"] - problem.curve(fresh["x"])
    assert noise.std().item() == pytest.approx(problem.noise, rel=0.1)
    own = {name: batch[name] for name in ("x", "y", "start")}  # measured, not simulated
    assert problem.augment(own, Generator()) is own


def test_starts_know_nothing_of_the_curve(problem):
    batch = problem.data("test")
    assert torch.equal(problem.initial(batch), batch["start"])
    drawn = problem.initial(batch, Generator().manual_seed(0))
    assert torch.equal(
        drawn,
        problem.initial(
            {**batch, "x": batch["x"] + 1, "y": batch["y"] + 1}, Generator().manual_seed(0)
        ),
    )


def test_errors():
    problem = Sinusoid(num_test=4)
    batch = problem.data("test")
    assert problem.error(
        batch["x"] + torch.tensor([0.25, 1.0, 1.0]), batch
    ).tolist() == pytest.approx([0.25] * 4, abs=1e-5)
    assert list(problem.metrics(batch["x"], batch)) == ["frequency", "curve"]
    problem = TwoExponentials(num_test=4)
    batch = problem.data("test")
    # Neither order nor amplitudes matter
    moved = (batch["x"] + torch.tensor([0.3, 0.4, 1.0, 1.0]))[:, [1, 0, 3, 2]]
    assert problem.error(moved, batch).tolist() == pytest.approx([math.sqrt(0.125)] * 4, abs=1e-5)
    assert problem.metrics(batch["x"], batch)["curve"].max() == 0


def test_least_squares_is_right_near_the_truth_and_wrong_elsewhere():
    problem = Sinusoid(num_test=200)
    batch = problem.data("test")
    solver = LevenbergMarquardt(problem, num_steps=10)
    assert (problem.error(solver(batch, batch["x"]).final, batch) <= problem.failure_above).all()
    solved = problem.error(solver(batch).final, batch) <= problem.failure_above
    assert 0.05 < solved.float().mean() < 0.3
    assert (batch["start"] - batch["x"])[solved, 0].abs().median() < 1


def test_a_short_training_beats_its_start(problem):
    model = Cascade.for_problem(problem, num_steps=2, hidden=16)
    trainer = BackpropThroughTime(iterations=30, batch_size=32, lr=1e-2, ema=0.5, accelerator="cpu")
    trainer.fit(model, problem.data("train"))
    batch = problem.data("train")
    before, after = (
        problem.loss(x, batch).mean() for x in (problem.initial(batch), model(batch).final)
    )
    assert after < 0.9 * before


def test_a_sample_that_is_not_finite_is_invalid_and_alone(problem):
    batch = problem.data("test")
    y = batch["y"].clone()
    y[1, 3] = torch.nan
    solver = LevenbergMarquardt(problem, num_steps=5)
    bad, good = (solver({**batch, "y": values}, keep_states=True) for values in (y, batch["y"]))
    assert solver.status(bad)[1] == Status.INVALID
    assert torch.equal(bad.final[1], batch["start"][1])
    rest = torch.arange(16) != 1
    assert torch.equal(bad.final[rest], good.final[rest])
    model = Cascade.for_problem(problem, num_steps=1)
    torch.nn.init.ones_(model.stages[0].weight)
    assert torch.equal(model({**batch, "y": y}).final[rest], model(batch).final[rest])


def test_a_curve_of_nothing_has_a_status(problem):
    batch = {name: torch.zeros_like(value) for name, value in problem.data("test").items()}
    solver = LevenbergMarquardt(problem, num_steps=5)
    trajectory = solver(batch, keep_states=True)
    assert trajectory.final.isfinite().all()
    assert (solver.status(trajectory) != Status.RUNNING).all()


def test_wrong_shapes_raise_before_the_loop(problem):
    batch = problem.data("test")
    with pytest.raises(
        ShapeError, match=r"y: expected shape \(B, 64\) with B = 16, got \(16, 63\)"
    ):
        LevenbergMarquardt(problem)({**batch, "y": batch["y"][:, :63]})


@pytest.mark.parametrize(
    ("cls", "settings", "message"),
    [
        (
            Sinusoid,
            {"num_values": 32},
            "num_values: expected 33 or more for frequencies up to 16 cycles, got 32",
        ),
        (TwoExponentials, {"num_values": 4}, "num_values: expected 8 or more, got 4"),
        (TwoExponentials, {"num_test": 0}, "num_test=0"),
        (Sinusoid, {"noise": -0.1}, "noise: expected a number >= 0, got -0.1"),
    ],
)
def test_wrong_settings(cls, settings, message):
    with pytest.raises(DescentError, match=message):
        cls(**settings)


def test_by_name():
    for name, cls in CURVES.items():
        assert resolve_problem(name) is cls
        assert recipe_for(cls, "mlp+lm") == RECIPES["mlp+lm"]
        assert cls(**cls(num_values=40, noise=0.3).settings()).settings() == {
            "num_values": 40,
            "noise": 0.3,
        }
