"""Global SDM: what parts its domains, and what they are good for."""

from __future__ import annotations

import pytest
import torch

from learned_descent import Cascade, DescentError, LeastSquares, SequentialRidge
from learned_descent.checkpoint import load_model, save_model
from learned_descent.models import GlobalCascade
from learned_descent.models.global_cascade import _principal
from learned_descent.observations import Residual
from learned_descent.problems import Pose
from learned_descent.testing.checks import check_model

from ..toys import Bent, Line


class Wells(LeastSquares):
    """The side of a square of known area, to the left or to the right: ``x^2 = y`` has a minimum
    on either side of 0, and the descent map changes its sign between them. ``x``: (B, 1)."""

    failure_above = 0.1

    def data(self, split):
        x = torch.linspace(1, 2, {"train": 80, "val": 20, "test": 31}[split])[:, None]
        x = torch.cat([-x, x])
        seen = torch.cat([x.square(), torch.zeros_like(x)], 1)
        return {"y": x.square(), "seen": seen, "x": x, "near": 1.5 * x.sign()}

    def initial(self, batch, generator=None):
        start = batch["near"]
        if generator is None:
            return start
        return start + 0.1 * torch.randn(start.shape, generator=generator)

    def target(self, batch):
        return batch["x"]

    def observation(self):
        return Residual(lambda x: torch.cat([x.square(), x], 1), "seen")

    def residual(self, x, batch):
        return x.square() - batch["y"]


def fitted(model, problem, ridge=1e-6):
    SequentialRidge(ridge=ridge, accelerator="cpu").fit(model, problem.data("train"))
    return model


def filled(**settings) -> tuple[GlobalCascade, torch.Tensor]:
    """A model that was trained, and features that it has not seen."""
    problem = Line()
    model = fitted(GlobalCascade.for_problem(problem, observation=Bent(), **settings), problem)
    batch = problem.data("test")
    return model, model.observation(problem.initial(batch), batch)


@pytest.mark.parametrize("directions", [(1, 1), (2, 0), (0, 2), (2, 1)])
def test_domains_are_disjoint_and_cover(directions):
    ways = dict(zip(("feature_directions", "update_directions"), directions))
    model, features = filled(**ways)
    for k in range(model.num_steps):
        shares = model.shares(k, features)
        assert shares.shape == (len(features), 2 ** sum(directions))
        assert set(shares.unique().tolist()) == {0.0, 1.0}
        assert torch.equal(shares.sum(1), torch.ones(len(features)))


def test_the_axes_are_uncorrelated_and_of_variance_one():
    model, _ = filled()
    batch = model.problem.data("train")
    seen = model.observation(model.problem.initial(batch), batch)
    places = (seen - model.centres[0]) @ model.axes[0]
    torch.testing.assert_close(places.mT.cov(), torch.eye(2), atol=0.1, rtol=0)


def test_principal_directions_of_many_features_are_those_of_all():
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(60, 1200, generator=draw, dtype=torch.float64)
    rows *= torch.arange(1, 61, dtype=torch.float64).sqrt().unsqueeze(1)
    covariance = rows.mT @ rows
    found = _principal(covariance, 5)
    wanted = torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, :5]
    torch.testing.assert_close((found.mT @ wanted).abs(), torch.eye(5).double())
    assert torch.equal(found, _principal(covariance, 5))


def test_in_a_video_the_previous_frame_tells_the_domain():
    """The same picture is descended from either side of 0, as the frame before it ended there."""
    problem = Wells()
    model = fitted(GlobalCascade.for_problem(problem), problem)
    batch = {name: value[-4:] for name, value in problem.data("test").items()}
    with torch.no_grad():
        right, left = (model(batch, x0=side * batch["near"]).final for side in (1.0, -1.0))
    assert problem.error(right, batch).max() < 0.1
    assert problem.error(-left, batch).max() < 0.1


class Long(Line):
    """The line problem with a second number that is larger than the first."""

    def data(self, split):
        x = super().data(split)["x"] * torch.tensor([1.0, 4.0])
        return {"x": x, "y": x @ self.matrix.T}


def test_an_axis_of_updates_points_where_they_do():
    problem = Long()
    alone = {"feature_directions": 0, "update_directions": 1}
    model = fitted(GlobalCascade.for_problem(problem, **alone), problem)
    batch = problem.data("test")
    x = problem.initial(batch)
    places = (model.observation(x, batch) - model.centres[0]) @ model.axes[0]
    both = torch.stack([places[:, 0], problem.local(x, batch["x"])[:, 1]])
    assert both.corrcoef()[0, 1].abs() > 0.95


@pytest.mark.parametrize("softness", [0.0, 1.0])
def test_with_one_domain_it_is_the_cascade_of_sdm(softness):
    problem = Pose(num_points=8, num_train=64)
    alone = {"feature_directions": 0, "update_directions": 0, "softness": softness}
    one = fitted(GlobalCascade.for_problem(problem, **alone), problem)
    sdm = fitted(Cascade.for_problem(problem), problem)
    batch = problem.data("test")
    with torch.no_grad():
        assert torch.equal(one(batch).xs, sdm(batch).xs)


def test_soft_domains_sum_to_one_and_turn_hard():
    model, features = filled()
    hard = model.shares(0, features)
    model.softness = 1.0
    soft = model.shares(0, features)
    torch.testing.assert_close(soft.sum(1), torch.ones(len(features)))
    assert ((soft > 0) & (soft < 1)).all()
    assert torch.equal(soft.argmax(1), hard.argmax(1))
    model.softness = 1e-3
    torch.testing.assert_close(model.shares(0, features), hard, atol=1e-3, rtol=0)


def test_soft_weights_are_those_of_the_distance_to_the_means():
    model, features = filled(softness=0.8)
    places = (features - model.centres[0]) @ model.axes[0]
    signs = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
    means = signs * (2 / torch.pi) ** 0.5
    distance = torch.cdist(places, means).square() / (2 * 0.8**2)
    found = model.shares(0, features)
    wanted = (-distance).softmax(1)
    order = [int((found - wanted[:, [d]]).abs().sum(0).argmin()) for d in range(4)]
    assert sorted(order) == [0, 1, 2, 3]
    torch.testing.assert_close(found[:, order], wanted)


@pytest.mark.parametrize("settings", [{}, {"softness": 1.0}, {"rank": 2}])
def test_two_basins_are_descended_where_one_map_averages_them(settings):
    problem = Wells()
    batch = problem.data("test")
    errors = []
    for cls, own in ((Cascade, {}), (GlobalCascade, settings)):
        model = fitted(cls.for_problem(problem, **own), problem)
        with torch.no_grad():
            errors.append(problem.error(model(batch).final, batch).mean())
    start = problem.error(problem.initial(batch), batch).mean()
    assert errors[0] > 0.8 * start, "one map has nothing to say"
    assert errors[1] < 0.2 * start


@pytest.mark.parametrize("settings", [{}, {"softness": 1.0}, {"rank": 3}])
def test_it_keeps_the_contract_and_is_stored(settings, tmp_path):
    problem = Pose(num_points=8, num_train=32)
    model = GlobalCascade.for_problem(problem, num_steps=2, **settings)
    assert not check_model(model).failures
    fitted(model, problem, 1e-3)
    assert not check_model(model, untrained=False).failures
    save_model(model, tmp_path / "model.safetensors")
    batch = problem.data("test")
    with torch.no_grad():
        again = load_model(tmp_path / "model.safetensors")
        assert torch.equal(again(batch).final, model.eval()(batch).final)


def test_a_rank_is_at_most_the_number_of_features():
    problem = Line()
    assert GlobalCascade.for_problem(problem, rank=100).rank == 3
    with pytest.raises(DescentError, match="rank: expected at most 3, got 4"):
        GlobalCascade(problem, problem.observation(), 3, 2, rank=4)


def test_too_many_domains_are_refused():
    with pytest.raises(DescentError, match=r"feature_directions \+ update_directions: expected at"):
        GlobalCascade.for_problem(Line(), feature_directions=4, update_directions=3)


def test_a_step_too_many_is_refused():
    model = GlobalCascade.for_problem(Line(), num_steps=1)
    with pytest.raises(DescentError, match="at most the 1 steps that it was made with"):
        model(model.problem.data("test"), num_steps=2)
