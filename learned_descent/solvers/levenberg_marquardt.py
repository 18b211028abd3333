"""Batched Levenberg-Marquardt."""

from __future__ import annotations

from typing import NamedTuple, cast, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..data.samples import Batch
from ..errors import DescentError
from ..linear import all_finite
from ..model import State
from ..problem import Problem
from ..system.precision import outside_autocast
from .solver import NewtonLike, Status, Units

_FADING = 0.3
"""What a step leaves of the largest diagonal met so far, see :class:`LevenbergMarquardt`."""

_TRACE = 1e-300
"""A scale that only tells that a parameter had an influence."""

_WORTH = 1e-3
"""The share of its promise that a step has to keep to be accepted."""

_PROBED = 1e3
"""How much stronger the damping becomes after an undamped step that was refused."""


class LevenbergMarquardtState(NamedTuple):
    """What Levenberg-Marquardt knows of every sample after a step.

    Attributes:
        scale: what the damping is a multiple of, ``(B, d)``; all numbers are float64.
        diagonal: that of ``J^T W J`` before the step, ``(B, d)``.
        last_finite: where the derivatives were last finite, ``(B, p)``.
        largest_parameter: the largest one met; this and all that follow are ``(B,)``.
        damping: that of the next step.
        damping_growth: by what it grows when the step is refused.
        first_cost: the cost at the start.
        cost: the cost before the step.
        predicted_reduction: how much of it the step promised to take away.
        gain_ratio: the share of its promise that the step kept, refused or not.
        least_eigenvalue: a lower bound of the eigenvalues of the scaled and damped matrix.
        derivatives_lost: whether the step before led to where derivatives are not finite.
        influence_lost: whether a parameter had an influence once, and has none now.
        promised_little: whether the last undamped step promised little.
        undamped_tried: whether there was an undamped step since the cost last fell.
        undamped_next: whether the next step is to be undamped.
        status: a :class:`~learned_descent.solvers.Status`, as a whole number.
    """

    scale: Tensor
    diagonal: Tensor
    last_finite: Tensor
    largest_parameter: Tensor
    damping: Tensor
    damping_growth: Tensor
    first_cost: Tensor
    cost: Tensor
    predicted_reduction: Tensor
    gain_ratio: Tensor
    least_eigenvalue: Tensor
    derivatives_lost: Tensor
    influence_lost: Tensor
    promised_little: Tensor
    undamped_tried: Tensor
    undamped_next: Tensor
    status: Tensor

    @classmethod
    def fresh(cls, x: Float[Tensor, "B p"], size: int, damping: float) -> LevenbergMarquardtState:
        """That of samples before their first step; ``size`` is that of an update."""
        zero = x.new_zeros(len(x), dtype=torch.float64)
        no = x.new_zeros(len(x), dtype=torch.bool)
        return cls(
            scale=zero.new_zeros(len(x), size),
            diagonal=zero.new_zeros(len(x), size),
            last_finite=zero.new_zeros(x.shape),
            largest_parameter=zero,
            damping=zero + damping,
            damping_growth=zero + 2,
            first_cost=zero,
            cost=zero,
            predicted_reduction=zero,
            gain_ratio=zero,
            least_eigenvalue=zero,
            derivatives_lost=no,
            influence_lost=no,
            promised_little=no,
            undamped_tried=no,
            undamped_next=no,
            status=x.new_full((len(x),), Status.RUNNING, dtype=torch.long),
        )


@final
class LevenbergMarquardt(NewtonLike):
    """Batched Levenberg-Marquardt with a damping of its own for every sample.

    1. The step solves ``(J^T W J + damping * scale) delta = -J^T W r``. The scale is the diagonal
       of ``J^T W J``, or the largest one met so far (Moré's scaling) where that is larger: a
       parameter whose influence fades does not run away. It fades by a factor of .3 a step, so that
       a parameter is not frozen by what it once was.
    2. A step that does not keep a thousandth of its promise, robust kernel included, is refused,
       and so is one that leads to where derivatives are not finite: the sample stays and is damped
       more strongly (Nielsen's rule).
    3. A sample has converged when a step that is *not* damped promises nothing, or is too short to
       matter and promises little. Where a damped step says so, the next one is not damped. One that
       stands still while an undamped step promises more has not converged but ``STALLED``: its
       parameters cannot be written, or its derivatives told apart, more finely in this precision.
    4. Where the problem has bounds (:meth:`~learned_descent.LeastSquares.room`), every step,
       damped or not, is the best one within them: what a bound holds does not spoil the others, and
       ``CONVERGED`` means that no move within the bounds promises more.

    Args:
        problem: the problem, with its cost.
        num_steps: the largest number of steps, refused ones included.
        damping: the first damping.
        tolerance: a sample has converged when the cosine between its residuals and what a step can
            change falls below it; ``None`` for what rounding allows.
        double: whether all is computed in float64; the iterates keep the precision of the start.

    Raises:
        DescentError: if the problem has no residuals, or a number is out of its range.

    References:
        D. Marquardt. An algorithm for least-squares estimation of nonlinear parameters. SIAM
        Journal 11, 1963.
        J. Moré. The Levenberg-Marquardt algorithm: implementation and theory. 1978, section 6 (the
        scaling).
        K. Madsen, H. Nielsen and O. Tingleff. Methods for non-linear least squares problems. 2004,
        section 3.2 (the damping).
        D. Bates and D. Watts. A relative offset orthogonality convergence criterion for nonlinear
        least squares. Technometrics 23, 1981 (the cosine).

    Example:
        >>> from learned_descent.problems import Analytic
        >>> problem = Analytic("sin")
        >>> batch = problem.data("test")
        >>> solver = LevenbergMarquardt(problem)
        >>> trajectory = solver(batch, keep_states=True)
        >>> bool(problem.error(trajectory.final, batch).max() < 1e-2)
        True
        >>> bool((solver.status(trajectory) != Status.INVALID).all())
        True
    """

    def __init__(
        self,
        problem: Problem,
        *,
        num_steps: int = 50,
        damping: float = 1e-2,
        tolerance: float | None = None,
        double: bool = False,
    ) -> None:
        super().__init__(
            problem, num_steps=num_steps, damping=damping, tolerance=tolerance, double=double
        )
        if damping == 0:
            raise DescentError(
                "damping: expected a positive number, got 0; GaussNewton is undamped"
            )

    def init_state(self, x: Float[Tensor, "B p"]) -> State:
        size = self.problem.local(x[:1], x[:1]).shape[1]
        return LevenbergMarquardtState.fresh(x, size, self.damping)

    @torch.no_grad()
    @outside_autocast()
    def step(
        self, k: int, features: Float[Tensor, "B F"], state: State
    ) -> tuple[Float[Tensor, "B d"], State]:
        memory = cast(LevenbergMarquardtState, state)
        hessian, _, cost = self.equations.unpacked(features)
        finite = all_finite(features)
        usable = self.equations.usable(features, finite)
        running = memory.status == Status.RUNNING
        perfect = running & (cost == 0) & finite
        lost = running & ~perfect & ~usable
        status = memory.status.where(~perfect, Status.CONVERGED)
        if k == 0:  # there is nowhere to go back to
            status = status.where(~lost, Status.INVALID)
            lost = torch.zeros_like(lost)
        diagonal = hessian.diagonal(dim1=1, dim2=2)
        scale = torch.maximum(_FADING * memory.scale, memory.scale.clamp(max=_TRACE))
        scale = torch.maximum(scale, diagonal)
        influence_lost = ((diagonal == 0) & (scale > 0)).any(1)
        scale = torch.where(scale > 0, scale, 1)
        delta, least, fall = self.solved(features, memory.damping, scale)
        memory = memory._replace(
            scale=scale.where((diagonal > 0) & usable.unsqueeze(1), memory.scale),
            diagonal=diagonal,
            first_cost=cost if k == 0 else memory.first_cost,
            cost=cost,
            predicted_reduction=fall,
            least_eigenvalue=least,
            derivatives_lost=lost,
            influence_lost=influence_lost,
            status=status,
        )
        moving = (status == Status.RUNNING) & usable
        return delta.where(moving.unsqueeze(1), 0), memory

    @outside_autocast()
    def move(
        self,
        k: int,
        x: Float[Tensor, "B p"],
        delta: Float[Tensor, "B d"],
        state: State,
        batch: Batch,
    ) -> tuple[Float[Tensor, "B p"], State]:
        memory = cast(LevenbergMarquardtState, state)
        trial = self.problem.retract(x, delta.to(x))
        accepted, after = self._decided(memory, x.detach(), trial.detach(), batch)
        moved = trial.where(accepted.unsqueeze(1), x)  # a gradient goes straight through
        lost = memory.derivatives_lost.unsqueeze(1)
        return torch.where(lost, memory.last_finite.to(x), moved), after

    @torch.no_grad()
    def _decided(
        self,
        memory: LevenbergMarquardtState,
        x: Float[Tensor, "B p"],
        trial: Float[Tensor, "B p"],
        batch: Batch,
    ) -> tuple[Bool[Tensor, " B"], LevenbergMarquardtState]:
        """Which steps are accepted, and what is known after them."""
        reached = self.equations.cost(trial, batch)
        running = memory.status == Status.RUNNING
        worth = reached < memory.cost - _WORTH * memory.predicted_reduction
        accepted = running & ~memory.derivatives_lost & worth
        last_finite = x.to(memory.last_finite).where(accepted.unsqueeze(1), memory.last_finite)
        memory = memory._replace(last_finite=last_finite)
        memory = self._judged(memory, x, trial, reached, accepted)
        return accepted, self._damped(memory, reached, accepted, running & ~accepted, self.units(x))

    def _judged(
        self,
        memory: LevenbergMarquardtState,
        x: Float[Tensor, "B p"],
        trial: Float[Tensor, "B p"],
        reached: Float[Tensor, " B"],
        accepted: Bool[Tensor, " B"],
    ) -> LevenbergMarquardtState:
        """How every sample ends, or that its next step is to be undamped."""
        cost, fall, damping = memory.cost, memory.predicted_reduction, memory.damping
        units = self.units(x)
        running = memory.status == Status.RUNNING
        refused = running & ~accepted
        solved = running & fall.isfinite() & ~memory.derivatives_lost
        # An undamped step would promise the same: its matrix is far from singular, or the damping
        # is but its rounding.
        sure = damping <= 0.01 * memory.least_eigenvalue
        full = solved & (sure | (damping <= 1.01 * units.floor))
        told = self.told(memory.least_eigenvalue, units)

        largest = torch.maximum(memory.largest_parameter, x.abs().amax(1))
        short = solved & self.is_short(x, trial)
        tiny = self.vanishes(fall, cost, units.own) | (sure & self.vanishes(fall, cost, units.both))
        noise = self.noise(memory.diagonal, x)
        rounded = (cost <= noise) | (sure & (fall <= 10 * noise))
        little = rounded | (sure & self.vanishes(fall, cost, units.both**0.5))
        promised_little = torch.where(full, little & told, memory.promised_little)
        # Towards a double root steps shrink slowly, and never in relation to x: the residual fell
        # to the rounding of what it was at the start, and a step changes no parameter by what such
        # a residual tells of it.
        resting = ((trial - x).abs().amax(1) <= units.both**0.5 * largest) & (reached > 1e-3 * cost)
        faded = resting & (cost <= units.both**2 * memory.first_cost)

        still = solved & ~full & (tiny | short)
        probe = still & ~memory.undamped_tried
        spent = still & memory.undamped_tried
        done = full & (tiny | faded | (short & little) | (rounded & refused))
        done = (done & told) | (spent & refused & promised_little)
        done = done & ~memory.influence_lost
        stalled = (
            spent
            | (full & tiny)
            | (full & short & refused)
            | (refused & (damping > 1 / units.both))
        )
        status = torch.where(stalled, Status.STALLED, memory.status)
        status = torch.where(done, Status.CONVERGED, status)
        return memory._replace(
            largest_parameter=largest,
            promised_little=promised_little,
            undamped_tried=memory.undamped_tried | probe,
            undamped_next=probe,
            status=status,
        )

    @staticmethod
    def _damped(
        memory: LevenbergMarquardtState,
        reached: Float[Tensor, " B"],
        accepted: Bool[Tensor, " B"],
        refused: Bool[Tensor, " B"],
        units: Units,
    ) -> LevenbergMarquardtState:
        """The damping of the next step."""
        cost, damping, growth = memory.cost, memory.damping, memory.damping_growth
        reduction = cost - reached
        gain_ratio = reduction / memory.predicted_reduction
        eased = damping * (1 - (2 * gain_ratio - 1) ** 3).clamp(min=1 / 3)
        damping = torch.where(accepted, eased, torch.where(refused, damping * growth, damping))
        growth = torch.where(accepted, 2.0, torch.where(refused, 2 * growth, growth))
        # Ten times what led to where the derivatives are not finite, which was eased by three at
        # most.
        lost, probe = memory.derivatives_lost, memory.undamped_next
        damping = torch.where(lost, 30 * memory.damping, damping).clamp(min=units.floor)
        damping = torch.where(probe, units.floor, damping)
        growth = torch.where(probe, _PROBED, growth)
        # What an undamped step promises does not depend on the past, but for what had an influence
        # once.
        scale = memory.scale.where(~probe.unsqueeze(1), memory.scale.clamp(max=_TRACE))
        progressed = accepted & (reduction > units.both * cost)
        return memory._replace(
            scale=scale,
            damping=damping,
            damping_growth=growth,
            gain_ratio=gain_ratio,
            undamped_tried=memory.undamped_tried & (probe | ~progressed),
        )
