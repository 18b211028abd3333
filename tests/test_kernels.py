from __future__ import annotations

import math

import pytest
import torch

from learned_descent import DescentError, ShapeError
from learned_descent.kernels import Cauchy, Huber, Kernel, Squares, Tukey

KERNELS = [Squares, Huber, Cauchy, Tukey]
RESIDUAL = torch.tensor([[0.1, -0.7, 1.9, 2.3], [0.0, -5.0, 40.0, 1e3]], dtype=torch.float64)


@pytest.fixture(params=KERNELS)
def kernel(request) -> type[Kernel]:
    return request.param


@pytest.mark.parametrize("block", [1, 2])
def test_weights_make_the_derivative_of_the_cost(kernel, block):
    own, residual = kernel(2.0, block), RESIDUAL.clone().requires_grad_()
    slope = torch.autograd.grad(own.cost(residual).sum(), residual)[0]
    torch.testing.assert_close(own.weights(RESIDUAL) * RESIDUAL, slope)


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [(Squares, 4.5), (Huber, 2.5), (Cauchy, math.log(10) / 2), (Tukey, 1 / 6)],
)
def test_cost_of_a_residual_of_three_scales(kernel, expected):
    assert kernel().cost(torch.tensor([[3.0]])).item() == pytest.approx(expected)
    assert kernel(0.5).cost(torch.tensor([[1.5]])).item() == pytest.approx(expected / 4), (
        "in units of the squared scale"
    )


def test_small_residuals_are_squared(kernel):
    residual = torch.tensor([[1e-4, 2e-4]])
    torch.testing.assert_close(
        kernel().cost(residual), residual.square().sum(1) / 2, rtol=1e-5, atol=0
    )
    torch.testing.assert_close(kernel().weights(residual), torch.ones(1, 2))


def test_a_block_is_a_vector(kernel):
    turned = torch.stack([RESIDUAL[:, 1], -RESIDUAL[:, 0], -RESIDUAL[:, 3], RESIDUAL[:, 2]], 1)
    own = kernel(block=2)
    torch.testing.assert_close(own.cost(turned), own.cost(RESIDUAL))
    weights = own.weights(RESIDUAL)
    assert torch.equal(weights[:, ::2], weights[:, 1::2])


def test_nan_stays_nan(kernel):
    residual = torch.tensor([[0.0, torch.nan], [0.0, 1.0]])
    assert kernel().cost(residual).isnan().tolist() == [True, False]


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_a_scale_is_positive(kernel, scale):
    with pytest.raises(DescentError, match="scale: expected a positive number, got"):
        kernel(scale)


def test_a_block_has_a_residual_and_fits(kernel):
    with pytest.raises(DescentError, match="block: expected 1 or more residuals, got 0"):
        kernel(block=0)
    with pytest.raises(
        ShapeError,
        match="residual: expected a multiple of 3 residuals, one block after the other, got 4",
    ):
        kernel(block=3).cost(RESIDUAL)


def test_rooted_residuals_cost_the_same_in_plain_squares(kernel):
    for own in (kernel(0.5), kernel(0.5, block=2)):
        residual = torch.tensor(
            [[3.0, -4.0, 0.0, 0.0, 1e-9, 0.2], [0.1, 0.3, 40.0, 1.0, -2.0, 0.5]],
            dtype=torch.float64,
        )
        rooted = own.rooted(residual.requires_grad_())
        torch.testing.assert_close(Squares().cost(rooted), own.cost(residual))
        slopes = [
            torch.autograd.grad(cost.sum(), residual)[0]
            for cost in (Squares().cost(rooted), own.cost(residual))
        ]
        torch.testing.assert_close(*slopes)
