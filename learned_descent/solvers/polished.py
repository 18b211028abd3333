"""Learned descent first, for its wide basin; a classical solver after it, for its precision."""

from __future__ import annotations

from typing import Any, NamedTuple, cast, final

from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..data.samples import Batch
from ..errors import DescentError
from ..model import DescentModel, Outcome, State, Trajectory
from ..observation import Concat, Observation
from ..system.precision import outside_autocast
from .solver import Solver, SolverState


class PolishedState(NamedTuple):
    """The memories of both parts.

    Attributes:
        model: that of the model, which stays as it is while the solver goes on.
        solver: that of the solver, which stays fresh until then.
    """

    model: State
    solver: State

    @property
    def status(self) -> Int[Tensor, "*T B"]:
        """How the solver left each sample, see :class:`~learned_descent.solvers.Status`."""
        return cast(SolverState, self.solver).status


@final
class Polished(DescentModel):
    """The steps of a model, and then those of a solver: ``model.num_steps + solver.num_steps``
    steps of one loop.

    Its state is a :class:`PolishedState`, so that ``Solver.status`` reads its trajectories too.
    Gradients reach the model straight through the
    steps of the solver.

    Args:
        model: goes first; a learned model, or another solver.
        solver: takes over where the model ends; made for the very problem of the model.

    Raises:
        DescentError: if the solver was made for another problem.

    Example:
        >>> from learned_descent import Cascade, SequentialRidge
        >>> from learned_descent.problems import Analytic
        >>> from learned_descent.solvers import LevenbergMarquardt
        >>> problem = Analytic("erf")
        >>> batch = problem.data("test")
        >>> learned = Cascade.for_problem(problem)
        >>> _ = SequentialRidge().fit(learned, problem.data("train"))
        >>> polished = Polished(learned, LevenbergMarquardt(problem, num_steps=4))(batch)
        >>> polished.xs.shape
        torch.Size([9, 67, 1])
        >>> errors = [problem.error(polished.xs[k], batch).max() for k in (0, 4, 8)]
        >>> bool(errors[0] > 2 * errors[1] > 4 * errors[2])
        True
    """

    def __init__(self, model: DescentModel, solver: Solver) -> None:
        if solver.problem is not model.problem:
            raise DescentError(
                f"solver: expected one made for the very {type(model.problem).__name__} of the "
                f"model, got one for another {type(solver.problem).__name__}: build it with "
                f"{type(solver).__name__}(model.problem)"
            )
        eyes = _Handover(model.observation, solver.observation, model.num_steps)
        super().__init__(model.problem, eyes, model.num_steps + solver.num_steps)
        self.model, self.solver = model, solver
        self.eyes = eyes

    def init_state(self, x: Float[Tensor, "B p"]) -> State:
        return PolishedState(self.model.init_state(x), self.solver.init_state(x))

    def step(
        self, k: int, features: Float[Tensor, "B F"], state: State
    ) -> tuple[Float[Tensor, "B d"], State]:
        own, other = cast(PolishedState, state)
        if k < self.model.num_steps:
            delta, own = self.model.step(k, features, own)
        else:
            with outside_autocast():
                delta, other = self.solver.step(k - self.model.num_steps, features, other)
        return delta, PolishedState(own, other)

    def move(
        self,
        k: int,
        x: Float[Tensor, "B p"],
        delta: Float[Tensor, "B d"],
        state: State,
        batch: Batch,
    ) -> tuple[Float[Tensor, "B p"], State]:
        own, other = cast(PolishedState, state)
        seen = self.eyes.part(k, batch)
        if k < self.model.num_steps:
            x, own = self.model.move(k, x, delta, own, seen)
        else:
            with outside_autocast():
                x, other = self.solver.move(k - self.model.num_steps, x, delta, other, seen)
        return x, PolishedState(own, other)

    def running(self, k: int, state: State) -> Bool[Tensor, " B"] | None:
        k, (_, other) = k - self.model.num_steps, cast(PolishedState, state)
        return self.solver.running(k, other) if k >= 0 else None

    def learned_model(self) -> DescentModel | None:
        return self.model.learned_model()

    def classical_solver(self) -> DescentModel | None:
        return self.solver

    def outcome(self, trajectory: Trajectory, batch: Batch) -> Outcome | None:
        return self.solver.outcome(trajectory, batch)

    def explain(self, trajectory: Trajectory, batch: Batch) -> list[str]:
        """Why each sample is ``INVALID`` to the solver, in words; nothing for the others."""
        return self.solver.explain(trajectory, batch)

    def settings(self) -> dict[str, Any]:
        return {"model": self.model.settings(), "solver": self.solver.settings()}


class _Handover(Observation):
    """What the first observation sees up to a step, and the second one from there on."""

    def __init__(self, first: Observation, second: Observation, after: int) -> None:
        super().__init__()
        self.both = Concat(first, second)
        self.first, self.second, self.after = first, second, after
        self.differentiable = first.differentiable  # type: ignore[misc]

    def prepare(self, batch: Batch) -> Batch:
        return self.both.prepare(batch)

    def observe(self, k: int, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        own = self.part(k, batch)
        return (
            self.first.observe(k, x, own)
            if k < self.after
            else self.second.observe(k - self.after, x, own)
        )

    def forward(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        return self.observe(0, x, batch)

    def part(self, k: int, batch: Batch) -> Batch:
        """What the observation of step ``k`` prepared."""
        return self.both.part(int(k >= self.after), batch)
