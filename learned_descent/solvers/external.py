"""Methods from elsewhere behind the same interface: any function, and scipy's ``least_squares``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal, TypeAlias, cast, final, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .._check import DescentError, check_shape
from ..model import State
from ..observation import Observation
from ..problem import Batch, LeastSquares, Problem
from .solver import Solver, Status, in_double, raised, with_cost

Function: TypeAlias = Callable[[Float[Tensor, "B p"], Batch], Float[Tensor, "B p"]]
"""Maps the start and the batch to an answer; NaN in the row of a sample says that there is none."""

Method: TypeAlias = Literal["trf", "dogbox", "lm"]

Loss: TypeAlias = Literal["linear", "soft_l1", "huber", "cauchy", "arctan"]

_UNIT = float(np.finfo(np.float64).eps)


class _Outside(Solver):
    """A solver whose observation is the answer ``(B, p)`` itself, beside its status."""

    def init_state(self, x: Float[Tensor, "B p"]) -> State:
        return x.new_full((len(x), 1), Status.RUNNING)

    def step(self, k: int, features: Float[Tensor, "B F"], state: State) -> tuple[Float[Tensor, "B d"], State]:
        return features[:, :-1], features[:, -1:]

    def move(
        self, k: int, x: Float[Tensor, "B p"], delta: Float[Tensor, "B d"], state: State, batch: Batch
    ) -> tuple[Float[Tensor, "B p"], State]:
        answer = delta + (x - x.detach()) if x.requires_grad else delta  # a gradient goes straight through
        return torch.where(cast(Tensor, state) == Status.INVALID, x, answer), state


@final
class External(_Outside):
    """A method from elsewhere as a model of one step: OpenCV, open3d, a closed form, a network.

    A sample whose answer is not finite stays where it is: its status is ``INVALID``. All others count as converged. No
    gradient passes through the function.

    Args:
        problem: the task; its cost is not needed.
        function: maps the start ``(B, p)`` and the batch, as it came, to an answer ``(B, p)`` of any precision and device.

    Example:
        >>> from learned_descent.problems import Analytic
        >>> problem = Analytic("exp")
        >>> batch = problem.data("test")
        >>> logarithm = External(problem, lambda x0, batch: batch["y"].log())
        >>> problem.error(logarithm(batch).final, batch).max()
        tensor(0.)
    """

    def __init__(self, problem: Problem, function: Function) -> None:
        super().__init__(problem, _Answer(function), num_steps=1)


class _Answer(Observation):
    """What a function answers, ``(B, p)``, and whether it is finite, as a status."""

    differentiable = False

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    @torch.no_grad()
    def forward(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        answer = self.function(x, batch)
        check_shape(answer, "B p", {"B": x.shape[0], "p": x.shape[1]}, name="answer of the external function")
        answer = answer.to(x)
        valid = answer.isfinite().all(1, keepdim=True)
        return torch.cat([answer, torch.where(valid, Status.CONVERGED, Status.INVALID).to(x)], 1)


@final
class ScipyLeastSquares(_Outside):
    """scipy's ``least_squares``, one sample after the other in float64: the yardstick of the yardsticks.

    It minimises over an update ``delta`` from the start, so that parameters on a manifold stay there, with the problem's own
    Jacobian. The cost is that of ``loss``; the problem's kernel is not used. A sample that is not finite stays where it is:
    its status is ``INVALID``; one whose evaluations are used up is ``RUNNING``.

    Args:
        problem: the problem, with its residuals.
        method: ``"trf"`` and ``"dogbox"`` (trust regions), or ``"lm"`` (MINPACK; no robust loss, at least as many residuals
            as unknowns).
        loss: what a residual costs.
        scale: the size of a residual at which a robust loss sets in.
        max_evaluations: the largest number of evaluations of the residuals; ``None`` for scipy's.
        tolerance: scipy's ``ftol``, ``xtol`` and ``gtol``.

    Raises:
        DescentError: if the problem has no residuals, or an argument is none of those above.

    References:
        J. Moré. The Levenberg-Marquardt algorithm: implementation and theory. 1978.
        M. Branch, T. Coleman and Y. Li. A subspace, interior, and conjugate gradient method. SIAM J. Sci. Comput. 21, 1999.

    Example:
        >>> from learned_descent.problems import Analytic
        >>> problem = Analytic("exp")
        >>> batch = problem.data("test")
        >>> bool(problem.error(ScipyLeastSquares(problem)(batch).final, batch).max() < 1e-6)
        True
    """

    def __init__(
        self,
        problem: Problem,
        *,
        method: Method = "trf",
        loss: Loss = "linear",
        scale: float = 1.0,
        max_evaluations: int | None = None,
        tolerance: float = 1e-8,
    ) -> None:
        for name, value, choices in (("method", method, get_args(Method)), ("loss", loss, get_args(Loss))):
            if value not in choices:
                raise DescentError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")
        if method == "lm" and loss != "linear":
            raise DescentError(f'loss: scipy\'s method "lm" knows only "linear", got {loss!r}: take "trf" or "dogbox"')
        if not 0 < scale < float("inf"):
            raise DescentError(f"scale: expected a positive number, got {scale}")
        if max_evaluations is not None and max_evaluations < 1:
            raise DescentError(f"max_evaluations: expected 1 or more, or None, got {max_evaluations}")
        if not _UNIT <= tolerance < 1:
            raise DescentError(f"tolerance: expected a number from {_UNIT:.3g} to 1, got {tolerance}")
        options = {"method": method, "loss": loss, "f_scale": scale, "max_nfev": max_evaluations}
        options |= dict.fromkeys(("ftol", "xtol", "gtol"), tolerance)
        super().__init__(problem, _Scipy(with_cost(problem), options), num_steps=1)
        own = {"method": method, "loss": loss, "scale": scale}
        self.own: dict[str, Any] = {**own, "max_evaluations": max_evaluations, "tolerance": tolerance}

    def settings(self) -> dict[str, Any]:
        return dict(self.own)


class _Scipy(Observation):
    """What scipy reaches from ``x``, ``(B, p)``, and how it ended, as a status."""

    differentiable = False

    def __init__(self, problem: LeastSquares, options: dict[str, Any]) -> None:
        super().__init__()
        self.problem = in_double(problem)
        self.options = options

    def prepare(self, batch: Batch) -> Batch:
        return self.problem.prepare({name: raised(value) for name, value in batch.items()})

    @torch.no_grad()
    def forward(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        rows = [slice(row, row + 1) for row in range(len(x))]
        return torch.cat([self._solved(x[row].double(), {k: v[row] for k, v in batch.items()}) for row in rows]).to(x)

    def _solved(self, x0: Float[Tensor, "1 p"], sample: Batch) -> Float[Tensor, "1 F"]:
        """The answer to one sample, and its status."""

        def reached(delta: Any) -> Tensor:
            return self.problem.retract(x0, torch.from_numpy(delta).to(x0)[None])

        def residual(delta: Any) -> Any:
            return self.problem.residual(reached(delta), sample)[0].cpu().numpy()

        def jacobian(delta: Any) -> Any:
            x = reached(delta)
            value = (self.problem.jacobian(x, sample) @ self._turned(x0, torch.from_numpy(delta).to(x0)[None], x))[0]
            if not value.isfinite().all():
                raise FloatingPointError("the Jacobian is not finite")
            return value.cpu().numpy()

        from scipy.optimize import least_squares  # here, for the help of a command is not to wait for it

        start = torch.zeros_like(self.problem.local(x0, x0))[0].cpu().numpy()
        first = residual(start)
        if self.options["method"] == "lm" and len(first) < len(start):
            raise DescentError(
                f'method: scipy\'s "lm" needs at least as many residuals as unknowns, got {len(first)} for {len(start)}: '
                'take "trf"'
            )
        status, x = Status.INVALID, x0
        if np.isfinite(first).all() and x0.isfinite().all():
            with suppress(FloatingPointError, np.linalg.LinAlgError):
                found = least_squares(residual, start, jacobian, **self.options)
                status, x = Status.CONVERGED if found.status > 0 else Status.RUNNING, reached(found.x)
        return torch.cat([x, x.new_full((1, 1), status)], 1)

    def _turned(self, x0: Tensor, delta: Float[Tensor, "1 d"], x: Tensor) -> Float[Tensor, "1 d d"]:
        """The derivative of updates at ``x = retract(x0, delta)`` by updates at ``x0``: the identity where updates add up."""
        if type(self.problem).retract is Problem.retract:
            return torch.eye(delta.shape[1]).to(x0)[None]

        def moved(delta: Tensor, x: Tensor) -> Tensor:
            return self.problem.retract(x[None], delta[None])[0]

        slopes = torch.func.jacfwd(moved)
        here, there = torch.vmap(slopes)(torch.cat([torch.zeros_like(delta), delta]), torch.cat([x, x0]))
        turned: Tensor = (torch.linalg.pinv(here) @ there)[None]
        return turned
