"""The one loop: ``x <- retract(x, step(observe(x)))``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, cast, final

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Generator, Tensor, nn

from .data.batches import index
from .data.samples import Batch, check_tensors
from .errors import DescentError, check_choice, check_shape, check_whole
from .observation import ImageObservation, Observation
from .problem import Problem
from .system.precision import autocasts, floating_like

Detach: TypeAlias = Literal["none", "state", "observation"]
"""Where back-propagation through time is cut; the values of the forward pass are the same in all
three.

* ``"none"``: nowhere (full back-propagation through time).
* ``"state"``: ``x`` is cut between steps, as in RAFT (Teed and Deng, ECCV 2020); a recurrent memory
  still carries gradient.
* ``"observation"``: the features do not send gradient to ``x``; the sum of the updates does.
"""

State: TypeAlias = Tensor | tuple[Any, ...] | None
"""The memory of a model: none, one tensor ``(B, H)``, or a ``NamedTuple`` of tensors ``(B, ...)``
or of memories, each under its own name."""

MOST_STEPS = 10_000
"""The largest number of steps of a model: a file that asks for a billion of them would keep a
machine busy for days."""


@dataclass(frozen=True)
class Trajectory:
    """Every iterate of a descent.

    Attributes:
        xs: parameters at the start and after each of the ``T`` steps, ``(T + 1, B, p)``.
        states: the memory after each step, ``(T, B, H)``, or a ``NamedTuple`` of such tensors
            where the memory is one; ``None`` unless asked for, and for models without memory.
    """

    xs: Float[Tensor, "T1 B p"]
    states: State = None

    @property
    def final(self) -> Float[Tensor, "B p"]:
        """The parameters after the last step, ``(B, p)``."""
        return self.xs[-1]


class Outcome(NamedTuple):
    """How a model left the samples of a batch.

    Attributes:
        status: a value of :class:`~learned_descent.solvers.Status` for each sample, ``(B,)``.
        reasons: why a sample is ``INVALID``, in words; nothing for the others.
    """

    status: Int[Tensor, " B"]
    reasons: list[str]


class DescentModel(nn.Module, ABC):
    """A learned descent: an observation, and a step that turns features into an update.

    Args:
        problem: the geometry.
        observation: the eyes.
        num_steps: the number ``T`` of steps of training and testing, at most :data:`MOST_STEPS`.
    """

    def __init__(self, problem: Problem, observation: Observation, num_steps: int) -> None:
        super().__init__()
        check_whole(num_steps, name="num_steps", most=MOST_STEPS)
        for part in (problem, observation):
            check_made(part)
        self.problem = problem
        self.observation = observation
        self.num_steps = num_steps

    @classmethod
    def for_problem(
        cls, problem: Problem, *, observation: Observation | None = None
    ) -> DescentModel:
        """An untrained model of the right sizes for a problem; a subclass adds its options, by
        keyword and with defaults.

        :func:`learned_descent.look.probe` tells the sizes of the features and of the updates.

        Args:
            problem: the task.
            observation: the eyes; ``None`` takes the problem's own.

        Raises:
            DescentError: if the class does not define it.
        """
        raise DescentError(
            f"{cls.__name__}.for_problem(problem, observation=None, ...): define it: it makes an "
            "untrained model for a problem"
        )

    @abstractmethod
    def init_state(self, x: Float[Tensor, "B p"]) -> State:
        """The memory before the first step: ``None``, ``(B, H)``, or a ``NamedTuple`` of
        tensors.
        """

    @abstractmethod
    def step(
        self, k: int, features: Float[Tensor, "B F"], state: State
    ) -> tuple[Float[Tensor, "B d"], State]:
        """The update of step ``k`` and the memory after it; it never sees ``x``, the images or
        ``x*``.
        """

    def move(
        self,
        k: int,
        x: Float[Tensor, "B p"],
        delta: Float[Tensor, "B d"],
        state: State,
        batch: Batch,
    ) -> tuple[Tensor, State]:
        """Where the update of step ``k`` leads: ``retract(x, delta)``; a classical solver, which
        knows its cost, may refuse.
        """
        if not autocasts(x):
            return self.problem.retract(x, delta), state
        # In eight bits, a place in an image would be off by pixels
        with torch.autocast(x.device.type, enabled=False):
            return self.problem.retract(x, delta.to(x.dtype)), state

    @property
    def images(self) -> set[str]:
        """The names of the tensors of a batch that hold images, grey levels or colours in
        0..255.
        """
        eyes = (part for part in self.observation.modules() if isinstance(part, ImageObservation))
        return {*self.problem.images, *(part.image for part in eyes)}

    def running(self, k: int, state: State) -> Bool[Tensor, " B"] | None:
        """Which samples may still move from step ``k`` on: the loop leaves the others alone, and
        stops when there are none; ``None`` for a learned model, which always takes its steps.
        """
        return None

    def learned_model(self) -> DescentModel | None:
        """The learned part, whose observation a table names; ``None`` for a classical solver."""
        return self

    def classical_solver(self) -> DescentModel | None:
        """The classical solver that it is or ends with; ``None`` for a learned descent alone."""
        return None

    def outcome(self, trajectory: Trajectory, batch: Batch) -> Outcome | None:
        """How each sample ended; ``None`` for a learned descent, which cannot tell.

        Args:
            trajectory: one of this model, made with ``keep_states=True`` where it has a
                :meth:`classical_solver`.
            batch: the samples that it was made of.
        """
        return None

    def settings(self) -> dict[str, Any]:
        """The arguments of the constructor, other than problem and observation, that a stored model
        needs, as JSON.
        """
        return {"num_steps": self.num_steps}

    @final  # type: ignore[misc] # torch declares forward as a variable
    def forward(
        self,
        batch: Batch,
        x0: Num[Tensor, "B p"] | None = None,
        *,
        num_steps: int | None = None,
        detach: Detach = "none",
        generator: Generator | None = None,
        keep_states: bool = False,
    ) -> Trajectory:
        """Runs the descent.

        Args:
            batch: the samples.
            x0: the start; by default ``problem.initial(batch, generator)``. Whole numbers are taken
                as floating-point ones.
            num_steps: another number of steps than the model was made for.
            detach: where back-propagation is cut, see :data:`Detach`.
            generator: draws a random training start; without one the start is that of testing.
            keep_states: keep the memory after each step.

        Returns:
            The iterates, ``(T + 1, B, p)``.

        Raises:
            DescentError: if the batch is empty, ``num_steps`` or ``detach`` is none that there is,
                the problem makes a start of whole numbers, or ``detach="none"`` is asked of an
                observation that is not differentiable while gradients of weights are recorded.
            ShapeError: if the start, the features or the update have another shape than expected.
        """
        check_tensors(batch)
        # Not len(), nor a set: either makes a graph that is exported one of this number of samples
        counts = [value.shape[0] for value in batch.values()]
        if all(count == 0 for count in counts):
            raise DescentError("batch: expected at least one sample, got an empty batch")
        if any(count != counts[0] for count in counts):
            shapes = {name: tuple(value.shape) for name, value in batch.items()}
            raise DescentError(
                "batch: expected the same number of samples in every tensor, got the shapes "
                f"{shapes}"
            )
        recorded = torch.is_grad_enabled() and any(
            weight.requires_grad for weight in self.parameters()
        )
        if detach == "none" and recorded and not self.observation.differentiable:
            raise DescentError(
                'detach="none" needs an observation that is differentiable in x, and '
                f"{type(self.observation).__name__} is "
                'not: train with detach="observation" or detach="state"'
            )
        known = {"B": counts[0]}
        for name, shape in self.problem.shapes.items():
            if name not in batch:
                raise DescentError(
                    f"batch: expected a tensor {name!r} of shape ({shape}), it has {sorted(batch)}"
                )
            known = check_shape(batch[name], shape, known, name=name)
        x0 = self._start(batch, x0, generator)
        return self.descend(
            self.observation.prepare(batch),
            x0,
            num_steps=num_steps,
            detach=detach,
            keep_states=keep_states,
        )

    def _start(self, batch: Batch, x0: Tensor | None, generator: Generator | None) -> Tensor:
        """The start, of as many numbers as the problem has; with ``x0`` a batch need not hold what
        others are made of.
        """
        known = {"B": next(iter(batch.values())).shape[0]}
        try:
            start = self.problem.initial(batch, generator if x0 is None else None)
            known["p"] = start.shape[-1]
        except KeyError as missing:
            if x0 is None:
                raise DescentError(
                    f"batch: expected a tensor {missing} to start from, it has {sorted(batch)}"
                ) from missing
        start = start if x0 is None else x0
        check_shape(start, "B p", known, name="x0")
        # Fractions may have been cut off on the way
        if x0 is None and not start.is_floating_point():
            raise DescentError(
                "x0: expected floating-point numbers from "
                f"{type(self.problem).__name__}.initial(batch), got {start.dtype}: give what it is "
                f"made of as floating point, such as {_whole(batch)}, or give an x0"
            )
        return floating_like(start, batch)

    @final
    def descend(
        self,
        prepared: Batch,
        x0: Num[Tensor, "B p"],
        *,
        num_steps: int | None = None,
        detach: Detach = "none",
        keep_states: bool = False,
    ) -> Trajectory:
        """The loop itself, on a batch that went through ``observation.prepare``: several starts
        then share one preparation.

        Args:
            prepared: what ``observation.prepare`` returned.
            x0: the start.
            num_steps: as in :meth:`forward`.
            detach: as in :meth:`forward`.
            keep_states: as in :meth:`forward`.

        Returns:
            The iterates, ``(T + 1, B, p)``.
        """
        known = check_shape(x0, "B p", name="x0")
        x = floating_like(x0, prepared)
        state = self.init_state(x)
        xs = [x]
        states: list[State] = []
        rows: Tensor | None = None  # of those that are left in the loop; None while all are
        total = self.num_steps if num_steps is None else num_steps
        check_whole(total, name="num_steps", least=0, most=MOST_STEPS)
        check_choice(detach, Detach, name="detach")
        for k in range(total):
            running = self.running(k, state)
            if running is not None:
                count = int(running.sum())
                if not count:
                    xs.extend(xs[-1:] * (total - k))
                    states.extend(states[-1:] * (total - k))
                    break
                if 2 * count <= len(running):  # what has settled costs nothing any more
                    left = running.nonzero().squeeze(1)
                    rows = left if rows is None else rows[left]
                    x, state, prepared = x[left], picked(state, left), index(prepared, left)
                    known["B"] = count
            seen = x if detach == "none" else x.detach()
            features = self.observation.observe(k, seen, prepared)
            check_shape(features, "B F", known, name=f"features of step {k}")
            delta, state = self.step(k, features, state)
            x, state = self.move(k, seen if detach == "state" else x, delta, state, prepared)
            check_shape(x, "B p", known, name=f"x after step {k}")
            xs.append(x if rows is None else xs[-1].index_copy(0, rows, x))
            if keep_states and state is not None:
                states.append(state if rows is None else replaced(states[-1], rows, state))
        return Trajectory(torch.stack(xs), stacked(states) if states else None)


def stacked(states: Sequence[State]) -> State:
    """Memories of one kind along a new first axis, tensor by tensor.

    Example:
        >>> from learned_descent.solvers.gauss_newton import GaussNewtonState
        >>> state = GaussNewtonState(*(torch.zeros(2) for _ in GaussNewtonState._fields))
        >>> stacked([state, state, state]).status.shape
        torch.Size([3, 2])
    """
    return _mapped(lambda *tensors: torch.stack(tensors), *states)


def picked(state: State, rows: Int[Tensor, " R"]) -> State:
    """The memory of some samples."""
    return _mapped(lambda value: value[rows], state)


def replaced(state: State, rows: Int[Tensor, " R"], other: State) -> State:
    """A memory in which that of some samples is another."""
    return _mapped(lambda value, new: value.index_copy(0, rows, new), state, other)


def _mapped(function: Callable[..., Tensor], *states: State) -> State:
    """What a function makes of the tensors that have the same place in memories of one kind."""
    first = states[0]
    if first is None:
        return None
    if isinstance(first, Tensor):
        return function(*states)
    parts = zip(*cast("Sequence[tuple[Any, ...]]", states))
    made = cast("Callable[..., State]", type(first))
    return made(*(_mapped(function, *part) for part in parts))


def tensors_of(state: State) -> list[Tensor]:
    """The tensors of a memory, in their order."""
    if state is None:
        return []
    if isinstance(state, Tensor):
        return [state]
    return [tensor for part in state for tensor in tensors_of(part)]


def _whole(batch: Batch) -> str:
    """The tensors of a batch that hold whole numbers, in words."""
    names = [
        repr(name)
        for name, value in batch.items()
        if not value.is_floating_point() and value.dtype != torch.bool
    ]
    return " or ".join(names) or "the batch"


def check_made(part: nn.Module) -> None:
    """Refuses a problem or an observation whose constructor left out that of its base.

    Raises:
        DescentError: if it did.
    """
    if "_buffers" not in vars(part):
        raise DescentError(f"{type(part).__name__}.__init__: begin it with super().__init__()")


def check_step(model: DescentModel, k: int, most: int) -> None:
    """Refuses a step that a model has no weights for.

    Args:
        model: the model.
        k: the step.
        most: how many steps it has weights for.

    Raises:
        DescentError: if there is no such step.
    """
    if k >= most:
        raise DescentError(
            f"num_steps: {type(model).__name__} runs at most the {most} steps that it was made "
            f"with, asked for step {k + 1}"
        )


def check_features(features: Tensor, size: int, weight: Tensor, k: int) -> None:
    """Refuses features that a layer cannot take; it asks the device for nothing.

    Args:
        features: what was seen.
        size: the number ``F`` of features that the layer takes.
        weight: its weights.
        k: the step.

    Raises:
        ShapeError: if there are more features, or fewer.
        DescentError: if one is in double precision and the other is not.
    """
    check_shape(features, "B F", {"F": size}, name=f"features of step {k}")
    check_precision(features, weight, f"features of step {k}")


def check_precision(features: Tensor, weight: Tensor, name: str) -> None:
    """Refuses features in double precision for weights in single precision, and the other way
    round.

    Args:
        features: what was seen.
        weight: the weights that take it.
        name: what the message calls the features.

    Raises:
        DescentError: if one is in double precision and the other is not.
    """
    if (features.dtype == torch.float64) != (weight.dtype == torch.float64):
        raise DescentError(
            f"{name}: expected {weight.dtype}, as the weights are, got {features.dtype}: give the "
            "batch in the precision of the model (value.float() for each tensor, "
            "problem.float()), or model.double()"
        )
