"""The closed form of a coarse-to-fine search, stage after stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from ..data.batches import mix, num_samples
from ..data.samples import Samples
from ..errors import DescentError, check_choice, check_real, check_whole
from ..model import DescentModel
from ..models import CoarseToFineSearch
from ..system.progress import progress_bar
from . import ranks
from .doubts import doubts_of_ridge, say
from .equations import RidgeEquations
from .ranks import Accelerator
from .rows import StageRows
from .trainer import History, Trainer, entered
from .uneven import KeptRows, WeighedRows

_LEAST = 1e-12
"""The smallest mean square of an update whose logarithm is told apart from others."""


@final
@dataclass(frozen=True)
class SearchRidge(Trainer):
    """Trains a coarse-to-fine search stage after stage.

    Each stage takes as offsets of its candidates what is missing at its centre in some training
    samples, drawn at random; then both maps are one ridge regression over all candidates, of the
    update that is missing at a candidate and of the logarithm of its mean square.

    Args:
        ridge: the weight of the penalty in units of the mean feature variance.
        radius: the offsets are multiplied by it: below 1 the candidates lie closer together than
            the truths do.
        repeats: random starts per sample, all from one prepared image.
        augment: whether the samples go through ``problem.augment``.
        batch_size: samples that are prepared at a time.
        accelerator: where the sums are made: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        devices: devices of this machine; ``torchrun`` decides where it is used.

    References:
        S. Zhu, C. Li, C. C. Loy and X. Tang. Face alignment by coarse-to-fine shape searching.
        CVPR 2015, section 3.

    Example:
        >>> from learned_descent.problems import Analytic
        >>> problem = Analytic("sin")
        >>> model = CoarseToFineSearch.for_problem(problem)
        >>> _ = SearchRidge(ridge=1e-6).fit(model, problem.data("train"))
        >>> errors = problem.error(model(problem.data("test")).final, problem.data("test"))
        >>> bool(errors.mean() < 0.1)
        True
    """

    closed_form: ClassVar[bool] = True

    ridge: float = 1e-3
    radius: float = 1.0
    repeats: int = 1
    augment: bool = True
    batch_size: int = 64
    accelerator: Accelerator = "auto"
    devices: int = 1

    def __post_init__(self) -> None:
        check_real(self.ridge, name="ridge")
        check_real(self.radius, name="radius")
        for name in ("repeats", "batch_size", "devices"):
            check_whole(getattr(self, name), name=name)
        check_choice(self.accelerator, Accelerator, name="accelerator")

    def fit(
        self, model: DescentModel, train: Samples, val: Samples | None = None, *, seed: int = 0
    ) -> History:
        """Trains the stages of ``model`` in place, one after the other.

        Args:
            model: a :class:`~learned_descent.models.CoarseToFineSearch`.
            train: training samples.
            val: held-out samples; there is nothing to choose on them.
            seed: the seed of candidates, starts and augmentation.

        Returns:
            One record per stage: ``stage``, and the mean square ``loss`` of what the two maps leave
            of a candidate.

        Raises:
            DescentError: if the model is another one, a sample is not finite, or a system is
                singular.
        """
        if not isinstance(model, CoarseToFineSearch):
            raise DescentError(
                f"SearchRidge trains a CoarseToFineSearch, got {type(model).__name__}: use "
                "SequentialRidge or BackpropThroughTime"
            )
        start = time.perf_counter()
        train, _ = entered(model, train, val, gradients=False, augment=self.augment)
        fabric = ranks.launch(self.accelerator, self.devices)
        model.to(fabric.device).eval()
        source = StageRows(fabric, model, seed, self.repeats, 1, self.augment, self.batch_size, 0)
        with torch.no_grad():
            records = [
                self._fit_stage(source, model, stage, train)
                for stage in progress_bar(
                    range(model.num_steps), "cfss", unit="stage", disable=fabric.global_rank > 0
                )
            ]
        doubts = doubts_of_ridge(records, (self.ridge,), type(self).__name__)
        if fabric.is_global_zero:
            say(doubts)
        return History(records, time.perf_counter() - start, doubts=doubts)

    def forecast(self, model: DescentModel, train: Samples, *, seed: int = 0) -> float | None:
        """Nothing that is worth a rehearsal, beside a training by gradients."""
        return 0.0

    def _fit_stage(
        self, source: StageRows, model: CoarseToFineSearch, stage: int, samples: Samples
    ) -> dict[str, Any]:
        offsets = self.radius * drawn_offsets(source, stage, samples, model.candidates - 1)
        model.observation.offsets[stage, 1:] = offsets
        places = model.observation.offsets[stage]

        def rows() -> Iterator[WeighedRows]:
            return (at_candidates(row, places) for row in source.of(stage, samples))

        equations = RidgeEquations.of(rows())
        again = KeptRows.beside(rows, len(equations.gram))
        solutions = equations.solve(source.fabric, (self.ridge,), again, bias=True, stage=stage)
        solution = solutions[self.ridge]
        solution.fill(model.linear(stage))
        return {"stage": stage, "loss": solution.loss, **solution.unsolved}


def at_candidates(row: WeighedRows, offsets: Float[Tensor, "M d"]) -> WeighedRows:
    """The rows of all candidates of a stage: what is missing at each, and the logarithm of its mean
    square.

    Args:
        row: features ``(B, M F)``, and the updates that are missing at the centre; where nothing
            is known of them, nor is how far a candidate is.
        offsets: where the candidates are.

    Example:
        >>> row = WeighedRows(torch.ones(1, 4), torch.tensor([[1.0]]))
        >>> at_candidates(row, torch.tensor([[0.0], [0.5]])).updates
        tensor([[ 1.0000,  0.0000],
                [ 0.5000, -1.3863]])
    """
    count = len(offsets)
    missing = (row.updates.unsqueeze(1) - offsets).flatten(0, 1)
    features = row.features.unflatten(1, (count, -1)).flatten(0, 1)
    weights = None if row.weights is None else row.weights.repeat_interleave(count, dim=0)
    squares = missing.square() if weights is None else weights * missing.square()
    total = squares.shape[1] if weights is None else weights.sum(1, keepdim=True).clamp(min=_LEAST)
    far = (squares.sum(1, keepdim=True) / total + _LEAST).log()
    if weights is not None:
        weights = torch.cat([weights, weights.any(1, keepdim=True).to(far)], 1)
    return WeighedRows(features, torch.cat([missing, far], 1), weights)


def drawn_offsets(
    source: StageRows, stage: int, samples: Samples, count: int
) -> Float[Tensor, "M d"]:
    """Updates that are missing at the input of a stage, of so many rows drawn at random, the same
    ones each time; a coordinate whose truth is not known is 0.

    Where there are fewer rows, those that are there come again.
    """
    keys = torch.rand(
        num_samples(samples),
        generator=Generator().manual_seed(mix(source.seed, stage)),
        dtype=torch.float64,
    )
    chosen = keys.argsort()[:count]
    places = {place: row for row, place in enumerate(chosen.tolist())}
    found: Tensor | None = None
    for part in source.prepared(samples):
        missing = source.model.problem.local(source.reached(stage, part), part.target)
        if part.weights is not None:
            missing = missing.where(part.weights > 0, 0)
        if found is None:
            found = missing.new_zeros(len(chosen), missing.shape[1])
        for row, place in enumerate(part.rows):
            if place in places:
                found[places[place]] = missing[row]
    if found is None:
        raise DescentError("samples: expected one or more for every rank, got none for one of them")
    whole = ranks.summed(source.fabric, found)
    return whole[torch.arange(count) % max(1, len(whole))]
