"""Floating-point starts, and geometry outside autocast."""

from __future__ import annotations

import pytest
import torch

from learned_descent import Cascade, DescentError
from learned_descent.problems import Analytic, Pose
from learned_descent.solvers import (
    External,
    GaussNewton,
    LevenbergMarquardt,
    Polished,
    ScipyLeastSquares,
    Solver,
    Status,
)

from ..solvers.toys import decay, decays
from ..toys import Line

MODELS = {
    "gn": GaussNewton,
    "lm": LevenbergMarquardt,
    "scipy": ScipyLeastSquares,
    "external": lambda problem: External(problem, lambda x0, batch: x0 / 2),
    "polished": lambda problem: Polished(
        External(problem, lambda x0, batch: x0 / 2), GaussNewton(problem)
    ),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_start_of_whole_numbers_is_taken_as_floating_point(name, dtype):
    model, batch = MODELS[name](decay()), decays(dtype)
    whole = torch.tensor([[2, 1]]).repeat(5, 1)
    xs = model(batch, whole).xs
    assert xs.dtype == dtype
    assert torch.equal(xs, model(batch, whole.to(dtype)).xs)
    again = model.descend(model.observation.prepare(batch), whole).xs
    torch.testing.assert_close(again, xs, check_dtype=False)
    with pytest.raises(
        DescentError,
        match=r"floating-point numbers from Formula.initial\(batch\), got torch.int64: .*'start'",
    ):
        model({**batch, "start": whole})


def test_learned_models_take_whole_numbers_too():
    problem = Line()
    batch = problem.data("test")
    xs = Cascade.for_problem(problem)(batch, torch.ones(24, 2, dtype=torch.long)).xs
    assert torch.equal(xs[0], torch.ones(24, 2))


@pytest.mark.parametrize("solver", [GaussNewton, LevenbergMarquardt, ScipyLeastSquares])
def test_a_batch_of_whole_numbers(solver):
    final = solver(Analytic("exp"))({"y": torch.tensor([[2], [3]])}).final
    torch.testing.assert_close(final, torch.tensor([[2.0], [3.0]]).log())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("solver", [GaussNewton, LevenbergMarquardt])
def test_half_precision_is_served_or_said(solver, dtype):
    batch = {name: value.to(dtype) for name, value in decays().items()}
    start = batch["start"].float()
    widened = {name: value.float() for name, value in batch.items()}
    assert torch.equal(solver(decay())(batch, start).final, solver(decay())(widened, start).final)
    with pytest.raises(
        DescentError, match=rf"a classical solver works in float32 or float64, got {dtype}"
    ):
        solver(decay())(batch)


@pytest.mark.parametrize("name", MODELS)
def test_autocast_does_not_reach_a_solver(name):
    problem = Line()
    batch = {key: value + 0.1 for key, value in problem.data("test").items()}
    model = MODELS[name](problem)
    plain = model(batch, keep_states=True)
    with torch.autocast("cpu", torch.bfloat16):
        inside = model(batch, keep_states=True)
    assert torch.equal(inside.xs, plain.xs)
    assert torch.equal(Solver.status(inside), Solver.status(plain))
    if name != "external":
        assert (Solver.status(inside) == Status.CONVERGED).all()


def test_autocast_does_not_reach_the_geometry_of_a_learned_descent():
    problem = Pose(num_points=6, num_train=4, num_test=4)
    batch = problem.data("test")
    model = Cascade.for_problem(problem, num_steps=2)
    update = problem.local(problem.initial(batch), problem.target(batch)).to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        reached, _ = model.move(0, problem.initial(batch), update, None, batch)
    assert torch.equal(reached, problem.retract(problem.initial(batch), update.float()))


@pytest.mark.parametrize("solver", [GaussNewton, LevenbergMarquardt, ScipyLeastSquares])
def test_poses_are_as_right_under_autocast(solver):
    problem = Pose("varying", num_points=8, num_test=4, outliers=0.0, robust=0.0)
    batch = problem.data("test")
    with torch.autocast("cpu", torch.bfloat16):
        inside = solver(problem)(batch).xs
    assert torch.equal(inside, solver(problem)(batch).xs)
