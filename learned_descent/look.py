"""A first look: a problem and its eyes are tried on a few samples, so that a mistake is one message
and none after hours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Real
from typing import TypeAlias

import torch
from torch import Generator, Tensor

from .data.batches import check_finite, first_samples
from .data.samples import Batch, Samples, as_samples, floating_type
from .errors import DescentError, calling, check_shape
from .model import DescentModel, check_made, check_precision
from .observation import ImageObservation, Observation
from .problem import Problem

Objective: TypeAlias = Callable[[Problem, Tensor, Batch], Tensor]
"""Maps a problem, parameters ``(B, p)`` and a batch to losses ``(B,)``."""

_FEW = 5
"""Samples of a first look: few, and as many as seldom any other axis of a tensor has."""


def look(
    problem: Problem,
    samples: Samples,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> None:
    """Tries what an evaluation needs of a problem on a few samples.

    Args:
        problem: the problem.
        samples: the samples.
        device: where the problem is.
        dtype: the floating-point type that the samples get; ``None`` for their own.

    Raises:
        DescentError: if the samples, ``failure_above``, a start, a target or a metric are not what
            they have to be.
    """
    batch = first_samples(samples, _FEW, device=device, dtype=dtype)
    start, target = _start_and_target(problem, batch)
    name = type(problem).__name__
    above: object = getattr(problem, "failure_above", None)
    if not isinstance(above, Real) or not 0 < float(above) < float("inf"):
        raise DescentError(
            f"{name}.failure_above: expected a number > 0, the error above which a sample counts "
            f"as a failure, got {above!r}"
        )
    with torch.no_grad(), calling(f"{name}.local"):
        update = problem.local(start, target)
        check_shape(update, "B d", {"B": len(start)}, name=f"{name}.local(x, y)")
    weights = weights_of(problem, batch, list(range(len(start))))
    if weights is not None:
        sizes = {"B": len(start), "d": update.shape[1]}
        check_shape(weights, "B d", sizes, name=f"{name}.target_weights(batch)")
    with torch.no_grad(), calling(f"{name}.retract"):
        check_like(problem.retract(start, update), start, f"{name}.retract(x, delta)")
    with torch.no_grad(), calling(f"{name}.metrics"):
        metrics: object = problem.metrics(start, batch)
    if not isinstance(metrics, Mapping) or not metrics:
        raise DescentError(
            f"{name}.metrics(x, batch): expected errors (B,) by name, got {type(metrics).__name__}"
        )
    for metric, value in metrics.items():
        check_shape(value, "B", {"B": len(start)}, name=f"metric {metric!r} of {name}")
    check_error(start, next(iter(metrics.values())))


def look_training(
    model: DescentModel,
    samples: Samples,
    *,
    gradients: bool,
    loss: Objective | None = None,
    augment: bool = True,
) -> None:
    """Tries what a training needs of a model and its problem on a few samples.

    Args:
        model: the model, in evaluation mode.
        samples: training samples.
        gradients: whether it is trained by gradients, which need a loss, and not in closed form.
        loss: the loss; by default that of the problem.
        augment: whether the samples go through ``problem.augment``.

    Raises:
        DescentError: if the samples, the starts, the targets, the variants, the loss or the
            features are not what they have to be.
    """
    problem, name = model.problem, type(model.problem).__name__
    weight = next(model.parameters())
    look(problem, samples, device=weight.device, dtype=floating_type(model.parameters()))
    plain = first_samples(
        samples, _FEW, device=weight.device, dtype=floating_type(model.parameters())
    )
    check_finite(plain, list(range(_FEW)))
    generator = Generator(weight.device).manual_seed(0)
    batch = _variant(problem, plain, generator) if augment else plain
    start, target = _start_and_target(problem, batch)
    for what, value in (("initial", start), ("target", target)):
        check_type(value, weight, f"{name}.{what}")
        check_finite({f"{name}.{what}": value}, list(range(_FEW)))
    with torch.no_grad(), calling(f"{name}.initial with a generator"):
        check_like(problem.initial(batch, generator), start, f"{name}.initial(batch, generator)")
    eyes = model.observation
    with torch.no_grad(), calling(f"the observation {type(eyes).__name__}"):
        features = eyes.observe(0, start, eyes.prepare(batch))
    check_shape(features, "B F", {"B": len(start)}, name=f"features of {type(eyes).__name__}")
    check_precision(features, weight, f"features of {type(eyes).__name__}")
    check_finite({f"the features of {type(eyes).__name__}": features}, list(range(_FEW)))
    if gradients:
        moved = start.detach().clone().requires_grad_()
        own = f"{type(loss).__name__}(problem, x, batch)"
        what = f"{name}.loss(x, batch)" if loss is None else own
        with torch.enable_grad(), calling(what.partition("(")[0]):
            losses = problem.loss(moved, batch) if loss is None else loss(problem, moved, batch)
        check_shape(losses, "B", {"B": len(start)}, name=what)
        if not losses.requires_grad:
            raise DescentError(
                f"{what}: no gradient of it reaches x: make it of differentiable operations"
            )


def _start_and_target(problem: Problem, batch: Batch) -> tuple[Tensor, Tensor]:
    name, count = type(problem).__name__, len(next(iter(batch.values())))
    with torch.no_grad(), calling(f"{name}.initial"):
        start = problem.initial(batch)
    check_shape(start, "B p", {"B": count}, name=f"{name}.initial(batch)")
    with torch.no_grad(), calling(f"{name}.target"):
        target = problem.target(batch)
    check_like(target, start, f"{name}.target(batch)")
    return start, target


def weights_of(problem: Problem, batch: Batch, indices: list[int]) -> Tensor | None:
    """What the coordinates of the updates of a batch count, as its problem says, checked.

    Args:
        problem: the problem.
        batch: the samples.
        indices: their positions in the whole set, for the message.

    Raises:
        DescentError: if it fails, or one is negative or not finite.
    """
    what = f"{type(problem).__name__}.target_weights"
    with torch.no_grad(), calling(what):
        weights = problem.target_weights(batch)
    if weights is not None:
        bad = ~((weights >= 0) & weights.isfinite()).flatten(1).all(1)
        if bad.any():
            which = [indices[row] for row in bad.nonzero().flatten().tolist()]
            raise DescentError(
                f"samples {which[:10]}: {what}(batch): expected finite numbers, 0 or more, got "
                f"{weights[bad].min():g} to {weights[bad].max():g}"
            )
    return weights


def check_error(start: Tensor, error: Tensor, first: int = 0) -> None:
    """Refuses samples whose error is NaN before a model has done anything: it is their target that
    holds NaN.

    Args:
        start: where a descent starts, ``(B, p)``.
        error: the error there, ``(B,)``.
        first: the number of the first of the samples.

    Raises:
        DescentError: if there are any.
    """
    bad = error.isnan() & start.isfinite().all(1)
    if bad.any():
        which = [first + row for row in bad.nonzero().flatten().tolist()]
        raise DescentError(
            f"samples {which[:10]}: the error at the start is NaN: look at their targets; remove "
            "or mend them"
        )


def _variant(problem: Problem, plain: Batch, generator: Generator) -> Batch:
    """What ``augment`` makes of a batch, checked."""
    what = f"{type(problem).__name__}.augment"
    with torch.no_grad(), calling(what):
        batch: object = problem.augment(plain, generator)
    if not isinstance(batch, Mapping) or not set(plain) <= set(batch):
        found = sorted(batch) if isinstance(batch, Mapping) else type(batch).__name__
        raise DescentError(
            f"{what}(batch, generator): expected the tensors {sorted(plain)} of the batch, got "
            f"{found}"
        )
    for name, value in batch.items():
        check_shape(
            value,
            "B ...",
            {"B": len(next(iter(plain.values())))},
            name=f"{what}(batch, generator)[{name!r}]",
        )
    return batch


def check_like(value: Tensor, wanted: Tensor, what: str) -> None:
    """Refuses parameters of another shape than those that are known."""
    check_shape(value, "B p", {"B": len(wanted), "p": wanted.shape[1]}, name=what)


def check_floating(value: Tensor, what: str) -> None:
    """Refuses parameters that are whole numbers."""
    if not value.is_floating_point():
        raise DescentError(
            f"{what}: expected floating-point numbers, got {value.dtype}: make them so, by .float()"
        )


def check_type(value: Tensor, weight: Tensor, what: str) -> None:
    """Refuses parameters of another floating-point type than the weights."""
    check_floating(value, what)
    if value.dtype != weight.dtype:
        raise DescentError(
            f"{what}: expected {weight.dtype}, as the weights of the model are, got {value.dtype}: "
            f"make it so there (a buffer: problem.to({weight.dtype})), or train "
            f"model.to({value.dtype})"
        )


def eyes_of(problem: Problem) -> Observation:
    """A fresh copy of the problem's own eyes.

    Raises:
        DescentError: if ``problem.observation`` returns something else, or fails.
    """
    check_made(problem)
    name = f"{type(problem).__name__}.observation()"
    with calling(name):
        eyes: object = problem.observation()
    if not isinstance(eyes, Observation):
        raise DescentError(
            f"{name}: expected an Observation, got {type(eyes).__name__}: return one"
        )
    return eyes


def one_sample(problem: Problem) -> Batch:
    """The first training sample, as a batch of one, in the precision and on the device of the
    problem's buffers.

    Raises:
        DescentError: if there is none, or it cannot be read.
    """
    name = f"{type(problem).__name__}.data('train')"
    with calling(name):
        data: object = problem.data("train")
    samples = as_samples(data, name)
    return first_samples(
        samples, 1, device=device_of(problem), dtype=floating_type(problem.buffers())
    )


def device_of(problem: Problem) -> torch.device:
    """Where the buffers of a problem are: a training leaves them where it ran."""
    return next((buffer.device for buffer in problem.buffers()), torch.device("cpu"))


@torch.no_grad()
def count_points(problem: Problem, observation: ImageObservation) -> int:
    """The number of points at which an observation looks, found on one training sample."""
    return observation.points(problem.initial(one_sample(problem))).shape[1]


@torch.no_grad()
def probe(problem: Problem, observation: Observation) -> tuple[int, int]:
    """The sizes ``(F, d)`` of the features and of an update, found on one training sample.

    The observation goes where the problem is.

    Raises:
        DescentError: if the problem or the observation fails on it, or returns another shape than
            it should.
    """
    sample, name, eyes = one_sample(problem), type(problem).__name__, type(observation).__name__
    with calling(f"{name}.initial"):
        x = problem.initial(sample)
    check_shape(x, "1 p", name=f"{name}.initial of one sample")
    check_floating(x, f"{name}.initial")
    with calling(f"the observation {eyes}"):
        observation.to(device_of(problem))
        features = observation(x, observation.prepare(sample))
    check_shape(features, "1 F", name=f"features of {eyes} of one sample")
    with calling(f"{name}.local"):
        update = problem.local(x, x)
    check_shape(update, "1 d", name=f"{name}.local of one sample")
    return features.shape[1], update.shape[1]
