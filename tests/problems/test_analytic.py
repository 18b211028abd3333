from __future__ import annotations

import pytest
import torch

from learned_descent import Cascade, DescentError, SequentialRidge
from learned_descent.problems import Analytic
from learned_descent.solvers import GaussNewton

SIZES = {"sin": (11, 41), "cube": (19, 109), "erf": (19, 67), "exp": (10, 55), "sin_erf": (19, 67)}


@pytest.mark.parametrize(("function", "counts"), SIZES.items())
def test_targets_solve_the_equations(function, counts):
    problem = Analytic(function, dtype=torch.float64)
    for split, count in zip(("train", "test", "val"), (*counts, counts[0] - 1)):
        batch = problem.data(split)
        assert batch["x"].dtype == torch.float64
        assert len(batch["x"]) == count
        # float32 addition leaves the range of sin
        assert problem.residual(problem.target(batch), batch).abs().max() < 3e-7
        assert problem.error(problem.target(batch), batch).max() == 0


@pytest.mark.parametrize("function", SIZES)
def test_validation_values_are_none_of_the_others(function):
    values = {
        split: set(Analytic(function).data(split)["y"][:, 0].tolist())
        for split in ("train", "val", "test")
    }
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
    settings = {"function": "exp", "start": 0.5, "spread": 0.5, "num_test": None}
    assert Analytic(**problem.settings()).settings() == problem.settings() == settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"function": "tan"}, "function: expected one of sin, cube, erf, exp, sin_erf, got 'tan'"),
        ({"spread": -1}, "spread: expected a number >= 0, got -1"),
        ({"start": float("nan")}, "start: expected a finite number, got nan"),
        ({"num_test": 1}, "num_test: expected 2 or more values, or None, got 1"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(DescentError, match=message):
        Analytic(**settings)


def test_more_test_values_lie_in_the_range_of_the_paper():
    paper, fine = (
        Analytic("cube", num_test=count, dtype=torch.float64).data("test") for count in (None, 801)
    )
    assert len(fine["y"]) == 801
    assert (fine["y"].min(), fine["y"].max()) == (paper["y"].min(), paper["y"].max()) == (-27, 27)
    assert torch.allclose(fine["x"] ** 3, fine["y"], atol=1e-9)


@pytest.mark.parametrize(
    ("function", "start", "newton"),
    [("sin", 1.5, 0.2), ("cube", 8.0, 0.9), ("erf", 2.0, 0.3), ("exp", -3.0, 0.3)],
)
def test_far_starts_defeat_newton_but_not_supervised_descent(function, start, newton):
    """A cascade does not care where it starts, for its first stage is the regression of ``x*`` on
    ``h(x0) - y``."""
    solved, near = [], []
    for where in (start, 0.5):
        problem = Analytic(function, start=where, spread=0, dtype=torch.float64)
        sdm = Cascade.for_problem(problem, num_steps=20).double()
        SequentialRidge(ridge=1e-10).fit(sdm, problem.data("train"))
        batch = problem.data("test")
        for model, shares in ((sdm, solved), (GaussNewton(problem, num_steps=10), near)):
            shares.append((problem.error(model(batch).final, batch) <= 1e-2).double().mean().item())
    assert solved[0] == pytest.approx(solved[1], abs=0.02)
    assert solved[0] >= 0.9
    assert near[0] < newton < near[1]
