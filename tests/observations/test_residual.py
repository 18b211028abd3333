from __future__ import annotations

import pytest
import torch

from learned_descent import DescentError, ShapeError
from learned_descent.observations import Residual
from learned_descent.problems import Analytic
from learned_descent.testing.checks import check_observation


def test_features_are_predicted_minus_measured(device, dtype):
    x = torch.tensor([[1.0, 2.0], [3.0, -4.0]], dtype=dtype, device=device)
    features = Residual(torch.square, "y")(x, {"y": torch.ones_like(x)})
    assert features.tolist() == [[0, 3], [8, 15]]
    assert features.dtype == dtype


@pytest.mark.parametrize(
    ("squash", "wanted"), [("tanh", [-0.7615942, 0.0, 1.0]), ("clamp", [-1.0, 0.0, 1.0])]
)
def test_squashed_features_are_bounded_and_in_units_of_the_scale(squash, wanted):
    x = torch.tensor([[-2.0], [0.0], [1e30]])
    features = Residual(lambda x: x, "y", squash, scale=2.0)(x, {"y": torch.zeros(3, 1)})
    torch.testing.assert_close(features.flatten(), torch.tensor(wanted))


@pytest.mark.parametrize("squash", [None, "tanh", "clamp"])
def test_contract(squash, device):
    problem = Analytic("sin_erf")
    eyes = Residual(problem.observation().h, "y", squash, scale=2.0)
    assert not check_observation(eyes, problem, device=device).failures
    assert eyes.settings() == {"y": "y", "squash": squash, "scale": 2.0}


@pytest.mark.parametrize("squash", [None, "tanh", "clamp"])
def test_gradient(squash):
    eyes = Residual(torch.sin, "y", squash, scale=3.0)
    x = torch.linspace(-1, 1, 6, dtype=torch.float64).view(3, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: eyes(x, {"y": torch.ones_like(x)}), x)


def test_settings_that_make_no_sense():
    with pytest.raises(DescentError, match="scale: expected a positive number, got 0"):
        Residual(torch.sin, "y", "tanh", scale=0)


def test_unknown_measurements():
    with pytest.raises(DescentError, match=r"y: the batch has no tensor 'z'; it has \['x', 'y'\]"):
        Residual(torch.sin, "z")(
            torch.zeros(1, 1), {"y": torch.zeros(1, 1), "x": torch.zeros(1, 1)}
        )


def test_prediction_of_another_shape():
    with pytest.raises(
        ShapeError, match=r"h\(x\): expected shape \(B, R\) with B = 4, R = 2, got \(4, 1\)"
    ):
        Residual(torch.sin, "y")(torch.zeros(4, 1), {"y": torch.zeros(4, 2)})


def test_an_unknown_squash():
    with pytest.raises(DescentError, match=r'squash: expected "tanh", "clamp" or None, got .cut.'):
        Residual(torch.sin, "y", "cut")
