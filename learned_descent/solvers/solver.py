"""What classical solvers share: how a sample ends, what is seen at ``x``, and when the loop may stop."""

from __future__ import annotations

import math
from copy import deepcopy
from enum import IntEnum
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .._check import DescentError
from .._linear import scale_of
from ..model import DescentModel, State, Trajectory
from ..observation import Observation
from ..problem import Batch, LeastSquares, Problem


class Status(IntEnum):
    """How a solver left a sample."""

    RUNNING = 0
    """It was still moving after the last step."""
    CONVERGED = 1
    """The gradient vanished, or a step was too short to matter."""
    STALLED = 2
    """No step lowered the cost, however strongly it was damped."""
    INVALID = 3
    """Residuals or derivatives were not finite; the sample stays where it was."""


@final
class NormalEquations(Observation):
    """What a classical solver sees at ``x``: ``J^T W J``, ``J^T W r`` and the cost, flattened to ``(B, d^2 + d + 1)``.

    Args:
        problem: the problem.
        double: whether all is computed in float64, whatever the precision of ``x``.

    Raises:
        DescentError: if the problem is no :class:`~learned_descent.LeastSquares`.
    """

    differentiable = False

    def __init__(self, problem: Problem, *, double: bool = False) -> None:
        super().__init__()
        self.problem = in_double(with_cost(problem)) if double else with_cost(problem)
        self.double_precision = double

    def prepare(self, batch: Batch) -> Batch:
        return self.problem.prepare({name: self.raised(value) for name, value in batch.items()})

    @torch.no_grad()
    def forward(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        hessian, gradient, cost = self.problem.normal_equations(self.raised(x), batch)
        return torch.cat([hessian.flatten(1), gradient, cost.unsqueeze(1)], 1)

    @torch.no_grad()
    def cost(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, " B"]:
        """The cost at ``x``, given a prepared batch."""
        return self.problem.cost(self.raised(x), batch)

    def raised(self, value: Tensor) -> Tensor:
        """``value`` in the precision of the computation."""
        return raised(value) if self.double_precision else value

    def settings(self) -> dict[str, Any]:
        return {"double": self.double_precision}


class Solver(DescentModel):
    """A classical method, run by the same loop as the learned ones; the last column of its state is a :class:`Status`.

    The loop ends as soon as every sample has settled. No gradient passes through the steps.
    """

    state_size: ClassVar[int] = 1
    """The number of columns of the state."""

    @final
    def finished(self, k: int, state: State) -> bool:
        return state is not None and bool((state[:, -1] != Status.RUNNING).all())

    @staticmethod
    def status(trajectory: Trajectory) -> Int[Tensor, " B"]:
        """How each sample ended, as values of :class:`Status`.

        Raises:
            DescentError: if the trajectory was made without ``keep_states=True``.
        """
        if trajectory.states is None:
            raise DescentError("status: the trajectory holds no states: call the solver with keep_states=True")
        return trajectory.states[-1, :, -1].long()


def unpacked(features: Float[Tensor, "B F"]) -> tuple[Tensor, Tensor, Tensor]:
    """Matrix ``(B, d, d)``, gradient ``(B, d)`` and cost ``(B,)`` of what :class:`NormalEquations` sees."""
    size = (math.isqrt(4 * features.shape[1] - 3) - 1) // 2
    hessian, gradient, cost = features.split([size * size, size, 1], 1)
    return hessian.unflatten(1, (size, size)), gradient, cost.squeeze(1)


def is_flat(hessian: Tensor, gradient: Tensor, cost: Tensor, tolerance: float) -> Tensor:
    """Whether the residuals are orthogonal to every column of the Jacobian, up to the cosine ``tolerance``."""
    length = (scale_of(hessian) * 2 * cost.unsqueeze(1)).sqrt()
    return (gradient.abs() <= tolerance * length).all(1)


def with_cost(problem: Problem) -> LeastSquares:
    """The problem itself, which has to have residuals."""
    if not isinstance(problem, LeastSquares):
        raise DescentError(
            f"{type(problem).__name__}: a classical solver needs the residuals of a LeastSquares problem; this is a Problem"
        )
    return problem


def in_double(problem: LeastSquares) -> LeastSquares:
    """The problem with buffers in float64: itself where they are, and else a copy."""
    kept = all(value.dtype == torch.float64 for value in problem.buffers() if value.is_floating_point())
    return problem if kept else deepcopy(problem).double()


def raised(value: Tensor) -> Tensor:
    """``value`` in float64, unless it holds whole numbers."""
    return value.double() if value.is_floating_point() else value
