"""Averaged Jacobians, projected out of the appearance: Gauss-Newton steps in closed form."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..data.batches import check_finite, num_samples
from ..data.samples import Samples
from ..errors import DescentError, check_choice, check_real, check_whole
from ..model import DescentModel
from ..models import Cascade
from ..models.linear_stages import Moments
from ..system.progress import progress_bar
from . import ranks
from .equations import RidgeEquations, Solution, lengths_left
from .ranks import Accelerator
from .rows import StageRows
from .trainer import History, Trainer, entered, several, solvable
from .uneven import WeighedRows

_EVERY = 10
"""One sample of so many is held out where there is a choice to make and no validation samples."""

_NOTHING = 1e-9
"""What a number weighs of which nothing is known."""


class MeanAppearance(NamedTuple):
    """How features differ from sample to sample at the truth.

    Attributes:
        mean: ``A0 (F,)``.
        basis: ``U (F, m)``: orthonormal principal directions, the strongest one first.
    """

    mean: Float[Tensor, " F"]
    basis: Float[Tensor, "F m"]


class Averaged(NamedTuple):
    """The averaged Jacobian of the features, in units of how the missing updates spread.

    Attributes:
        spread: ``L (d, r)``: the missing updates have the second moment ``L L^T``.
        slopes: ``J L (F, r)``.
    """

    spread: Float[Tensor, "d r"]
    slopes: Float[Tensor, "F r"]


def projected(
    averaged: Averaged, appearance: MeanAppearance, count: int, damping: float
) -> tuple[Float[Tensor, "F d"], Float[Tensor, " d"]]:
    """The weight and the bias of the stage that solves for the update in the space orthogonal to
    the appearance: ``(J^T P J)^+ J^T P (f - A0)`` with ``P = I - U U^T``.

    Args:
        averaged: the Jacobian ``J``.
        appearance: the features at the truth.
        count: how many directions ``U`` are projected out.
        damping: is added to the Hessian, in units of its mean diagonal.

    References:
        G. Tzimiropoulos. Project-out cascaded regression with an application to face alignment.
        CVPR 2015, section 4.

    Example:
        >>> averaged = Averaged(torch.eye(1), torch.tensor([[2.0], [3.0]]))
        >>> appearance = MeanAppearance(torch.ones(2), torch.tensor([[1.0], [0.0]]))
        >>> projected(averaged, appearance, 1, 0.0)  # of both features only the second one is left
        (tensor([[0.0000],
                [0.3333]]), tensor([-0.3333]))
    """
    basis = appearance.basis[:, :count]
    slopes = averaged.slopes - basis @ (basis.mT @ averaged.slopes)
    hessian = slopes.mT @ slopes
    hessian.diagonal().add_(damping * hessian.diagonal().mean())
    weight = slopes @ torch.linalg.pinv(hessian, hermitian=True) @ averaged.spread.mT
    return weight, -appearance.mean @ weight


@final
@dataclass(frozen=True)
class ProjectOut(Trainer):
    """Trains a linear cascade stage after stage by project-out cascaded regression (PO-CR).

    A stage of :class:`~learned_descent.SequentialRidge` maps features to updates by regression.
    Here the features are regressed on the update that is missing, which gives an averaged Jacobian
    ``J``; the step is that of Gauss-Newton, in the space where the features of different samples at
    the truth do not differ. In order:

    1. The shape model: the principal directions of the updates from random starts to the truth.
       Starts are similarities of the mean shape where ``x`` holds landmarks, so the directions hold
       similarity and shape; ``x`` never leaves them.
    2. The appearance of stage ``k``: mean and principal directions of the features at the truth,
       as the shape model has it.
    3. Its Jacobian: least squares of the features at its input, less that mean, on the missing
       update.
    4. Its linear map: the normal equations of that Jacobian without the appearance.

    What the paper leaves open is decided so: appearance and Jacobian are those of each stage, since
    its observation may be another one; a damping of the Hessian, by how the missing updates spread,
    keeps a Jacobian that few samples tell badly from large steps (the paper has none: 0). Where
    several values are given, those are taken, stage by stage, that leave least of the updates of
    held-out samples, in the mean of their root mean squares: a mean of squares would be that of
    the few samples that go astray.

    Args:
        components: directions of the shape model, at most the numbers of an update; ``None`` for
            the parameters as they are.
        appearance: directions of the appearance that are projected out, or several numbers; never
            so many that fewer features are left than there are unknowns.
        damping: what is added to the diagonal of the Hessian, in units of its mean, or several.
        repeats: random starts per sample, all from one prepared image.
        augment: whether the samples go through ``problem.augment``.
        batch_size: samples that are prepared at a time.
        accelerator: where the sums are made: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        devices: devices of this machine; ``torchrun`` decides where it is used.

    References:
        G. Tzimiropoulos. Project-out cascaded regression with an application to face alignment.
        CVPR 2015, section 4.

    Example:
        >>> from learned_descent import Cascade
        >>> from learned_descent.problems import Analytic
        >>> problem = Analytic("sin")
        >>> model = Cascade.for_problem(problem, num_steps=4)
        >>> history = ProjectOut().fit(model, problem.data("train"))
        >>> errors = problem.error(model(problem.data("test")).final, problem.data("test"))
        >>> bool(errors.mean() < 0.1)
        True
    """

    closed_form: ClassVar[bool] = True

    components: int | None = None
    appearance: int | tuple[int, ...] = (0, 10, 100)
    damping: float | tuple[float, ...] = (0.0, 1e-3, 1e-2, 1e-1, 1.0)
    repeats: int = 4
    augment: bool = True
    batch_size: int = 64
    accelerator: Accelerator = "auto"
    devices: int = 1

    def __post_init__(self) -> None:
        counts, dampings = several(self.appearance), several(self.damping)
        if not counts or not dampings:
            raise DescentError(
                "appearance, damping: expected a number >= 0 or several, got "
                f"{self.appearance} and {self.damping}"
            )
        for count in counts:
            check_whole(count, name="appearance", least=0)
        for damping in dampings:
            check_real(damping, name="damping")
        for name in ("repeats", "batch_size", "devices"):
            check_whole(getattr(self, name), name=name)
        if self.components is not None:
            check_whole(self.components, name="components")
        check_choice(self.accelerator, Accelerator, name="accelerator")

    def fit(
        self, model: DescentModel, train: Samples, val: Samples | None = None, *, seed: int = 0
    ) -> History:
        """Trains the stages of ``model`` in place, one after the other.

        Args:
            model: a :class:`~learned_descent.Cascade` of linear stages that have a bias.
            train: training samples.
            val: held-out samples that choose among several values; without them, one training
                sample of ten.
            seed: the seed of starts and augmentation.

        Returns:
            One record per stage: ``stage``, and where samples are held out, the ``appearance`` and
            the ``damping`` that leave least there, and ``held_out_loss``: what is left before and
            after the stage.

        Raises:
            DescentError: if the model has other stages, there are too few samples to choose on, or
                a sample is not finite.
        """
        if not isinstance(model, Cascade) or model.hidden is not None or not model.bias:
            raise DescentError(
                "ProjectOut trains the linear stages of a Cascade with hidden=None and bias=True, "
                f"got {type(model).__name__}: use BackpropThroughTime, or such a Cascade"
            )
        start = time.perf_counter()
        train, val = entered(model, train, val, gradients=False, augment=self.augment)
        counts, dampings = several(self.appearance), several(self.damping)
        every = _EVERY if val is None and len(counts) * len(dampings) > 1 else 0
        if num_samples(train) < every:
            raise DescentError(
                f"appearance, damping: {num_samples(train)} samples are too few to choose among "
                f"{counts} and {dampings}: give one value of each, or val samples"
            )
        fabric = ranks.launch(self.accelerator, self.devices)
        model.to(fabric.device).eval()
        source = StageRows(
            fabric, model, seed, self.repeats, 1, self.augment, self.batch_size, every
        )
        records = []
        with torch.no_grad():
            basis = _shape_model(source, model.num_updates, train, self.components)
            stages = _Stages(source, model, basis, counts, dampings)
            for stage in progress_bar(
                range(model.num_steps), "po-cr", unit="stage", disable=fabric.global_rank > 0
            ):
                records.append(stages.fit(stage, train, val))
        return History(records, time.perf_counter() - start)

    def forecast(self, model: DescentModel, train: Samples, *, seed: int = 0) -> float | None:
        """Nothing that is worth a rehearsal, beside a training by gradients."""
        return 0.0


@dataclass(frozen=True)
class _Stages:
    """What fits one stage after the other.

    Attributes:
        source: the rows of a stage.
        model: the cascade.
        basis: the shape model ``B (d, n)``.
        counts: numbers of directions of the appearance to choose among.
        dampings: dampings to choose among.
    """

    source: StageRows
    model: Cascade
    basis: Tensor
    counts: tuple[int, ...]
    dampings: tuple[float, ...]
    principal: _Principal = field(default_factory=lambda: _Principal())

    def fit(self, stage: int, train: Samples, val: Samples | None) -> dict[str, Any]:
        """Fills a stage, and tells what became of it."""
        fabric = self.source.fabric
        moments = RidgeEquations.of(self._at_truth(stage, train)).moments(fabric)
        averaged = self._averaged(stage, train, moments.mean)
        appearance = self._appearance(moments, averaged)
        found = appearance.basis.shape[1]
        solutions: dict[tuple[int, float], Solution] = {}
        for count in dict.fromkeys(min(count, found) for count in self.counts):
            for damping in self.dampings:
                weight, offset = projected(averaged, appearance, count, damping)
                solutions[count, damping] = Solution(weight, offset, torch.nan)
        chosen, told = next(iter(solutions)), {}
        if val is not None or len(solutions) > 1:
            held = self.source.of(stage, train if val is None else val, held_out=True)
            before, *losses = lengths_left(fabric, held, list(solutions.values()))
            least, chosen = min(zip(losses, solutions))
            told = {"held_out_loss": [before, least]}
        solutions[chosen].fill(cast(nn.Linear, self.model.linear(stage)))
        return {"stage": stage, "appearance": chosen[0], "damping": chosen[1], **told}

    def _at_truth(self, stage: int, samples: Samples) -> Iterator[WeighedRows]:
        """Features at the truth as the shape model has it, and the updates that lead there."""
        problem, eyes = self.model.problem, self.model.observation
        for part in self.source.prepared(samples):
            with solvable(part.rows):
                start = problem.initial(part.batch, part.generator)
                updates = problem.local(start, part.target)
                shape = in_shape_model(updates, self.basis, part.weights)
                x = problem.retract(start, (shape @ self.basis.mT).to(start))
                features = eyes.observe(stage, x, part.seen)
            check_finite({f"features of stage {stage} at the truth": features}, part.rows)
            known = None  # a sample of which nothing is would count as it is at its start
            if part.weights is not None:
                known = part.weights.any(1, keepdim=True).to(updates).expand_as(updates)
            yield WeighedRows(features, updates, known)

    def _averaged(self, stage: int, samples: Samples, mean: Tensor) -> Averaged:
        """The Jacobian of the features at the input of a stage, over all starts."""
        second = self.basis.new_zeros(self.basis.shape[1], self.basis.shape[1])
        cross = self.basis.new_zeros(len(mean), self.basis.shape[1])
        count = self.basis.new_zeros(())
        for row in self.source.of(stage, samples):
            missing = in_shape_model(row.updates, self.basis, row.weights)
            second += missing.mT @ missing
            cross += (row.features - mean.to(row.features)).mT @ missing.to(row.features)
            count += len(missing)
        second, cross, count = (
            ranks.summed(self.source.fabric, part) for part in (second, cross, count)
        )
        variances, axes = torch.linalg.eigh(second / count)
        known = variances > torch.finfo(second.dtype).eps * len(second) * variances.max()
        axes, deviations = axes[:, known], variances[known].sqrt()
        return Averaged(self.basis @ (axes * deviations), cross @ (axes / deviations) / count)

    def _appearance(self, moments: Moments, averaged: Averaged) -> MeanAppearance:
        """The directions of the appearance that there is a use for; rounding is none."""
        size, kind = len(moments.mean), next(self.model.parameters()).dtype
        most = min(max(self.counts), size - averaged.slopes.shape[1])
        if most < 1:
            return MeanAppearance(moments.mean, self.basis.new_zeros(size, 0))
        variances, basis = self.principal(moments.covariance.to(kind), most)
        least = torch.finfo(kind).eps * averaged.slopes.square().sum()
        return MeanAppearance(moments.mean, basis[:, variances > least].to(self.basis))


@final
class _Principal:
    """The first principal directions, strongest first. Most observations look alike in all stages,
    and so do the faces at the truth: what was found last is not searched for again.
    """

    def __init__(self) -> None:
        self._last: tuple[Tensor, Tensor, Tensor] | None = None

    def __call__(self, covariance: Tensor, count: int) -> tuple[Tensor, Tensor]:
        import scipy.linalg  # a command that only says its options does not wait for it

        if self._last is not None and torch.equal(self._last[0], covariance):
            variances, basis = (found[..., :count] for found in self._last[1:])
            if len(variances) == count:
                return variances, basis
        size = len(covariance)
        found = scipy.linalg.eigh(
            covariance.cpu().numpy(), subset_by_index=[size - count, size - 1]
        )
        variances, basis = (torch.from_numpy(part[..., ::-1].copy()) for part in found)
        self._last = covariance, variances, basis
        return variances, basis


def in_shape_model(
    updates: Float[Tensor, "B d"], basis: Float[Tensor, "d n"], weights: Tensor | None = None
) -> Float[Tensor, "B n"]:
    """The parameters of the shape model that come nearest to updates, in double precision.

    Args:
        updates: the updates.
        basis: orthonormal.
        weights: how much each coordinate counts, ``(B, d)``; what counts 0 is told by the others.

    Example:
        >>> in_shape_model(torch.tensor([[2.0, 0.0]]), torch.full((2, 1), 0.5**0.5).double(),
        ...     torch.tensor([[1.0, 0.0]])) * 0.5**0.5
        tensor([[2.0000]], dtype=torch.float64)
    """
    if weights is None:
        return updates.double() @ basis
    weighed = weights.double().unsqueeze(2) * basis
    matrix = basis.mT @ weighed
    matrix.diagonal(dim1=1, dim2=2).add_(_NOTHING)
    right = (updates.double().unsqueeze(1) @ weighed).squeeze(1)
    found: Tensor = torch.linalg.solve(matrix, right)
    return found


def _shape_model(
    source: StageRows, num_updates: int, samples: Samples, components: int | None
) -> Float[Tensor, "d n"]:
    """The principal directions of the updates from random starts to the truth, strongest first."""
    identity = torch.eye(num_updates, dtype=torch.float64, device=source.fabric.device)
    if components is None:
        return identity
    second, counts = torch.zeros_like(identity), torch.zeros_like(identity)
    for updates, weights in source.first_updates(samples):
        known = torch.ones_like(updates) if weights is None else weights.sqrt()
        second += ((known * updates).mT @ (known * updates)).double()
        counts += (known.mT @ known).double()
    second, counts = (ranks.summed(source.fabric, part) for part in (second, counts))
    axes: Tensor = torch.linalg.eigh(second / counts.clamp(min=_NOTHING)).eigenvectors
    return axes.flip(1)[:, :components]
