"""The closed form of a parallel cascade: levels that learn on by themselves."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, cast, final

import torch
from torch import Generator, Tensor, nn

from ..data.batches import check_finite, fingerprint, num_samples
from ..data.samples import Batch, Samples
from ..errors import DescentError, check_choice, check_real, check_whole
from ..files import check_checksum, read_tensors, save_tensors
from ..look import weights_of
from ..model import DescentModel
from ..models import LinearStages
from ..problem import Problem
from . import ranks
from .doubts import doubts_of_ridge, say
from .draws import Draws
from .equations import EVEN, SUMMED, RidgeEquations, Solution, check_known
from .ranks import Accelerator
from .rows import StageRows
from .trainer import History, Trainer, entered, solvable, with_linear_stages
from .uneven import KeptRows, WeighedRows

SUMS = "sums.safetensors"
"""The file of the normal equations, in the folder of a training."""

BEFORE = "sums.before.safetensors"
"""What that file was before an update: it fits the weights until those are written too."""

_KEY = "learned_descent_sums"

_log = logging.getLogger(__name__)


class Spread(NamedTuple):
    """How far the descent is from the truth at the input of a level: a normal distribution.

    Attributes:
        mean: ``(d,)``, in units of an update.
        root: a root of the covariance, ``(d, d)``.
    """

    mean: Tensor
    root: Tensor


class Level(NamedTuple):
    """What a level knows of the samples so far.

    Attributes:
        sums: its normal equations, named as in ``SUMMED``.
        first: the layer as the first training filled it: all samples descend through that one.
        spread: the residuals that are simulated at its input; ``None`` for the first level.
    """

    sums: dict[str, Tensor]
    first: dict[str, Tensor]
    spread: Spread | None


@final
@dataclass(frozen=True)
class ParallelRidge(Trainer):
    """Trains a linear cascade whose levels each go on with new samples by themselves, at a cost
    that does not grow with the old ones.

    The first level sees the starts of training. A later one sees two kinds of guesses: residuals
    that are simulated around the truth, normal with the mean and the covariance that the level
    before leaves on held-out samples (on those of training, where none are held out); and starts
    of training that have descended through the levels before it. Neither changes any more once the
    first training is done, so all that a level knows of the past are its normal equations, which
    :meth:`partial_fit` adds new samples to: the result is that of a training on the union. Where
    the weights of the coordinates differ within a sample, the sums cannot say that, and are not
    kept.

    The papers simulate all residuals, and draw them alike for every sample. A descent leaves more
    of a hard sample than of an easy one, and it leaves what its features did not tell; of that
    simulated residuals know nothing. Real descents alone, as in
    :class:`~learned_descent.SequentialRidge`, see training samples that the levels before have
    learnt by heart, and residuals that are smaller than those of testing. Half of each is better
    than either on held-out faces, see the experiments.

    The papers leave open what becomes of the covariances when samples are added: here they stay as
    the first training found them, and new samples descend through the levels of the first training,
    or the old sums would be of another distribution. Each sample is varied and disturbed by a
    generator of its own, so that the sums are those of any batches; the starts from which the
    residuals are measured are drawn batch by batch.

    Args:
        ridge: the weight of the penalty in units of the mean feature variance of all samples.
        repeats: guesses per sample and pass.
        simulated: the share of them that are simulated residuals, the others are real descents; 1
            for those of the papers.
        passes: passes over the samples, each with fresh augmentation.
        augment: whether the samples go through ``problem.augment``.
        batch_size: samples that are prepared at a time.
        accelerator: where the sums are made: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        directory: the folder of the sums, ``sums.safetensors``: 8 bytes for each two features of a
            level, and the level as it was first; ``None`` keeps none.

    References:
        A. Asthana, S. Zafeiriou, S. Cheng and M. Pantic. Incremental face alignment in the wild.
        CVPR 2014, section 3.
        E. Sánchez-Lozano, B. Martinez, G. Tzimiropoulos and M. Valstar. Cascaded continuous
        regression for real-time incremental face tracking. ECCV 2016.

    Example:
        >>> from learned_descent import Cascade
        >>> from learned_descent.problems import Analytic
        >>> problem = Analytic("sin")
        >>> model = Cascade.for_problem(problem, num_steps=3)
        >>> history = ParallelRidge(ridge=1e-6).fit(model, problem.data("train"))
        >>> [record["stage"] for record in history.records]
        [0, 1, 2]
    """

    closed_form: ClassVar[bool] = True
    places: ClassVar[frozenset[str]] = frozenset({"directory"})

    ridge: float = 1e-3
    repeats: int = 4
    simulated: float = 0.5
    passes: int = 1
    augment: bool = True
    batch_size: int = 64
    accelerator: Accelerator = "auto"
    directory: str | None = None

    def __post_init__(self) -> None:
        check_real(self.ridge, name="ridge")
        check_real(self.simulated, name="simulated")
        if self.simulated > 1:
            raise DescentError(f"simulated: expected a share in [0, 1], got {self.simulated}")
        for name in ("repeats", "passes", "batch_size"):
            check_whole(getattr(self, name), name=name)
        check_choice(self.accelerator, Accelerator, name="accelerator")

    def fit(
        self, model: DescentModel, train: Samples, val: Samples | None = None, *, seed: int = 0
    ) -> History:
        """Trains the levels of ``model`` in place.

        Args:
            model: one with linear stages, such as a :class:`~learned_descent.Cascade`.
            train: training samples.
            val: held-out samples, on which the residuals of a level are measured.
            seed: the seed of starts, residuals and augmentation.

        Returns:
            One record per level: ``stage``, ``ridge``, and the mean square ``loss`` of the update
            that is left of its rows.

        Raises:
            DescentError: if a stage of the model is not linear, a sample is not finite, or a system
                is singular.
        """
        start = time.perf_counter()
        cascade = with_linear_stages(model, "ParallelRidge")
        samples, held = entered(model, train, val, gradients=False, augment=self.augment)
        source = self._source(cascade, seed)
        history, levels = History(), list[Level]()
        with torch.no_grad():
            for stage in range(cascade.num_steps):
                spread = None if stage == 0 else _spread(source, stage, samples, held)

                def rows(
                    *, lift: bool = True, stage: int = stage, spread: Spread | None = spread
                ) -> Iterator[WeighedRows]:
                    return self._rows(source, stage, spread, samples, lift=lift)

                cascade.begin(
                    stage, lambda: RidgeEquations.of(rows(lift=False)).moments(source.fabric)
                )
                equations = RidgeEquations.of(rows())
                equations.gather(source.fabric)
                kept = self.directory is not None  # solving overwrites the sums
                sums = {name: getattr(equations, name).clone() for name in SUMMED} if kept else {}
                again = KeptRows.beside(rows, len(equations.gram))
                solution = self._solve(source, stage, equations, again, history)
                solution.fill(_layer(cascade, stage))
                levels.append(Level(sums, _filled(cascade, stage), spread))
        known = {"seed": seed, "samples": num_samples(samples), "data": [fingerprint(samples)]}
        if source.fabric.is_global_zero:
            self._keep(cascade, levels, known)
        history.seconds = time.perf_counter() - start
        history.doubts = doubts_of_ridge(history.records, (self.ridge,), type(self).__name__)
        if source.fabric.is_global_zero:
            say(history.doubts)
        return history

    def partial_fit(
        self, model: DescentModel, new: Samples, *, sums: str | Path | None = None
    ) -> History:
        """Goes on with new samples: the levels are then those of a training on all samples.

        Sums that are replaced are kept as ``sums.before.safetensors``: they are taken for weights
        that they fit, where the new ones were never written.

        Args:
            model: the model that the sums are of; it is changed in place.
            new: the new samples alone.
            sums: the folder of the sums; by default the trainer's own, where the new ones go.

        Raises:
            DescentError: if there are no sums, they are of other weights or settings, or they have
                these samples already.
        """
        start = time.perf_counter()
        cascade = with_linear_stages(model, "ParallelRidge")
        levels, known = self._kept(cascade, sums)
        samples, _ = entered(model, new, None, gradients=False, augment=self.augment)
        added = fingerprint(samples)
        if added in known["data"]:
            raise DescentError(
                "new: expected samples that the sums do not have, these were added before: give "
                "the new ones alone"
            )
        source, history, solutions = self._source(cascade, known["seed"]), History(), []
        with torch.no_grad():
            with _as_first(cascade, levels):
                for stage, level in enumerate(levels):
                    equations = self._joined(source, stage, level, samples, known["samples"])
                    solutions.append(self._solve(source, stage, equations, (), history))
            for stage, solution in enumerate(solutions):
                solution.fill(_layer(cascade, stage))
        known["samples"] += num_samples(samples)
        known["data"].append(added)
        if source.fabric.is_global_zero:
            self._put_aside()
            self._keep(cascade, levels, known)
        history.seconds = time.perf_counter() - start
        return history

    @classmethod
    def of_sums(cls, folder: str | Path, *, directory: str | Path) -> ParallelRidge:
        """The trainer whose sums are in a folder, with its settings, to go on in another.

        Raises:
            DescentError: if there are none.
        """
        settings = _about(_there(Path(folder))[0])["settings"]
        return cls(**settings, directory=str(directory))

    def within(self, folder: Path, *, resume: bool) -> ParallelRidge:
        return replace(self, directory=str(folder))

    def forecast(self, model: DescentModel, train: Samples, *, seed: int = 0) -> float | None:
        """Nothing that is worth a rehearsal, beside a training by gradients."""
        return 0.0

    def _source(self, model: LinearStages, seed: int) -> StageRows:
        fabric = ranks.launch(self.accelerator, 1)
        model.to(fabric.device).eval()
        return StageRows(
            fabric, model, seed, self.repeats, self.passes, self.augment, self.batch_size, 0
        )

    def _joined(
        self, source: StageRows, stage: int, level: Level, new: Samples, before: int
    ) -> RidgeEquations:
        """The equations of a level with new samples, which its sums take in too."""
        equations = RidgeEquations.of(self._rows(source, stage, level.spread, new, before=before))
        equations.gather(source.fabric)
        for name in SUMMED:
            getattr(equations, name).add_(level.sums[name].to(source.fabric.device))
            level.sums[name] = getattr(equations, name).clone()
        if _uneven(level):
            raise DescentError(
                "target_weights: they differ within a sample, and the sums of a level know one "
                "weight for all of it: train on all samples at once"
            )
        return equations

    def _solve(
        self,
        source: StageRows,
        stage: int,
        equations: RidgeEquations,
        rows: Iterable[WeighedRows],
        history: History,
    ) -> Solution:
        """Solves a level, and records what became of it."""
        bias = _layer(cast(LinearStages, source.model), stage).bias is not None
        found = equations.solve(source.fabric, (self.ridge,), rows, bias=bias, stage=stage)
        solution = found[self.ridge]
        told = {"stage": stage, "ridge": self.ridge, "loss": solution.loss}
        history.records.append(told | solution.unsolved)
        return solution

    def _rows(
        self,
        source: StageRows,
        stage: int,
        spread: Spread | None,
        samples: Samples,
        *,
        before: int = 0,
        lift: bool = True,
    ) -> Iterator[WeighedRows]:
        """The rows of a level in float64: sums of any batches are then equal."""
        model, problem = cast(LinearStages, source.model), source.model.problem
        descents = self.repeats - round(self.simulated * self.repeats)
        for number, _, places, batch in source.parts(samples):
            own = [before + place for place in places]
            draws = Draws([source.seed, stage, number], own, source.fabric.device)
            with solvable(places):
                if source.augment:
                    batch = draws(problem.augment, batch)
                target, seen = problem.target(batch), model.observation.prepare(batch)
                check_finite({"target": target}, places)
                weights = weights_of(problem, batch, places)
                truth = target if weights is None else _as_known(problem, batch, target, weights)
                known = None if weights is None else weights.double()
                for repeat in range(source.repeats):
                    if spread is None or repeat < descents:
                        x = _descended(model, stage, batch, seen, draws)
                    else:
                        x = _simulated(problem, spread, truth, draws)
                    features = model.observation.observe(stage, x, seen)
                    check_finite({f"features of stage {stage}": features}, places)
                    features = model.lifted(stage, features) if lift else features
                    updates = problem.local(x, target).double()
                    yield WeighedRows(features.double(), updates, known)

    def _put_aside(self) -> None:
        """The sums that new ones are to replace, if there are any, get another name."""
        if self.directory is not None and (path := Path(self.directory) / SUMS).exists():
            path.replace(path.with_name(BEFORE))

    def _keep(self, model: LinearStages, levels: list[Level], known: dict[str, Any]) -> None:
        """Writes the sums, if there is a folder for them, and says how large they are."""
        if self.directory is None or any(map(_uneven, levels)):
            return
        tensors: dict[str, Tensor] = {}
        for stage, (sums, first, spread) in enumerate(levels):
            upper = torch.ones_like(sums["gram"], dtype=torch.bool).triu()
            parts = {**sums, "gram": sums["gram"][upper]}
            parts |= {f"first.{name}": part for name, part in first.items()}
            parts |= {} if spread is None else spread._asdict()
            tensors |= {f"{stage}.{name}": part.cpu().contiguous() for name, part in parts.items()}
        about = {**known, "settings": self.settings(), "weights": _digest(model)}
        path = Path(self.directory) / SUMS
        save_tensors(path, tensors, {_KEY: json.dumps(about)})
        size = sum(part.numel() * part.element_size() for part in tensors.values())
        _log.info("%s: the sums of %d samples, %.1f MB", path, known["samples"], size / 1e6)

    def _kept(
        self, model: LinearStages, sums: str | Path | None
    ) -> tuple[list[Level], dict[str, Any]]:
        """The levels as the earlier samples left them."""
        folder = self.directory if sums is None else sums
        if folder is None:
            raise DescentError("directory: expected the folder of the sums, got none")
        path = _fitting(_there(Path(folder)), _digest(model))
        about, tensors = _read(path)
        own, stored = self.settings(), about["settings"]
        for name in ("repeats", "simulated", "passes", "augment"):
            if own[name] != stored[name]:
                raise DescentError(
                    f"{path}: made with {name}={stored[name]!r}, this training has {own[name]!r}"
                )
        levels = []
        for stage in range(model.num_steps):
            parts = {name: tensors[f"{stage}.{name}"] for name in SUMMED}
            size = len(parts["sum_features"])
            gram = parts["sum_features"].new_zeros(size, size)
            gram[torch.ones(size, size, dtype=torch.bool).triu()] = parts["gram"]
            names = _layer(model, stage).state_dict()
            first = {name: tensors[f"{stage}.first.{name}"] for name in names}
            spread = Spread(tensors[f"{stage}.mean"], tensors[f"{stage}.root"]) if stage else None
            levels.append(Level({**parts, "gram": gram}, first, spread))
        return levels, about


def _there(folder: Path) -> list[Path]:
    """The files of sums in a folder, the newest first."""
    there = [path for name in (SUMS, BEFORE) if (path := folder / name).is_file()]
    if not there:
        raise DescentError(
            f"{folder / SUMS}: expected the sums of a training of the family incremental, found "
            "nothing there: train it, or give the folder of its sums"
        )
    return there


def _fitting(files: list[Path], weights: str) -> Path:
    """The file whose sums are those of the weights."""
    for path in files:
        if _about(path)["weights"] == weights:
            return path
    raise DescentError(
        f"{files[0]}: the sums are of other weights: give the weights that were written with them"
    )


def _about(path: Path) -> dict[str, Any]:
    """What a file says of its sums."""
    return _read(path, tensors=False)[0]


def _read(path: Path, *, tensors: bool = True) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        metadata, found = read_tensors(path, tensors=tensors)
    except OSError as error:
        raise DescentError(f"{path}: cannot be read ({error}); train again") from error
    if _KEY not in metadata:
        raise DescentError(f"{path}: expected the sums of a training, got another kind of file")
    if tensors:
        check_checksum(path, found, metadata)
    about = json.loads(metadata[_KEY])
    if "simulated" not in about["settings"]:
        raise DescentError(
            f"{path}: the sums are of an earlier version, which descended through no levels: train "
            "again"
        )
    return about, found


def _uneven(level: Level) -> bool:
    """Whether the weights of a row differed."""
    count, _, apart = level.sums["scalars"].tolist()
    return bool(apart > EVEN * count)


def _layer(model: LinearStages, stage: int) -> nn.Linear:
    return cast(nn.Linear, model.linear(stage))


def _filled(model: LinearStages, stage: int) -> dict[str, Tensor]:
    """What a layer holds now."""
    layer = _layer(model, stage)
    return {name: value.clone() for name, value in layer.state_dict().items()}


@contextmanager
def _as_first(model: LinearStages, levels: list[Level]) -> Iterator[None]:
    """The model as the first training left it, for a while."""
    now = [_filled(model, stage) for stage in range(len(levels))]
    try:
        for stage, level in enumerate(levels):
            _layer(model, stage).load_state_dict(level.first)
        yield
    finally:
        for stage, values in enumerate(now):
            _layer(model, stage).load_state_dict(values)


def _digest(model: LinearStages) -> str:
    """What tells the weights of a model from others."""
    layers = [_layer(model, stage) for stage in range(model.num_steps)]
    return fingerprint(
        {str(stage): layer.weight.detach().flatten()[None] for stage, layer in enumerate(layers)}
    )


def _spread(source: StageRows, stage: int, train: Samples, val: Samples | None) -> Spread:
    """How far the levels that are filled leave held-out samples, from starts of training."""
    problem = source.model.problem
    sums: tuple[Tensor, Tensor, Tensor] | None = None
    for part in source.prepared(train if val is None else val, held_out=val is not None):
        for _ in range(source.repeats):
            left = problem.local(source.reached(stage, part), part.target).double()
            check_finite({f"update that is missing in stage {stage}": left}, part.rows)
            known = torch.ones_like(left) if part.weights is None else part.weights.double().sqrt()
            seen = known * left
            own = (known.mT @ known, (known * seen).sum(0), seen.mT @ seen)
            sums = own if sums is None else (sums[0] + own[0], sums[1] + own[1], sums[2] + own[2])
    if sums is None:
        raise DescentError("samples: expected one or more for every rank, got none for one of them")
    counts, first, second = (ranks.summed(source.fabric, value) for value in sums)
    check_known(counts.diagonal().sum().item())
    mean = (first / counts.diagonal()).where(counts.diagonal() > 0, 0)
    covariance = (second / counts - mean.outer(mean)).where(counts > 0, 0)
    variances, vectors = torch.linalg.eigh(covariance)
    return Spread(mean, vectors * variances.clamp(min=0).sqrt())


def _as_known(problem: Problem, batch: Batch, target: Tensor, weights: Tensor) -> Tensor:
    """The truth; what is not known of it stays as it is at the start of testing."""
    start = problem.initial(batch)
    return problem.retract(start, problem.local(start, target).where(weights > 0, 0))


def _descended(model: LinearStages, stage: int, batch: Batch, seen: Batch, draws: Draws) -> Tensor:
    """A start of training, as the levels before a stage leave it."""
    start = draws(lambda ones, draw: {"x": model.problem.initial(ones, draw)}, batch)["x"]
    return model.descend(seen, start, num_steps=stage).final


def _simulated(problem: Problem, spread: Spread, truth: Tensor, draws: Draws) -> Tensor:
    """The truth, disturbed as the level before would."""
    mean, root = (value.to(truth.device) for value in spread)

    def noise(ones: Batch, draw: Generator) -> Batch:
        size = len(ones["x"]), len(mean)
        return {
            "x": torch.randn(size, generator=draw, dtype=mean.dtype, device=mean.device) @ root.mT
        }

    left = mean + draws(noise, {"x": truth})["x"]
    return problem.retract(truth, -left.to(truth.dtype))
