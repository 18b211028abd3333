"""One sample as a solver from elsewhere wants it: residuals and Jacobian in numpy, of an update
from the start.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..data.samples import Batch
from ..errors import DescentError
from ..kernels import Kernel, Squares
from ..problem import LeastSquares, Problem

_UNIT = float(np.finfo(np.float64).eps)


class Task(ABC):
    """The residuals of one sample, ``(R,)``, and their Jacobian ``(R, d)``, at ``retract(x0,
    delta)``.

    Args:
        problem: the problem in float64.
        kernel: that of the residuals, which are turned into others whose plain squares cost the
            same.
        x0: the start ``(1, p)``.
        sample: a prepared batch of one.
    """

    def __init__(
        self, problem: LeastSquares, kernel: Kernel, x0: Float[Tensor, "1 p"], sample: Batch
    ) -> None:
        self.problem, self.kernel, self.x0, self.sample = problem, kernel, x0, sample
        self.size = problem.local(x0, x0).shape[1]

    @abstractmethod
    def residual(self, delta: Any) -> Any:
        """The residuals after an update ``(d,)``."""

    @abstractmethod
    def slopes(self, delta: Any) -> Any:
        """Their derivative."""

    @abstractmethod
    def check_rows(self) -> None:
        """Refuses residuals that cannot be looked at as this task does."""

    @final
    def jacobian(self, delta: Any) -> Any:
        """:meth:`slopes`, where there are any.

        Raises:
            FloatingPointError: if they are not finite, or all are zero while residuals are left.
        """
        value = self.slopes(delta)
        if not np.isfinite(value).all():
            raise FloatingPointError("the Jacobian is not finite")
        if not value.any() and self.residual(delta).any():
            raise FloatingPointError("no residual depends on x")
        return value

    @final
    def reached(self, delta: Any) -> Float[Tensor, "1 p"]:
        """Where an update leads."""
        return self.problem.retract(self.x0, torch.from_numpy(delta).to(self.x0)[None])

    @final
    def rooted(self, residual: Float[Tensor, "n R"]) -> Float[Tensor, "n R"]:
        """The residuals that are minimised."""
        return residual if isinstance(self.kernel, Squares) else self.kernel.rooted(residual)


@final
class _Analytic(Task):
    """By the Jacobian that the problem has written down, where updates add up."""

    def check_rows(self) -> None:
        """Every sample is looked at alone."""

    def residual(self, delta: Any) -> Any:
        return self.rooted(self.problem.residual(self.reached(delta), self.sample))[0].cpu().numpy()

    def slopes(self, delta: Any) -> Any:
        x = self.reached(delta)
        columns: Tensor = self.problem.jacobian(x, self.sample)[0].T
        if not isinstance(self.kernel, Squares):
            residual = self.problem.residual(x, self.sample).repeat(len(columns), 1)
            columns = torch.func.jvp(self.kernel.rooted, (residual,), (columns,))[1]
        return columns.T.cpu().numpy()


@final
class _Differences(Task):
    """By central differences: both ends of all of them are looked at in one batch, together with
    the middle.

    A call of torch costs more than the few numbers in it, and a solver asks for the derivative
    where it has just asked for the residuals.
    """

    def __init__(
        self, problem: LeastSquares, kernel: Kernel, x0: Float[Tensor, "1 p"], sample: Batch
    ) -> None:
        super().__init__(problem, kernel, x0, sample)
        axes = np.eye(self.size)
        self.ends = np.concatenate([np.zeros_like(axes[:1]), axes, -axes])
        self.starts = x0.expand(len(self.ends), -1)
        self.around = {
            name: value.expand(len(self.ends), *value.shape[1:]) for name, value in sample.items()
        }
        self.start = x0[0].cpu().numpy() if _adds_up(problem) else None
        self.latest: Any = None

    def check_rows(self) -> None:
        alone = self.problem.residual(self.x0, self.sample)
        together = self.problem.residual(self.starts, self.around)
        if not torch.allclose(together, alone.expand_as(together), equal_nan=True):
            raise DescentError(
                f"{type(self.problem).__name__}.residual: the residuals of a sample depend on the "
                "other samples of its batch: compute (B, R) row by row, with no sum over the "
                "batch and no .item()"
            )

    def residual(self, delta: Any) -> Any:
        return self._seen(delta)[0]

    def slopes(self, delta: Any) -> Any:
        return self._seen(delta)[1]

    def _seen(self, delta: Any) -> tuple[Any, Any]:
        if not np.array_equal(self.latest, delta):
            self.latest = delta.copy()
            self.found = self._looked(delta)
        return self.found

    def _looked(self, delta: Any) -> tuple[Any, Any]:
        step = _UNIT ** (1 / 3) * self._sizes(delta)
        x = self.problem.retract(
            self.starts, torch.from_numpy(delta + self.ends * step).to(self.x0)
        )
        rows = self.rooted(self.problem.residual(x, self.around)).cpu().numpy()
        ahead, behind = np.split(rows[1:], 2)
        return rows[0], ((ahead - behind) / (2 * step[:, None])).T

    def _sizes(self, delta: Any) -> Any:
        """What a step is small against: updates of a manifold have a unit of about 1, other
        parameters any.
        """
        if self.start is None:
            return np.maximum(np.abs(delta), 1)
        size = np.maximum(np.abs(self.start + delta), np.abs(self.start))
        return size + _UNIT**0.5 * size.max() if size.any() else np.ones_like(size)


def _adds_up(problem: Problem) -> bool:
    """Whether ``retract`` is a sum, along which a written Jacobian is right everywhere."""
    return type(problem).retract is Problem.retract


def task_of(problem: LeastSquares, kernel: Kernel, x0: Float[Tensor, "1 p"], sample: Batch) -> Task:
    """The task of one sample, as fast as it can be had."""
    written = type(problem).jacobian is not LeastSquares.jacobian
    kind = _Analytic if written and _adds_up(problem) else _Differences
    return kind(problem, kernel, x0, sample)
