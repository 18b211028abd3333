"""Why a solver could make nothing of a sample."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..data.batches import floating
from ..data.samples import Batch
from ..linear import damped_step
from ..problem import LeastSquares
from ..system.precision import outside_autocast


@torch.no_grad()
@outside_autocast()
def why_invalid(
    problem: LeastSquares, x: Float[Tensor, "B p"], batch: Batch, prepared: Batch
) -> list[str]:
    """The first check that each sample fails where a solver left it, in words.

    Args:
        problem: the problem, in the precision of the solver.
        x: where the samples stayed.
        batch: the samples as they came.
        prepared: the same, prepared.
    """
    reasons = [""] * len(x)
    for reason, failed in _checks(problem, x, batch, prepared):
        for row in failed.nonzero().flatten().tolist():
            reasons[row] = reasons[row] or reason
    return reasons


def _checks(
    problem: LeastSquares, x: Tensor, batch: Batch, prepared: Batch
) -> Iterator[tuple[str, Bool[Tensor, " B"]]]:
    yield "x is not finite where the solver starts", ~_finite(x)
    residual = problem.residual(x, prepared)
    lost = ~_finite(residual)
    for name, value in floating(batch).items():
        yield f"residuals are not finite: {name!r} holds NaN or infinity", lost & ~_finite(value)
    yield from problem.faults(x, prepared).items()
    yield "residuals are not finite", lost
    yield "the cost is not finite", ~problem.cost(x, prepared).isfinite()
    jacobian = problem.jacobian(x, prepared)
    yield "derivatives of the residuals are not finite", ~_finite(jacobian)
    yield "no residual depends on x", (jacobian == 0).flatten(1).all(1)
    yield (
        "the kernel gives no residual a weight: all are outliers",
        (problem.weights(residual) == 0).all(1),
    )
    hessian, gradient, _ = problem.normal_equations(x, prepared)
    yield "the normal equations are not finite", ~(_finite(hessian) & _finite(gradient))
    _, least = damped_step(hessian, gradient, torch.zeros_like(gradient[:, 0]))
    yield "the normal equations are singular: a change of x that changes no residual", least == 0
    yield "a step led to where x or the residuals are not finite", torch.ones_like(lost)


def _finite(value: Tensor) -> Bool[Tensor, " B"]:
    return value.isfinite().flatten(1).all(1)
