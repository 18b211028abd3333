from __future__ import annotations

import pytest
import torch

from learned_descent import DescentError
from learned_descent.problems import Analytic

SIZES = {"sin": (11, 41), "cube": (19, 109), "erf": (19, 67), "exp": (10, 55), "sin_erf": (19, 67)}


@pytest.mark.parametrize(("function", "counts"), SIZES.items())
def test_targets_solve_the_equations(function, counts):
    problem = Analytic(function, dtype=torch.float64)
    for split, count in zip(("train", "test", "val"), (*counts, counts[0] - 1)):
        batch = problem.data(split)
        assert batch["x"].dtype == torch.float64
        assert len(batch["x"]) == count
        assert problem.residual(problem.target(batch), batch).abs().max() < 3e-7  # float32 addition leaves the range of sin
        assert problem.error(problem.target(batch), batch).max() == 0


@pytest.mark.parametrize("function", SIZES)
def test_validation_values_are_none_of_the_others(function):
    values = {split: set(Analytic(function).data(split)["y"][:, 0].tolist()) for split in ("train", "val", "test")}
    assert not values["val"] & (values["train"] | values["test"])
    assert min(values["train"]) < min(values["val"]) < max(values["val"]) < max(values["train"])


def test_grid_is_rounded_like_repeated_float32_addition():
    y = Analytic("sin", dtype=torch.float64).data("test")["y"]
    assert y[-1].item() == 1.000000238418579
    assert y[20].item() == pytest.approx(0, abs=3e-7)


def test_starts(device, dtype):
    problem = Analytic("sin", dtype=dtype)
    batch = {name: value.to(device) for name, value in problem.data("train").items()}
    assert (problem.initial(batch) == 0.5).all()
    draw = torch.Generator(device).manual_seed(0)
    random = torch.cat([problem.initial(batch, draw) for _ in range(100)])
    assert random.dtype == dtype
    assert random.mean().item() == pytest.approx(0.5, abs=0.02)
    assert random.std().item() == pytest.approx(0.1, abs=0.02)
    assert (Analytic("sin", spread=0, dtype=dtype).initial(batch, draw) == 0.5).all()


def test_settings_build_it_again():
    problem = Analytic("exp", spread=0.5)
    assert Analytic(**problem.settings()).settings() == problem.settings() == {"function": "exp", "spread": 0.5}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"function": "tan"}, "function: expected one of sin, cube, erf, exp, sin_erf, got 'tan'"),
        ({"spread": -1}, "spread: expected a number >= 0, got -1"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(DescentError, match=message):
        Analytic(**settings)
