"""What holds for every solver, on problems of several kinds."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable

import pytest
import torch

from learned_descent import Cascade, DescentError, LeastSquares, MnemonicDescent, Problem
from learned_descent.problems import Analytic
from learned_descent.solvers import (
    GaussNewton,
    LevenbergMarquardt,
    NormalEquations,
    ScipyLeastSquares,
    Solver,
    SolverState,
    Status,
)
from learned_descent.testing.checks import check_model

from ..toys import Line, Turn
from .toys import Formula, decay, decays

SOLVERS: dict[str, Callable[[Problem], Solver]] = {
    "gn": functools.partial(GaussNewton, num_steps=30),
    "lm": LevenbergMarquardt,
    "lm-double": functools.partial(LevenbergMarquardt, double=True),
    "scipy-trf": ScipyLeastSquares,
    "scipy-lm": functools.partial(ScipyLeastSquares, method="lm"),
}

PROBLEMS: dict[str, Callable[[], LeastSquares]] = {
    "line": Line,
    "turn": Turn,
    "exp": lambda: Analytic("exp"),
}


@pytest.fixture(params=SOLVERS)
def make(request) -> Callable[[Problem], Solver]:
    return SOLVERS[request.param]


@pytest.mark.parametrize("name", PROBLEMS)
def test_it_solves_and_says_so(make, name, device):
    problem = PROBLEMS[name]()
    batch = {key: value[:8].to(device) for key, value in problem.data("test").items()}
    solver = make(problem).to(device)
    trajectory = solver(batch, keep_states=True)
    assert problem.error(trajectory.final, batch).max() < 1e-5
    assert trajectory.final.dtype == batch["x"].dtype
    assert solver.status(trajectory).tolist() == [Status.CONVERGED] * len(batch["x"])


def test_it_keeps_the_contract_of_models(make, device):
    assert not check_model(make(Line(count=6)), device=device).failures


@pytest.mark.parametrize(("name", "tensor"), [("line", "y"), ("turn", "compass"), ("exp", "y")])
def test_nan_in_one_sample_leaves_the_others_alone(make, name, tensor):
    problem = PROBLEMS[name]()
    solver, batch = (
        make(problem),
        {key: value[:5].clone() for key, value in problem.data("test").items()},
    )
    whole = solver(batch).final
    batch[tensor][2, 0] = torch.nan
    trajectory = solver(batch, keep_states=True)
    kept = torch.arange(len(whole)) != 2
    assert solver.status(trajectory)[2] == Status.INVALID
    assert (solver.status(trajectory)[kept] == Status.CONVERGED).all()
    assert torch.equal(trajectory.final[2], trajectory.xs[0, 2])
    torch.testing.assert_close(trajectory.final[kept], whole[kept])


def test_a_start_that_is_no_number_is_invalid(make):
    problem = Turn()
    solver, batch = make(problem), {key: value[:4] for key, value in problem.data("test").items()}
    start = problem.initial(batch)
    start[1] = torch.nan
    status = solver.status(solver(batch, start, keep_states=True))
    assert status.tolist() == [
        Status.CONVERGED,
        Status.INVALID,
        *[Status.CONVERGED] * (len(start) - 2),
    ]


@pytest.mark.parametrize("solver", [GaussNewton, LevenbergMarquardt, ScipyLeastSquares])
def test_a_problem_without_residuals_is_refused(solver):
    class Opaque(Problem):
        initial = target = observation = data = lambda self: None
        failure_above = 1.0

    with pytest.raises(
        DescentError,
        match="Opaque: a classical solver needs the residuals of a LeastSquares problem",
    ):
        solver(Opaque())


@pytest.mark.parametrize("solver", [GaussNewton, LevenbergMarquardt])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": 0}, "num_steps: expected 1 or more, got 0"),
        ({"damping": -1.0}, "damping: expected a number >= 0, got -1.0"),
        ({"damping": math.nan}, "damping: expected a number >= 0, got nan"),
        ({"tolerance": -1e-3}, r"tolerance: expected a number in \[0, 1\), or None, got -0.001"),
        ({"tolerance": 1.0}, r"tolerance: expected a number in \[0, 1\), or None, got 1.0"),
    ],
)
def test_numbers_out_of_range_are_refused(solver, options, message):
    with pytest.raises(DescentError, match=message):
        solver(Turn(), **options)


def test_a_status_needs_states():
    solver = GaussNewton(Turn())
    with pytest.raises(
        DescentError, match="the trajectory holds no states: call the solver with keep_states=True"
    ):
        solver.status(solver(Turn().data("test")))


def test_a_status_is_none_of_a_learned_model():
    trajectory = MnemonicDescent.for_problem(Turn(), hidden=2)(
        Turn().data("test"), keep_states=True
    )
    with pytest.raises(
        DescentError, match="expected the trajectory of a solver, or of a Polished model"
    ):
        Solver.status(trajectory)


def test_a_state_names_its_tensors_and_keeps_them_step_by_step(make):
    problem = Turn()
    batch = {key: value[:3] for key, value in problem.data("test").items()}
    solver = make(problem)
    states = solver(batch, keep_states=True).states
    assert isinstance(states, SolverState)
    assert states._fields[-1] == "status"
    assert {tuple(state.shape[:2]) for state in states} == {(solver.num_steps, 3)}


def test_settings_are_json(make):
    settings = make(Turn()).settings()
    assert json.loads(json.dumps(settings)) == settings
    assert settings


@pytest.mark.parametrize("solver", [GaussNewton, LevenbergMarquardt])
def test_the_loop_ends_when_all_have_settled(solver):
    class Counting(Line):
        looks = 0

        def normal_equations(self, x, batch):
            self.looks += 1
            return super().normal_equations(x, batch)

    problem = Counting()
    trajectory = solver(problem, num_steps=40)(problem.data("test"), keep_states=True)
    assert trajectory.xs.shape[0] == 41
    assert trajectory.states.status.shape[0] == 40
    assert problem.looks < 25


@pytest.mark.parametrize("solver", [GaussNewton, LevenbergMarquardt])
def test_what_has_settled_is_left_alone_and_all_else_stays_the_same(solver):
    seen = []

    class Counting(LeastSquares):
        failure_above = 1.0
        data = target = observation = Line.data

        def initial(self, batch, generator=None):
            return torch.ones_like(batch["y"])

        def residual(self, x, batch):
            seen.append(len(x))
            return x**3 - batch["y"]

        def jacobian(self, x, batch):
            return (3 * x**2).unsqueeze(2)

    problem = Counting()
    batch = {"y": torch.tensor([[1.0], [1.0], [3.0], [40.0]])}
    model = solver(problem, num_steps=60, double=True)
    trajectory = model(batch, keep_states=True)
    assert {4, 2, 1} <= set(seen)
    alone = [
        model({"y": batch["y"][row : row + 1]}, keep_states=True) for row in range(len(batch["y"]))
    ]
    assert torch.equal(trajectory.xs, torch.cat([single.xs for single in alone], 1))
    statuses = torch.cat([single.states.status for single in alone], 1)
    assert torch.equal(trajectory.states.status, statuses)
    x0 = torch.ones(4, 1, requires_grad=True)
    model(batch, x0).final.sum().backward()
    assert torch.equal(x0.grad, torch.ones(4, 1))  # straight through the steps


@pytest.mark.parametrize("solver", [GaussNewton, LevenbergMarquardt])
def test_double_computes_in_float64_and_leaves_the_problem_alone(solver):
    seen = set()

    class Watched(Line):
        def residual(self, x, batch):
            seen.update((x.dtype, batch["y"].dtype, self.matrix.dtype))
            return super().residual(x, batch)

    problem = Watched()
    final = solver(problem, double=True)(problem.data("test")).final
    assert seen == {torch.float64}
    assert final.dtype == problem.matrix.dtype == torch.float32
    assert problem.error(final, problem.data("test")).max() < 1e-6


def test_double_helps_where_float32_ends():
    """Normal equations whose condition number is beyond float32."""
    problem = Formula(
        lambda x, batch: torch.cat([x.sum(1, keepdim=True) - 2, 1e-4 * (x[:, :1] - x[:, 1:])], 1)
    )
    batch = {"start": torch.tensor([[2.0, 1.0]])}
    coarse, fine = (
        LevenbergMarquardt(problem, double=double)(batch).final - 1 for double in (False, True)
    )
    assert fine.abs().max() < 1e-6
    assert coarse.abs().max() >= fine.abs().max()


def test_no_gradient_passes(make):
    problem, batch = Turn(), {key: value[:2] for key, value in Turn().data("test").items()}
    solver = make(problem)
    assert not solver.observation.differentiable
    assert not solver(batch).final.requires_grad
    start = problem.initial(batch).requires_grad_()
    straight = torch.autograd.grad(solver(batch, start).final.sum(), start)[0]
    assert straight.isfinite().all(), "it goes straight through"


def test_normal_equations_are_seen():
    problem, batch = decay(), decays()
    features = NormalEquations(problem)(batch["start"], batch)
    hessian, gradient, cost = NormalEquations.unpacked(features)
    jacobian, residual = (
        problem.jacobian(batch["start"], batch),
        problem.residual(batch["start"], batch),
    )
    torch.testing.assert_close(hessian, jacobian.mT @ jacobian)
    torch.testing.assert_close(gradient, (jacobian.mT @ residual.unsqueeze(2)).squeeze(2))
    torch.testing.assert_close(cost, residual.square().sum(1) / 2)
    with pytest.raises(DescentError, match="needs an observation that is differentiable"):
        Cascade.for_problem(problem_with(problem, batch), observation=NormalEquations(problem))(
            batch
        )


def problem_with(problem: Formula, batch: dict[str, torch.Tensor]) -> Formula:
    problem.data = lambda split: batch
    return problem
