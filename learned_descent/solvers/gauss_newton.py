"""Batched Gauss-Newton."""

from __future__ import annotations

from typing import cast, final

import torch
from jaxtyping import Float
from torch import Tensor

from .._linear import damped_step
from .._precision import outside_autocast
from ..model import State
from ..problem import Batch, Problem
from .solver import NewtonLike, Status, unit_of


@final
class GaussNewton(NewtonLike):
    """Batched Gauss-Newton: quadratic convergence near a minimum with small residuals, and no promise elsewhere.

    A sample whose normal equations are singular or not finite, or whose step leads to where numbers end, stays where it is:
    its status is ``INVALID``.

    Args:
        problem: the problem, with its cost.
        num_steps: the largest number of steps.
        damping: a fixed multiple of the diagonal of ``J^T W J`` that is added to it.
        tolerance: a sample has converged when the cosine between its residuals and what a step can change falls below it, or
            a step is shorter than it relative to ``x``; ``None`` for what rounding allows.
        double: whether all is computed in float64; the iterates keep the precision of the start.

    Raises:
        DescentError: if the problem has no residuals, or a number is out of its range.

    References:
        J. Nocedal and S. Wright. Numerical Optimization, section 10.3. Springer 2006.

    Example:
        >>> from learned_descent.problems import Analytic
        >>> problem = Analytic("exp")
        >>> batch = problem.data("test")
        >>> bool(problem.error(GaussNewton(problem, num_steps=20)(batch).final, batch).max() < 1e-5)
        True
    """

    def __init__(
        self,
        problem: Problem,
        *,
        num_steps: int = 10,
        damping: float = 0.0,
        tolerance: float | None = None,
        double: bool = False,
    ) -> None:
        super().__init__(problem, num_steps=num_steps, damping=damping, tolerance=tolerance, double=double)

    def init_state(self, x: Float[Tensor, "B p"]) -> State:
        return x.new_full((len(x), 1), Status.RUNNING)

    @torch.no_grad()
    @outside_autocast()
    def step(self, k: int, features: Float[Tensor, "B F"], state: State) -> tuple[Float[Tensor, "B d"], State]:
        hessian, gradient, cost = self.equations.unpacked(features)
        status = cast(Tensor, state)[:, 0]
        delta, solved = damped_step(hessian, gradient, gradient.new_full((len(gradient),), self.damping))
        valid = solved & self.equations.usable(features)
        status = status.where(valid, Status.INVALID)
        moving = status == Status.RUNNING
        settled = moving & self.vanishes(-(gradient * delta).sum(1) / 2, cost, unit_of(cost))
        return delta.where(moving.unsqueeze(1), 0), status.where(~settled, Status.CONVERGED).unsqueeze(1)

    @outside_autocast()
    def move(
        self, k: int, x: Float[Tensor, "B p"], delta: Float[Tensor, "B d"], state: State, batch: Batch
    ) -> tuple[Float[Tensor, "B p"], State]:
        trial = self.problem.retract(x, delta.to(x))
        status = cast(Tensor, state)[:, 0]
        moving, valid = status == Status.RUNNING, trial.isfinite().all(1)
        status = torch.where(moving & ~valid, Status.INVALID, status)
        status = torch.where(moving & valid & self.is_short(x, trial), Status.CONVERGED, status)
        return trial.where(valid.unsqueeze(1), x), status.unsqueeze(1)
