"""How good a descent is: the error after every step, what it sums up to, and the time a sample
takes.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..data.batches import batches, check_images, num_samples
from ..data.samples import Samples, as_samples, floating_type
from ..errors import DescentError, check_shape
from ..files import or_null
from ..look import check_error, look
from ..model import DescentModel
from ..solvers import Status
from .ced import auc, ced, check_threshold, failure_rate, ordered

__all__ = ["Evaluation", "auc", "ced", "check_comparable", "evaluate", "failure_rate"]


@dataclass(frozen=True)
class Evaluation:
    """What a model reached on a set of samples, after every step; or what several trainings of one
    family reached on the same ``N`` samples, see :meth:`pooled`.

    Of ``S`` trainings, ``N`` stands for ``S N`` in the shapes below: all samples of the first one,
    then all of the next. A mean, a rate or an area over all of them is the mean over trainings.

    Attributes:
        errors: errors at the start and after each of the ``T`` steps by metric, float64 on the CPU,
            ``(T + 1, N)``; the name of a metric states its normaliser, and the first is the main
            one.
        xs: parameters at the start and after each step, on the CPU, ``(T + 1, N, p)``; ``None`` for
            one restored from a file.
        failure_above: an error above this is a failure; where CED curves and AUC end.
        seconds_per_sample: the time of the descent alone (``prepare`` and all steps), without
            reading the samples.
        batch_size: the number of samples that were fitted at once.
        device: the device it ran on.
        status: how a classical solver left each sample, as values of
            :class:`~learned_descent.solvers.Status`, ``(N,)``; ``None`` for a learned descent.
        invalid: how many samples a classical solver left ``INVALID``, by the check that failed, in
            words.
        trainings: how many trainings ``S`` there are.

    Raises:
        DescentError: if a shape or a number does not fit the others.

    Example:
        >>> errors = {"error": torch.tensor([[4.0, 8.0], [1.0, 3.0]])}
        >>> result = Evaluation(errors, None, failure_above=2.0, seconds_per_sample=1e-3,
        ...     batch_size=2, device="cpu")
        >>> result.mean(), result.auc(), result.failure_rate(), result.mean(step=0)
        (2.0, 0.25, 0.5, 6.0)
    """

    errors: Mapping[str, Float[Tensor, "T1 N"]]
    xs: Float[Tensor, "T1 N p"] | None
    failure_above: float
    seconds_per_sample: float
    batch_size: int
    device: str
    status: Int[Tensor, " N"] | None = None
    invalid: Mapping[str, int] = field(default_factory=dict)
    trainings: int = 1

    def __post_init__(self) -> None:
        if not self.errors:
            raise DescentError("errors: expected at least one metric, got none")
        sizes: dict[str, int] = {}
        for name, values in self.errors.items():
            sizes = check_shape(values, "T+1 N", sizes, name=f"errors of metric {name!r}")
        if self.xs is not None:
            check_shape(self.xs, "T+1 N p", sizes, name="xs")
        if self.status is not None:
            check_shape(self.status, "N", sizes, name="status")
        check_threshold(self.failure_above, "failure_above")
        if self.trainings < 1 or sizes["N"] % self.trainings:
            raise DescentError(
                f"trainings: expected a whole part of the {sizes['N']} errors for each, got "
                f"{self.trainings}"
            )

    @classmethod
    def pooled(cls, evaluations: Sequence[Evaluation]) -> Evaluation:
        """Several trainings of one family, measured on the same samples, as one.

        Args:
            evaluations: one for each training.

        Raises:
            DescentError: if there are none, or they were not measured alike.

        Example:
            >>> errors = torch.tensor([[4.0, 8.0], [1.0, 3.0]])
            >>> one, two = (Evaluation({"error": values}, None, failure_above=2.0,
            ...     seconds_per_sample=1e-3, batch_size=2, device="cpu")
            ...     for values in (errors, errors / 2))
            >>> both = Evaluation.pooled([one, two])
            >>> both.mean(), both.num_samples, both.by_training()
            (1.5, 2, tensor([[1.0000, 3.0000],
                    [0.5000, 1.5000]]))
        """
        if not evaluations:
            raise DescentError("evaluations: expected one for each training, got none")
        first = evaluations[0]
        for other in evaluations:
            if (other.metrics, other.num_steps, other.num_samples, other.failure_above) != (
                first.metrics,
                first.num_steps,
                first.num_samples,
                first.failure_above,
            ):
                raise DescentError(
                    "evaluations: expected trainings of one family, measured alike, got "
                    f"{other.num_steps} steps on {other.num_samples} samples beside "
                    f"{first.num_steps} on {first.num_samples}, or other metrics"
                )
        xs = [other.xs for other in evaluations if other.xs is not None]
        statuses = [other.status for other in evaluations if other.status is not None]
        invalid: Counter[str] = Counter()
        for other in evaluations:
            invalid.update(other.invalid)
        return replace(
            first,
            errors={
                name: torch.cat([other.errors[name] for other in evaluations], 1)
                for name in first.errors
            },
            xs=torch.cat(xs, 1) if len(xs) == len(evaluations) else None,
            seconds_per_sample=sum(other.seconds_per_sample for other in evaluations)
            / len(evaluations),
            status=torch.cat(statuses) if statuses else None,
            invalid=dict(invalid.most_common()),
            trainings=sum(other.trainings for other in evaluations),
        )

    @property
    def metrics(self) -> list[str]:
        """The names of the metrics; the first is the main one."""
        return list(self.errors)

    @property
    def num_samples(self) -> int:
        """The number ``N`` of samples that each training was measured on."""
        return self.errors[self.metrics[0]].shape[1] // self.trainings

    @property
    def num_steps(self) -> int:
        """The number ``T`` of steps."""
        return len(self.errors[self.metrics[0]]) - 1

    @property
    def ended(self) -> dict[str, int]:
        """How many samples a classical solver left in each status, by its name; empty for a learned
        descent.
        """
        counts = Counter([] if self.status is None else self.status.tolist())
        return {status.name.lower(): counts[status] for status in Status if counts[status]}

    @property
    def endings(self) -> str:
        """How a classical solver left the samples, in words; empty for a learned descent.

        Example:
            >>> errors = {"error": torch.zeros(2, 3)}
            >>> status = torch.tensor([Status.CONVERGED, Status.INVALID, Status.INVALID])
            >>> known = {"failure_above": 2.0, "seconds_per_sample": 1e-3, "batch_size": 3,
            ...     "device": "cpu"}
            >>> Evaluation(errors, None, **known, status=status,
            ...     invalid={"no residual depends on x": 2}).endings
            '1 converged, 2 invalid (2: no residual depends on x)'
        """
        counts = ", ".join(f"{count} {name}" for name, count in self.ended.items())
        reasons = "; ".join(f"{count}: {reason}" for reason, count in self.invalid.items())
        return f"{counts} ({reasons})" if reasons else counts

    def error(self, metric: str | None = None, step: int = -1) -> Float[Tensor, " N"]:
        """The error of each sample, ``(N,)``; of ``S`` trainings one after the other, ``(S N,)``.

        Args:
            metric: the name of a metric; ``None`` for the main one.
            step: the number of steps done, from 0 (the start) to ``T``; -1 for all.

        Raises:
            DescentError: if there is no such metric or step.
        """
        name = self.metrics[0] if metric is None else metric
        if name not in self.errors:
            raise DescentError(f"metric: expected one of {self.metrics}, got {name!r}")
        if not -1 <= step <= self.num_steps:
            raise DescentError(
                f"step: expected 0 (the start) to {self.num_steps}, or -1 (after all steps), got "
                f"{step}"
            )
        return self.errors[name][step]

    def by_training(self, metric: str | None = None, step: int = -1) -> Float[Tensor, "S N"]:
        """The error of each sample in each training, ``(S, N)``. Arguments are those of
        :meth:`error`.
        """
        return self.error(metric, step).view(self.trainings, -1)

    def mean(self, metric: str | None = None, step: int = -1) -> float:
        """The mean error; infinite if one is not finite. Arguments are those of :meth:`error`."""
        return float(ordered(self.error(metric, step)).mean())

    def median(self, metric: str | None = None, step: int = -1) -> float:
        """The median error, between the middle two if their number is even. Arguments are those of
        :meth:`error`.
        """
        ascending = ordered(self.error(metric, step))
        return float((ascending[(len(ascending) - 1) // 2] + ascending[len(ascending) // 2]) / 2)

    def auc(self, metric: str | None = None, step: int = -1) -> float:
        """:func:`auc` up to ``failure_above``, in 0..1. Arguments are those of :meth:`error`."""
        return auc(self.error(metric, step), self.failure_above)

    def failure_rate(self, metric: str | None = None, step: int = -1) -> float:
        """:func:`failure_rate` above ``failure_above``, in 0..1. Arguments are those of
        :meth:`error`.
        """
        return failure_rate(self.error(metric, step), self.failure_above)

    def to_json(self) -> dict[str, Any]:
        """All but ``xs``, with a summary, as strictly valid JSON: an error that is not finite
        becomes ``None``.
        """
        statistics = {
            "mean": self.mean,
            "median": self.median,
            "auc": self.auc,
            "failure_rate": self.failure_rate,
        }
        return {
            "num_samples": self.num_samples,
            "num_steps": self.num_steps,
            "failure_above": self.failure_above,
            "seconds_per_sample": self.seconds_per_sample,
            "batch_size": self.batch_size,
            "device": self.device,
            **({} if self.trainings == 1 else {"trainings": self.trainings}),
            **(
                {} if self.status is None else {"ended": self.ended, "status": self.status.tolist()}
            ),
            **({"invalid": dict(self.invalid)} if self.invalid else {}),
            "summary": or_null(
                {
                    name: {key: value(name) for key, value in statistics.items()}
                    for name in self.errors
                }
            ),
            "errors": or_null({name: rows.tolist() for name, rows in self.errors.items()}),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Evaluation:
        """The evaluation that :meth:`to_json` wrote, without ``xs``; errors that were not finite
        are infinite.

        Raises:
            DescentError: if an entry is missing or of another kind than :meth:`to_json` writes.
        """
        try:
            errors = {
                str(name): torch.tensor(
                    [[math.inf if e is None else e for e in row] for row in rows],
                    dtype=torch.float64,
                )
                for name, rows in stored["errors"].items()
            }
            above, seconds = float(stored["failure_above"]), float(stored["seconds_per_sample"])
            status = torch.tensor(stored["status"]) if "status" in stored else None
            invalid = {
                str(reason): int(count) for reason, count in stored.get("invalid", {}).items()
            }
            where = int(stored["batch_size"]), str(stored["device"])
            trainings = int(stored.get("trainings", 1))
            return cls(errors, None, above, seconds, *where, status, invalid, trainings)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DescentError(
                f"stored evaluation: cannot be read ({error!r}); evaluate the model again"
            ) from error


def check_comparable(evaluations: Mapping[str, Evaluation]) -> None:
    """Refuses to set side by side what was not measured alike.

    Args:
        evaluations: evaluations by the name of their family.

    Raises:
        DescentError: if there are none, or if metrics, ``failure_above`` or the number of samples
            differ.
    """
    if not evaluations:
        raise DescentError("evaluations: expected at least one, got none")
    (first, reference), *others = evaluations.items()
    for name, other in others:
        for what, one, two in (
            ("metrics", reference.metrics, other.metrics),
            ("failure_above", reference.failure_above, other.failure_above),
            ("number of samples", reference.num_samples, other.num_samples),
        ):
            if one != two:
                raise DescentError(
                    f"{first!r} and {name!r} cannot be compared: the {what} differ, {one} and "
                    f"{two}; evaluate both on the same samples with the same problem"
                )


def evaluate(
    model: DescentModel,
    samples: Samples,
    *,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
) -> Evaluation:
    """The errors of a model on ``samples``, after every step, from the deterministic start of
    testing.

    Samples go through the model batch by batch, and only parameters and errors are kept. The model
    works in evaluation mode on ``device``; afterwards its mode and device are what they were. The
    first batch runs once more beforehand, so that the timing meets a warm machine; reading the
    samples and computing the errors are not timed.

    Args:
        model: the model.
        samples: one batch of all samples, or a data set of single samples: tensors, arrays or
            numbers. They get the precision of the model's weights.
        batch_size: samples per batch, which the time per sample depends on.
        device: where the descent runs.

    Raises:
        DescentError: if there are no samples, if their images are in 0..1, or what they and the
            problem give is not what it has to be; if the batch size is below 1.

    Example:
        >>> from learned_descent import Cascade
        >>> from learned_descent.problems import Analytic
        >>> problem = Analytic("sin")
        >>> result = evaluate(Cascade.for_problem(problem, num_steps=3), problem.data("test"))
        >>> result.errors["error"].shape, result.xs.shape
        (torch.Size([4, 41]), torch.Size([4, 41, 1]))
    """
    if batch_size < 1:
        raise DescentError(f"batch_size: expected 1 or more samples, got {batch_size}")
    device = torch.device(device)
    samples = as_samples(samples)
    count, seconds, dtype = num_samples(samples), 0.0, floating_type(model.parameters())
    check_images(model.images, samples)
    xs: list[Tensor] = []
    statuses: list[Tensor] = []
    invalid: Counter[str] = Counter()
    classical = model.classical_solver() is not None  # only its status is read from the states
    errors: dict[str, list[Tensor]] = {}
    with _evaluating(model, device):
        look(model.problem, samples, device=device, dtype=dtype)
        for batch in batches(samples, batch_size, device=device, dtype=dtype):
            with torch.inference_mode():
                if not xs:
                    model(batch)
                _synchronise(device)
                began = time.perf_counter()
                trajectory = model(batch, keep_states=classical)
                _synchronise(device)
                seconds += time.perf_counter() - began
                steps = [model.problem.metrics(x, batch) for x in trajectory.xs]
                outcome = model.outcome(trajectory, batch)
            check_error(
                trajectory.xs[0], next(iter(steps[0].values())), sum(part.shape[1] for part in xs)
            )
            xs.append(trajectory.xs.cpu())
            if outcome is not None:
                statuses.append(outcome.status.cpu())
                invalid.update(filter(None, outcome.reasons))
            for name, values in steps[0].items():
                check_shape(values, "B", {"B": xs[-1].shape[1]}, name=f"metric {name!r}")
                errors.setdefault(name, []).append(
                    torch.stack([step[name] for step in steps]).cpu().double()
                )
    return Evaluation(
        errors={name: torch.cat(parts, 1) for name, parts in errors.items()},
        xs=torch.cat(xs, 1),
        failure_above=float(model.problem.failure_above),
        seconds_per_sample=seconds / count,
        batch_size=min(batch_size, count),
        device=str(device),
        status=torch.cat(statuses) if statuses else None,
        invalid=dict(invalid.most_common()),
    )


def _synchronise(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


@contextmanager
def _evaluating(model: DescentModel, device: torch.device) -> Iterator[None]:
    """The model in evaluation mode on ``device``; every part is as it was afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    home = next((tensor.device for tensor in chain(model.parameters(), model.buffers())), device)
    try:
        model.to(device).eval()
        yield
    finally:
        model.to(home)
        for module, training in modes:
            module.training = training
