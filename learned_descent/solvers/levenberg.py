"""Batched Levenberg-Marquardt."""

from __future__ import annotations

from typing import Any, cast, final

import torch
from jaxtyping import Float
from torch import Tensor

from .._check import DescentError
from .._linear import damped_step, scale_of
from ..model import State
from ..problem import Batch, Problem
from .solver import NormalEquations, Solver, Status, is_flat, unpacked

_DAMPING, _GROWTH = range(2)


@final
class LevenbergMarquardt(Solver):
    """Batched Levenberg-Marquardt with a damping of its own for every sample, and Nielsen's rule to change it.

    A step that does not lower the cost, robust kernel included, is refused: the sample stays and is damped more strongly.

    Args:
        problem: the problem, with its cost.
        num_steps: the largest number of steps, refused ones included.
        damping: the first damping, as a multiple of the diagonal of ``J^T W J``.
        tolerance: a sample has converged when the gradient's cosine with every column falls below it, or a step is shorter
            than it relative to ``x``; ``None`` takes ten times the rounding unit.
        double: whether all is computed in float64; the iterates keep the precision of the start.

    References:
        D. Marquardt. An algorithm for least-squares estimation of nonlinear parameters. SIAM Journal 11, 1963.
        K. Madsen, H. Nielsen and O. Tingleff. Methods for non-linear least squares problems. 2004, section 3.2.

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

    state_size = 5

    def __init__(
        self,
        problem: Problem,
        *,
        num_steps: int = 50,
        damping: float = 1e-3,
        tolerance: float | None = None,
        double: bool = False,
    ) -> None:
        equations = NormalEquations(problem, double=double)
        super().__init__(problem, equations, num_steps)
        self.equations = equations
        if not 0 < damping < float("inf"):
            raise DescentError(f"damping: expected a positive number, got {damping}")
        self.damping = damping
        self.tolerance = tolerance

    def init_state(self, x: Float[Tensor, "B p"]) -> State:
        state = self.equations.raised(x).new_zeros(len(x), self.state_size)
        state[:, _DAMPING], state[:, _GROWTH] = self.damping, 2.0
        return state

    def step(self, k: int, features: Float[Tensor, "B F"], state: State) -> tuple[Float[Tensor, "B d"], State]:
        damping, growth, _, _, status = cast(Tensor, state).unbind(1)
        hessian, gradient, cost = unpacked(features)
        delta, solved = damped_step(hessian, gradient, damping)
        invalid = ~(cost.isfinite() & gradient.isfinite().all(1) & hessian.flatten(1).isfinite().all(1))
        status = torch.where(is_flat(hessian, gradient, cost, self._tolerance(gradient)), float(Status.CONVERGED), status)
        status = torch.where(invalid, float(Status.INVALID), status)
        fall = ((damping.unsqueeze(1) * scale_of(hessian) * delta - gradient) * delta).sum(1) / 2
        running = status == Status.RUNNING
        delta = torch.where((running & solved).unsqueeze(1), delta, 0)
        return delta, torch.stack([damping, growth, cost, fall.where(solved, torch.inf), status], 1)

    def move(
        self, k: int, x: Float[Tensor, "B p"], delta: Float[Tensor, "B d"], state: State, batch: Batch
    ) -> tuple[Float[Tensor, "B p"], State]:
        damping, growth, cost, fall, status = cast(Tensor, state).unbind(1)
        trial = self.problem.retract(x, delta.to(x))
        reached = self.equations.cost(trial, batch)
        accepted = (reached < cost) & (status == Status.RUNNING)
        gain = (cost - reached) / fall
        eased = damping * (1 - (2 * gain - 1) ** 3).clamp(min=1 / 3)
        unit = torch.finfo(cost.dtype).eps
        short = ((trial - x).abs() <= self._tolerance(cost) * x.abs()).all(1) & fall.isfinite()
        settled = (fall <= unit * cost) | (short & (accepted | (damping <= 1)))
        status = torch.where((status == Status.RUNNING) & settled, float(Status.CONVERGED), status)
        status = torch.where((status == Status.RUNNING) & ~accepted & (damping > 1 / unit), float(Status.STALLED), status)
        damping = torch.where(accepted, eased, damping * growth)
        growth = torch.where(accepted, 2.0, 2 * growth)
        x = torch.where(accepted.unsqueeze(1), trial, x)
        return x, torch.stack([damping, growth, torch.where(accepted, reached, cost), fall, status], 1)

    def _tolerance(self, like: Tensor) -> float:
        return 10 * torch.finfo(like.dtype).eps if self.tolerance is None else self.tolerance

    def settings(self) -> dict[str, Any]:
        own = {"damping": self.damping, "tolerance": self.tolerance}
        return {**super().settings(), **self.observation.settings(), **own}
