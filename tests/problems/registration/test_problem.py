from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Generator

from learned_descent import Cascade, DescentError, LeastSquares, SequentialRidge, ShapeError
from learned_descent.problems.registration.occupancy import Sides, pieces
from learned_descent.problems.registration.problem import ANGLES, RECIPES, Registration
from learned_descent.registry import recipe_for, resolve_problem
from learned_descent.solvers import GaussNewton, LevenbergMarquardt, Status

SMALL = {"num_model": 64, "num_scan": 80, "num_train": 16, "num_test": 16}


@pytest.fixture(scope="module")
def problem() -> Registration:
    return Registration(**SMALL)


@pytest.fixture(scope="module")
def batch(problem):
    return problem.data("test")


def near_the_truth(problem, batch, degrees: float = 5.0):
    delta = torch.zeros(len(batch["scan"]), 6).to(batch["scan"])
    delta[:, 1] = math.radians(degrees)
    delta[:, 4] = 0.1
    return problem.retract(problem.target(batch), delta)


def test_starts_are_as_far_away_as_said(problem, batch):
    errors = problem.error(problem.initial(batch), batch)
    torch.testing.assert_close(errors, torch.tensor(ANGLES).repeat(4), atol=1e-2, rtol=0)
    draw = Generator().manual_seed(0)
    random = torch.cat([problem.error(problem.initial(batch, draw), batch) for _ in range(40)])
    assert random.min() < 10
    assert 120 < random.max() < 135.1
    assert random.mean().item() == pytest.approx(67.5, abs=6)


def test_most_points_of_a_scan_lie_on_the_model_where_it_belongs(problem, batch):
    moved = problem.moved(problem.target(batch), batch)
    away = torch.cdist(moved, problem.surface.points).amin(2)
    on = (away < 0.1) & batch["valid"]
    share = on.sum(1) / batch["valid"].sum(1)
    assert share.min() > 0.75
    assert share.mean() < 0.95
    assert 60 <= batch["valid"].sum(1).min() < batch["valid"].sum(1).max() <= 80
    assert (batch["scan"][~batch["valid"]] == 0).all()


@pytest.mark.parametrize("metric", ["plane", "point"])
def test_jacobian_is_the_derivative(metric):
    problem = Registration(**SMALL, metric=metric).double()
    wide = {
        name: value.double() if value.is_floating_point() else value
        for name, value in problem.data("test").items()
    }
    for x in (problem.initial(wide), near_the_truth(problem, wide)):
        torch.testing.assert_close(
            problem.jacobian(x, wide), LeastSquares.jacobian(problem, x, wide), atol=1e-9, rtol=1e-6
        )


@pytest.mark.parametrize("metric", ["plane", "point"])
def test_normal_equations_are_those_of_residual_and_jacobian(metric):
    problem = Registration(**SMALL, metric=metric)
    batch = problem.prepare(problem.data("test"))
    x = problem.initial(batch)
    for value, wanted in zip(
        problem.normal_equations(x, batch), LeastSquares.normal_equations(problem, x, batch)
    ):
        torch.testing.assert_close(value, wanted, atol=1e-4, rtol=1e-4)


def test_residuals_are_distances_to_the_nearest_points(problem, batch):
    point = Registration(**SMALL, metric="point", robust=0, reach=10.0)
    x = near_the_truth(problem, batch)
    distances = torch.cdist(problem.moved(x, batch), problem.points).amin(2) * batch["valid"]
    lengths = torch.linalg.vector_norm(point.residual(x, batch).unflatten(1, (-1, 3)), dim=2)
    torch.testing.assert_close(lengths, distances, atol=1e-3, rtol=0)
    plane = problem.residual(x, batch).abs()
    assert (plane <= distances.clamp(min=problem.robust) + 1e-3).all()
    missed = (distances > problem.reach) & batch["valid"]
    assert missed.any()
    torch.testing.assert_close(plane[missed], torch.full_like(plane[missed], problem.robust))


def test_retract_and_local(problem, batch):
    x, y = problem.initial(batch), problem.target(batch)
    torch.testing.assert_close(problem.retract(x, problem.local(x, y)), y, atol=1e-5, rtol=1e-5)
    quarter = torch.tensor([[0, 0, math.pi / 2, 0.4, 0, 0]])
    # About the model, then 0.1 on
    once = problem.retract(torch.tensor([[1.0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0]]), quarter)
    torch.testing.assert_close(
        once, torch.tensor([[0.0, -1, 0, 1, 0, 0, 0, 0, 1, 0.1, 1, 0]]), atol=1e-6, rtol=0
    )
    rotation = problem.retract(y, torch.full((len(y), 6), 2.0))[:, :9].unflatten(1, (3, 3))
    torch.testing.assert_close(
        rotation @ rotation.mT, torch.eye(3).expand(len(y), 3, 3), atol=1e-5, rtol=0
    )


def test_features_are_those_of_the_paper(problem, batch):
    x, width, cells = near_the_truth(problem, batch)[:2], 0.17, 24
    two = {name: value[:2] for name, value in batch.items()}
    eyes, side = Sides(problem, width=width, cells=cells), 2 * (1 + 2 * width) / cells
    place = ((problem.moved(x, two) / side).floor() + 0.5) * side  # the middle of the cell
    between = place[:, :, None] - problem.points
    weights = (-between.square().sum(3) / width**2).exp() * two["valid"][:, :, None]
    ahead = (between * problem.normals).sum(3) > 0
    sums = torch.cat([(weights * ahead).sum(1), (weights * ~ahead).sum(1)], 1)
    torch.testing.assert_close(
        eyes(x, eyes.prepare(two)), 64 * sums / sums.sum(1, keepdim=True), atol=5e-3, rtol=5e-3
    )


def test_padding_and_points_that_are_not_finite_are_not_seen(problem, batch):
    eyes, x = problem.observation(), problem.initial(batch)
    seen = eyes(x, eyes.prepare(batch))
    scan, valid = batch["scan"].clone(), batch["valid"].clone()
    scan[~valid] = 7.0
    assert torch.equal(eyes(x, eyes.prepare({**batch, "scan": scan})), seen)
    lost = {**batch, "scan": scan.clone(), "valid": valid.clone()}
    lost["scan"][:, 0], missing = torch.nan, lost["valid"]
    missing[:, 0] = False
    torch.testing.assert_close(
        eyes(x, eyes.prepare({**lost, "valid": valid})),
        eyes(x, eyes.prepare({**batch, "valid": missing})),
    )


def test_pairs_come_in_bounded_pieces():
    for values in (torch.arange(24.0).reshape(4, 3, 2), torch.arange(8.0).reshape(4, 2)):
        assert torch.equal(torch.cat(list(pieces(values, 1 << 30))), values)
        assert [len(piece) for piece in pieces(values, 1 << 30)] == [1] * 4
    assert [len(piece) for piece in pieces(torch.zeros(4, 3, 2), 1 << 14)] == [2, 2]


@pytest.mark.parametrize("solver", [GaussNewton, LevenbergMarquardt])
def test_solvers_settle_near_the_truth(problem, batch, solver):
    descent = solver(problem, num_steps=15)
    reached = descent(batch, near_the_truth(problem, batch, 10.0)).final
    assert problem.error(reached, batch).median() < 4


def test_degenerate_scans_are_invalid_and_alone(problem, batch):
    scan, valid = batch["scan"].clone(), batch["valid"].clone()
    valid[1] = False  # an empty cloud
    scan[2] = torch.linspace(-1, 1, 80)[:, None] * torch.tensor([0.3, 0.5, 0.2])  # a line
    scan[3, 5] = torch.nan
    scan[4, :] = 0.3  # one point, many times
    scan[5, ~valid[5]] = torch.inf  # padding may be anything
    solver = LevenbergMarquardt(problem, num_steps=3)
    trajectory = solver({**batch, "scan": scan, "valid": valid}, keep_states=True)
    status, usual = solver.status(trajectory), solver(batch).final
    assert status[1:5].tolist() == [Status.INVALID] * 4
    assert (status[[0, *range(5, 16)]] != Status.INVALID).all()
    assert torch.equal(trajectory.final[1:5], problem.initial(batch)[1:5])
    rest = [0, *range(5, 16)]
    torch.testing.assert_close(trajectory.final[rest], usual[rest])


def test_learned_models_stay_finite_on_degenerate_scans(problem, batch):
    model = Cascade.for_problem(problem, num_steps=2)
    torch.nn.init.ones_(model.stages[0].weight)
    scan, valid = batch["scan"].clone(), batch["valid"].clone()
    valid[1] = False
    scan[3, 5] = torch.nan
    with torch.no_grad():
        assert model({**batch, "scan": scan, "valid": valid}).final.isfinite().all()


def test_the_closed_form_beats_its_start():
    problem = Registration(**{**SMALL, "num_train": 256})
    model, train = Cascade.for_problem(problem, num_steps=2), problem.data("train")
    SequentialRidge(ridge=1.0, repeats=4, accelerator="cpu").fit(model, train)
    with torch.no_grad():
        x = model(train, generator=Generator().manual_seed(1)).xs
    assert problem.loss(x[-1], train).mean() < 0.85 * problem.loss(x[0], train).mean()


def test_a_model_from_a_file(tmp_path):
    points = np.random.default_rng(0).normal(size=(300, 3)) * [1, 2, 3]
    np.savez(tmp_path / "cloud.npz", points=points)
    problem = Registration(str(tmp_path / "cloud.npz"), **SMALL)
    assert problem.points.shape == (64, 3)
    assert problem.settings()["model_file"] == str(tmp_path / "cloud.npz")
    assert problem.data("train")["scan"].shape == (16, 80, 3)


def test_wrong_shapes_raise_before_the_loop(problem, batch):
    with pytest.raises(
        ShapeError, match=r"scan: expected shape \(B, S, 3\) with B = 16, got \(16, 80, 2\)"
    ):
        LevenbergMarquardt(problem)({**batch, "scan": batch["scan"][..., :2]})
    with pytest.raises(
        ShapeError, match=r"valid: expected shape \(B, S\) with B = 16, S = 80, got \(16, 79\)"
    ):
        LevenbergMarquardt(problem)({**batch, "valid": batch["valid"][:, :79]})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metric": "line"}, "metric: expected one of plane, point, got 'line'"),
        ({"num_model": 4}, "num_model: expected 8 or more, got 4"),
        ({"num_scan": 4}, "num_scan: expected 8 or more, got 4"),
        ({"noise": -1}, "noise: expected a number >= 0, got -1"),
        ({"outliers": 1.0}, r"outliers: expected a share in \[0, 1\), got 1.0"),
        ({"kept": 0}, r"kept: expected a share in \(0, 1\], got 0"),
        ({"robust": -0.1}, "robust: expected a number >= 0, got -0.1"),
        ({"reach": 0}, "reach: expected a positive number, got 0"),
        ({"num_test": 3}, "num_train and num_test: expected 4 or more, got 3"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(DescentError, match=message):
        Registration(**settings)


def test_a_point_far_away_is_not_seen(problem, batch):
    eyes, x = problem.observation(), problem.initial(batch)
    away = x + torch.tensor([0.0] * 9 + [10.0, 0, 0])
    assert (eyes(away, eyes.prepare(batch)) == 0).all()


def test_the_loss_is_a_length(problem, batch):
    delta = torch.zeros(len(batch["scan"]), 6)
    delta[:, 1] = 0.5
    x = problem.retract(problem.target(batch), delta)
    torch.testing.assert_close(
        problem.loss(x, batch)[0], torch.linalg.vector_norm(problem.local(x, batch["motion"])[0])
    )
    assert (problem.loss(x, batch) >= 0.5 - 1e-5).all()


def test_wrong_eyes(problem):
    with pytest.raises(DescentError, match="width: expected a positive number, got 0"):
        Sides(problem, width=0)
    with pytest.raises(DescentError, match="cells: expected 2 or more, got 1"):
        Sides(problem, cells=1)
    with pytest.raises(DescentError, match="num_points: expected 1 or more, got 0"):
        Sides(problem, num_points=0)


def test_eyes_for_fewer_points_than_the_model_has(problem, batch):
    few, all_of_them = (Sides(problem, num_points=count) for count in (20, 999))
    x = problem.initial(batch)
    assert few(x, few.prepare(batch)).shape == (16, 40)
    assert all_of_them(x, all_of_them.prepare(batch)).shape == (16, 128)


def test_by_name(problem):
    assert resolve_problem("registration") is Registration
    assert recipe_for(Registration, "mdm+gn") is RECIPES["mdm+gn"]
    assert Registration(**problem.settings()).settings() == problem.settings()


@pytest.mark.parametrize(
    "make", [lambda problem: LevenbergMarquardt(problem, num_steps=2), Cascade.for_problem]
)
def test_a_cloud_without_points_stays_where_it_is(make):
    problem = Registration(num_train=8, num_test=4)
    batch = problem.data("test")
    empty = {**batch, "scan": batch["scan"][:, :0], "valid": batch["valid"][:, :0]}
    model = make(problem)
    with torch.no_grad():
        assert torch.equal(model(empty).final, problem.initial(batch))


@pytest.mark.parametrize(
    "make", [lambda problem: LevenbergMarquardt(problem, num_steps=2), Cascade.for_problem]
)
def test_a_mask_that_is_none_is_refused(make):
    problem = Registration(num_train=8, num_test=4)
    batch = problem.data("test")
    model = make(problem)
    with torch.no_grad(), pytest.raises(DescentError, match="valid: expected"):
        model({**batch, "valid": batch["valid"].float()})
