from __future__ import annotations

import torch

from learned_descent.solvers import GaussNewton, Status

from ..toys import Line
from .toys import (
    Formula,
    centre,
    decay,
    decays,
    points,
    starts,
)


def test_one_step_solves_a_linear_problem_as_lstsq_does():
    batch = points()
    first = GaussNewton(centre())(batch).xs[1]
    matrix = torch.eye(2, dtype=torch.float64).repeat(8, 1).expand(4, 16, 2)
    torch.testing.assert_close(
        first, torch.linalg.lstsq(matrix, batch["points"].flatten(1).unsqueeze(2)).solution[..., 0]
    )


def test_damping_is_a_multiple_of_the_diagonal():
    problem = Line(torch.float64)
    batch = problem.data("test")
    hessian = problem.matrix.T @ problem.matrix
    expected = torch.linalg.solve(
        hessian + 0.5 * hessian.diagonal().diag(), (batch["y"] @ problem.matrix).T
    ).T
    torch.testing.assert_close(GaussNewton(problem, damping=0.5)(batch).xs[1], expected)


def test_quadratic_convergence_near_the_solution():
    batch = decays()
    problem = decay()
    xs = GaussNewton(problem)(batch, batch["x"] + 0.1).xs
    errors = torch.stack([problem.error(x, batch) for x in xs]).amax(1)
    assert errors[3] < 1e-6
    assert errors[4] < 10 * errors[3] ** 2 + 1e-14


def test_it_may_diverge_and_says_so():
    # The first step leads to where the root ends
    problem = Formula(lambda x, batch: (x + 5).sqrt() - 2)
    solver = GaussNewton(problem, num_steps=5)
    trajectory = solver(starts([20.0], [-1.5]), keep_states=True)
    assert solver.status(trajectory).tolist() == [Status.INVALID, Status.CONVERGED]
    torch.testing.assert_close(trajectory.final[1], torch.tensor([-1.0], dtype=torch.float64))


def test_a_step_to_infinity_is_not_taken():
    solver = GaussNewton(Formula(lambda x, batch: 1.6e-154 * x - 3.04e154))
    trajectory = solver(starts([1.2e308]), keep_states=True)
    assert solver.status(trajectory).tolist() == [Status.INVALID]
    assert torch.equal(trajectory.final, trajectory.xs[0])


def test_a_singular_system_is_invalid_and_stays():
    solver = GaussNewton(Formula(lambda x, batch: x[:, :1] - 3))
    trajectory = solver(starts([1.0, 7.0]), keep_states=True)
    assert solver.status(trajectory).tolist() == [Status.INVALID]
    assert torch.equal(trajectory.final, trajectory.xs[0])
