"""Methods from elsewhere behind the same interface: any function, and scipy's ``least_squares``."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Literal, NamedTuple, TypeAlias, cast, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..data.batches import index
from ..data.samples import Batch
from ..errors import DescentError, check_choice, check_real, check_shape
from ..kernels import Cauchy, Huber, Kernel, Squares
from ..model import State, Trajectory
from ..observation import Observation
from ..problem import LeastSquares, Problem, with_cost
from ..system.precision import outside_autocast
from .reasons import why_invalid
from .scipy import Task, task_of
from .solver import Solver, Status, in_double, raised

AnswerFunction: TypeAlias = Callable[[Float[Tensor, "B p"], Batch], Float[Tensor, "B p"]]
"""Maps the start and the batch to an answer; NaN in the row of a sample says that there is none."""

Method: TypeAlias = Literal["trf", "dogbox", "lm"]

ScipyLoss: TypeAlias = Literal["kernel", "linear", "soft_l1", "huber", "cauchy", "arctan"]

_UNIT = float(np.finfo(np.float64).eps)
_NATIVE: Mapping[type[Kernel], str] = {Squares: "linear", Huber: "huber", Cauchy: "cauchy"}
"""Kernels that scipy has too, as long as every residual is a block of its own."""


class OutsideState(NamedTuple):
    """What a method from elsewhere tells of every sample.

    Attributes:
        evaluations: how often its residuals were asked for, ``(B,)``; 1 where nobody knows.
        status: a :class:`~learned_descent.solvers.Status`, as a whole number, ``(B,)``.
    """

    evaluations: Tensor
    status: Tensor


class _Outside(Solver):
    """A method from elsewhere: nothing follows from features, so its step is zero, and its move is
    the whole answer.
    """

    @abstractmethod
    def answer(
        self, x: Float[Tensor, "B p"], batch: Batch
    ) -> tuple[Float[Tensor, "B p"], OutsideState]:
        """What the method makes of the start and a prepared batch, and what it tells of each
        sample.
        """

    def evaluations(self, trajectory: Trajectory) -> Int[Tensor, " B"]:
        return cast(OutsideState, trajectory.states).evaluations[-1]

    def init_state(self, x: Float[Tensor, "B p"]) -> State:
        running = x.new_full((len(x),), Status.RUNNING, dtype=torch.long)
        return OutsideState(evaluations=torch.zeros_like(running), status=running)

    def step(
        self, k: int, features: Float[Tensor, "B F"], state: State
    ) -> tuple[Float[Tensor, "B d"], State]:
        return features, state  # zeros: see _Blind

    def move(
        self,
        k: int,
        x: Float[Tensor, "B p"],
        delta: Float[Tensor, "B d"],
        state: State,
        batch: Batch,
    ) -> tuple[Float[Tensor, "B p"], State]:
        with torch.no_grad():
            answer, after = self.answer(x.detach(), batch)
        # A gradient goes straight through
        reached = answer + (x - x.detach()) if x.requires_grad else answer
        invalid = (after.status == Status.INVALID).unsqueeze(1)
        return torch.where(invalid, x, reached), after


@final
class _Blind(Observation):
    """What a method that looks for itself leaves to see: an update of zero, ``(B, d)``.

    Args:
        problem: the geometry.
        doubled: prepares the batch in float64; ``None`` leaves it as it came.
    """

    differentiable = False

    def __init__(self, problem: Problem, doubled: LeastSquares | None = None) -> None:
        super().__init__()
        self.problem, self.doubled = problem, doubled

    @outside_autocast()
    def prepare(self, batch: Batch) -> Batch:
        if self.doubled is None:
            return batch
        return self.doubled.prepare({name: raised(value) for name, value in batch.items()})

    @torch.no_grad()
    def forward(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        return torch.zeros_like(self.problem.local(x, x))


@final
class External(_Outside):
    """A method from elsewhere as a model of one step: OpenCV, open3d, a closed form, a network.

    A sample whose answer is not finite stays where it is: its status is ``INVALID``. All others
    count as converged. No gradient passes through the function.

    Args:
        problem: the task; its cost is not needed.
        function: maps the start ``(B, p)`` and the batch, as it came, to an answer ``(B, p)`` of
            any precision and device.

    Example:
        >>> from learned_descent.problems import Analytic
        >>> problem = Analytic("exp")
        >>> batch = problem.data("test")
        >>> logarithm = External(problem, lambda x0, batch: batch["y"].log())
        >>> problem.error(logarithm(batch).final, batch).max()
        tensor(0.)
    """

    def __init__(self, problem: Problem, function: AnswerFunction) -> None:
        super().__init__(problem, _Blind(problem), num_steps=1)
        self.function = function

    def answer(
        self, x: Float[Tensor, "B p"], batch: Batch
    ) -> tuple[Float[Tensor, "B p"], OutsideState]:
        answer = self.function(x, batch)
        check_shape(
            answer,
            "B p",
            {"B": x.shape[0], "p": x.shape[1]},
            name="answer of the external function",
        )
        answer = answer.to(x)
        valid = answer.isfinite().all(1)
        status = torch.where(valid, Status.CONVERGED, Status.INVALID)
        return answer, OutsideState(evaluations=torch.ones_like(status), status=status)

    def reasons(self, x: Float[Tensor, "B p"], batch: Batch) -> list[str]:
        return ["the function gave no finite answer"] * len(x)


@final
class ScipyLeastSquares(_Outside):
    """scipy's ``least_squares``, one sample after the other in float64: the yardstick of the
    yardsticks.

    It minimises the problem's own cost, kernel included: by scipy's loss of that name where there
    is one, and else (blocks of residuals, Tukey, ``"lm"``) by residuals whose squares cost the
    same. It does so over an update ``delta`` from the start, so that parameters on a manifold stay
    there. The Jacobian is the problem's own where it has one and updates add up; elsewhere it is
    one of central differences, all of its columns at once.

    A sample that is not finite, or whose residuals do not depend on ``x``, stays where it is: its
    status is ``INVALID``; one whose evaluations are used up is ``RUNNING``.

    Args:
        problem: the problem, with its residuals.
        method: ``"trf"`` and ``"dogbox"`` (trust regions), or ``"lm"`` (MINPACK; no loss of its
            own, at least as many residuals as unknowns).
        loss: what a residual costs: ``"kernel"`` for what the problem says, or a loss of scipy for
            each residual on its own.
        scale: the size of a residual at which a loss of scipy sets in; the kernel of a problem has
            its own.
        max_evaluations: the largest number of evaluations of the residuals; ``None`` for scipy's.
        tolerance: scipy's ``ftol``, ``xtol`` and ``gtol``.

    Raises:
        DescentError: if the problem has no residuals, or an argument is none of those above.

    References:
        J. Moré. The Levenberg-Marquardt algorithm: implementation and theory. 1978.
        M. Branch, T. Coleman and Y. Li. A subspace, interior, and conjugate gradient method. SIAM
        J. Sci. Comput. 21, 1999.

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
        loss: ScipyLoss = "kernel",
        scale: float = 1.0,
        max_evaluations: int | None = None,
        tolerance: float = 1e-8,
    ) -> None:
        check_choice(method, Method, name="method")
        check_choice(loss, ScipyLoss, name="loss")
        if method == "lm" and loss not in ("kernel", "linear"):
            raise DescentError(
                f'loss: scipy\'s method "lm" knows only "linear", got {loss!r}: take "trf" or '
                '"dogbox"'
            )
        check_real(scale, name="scale", positive=True)
        if loss == "kernel" and scale != 1:
            raise DescentError(
                "scale: expected 1, for the kernel of the problem has a scale of its own, got "
                f"{scale}"
            )
        if max_evaluations is not None and max_evaluations < 1:
            raise DescentError(
                f"max_evaluations: expected 1 or more, or None, got {max_evaluations}"
            )
        if not _UNIT <= tolerance < 1:
            raise DescentError(
                f"tolerance: expected a number from {_UNIT:.3g} to 1, got {tolerance}"
            )
        options: dict[str, Any] = {"method": method, "max_nfev": max_evaluations}
        options |= dict.fromkeys(("ftol", "xtol", "gtol"), tolerance)
        kernel = with_cost(problem).kernel
        native = kernel.block == 1 and method != "lm" and type(kernel) in _NATIVE
        if loss != "kernel":
            options |= {"loss": loss, "f_scale": scale}
        elif native:
            options |= {"loss": _NATIVE[type(kernel)], "f_scale": kernel.scale}
        rooted = loss == "kernel" and not native and type(kernel) is not Squares
        doubled = in_double(with_cost(problem))
        super().__init__(problem, _Blind(problem, doubled), num_steps=1)
        self.doubled = doubled
        self.kernel = kernel if rooted else Squares()
        self.options = options
        own = {"method": method, "loss": loss, "scale": scale}
        self.own: dict[str, Any] = {
            **own,
            "max_evaluations": max_evaluations,
            "tolerance": tolerance,
        }

    @outside_autocast()
    def answer(
        self, x: Float[Tensor, "B p"], batch: Batch
    ) -> tuple[Float[Tensor, "B p"], OutsideState]:
        if self.doubled.room(x[:1].double(), index(batch, slice(0, 1))) is not None:
            raise DescentError(
                "ScipyLeastSquares: expected a problem without bounds, got "
                f"{type(self.problem).__name__} with some: take LevenbergMarquardt, which keeps to "
                "them"
            )
        with torch.inference_mode():  # a call costs a fifth less
            answers = self._answers(x, batch)
        answers = answers.clone()
        told = answers[:, -2:].long()
        return answers[:, :-2].to(x), OutsideState(told[:, 0], told[:, 1])

    def reasons(self, x: Float[Tensor, "B p"], batch: Batch) -> list[str]:
        return why_invalid(self.doubled, x.double(), batch, self.observation.prepare(batch))

    def settings(self) -> dict[str, Any]:
        return dict(self.own)

    def _answers(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        rows = [slice(row, row + 1) for row in range(len(x))]
        tasks = [
            task_of(self.doubled, self.kernel, x[row].double(), index(batch, row)) for row in rows
        ]
        tasks[0].check_rows()
        return torch.cat([self._solved(task) for task in tasks])

    def _solved(self, task: Task) -> Float[Tensor, "1 F"]:
        """The answer to one sample, its status, and the number of evaluations."""
        from scipy.optimize import least_squares  # here, for help is not to wait for it

        start = np.zeros(task.size)
        first = task.residual(start)
        if self.options["method"] == "lm" and len(first) < task.size:
            raise DescentError(
                'method: scipy\'s "lm" needs at least as many residuals as unknowns, got '
                f"{len(first)} for {task.size}: "
                'take "trf"'
            )
        status, x, evaluations = Status.INVALID, task.x0, 1
        if np.isfinite(first).all() and x.isfinite().all():
            with suppress(FloatingPointError, np.linalg.LinAlgError):
                found = least_squares(task.residual, start, task.jacobian, **self.options)
                status = Status.CONVERGED if found.status > 0 else Status.RUNNING
                x, evaluations = task.reached(found.x), found.nfev
        return torch.cat([x, x.new_tensor([[evaluations, status]])], 1)
