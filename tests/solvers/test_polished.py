from __future__ import annotations

import json

import pytest
import torch

from learned_descent import Cascade, DescentError, DescentModel, Frozen, MnemonicDescent
from learned_descent.model import tensors_of
from learned_descent.solvers import (
    External,
    GaussNewton,
    LevenbergMarquardt,
    Polished,
    ScipyLeastSquares,
    Solver,
    Status,
)
from learned_descent.testing.checks import check_model

from ..toys import Turn

MODELS = {
    "linear": lambda problem: Cascade.for_problem(problem, num_steps=2),
    "gru": lambda problem: MnemonicDescent.for_problem(problem, num_steps=2, hidden=5, cell="gru"),
    "external": lambda problem: External(
        problem, lambda x0, batch: problem.retract(x0, torch.full_like(x0[:, :1], 0.4))
    ),
}

SOLVERS = {
    "gn": lambda problem: GaussNewton(problem, num_steps=3),
    "lm": lambda problem: LevenbergMarquardt(problem, num_steps=3),
    "lm-double": lambda problem: LevenbergMarquardt(problem, num_steps=3, double=True),
    "scipy": ScipyLeastSquares,
}


@pytest.fixture(params=MODELS)
def model(request) -> DescentModel:
    """A model with random weights, small enough to stay near the start."""
    model = MODELS[request.param](Turn())
    draw = torch.Generator().manual_seed(0)
    for weight in model.parameters():
        weight.data = 0.2 * torch.randn(weight.shape, generator=draw)
    return model


@pytest.fixture(params=SOLVERS)
def solver(request, model) -> Solver:
    return SOLVERS[request.param](model.problem)


@torch.no_grad()
def test_the_model_goes_first_and_the_solver_goes_on(model, solver):
    batch = {key: value[:4] for key, value in model.problem.data("test").items()}
    learned = model(batch, keep_states=True)
    solved = solver(batch, learned.final, keep_states=True)
    both = Polished(model, solver)(batch, keep_states=True)
    n = model.num_steps
    assert torch.equal(both.xs, torch.cat([learned.xs, solved.xs[1:]]))
    for kept, own in zip(both.states.solver, solved.states, strict=True):
        torch.testing.assert_close(kept[n:], own, rtol=0, atol=0, equal_nan=True)
    for kept, own in zip(tensors_of(both.states.model), tensors_of(learned.states), strict=True):
        assert torch.equal(kept[:n], own)
    assert torch.equal(Solver.status(both), solver.status(solved))


@torch.no_grad()
@pytest.mark.parametrize("k", [0, 1])
def test_its_step_is_that_of_the_part_whose_turn_it_is(solver, k):
    model = Cascade.for_problem(solver.problem, num_steps=1)
    model.stages[0].weight.data.fill_(0.1)
    polished, batch = Polished(model, solver), solver.problem.data("test")
    prepared, x = polished.observation.prepare(batch), solver.problem.initial(batch)
    features, state = polished.observation.observe(k, x, prepared), polished.init_state(x)
    delta, after = polished.step(k, features, state)
    part, own = ((model, state.model), (solver, state.solver))[k]
    assert torch.equal(delta, part.step(0, features, own)[0])
    assert after[1 - k] is state[1 - k], "the memory of the other part stays"


@pytest.mark.parametrize("name", ["lm-double", "scipy"])
def test_it_keeps_the_contract_of_models(model, name, device):
    if name == "scipy":
        model.problem.data = lambda split: {
            key: value[:2] for key, value in Turn().data(split).items()
        }
    assert not check_model(Polished(model, SOLVERS[name](model.problem)), device=device).failures


@torch.no_grad()
def test_fewer_steps_give_the_first_iterates(model, solver):
    batch, polished = (
        {key: value[:3] for key, value in model.problem.data("test").items()},
        Polished(model, solver),
    )
    assert polished.num_steps == model.num_steps + solver.num_steps
    assert torch.equal(polished(batch, num_steps=1).xs, model(batch, num_steps=1).xs)
    short = polished(batch, num_steps=model.num_steps + 1, keep_states=True)
    assert torch.equal(short.xs, polished(batch).xs[: model.num_steps + 2])


@torch.no_grad()
def test_the_loop_ends_when_the_solver_has_settled(model):
    batch, solver = model.problem.data("test"), LevenbergMarquardt(model.problem, num_steps=60)
    trajectory = Polished(model, solver)(batch, keep_states=True)
    assert trajectory.xs.shape[0] == model.num_steps + 61
    assert Solver.status(trajectory).unique().tolist() == [Status.CONVERGED]
    assert model.problem.error(trajectory.final, batch).max() < 1e-5


@torch.no_grad()
def test_nan_in_one_sample_leaves_the_others_alone(model):
    polished, batch = Polished(model, LevenbergMarquardt(model.problem)), model.problem.data("test")
    whole = polished(batch).final
    batch["compass"][4] = torch.nan
    trajectory = polished(batch, keep_states=True)
    kept = torch.arange(len(whole)) != 4
    assert Solver.status(trajectory)[4] == Status.INVALID
    torch.testing.assert_close(trajectory.final[kept], whole[kept])


def test_gradients_go_straight_through_the_solver():
    model = MODELS["linear"](Turn())
    batch = model.problem.data("test")
    final = Polished(model, LevenbergMarquardt(model.problem, num_steps=2))(batch).final
    gradient = torch.autograd.grad(
        final.square().sum() + final[:, 1].sum(), list(model.parameters())
    )
    assert all(value.isfinite().all() for value in gradient)
    assert any((value != 0).any() for value in gradient)


def test_features_that_no_gradient_may_pass_stay_so():
    problem = Turn()
    model = Cascade.for_problem(problem, observation=Frozen(problem.observation()))
    with pytest.raises(
        DescentError, match='detach="none" needs an observation that is differentiable'
    ):
        Polished(model, GaussNewton(problem))(problem.data("test"))


def test_a_solver_of_another_problem_is_refused():
    model = MODELS["linear"](Turn())
    with pytest.raises(
        DescentError,
        match=r"made for the very Turn of the model, .* build it with GaussNewton\(model.problem\)",
    ):
        Polished(model, GaussNewton(Turn()))


def test_settings_are_json(model, solver):
    settings = Polished(model, solver).settings()
    assert json.loads(json.dumps(settings)) == settings
    assert settings["solver"] == solver.settings()
