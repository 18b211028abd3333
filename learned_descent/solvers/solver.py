"""What classical solvers share: how a sample ends, what is seen at ``x``, and when the loop may
stop.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from copy import deepcopy
from enum import IntEnum
from typing import Any, NamedTuple, Protocol, cast, final, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..data.batches import index
from ..data.samples import Batch
from ..errors import DescentError, check_real
from ..linear import bounded_step, damped_step, scale_of
from ..model import DescentModel, Outcome, State, Trajectory
from ..observation import Observation
from ..problem import LeastSquares, Problem, with_cost
from ..system.allocator import keep_freed_memory
from ..system.precision import outside_autocast
from .reasons import why_invalid

_COARSEST = torch.finfo(torch.float32).eps
"""The largest rounding unit that a solver computes with."""


_ANYWHERE = 1e300
"""The room of a coordinate without a bound."""


class Status(IntEnum):
    """How a solver left a sample."""

    RUNNING = 0
    """It was still moving after the last step."""
    CONVERGED = 1
    """An undamped step promises nothing, or is too short to matter and promises little; outside
    methods: it answered."""
    STALLED = 2
    """It stands still, though an undamped step promises more, or might in float64: no step lowers
    the cost, the parameters cannot be written more finely, the derivatives of two of them cannot be
    told apart, or one lost its influence on the way."""
    INVALID = 3
    """Residuals or derivatives were not finite, or did not determine a step; the sample stays where
    it was.

    :meth:`Solver.explain` says which.
    """


@runtime_checkable
class SolverState(Protocol):
    """The memory of a solver, whatever else it holds."""

    @property
    def status(self) -> Int[Tensor, "*T B"]:
        """A :class:`Status` for each sample."""


class Solver(DescentModel):
    """A classical method, run by the same loop as the learned ones; its memory, a ``NamedTuple``,
    is a :class:`SolverState`.

    The loop ends as soon as every sample has settled. A gradient goes straight through the steps,
    whose updates count as constants.
    """

    def running(self, k: int, state: State) -> Bool[Tensor, " B"]:
        return cast(SolverState, state).status == Status.RUNNING

    @final
    def learned_model(self) -> DescentModel | None:
        return None

    @final
    def classical_solver(self) -> DescentModel | None:
        return self

    @final
    def outcome(self, trajectory: Trajectory, batch: Batch) -> Outcome | None:
        return Outcome(self.status(trajectory), self.explain(trajectory, batch))

    @staticmethod
    def status(trajectory: Trajectory) -> Int[Tensor, " B"]:
        """How each sample ended, as values of :class:`Status`.

        Raises:
            DescentError: if the trajectory was made without ``keep_states=True``, without a step,
                or by a learned model.
        """
        if trajectory.states is None:
            raise DescentError(
                "status: the trajectory holds no states: call the solver with keep_states=True, "
                "for a step or more"
            )
        if not isinstance(trajectory.states, SolverState):
            raise DescentError(
                "status: expected the trajectory of a solver, or of a Polished model, got one of a "
                "learned model, which knows no status"
            )
        return trajectory.states.status[-1]

    @abstractmethod
    def evaluations(self, trajectory: Trajectory) -> Int[Tensor, " B"]:
        """How often the residuals of each sample were asked for at another ``x``, the start
        included.

        Args:
            trajectory: one of this solver, made with ``keep_states=True``.
        """

    @final
    def explain(self, trajectory: Trajectory, batch: Batch) -> list[str]:
        """Why each sample is ``INVALID``, in words; nothing for the others.

        Args:
            trajectory: one of this solver, or of a :class:`Polished` that ends with it, made with
                ``keep_states=True``.
            batch: the samples that it was made of.

        Example:
            >>> from learned_descent.problems import Analytic
            >>> from learned_descent.solvers import GaussNewton
            >>> solver = GaussNewton(Analytic("exp"))
            >>> batch = {"y": torch.tensor([[2.0], [torch.nan]])}
            >>> solver.explain(solver(batch, keep_states=True), batch)
            ['', "residuals are not finite: 'y' holds NaN or infinity"]
        """
        reasons = [""] * len(trajectory.final)
        rows = (self.status(trajectory) == Status.INVALID).nonzero().flatten()
        if len(rows):
            for row, reason in zip(
                rows.tolist(), self.reasons(trajectory.final[rows], index(batch, rows))
            ):
                reasons[row] = reason
        return reasons

    def reasons(self, x: Float[Tensor, "B p"], batch: Batch) -> list[str]:
        """Why the solver could make nothing of samples that it left at ``x``."""
        return ["no finite answer"] * len(x)


@final
class NormalEquations(Observation):
    """What a classical solver sees at ``x``: ``J^T W J``, ``J^T W r`` and the cost, in float64.

    They are flattened to ``(B, d^2 + d + 1)``; where the problem has bounds, the room that they
    leave follows, ``(B, 2 d)`` more.

    They are computed in float32 or float64, under autocast too; data in half precision are taken as
    float32.

    Args:
        problem: the problem.
        double: whether residuals and derivatives are computed in float64, whatever the precision of
            ``x``.

    Raises:
        DescentError: if the problem is no :class:`~learned_descent.LeastSquares`.
    """

    differentiable = False

    def __init__(self, problem: Problem, *, double: bool = False) -> None:
        super().__init__()
        self.problem = in_double(with_cost(problem)) if double else with_cost(problem)
        self.is_double = double

    @outside_autocast()
    def prepare(self, batch: Batch) -> Batch:
        keep_freed_memory()
        return self.problem.prepare({name: self.raised(value) for name, value in batch.items()})

    @torch.no_grad()
    @outside_autocast()
    def forward(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        if unit_of(x) > _COARSEST:
            raise DescentError(
                f"x0: a classical solver works in float32 or float64, got {x.dtype}: call it with "
                "the batch, or with x0, in float32"
            )
        x = self.raised(x)
        hessian, gradient, cost = self.problem.normal_equations(x, batch)
        parts = [hessian.flatten(1), gradient, cost.unsqueeze(1)]
        room = self.problem.room(x, batch)
        if room is not None:  # infinity would not count as a finite feature
            parts += [side.to(hessian).clamp(-_ANYWHERE, _ANYWHERE) for side in room]
        return torch.cat([part.to(hessian) for part in parts], 1)

    @torch.no_grad()
    @outside_autocast()
    def cost(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, " B"]:
        """The cost at ``x``, given a prepared batch."""
        return self.problem.cost(self.raised(x), batch).double()

    def raised(self, value: Tensor) -> Tensor:
        """``value`` in the precision of the computation."""
        if self.is_double:
            return raised(value)
        half = value.is_floating_point() and unit_of(value) > _COARSEST
        return value.float() if half else value

    def settings(self) -> dict[str, Any]:
        return {"double": self.is_double}

    @staticmethod
    def unpacked(
        features: Float[Tensor, "B F"],
    ) -> tuple[Float[Tensor, "B d d"], Float[Tensor, "B d"], Float[Tensor, " B"]]:
        """Matrix, gradient and cost."""
        size = _size_of(features)
        hessian, gradient, cost = features[:, : size * (size + 1) + 1].split(
            [size * size, size, 1], 1
        )
        return hessian.unflatten(1, (size, size)), gradient, cost.squeeze(1)

    @staticmethod
    def room(
        features: Float[Tensor, "B F"],
    ) -> tuple[Float[Tensor, "B d"], Float[Tensor, "B d"]] | None:
        """How far a step may go, down and up; ``None`` where nothing bounds it."""
        size = _size_of(features)
        sides = features[:, size * (size + 1) + 1 :]
        return (sides[:, :size], sides[:, size:]) if sides.shape[1] else None

    @staticmethod
    def usable(features: Float[Tensor, "B F"], finite: Bool[Tensor, " B"]) -> Bool[Tensor, " B"]:
        """Whether all is ``finite``, and some residual depends on ``x``."""
        hessian, _, _ = NormalEquations.unpacked(features)
        return finite & (hessian.diagonal(dim1=1, dim2=2) > 0).any(1)


def _size_of(features: Float[Tensor, "B F"]) -> int:
    """The size ``d`` of an update, of ``d^2 + d + 1`` features or of ``d^2 + 3 d + 1``."""
    return (math.isqrt(4 * features.shape[1] - 3) - 1) // 2


class Units(NamedTuple):
    """Rounding units: ``own`` of the computation, ``both`` of it and of the stored parameters.

    ``floor`` is the smallest damping: it hides no more than rounding the derivatives does.
    """

    own: float
    both: float
    floor: float


class NewtonLike(Solver):
    """A solver that takes one damped step of the normal equations after the other.

    Args:
        problem: the problem, with its cost.
        num_steps: the largest number ``T`` of steps.
        damping: the (first) multiple of the diagonal that is added to the normal equations.
        tolerance: a sample has converged when the cosine between its residuals and what a step can
            change falls below it; ``None`` for what rounding allows.
        double: whether all is computed in float64; the iterates keep the precision of the start.

    References:
        D. Bates and D. Watts. A relative offset orthogonality convergence criterion for nonlinear
        least squares. Technometrics 23, 1981.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        num_steps: int,
        damping: float,
        tolerance: float | None,
        double: bool,
    ) -> None:
        check_real(damping, name="damping")
        if tolerance is not None and not 0 <= tolerance < 1:
            raise DescentError(f"tolerance: expected a number in [0, 1), or None, got {tolerance}")
        equations = NormalEquations(problem, double=double)
        super().__init__(problem, equations, num_steps)
        self.equations, self.damping, self.tolerance = equations, damping, tolerance

    @final
    def units(self, x: Tensor) -> Units:
        """What rounding leaves, for parameters in the precision of ``x``."""
        stored = unit_of(x)
        finest = torch.finfo(torch.float64).eps
        own = finest if self.equations.is_double else stored
        return Units(own, max(stored, own), max(100 * finest, 64 * own**2))

    @final
    def solved(
        self,
        features: Float[Tensor, "B F"],
        damping: Float[Tensor, " B"],
        scale: Float[Tensor, "B d"] | None = None,
    ) -> tuple[Float[Tensor, "B d"], Float[Tensor, " B"], Float[Tensor, " B"]]:
        """The best step that there is room for, a lower bound of the eigenvalues of its scaled
        matrix (zero where there is no step), and how much of the cost it promises to take away.

        Args:
            features: the normal equations.
            damping: a multiple of ``scale``.
            scale: positive; by default the diagonal.
        """
        hessian, gradient, _ = self.equations.unpacked(features)
        scale = scale_of(hessian) if scale is None else scale
        room = self.equations.room(features)
        if room is None:
            delta, least = damped_step(hessian, gradient, damping, scale)
        else:
            delta, least, push = bounded_step(hessian, gradient, damping, room, scale)
            gradient = gradient + push
        fall = ((damping.unsqueeze(1) * scale * delta - gradient) * delta).sum(1) / 2
        return delta, least, fall.where(least > 0, torch.inf)

    @final
    def vanishes(
        self, fall: Float[Tensor, " B"], cost: Float[Tensor, " B"], unit: float
    ) -> Bool[Tensor, " B"]:
        """Whether the ``fall`` of the cost that an undamped step promises is nothing, up to the
        rounding ``unit``.
        """
        return fall <= max(unit, (self.tolerance or 0) ** 2) * cost

    @final
    def is_short(self, x: Float[Tensor, "B p"], trial: Float[Tensor, "B p"]) -> Bool[Tensor, " B"]:
        """Whether a step changes no parameter by more than a few rounding units, or the
        tolerance.
        """
        return shorter(x, trial, max(10 * unit_of(x), self.tolerance or 0))

    @final
    def told(self, least: Float[Tensor, " B"], units: Units) -> Bool[Tensor, " B"]:
        """Whether rounding hides no direction: derivatives are known as finely as they are summed,
        or far from dependent.

        Args:
            least: a lower bound of the eigenvalues of the scaled matrix.
            units: the rounding units.
        """
        if units.own == torch.finfo(torch.float64).eps:
            return torch.ones_like(least, dtype=torch.bool)
        return least >= 100 * units.floor

    @final
    def noise(self, diagonal: Float[Tensor, "B d"], x: Float[Tensor, "B p"]) -> Float[Tensor, " B"]:
        """What rounding ``x`` adds to the squares of the residuals.

        Args:
            diagonal: that of ``J^T W J``.
            x: the parameters; where an update has another size than they have, the largest one
                stands for all.
        """
        size = x.to(diagonal).square()
        size = size if size.shape == diagonal.shape else size.amax(1, keepdim=True)
        return unit_of(x) ** 2 * (diagonal * size).sum(1)

    @final
    def evaluations(self, trajectory: Trajectory) -> Int[Tensor, " B"]:
        steps = cast(SolverState, trajectory.states).status == Status.RUNNING
        return 2 + steps[:-1].sum(0)

    def reasons(self, x: Float[Tensor, "B p"], batch: Batch) -> list[str]:
        equations = self.equations
        return why_invalid(equations.problem, equations.raised(x), batch, equations.prepare(batch))

    def settings(self) -> dict[str, Any]:
        own = {"damping": self.damping, "tolerance": self.tolerance}
        return {**super().settings(), **self.equations.settings(), **own}


def shorter(
    x: Float[Tensor, "B p"], trial: Float[Tensor, "B p"], tolerance: float
) -> Bool[Tensor, " B"]:
    """Whether every parameter changes by less than ``tolerance``, relative to it and a little to
    the largest one.
    """
    size = x.abs()
    size = size + unit_of(x) ** 0.5 * size.amax(1, keepdim=True)
    found: Tensor = ((trial - x).abs() <= tolerance * size).all(1)
    return found


def unit_of(value: Tensor) -> float:
    """The rounding unit."""
    return torch.finfo(value.dtype).eps


def in_double(problem: LeastSquares) -> LeastSquares:
    """The problem with buffers in float64: itself where they are, and else a copy."""
    kept = all(
        value.dtype == torch.float64 for value in problem.buffers() if value.is_floating_point()
    )
    return problem if kept else deepcopy(problem).double()


def raised(value: Tensor) -> Tensor:
    """``value`` in float64, unless it holds whole numbers."""
    return value.double() if value.is_floating_point() else value
