from __future__ import annotations

import pytest
import torch

from learned_descent import DescentError, MnemonicDescent
from learned_descent.model import tensors_of
from learned_descent.models import LSTMState
from learned_descent.testing.checks import check_model

from ..toys import Turn


@pytest.mark.parametrize("cell", ["tanh", "gru", "lstm"])
def test_untrained_returns_its_start(cell, device):
    model = MnemonicDescent.for_problem(Turn(), hidden=6, cell=cell)
    assert not check_model(model, untrained=True, device=device).warnings


def test_tanh_cell_is_that_of_the_paper():
    model = MnemonicDescent.for_problem(Turn(), hidden=6)
    features, state = (
        torch.randn(3, 2, generator=torch.Generator().manual_seed(0)),
        torch.full((3, 6), 0.1),
    )
    cell = model.cell
    wanted = torch.tanh(
        features @ cell.weight_ih.T + cell.bias_ih + state @ cell.weight_hh.T + cell.bias_hh
    )
    delta, after = model.step(0, features, state)
    torch.testing.assert_close(after, wanted)
    torch.testing.assert_close(delta, model.update(wanted))


def test_weights_are_shared_by_the_steps():
    few, many = (MnemonicDescent.for_problem(Turn(), num_steps=steps, hidden=6) for steps in (1, 9))
    assert sum(weight.numel() for weight in few.parameters()) == sum(
        weight.numel() for weight in many.parameters()
    )


@pytest.mark.parametrize(("features", "largest"), [(8, 0.125), (1024, 0.125), (102_400, 0.0125)])
def test_tanh_is_not_saturated_by_many_features(features, largest):
    problem = Turn()
    model = MnemonicDescent(problem, problem.observation(), features, 2, hidden=64)
    assert 0.9 * largest < model.cell.weight_ih.abs().max() <= 1.001 * largest
    seen = torch.rand(1, features, generator=torch.Generator().manual_seed(0))
    _, state = model.step(0, seen, model.init_state(torch.ones(1, 2)))
    assert 0.01 < state.abs().mean() < 0.85


def test_memory_starts_at_zero_and_has_the_dtype_of_x():
    model = MnemonicDescent.for_problem(Turn(), hidden=6)
    state = model.init_state(torch.ones(3, 2, dtype=torch.float64))
    assert state.dtype == torch.float64
    assert torch.equal(state, torch.zeros(3, 6, dtype=torch.float64))


@pytest.mark.parametrize("cell", ["tanh", "gru", "lstm"])
def test_without_memory_a_step_depends_on_its_features_alone(cell):
    torch.manual_seed(0)
    plain, forgetful = (
        MnemonicDescent.for_problem(Turn(), hidden=6, cell=cell, memory=memory)
        for memory in (True, False)
    )
    features = torch.ones(3, 2)
    state = LSTMState(*torch.ones(2, 3, 6)) if cell == "lstm" else torch.ones(3, 6)
    for model, same in ((plain, False), (forgetful, True)):
        _, remembered = model.step(0, features, state)
        _, fresh = model.step(0, features, model.init_state(torch.ones(3, 2)))
        for one, other in zip(tensors_of(remembered), tensors_of(fresh), strict=True):
            assert torch.equal(one, other) == same


@pytest.mark.parametrize("cell", ["tanh", "gru", "lstm"])
def test_dropout_hides_features_in_training_alone(cell):
    torch.manual_seed(0)
    model = MnemonicDescent.for_problem(Turn(), hidden=6, cell=cell, dropout=0.5)
    features, state = torch.ones(64, 2), model.init_state(torch.ones(64, 2))
    seen = tensors_of(model.step(0, features, state)[1])[0]
    assert len(seen.unique(dim=0)) == 4  # none, one of two, the other, both
    model.eval()
    found, wanted = model.step(0, features, state)[1], model.cell(features, state)
    assert all(map(torch.equal, tensors_of(found), tensors_of(wanted)))


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_dropout_that_is_no_share_is_refused(dropout):
    with pytest.raises(DescentError, match=r"dropout: expected a share in \[0, 1\), got"):
        MnemonicDescent.for_problem(Turn(), dropout=dropout)


def test_settings():
    model = MnemonicDescent.for_problem(Turn(), num_steps=2, hidden=6, cell="gru")
    assert model.settings() == {
        "num_features": model.num_features,
        "num_updates": model.num_updates,
        "num_steps": 2,
        "hidden": 6,
        "cell": "gru",
        "memory": True,
    }
