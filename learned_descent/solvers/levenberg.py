"""Batched Levenberg-Marquardt."""

from __future__ import annotations

from typing import cast, final

import torch
from jaxtyping import Float
from torch import Tensor

from .._check import DescentError
from .._linear import damped_step, scale_of
from ..model import State
from ..problem import Batch, Problem
from .solver import NewtonLike, Status, shorter, unit_of

_SCALARS = 6
_MILD = 100.0
"""A damping from which on a refused step means that the cost cannot be lowered."""


@final
class LevenbergMarquardt(NewtonLike):
    """Batched Levenberg-Marquardt with a damping of its own for every sample.

    A step that does not lower the cost, robust kernel included, is refused: the sample stays and is damped more strongly
    (Nielsen's rule). The damping is a multiple of the largest diagonal of ``J^T W J`` met so far (Moré's scaling), so that a
    parameter whose influence fades does not run away.

    Args:
        problem: the problem, with its cost.
        num_steps: the largest number of steps, refused ones included.
        damping: the first damping.
        tolerance: a sample has converged when the cosine between its residuals and what a step can change falls below it, or
            a step is shorter than it relative to ``x``; ``None`` for what rounding allows.
        double: whether all is computed in float64; the iterates keep the precision of the start.

    Raises:
        DescentError: if the problem has no residuals, or a number is out of its range.

    References:
        D. Marquardt. An algorithm for least-squares estimation of nonlinear parameters. SIAM Journal 11, 1963.
        J. Moré. The Levenberg-Marquardt algorithm: implementation and theory. 1978, section 6 (the scaling).
        K. Madsen, H. Nielsen and O. Tingleff. Methods for non-linear least squares problems. 2004, section 3.2 (the damping).

    Example:
        >>> from learned_descent.problems import Analytic
        >>> problem = Analytic("sin")
        >>> batch = problem.data("test")
        >>> solver = LevenbergMarquardt(problem)
        >>> trajectory = solver(batch, keep_states=True)
        >>> bool(problem.error(trajectory.final, batch).max() < 1e-2)
        True
        >>> bool((solver.status(trajectory) != Status.INVALID).all())
        True
    """

    def __init__(
        self,
        problem: Problem,
        *,
        num_steps: int = 50,
        damping: float = 1e-3,
        tolerance: float | None = None,
        double: bool = False,
    ) -> None:
        super().__init__(problem, num_steps=num_steps, damping=damping, tolerance=tolerance, double=double)
        if damping == 0:
            raise DescentError("damping: expected a positive number, got 0; GaussNewton is undamped")

    def init_state(self, x: Float[Tensor, "B p"]) -> State:
        """The scale ``(B, d)``; damping, its growth, cost, what the step promises, whether little is left to gain, status."""
        size = self.problem.local(x[:1], x[:1]).shape[1]
        state = self.equations.raised(x).new_zeros(len(x), size + _SCALARS)
        state[:, size], state[:, size + 1] = self.damping, 2.0
        return state

    @torch.no_grad()
    def step(self, k: int, features: Float[Tensor, "B F"], state: State) -> tuple[Float[Tensor, "B d"], State]:
        hessian, gradient, cost = self.equations.unpacked(features)
        scale, scalars = cast(Tensor, state).tensor_split([gradient.shape[1]], 1)
        damping, growth, _, _, calm, status = scalars.unbind(1)
        scale = torch.maximum(scale, scale_of(hessian))
        delta, solved = damped_step(hessian, gradient, damping, scale)
        fall = ((damping.unsqueeze(1) * scale * delta - gradient) * delta).sum(1) / 2
        status = status.where(self.equations.usable(features), Status.INVALID)
        delta = delta.where((status == Status.RUNNING).unsqueeze(1), 0)
        scalars = torch.stack([damping, growth, cost, fall.where(solved, torch.inf), calm, status], 1)
        return delta, torch.cat([scale, scalars], 1)

    def move(
        self, k: int, x: Float[Tensor, "B p"], delta: Float[Tensor, "B d"], state: State, batch: Batch
    ) -> tuple[Float[Tensor, "B p"], State]:
        trial = self.problem.retract(x, delta.to(x))
        scale, scalars = cast(Tensor, state).tensor_split([delta.shape[1]], 1)
        damping, growth, cost, fall, calm, status = scalars.unbind(1)
        reached = self.equations.cost(trial, batch)
        running = status == Status.RUNNING
        accepted = running & (reached < cost)
        refused = running & ~accepted
        unit = max(unit_of(cost), unit_of(x))
        promise = (1 + damping) * fall  # of a step that is not damped, roughly
        hardly = (promise <= unit**0.5 * cost) | (fall.isfinite() & shorter(x, trial, unit**0.5))
        mild = damping <= _MILD
        calm = torch.where(mild, hardly.to(calm), calm.where(refused | hardly, 0))
        done = fall.isfinite() & (damping <= 1) & self.is_short(x, trial)
        done = done | self.vanishes(promise, cost, unit) | (refused & (calm > 0) & ~mild)
        status = torch.where(refused & (damping > 1 / unit), Status.STALLED, status)
        status = torch.where(running & done, Status.CONVERGED, status)
        eased = damping * (1 - (2 * (cost - reached) / fall - 1) ** 3).clamp(min=1 / 3)
        damping = torch.where(accepted, eased, torch.where(refused, damping * growth, damping))
        growth = torch.where(accepted, 2.0, torch.where(refused, 2 * growth, growth))
        cost = torch.where(accepted, reached, cost)
        scalars = torch.stack([damping, growth, cost, fall, calm, status], 1)
        return trial.where(accepted.unsqueeze(1), x), torch.cat([scale, scalars], 1)
