from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import optimize
from scipy.optimize._numdiff import approx_derivative

from learned_descent import DescentError, ShapeError
from learned_descent.kernels import Cauchy, Huber, Tukey
from learned_descent.problems.pose import Pose
from learned_descent.solvers import External, LevenbergMarquardt, ScipyLeastSquares, Status
from learned_descent.testing.checks import check_model

from ..toys import Line, Turn
from .toys import (
    Formula,
    centre,
    decay,
    decays,
    points,
    starts,
)


def test_a_function_is_a_model_of_one_step():
    problem, batch = decay(), decays()
    calls = []

    def answer(x0, seen):
        calls.append((x0, seen))
        return batch["x"] + 0.1 * x0

    trajectory = External(problem, answer)(batch, keep_states=True)
    ((x0, seen),) = calls
    assert torch.equal(x0, batch["start"])
    assert seen is batch, "as it came"
    assert torch.equal(trajectory.final, batch["x"] + 0.1 * batch["start"])
    assert trajectory.xs.shape == (2, 5, 2)
    assert External.status(trajectory).tolist() == [Status.CONVERGED] * 5


def test_no_answer_to_one_sample():
    problem, batch = decay(), decays()

    def answer(x0, seen):
        x = batch["x"].clone()
        x[1, 0], x[3, 1] = torch.nan, torch.inf
        return x

    trajectory = External(problem, answer)(batch, keep_states=True)
    assert External.status(trajectory).tolist() == [1, Status.INVALID, 1, Status.INVALID, 1]
    assert torch.equal(trajectory.final[1::2], batch["start"][1::2])
    assert torch.equal(trajectory.final[::2], batch["x"][::2])


def test_an_answer_without_a_start():
    batch = decays()
    start = torch.full_like(batch["start"], torch.nan)
    assert torch.equal(
        External(decay(), lambda x0, seen: batch["x"])(batch, start).final, batch["x"]
    )


def test_an_answer_in_another_precision():
    batch = decays(torch.float32)
    final = External(decay(), lambda x0, seen: torch.from_numpy(seen["x"].double().numpy() + 1))(
        batch
    ).final
    assert torch.equal(final, batch["x"] + 1)


def test_it_is_asked_once():
    calls = []
    model = External(decay(), lambda x0, seen: (calls.append(1), x0)[1])
    assert model(decays(), num_steps=3).xs.shape == (4, 5, 2)
    assert len(calls) == 1


@pytest.mark.parametrize("answer", [lambda x0: x0[:, :1], lambda x0: x0[:3], lambda x0: x0.numpy()])
def test_an_answer_of_another_shape_is_refused(answer):
    with pytest.raises(ShapeError, match="answer of the external function: expected"):
        External(decay(), lambda x0, seen: answer(x0))(decays())


def test_an_outside_method_keeps_the_contract_of_models():
    assert not check_model(External(Turn(), lambda x0, batch: batch["x"])).failures


@pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
def test_scipy_finds_what_levenberg_marquardt_finds(method):
    problem, batch = decay(), decays(noise=0.1)
    ours = LevenbergMarquardt(problem)(batch).final
    trajectory = ScipyLeastSquares(problem, method=method, tolerance=1e-12)(batch, keep_states=True)
    torch.testing.assert_close(trajectory.final, ours, rtol=1e-6, atol=1e-6)
    assert ScipyLeastSquares.status(trajectory).tolist() == [Status.CONVERGED] * 5


def test_scipy_with_a_robust_loss():
    batch = points()
    theirs = ScipyLeastSquares(centre(), loss="cauchy", scale=0.2, tolerance=1e-12)(
        batch, batch["x"]
    ).final
    torch.testing.assert_close(
        theirs, LevenbergMarquardt(centre(Cauchy(0.2)))(batch, batch["x"]).final
    )


def test_scipy_moves_along_the_manifold(monkeypatch):
    problem = Pose(num_points=6, num_test=2, outliers=0.0, noise=0.0, robust=0.0)
    batch = {name: value.double() for name, value in problem.data("test").items()}
    asked = []

    def watched(residual, start, jacobian, **options):
        for at in (start, start + 0.3):
            np.testing.assert_allclose(
                jacobian(at), approx_derivative(residual, at, method="3-point"), atol=1e-7
            )
        asked.append(start)
        return least_squares(residual, start, jacobian, **options)

    least_squares = optimize.least_squares
    monkeypatch.setattr(optimize, "least_squares", watched)
    final = ScipyLeastSquares(problem)(batch).final
    assert [start.shape for start in asked] == [(6,), (6,)]
    assert problem.error(final, batch).max() < 1e-3


def test_scipy_stops_when_its_evaluations_are_used_up():
    trajectory = ScipyLeastSquares(decay(), max_evaluations=2)(decays(), keep_states=True)
    assert ScipyLeastSquares.status(trajectory).tolist() == [Status.RUNNING] * 5


def test_scipy_and_a_jacobian_that_is_not_finite():
    problem = Formula(lambda x, batch: x.sqrt() + 1)
    trajectory = ScipyLeastSquares(problem)(starts([0.0], [4.0]), keep_states=True)
    assert ScipyLeastSquares.status(trajectory)[0] == Status.INVALID
    assert trajectory.final[0] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "newton"}, "method: expected one of trf, dogbox, lm, got 'newton'"),
        (
            {"loss": "tukey"},
            "loss: expected one of kernel, linear, soft_l1, huber, cauchy, arctan, got 'tukey'",
        ),
        (
            {"method": "lm", "loss": "huber"},
            'loss: scipy\'s method "lm" knows only "linear", got \'huber\'',
        ),
        ({"scale": 0.0}, "scale: expected a positive number, got 0.0"),
        (
            {"scale": 0.1},
            "scale: expected 1, for the kernel of the problem has a scale of its own, got 0.1",
        ),
        ({"max_evaluations": 0}, "max_evaluations: expected 1 or more, or None, got 0"),
        ({"tolerance": 0.0}, "tolerance: expected a number from 2.22e-16 to 1, got 0.0"),
    ],
)
def test_what_scipy_does_not_know_is_refused(options, message):
    with pytest.raises(DescentError, match=message):
        ScipyLeastSquares(decay(), **options)


def test_minpack_needs_as_many_residuals_as_unknowns():
    solver = ScipyLeastSquares(Formula(lambda x, batch: x[:, :1]), method="lm")
    with pytest.raises(
        DescentError, match='needs at least as many residuals as unknowns, got 1 for 2: take "trf"'
    ):
        solver(starts([1.0, 2.0]))


@pytest.mark.parametrize(
    "kernel", [Huber(0.2), Cauchy(0.2), Tukey(2.0), Huber(0.2, block=2), Cauchy(0.2, block=2)]
)
@pytest.mark.parametrize("method", ["trf", "lm"])
def test_scipy_minimises_the_kernel_of_the_problem(kernel, method):
    batch = points()
    problem = centre(kernel)
    start = batch["x"] + 0.05
    theirs = ScipyLeastSquares(problem, method=method, tolerance=1e-12)(batch, start).final
    ours = LevenbergMarquardt(problem)(batch, start).final
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)


def test_scipy_takes_a_written_jacobian_along_a_kernel_of_blocks():
    class Written(Line):
        calls = 0

        def jacobian(self, x, batch):
            self.calls += 1
            return self.matrix.expand(len(x), -1, -1)

    problem, plain = Written(torch.float64), Line(torch.float64)
    batch = {name: value[:3] for name, value in plain.data("test").items()}
    batch["y"] = batch["y"] + torch.tensor([0.0, 5.0, 0.0])
    for own in (problem, plain):
        own.kernel = Cauchy(0.1, block=3)
    found = [
        ScipyLeastSquares(own, tolerance=1e-10)(batch, batch["x"]).final for own in (problem, plain)
    ]
    torch.testing.assert_close(*found)
    assert problem.calls


def test_the_outliers_of_pose_do_not_fool_scipy():
    problem = Pose(num_test=16)
    batch = problem.data("test")
    solved = [
        (problem.error(ScipyLeastSquares(problem, loss=loss)(batch).final, batch) < 2)
        .double()
        .mean()
        for loss in ("linear", "kernel")
    ]
    assert solved[0] == 0
    assert solved[1] > 0.8


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_differences_suit_parameters_of_any_unit(unit):
    problem = Formula(lambda x, batch: (x / unit).exp() - 3)
    final = ScipyLeastSquares(problem, method="lm", tolerance=1e-14)(starts([0.5 * unit])).final
    assert final.item() == pytest.approx(unit * np.log(3), rel=1e-6)
