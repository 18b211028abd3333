"""The normal equations without units: what a learned Levenberg-Marquardt sees."""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from ..data.samples import Batch
from ..linear import scale_of
from ..observation import Beside, Observation
from ..problem import Problem, with_cost

_LONGEST = 1e6
"""The longest step that is told of, in the unit of an update."""


class ScaledSystem(NamedTuple):
    """The normal equations of every sample, see :class:`ScaledEquations`.

    Attributes:
        matrix: ``J^T W J`` with its diagonal scaled to ones, ``(B, d, d)``.
        cosines: those between the residuals and the columns of ``J``, ``(B, d)``.
        lengths: what the damped solution is a multiple of, ``(B, d)``, in the unit of an update.
    """

    matrix: Float[Tensor, "B d d"]
    cosines: Float[Tensor, "B d"]
    lengths: Float[Tensor, "B d"]


@final
class ScaledEquations(Observation):
    """``J^T W J``, ``J^T W r`` and the cost at ``x``, such that neither the unit of the residuals
    nor their number matters.

    With ``s`` the root of the diagonal of ``J^T W J`` they are the matrix ``J^T W J / (s s^T)``,
    the cosines ``J^T W r / (s (2 cost)^(1/2))``, and the lengths ``(2 cost)^(1/2) / s``: the step
    of Levenberg-Marquardt is ``-lengths * (matrix + damping)^(-1) cosines``. That makes
    ``d^2 + 2 d`` features. What is not finite counts as zero.

    Args:
        problem: gives the normal equations.

    Raises:
        DescentError: if the problem has no residuals.

    References:
        D. Marquardt. An algorithm for least-squares estimation of nonlinear parameters. SIAM
        Journal 11, 1963, eqs. 18 to 20 (the scaling).

    Example:
        >>> from learned_descent.problems import Analytic
        >>> problem = Analytic("sin")
        >>> eyes = ScaledEquations(problem)
        >>> eyes(torch.zeros(1, 1), {"y": torch.full((1, 1), 0.5)})
        tensor([[ 1.0000, -1.0000,  0.5000]])
    """

    differentiable = False

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self._problem = Beside(with_cost(problem, "a learned Levenberg-Marquardt"))

    def prepare(self, batch: Batch) -> Batch:
        return self._problem.module.prepare(batch)

    @torch.no_grad()
    def forward(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        hessian, gradient, cost = self._problem.module.normal_equations(x, batch)
        scale = scale_of(hessian).sqrt()
        root = (2 * cost.unsqueeze(1).to(hessian)).sqrt().clamp(min=torch.finfo(x.dtype).tiny)
        matrix = hessian / (scale.unsqueeze(2) * scale.unsqueeze(1))
        lengths = (root / scale).clamp(max=_LONGEST)
        features = torch.cat([matrix.flatten(1), gradient / (scale * root), lengths], 1).to(x)
        finite = features.isfinite().all(1, keepdim=True)
        return features.where(finite, 0)

    @staticmethod
    def unpacked(
        features: Float[Tensor, "B F"], num_updates: int
    ) -> tuple[ScaledSystem, Float[Tensor, "B G"]]:
        """The system that the first features hold, and the other features."""
        sizes = [num_updates**2, num_updates, num_updates]
        matrix, cosines, lengths, others = features.split(
            [*sizes, features.shape[1] - sum(sizes)], 1
        )
        square = matrix.unflatten(1, (num_updates, num_updates))
        return ScaledSystem(square, cosines, lengths), others
