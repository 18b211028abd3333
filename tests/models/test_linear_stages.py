"""A model of one's own whose stages the closed form fills."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from learned_descent import Cascade, DescentError, SequentialRidge
from learned_descent.look import eyes_of, probe
from learned_descent.models import LinearStages
from learned_descent.testing.checks import check_model

from ..toys import Line


class Quadratic(LinearStages):
    """A linear map of the features and of their squares, which are centred before."""

    def __init__(self, problem, observation, num_features, num_updates, *, num_steps=3):
        super().__init__(problem, observation, num_steps)
        self.register_buffer("centres", torch.zeros(num_steps, num_features))
        maps = [nn.Linear(2 * num_features, num_updates) for _ in range(num_steps)]
        self.maps = nn.ModuleList(maps)
        for layer in maps:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.measured = []

    @classmethod
    def for_problem(cls, problem, *, observation=None):
        eyes = observation or eyes_of(problem)
        return cls(problem, eyes, *probe(problem, eyes))

    def init_state(self, x):
        return None

    def linear(self, k):
        return self.maps[k]

    def lifted(self, k, features):
        features = features - self.centres[k]
        return torch.cat([features, features.square()], 1)

    def step(self, k, features, state):
        return self.maps[k](self.lifted(k, features)), None

    def begin(self, k, measure):
        self.measured.append(measure())
        self.centres[k] = self.measured[-1].mean


@pytest.mark.parametrize("ridge", [1e-8, (1e-8, 1e-2)])
def test_the_closed_form_fills_the_stages_of_any_model(ridge):
    problem = Line()
    model = Quadratic.for_problem(problem)
    SequentialRidge(ridge=ridge, accelerator="cpu").fit(model, problem.data("train"))
    assert not check_model(model).failures
    batch = problem.data("test")
    with torch.no_grad():
        final = model(batch).final
    assert problem.error(final, batch).max() < 1e-3 * problem.error(batch["x"] + 1, batch).max()


def test_a_stage_knows_the_moments_of_its_features():
    problem, seen = Line(), []
    model, batch = Quadratic.for_problem(problem), problem.data("train")
    looked = model.observation.observe
    model.observation.observe = lambda k, x, batch: seen.append(looked(k, x, batch)) or seen[-1]
    SequentialRidge(ridge=1e-8, batch_size=1000, accelerator="cpu").fit(model, batch)
    first = next(features for features in seen if len(features) == len(batch["x"])).double()
    mean, covariance, cross = model.measured[0]
    torch.testing.assert_close(mean, first.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(covariance, first.mT.cov(correction=0), rtol=1e-4, atol=1e-5)
    # The residual is that of a matrix, so it tells of an update what the matrix does of itself
    told = -cross @ problem.matrix.double().T
    torch.testing.assert_close(told, covariance, rtol=1e-4, atol=1e-5)


def test_a_model_that_asks_for_no_moments_makes_no_pass_for_them():
    problem, looks = Line(), []
    model = Cascade.for_problem(problem, num_steps=1)
    looked = model.observation.observe
    model.observation.observe = lambda k, x, batch: looks.append(k) or looked(k, x, batch)
    SequentialRidge(ridge=1e-3, batch_size=1000, accelerator="cpu").fit(
        model, problem.data("train")
    )
    assert looks.count(0) <= 2, "the rows, and perhaps a first look"


def test_a_stage_that_is_not_linear_is_left_to_gradients():
    problem = Line()
    model = Cascade.for_problem(problem, hidden=3)
    assert model.linear(0) is None
    with pytest.raises(DescentError, match="SequentialRidge trains linear stages"):
        SequentialRidge().fit(model, problem.data("train"))
