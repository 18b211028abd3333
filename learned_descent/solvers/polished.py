"""Learned descent first, for its wide basin; a classical solver after it, for its precision."""

from __future__ import annotations

from typing import Any, cast, final

import torch
from jaxtyping import Float
from torch import Tensor

from ..data.samples import Batch
from ..errors import DescentError
from ..model import DescentModel, Outcome, State, Trajectory
from ..observation import Concat, Observation
from ..system.precision import outside_autocast
from .solver import Solver


@final
class Polished(DescentModel):
    """The steps of a model, and then those of a solver: ``model.num_steps + solver.num_steps``
    steps of one loop.

    The state holds the memory of the model and that of the solver side by side, so that
    ``Solver.status`` reads its trajectories too. Gradients reach the model straight through the
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
        own, other = self.model.init_state(x), self.solver.init_state(x)
        return _joined(own, other)

    def step(
        self, k: int, features: Float[Tensor, "B F"], state: State
    ) -> tuple[Float[Tensor, "B d"], State]:
        return features, state  # the sizes of the two memories are known where x is: see move

    def move(
        self,
        k: int,
        x: Float[Tensor, "B p"],
        delta: Float[Tensor, "B d"],
        state: State,
        batch: Batch,
    ) -> tuple[Float[Tensor, "B p"], State]:
        features, batch = delta, self.eyes.part(k, batch)
        own, other = self._parts(x, state)
        if k < self.model.num_steps:
            delta, own = self.model.step(k, features, own)
            x, own = self.model.move(k, x, delta, own, batch)
        else:
            k -= self.model.num_steps
            with outside_autocast():
                delta, other = self.solver.step(k, features, other)
                x, other = self.solver.move(k, x, delta, other, batch)
        return x, _joined(own, other)

    def finished(self, k: int, state: State) -> bool:
        return k >= self.model.num_steps and self.solver.finished(k - self.model.num_steps, state)

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

    def _parts(self, x: Tensor, state: State) -> tuple[State, State]:
        """The memory of the model, in the precision of ``x``, and that of the solver."""
        first = self.model.init_state(x[:1])
        size = 0 if first is None else first.shape[1]
        own, other = cast(Tensor, state).tensor_split([size], 1)
        return (own.to(x) if size else None), other


def _joined(own: State, other: State) -> State:
    return other if own is None else torch.cat([own, cast(Tensor, other)], 1)


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
