from __future__ import annotations

import pytest
import torch
from torch import nn

from learned_descent import (
    Cascade,
    Concat,
    DescentError,
    Frozen,
    MnemonicDescent,
    Observation,
)
from learned_descent.data.samples import Batch
from learned_descent.observations import Residual

from .toys import Compass, Line, Turn


class Learned(Observation):
    """A linear map of the residual, with a preparation that counts."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(3, 5)
        self.prepared = 0

    def prepare(self, batch: Batch) -> Batch:
        self.prepared += 1
        return {**batch, "y": 2 * batch["y"]}

    def forward(self, x: torch.Tensor, batch: Batch) -> torch.Tensor:
        return self.map(batch["y"] + x.sum(1, keepdim=True))


@pytest.fixture
def batch(device):
    return {name: value.to(device) for name, value in Line().data("val").items()}


def test_concat_puts_features_side_by_side(device, batch):
    first, second = Learned().to(device), Residual(lambda x: x.repeat(1, 2)[:, :3], "y")
    both = Concat(first, second).to(device)
    x = batch["x"]
    wanted = torch.cat([first(x, first.prepare(batch)), second(x, batch)], 1)
    assert torch.equal(both(x, both.prepare(batch)), wanted)


def test_concat_prepares_each_part_for_itself(batch):
    both = Concat(Learned(), Learned())
    prepared = both.prepare(batch)
    assert [part.prepared for part in both.parts] == [1, 1]
    assert torch.equal(prepared["0/y"], prepared["1/y"])
    assert torch.equal(prepared["0/y"], 2 * batch["y"])


def test_concat_in_concat(batch):
    inner = Concat(Residual(lambda x: x, "x"), Residual(torch.sin, "x"))
    outer = Concat(inner, Residual(torch.cos, "x"))
    x = torch.zeros_like(batch["x"])
    wanted = torch.cat([x - batch["x"], x - batch["x"], 1 - batch["x"]], 1)
    assert torch.equal(outer(x, outer.prepare(batch)), wanted)


def test_concat_of_more_than_ten_parts_keeps_them_apart(batch):
    parts = [Residual(lambda x, k=k: x + k, "x") for k in range(12)]
    eyes = Concat(*parts)
    features = eyes(batch["x"], eyes.prepare(batch))
    assert torch.allclose(
        features[0], torch.arange(12.0).repeat_interleave(2).to(features), atol=1e-6
    )


def test_concat_is_differentiable_only_if_every_part_is():
    assert Concat(Compass(), Compass()).differentiable
    assert not Concat(Compass(), Frozen(Compass())).differentiable
    assert Observation.differentiable, "the class is not touched"


def test_frozen_gives_the_same_features_without_gradient(device, batch):
    inner = Learned().to(device)
    x = batch["x"].clone().requires_grad_()
    wanted = inner(x, inner.prepare(batch)).detach()
    frozen = Frozen(inner)
    features = frozen(x, frozen.prepare(batch))
    assert torch.equal(features, wanted)
    assert not features.requires_grad
    assert not any(weight.requires_grad for weight in frozen.parameters())


@pytest.mark.parametrize("family", [Cascade, MnemonicDescent])
def test_back_propagation_through_frozen_eyes_is_refused(family):
    problem = Turn()
    model = family.for_problem(problem, observation=Frozen(Compass()))
    with pytest.raises(
        DescentError,
        match='detach="none" needs an observation that is differentiable in x, and Frozen is not',
    ):
        model(problem.data("train"))
    with torch.no_grad():
        wanted = model(problem.data("train")).xs
    for cut in ("state", "observation"):
        assert torch.equal(model(problem.data("train"), detach=cut).xs, wanted)
