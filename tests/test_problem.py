from __future__ import annotations

import pytest
import torch

from learned_descent import Problem
from learned_descent.problem import LeastSquares

from .toys import Gaps, Line, Turn


def test_a_problem_without_its_methods_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Problem()
    assert Problem.__abstractmethods__ == {"initial", "target", "observation", "data"}


def test_defaults_are_those_of_a_vector_space(device, dtype, generator):
    problem = Line(dtype).to(device)
    batch = {name: value.to(device) for name, value in problem.data("train").items()}
    x, target = problem.initial(batch, generator), problem.target(batch)
    assert torch.equal(problem.local(x, target), target - x)
    torch.testing.assert_close(problem.retract(x, problem.local(x, target)), target)
    torch.testing.assert_close(problem.error(x, batch), torch.linalg.vector_norm(target - x, dim=1))
    torch.testing.assert_close(problem.loss(x, batch), ((target - x) ** 2).mean(1))
    assert problem.augment(batch, generator) is batch
    assert torch.equal(problem.metrics(x, batch)["error"], problem.error(x, batch))
    assert problem.settings() == {}


def test_jacobian_is_the_derivative_along_retract():
    problem = Turn()
    batch = {name: value.double() for name, value in problem.data("test").items()}
    x = problem.initial(batch, torch.Generator().manual_seed(0))
    jacobian = problem.jacobian(x, batch)
    step = 1e-6
    for axis in range(jacobian.shape[2]):
        delta = torch.zeros_like(problem.local(x, x))
        delta[:, axis] = step
        ahead, behind = (
            problem.residual(problem.retract(x, sign * delta), batch) for sign in (1, -1)
        )
        torch.testing.assert_close(
            jacobian[..., axis], (ahead - behind) / (2 * step), atol=1e-8, rtol=0
        )


def test_jacobian_of_a_linear_residual_is_its_matrix(device, dtype):
    problem = Line(dtype).to(device)
    batch = {name: value.to(device) for name, value in problem.data("val").items()}
    jacobian = problem.jacobian(problem.initial(batch), batch)
    torch.testing.assert_close(jacobian, problem.matrix.expand(len(jacobian), 3, 2))
    residual = problem.residual(problem.initial(batch), batch)
    assert torch.equal(problem.weights(residual), torch.ones_like(residual))


def test_residuals_and_derivatives_come_from_one_look_at_the_residuals():
    class Counting(Turn):
        looks = 0

        def residual(self, x, batch):
            self.looks += 1
            return super().residual(x, batch)

    problem = Counting()
    batch = problem.data("test")
    x = problem.initial(batch, torch.Generator().manual_seed(0))
    residual, jacobian = problem.linearized(x, batch)
    assert problem.looks == 1
    torch.testing.assert_close(residual, problem.residual(x, batch))
    torch.testing.assert_close(jacobian, problem.jacobian(x, batch))
    problem.jacobian = lambda x, batch: 2 * jacobian
    torch.testing.assert_close(problem.linearized(x, batch)[1], 2 * jacobian)


def test_an_update_that_is_added_is_not_differentiated_itself():
    assert Line().additive
    assert not Turn().additive


def test_least_squares_asks_for_the_residual():
    assert LeastSquares.__abstractmethods__ == Problem.__abstractmethods__ | {"residual"}


def test_a_coordinate_that_counts_nothing_changes_no_loss_and_no_error(dtype):
    problem = Gaps(dtype)
    batch = problem.data("train")
    x, weights = problem.initial(batch), batch["weights"]
    other = {**batch, "x": torch.where(weights == 0, 1e3, batch["x"])}
    assert not torch.equal(other["x"], batch["x"])
    for measure in (problem.loss, problem.error):
        assert torch.equal(measure(x, other), measure(x, batch))
    squares = weights * (batch["x"] - x).square()
    torch.testing.assert_close(problem.loss(x, batch), squares.mean(1))
    torch.testing.assert_close(problem.error(x, batch), squares.sum(1).sqrt())
    full = {**batch, "weights": torch.ones_like(weights)}
    assert torch.equal(problem.loss(x, full), Line(dtype).loss(x, batch))
    assert torch.equal(problem.error(x, full), Line(dtype).error(x, batch))
