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
from torch import nn

from ..data.batches import num_samples
from ..data.samples import Samples, as_samples
from ..errors import DescentError, check_choice, check_real, check_whole
from ..model import DescentModel
from ..models import LinearStages
from ..system.progress import progress_bar
from . import ranks
from .doubts import doubts_of_ridge, say
from .equations import RidgeEquations, losses_left
from .ranks import Accelerator
from .rows import StageRows
from .trainer import History, Trainer, entered, several, with_linear_stages
from .uneven import KeptRows, WeighedRows

_STARTS = 2000
"""Random starts that a training has in all, where they follow from the number of samples."""

_REPEATS = (4, 48)
"""Fewest and most starts of a sample then."""


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

    Where a problem says how much each coordinate counts (:meth:`Problem.target_weights`), the
    square of each is multiplied by its weight, and ``v`` is the variance among the rows that know
    it: a coordinate whose truth is missing of some samples is trained on the others, as if it were
    alone. Conjugate gradients solve that to 1e-6, each step another pass over the samples.

    The defaults suit some hundred features. With thousands, as those of the landmarks of a face, a
    stage learns the training samples by heart: the families of faces take ``ridge=3.0, repeats=4``,
    see :func:`learned_descent.recipes_for`. Where samples are held out, a stage that makes them
    worse, and a ridge at the edge of what was compared, are said in a line.

    Args:
        ridge: the weight of the penalty in units of the mean feature variance; several values are
            compared per stage on held-out samples.
        repeats: random starts per sample and pass, all from one prepared image; ``None`` for so
            many that there are 2,000 in all, from 4 to 48 per sample: few samples are seen from
            many starts.
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
    repeats: int | None = 1
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
        for name in ("passes", "batch_size", "devices"):
            check_whole(getattr(self, name), name=name)
        if self.repeats is not None:
            check_whole(self.repeats, name="repeats")
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
        model = with_linear_stages(model, "SequentialRidge")
        if self.repeats is None:
            own = self.sized(num_samples(as_samples(train, "train")))
            return own.fit(model, train, val, seed=seed)
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
        source = StageRows(
            fabric, model, seed, self.repeats, self.passes, self.augment, self.batch_size, every
        )
        records = []
        with (
            torch.no_grad(),
            progress_bar(
                desc="ridge", total=model.num_steps, unit="stage", disable=fabric.global_rank > 0
            ) as progress,
        ):
            for stage in range(model.num_steps):
                record = self._fit_stage(source, model, stage, train, val)
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
        source: StageRows,
        model: LinearStages,
        stage: int,
        train: Samples,
        val: Samples | None,
    ) -> dict[str, Any]:
        """Solves one stage for every ridge, puts in the one that leaves least of the held-out
        samples, and tells what became of it.
        """
        candidates, fabric = self._candidates(), source.fabric

        def rows(
            samples: Samples, *, held_out: bool = False, lift: bool = True
        ) -> Iterator[WeighedRows]:
            for row in source.of(stage, samples, held_out=held_out):
                features = model.lifted(stage, row.features) if lift else row.features
                yield row._replace(features=features)

        model.begin(stage, lambda: RidgeEquations.of(rows(train, lift=False)).moments(fabric))
        layer = cast(nn.Linear, model.linear(stage))
        equations = RidgeEquations.of(rows(train))
        again = KeptRows.beside(lambda: rows(train), len(equations.gram))
        bias = layer.bias is not None
        solutions = equations.solve(fabric, candidates, again, bias=bias, stage=stage)
        solved = list(solutions)
        best, losses = 0, []
        if val is not None or len(candidates) > 1:
            held = rows(train if val is None else val, held_out=True)
            before, *losses = losses_left(fabric, held, list(solutions.values()))
            best = losses.index(min(losses))
        solution = solutions[solved[best]]
        solution.fill(layer)
        record: dict[str, Any] = {"stage": stage, "ridge": solved[best], "loss": solution.loss}
        record |= solution.unsolved
        if losses:
            record["held_out_loss"] = [before, losses[best]]
        if len(candidates) > 1:
            least = max(losses[best], sys.float_info.min)
            record["held_out"] = {ridge: loss / least for ridge, loss in zip(solved, losses)}
        return record

    def sized(self, count: int) -> SequentialRidge:
        """The same trainer with ``repeats`` for so many samples, if it has none.

        Example:
            >>> SequentialRidge(repeats=None).sized(100).repeats
            20
        """
        if self.repeats is not None:
            return self
        fewest, most = _REPEATS
        return replace(self, repeats=min(max(fewest, _STARTS // max(1, count)), most))

    def forecast(self, model: DescentModel, train: Samples, *, seed: int = 0) -> float | None:
        """Nothing that is worth a rehearsal, beside a training by gradients."""
        return 0.0

    def _candidates(self) -> tuple[float, ...]:
        return several(self.ridge)
