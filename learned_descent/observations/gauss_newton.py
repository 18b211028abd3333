"""Gauss-Newton steps as features: one model then serves every template, structure or cloud."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from ..data.samples import Batch
from ..errors import DescentError, check_real
from ..kernels import Kernel, Squares
from ..linear import damped_step, normal_equations, scale_of
from ..observation import Beside, Observation
from ..problem import LeastSquares


@final
class GaussNewtonSteps(Observation):
    """The steps that Gauss-Newton would take at ``x``, damped at several strengths and under
    several kernels, squashed.

    The features are in units of an update, whatever was measured, so that what is learnt on some
    samples holds for others with another template or structure. For every kernel they are the
    damped steps ``tanh(delta / reach)``, and the cosines between the residuals and the columns of
    the Jacobian: ``(number of kernels) (number of dampings + 1) d`` features.

    Args:
        problem: gives residuals and Jacobian.
        dampings: multiples of the diagonal of ``J^T W J`` that are added to it.
        kernels: what residuals weigh; ``None`` for the problem's own kernel.
        reach: the length of a step, in the unit of an update, beyond which it is squashed.

    Raises:
        DescentError: if there is no damping, one is negative, or the reach is not positive.

    References:
        S. Baker and I. Matthews. Lucas-Kanade 20 years on: a unifying framework. IJCV 56, 2004
        (damped steps of images).

    Example:
        >>> from learned_descent.problems import Analytic
        >>> problem = Analytic("sin")
        >>> GaussNewtonSteps(problem, dampings=(0.0, 1.0))(torch.zeros(2, 1), {"y": torch.full((2,
        ...     1), 0.5)})
        tensor([[ 0.4621,  0.2449, -1.0000],
                [ 0.4621,  0.2449, -1.0000]])
    """

    def __init__(
        self,
        problem: LeastSquares,
        *,
        dampings: Sequence[float] = (0.01, 1.0),
        kernels: Sequence[Kernel] | None = None,
        reach: float = 1.0,
    ) -> None:
        super().__init__()
        if not dampings:
            raise DescentError("dampings: expected one number >= 0 or more, got none")
        for damping in dampings:
            check_real(damping, name="dampings")
        check_real(reach, name="reach", positive=True)
        self._problem = Beside(problem)
        self.dampings, self.kernels, self.reach = tuple(dampings), kernels, reach

    def prepare(self, batch: Batch) -> Batch:
        return self._problem.module.prepare(batch)

    def forward(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        hessian, gradient, squares = self._systems(x, batch)
        scale, count = scale_of(hessian), len(self.dampings)
        # All steps of all samples are one batch: small systems cost more to call than to solve
        matrices, pulls, scales = (
            value.repeat_interleave(count, 0) for value in (hessian, gradient, scale)
        )
        damping = [gradient.new_full(gradient.shape[:1], damping) for damping in self.dampings]
        deltas, _ = damped_step(matrices, pulls, torch.stack(damping, 1).flatten(), scales)
        steps = (deltas / self.reach).tanh().unflatten(0, (-1, x.shape[0], count))
        floor = torch.finfo(x.dtype).tiny
        cosines = (gradient / (scale * squares.clamp(min=floor)).sqrt()).nan_to_num()
        cosines = cosines.unflatten(0, (-1, x.shape[0], 1))
        return torch.cat([steps, cosines], 2).movedim(1, 0).flatten(1)

    def _systems(
        self, x: Tensor, batch: Batch
    ) -> tuple[Float[Tensor, "KB d d"], Float[Tensor, "KB d"], Float[Tensor, "KB 1"]]:
        """``J^T W J``, ``J^T W r`` and ``r^T W r`` of all samples under one kernel after the
        other.
        """
        problem = self._problem.module
        # The problem may know them without a Jacobian
        if self.kernels is None and isinstance(problem.kernel, Squares):
            hessian, gradient, cost = problem.normal_equations(x, batch)
            return hessian.to(x), gradient.to(x), 2 * cost.unsqueeze(1)
        residual, jacobian = problem.linearized(x, batch)
        kernels = [problem.kernel] if self.kernels is None else self.kernels
        weights = torch.stack([kernel.weights(residual) for kernel in kernels])
        hessian, gradient = normal_equations(jacobian, weights, residual)
        squares = (weights * residual.square()).sum(2, keepdim=True)
        return hessian.to(x).flatten(0, 1), gradient.to(x).flatten(0, 1), squares.flatten(0, 1)

    def settings(self) -> dict[str, Any]:
        return {"dampings": list(self.dampings), "reach": self.reach}
