from __future__ import annotations

import math

import pytest
import torch

from learned_descent import DescentError
from learned_descent.kernels import Cauchy, Huber, Tukey
from learned_descent.solvers import GaussNewton, LevenbergMarquardt, Status

from .toys import Formula, centre, decay, decays, points, starts


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
    robust, plain = (problem.error(x, batch).max() for x in (trajectory.final, LevenbergMarquardt(centre())(batch).final))
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
        lambda x, batch: torch.cat([1e9 * x[:, :1] + x[:, 1:] - 3, 1e9 * x[:, :1] - 1, 1e-3 * x[:, 1:] - 2e-3], 1)
    )
    trajectory, status = solved(problem, starts([1.0, 1.0]))
    assert status == [Status.CONVERGED]
    torch.testing.assert_close(trajectory.final, torch.tensor([[1e-9, 2.0]], dtype=torch.float64), rtol=1e-6, atol=0)


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
    trajectory, status = solved(Formula(lambda x, batch: x.exp() - 2), starts([-20.0]))  # the first step overflows
    assert status == [Status.CONVERGED]
    torch.testing.assert_close(trajectory.final.exp(), torch.full((1, 1), 2.0, dtype=torch.float64))


def test_steps_that_run_out():
    _, status = solved(decay(), decays(), num_steps=2)
    assert status == [Status.RUNNING] * 5


def test_a_coarse_tolerance_ends_sooner():
    problem, batch = decay(), decays(noise=0.1)
    coarse, fine = (solved(problem, batch, tolerance=tolerance)[0].states[..., -1] == 0 for tolerance in (1e-2, None))
    assert coarse.sum() < fine.sum()


def test_the_first_damping_is_positive():
    with pytest.raises(DescentError, match="damping: expected a positive number, got 0; GaussNewton is undamped"):
        LevenbergMarquardt(decay(), damping=0)
