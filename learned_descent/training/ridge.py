"""The closed form: stage after stage of a linear cascade by ridge regression on streamed normal
equations.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast, final

import torch
from torch import Generator, Tensor, nn

from ..data.batches import batches, check_finite, mix, num_samples
from ..data.samples import Samples, floating_type
from ..errors import DescentError, check_choice, check_real, check_shape, check_whole
from ..model import DescentModel
from ..models import LinearStages
from ..models.linear_stages import Moments
from ..system.progress import progress_bar
from . import ranks
from .doubts import doubts_of_ridge, say
from .ranks import Accelerator
from .trainer import History, Trainer, entered, solvable


@final
@dataclass(frozen=True)
class SequentialRidge(Trainer):
    """Trains a linear cascade stage after stage: each stage is a ridge regression of the update
    that is still missing.

    Stage ``k`` minimises ``mean |local(x_k, x*) - W f(x_k) - b|^2 + ridge v |W|^2`` over the
    samples, where ``v`` is the mean variance of a feature and the bias ``b`` is free. The normal
    equations are summed over batches, in float32 blocks that are added in float64, so the memory is
    ``O(F^2)`` whatever the number of samples: nothing is kept per sample, and each pass runs the
    stages that are trained already. Data-parallel ranks (``torchrun``) take turns over the batches
    and sum their equations.

    The defaults suit some hundred features. With thousands, as those of the landmarks of a face, a
    stage learns the training samples by heart: the families of faces take ``ridge=3.0, repeats=4``,
    see :func:`learned_descent.recipes_for`. Where samples are held out, a stage that makes them
    worse, and a ridge at the edge of what was compared, are said in a line.

    Args:
        ridge: the weight of the penalty in units of the mean feature variance; several values are
            compared per stage on held-out samples.
        repeats: random starts per sample and pass, all from one prepared image.
        passes: passes over the samples, each with fresh augmentation and starts.
        augment: whether the samples go through ``problem.augment``.
        batch_size: samples that are prepared at a time.
        holdout: share of the samples kept from the equations to choose among several values of
            ``ridge``; unused when validation samples are given to :meth:`fit`.
        accelerator: where the sums are made: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        devices: devices of this machine; ``torchrun`` decides where it is used.

    References:
        X. Xiong and F. De la Torre. Supervised descent method and its applications to face
        alignment. CVPR 2013, eq. 12.

    Example:
        >>> from learned_descent import Cascade, SequentialRidge
        >>> from learned_descent.problems import Analytic
        >>> problem = Analytic("sin")
        >>> model = Cascade.for_problem(problem, num_steps=4)
        >>> history = SequentialRidge(ridge=1e-6).fit(model, problem.data("train"))
        >>> all(record["loss"] < 0.2 for record in history.records)
        True
    """

    closed_form: ClassVar[bool] = True

    ridge: float | tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1)
    repeats: int = 1
    passes: int = 1
    augment: bool = True
    batch_size: int = 64
    holdout: float = 0.1
    accelerator: Accelerator = "auto"
    devices: int = 1

    def __post_init__(self) -> None:
        if not self._candidates():
            raise DescentError(f"ridge: expected a number >= 0 or several, got {self.ridge}")
        for ridge in self._candidates():
            check_real(ridge, name="ridge")
        for name in ("repeats", "passes", "batch_size", "devices"):
            check_whole(getattr(self, name), name=name)
        check_real(self.holdout, name="holdout", positive=True, below=1)
        check_choice(self.accelerator, Accelerator, name="accelerator")

    def fit(
        self, model: DescentModel, train: Samples, val: Samples | None = None, *, seed: int = 0
    ) -> History:
        """Trains the stages of ``model`` in place, one after the other.

        Args:
            model: one with linear stages, such as a :class:`~learned_descent.Cascade`.
            train: training samples.
            val: held-out samples that choose among several values of ``ridge``, and tell whether a
                stage makes it worse.
            seed: the seed of starts and augmentation.

        Returns:
            One record per stage: ``stage``, ``ridge``, the mean square ``loss`` of the update that
            is left on the training samples; where samples are held out, ``held_out_loss``: the loss
            there before and after the stage; and where there was a choice, ``held_out``: the loss
            there by ridge, over the smallest.

        Raises:
            DescentError: if a stage of the model is not linear, a sample is not finite, or a system
                is singular.
        """
        if not isinstance(model, LinearStages) or any(
            model.linear(stage) is None for stage in range(model.num_steps)
        ):
            raise DescentError(
                "SequentialRidge trains linear stages, such as those of a Cascade with "
                f"hidden=None, got {type(model).__name__}: use BackpropThroughTime"
            )
        start = time.perf_counter()
        train, val = entered(model, train, val, gradients=False, augment=self.augment)
        count = num_samples(train)
        fabric = ranks.launch(self.accelerator, self.devices)
        model.to(fabric.device).eval()
        candidates = self._candidates()
        every = round(1 / self.holdout) if len(candidates) > 1 and val is None else 0
        if every and count < every:
            raise DescentError(
                f"ridge: {count} samples are too few to choose among {candidates}; give one value, "
                "or val samples"
            )
        records = []
        with (
            torch.no_grad(),
            progress_bar(
                desc="ridge", total=model.num_steps, unit="stage", disable=fabric.global_rank > 0
            ) as progress,
        ):
            for stage in range(model.num_steps):
                record = self._fit_stage(fabric, model, stage, train, val, seed, every)
                records.append(record)
                progress.set_postfix(loss=f"{record['loss']:.3g}", ridge=record["ridge"])
                progress.update()
        history = History(
            records, time.perf_counter() - start, doubts=doubts_of_ridge(records, candidates)
        )
        if fabric.is_global_zero:
            say(history.doubts)
        return history

    def _fit_stage(
        self,
        fabric: ranks.Fabric,
        model: LinearStages,
        stage: int,
        train: Samples,
        val: Samples | None,
        seed: int,
        every: int,
    ) -> dict[str, Any]:
        """Solves one stage for every ridge, puts in the one that leaves least of the held-out
        samples, and tells what became of it.
        """
        candidates = self._candidates()

        def measure() -> Moments:
            return self._equations(fabric, model, stage, train, seed, every).moments(fabric)

        model.begin(stage, measure)
        layer = cast(nn.Linear, model.linear(stage))
        equations = self._equations(fabric, model, stage, train, seed, every, lift=True)
        solutions = equations.solve(fabric, candidates, bias=layer.bias is not None, stage=stage)
        solved = list(solutions)
        best, losses = 0, []
        if val is not None or len(candidates) > 1:
            held = train if val is None else val
            rows = self._rows(fabric, model, stage, held, seed, every, held_out=True)
            lifted = ((model.lifted(stage, features), updates) for features, updates in rows)
            before, *losses = _left(
                fabric, lifted, [(weight, offset) for weight, offset, _ in solutions.values()]
            )
            best = losses.index(min(losses))
        weight, offset, loss = solutions[solved[best]]
        layer.weight.copy_(weight.T)
        if layer.bias is not None:
            layer.bias.copy_(offset)
        record: dict[str, Any] = {"stage": stage, "ridge": solved[best], "loss": loss}
        if losses:
            record["held_out_loss"] = [before, losses[best]]
        if len(candidates) > 1:
            least = max(losses[best], sys.float_info.min)
            record["held_out"] = {ridge: loss / least for ridge, loss in zip(solved, losses)}
        return record

    def _equations(
        self,
        fabric: ranks.Fabric,
        model: LinearStages,
        stage: int,
        train: Samples,
        seed: int,
        every: int,
        *,
        lift: bool = False,
    ) -> RidgeEquations:
        """The sums over the rows of the training samples, as they are or as the layer takes
        them.
        """
        equations: RidgeEquations | None = None
        rows = self._rows(fabric, model, stage, train, seed, every, held_out=False)
        for features, updates in rows:
            if lift:
                features = model.lifted(stage, features)
            equations = equations or RidgeEquations(features.shape[1], updates)
            equations.add(features, updates)
        if equations is None:
            raise DescentError(
                f"samples: expected one or more for every rank, got {num_samples(train)}"
            )
        return equations

    def augmenting(self) -> SequentialRidge:
        return replace(self, augment=True)

    def forecast(self, model: DescentModel, train: Samples, *, seed: int = 0) -> float | None:
        """Nothing that is worth a rehearsal, beside a training by gradients."""
        return 0.0

    def _candidates(self) -> tuple[float, ...]:
        return (self.ridge,) if isinstance(self.ridge, (int, float)) else tuple(self.ridge)

    def _rows(
        self,
        fabric: ranks.Fabric,
        model: LinearStages,
        stage: int,
        samples: Samples,
        seed: int,
        every: int,
        *,
        held_out: bool,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Features ``(B, F)`` and missing updates ``(B, d)`` at the input of a stage, start by
        start, on this rank.
        """
        problem, rank, world = model.problem, fabric.global_rank, fabric.world_size
        place: dict[str, Any] = {
            "device": fabric.device,
            "dtype": floating_type(model.parameters()),
        }
        for number in range(1 if held_out else self.passes):
            for position, batch in enumerate(
                batches(samples, self.batch_size, rank=rank, world=world, **place)
            ):
                first = (position * world + rank) * self.batch_size
                rows = list(range(first, first + len(next(iter(batch.values())))))
                if every:
                    keep = [
                        row
                        for row, place in enumerate(rows)
                        if (place % every == every - 1) == held_out
                    ]
                    if not keep:
                        continue
                    batch = {name: value[keep] for name, value in batch.items()}
                    rows = [rows[row] for row in keep]
                check_finite(batch, rows)
                generator = Generator(fabric.device).manual_seed(
                    mix(seed, int(held_out), number, first)
                )
                with solvable(rows):
                    if self.augment and not held_out:
                        batch = problem.augment(batch, generator)
                    target, prepared = problem.target(batch), model.observation.prepare(batch)
                    check_finite({"target": target}, rows)
                    for _ in range(1 if held_out else self.repeats):
                        x = model.descend(
                            prepared, problem.initial(batch, generator), num_steps=stage
                        ).final
                        features = model.observation.observe(stage, x, prepared)
                        check_finite({f"features of stage {stage}": features}, rows)
                        yield features, problem.local(x, target)


class RidgeEquations:
    """Sums of ``f f^T``, ``f y^T``, ``f`` and ``y`` over rows that come in batches, for ridge
    regression with a free bias.

    Args:
        num_features: the size ``F``.
        like: a tensor ``(B, d)`` of updates: their size, and the device of the sums.
        block: rows that are multiplied in their own precision before they are added in float64.
    """

    def __init__(self, num_features: int, like: Tensor, *, block: int = 1024) -> None:
        wide = {"dtype": torch.float64, "device": like.device}
        self.gram = torch.zeros(num_features, num_features, **wide)  # type: ignore[call-overload]
        self.cross = torch.zeros(num_features, like.shape[1], **wide)  # type: ignore[call-overload]
        self.sum_features = torch.zeros(num_features, **wide)  # type: ignore[call-overload]
        self.sum_updates = torch.zeros(like.shape[1], **wide)  # type: ignore[call-overload]
        self.scalars = torch.zeros(2, **wide)  # type: ignore[call-overload]  # rows, sum of squared updates
        self.block = block
        self.rounding = torch.finfo(like.dtype).eps
        self._pending: list[tuple[Tensor, Tensor]] = []
        self._rows = 0

    def add(self, features: Tensor, updates: Tensor) -> None:
        """Adds rows: features ``(B, F)`` and updates ``(B, d)``."""
        check_shape(features, "B F", {"F": len(self.gram)}, name="features")
        self._pending.append((features, updates))
        self._rows += len(features)
        if self._rows >= self.block:
            self._flush()

    def _flush(self, width: int = 1024) -> None:
        if not self._pending:
            return
        features, updates = (torch.cat(rows) for rows in zip(*self._pending))
        self._pending, self._rows = [], 0
        for at in range(0, len(self.gram), width):  # the upper triangle is enough
            self.gram[at : at + width, at:] += features[:, at : at + width].T @ features[:, at:]
        self.cross += features.T @ updates
        self.sum_features += features.sum(0, dtype=torch.float64)
        self.sum_updates += updates.sum(0, dtype=torch.float64)
        self.scalars += torch.stack(
            [self.scalars.new_tensor(len(features)), updates.double().square().sum()]
        )

    def _gather(self, fabric: ranks.Fabric) -> None:
        """Sums over the ranks."""
        self._flush()
        for name in ("gram", "cross", "sum_features", "sum_updates", "scalars"):
            setattr(self, name, _summed(fabric, getattr(self, name)))

    def moments(self, fabric: ranks.Fabric) -> Moments:
        """Mean and covariance of the features."""
        self._gather(fabric)
        count = self.scalars[0]
        gram = self.gram.triu() + self.gram.triu(1).mT
        mean = self.sum_features / count
        return Moments(mean, gram / count - mean.outer(mean))

    def solve(
        self, fabric: ranks.Fabric, candidates: tuple[float, ...], *, bias: bool, stage: int
    ) -> dict[float, tuple[Tensor, Tensor, float]]:
        """Weights ``(F, d)``, bias ``(d,)`` and mean square of what they leave of the rows, for
        each ridge that is enough.

        Raises:
            DescentError: if no system is positive definite; the message names the ridge to raise.
        """
        self._gather(fabric)
        (count, square), size = self.scalars.tolist(), len(self.gram)
        # Where nothing but rounding is left to see
        least = max(self.rounding * self.gram.diagonal().mean().item(), 1e-100)
        if bias:  # centre the rows
            mean_features, mean_updates = self.sum_features / count, self.sum_updates / count
            self.gram.addr_(self.sum_features, mean_features, alpha=-1)
            self.cross.addr_(self.sum_features, mean_updates, alpha=-1)
            square -= self.sum_updates.dot(mean_updates).item()
        diagonal = self.gram.diagonal().clone()
        solutions = {}
        for ridge in candidates:
            penalty = ridge * diagonal.mean() + (least if ridge else 0)
            self.gram.diagonal().copy_(diagonal + penalty)
            factor, info = torch.linalg.cholesky_ex(self.gram, upper=True)
            pivots = factor.diagonal()
            if (
                info.item()
                or pivots.min() ** 2 <= size * torch.finfo(torch.float64).eps * pivots.max() ** 2
            ):
                continue
            weight = torch.cholesky_solve(self.cross, factor, upper=True)
            del factor
            offset = mean_updates - mean_features @ weight if bias else torch.zeros_like(weight[0])
            left = (
                square
                - (weight * self.cross).sum().item()
                - penalty.item() * weight.square().sum().item()
            )
            solutions[ridge] = (weight, offset, max(left, 0.0) / (count * weight.shape[1]))
        if not solutions:
            ridge = max(candidates)
            raise DescentError(
                f"ridge={ridge:g}: the system of stage {stage} with {size} features from "
                f"{count:.0f} rows is not positive definite; raise ridge (for example to "
                f"{max(10 * ridge, 1e-4):g}) or give more samples"
            )
        return solutions


def _left(
    fabric: ranks.Fabric,
    rows: Iterator[tuple[Tensor, Tensor]],
    solutions: list[tuple[Tensor, Tensor]],
) -> list[float]:
    """The mean square of the updates of some rows, and of what each solution leaves of them."""
    sums: Tensor = torch.zeros(len(solutions) + 2, dtype=torch.float64, device=fabric.device)
    for features, updates in rows:
        left = [
            updates - features @ weight.to(features) - offset.to(features)
            for weight, offset in solutions
        ]
        sums[:-1] += torch.stack(
            [part.square().sum(dtype=torch.float64) for part in (updates, *left)]
        )
        sums[-1] += updates.numel()
    sums = _summed(fabric, sums)
    return (sums[:-1] / sums[-1]).tolist()


def _summed(fabric: ranks.Fabric, value: Tensor) -> Tensor:
    """The sum of ``value`` over the ranks."""
    return (
        cast(Tensor, fabric.all_reduce(value, reduce_op="sum")) if fabric.world_size > 1 else value
    )
