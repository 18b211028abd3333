"""Learned Levenberg-Marquardt: what makes it one is that the cost never rises."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import Tensor

from benchmarks.problems.learned_lm import figures, measured
from learned_descent import (
    BackpropThroughTime,
    Concat,
    DescentError,
    LeastSquares,
    Observation,
    load_model,
    save_model,
)
from learned_descent.data.batches import index
from learned_descent.linear import damped_step
from learned_descent.models import LearnedLevenbergMarquardt
from learned_descent.names import PROBLEMS
from learned_descent.observations import Residual, ScaledEquations
from learned_descent.problems import Analytic
from learned_descent.problems.curves import TwoExponentials
from learned_descent.registry import recipe_for, resolve_problem
from learned_descent.solvers import NormalEquations
from learned_descent.testing.checks import check_model

from ..toys import Line, Turn

SMALL = {"num_train": 24, "num_test": 12, "num_model": 64, "num_scan": 32, "count": 24}
"""Settings that make a problem quick, where it has them."""

WITH_COST = [name for name in PROBLEMS if issubclass(resolve_problem(name), LeastSquares)]


def small(name: str) -> LeastSquares:
    cls = resolve_problem(name)
    known = inspect.signature(cls).parameters
    return cls(**{key: value for key, value in SMALL.items() if key in known})  # type: ignore[return-value]


def costs(model: LearnedLevenbergMarquardt, batch: dict[str, Tensor]) -> Tensor:
    """The cost at the start and after each step, ``(T + 1, B)``."""
    with torch.no_grad():
        prepared = model.problem.prepare(batch)
        return torch.stack([model.problem.cost(x, prepared) for x in model(batch).xs])


def disturbed(model: LearnedLevenbergMarquardt, size: float = 0.3) -> LearnedLevenbergMarquardt:
    """With random weights in place of the zeros: steps that lead anywhere."""
    draw = torch.Generator().manual_seed(0)
    for layer in (model.damping, model.gain, model.update):
        layer.weight.data = size * torch.randn(layer.weight.shape, generator=draw)
        layer.bias.data.fill_(1)
    return model.eval()


@pytest.mark.parametrize("name", WITH_COST)
def test_the_cost_never_rises(name: str):
    problem = small(name)
    model = LearnedLevenbergMarquardt.for_problem(problem, num_steps=6, hidden=8).eval()
    batch = index(problem.data("test"), torch.arange(8))
    with torch.no_grad():
        start = problem.initial(batch)
        assert torch.equal(model(batch).final, start), "untrained, it stays where it starts"
    few = BackpropThroughTime(
        iterations=2, batch_size=4, lr=1e-2, detach="observation", accelerator="cpu"
    )
    few.fit(model, index(problem.data("train"), torch.arange(8)))
    for trained in (model, disturbed(model)):
        found = costs(trained, batch)
        assert (found[1:] <= found[:-1] * (1 + 1e-6)).all()
    assert found[-1].sum() < found[0].sum(), "some step is better than none"


def test_training_takes_steps_that_raise_the_cost():
    torch.manual_seed(0)
    problem = Analytic("sin")
    model = disturbed(LearnedLevenbergMarquardt.for_problem(problem, hidden=8), size=3.0).train()
    found = costs(model, problem.data("test"))
    assert (found[1:] > found[:-1] * 1.01).any()


@pytest.mark.parametrize("alone", [False, True])
def test_contract(alone: bool, device: str):
    model = LearnedLevenbergMarquardt.for_problem(Turn(), hidden=6, alone=alone)
    assert not check_model(model, untrained=True, device=device).warnings
    assert not check_model(disturbed(model), device=device).warnings


def test_a_refused_step_gives_way_to_that_of_levenberg_marquardt():
    problem = Line()
    batch = problem.data("test")
    model = LearnedLevenbergMarquardt.for_problem(problem, num_steps=1, hidden=8).eval()
    torch.nn.init.constant_(model.update.bias, 9.0)
    hessian, gradient, _ = NormalEquations.unpacked(
        NormalEquations(problem)(problem.initial(batch), batch)
    )
    wanted, _ = damped_step(hessian, gradient, torch.full((len(gradient),), 1e-2).double())
    with torch.no_grad():
        trajectory = model(batch, keep_states=True)
    torch.testing.assert_close(trajectory.final, wanted.float())
    assert (trajectory.states.gain == -1).all()


def test_the_unit_of_the_residuals_does_not_matter():
    class Larger(Line):
        def residual(self, x, batch):
            return 1000 * super().residual(x, batch)

    batch = Line().data("test")
    one, other = (ScaledEquations(problem)(0 * batch["x"], batch) for problem in (Line(), Larger()))
    torch.testing.assert_close(one, other)


def test_what_is_not_finite_is_zero_and_stays_where_it_is():
    problem = Line()
    batch = problem.data("test")
    batch["y"][3] = torch.nan
    model = LearnedLevenbergMarquardt.for_problem(problem, alone=True).eval()
    torch.nn.init.ones_(model.gain.bias)
    assert (ScaledEquations(problem)(problem.initial(batch), batch)[3] == 0).all()
    with torch.no_grad():
        final = model(batch).final
    assert torch.equal(final[3], torch.zeros(2))
    assert final.isfinite().all()


def test_what_its_eyes_see_is_not_remembered_where_it_is_not_finite():
    class Blinking(Observation):
        hurt = torch.zeros(1)

        def forward(self, x, batch):
            return x + self.hurt

    problem, eyes = Line(), Blinking()
    batch = problem.data("test")
    model = LearnedLevenbergMarquardt.for_problem(problem, observation=eyes).eval()
    torch.nn.init.ones_(model.gain.bias)
    eyes.hurt = torch.full((1,), torch.nan)
    with torch.no_grad():
        states = model(batch, keep_states=True).states
    assert states.hidden.isfinite().all()
    found = costs(model, batch)
    assert (found[-1] < 1e-3 * found[0]).all()


def test_it_is_stored_and_read_again(tmp_path):
    problem = Analytic("sin")
    model = disturbed(LearnedLevenbergMarquardt.for_problem(problem, hidden=8))
    save_model(model, tmp_path / "model.safetensors")
    batch = problem.data("test")
    with torch.no_grad():
        again = load_model(tmp_path / "model.safetensors")(batch)
        assert torch.equal(again.xs, model(batch).xs)


def test_it_is_a_family_of_every_least_squares_problem():
    recipe = recipe_for(Line, "learned-lm")
    assert type(recipe.build(Line())) is LearnedLevenbergMarquardt
    with pytest.raises(DescentError, match="family 'learned-lm': expected one of sdm, joint, mdm"):
        recipe_for(resolve_problem("faces"), "learned-lm")


def test_a_problem_without_a_cost_is_refused():
    faces = resolve_problem("synthetic-faces")(count=8, test_count=2, crop=64, box_side=36)
    with pytest.raises(
        DescentError, match="SyntheticFaces: a learned Levenberg-Marquardt needs the residuals of"
    ):
        LearnedLevenbergMarquardt.for_problem(faces)


def test_another_observation_is_refused():
    eyes = Residual(torch.sin, "y")
    problem = Analytic("sin")
    for wrong in (eyes, Concat(eyes, ScaledEquations(problem))):
        with pytest.raises(DescentError, match=r"observation: expected Concat\(ScaledEquations"):
            LearnedLevenbergMarquardt(problem, wrong, 4, 1)
    with pytest.raises(DescentError, match="alone: expected no observation beside"):
        LearnedLevenbergMarquardt.for_problem(problem, alone=True, observation=eyes)


@pytest.mark.filterwarnings("ignore:BackpropThroughTime")
def test_the_benchmark_counts_what_is_solved():
    found = measured(TwoExponentials(num_train=64, num_test=16), [0, 1], iterations=1)
    assert list(found) == [
        "learned-lm, 8 steps, seed 0",
        "learned-lm, 8 steps, seed 1",
        "learned-lm, 8 steps, all seeds",
        "lm, 8 steps",
        "lm, 16 steps",
    ]
    one, other, both, *_ = found.values()
    assert both["solved"] == (one["solved"] + other["solved"]) / 2
    for row in found.values():
        assert row["interval"][0] <= row["solved"] <= row["interval"][1]
        assert row["median_error"] > 0


def test_the_benchmark_counts_what_is_not_finite_as_unsolved():
    errors = [torch.tensor([0.0, 0.1, torch.nan, torch.inf]), torch.tensor([0.0, 0.0, 0.1, 0.3])]
    found = figures(errors, within=0.1)
    assert found["solved"] == 5 / 8
    assert found["median_error"] == pytest.approx(0.1)
