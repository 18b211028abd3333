"""Why a sample is INVALID, in words."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from learned_descent import Cascade, evaluate
from learned_descent.evaluation.evaluation import Evaluation
from learned_descent.evaluation.tables import unusable
from learned_descent.kernels import Tukey
from learned_descent.problems import Pose
from learned_descent.problems.photometric.problems import AnyTemplate
from learned_descent.problems.registration.problem import Registration
from learned_descent.solvers import (
    External,
    GaussNewton,
    LevenbergMarquardt,
    Polished,
    ScipyLeastSquares,
    Solver,
)
from learned_descent.testing.checks import check_problem

from ..toys import Turn
from .toys import Formula, centre, points, starts

SOLVERS = {
    "gn": GaussNewton,
    "lm": LevenbergMarquardt,
    "lm-double": lambda p: LevenbergMarquardt(p, double=True),
}
SOLVERS["scipy"] = ScipyLeastSquares


def told(solver: Solver, batch, x0=None) -> list[str]:
    return solver.explain(solver(batch, x0, keep_states=True), batch)


@pytest.mark.parametrize("name", SOLVERS)
def test_numbers_that_are_not_finite(name):
    solver = SOLVERS[name](Turn())
    batch = {key: value[:4].clone() for key, value in Turn().data("test").items()}
    batch["compass"][1, 0] = torch.nan
    start = solver.problem.initial(batch)
    start[3] = torch.inf
    unseen = "residuals are not finite: 'compass' holds NaN or infinity"
    assert told(solver, batch, start) == ["", unseen, "", "x is not finite where the solver starts"]


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize(
    ("formula", "reason"),
    [
        (lambda x, batch: (x - 5).sqrt(), "residuals are not finite"),
        (lambda x, batch: (x - 1).sqrt() + 1, "derivatives of the residuals are not finite"),
        (lambda x, batch: 0 * x + 3, "no residual depends on x"),
    ],
)
def test_residuals_and_derivatives(name, formula, reason):
    assert told(SOLVERS[name](Formula(formula)), starts([1.0])) == [reason]


def test_what_only_gauss_newton_meets():
    singular = GaussNewton(Formula(lambda x, batch: x[:, :1] - 3))
    assert told(singular, starts([1.0, 7.0]))[0].startswith("the normal equations are singular")
    far = GaussNewton(Formula(lambda x, batch: 1.6e-154 * x - 3.04e154))
    assert told(far, starts([1.2e308]))[0].startswith("a step led to where x")


def test_a_kernel_that_believes_nothing():
    batch = points()
    reason = "the kernel gives no residual a weight: all are outliers"
    assert set(told(GaussNewton(centre(Tukey(0.01))), batch, batch["start"] - 50)) == {reason}


def test_outside_methods_and_polish():
    problem = Turn()
    batch = problem.data("test")
    nothing = External(
        problem, lambda x0, seen: x0.where(torch.arange(len(x0))[:, None] != 2, torch.nan)
    )
    assert [
        row
        for row, why in enumerate(told(nothing, batch))
        if why == "the function gave no finite answer"
    ] == [2]
    batch["compass"][4] = torch.nan
    model = Polished(Cascade.for_problem(problem), GaussNewton(problem))
    words = model.explain(model(batch, keep_states=True), batch)
    assert [row for row, why in enumerate(words) if why] == [4]


def scan_in_mm():
    problem = Registration(num_test=4)
    batch = problem.data("test")
    return (
        problem,
        {**batch, "scan": 100 * batch["scan"]},
        "no point of the scan is within 0.5 half sides of the model",
    )


def flat_image():
    problem = AnyTemplate(num_test=2)
    batch = problem.data("test")
    return (
        problem,
        {**batch, "image": 0 * batch["image"] + 99},
        "the image has no contrast where the template is laid",
    )


def flat_template():
    problem = AnyTemplate(num_test=2)
    batch = problem.data("test")
    return (
        problem,
        {**batch, "template": 0 * batch["template"] + 99},
        "the template has no contrast",
    )


def collinear():
    problem = Pose("varying", num_test=4)
    batch = problem.data("test")
    return (
        problem,
        {**batch, "points": batch["points"][:, :, :1].repeat(1, 1, 3)},
        "the points lie on a line",
    )


def pixels():
    problem = Pose(num_test=4)
    batch = problem.data("test")
    return (
        problem,
        {**batch, "projections": 600 * batch["projections"] + 320},
        "the projections lie far outside the image",
    )


@pytest.mark.parametrize("make", [scan_in_mm, flat_image, flat_template, collinear, pixels])
def test_the_checks_of_a_problem(make):
    problem, batch, reason = make()
    result = evaluate(GaussNewton(problem), batch, batch_size=2)
    assert result.invalid
    assert sum(result.invalid.values()) == result.ended["invalid"]
    assert [why.startswith(reason) for why in result.invalid] == [True]
    assert Evaluation.from_json(result.to_json()).endings == result.endings
    assert unusable({"lm": result, "gn": Evaluation(result.errors, None, 1.0, 1.0, 1, "cpu")}) == [
        f"lm: {result.endings}"
    ]
    assert (
        f"{result.ended['invalid']} invalid ({result.ended['invalid']}: {reason}" in result.endings
    )


def test_scipy_does_not_converge_where_nothing_depends_on_x():
    problem, batch, reason = scan_in_mm()
    words = Counter(told(ScipyLeastSquares(problem), batch))
    assert [(why.startswith(reason), count) for why, count in words.items()] == [(True, 4)]


def test_check_tells_of_samples_that_no_solver_can_use():
    problem, batch, reason = scan_in_mm()
    problem.data = lambda split: batch
    problem.augment = lambda batch, generator: batch
    told = [check.detail for check in check_problem(problem).warnings]
    assert [detail.startswith(f"4 of 4 samples are INVALID (4: {reason}") for detail in told] == [
        True
    ]
