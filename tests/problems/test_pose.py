from __future__ import annotations

import functools
import math

import pytest
import roma
import torch
from torch import Generator

from learned_descent import Cascade, DescentError, LeastSquares, SequentialRidge, ShapeError
from learned_descent.data.batches import index
from learned_descent.kernels import Squares
from learned_descent.problems import Pose
from learned_descent.registry import recipes_for, resolve_problem
from learned_descent.solvers import GaussNewton, LevenbergMarquardt, Status
from learned_descent.testing.checks import check_model, check_observation, check_problem

KINDS = {
    "fixed": {},
    "focal": {"focal": True},
    "varying": {"structure": "varying", "outliers": 0.3},
    "both": {"structure": "varying", "focal": True},
}


def make(kind: str = "fixed", **settings) -> Pose:
    problem = Pose(**{"num_train": 64, "num_test": 16, **KINDS[kind], **settings})
    problem.data = functools.cache(problem.data)
    return problem


@pytest.fixture(params=KINDS)
def problem(request) -> Pose:
    return make(request.param)


def test_contract(problem, device):
    assert not check_problem(problem, device=device).failures
    assert not check_observation(problem.observation(), problem, device=device).failures
    assert not check_model(
        Cascade.for_problem(problem, num_steps=2), untrained=True, device=device
    ).failures


def test_jacobian_is_that_of_autodiff(problem):
    problem.double()
    batch = {name: value[:4].double() for name, value in problem.data("train").items()}
    batch["pose"][:2, 11] = 0.5  # some points of the first two samples are behind the camera
    x = problem.target(batch)
    found, wanted = problem.jacobian(x, batch), LeastSquares.jacobian(problem, x, batch)
    assert (found - wanted).abs().max() < 1e-12 * wanted.abs().max()


def test_residuals_are_those_of_a_pinhole():
    problem = make("both")
    batch = {
        "points": torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 1, 1], [0, 0, 1]]]),
        "projections": torch.zeros(1, 4, 2),
    }
    quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # about z: x becomes y
    x = torch.cat(
        [quarter.flatten(), torch.tensor([1.0, 2, 4]), torch.tensor([2.0]).log()]
    ).unsqueeze(0)
    wanted = torch.tensor([[[0.5, 1], [0.5, 1.5], [0, 0.8], [0.4, 0.8]]])
    assert torch.allclose(problem.residual(x, batch).view(1, 4, 2), wanted)


def test_samples_are_as_described():
    problem = make(num_test=400)
    batch = problem.data("test")
    left = (problem.project(batch["pose"], batch) - batch["projections"]).norm(dim=2)
    good = left < 6 * problem.noise
    assert good.float().mean().item() == pytest.approx(0.5, abs=0.01)
    assert left[good].square().mean().sqrt().item() == pytest.approx(
        2**0.5 * problem.noise, rel=0.1
    )
    assert batch["projections"][~good].abs().max() <= 0.5
    start = problem.metrics(problem.initial(batch), batch)
    assert torch.allclose(
        start["rotation"], torch.tensor([22.5, 45, 90, 135]).repeat(100), atol=1e-2
    )


def test_splits_and_seeds_differ():
    drawn = [
        make().data("train"),
        make().data("val"),
        make().data("test"),
        make(seed=1).data("train"),
    ]
    first = {tuple(batch["pose"][0].tolist()) for batch in drawn}
    assert len(first) == 4
    assert torch.equal(make().data("val")["projections"], make().data("val")["projections"])
    assert not torch.equal(make().object, make(seed=1).object)


def test_the_loss_is_a_length():
    problem = make()
    batch = problem.data("test")
    x = problem.initial(batch)
    torch.testing.assert_close(problem.loss(x, batch), problem.local(x, batch["pose"]).norm(dim=1))


def test_a_dolly_zoom_keeps_the_size_in_the_image():
    problem = make("focal")
    batch = problem.data("test")
    x = problem.initial(batch)
    zoomed = problem.retract(x, torch.eye(7)[6:].repeat(len(x), 1))
    sizes = [problem.project(y, batch).square().mean((1, 2)).sqrt() for y in (x, zoomed)]
    assert zoomed[0, 12].exp().item() == pytest.approx(1.2214, abs=1e-4)
    assert torch.allclose(*sizes, rtol=0.02)


def test_rotations_far_away_come_back():
    problem, generator = make(), Generator().manual_seed(0)
    x = problem.initial(problem.data("test"))
    for angle in (0.0, 1e-5, 0.1, 3.0):
        axis = torch.nn.functional.normalize(torch.randn(len(x), 3, generator=generator), dim=1)
        delta = torch.cat([angle * axis, torch.randn(len(x), 3, generator=generator)], 1)
        y = problem.retract(x, delta)
        assert torch.allclose(problem.local(x, y), delta, atol=2e-3 if angle > 2 else 1e-5)
        assert roma.is_rotation_matrix(y[:, :9].unflatten(1, (3, 3)), 1e-5)


def test_the_known_object_has_any_unit():
    small, large = (
        make(points=(scale * make().object).tolist(), num_test=4) for scale in (1, 1000)
    )
    assert large.size == pytest.approx(1000 * small.size)
    first, second = (problem.data("test") for problem in (small, large))
    assert torch.allclose(first["projections"], second["projections"], atol=1e-5)
    steps = [
        problem.local(problem.initial(batch), batch["pose"])
        for problem, batch in ((small, first), (large, second))
    ]
    assert torch.allclose(*steps, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_robust_steps_find_what_plain_ones_do_not(kind):
    problem = make(kind)
    batch = index(problem.data("test"), torch.arange(0, 16, 4))
    robust = LevenbergMarquardt(problem, num_steps=20)(batch).final
    assert problem.error(robust, batch).max() < problem.failure_above
    problem.kernel = Squares()
    assert (
        problem.error(LevenbergMarquardt(problem, num_steps=20)(batch).final, batch).median()
        > problem.failure_above
    )


@pytest.mark.parametrize("solver", [LevenbergMarquardt, GaussNewton])
def test_a_bad_sample_says_so_and_harms_no_other(solver):
    problem = make("varying", outliers=0.0)
    batch = index(problem.data("test"), torch.arange(5))
    x0 = problem.initial(batch)
    descend = solver(problem, num_steps=10)
    alone = descend(batch, x0).final
    spoilt = {name: value.clone() for name, value in batch.items()}
    # On one line
    spoilt["points"][0] = torch.linspace(-1, 1, 40).unsqueeze(1) * torch.tensor([1.0, 2, 3])
    spoilt["projections"][1, 7, 0] = torch.nan
    spoilt["points"][2, 3, 1] = torch.inf
    start = x0.clone()
    start[3, 11] = -5  # all points are behind the camera
    trajectory = descend(spoilt, start, keep_states=True)
    assert descend.status(trajectory)[:4].tolist() == [Status.INVALID] * 4
    assert torch.equal(trajectory.final[:4], start[:4])
    assert torch.equal(trajectory.final[4], alone[4])
    assert problem.error(trajectory.final, batch)[4] < problem.failure_above


def test_no_step_leads_behind_the_camera():
    problem = make("focal", num_test=64)
    batch = problem.data("test")
    descend = LevenbergMarquardt(problem, num_steps=30)
    trajectory = descend(batch, keep_states=True)
    assert trajectory.final.isfinite().all()
    assert (descend.status(trajectory) != Status.INVALID).all()


def test_features_are_finite_behind_the_camera(problem):
    batch = problem.data("test")
    x = problem.initial(batch)
    x[:, 11] = -5
    eyes = problem.observation()
    assert eyes(x, eyes.prepare(batch)).isfinite().all()


def test_wrong_shapes_are_refused_before_the_loop():
    problem = make()
    solver = LevenbergMarquardt(problem)
    with pytest.raises(
        ShapeError, match=r"projections: expected shape \(B, 40, 2\) with B = 2, got \(2, 39, 2\)"
    ):
        solver({"projections": torch.zeros(2, 39, 2)})
    varying = LevenbergMarquardt(make("varying"))
    with pytest.raises(
        ShapeError,
        match=r"projections: expected shape \(B, N, 2\) with B = 2, N = 6, got \(2, 5, 2\)",
    ):
        varying({"points": torch.zeros(2, 6, 3), "projections": torch.zeros(2, 5, 2)})
    with pytest.raises(DescentError, match="expected a tensor 'points'"):
        varying({"projections": torch.zeros(2, 5, 2)})


@pytest.mark.parametrize("kind", ["fixed", "varying"])
def test_a_tiny_training_beats_its_start(kind):
    problem = make(kind, num_train=256, num_test=64)
    model = Cascade.for_problem(problem, num_steps=3)
    SequentialRidge(ridge=0.01, batch_size=256).fit(model, problem.data("train"))
    batch = problem.data("test")
    with torch.no_grad():
        start, *_, last = (problem.error(x, batch).mean().item() for x in model(batch).xs)
    assert last < 0.7 * start


def test_other_numbers_of_points_are_welcome_where_they_vary():
    model = Cascade.for_problem(make("varying"), num_steps=2)
    batch = make("varying", num_points=7).data("test")
    assert model(batch).final.shape == (16, 12)


def test_settings_build_it_again():
    points = [[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]]
    for problem in (
        Pose(points=points, focal=True, seed=3),
        Pose("varying", num_points=9, outliers=0.1, robust=0.0),
    ):
        assert Pose(**problem.settings()).settings() == problem.settings()


def test_families_and_name():
    assert resolve_problem("pose") is Pose
    assert {"sdm", "mdm", "mdm+lm", "lm"} <= set(recipes_for(Pose))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"structure": "free"}, "structure: expected one of fixed, varying, got 'free'"),
        (
            {"structure": "varying", "points": [[0.0, 0, 0]]},
            "points: expected none where they vary",
        ),
        (
            {"points": [[0.0, 0, 0], [1, 1, 1], [2, 2, 2], [4, 4, 4]]},
            "four or more, finite and not collinear, got",
        ),
        (
            {"points": [[math.nan, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]},
            "expected four or more, finite and not collinear",
        ),
        ({"num_points": 3}, "num_points >= 4, got 8192, 1024, 3"),
        ({"num_points": -1}, "num_points >= 4, got 8192, 1024, -1"),
        ({"points": [[0.0, 0]] * 4}, r"points: expected shape \(N, 3\), got \(4, 2\)"),
        ({"outliers": 1.0}, "expected a distance > 0, 0 <= outliers < 1, .* got .*'outliers': 1.0"),
        ({"noise": -1.0}, "noise >= 0 .*'noise': -1.0"),
        ({"robust": -1.0}, "robust >= 0, .*'robust': -1.0"),
        ({"distance": 0.0}, "distance > 0, .*'distance': 0.0"),
        ({"num_test": 0}, "expected num_train, num_test >= 1, num_points >= 4, got 8192, 0, 40"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(DescentError, match=message):
        Pose(**settings)


def test_samples_from_elsewhere_are_trained_on_as_they_are():
    problem = make()
    batch = problem.data("train")
    own = {name: batch[name] for name in ("projections", "pose")}
    assert problem.augment(own, Generator()) is own
    assert not torch.equal(
        problem.augment(batch, Generator().manual_seed(1))["pose"], batch["pose"]
    )


class Weighted(Pose):
    """The first coordinates count double."""

    def residual(self, x, batch):
        return super().residual(x, batch) * self.object.new_tensor([2.0, 1.0]).repeat(
            self.num_points
        )


def test_solvers_minimise_the_residual_that_a_subclass_overrides():
    problem = Weighted(num_train=64, num_test=16)
    assert not check_problem(problem).failures
    batch = problem.data("test")
    x = problem.initial(batch)
    _, gradient, cost = problem.normal_equations(x, batch)
    wanted = problem.kernel.cost(problem.residual(x, batch))
    assert torch.equal(cost, wanted)
    slope = torch.func.grad(lambda delta: problem.cost(problem.retract(x, delta), batch).sum())(
        torch.zeros(16, 6)
    )
    assert torch.allclose(
        gradient.to(slope), slope, rtol=1e-3, atol=1e-3 * float(slope.abs().max())
    )
    assert Pose.jacobian is not LeastSquares.jacobian
