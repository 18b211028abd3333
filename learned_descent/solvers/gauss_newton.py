"""Batched Gauss-Newton."""

from __future__ import annotations

from typing import Any, cast, final

import torch
from jaxtyping import Float
from torch import Tensor

from .._linear import damped_step
from ..model import State
from ..problem import Problem
from .solver import NormalEquations, Solver, Status, is_flat, unpacked


@final
class GaussNewton(Solver):
    """Batched Gauss-Newton: quadratic convergence near a minimum with small residuals, and no promise elsewhere.

    A sample whose normal equations are singular, or that is not finite, stays where it is: its status is ``INVALID``.

    Args:
        problem: the problem, with its cost.
        num_steps: the largest number of steps.
        damping: a fixed multiple of the diagonal that is added to the normal equations.
        tolerance: a sample has converged when the gradient's cosine with every column falls below it; 0 never stops.
        double: whether all is computed in float64.

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
        self, problem: Problem, *, num_steps: int = 10, damping: float = 0.0, tolerance: float = 0.0, double: bool = False
    ) -> None:
        super().__init__(problem, NormalEquations(problem, double=double), num_steps)
        self.damping = damping
        self.tolerance = tolerance

    def init_state(self, x: Float[Tensor, "B p"]) -> State:
        return x.new_zeros(len(x), 1)

    def step(self, k: int, features: Float[Tensor, "B F"], state: State) -> tuple[Float[Tensor, "B d"], State]:
        hessian, gradient, cost = unpacked(features)
        delta, solved = damped_step(hessian, gradient, gradient.new_full((len(gradient),), self.damping))
        status = cast(Tensor, state)[:, 0].long()
        status = torch.where(is_flat(hessian, gradient, cost, self.tolerance), Status.CONVERGED, status)
        status = torch.where(solved & cost.isfinite(), status, Status.INVALID)
        delta = torch.where((status == Status.RUNNING).unsqueeze(1), delta, 0)
        return delta, status.unsqueeze(1).to(cast(Tensor, state))

    def settings(self) -> dict[str, Any]:
        own = {"damping": self.damping, "tolerance": self.tolerance}
        return {**super().settings(), **self.observation.settings(), **own}
