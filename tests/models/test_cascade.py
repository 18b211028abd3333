from __future__ import annotations

import pytest
import torch
from torch import nn

from learned_descent import Cascade
from learned_descent.observations import Residual
from learned_descent.problems import Analytic
from learned_descent.testing.checks import check_model

from ..toys import Line, Turn


@pytest.mark.parametrize("hidden", [None, 7])
@pytest.mark.parametrize("bias", [True, False])
def test_untrained_returns_its_start(hidden, bias, device):
    model = Cascade.for_problem(Turn(), hidden=hidden, bias=bias)
    assert not check_model(model, untrained=True, device=device).warnings


@pytest.mark.parametrize(
    ("hidden", "bias", "count"),
    [(None, True, 4), (None, False, 3), (5, True, 5 * 4 + 5 + 1), (5, False, 25)],
)
def test_sizes(hidden, bias, count):
    model = Cascade(Line(), Residual(torch.sin, "y"), 3, 1, num_steps=6, hidden=hidden, bias=bias)
    assert len(model.stages) == model.num_steps == 6
    assert sum(weight.numel() for weight in model.parameters()) == 6 * count
    sizes = {"num_features": 3, "num_updates": 1}
    assert model.settings() == {**sizes, "num_steps": 6, "hidden": hidden, "bias": bias}


def test_for_problem_finds_the_sizes():
    model = Cascade.for_problem(Turn())
    assert [(stage.in_features, stage.out_features) for stage in model.stages] == [(2, 1)] * 4
    other = Cascade.for_problem(
        Analytic("sin_erf"), observation=Residual(lambda x: x, "y"), num_steps=1
    )
    assert (other.stages[0].in_features, other.stages[0].out_features) == (2, 2)


def test_stages_are_linear_maps_of_the_features():
    model = Cascade.for_problem(Line(), num_steps=1)
    nn.init.constant_(model.stages[0].weight, 0.5)
    nn.init.constant_(model.stages[0].bias, 0.25)
    delta, state = model.step(0, torch.tensor([[1.0, 2.0, 3.0]]), None)
    assert delta.tolist() == [[3.25, 3.25]]
    assert state is None
