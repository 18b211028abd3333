"""Small symmetric systems."""

from __future__ import annotations

import pytest
import torch

from learned_descent.linear import bounded_step, damped_step


def systems(size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Jacobians, residuals, and the room of a step; every second coordinate begins at a bound."""
    draw = torch.Generator().manual_seed(size)
    jacobian = torch.randn(40, size + 2, size, generator=draw, dtype=torch.float64)
    residual = torch.randn(40, size + 2, generator=draw, dtype=torch.float64)
    down, up = torch.rand(2, 40, size, generator=draw, dtype=torch.float64).mul(0.3)
    down[:, ::2] = 0
    return jacobian, residual, -down, up


@pytest.mark.parametrize("size", [1, 4, 9])
def test_a_bounded_step_is_that_of_scipy(size):
    optimize = pytest.importorskip("scipy.optimize")
    jacobian, residual, down, up = systems(size)
    hessian = jacobian.mT @ jacobian
    gradient = (jacobian.mT @ residual.unsqueeze(2)).squeeze(2)
    none = torch.zeros(40, dtype=torch.float64)
    step, least, push = bounded_step(hessian, gradient, none, (down, up))
    assert (least > 0).all()
    assert ((step >= down) & (step <= up)).all()
    for row in range(40):
        wanted = optimize.lsq_linear(
            jacobian[row].numpy(),
            -residual[row].numpy(),
            (down[row].numpy(), up[row].numpy()),
            method="bvls",
            tol=1e-14,
        )
        torch.testing.assert_close(step[row], torch.from_numpy(wanted.x))
    reached = ((jacobian @ step.unsqueeze(2)).squeeze(2) + residual).square().sum(1) / 2
    promised = -((gradient + push) * step).sum(1) / 2
    torch.testing.assert_close(residual.square().sum(1) / 2 - promised, reached)


def test_without_bounds_in_the_way_it_is_the_damped_step():
    jacobian, residual, _, _ = systems(3)
    hessian = jacobian.mT @ jacobian
    gradient = (jacobian.mT @ residual.unsqueeze(2)).squeeze(2)
    damping = torch.full((40,), 0.5, dtype=torch.float64)
    far = torch.full_like(gradient, 1e300)
    step, least, push = bounded_step(hessian, gradient, damping, (-far, far))
    torch.testing.assert_close((step, least), damped_step(hessian, gradient, damping))
    assert (push == 0).all()


def test_a_bounded_step_of_what_is_not_finite_is_none():
    hessian = torch.eye(2).expand(2, 2, 2).clone()
    hessian[0, 0, 0] = torch.nan
    room = (torch.full((2, 2), -0.5), torch.full((2, 2), 0.5))
    step, least, _ = bounded_step(hessian, torch.ones(2, 2), torch.zeros(2), room)
    assert step.tolist() == [[0, 0], [-0.5, -0.5]]
    assert least[0] == 0 < least[1]
