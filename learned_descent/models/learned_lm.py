"""Learned Levenberg-Marquardt: a recurrent model gives the damping and the step."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..data.samples import Batch
from ..errors import DescentError, check_whole
from ..look import device_of, eyes_of, probe
from ..model import DescentModel, State, check_features
from ..observation import Concat, Observation
from ..observations import ScaledEquations
from ..observations.scaled_equations import ScaledSystem
from ..problem import LeastSquares, Problem, with_cost
from ..system.precision import outside_autocast

_FIRST, _LEAST, _MOST = math.log(1e-2), math.log(1e-5), math.log(1e4)
"""Logarithms of the damping: the first, and the bounds. Below the least one, rounding in float32
might make a singular matrix indefinite."""

_EASED, _RAISED = -math.log(3), math.log(4)
"""What is added to that of the next step where the cost fell, and where it did not."""

_FARTHEST = 10.0
"""The longest step along a parameter, in the unit of an update."""

_RISKED = 0.5
"""The share of the steps that raise the cost which training takes nevertheless."""


class LearnedLMState(NamedTuple):
    """What the model knows of every sample.

    Attributes:
        hidden: the memory of the cell, ``(B, H)``.
        log_damping: the logarithm of the damping, ``(B,)``, as all that follow but the last.
        cost: the cost at ``x``; zero before the first step.
        first_cost: the cost at the start; zero before the first step.
        gain: the share of the cost that the last learned step took away; -1 where it was refused.
        plain: the step of Levenberg-Marquardt with that damping, ``(B, d)``.
    """

    hidden: Tensor
    log_damping: Tensor
    cost: Tensor
    first_cost: Tensor
    gain: Tensor
    plain: Tensor


@final
class LearnedLevenbergMarquardt(DescentModel):
    """Levenberg-Marquardt whose damping and step come from a recurrent model, and which never
    raises the cost.

    1. The memory takes the normal equations without their units, what else is observed, the
       damping, the logarithm of the fall of the cost so far, and the share of the cost that the
       last step took away: ``h <- GRU(features, h)``.
    2. It changes the damping, ``log l <- log l + w^T h``, and the step is ``(G h) * s(l) + U h``
       with the step ``s(l)`` of Levenberg-Marquardt: a multiple of it along each parameter, and a
       step of its own.
    3. Where that raises the cost, or leads to where it is not finite, the step ``s(l)`` itself is
       tried, and where that fails too the sample stays. The damping falls by a factor of 3 where
       the cost fell, and grows by 4 elsewhere. So a step costs one Jacobian and at most three
       evaluations of the cost.

    In training half of the steps that raise the cost are taken, at random, as long as it is finite:
    a step that is refused has no gradient, and would not become better. In evaluation none are. An
    untrained model returns its start. The features are no function through which gradients pass:
    train it with ``detach="observation"``.

    The paper learns either the damping alone or the whole step; here the step is the sum of both,
    so that a far jump and the convergence of Levenberg-Marquardt can both be learned. It has no
    safeguard.

    Args:
        problem: the problem, with its cost.
        observation: a :class:`~learned_descent.Concat` whose first part is
            :class:`~learned_descent.observations.ScaledEquations`.
        num_features: the size ``F`` of the features.
        num_updates: the size ``d`` of an update.
        num_steps: the number ``T`` of steps; any other may be asked for in the call.
        hidden: the size ``H`` of the memory.

    Raises:
        DescentError: if the problem has no residuals, the observation is another one, or a size is
            below 1.

    References:
        R. Clark, M. Bloesch, J. Czarnowski, S. Leutenegger and A. Davison. Learning to solve
        nonlinear least squares for monocular stereo (LS-Net). ECCV 2018, eq. 1 (the cost) and
        section 3 (the step from ``J^T J``, ``J^T r`` and a memory).
        K. Madsen, H. Nielsen and O. Tingleff. Methods for non-linear least squares problems. 2004,
        section 3.2 (the damping).

    Example:
        >>> from learned_descent.problems import Analytic
        >>> problem = Analytic("sin")
        >>> batch = problem.data("test")
        >>> model = LearnedLevenbergMarquardt.for_problem(problem, num_steps=3, hidden=8).eval()
        >>> _ = nn.init.ones_(model.gain.bias)  # the steps of Levenberg-Marquardt
        >>> with torch.inference_mode():
        ...     xs = model(batch).xs
        >>> costs = torch.stack([problem.cost(x, batch) for x in xs])
        >>> bool((costs[1:] <= costs[:-1]).all()), bool(costs[3].sum() < costs[0].sum() / 1000)
        (True, True)
    """

    problem: LeastSquares
    observation: Concat

    def __init__(
        self,
        problem: Problem,
        observation: Observation,
        num_features: int,
        num_updates: int,
        *,
        num_steps: int = 8,
        hidden: int = 128,
    ) -> None:
        super().__init__(
            with_cost(problem, "a learned Levenberg-Marquardt"), observation, num_steps
        )
        for name, size in (
            ("num_features", num_features),
            ("num_updates", num_updates),
            ("hidden", hidden),
        ):
            check_whole(size, name=name)
        if not (
            isinstance(observation, Concat) and isinstance(observation.parts[0], ScaledEquations)
        ):
            raise DescentError(
                "observation: expected Concat(ScaledEquations(problem), ...), as for_problem makes "
                f"it, got {observation.in_words()}"
            )
        self.num_features, self.num_updates, self.hidden = num_features, num_updates, hidden
        self.take_in = nn.Linear(num_features + num_updates + 3, hidden)
        self.cell = nn.GRUCell(hidden, hidden)
        self.damping = nn.Linear(hidden, 1)
        self.gain = nn.Linear(hidden, num_updates)
        self.update = nn.Linear(hidden, num_updates)
        for layer in (self.damping, self.gain, self.update):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    @classmethod
    def for_problem(
        cls,
        problem: Problem,
        *,
        num_steps: int = 8,
        hidden: int = 128,
        alone: bool = False,
        observation: Observation | None = None,
    ) -> LearnedLevenbergMarquardt:
        """An untrained model of the right sizes, found by one training sample of the problem.

        Args:
            problem: the task, with its cost.
            num_steps: the number ``T`` of steps.
            hidden: the size ``H`` of the memory.
            alone: whether it sees the normal equations and the cost alone, as in the paper.
            observation: what it sees beside them; ``None`` takes the problem's own eyes.

        Raises:
            DescentError: if the problem has no residuals, or ``alone`` and an observation are both
                given.
        """
        if alone and observation is not None:
            raise DescentError(
                "alone: expected no observation beside the normal equations, got "
                f"{observation.in_words()}: leave one of the two out"
            )
        own = ScaledEquations(problem)
        others = [] if alone else [eyes_of(problem) if observation is None else observation]
        eyes = Concat(own, *others)
        sizes = probe(problem, eyes)
        model = cls(problem, eyes, *sizes, num_steps=num_steps, hidden=hidden)
        return model.to(device_of(problem))

    def init_state(self, x: Float[Tensor, "B p"]) -> State:
        zero = x.new_zeros(len(x))
        return LearnedLMState(
            hidden=x.new_zeros(len(x), self.hidden),
            log_damping=zero + _FIRST,
            cost=zero,
            first_cost=zero,
            gain=zero,
            plain=x.new_zeros(len(x), self.num_updates),
        )

    def step(
        self, k: int, features: Float[Tensor, "B F"], state: State
    ) -> tuple[Float[Tensor, "B d"], State]:
        check_features(features, self.num_features, self.take_in.weight, k)
        memory = cast(LearnedLMState, state)
        system, others = ScaledEquations.unpacked(features, self.num_updates)
        others = others.where(others.isfinite(), 0)  # the memory would keep it
        fallen = (memory.cost / memory.first_cost).log().nan_to_num(0).clamp(-20, 20)
        told = [
            system.matrix.flatten(1),
            system.cosines,
            system.lengths.log1p(),
            _damped(system, memory.log_damping).tanh(),
            torch.stack([memory.log_damping / 5, fallen / 5, memory.gain], 1),
            others,
        ]
        hidden = self.cell(self.take_in(torch.cat(told, 1)).tanh(), memory.hidden)
        change = self.damping(hidden).squeeze(1).to(features)
        log_damping = (memory.log_damping + change).clamp(_LEAST, _MOST)
        plain = _damped(system, log_damping)
        delta = (self.gain(hidden) * plain + self.update(hidden)).clamp(-_FARTHEST, _FARTHEST)
        memory = memory._replace(hidden=hidden.to(features), log_damping=log_damping, plain=plain)
        return delta.to(features), memory

    @outside_autocast()
    def move(
        self,
        k: int,
        x: Float[Tensor, "B p"],
        delta: Float[Tensor, "B d"],
        state: State,
        batch: Batch,
    ) -> tuple[Float[Tensor, "B p"], State]:
        memory = cast(LearnedLMState, state)
        rows = self.observation.part(0, batch)
        learned, plain = (self.problem.retract(x, step) for step in (delta, memory.plain))
        if k == 0:
            first = self._cost(x, rows)
            memory = memory._replace(cost=first, first_cost=first)
        cost, there, beside = memory.cost, self._cost(learned, rows), self._cost(plain, rows)
        falls, second = there <= cost, beside <= cost
        taken = falls | self._risked(there)
        moved = learned.where(taken.unsqueeze(1), plain.where(second.unsqueeze(1), x))
        change = torch.where(falls | second, _EASED, _RAISED).to(x)
        return moved, memory._replace(
            cost=there.where(taken, beside.where(second, cost)),
            gain=(1 - there / cost).nan_to_num(0).clamp(0, 1).where(falls, -1),
            log_damping=(memory.log_damping + change).clamp(_LEAST, _MOST),
        )

    @torch.no_grad()
    def _cost(self, x: Float[Tensor, "B p"], rows: Batch) -> Float[Tensor, " B"]:
        return self.problem.cost(x, rows).to(x)

    def _risked(self, cost: Float[Tensor, " B"]) -> Bool[Tensor, " B"]:
        """Which steps training takes even if they raise the cost."""
        if not self.training:
            return torch.zeros_like(cost, dtype=torch.bool)
        return (torch.rand_like(cost) < _RISKED) & cost.isfinite()

    def settings(self) -> dict[str, Any]:
        sizes = {"num_features": self.num_features, "num_updates": self.num_updates}
        return sizes | super().settings() | {"hidden": self.hidden}


def _damped(system: ScaledSystem, log_damping: Float[Tensor, " B"]) -> Float[Tensor, "B d"]:
    """The step of Levenberg-Marquardt, no longer than it may be; differentiable in the damping."""
    with outside_autocast():
        identity = torch.eye(
            system.matrix.shape[1], dtype=torch.float64, device=system.matrix.device
        )
        damped = system.matrix.double() + log_damping.double().exp()[:, None, None] * identity
        factor, _ = torch.linalg.cholesky_ex(damped)
        solved = torch.cholesky_solve(system.cosines.double().unsqueeze(2), factor).squeeze(2)
        return (-system.lengths * solved.to(system.lengths)).clamp(-_FARTHEST, _FARTHEST)
