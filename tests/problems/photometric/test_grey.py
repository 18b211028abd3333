from __future__ import annotations

import torch

from learned_descent.kernels import Squares, Tukey
from learned_descent.problems.photometric.grey import matched, standardised, standardised_slope


def patches() -> torch.Tensor:
    return standardised(
        40 * torch.randn(2, 100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    )


def test_standardised_values_have_mean_0_and_variance_1_and_flat_ones_are_nan():
    values = torch.stack([torch.arange(10.0), torch.full((10,), 7.0)])
    found = standardised(values)
    assert torch.allclose(found[0].mean(), torch.tensor(0.0), atol=1e-6)
    assert torch.allclose(found[0].square().mean(), torch.tensor(1.0))
    assert found[1].isnan().all()


def test_the_slope_is_that_of_automatic_differentiation():
    draw = torch.Generator().manual_seed(0)
    values, slope = (
        50 * torch.randn(*size, generator=draw, dtype=torch.float64) for size in ((2, 9), (2, 9, 3))
    )
    exact = torch.stack(
        [torch.func.jvp(standardised, (values,), (slope[..., k],))[1] for k in range(3)], 2
    )
    assert torch.allclose(standardised_slope(values, slope), exact)


def test_under_squares_nothing_is_matched():
    template = patches()
    residual, gain = matched(2 * template, template, Squares())
    assert torch.equal(residual, template)
    assert (gain == 1).all()


def test_the_gain_is_that_of_the_points_that_agree():
    template = patches()
    seen = 1.25 * template + 0.2
    seen[:, :25] = 3.0  # hidden
    residual, gain = matched(standardised(seen), template, Tukey(1.0))
    spread = seen.std(1, correction=0, keepdim=True)
    assert torch.allclose(gain, spread / 1.25, rtol=0.02)
    assert residual[:, 25:].abs().max() < 0.05
    assert (standardised(seen) - template)[:, 25:].abs().max() > 0.3, (
        "mean and variance of all points are wrong"
    )
