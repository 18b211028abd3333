"""Certified digits on the StRD of NIST; without its files, on the data of one of them."""

from __future__ import annotations

import pytest
import torch

from benchmarks.problems.nist import ENOUGH, MODELS, STEPS, Regression, digits
from learned_descent.solvers import (
    GaussNewton,
    LevenbergMarquardt,
    ScipyLeastSquares,
    Solver,
    Status,
)

MISRA1A = """
  b1 =   500         250           2.3894212918E+02  2.7070075241E+00
  b2 =     0.0001      0.0005      5.5015643181E-04  7.2668688436E-06

Residual Sum of Squares:                    1.2455138894E-01

Data:   y               x
      10.07E0      77.6E0
      14.73E0     114.9E0
      17.94E0     141.1E0
      23.93E0     190.8E0
      29.61E0     239.9E0
      35.18E0     289.0E0
      40.02E0     332.8E0
      44.82E0     378.4E0
      50.76E0     434.8E0
      55.05E0     477.3E0
      61.01E0     536.8E0
      66.40E0     593.1E0
      75.47E0     689.1E0
      81.78E0     760.0E0
"""


@pytest.mark.parametrize("solver", [GaussNewton, LevenbergMarquardt, ScipyLeastSquares])
def test_golden_regression(solver):
    problem = Regression("Misra1a", MISRA1A)
    trajectory = solver(problem)(problem.data("test"), keep_states=True)
    assert min(digits(problem, trajectory.final)) > 6
    assert Solver.status(trajectory).tolist() == [Status.CONVERGED] * 2
    squares = 2 * problem.cost(trajectory.final, problem.samples)
    torch.testing.assert_close(
        squares, torch.full_like(squares, problem.sum_of_squares), rtol=1e-9, atol=0
    )


def test_digits():
    problem = Regression("Misra1a", MISRA1A)
    certified = problem.samples["certified"]
    off = torch.tensor([[1 + 1e-4, 1.0], [1.0, 1 + 2e-16]], dtype=torch.float64)
    assert digits(problem, certified * off) == [pytest.approx(4), 11.0]
    assert digits(problem, certified * torch.tensor([[3.0], [torch.nan]])) == [0.0, 0.0]


@pytest.mark.shared
@pytest.mark.parametrize("name", MODELS)
def test_the_models_have_the_certified_sum_of_squares(shared, name):
    problem = Regression(name, (shared / f"nlls/nist/{name}.dat").read_text())
    squares = 2 * float(problem.cost(problem.samples["certified"], problem.samples)[0])
    # Lanczos1 fits as well as 11 digits can
    assert squares == pytest.approx(problem.sum_of_squares, rel=1e-8, abs=1e-20)


@pytest.mark.shared
@pytest.mark.slow
def test_certified_digits(shared):
    right, hopeful = 0, 0
    for name in MODELS:
        problem = Regression(name, (shared / f"nlls/nist/{name}.dat").read_text())
        steps = 200 if name == "MGH10" else STEPS  # the first start of MGH10 needs thousands
        trajectory = LevenbergMarquardt(problem, num_steps=steps)(
            problem.data("test"), keep_states=True
        )
        found = torch.tensor(digits(problem, trajectory.final)) >= ENOUGH
        right += int(found.sum())
        hopeful += int((found & (Solver.status(trajectory) == Status.CONVERGED)).sum())
    assert right >= 52, "of 54"
    assert hopeful == right, "and each says that it has converged"
