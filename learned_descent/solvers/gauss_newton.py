"""Batched Gauss-Newton."""

from __future__ import annotations

from typing import NamedTuple, cast, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..data.samples import Batch
from ..linear import all_finite
from ..model import State
from ..problem import Problem
from ..system.precision import outside_autocast
from .solver import NewtonLike, Status


class GaussNewtonState(NamedTuple):
    """What Gauss-Newton knows of every sample after a step, ``(B,)``, in float64.

    Attributes:
        diagonal: that of ``J^T W J`` before the step, ``(B, d)``.
        cost: the cost before the step.
        predicted_reduction: how much of it an undamped step promises to take away.
        least_eigenvalue: a lower bound of the eigenvalues of the scaled matrix.
        status: a :class:`~learned_descent.solvers.Status`, as a whole number.
    """

    diagonal: Tensor
    cost: Tensor
    predicted_reduction: Tensor
    least_eigenvalue: Tensor
    status: Tensor


@final
class GaussNewton(NewtonLike):
    """Batched Gauss-Newton: quadratic convergence near a minimum with small residuals, and no
    promise elsewhere.

    A sample whose normal equations are singular or not finite, or whose step leads to where numbers
    end, stays where it is: its status is ``INVALID``.

    Args:
        problem: the problem, with its cost.
        num_steps: the largest number of steps.
        damping: a fixed multiple of the diagonal of ``J^T W J`` that is added to it.
        tolerance: a sample has converged when the cosine between its residuals and what a step can
            change falls below it; ``None`` for what rounding allows.
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
        super().__init__(
            problem, num_steps=num_steps, damping=damping, tolerance=tolerance, double=double
        )

    def init_state(self, x: Float[Tensor, "B p"]) -> State:
        size = self.problem.local(x[:1], x[:1]).shape[1]
        zero = x.new_zeros(len(x), dtype=torch.float64)
        running = x.new_full((len(x),), Status.RUNNING, dtype=torch.long)
        return GaussNewtonState(zero.new_zeros(len(x), size), zero, zero, zero, running)

    @torch.no_grad()
    @outside_autocast()
    def step(
        self, k: int, features: Float[Tensor, "B F"], state: State
    ) -> tuple[Float[Tensor, "B d"], State]:
        hessian, _, cost = self.equations.unpacked(features)
        status = cast(GaussNewtonState, state).status
        none = torch.zeros_like(cost)
        delta, least, fall = self.solved(features, none)
        found = least
        if self.damping > 0:  # what an undamped step promises is asked for nevertheless
            delta, found, _ = self.solved(features, none + self.damping)
        finite = all_finite(features)
        perfect = (status == Status.RUNNING) & (cost == 0) & finite
        valid = perfect | ((found > 0) & self.equations.usable(features, finite))
        status = status.where(valid, Status.INVALID).where(~perfect, Status.CONVERGED)
        delta = delta.where((status == Status.RUNNING).unsqueeze(1), 0)
        return delta, GaussNewtonState(
            diagonal=hessian.diagonal(dim1=1, dim2=2),
            cost=cost,
            predicted_reduction=fall,
            least_eigenvalue=least,
            status=status,
        )

    @outside_autocast()
    def move(
        self,
        k: int,
        x: Float[Tensor, "B p"],
        delta: Float[Tensor, "B d"],
        state: State,
        batch: Batch,
    ) -> tuple[Float[Tensor, "B p"], State]:
        trial = self.problem.retract(x, delta.to(x))
        valid = trial.isfinite().all(1)
        after = self._judged(cast(GaussNewtonState, state), x.detach(), trial.detach(), valid)
        return trial.where(valid.unsqueeze(1), x), after

    @torch.no_grad()
    def _judged(
        self,
        state: GaussNewtonState,
        x: Float[Tensor, "B p"],
        trial: Float[Tensor, "B p"],
        valid: Bool[Tensor, " B"],
    ) -> GaussNewtonState:
        """The state with the status of every sample after a step."""
        diagonal, cost, fall, least, status = state
        units = self.units(x)
        unit = units.both
        running = status == Status.RUNNING
        short = running & self.is_short(x, trial)
        little = self.vanishes(fall, cost, unit**0.5) | (fall <= 10 * self.noise(diagonal, x))
        done = (
            running & (self.vanishes(fall, cost, unit) | (short & little)) & self.told(least, units)
        )
        status = torch.where(running & ~valid, Status.INVALID, status)
        status = torch.where(valid & short, Status.STALLED, status)
        status = torch.where(valid & done, Status.CONVERGED, status)
        return state._replace(status=status)
