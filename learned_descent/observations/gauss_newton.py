"""Gauss-Newton steps as features: one model then serves every template, structure or cloud."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from .._check import DescentError
from .._linear import damped_step, scale_of
from ..kernels import Kernel
from ..observation import Observation
from ..problem import Batch, LeastSquares


@final
class GaussNewtonSteps(Observation):
    """The steps that Gauss-Newton would take at ``x``, damped at several strengths and under several kernels, squashed.

    The features are in units of an update, whatever was measured, so that what is learnt on some samples holds for others
    with another template or structure. For every kernel they are the damped steps ``tanh(delta / reach)``, and the cosines
    between the residuals and the columns of the Jacobian: ``(number of kernels) (number of dampings + 1) d`` features.

    Args:
        problem: gives residuals and Jacobian.
        dampings: multiples of the diagonal of ``J^T W J`` that are added to it.
        kernels: what residuals weigh; ``None`` for the problem's own kernel.
        reach: the length of a step, in the unit of an update, beyond which it is squashed.

    Raises:
        DescentError: if there is no damping, one is negative, or the reach is not positive.

    References:
        S. Baker and I. Matthews. Lucas-Kanade 20 years on: a unifying framework. IJCV 56, 2004 (damped steps of images).

    Example:
        >>> from learned_descent.problems import Analytic
        >>> problem = Analytic("sin")
        >>> GaussNewtonSteps(problem, dampings=(0.0, 1.0))(torch.zeros(2, 1), {"y": torch.full((2, 1), 0.5)})
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
        if not dampings or min(dampings) < 0:
            raise DescentError(f"dampings: expected one number >= 0 or more, got {list(dampings)}")
        if not 0 < reach < float("inf"):
            raise DescentError(f"reach: expected a positive number, got {reach}")
        self._problem = [problem]  # in a list: the buffers of the problem are stored once, with the model
        self.dampings, self.kernels, self.reach = tuple(dampings), kernels, reach

    def prepare(self, batch: Batch) -> Batch:
        return self._problem[0].prepare(batch)

    def forward(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        problem = self._problem[0]
        residual, jacobian = problem.residual(x, batch), problem.jacobian(x, batch)
        features = []
        for kernel in [problem.kernel] if self.kernels is None else self.kernels:
            weighted = jacobian * kernel.weights(residual).unsqueeze(2)
            hessian, gradient = weighted.mT @ jacobian, (weighted * residual.unsqueeze(2)).sum(1)
            for damping in self.dampings:
                delta, _ = damped_step(hessian, gradient, gradient.new_full((len(x),), damping))
                features.append((delta / self.reach).tanh())
            squares = (kernel.weights(residual) * residual.square()).sum(1, keepdim=True)
            features.append(gradient / (scale_of(hessian) * squares.clamp(min=torch.finfo(x.dtype).tiny)).sqrt())
        return torch.cat(features, 1)

    def settings(self) -> dict[str, Any]:
        return {"dampings": list(self.dampings), "reach": self.reach}
