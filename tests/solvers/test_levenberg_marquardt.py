from __future__ import annotations

import math

import pytest
import torch

from benchmarks.problems.convergence import FAMILIES, SETUPS, measured
from learned_descent import DescentError
from learned_descent.kernels import Cauchy, Huber, Tukey
from learned_descent.solvers import GaussNewton, LevenbergMarquardt, Status

from .toys import (
    Formula,
    centre,
    decay,
    decays,
    points,
    starts,
)


def solved(problem, batch, **options):
    solver = LevenbergMarquardt(problem, **options)
    trajectory = solver(batch, keep_states=True)
    return trajectory, solver.status(trajectory).tolist()


def test_the_first_step_is_damped():
    problem, batch = decay(), decays()
    start = batch["start"]
    hessian, gradient, _ = problem.normal_equations(start, batch)
    damped = hessian + 0.5 * torch.diag_embed(hessian.diagonal(dim1=1, dim2=2))
    step = -torch.linalg.solve(damped, gradient)
    better = problem.cost(start + step, batch) < problem.cost(start, batch)
    first = solved(problem, batch, damping=0.5)[0].xs[1]
    torch.testing.assert_close(first, torch.where(better.unsqueeze(1), start + step, start))


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_starts_converge_and_the_cost_never_rises(dtype, noise):
    problem, batch = decay(), decays(dtype, noise)
    trajectory, status = solved(problem, batch)
    costs = torch.stack([problem.cost(x, batch) for x in trajectory.xs])
    assert (costs.diff(dim=0) <= 0).all()
    assert status == [Status.CONVERGED] * 5
    if noise == 0:
        torch.testing.assert_close(trajectory.final, batch["x"])


def test_it_converges_where_gauss_newton_diverges():
    problem, batch = Formula(lambda x, batch: x.atan()), starts([2.0])
    assert GaussNewton(problem)(batch).final.abs() > 100
    trajectory, status = solved(problem, batch)
    assert trajectory.final.abs() < 1e-8
    assert status == [Status.CONVERGED]


@pytest.mark.parametrize("kernel", [Huber(0.2), Cauchy(0.2, block=2), Tukey(4.0, block=2)])
def test_the_robust_cost_falls_and_outliers_hardly_count(kernel):
    problem, batch = centre(kernel), points()
    start = batch["points"].median(1).values
    trajectory = LevenbergMarquardt(problem)(batch, start)
    costs = torch.stack([problem.cost(x, batch) for x in trajectory.xs])
    assert (costs.diff(dim=0) <= 0).all()
    robust, plain = (
        problem.error(x, batch).max()
        for x in (trajectory.final, LevenbergMarquardt(centre())(batch).final)
    )
    assert robust < 0.2 < 3 < plain


def test_a_robust_minimum_is_that_of_its_cost():
    problem, batch = centre(Cauchy(0.2, block=2)), points()
    x = LevenbergMarquardt(problem)(batch, batch["x"]).final.requires_grad_()
    assert torch.autograd.grad(problem.cost(x, batch).sum(), x)[0].abs().max() < 1e-8


def test_a_parameter_without_influence_stays():
    trajectory, status = solved(Formula(lambda x, batch: x[:, :1].exp() - 3), starts([0.0, 7.0]))
    assert status == [Status.CONVERGED]
    assert trajectory.final.tolist() == [[pytest.approx(math.log(3)), 7.0]]


def test_columns_of_very_different_size():
    problem = Formula(
        lambda x, batch: torch.cat(
            [1e9 * x[:, :1] + x[:, 1:] - 3, 1e9 * x[:, :1] - 1, 1e-3 * x[:, 1:] - 2e-3], 1
        )
    )
    trajectory, status = solved(problem, starts([1.0, 1.0]))
    assert status == [Status.CONVERGED]
    torch.testing.assert_close(
        trajectory.final, torch.tensor([[1e-9, 2.0]], dtype=torch.float64), rtol=1e-6, atol=0
    )


def test_nothing_depends_on_x():
    trajectory, status = solved(Formula(lambda x, batch: 0 * x + 1), starts([1.0, 2.0]))
    assert status == [Status.INVALID]
    assert torch.equal(trajectory.final, trajectory.xs[0])


def test_a_start_at_the_solution_stays():
    trajectory, status = solved(Formula(lambda x, batch: x - 3), starts([3.0]))
    assert status == [Status.CONVERGED]
    assert torch.equal(trajectory.final, trajectory.xs[0])


def test_a_wrong_jacobian_stalls():
    problem = decay()
    problem.jacobian = lambda x, batch: -decay().jacobian(x, batch)
    batch = decays()
    trajectory, status = solved(problem, batch, num_steps=30)
    assert status == [Status.STALLED] * 5
    assert torch.equal(trajectory.final, batch["start"])


def test_rounding_is_not_taken_for_a_stall():
    """Residuals far below the rounding of what they are the difference of."""
    problem = Formula(lambda x, batch: 1e4 * (x - 1).sin() + 1e4 - batch["y"])
    draw = torch.Generator().manual_seed(0)
    batch = {"start": torch.full((64, 1), 1.3), "y": 1e4 + 0.1 * torch.randn(64, 5, generator=draw)}
    _, status = solved(problem, batch)
    assert set(status) == {Status.CONVERGED}


def test_too_long_a_step_is_refused():
    # The first step overflows
    trajectory, status = solved(Formula(lambda x, batch: x.exp() - 2), starts([-20.0]))
    assert status == [Status.CONVERGED]
    torch.testing.assert_close(trajectory.final.exp(), torch.full((1, 1), 2.0, dtype=torch.float64))


def test_steps_that_run_out():
    _, status = solved(decay(), decays(), num_steps=2)
    assert status == [Status.RUNNING] * 5


def test_a_coarse_tolerance_ends_sooner():
    problem, batch = decay(), decays(noise=0.1)
    coarse, fine = (
        solved(problem, batch, tolerance=tolerance)[0].states.status == Status.RUNNING
        for tolerance in (1e-2, None)
    )
    assert coarse.sum() < fine.sum()


def test_the_state_tells_damping_promise_and_gain_after_every_step():
    trajectory, _ = solved(decay(), decays(noise=0.1))
    states, problem = trajectory.states, decay()
    costs = torch.stack([problem.cost(x, decays(noise=0.1)) for x in trajectory.xs]).double()
    moved = (states.status == Status.RUNNING) & (trajectory.xs[1:] != trajectory.xs[:-1]).any(2)
    assert moved.sum() > 10
    torch.testing.assert_close(states.cost[moved], costs[:-1][moved])
    kept = (costs[:-1] - costs[1:]) / states.predicted_reduction
    torch.testing.assert_close(states.gain_ratio[moved], kept[moved], rtol=1e-3, atol=1e-3)
    eased = states.damping[1:] < states.damping[:-1]
    assert eased[(states.gain_ratio > 0.9)[1:] & moved[1:] & (states.damping[:-1] > 1e-6)].all()


def test_the_first_damping_is_positive():
    with pytest.raises(
        DescentError, match="damping: expected a positive number, got 0; GaussNewton is undamped"
    ):
        LevenbergMarquardt(decay(), damping=0)


GROWTH_TIMES = torch.linspace(0, 10, 40)


def growth(*rows: list[float], dtype: torch.dtype = torch.float64):
    """``y = b exp(a t)`` with the truth (.5, 2)."""
    problem = Formula(
        lambda x, batch: x[:, 1:] * (x[:, :1] * GROWTH_TIMES.to(x)).exp() - batch["y"]
    )
    y = (2 * (0.5 * GROWTH_TIMES.double()).exp()).to(dtype).expand(len(rows), -1)
    return problem, {**starts(*rows, dtype=dtype), "y": y}


@pytest.mark.parametrize(
    ("dtype", "double"), [(torch.float32, False), (torch.float32, True), (torch.float64, False)]
)
def test_a_parameter_whose_influence_falls_is_not_frozen(dtype, double):
    """Its curvature falls by 1e21 with the first steps: it once ended CONVERGED at (1.949,
    1.4e-6)."""
    problem, batch = growth([2.0, 1.0], [3.0, 1.0], dtype=dtype)
    trajectory, status = solved(problem, batch, num_steps=100, double=double)
    assert status == [Status.CONVERGED] * 2
    wanted = torch.tensor([[0.5, 2.0]], dtype=dtype).expand(2, -1)
    torch.testing.assert_close(trajectory.final, wanted, rtol=1e-5, atol=0)


@pytest.mark.parametrize("power", [2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_double_root_is_found_and_stayed_at(dtype, power):
    problem = Formula(lambda x, batch: x**power)
    trajectory, status = solved(problem, starts([1.0], [-20.0], [0.0], dtype=dtype), num_steps=60)
    assert status == [Status.CONVERGED] * 3
    assert (trajectory.final.abs() < 1e-3 * trajectory.xs[0].abs().clamp(min=1e-3)).all()


def test_the_start_of_gauss_newton_may_be_a_double_root():
    solver = GaussNewton(Formula(lambda x, batch: x**2))
    trajectory = solver(starts([0.0]), keep_states=True)
    assert solver.status(trajectory).tolist() == [Status.CONVERGED]


def nearly_equal_columns(dtype: torch.dtype, apart: float):
    t = torch.linspace(0, 1, 20, dtype=torch.float64).to(dtype)
    problem = Formula(
        lambda x, batch: x[:, :1] * t + x[:, 1:] * (t + apart * t.square()) - batch["y"]
    )
    return problem, {**starts([0.0, 0.0], dtype=dtype), "y": (3 * t + 2 * t.square()).unsqueeze(0)}


@pytest.mark.parametrize("double", [False, True])
def test_columns_that_cannot_be_told_apart_have_not_converged(double):
    """In float32 they are equal, and the residuals that are left look as if nothing could change
    them."""
    problem, batch = nearly_equal_columns(torch.float32, 1e-12)
    assert Status.CONVERGED not in solved(problem, batch, double=double)[1]


def test_equal_columns_converge_in_float64():
    """A direction along which nothing changes is no fault, where derivatives are known as finely as
    they are summed."""
    problem, batch = nearly_equal_columns(torch.float64, 0.0)
    trajectory, status = solved(problem, batch)
    assert status == [Status.CONVERGED]
    gradient = problem.normal_equations(trajectory.final, batch)[1]
    assert gradient.abs().max() < 1e-9


def test_a_parameter_that_lost_its_influence_has_not_converged():
    """The step leads onto the plateau of a curve that is flat to the last bit: a lower cost is
    behind it."""
    problem = Formula(
        lambda x, batch: torch.cat([(40 * (x[:, :1] - 1)).sigmoid() - 0.5, x[:, 1:] - 2], 1)
    )
    trajectory, status = solved(problem, starts([1.25, 0.0]))
    assert trajectory.final[0, 0] < -100
    assert status == [Status.STALLED]


def test_a_step_to_where_derivatives_end_is_taken_back():
    """Below zero the residuals are finite and small, and the derivative of the root is not a
    number."""
    problem = Formula(lambda x, batch: torch.cat([x.clamp(min=0).sqrt() - 0.1, 0.1 * x], 1))
    trajectory, status = solved(problem, starts([1.0]), num_steps=200)
    assert trajectory.xs.isfinite().all()
    assert (trajectory.xs < 0).any(), "it was there"
    assert status == [Status.CONVERGED]
    assert problem.cost(trajectory.final, {}) < problem.cost(torch.zeros(1, 1).double(), {})


@pytest.mark.parametrize("setup", SETUPS)
@pytest.mark.parametrize("name", ["growth", "Hill", "Bard"])
def test_what_says_converged_has_converged(name, setup):
    """The other families are measured by the benchmark, in the same way."""
    found = measured(FAMILIES[name], 16, 0, [setup])
    assert found[setup]["false"] == 0
    assert found[setup]["right"] >= found["scipy lm"]["right"]
