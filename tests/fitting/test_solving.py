from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from learned_descent import DescentError
from learned_descent.fitting import least_squares
from learned_descent.kernels import Huber
from learned_descent.solvers import GaussNewton, LevenbergMarquardt, ScipyLeastSquares, Status

from .bounded import PROBLEMS

T = torch.linspace(0, 3, 20, dtype=torch.float64)


def decay(x, y):
    return x[0] * torch.exp(-x[1] * T) - y


def decays(noise: float = 0.0) -> np.ndarray:
    """Three noisy decays ``(3, 20)``."""
    draw = np.random.default_rng(0)
    truth = np.array([[1.0, 0.5], [2.0, 1.0], [3.0, 2.0]])
    return truth[:, :1] * np.exp(-truth[:, 1:] * T.numpy()) + noise * draw.normal(size=(3, 20))


@pytest.mark.parametrize("name", PROBLEMS)
def test_bounded_problems_end_no_higher_than_with_trf_and_are_optimal(name):
    optimize = pytest.importorskip("scipy.optimize")
    problem = PROBLEMS[name]
    low, high = (torch.tensor(end, dtype=torch.float64) for end in (problem.low, problem.high))
    jacobian = torch.func.jacfwd(problem.residual)
    wanted = optimize.least_squares(
        lambda x: problem.residual(torch.from_numpy(x)).numpy(),
        np.clip(problem.x0, problem.low, problem.high),
        lambda x: jacobian(torch.from_numpy(x)).numpy(),
        bounds=(problem.low, problem.high),
        **dict.fromkeys(("ftol", "xtol", "gtol"), 1e-13),
        max_nfev=500,
    )
    found = least_squares(problem.residual, problem.x0, bounds=(problem.low, problem.high))
    x = torch.from_numpy(found.x[0])
    assert ((x >= low) & (x <= high)).all()
    assert found.cost[0] <= wanted.cost * (1 + 1e-6) + 1e-15
    assert found.messages == ["converged"]
    residual, slopes = problem.residual(x), jacobian(x)
    gradient = slopes.T @ residual
    held = ((x == low) & (gradient > 0)) | ((x == high) & (gradient < 0))
    cosines = gradient / (slopes.norm(dim=0) * residual.norm().clamp(min=1e-8))
    assert cosines[~held].abs().sum() < 1e-6


def test_bounds_hold_in_single_precision_and_in_gauss_newton():
    y = torch.from_numpy(decays()).float()
    for solver in (None, partial(GaussNewton, num_steps=30)):
        found = least_squares(
            lambda x, y: x[0] * torch.exp(-x[1] * T.float()) - y,
            torch.ones(2),
            y,
            bounds=(0.1, [9, 1.3]),
            solver=solver,
        )
        assert found.x.dtype == torch.float32
        assert found.x.max(0).values[1] == torch.tensor(1.3)
        assert found.success.all()


def test_what_both_bounds_hold_does_not_change():
    found = least_squares(decay, [5.0, 0.7], decays(), bounds=([-np.inf, 0.7], [np.inf, 0.7]))
    assert (found.x[:, 1] == 0.7).all()
    assert found.success.all()


def test_a_start_outside_is_moved_into_the_bounds():
    found = least_squares(decay, [[5.0, -1.0]] * 3, decays(), bounds=(0.0, np.inf))
    np.testing.assert_allclose(found.x, [[1, 0.5], [2, 1], [3, 2]], atol=1e-6)


@pytest.mark.parametrize("absolute_sigma", [False, True])
def test_the_answer_is_that_of_curve_fit(absolute_sigma):
    optimize = pytest.importorskip("scipy.optimize")
    y, sigma = decays(0.05), np.linspace(0.5, 2, 20)
    found = least_squares(decay, [1.0, 1.0], y, weights=1 / sigma**2, absolute_sigma=absolute_sigma)
    assert isinstance(found.x, np.ndarray)
    for row in range(3):
        x, covariance = optimize.curve_fit(
            lambda t, a, b: a * np.exp(-b * t), T.numpy(), y[row], [1.0, 1.0], sigma,
            absolute_sigma=absolute_sigma, ftol=1e-14, xtol=1e-14,
        )  # fmt: skip
        np.testing.assert_allclose(found.x[row], x, rtol=1e-6)
        np.testing.assert_allclose(found.covariance[row], covariance, rtol=1e-5)
    cost = ((found.x[:, :1] * np.exp(-found.x[:, 1:] * T.numpy()) - y) / sigma) ** 2
    np.testing.assert_allclose(found.cost, cost.sum(1) / 2)


def test_a_singular_covariance_is_the_pseudo_inverse():
    found = least_squares(lambda x, y: (x[0] + x[1]) * T - y, [1.0, 0.0], decays())
    slopes = np.stack([T.numpy(), T.numpy()], 1)
    wanted = np.linalg.pinv(slopes.T @ slopes) * (2 * found.cost / 18)[:, None, None]
    np.testing.assert_allclose(found.covariance, wanted, rtol=1e-6)


def test_a_covariance_that_nothing_tells_is_infinite():
    found = least_squares(lambda x, y: x - y, [0.0, 0.0], np.ones((1, 2)))
    assert np.isposinf(found.covariance).all()


def test_ragged_samples_are_those_without_the_padding():
    y = decays(0.05)
    lengths = np.array([20, 12, 7])
    mask = np.arange(20) < lengths[:, None]
    padded = np.where(mask, y, np.nan)
    found = least_squares(decay, [1.0, 1.0], padded, mask=mask)
    assert found.success.all()
    for row, length in enumerate(lengths):
        one = least_squares(
            lambda x, y, t=T[:length]: x[0] * torch.exp(-x[1] * t) - y,
            [1.0, 1.0],
            y[row : row + 1, :length],
        )
        for name in ("x", "cost", "covariance"):
            np.testing.assert_allclose(getattr(found, name)[row], getattr(one, name)[0], rtol=1e-6)


def test_a_weight_of_zero_masks():
    y = decays(0.05)
    mask = np.arange(20) < 15
    masked = least_squares(decay, [1.0, 1.0], y, mask=mask)
    weighted = least_squares(decay, [1.0, 1.0], y, weights=mask.astype(float))
    np.testing.assert_array_equal(masked.covariance, weighted.covariance)


def test_a_kernel_makes_little_of_outliers():
    y = decays(0.01)
    y[:, 3] += 5
    plain, robust = (
        least_squares(decay, [1.0, 1.0], y, kernel=kernel) for kernel in (None, Huber(0.03))
    )
    truth = np.array([[1, 0.5], [2, 1], [3, 2]])
    assert abs(robust.x - truth).max() < 0.2 < abs(plain.x - truth).max()
    assert robust.success.all()


def test_a_sample_that_is_not_finite_says_so_and_the_others_do_not_mind():
    y = decays()
    y[1, 4] = np.nan
    found = least_squares(decay, [1.0, 1.0], y)
    assert found.status.tolist() == [Status.CONVERGED, Status.INVALID, Status.CONVERGED]
    assert found.messages[1] == "residuals are not finite: 'data' holds NaN or infinity"
    assert found.x[1].tolist() == [1, 1]
    assert np.isposinf(found.covariance[1]).all()
    np.testing.assert_allclose(found.x[[0, 2]], [[1, 0.5], [3, 2]], atol=1e-6)


def test_a_start_that_is_not_finite_says_so():
    found = least_squares(decay, [[1.0, 1.0], [np.nan, 1.0], [1.0, 1.0]], decays())
    assert found.messages[1] == "x is not finite where the solver starts"


def test_steps_that_run_out_are_told_and_counted():
    found = least_squares(
        decay, [1.0, 1.0], decays(), solver=partial(LevenbergMarquardt, num_steps=2)
    )
    assert found.evaluations.tolist() == [3, 3, 3]
    assert found.messages[0].startswith("the steps ran out")
    assert not found.success.any()


def test_every_kind_of_data_comes_as_it_was_given():
    y = torch.from_numpy(decays())
    t = T.repeat(3, 1)

    def by_name(x, sample):
        return x[0] * torch.exp(-x[1] * sample["t"]) - sample["y"]

    def as_tuple(x, sample):
        t, y = sample
        return x[0] * torch.exp(-x[1] * t) - y

    ones = torch.ones(2)
    found = [
        least_squares(decay, ones, y),
        least_squares(by_name, ones, {"t": t, "y": y}),
        least_squares(as_tuple, ones, (t, y)),
    ]
    for one in found:
        assert isinstance(one.x, torch.Tensor)
        assert one.x.dtype == torch.float64
        torch.testing.assert_close(one.x, found[0].x)
    alone = least_squares(lambda x: x**2 - 4, [[1.0], [-1.0]])
    np.testing.assert_allclose(alone.x, [[2], [-2]])


def test_whole_numbers_are_taken_as_floating_point_and_stay_whole_in_the_data():
    found = least_squares(lambda x, k: x - torch.sin(k * T[:4]), [0], np.array([[1], [2]]))
    assert found.x.dtype == np.float64
    assert least_squares(lambda x: x - 1, torch.tensor([3])).x.dtype == torch.float32


def test_residuals_of_any_shape_and_many_samples_in_chunks(monkeypatch):
    monkeypatch.setattr("learned_descent.fitting.solving._MEMORY", 10_000)
    y = np.random.default_rng(0).normal(size=(7, 5, 2))
    found = least_squares(lambda x, y: x - y, [0.0, 0.0], y)
    np.testing.assert_allclose(found.x, y.mean(1))
    assert len(found.messages) == 7


def test_scipy_solves_it_too_and_refuses_bounds():
    pytest.importorskip("scipy.optimize")
    found = least_squares(decay, [1.0, 1.0], decays(), solver=ScipyLeastSquares)
    np.testing.assert_allclose(found.x, [[1, 0.5], [2, 1], [3, 2]], atol=1e-6)
    assert (found.evaluations >= 2).all()
    with pytest.raises(
        DescentError, match="expected a problem without bounds, got FunctionProblem"
    ):
        least_squares(decay, [1.0, 1.0], decays(), bounds=(0, 9), solver=ScipyLeastSquares)


def test_no_gradient_passes():
    y = torch.from_numpy(decays()).requires_grad_()
    assert not least_squares(decay, torch.ones(2, requires_grad=True), y).x.requires_grad


WRONG_FUNCTIONS = [
    (lambda x: x, "residual failed with TypeError"),
    (lambda x, y: x[:, 0] - y, "residual failed with IndexError"),
    (lambda x, y: x[:, 0] - y, r"called for one sample, with x \(2,\), data \(20,\)"),
    (lambda x, y: [1.0], "residual: expected a tensor of floating-point numbers, got list"),
    (lambda x, y: x > 0, "residual: expected a tensor of .* numbers, got torch.bool"),
    (lambda x, y: x[:0], "residual: expected one number or more, got none"),
    (lambda x, y: x * x.sum().item(), "residual: torch.vmap cannot run it over a batch"),
]


@pytest.mark.parametrize(("function", "message"), WRONG_FUNCTIONS)
def test_a_wrong_function_is_told(as_installed, function, message):
    with pytest.raises(DescentError, match=message):
        least_squares(function, [1.0, 1.0], decays())


@pytest.mark.parametrize(
    ("x0", "data", "message"),
    [
        ("one", decays(), "x0: expected an array of numbers, got 'one'"),
        (1.0, decays(), r"x0: expected one start .* for each sample \(B, p\), got \(\)"),
        (np.ones((2, 2)), decays(), r"x0: expected shape \(B, p\) with B = 3, got \(2, 2\)"),
        (np.ones(2), decays()[:0], "data: expected one sample or more, got none"),
        (np.ones(2), (decays(), np.ones(2)), "same number of samples in every array, got the"),
        (np.ones(2), {"y": "words"}, "data: 'y': expected a tensor, or numbers"),
        (np.ones(2), 3.0, "data: 'data': expected .* an entry per sample"),
    ],
)
def test_wrong_starts_and_data_are_told(as_installed, x0, data, message):
    with pytest.raises(DescentError, match=message):
        least_squares(decay, x0, data)


EMPTY = np.arange(3)[:, None] + np.zeros(20) > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": [1.0]}, r"weights: expected shape \(m\) with m = 20, got \(1,\)"),
        ({"weights": -np.ones(20)}, "weights: expected finite numbers >= 0"),
        ({"mask": np.ones(20)}, "mask: expected true for the residuals that count"),
        ({"mask": np.ones((2, 20), bool)}, "mask: expected shape"),
        ({"mask": EMPTY}, "got none in 1 of them, the first one sample 0"),
        ({"bounds": 3}, r"bounds: expected a pair \(low, high\)"),
        ({"bounds": (0, [1.0] * 3)}, r"bounds: expected one number or \(2,\)"),
        ({"bounds": (0, [1.0, np.nan])}, "none of them NaN"),
        ({"bounds": (0, [1.0, -1.0])}, r"low <= high, got 0 > -1 for x\[1\]"),
        ({"kernel": "huber"}, "kernel: expected one of learned_descent.kernels"),
        ({"solver": lambda problem: 3}, "solver: expected a class of learned_descent.solvers"),
    ],
)
def test_wrong_options_are_told(as_installed, options, message):
    with pytest.raises(DescentError, match=message):
        least_squares(decay, [1.0, 1.0], decays(), **options)
