"""A batch of least-squares problems in one call, from a plain function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeAlias, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..data.batches import index
from ..data.samples import Batch
from ..errors import DescentError, ShapeError, check_shape
from ..kernels import Kernel
from ..problem import Problem
from ..solvers import LevenbergMarquardt, Solver, Status
from .arguments import (
    ROOTS_KEY,
    START_KEY,
    Array,
    Data,
    ResidualFunction,
    as_arguments,
    as_tensor,
    kind_of,
    roots_of,
)
from .problem import FunctionProblem

SolverMaker: TypeAlias = Callable[[Problem], Solver]
"""Makes a solver for a problem: a class of solvers, or ``functools.partial`` of one with
options."""

_STEPS = 200
"""The largest number of steps where no solver is given."""

_MEMORY = 2**24
"""How many numbers a trajectory may hold: more samples are solved one chunk after the other."""

_WORDS: Mapping[Status, str] = {
    Status.RUNNING: "the steps ran out: give a solver with more of them, or a better start",
    Status.CONVERGED: "converged",
    Status.STALLED: "it stands still, though a step promises more: try float64, or another start",
}


@final
@dataclass(frozen=True)
class LeastSquaresResult:
    """What :func:`least_squares` found; tensors if a tensor came, else numpy arrays.

    Attributes:
        x: the parameters, ``(B, p)``; the start where the status is ``INVALID``.
        cost: half the sum of the squares, or what the kernel makes of it, ``(B,)``.
        status: a :class:`~learned_descent.solvers.Status` for each sample, as a whole number,
            ``(B,)``.
        messages: the same in words, and why a sample is ``INVALID``.
        covariance: that of ``x``, ``(B, p, p)``; infinity where it is not known.
        evaluations: how often the residuals were asked for at another ``x``, the start included,
            ``(B,)``.
    """

    x: Array
    cost: Array
    status: Array
    messages: list[str]
    covariance: Array
    evaluations: Array

    @property
    def success(self) -> Array:
        """Which samples converged, ``(B,)``."""
        return self.status == Status.CONVERGED


def least_squares(
    residual: ResidualFunction,
    x0: Array,
    data: Data = None,
    *,
    weights: Array | None = None,
    mask: Array | None = None,
    bounds: tuple[Array, Array] | None = None,
    kernel: Kernel | None = None,
    solver: SolverMaker | None = None,
    absolute_sigma: bool = False,
) -> LeastSquaresResult:
    """Minimises the squares of ``residual(x, data)`` over ``x``, for every sample of a batch at
    once.

    The function is what one would give to scipy: it sees *one* sample, ``x (p,)`` and the data of
    that sample, and gives its residuals ``(m,)``. It is written with torch operations, and
    ``torch.vmap`` runs it over the batch; derivatives are taken by forward-mode differentiation.
    What all samples share is a variable of the function. It all runs in the widest precision of
    what comes, which for numpy is mostly float64; no gradient passes.

    Args:
        residual: the residuals of one sample; of any shape, which is flattened.
        x0: the starts ``(B, p)``, or one ``(p,)`` for all; moved into the bounds where it is
            outside.
        data: what the samples differ in: an array ``(B, ...)``, a tuple of arrays or a dict of
            arrays, which the function gets as it is given here, without the first axis; ``None``
            for a function of ``x`` alone.
        weights: how much the square of each residual counts, ``(m,)`` or ``(B, m)``: ``1 /
            sigma^2``. With weight 0 it does not count, whatever it is.
        mask: which residuals count, ``(m,)`` or ``(B, m)``, for samples of different lengths: the
            rest may hold anything, NaN included.
        bounds: a pair ``(low, high)``, each one number or ``(p,)``, the same for all samples;
            infinity where there is none, and twice the same number for what is not to change.
        kernel: a robust kernel, which takes the residuals times the roots of their weights;
            ``None`` for squares.
        solver: makes the solver: ``GaussNewton``, or ``partial(LevenbergMarquardt,
            num_steps=1000)``; ``None`` for Levenberg-Marquardt of at most 200 steps.
        absolute_sigma: whether the weights are meant to be ``1 / sigma^2`` in the unit of the
            residuals, as ``absolute_sigma`` of scipy's ``curve_fit``; else only their ratios count
            in the covariance.

    Returns:
        The :class:`LeastSquaresResult`. Its covariance is that of scipy's ``curve_fit``:
        ``2 cost / (n - p) (J^T W J)^+``, where ``n`` residuals count, ``W`` holds the weights,
        those of the kernel included, and ``^+`` is the pseudo-inverse; without the factor if
        ``absolute_sigma``; and infinity where ``n <= p``. It knows nothing of the bounds.

    Raises:
        DescentError: if an argument is none of those above, the function fails, or it cannot be run
            over a batch. What is wrong with one sample alone is told by its status.

    References:
        J. Moré. The Levenberg-Marquardt algorithm: implementation and theory. 1978.

    Example:
        >>> import numpy as np
        >>> t = torch.linspace(0, 3, 20, dtype=torch.float64)
        >>> def decay(x, y):
        ...     return x[0] * torch.exp(-x[1] * t) - y
        >>> truth = np.array([[1.0, 0.5], [2.0, 1.0], [3.0, 2.0]])
        >>> y = truth[:, :1] * np.exp(-truth[:, 1:] * t.numpy())
        >>> found = least_squares(decay, [1.0, 1.0], y, bounds=(0, [10, 1.5]))
        >>> found.x.round(3)
        array([[1.   , 0.5  ],
               [2.   , 1.   ],
               [2.666, 1.5  ]])
        >>> found.success.all(), found.messages[0]
        (np.True_, 'converged')
    """
    prepared = prepare(residual, x0, data, weights=weights, mask=mask, bounds=bounds, kernel=kernel)
    made = solver_for(prepared.problem, solver)
    find = partial(stepped, made)
    return gathered(prepared, find, made.num_steps, absolute_sigma=absolute_sigma)


class Asked(NamedTuple):
    """What the arguments of :func:`least_squares` make.

    Attributes:
        problem: the function.
        batch: the samples, with starts and roots of weights.
        num_residuals: the residuals of one sample.
        tensors: whether any of them came as a tensor.
    """

    problem: FunctionProblem
    batch: dict[str, Tensor]
    num_residuals: int
    tensors: bool


def prepare(
    residual: ResidualFunction,
    x0: Array,
    data: Data = None,
    *,
    weights: Array | None = None,
    mask: Array | None = None,
    bounds: tuple[Array, Array] | None = None,
    kernel: Kernel | None = None,
) -> Asked:
    """The arguments of :func:`least_squares`, checked.

    Raises:
        DescentError: as there.
    """
    arguments = as_arguments(data)
    numbers = {**arguments.batch, START_KEY: as_tensor(x0, "x0")}
    if weights is not None:
        numbers[ROOTS_KEY] = as_tensor(weights, "weights")
    tensors = arguments.tensors or isinstance(x0, Tensor) or isinstance(weights, Tensor)
    batch = _alike(numbers, kind_of(numbers.values(), tensors=tensors))
    batch[START_KEY] = _starts(batch[START_KEY], arguments.batch)
    start = batch[START_KEY]
    problem = FunctionProblem(residual, arguments, start.shape[1], bounds=bounds, kernel=kernel)
    problem.to(start.device)
    count = problem.count(start[0], batch)
    if weights is not None or mask is not None:
        batch[ROOTS_KEY] = roots_of(batch.get(ROOTS_KEY), mask, start.new_ones(len(start), count))
    return Asked(problem, batch, count, tensors)


class Found(NamedTuple):
    """Where some samples ended.

    Attributes:
        x: the parameters, ``(B, p)``.
        status: how each ended, ``(B,)``.
        messages: the same in words.
        evaluations: how often the residuals were asked for, ``(B,)``.
    """

    x: Float[Tensor, "B p"]
    status: Int[Tensor, " B"]
    messages: list[str]
    evaluations: Int[Tensor, " B"]


def stepped(solver: Solver, batch: Batch) -> Found:
    """Where a solver ends."""
    trajectory = solver(batch, keep_states=True)
    status, reasons = solver.status(trajectory), solver.explain(trajectory, batch)
    messages = [reason or _WORDS[Status(end)] for reason, end in zip(reasons, status.tolist())]
    return Found(trajectory.final, status, messages, solver.evaluations(trajectory))


@torch.no_grad()
def gathered(
    prepared: Asked, find: Callable[[Batch], Found], num_steps: int, *, absolute_sigma: bool
) -> LeastSquaresResult:
    """What a method finds, with cost and covariance there; for as many samples at a time as
    trajectories of so many steps leave room for.
    """
    problem = prepared.problem
    parts, messages = [], []
    for batch in _chunks(num_steps, prepared.batch):
        found = find(batch)
        cost = problem.cost(found.x, batch)
        covariance = _covariance(problem, found.x, batch, None if absolute_sigma else cost)
        parts.append((found.x, cost, found.status, covariance, found.evaluations))
        messages += found.messages
    columns: list[Array] = [torch.cat(column) for column in zip(*parts)]
    if not prepared.tensors:
        columns = [column.cpu().numpy() for column in columns]
    x, cost, status, covariance, evaluations = columns
    return LeastSquaresResult(x, cost, status, messages, covariance, evaluations)


def _alike(numbers: Mapping[str, Tensor], kind: torch.dtype) -> dict[str, Tensor]:
    """All numbers on the device that one of them is on, and of one precision; data that are whole
    numbers stay so.
    """
    devices = [value.device for value in numbers.values() if value.device.type != "cpu"]
    device = devices[0] if devices else torch.device("cpu")
    return {
        name: value.to(device, kind)
        if value.is_floating_point() or name in (START_KEY, ROOTS_KEY)
        else value.to(device)
        for name, value in numbers.items()
    }


def _starts(x0: Tensor, data: Batch) -> Float[Tensor, "B p"]:
    """A start for each sample."""
    if x0.ndim not in (1, 2) or 0 in x0.shape:
        raise ShapeError(
            f"x0: expected one start (p,) or one for each sample (B, p), got {tuple(x0.shape)}"
        )
    counts = [len(value) for value in data.values()] or [1 if x0.ndim == 1 else len(x0)]
    if not counts[0]:
        raise DescentError("data: expected one sample or more, got none")
    if x0.ndim == 1:
        return x0.repeat(counts[0], 1)
    check_shape(x0, "B p", {"B": counts[0]}, name="x0")
    return x0


def solver_for(problem: FunctionProblem, maker: SolverMaker | None) -> Solver:
    """The solver that is asked for.

    Raises:
        DescentError: if it is none.
    """
    made: object = (
        LevenbergMarquardt(problem, num_steps=_STEPS) if maker is None else maker(problem)
    )
    if not isinstance(made, Solver):
        raise DescentError(
            "solver: expected a class of learned_descent.solvers, or functools.partial of one, got "
            f"what makes a {type(made).__name__}"
        )
    return made


def _chunks(num_steps: int, batch: Batch) -> Iterator[Batch]:
    count, size = batch[START_KEY].shape
    rows = max(1, _MEMORY // (num_steps * (4 * size + 16)))
    for first in range(0, count, rows):
        yield index(batch, slice(first, first + rows))


def _covariance(
    problem: FunctionProblem,
    x: Float[Tensor, "B p"],
    batch: Batch,
    cost: Float[Tensor, " B"] | None,
) -> Float[Tensor, "B p p"]:
    """The covariance at ``x``; of weights that are known absolutely where no cost is given."""
    residual, jacobian = problem.linearized(x, batch)
    slopes = jacobian * problem.weights(residual).sqrt().unsqueeze(2)
    unit = torch.finfo(slopes.dtype).eps * max(slopes.shape[1:])
    known = slopes.isfinite().flatten(1).all(1)
    # The triangular factor has the same singular values, and is smaller
    factor = torch.linalg.qr(slopes.double().where(known[:, None, None], 0), mode="r").R
    inverse = torch.linalg.pinv(factor, rtol=unit)
    found = inverse @ inverse.mT
    if cost is not None:
        left = (batch.get(ROOTS_KEY, torch.ones_like(residual)) > 0).sum(1) - x.shape[1]
        found = found * (2 * cost.double() / left)[:, None, None]
        known = known & (left > 0) & cost.isfinite()
    covariance: Tensor = found.where(known[:, None, None], torch.inf).to(x)
    return covariance
