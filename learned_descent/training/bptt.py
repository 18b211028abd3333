"""Back-propagation through time: one loop for cascades and recurrent models."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stderr, suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias, final

import torch
from torch import Generator, Tensor, nn

from ..data.batches import (
    RandomBatches,
    batches,
    check_finite,
    fingerprint,
    first_samples,
    mix,
    num_samples,
    training_batches,
)
from ..data.own_rows import OwnRows
from ..data.samples import Batch, Samples, as_samples, floating_type
from ..errors import DescentError, about, calling, check_choice, check_real, check_whole
from ..files import load_state, save_state
from ..model import MOST_STEPS, DescentModel, Detach
from ..system.crowd import Crowd
from ..system.lock import locked
from ..system.progress import progress_bar
from . import ranks
from .average import MovingAverage
from .callbacks import Callback, CSVLog
from .doubts import doubts_of_bptt, say
from .losses import Loss, ProblemLoss
from .ranks import Accelerator
from .schedules import Cosine, Schedule
from .trainer import (
    CHECKPOINT,
    LOG,
    History,
    Trainer,
    check_identity,
    entered,
    in_own_precision,
    laid_out,
    solvable,
)

Precision: TypeAlias = Literal["32-true", "64-true", "bf16-mixed", "16-mixed"]
"""How Fabric calls the precisions of a training."""

_REHEARSED = 4
"""Iterations of a rehearsal; the first one warms up and is not timed."""

_UPDATES = 8
"""Updates to each training sample, where the number of iterations follows from them."""

_ITERATIONS = (400, 8000)
"""Fewest and most iterations then."""

_BATCH, _STEPS = 0, -1
"""What the generators of an iteration are for: its samples, and the number of its steps."""

_BY_SAMPLE = "by sample"
"""How a checkpoint says that its training drew for each sample what any number of ranks draws."""

_COSINE, _OWN_LOSS = Cosine(), ProblemLoss()


@final
@dataclass(frozen=True)
class BackpropThroughTime(Trainer):
    """Trains any model end to end by the gradient of the loss after every step of the unrolled
    descent.

    AdamW with linear warm-up and then a schedule of the learning rate; the weights that are
    validated, kept and returned are an exponential moving average (EMA). All that is random depends
    on the seed, the iteration and the place of a sample in the batch alone: a resumed training
    equals an uninterrupted one of as many threads, and several ranks equal one to rounding, if the
    problem draws by rows, see :class:`~learned_descent.data.own_rows.OwnRows`.

    Args:
        iterations: the number of weight updates; ``None`` for 8 to each training sample, from 400
            to 8,000.
        batch_size: samples per update, over all ranks.
        lr: the largest learning rate.
        weight_decay: AdamW's decay of the weights.
        warmup: share of the iterations in which the learning rate rises.
        schedule: how it goes on from there: ``cosine``, ``linear``, ``constant``, or one's own
            :class:`Schedule`; on the command line ``file.py:Class``.
        loss: what is made small: ``problem`` for what the problem says, or one's own
            :class:`Loss`; on the command line ``file.py:Class``.
        step_weights: weight of the loss after each step; ``None`` for ones.
        extra_steps: the most steps that a batch is run beyond those of the model, so that more of
            them do no harm later: how many, from 0 to this, is drawn for each batch. They count
            with the last of ``step_weights``. For models that take any number of steps.
        detach: where back-propagation is cut, see :data:`learned_descent.model.Detach`.
        clip: the largest norm of a gradient; ``None`` for no limit.
        ema: decay of the moving average of the weights; 0 for none.
        precision: Fabric's name: ``"32-true"``, ``"bf16-mixed"``, ``"64-true"``, ...
        accelerator: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        devices: devices of this machine; ``torchrun`` decides where it is used.
        compile: whether ``torch.compile`` translates the unrolled descent.
        patience: validations in a row without a smaller error after which it ends; 0 to go on to
            the last iteration.
        validate_every: iterations between two validations, log lines and checkpoints; 0 for twenty
            in all.
        directory: where ``log.csv`` and ``checkpoint.safetensors`` are kept, for this training
            alone; ``None`` for nowhere.
        resume: whether to go on from the checkpoint in ``directory``, if there is one.
        callbacks: what is told of every record; no setting, so a training may go on with other
            ones.

    References:
        G. Trigeorgis et al. Mnemonic descent method. CVPR 2016, section 3.2.

    Example:
        >>> from learned_descent import BackpropThroughTime, MnemonicDescent
        >>> from learned_descent.problems import Analytic
        >>> problem = Analytic("sin")
        >>> model = MnemonicDescent.for_problem(problem, hidden=16)
        >>> trainer = BackpropThroughTime(iterations=50, batch_size=11, accelerator="cpu")
        >>> history = trainer.fit(model, problem.data("train"), problem.data("val"))
        >>> history.records[-1]["val_error"][-1] < history.records[0]["val_error"][0]
        True
    """

    places: ClassVar[frozenset[str]] = frozenset({"directory", "resume", "callbacks"})

    iterations: int | None = 2000
    batch_size: int = 32
    lr: float = 1e-3
    weight_decay: float = 1e-4
    warmup: float = 0.05
    step_weights: tuple[float, ...] | None = None
    extra_steps: int = 0
    detach: Detach = "none"
    clip: float | None = 1.0
    ema: float = 0.999
    precision: Precision = "32-true"
    accelerator: Accelerator = "auto"
    devices: int = 1
    compile: bool = False
    validate_every: int = 0
    patience: int = 0
    directory: str | None = None
    resume: bool = False
    schedule: Schedule = _COSINE
    loss: Loss = _OWN_LOSS
    callbacks: Sequence[Callback] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        for name in ("batch_size", "devices"):
            check_whole(getattr(self, name), name=name)
        if self.iterations is not None:
            check_whole(self.iterations, name="iterations")
        for name in ("validate_every", "patience"):
            check_whole(getattr(self, name), name=name, least=0)
        check_whole(self.extra_steps, name="extra_steps", least=0, most=MOST_STEPS)
        check_real(self.lr, name="lr", positive=True)
        check_real(self.weight_decay, name="weight_decay")
        check_real(self.ema, name="ema", below=1)
        check_real(self.warmup, name="warmup", below=1)
        if self.clip is not None:
            check_real(self.clip, name="clip", positive=True)
        for number in self.step_weights or ():
            check_real(number, name="step_weights")
        check_choice(self.detach, Detach, name="detach")
        check_choice(self.precision, Precision, name="precision")
        check_choice(self.accelerator, Accelerator, name="accelerator")
        if not isinstance(self.schedule, Schedule):
            raise DescentError(
                f"schedule: expected a Schedule, such as Cosine(), got {self.schedule!r}"
            )
        if not isinstance(self.loss, Loss):
            raise DescentError(f"loss: expected a Loss, such as ProblemLoss(), got {self.loss!r}")
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                raise DescentError(f"callbacks: expected instances of Callback, got {callback!r}")
        if self.resume and self.directory is None:
            raise DescentError(
                "resume: expected a directory that holds the checkpoint, got directory=None"
            )

    def fit(
        self, model: DescentModel, train: Samples, val: Samples | None = None, *, seed: int = 0
    ) -> History:
        """Trains ``model`` in place; the best validated weights stay, or the last ones where there
        is no validation.

        The weights that it starts from take part, so a training never ends worse on ``val`` than it
        began.

        Args:
            model: the model; its problem's buffers stay as they are.
            train: training samples.
            val: held-out samples, validated after every step of the descent.
            seed: the seed of batches, starts and augmentation.

        Returns:
            One record per validation: ``iteration``, mean ``loss`` since the last (none before the
            first iteration), ``lr``, ``seconds`` and ``val_error``, the mean error at the start and
            after each step.

        Raises:
            DescentError: if a sample or a loss is not finite, ``step_weights`` has another length
                than the steps, a checkpoint belongs to another training or would be replaced, or
                ``directory`` is in use by another process.
        """
        if self.iterations is None:
            return self._for(train).fit(model, train, val, seed=seed)
        with locked(self.directory):
            checkpoint = self._checkpoint()
            if checkpoint and checkpoint.exists() and not self.resume:
                raise DescentError(
                    f"{checkpoint}: is there already: give resume=True to go on from it, another "
                    "directory, or remove it"
                )
            with in_own_precision(model), Crowd() as crowd:
                training = _Training(self, model, train, val, seed, crowd)
                with ranks.answered(training.fabric):
                    return training.run()

    def check_checkpoint(self, model: DescentModel, train: Samples, *, seed: int = 0) -> None:
        """Refuses a checkpoint that this training cannot go on from, before anything is done;
        without one it does nothing.

        Raises:
            DescentError: if the checkpoint belongs to another training, or is damaged.
        """
        checkpoint = self._checkpoint()
        if checkpoint and self.resumes():
            _checked(checkpoint, self._for(train)._identity(model, train, seed), self.devices)

    def sized(self, count: int) -> BackpropThroughTime:
        """The same trainer with ``iterations`` for so many samples, if it has none.

        Example:
            >>> BackpropThroughTime(iterations=None).sized(100).iterations
            800
        """
        if self.iterations is not None:
            return self
        fewest, most = _ITERATIONS
        return replace(self, iterations=min(max(fewest, _UPDATES * count), most))

    @property
    def num_iterations(self) -> int:
        """The iterations, where they are decided.

        Raises:
            DescentError: if they are to follow from the number of samples.
        """
        if self.iterations is None:
            raise DescentError(
                "iterations: expected a number, got None, which follows from the samples: call "
                "sized(number of samples) before"
            )
        return self.iterations

    def within(self, folder: Path, *, resume: bool) -> BackpropThroughTime:
        return replace(self, directory=str(folder), resume=resume)

    def files(self) -> tuple[Path, ...]:
        return (
            tuple(Path(self.directory, name) for name in (CHECKPOINT, LOG))
            if self.directory
            else ()
        )

    def resumes(self) -> bool:
        checkpoint = self._checkpoint()
        return self.resume and checkpoint is not None and checkpoint.exists()

    def forecast(self, model: DescentModel, train: Samples, *, seed: int = 0) -> float | None:
        """The seconds that it will take, from a rehearsal of a few iterations on a copy of the
        model.

        Returns:
            The seconds; ``None`` where a rehearsal would take as long as the training, would have
            to compile, or fails, or where the training goes on from a checkpoint.
        """
        iterations = self._for(train).num_iterations
        if iterations < 10 * _REHEARSED or self.compile or self.resumes():
            return None
        rehearsal = replace(
            self,
            iterations=_REHEARSED,
            validate_every=1,
            directory=None,
            resume=False,
            callbacks=(),
        )
        # No progress of what is no training
        with (
            suppress(DescentError),
            redirect_stderr(io.StringIO()),
        ):
            records = rehearsal.fit(deepcopy(model), train, seed=seed).records
            pace: float = (records[-1]["seconds"] - records[0]["seconds"]) / (_REHEARSED - 1)
            return pace * iterations
        return None

    def _for(self, train: Samples) -> BackpropThroughTime:
        return self.sized(num_samples(as_samples(train, "train")))

    def _checkpoint(self) -> Path | None:
        return Path(self.directory, CHECKPOINT) if self.directory else None

    def _identity(self, model: DescentModel, train: Samples, seed: int) -> dict[str, Any]:
        """What a checkpoint must agree in with the training that goes on from it."""
        free = ("accelerator", "compile", "devices")
        settings = {name: value for name, value in self.settings().items() if name not in free}
        return {
            "settings": {**settings, "schedule": str(self.schedule), "loss": str(self.loss)},
            "seed": seed,
            "parameters": [
                list(weight.shape) for weight in model.parameters() if weight.requires_grad
            ],
            "data": fingerprint(train) if self.directory else "",
            "drawn": _BY_SAMPLE,
        }

    def _rate(self, iteration: int) -> float:
        iterations = self.num_iterations
        warm = self.warmup * iterations
        if iteration < warm:
            return self.lr * (iteration + 1) / (warm + 1)
        return self.lr * self.schedule.factor(iteration - warm, max(1.0, iterations - warm))


class _Training:
    """One training: what changes while it goes on, and the stages of its loop.

    The weights that are trained, their optimizer and the average are here; what is random is drawn
    anew in every iteration, so there is no state of it to keep.

    Args:
        settings: the trainer.
        model: the model; its weights are trained in place.
        train: training samples.
        val: held-out samples.
        seed: the seed of all that is random.
        crowd: how many threads it takes beside other processes.
    """

    def __init__(
        self,
        settings: BackpropThroughTime,
        model: DescentModel,
        train: Samples,
        val: Samples | None,
        seed: int,
        crowd: Crowd,
    ) -> None:
        weights = (
            [1.0] * model.num_steps
            if settings.step_weights is None
            else list(settings.step_weights)
        )
        if len(weights) != model.num_steps:
            raise DescentError(
                f"step_weights: expected one for each of the {model.num_steps} steps, got "
                f"{len(weights)}"
            )
        self.settings = settings
        self.model = model
        self.seed = seed
        self.crowd = crowd
        loss = None if settings.loss == _OWN_LOSS else settings.loss
        self.train, self.val = entered(model, train, val, gradients=True, loss=loss)
        self.fabric = ranks.launch(settings.accelerator, settings.devices, settings.precision)
        model.to(self.fabric.device)
        if settings.extra_steps:
            self.try_all_steps()
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        fused = settings.precision != "16-mixed"  # whose scaled gradients could not be clipped
        optimizer = torch.optim.AdamW(
            self.trained, lr=settings.lr, weight_decay=settings.weight_decay, fused=fused
        )
        weights += weights[-1:] * settings.extra_steps
        objective: nn.Module = _Objective(model, weights, settings)
        compiled = torch.compile(objective) if settings.compile else objective
        self.runner, self.optimizer = self.fabric.setup(compiled, optimizer)  # type: ignore[arg-type]
        self.average = MovingAverage(self.trained, settings.ema)
        self.generator = Generator(self.fabric.device)
        self.batch_size = min(settings.batch_size, num_samples(self.train))
        self.identity = settings._identity(model, self.train, seed)
        self.checkpoint = settings._checkpoint()
        own = [CSVLog(self.checkpoint.with_name(LOG))] if self.checkpoint else []
        self.callbacks = [*own, *settings.callbacks] if self.fabric.is_global_zero else []
        self.start = 0
        self.history = History()
        self.best = math.inf
        self.best_weights: list[Tensor] | None = None
        # The sum stays on the device, and is read where a record is made.
        self.total = torch.zeros((), device=self.fabric.device)
        self.since = 0

    @torch.no_grad()
    def try_all_steps(self) -> None:
        """Refuses, before anything is trained, a model that cannot take the extra steps."""
        dtype = floating_type(self.model.parameters())
        one = first_samples(self.train, 1, device=self.fabric.device, dtype=dtype)
        with about("extra_steps"):
            self.model(one, num_steps=self.model.num_steps + self.settings.extra_steps)

    def run(self) -> History:
        """The training, from top to bottom."""
        self.restore()
        if not ranks.alike(self.fabric, self.start):
            raise DescentError(
                f"{self.checkpoint}: cannot resume: rank {self.fabric.global_rank} would go on "
                f"from iteration {self.start}, and others from other ones: give a directory that "
                "all nodes share"
            )
        for callback in self.callbacks:
            with calling(f"{type(callback).__name__}.start"):
                callback.start(deepcopy(self.history.records))
        iterations = self.settings.num_iterations
        every = self.settings.validate_every or max(1, iterations // 20)
        self.begun = time.perf_counter() - self.history.seconds
        hidden = self.fabric.global_rank > 0
        self.progress = progress_bar(
            desc="bptt", total=iterations, initial=self.start, disable=hidden
        )
        if self.start == 0 and self.val is not None:
            self.note(0)  # what a training started from may stay the best
            self.tell()
        self.model.train()
        for iteration, (indices, batch) in enumerate(self.batches(), self.start):
            if self.is_stuck():
                break
            self.update(iteration, indices, batch)
            done = iteration + 1
            if done % every == 0 or done == iterations:
                self.note(done)
                self.save(done)
                self.tell()
        self.progress.close()
        return self.finish()

    def restore(self) -> None:
        """Goes on from the checkpoint, if that is wanted and there is one."""
        checkpoint = self.checkpoint if self.settings.resumes() else None
        if checkpoint is None:
            self.crowd.begin()
            return
        state = _checked(checkpoint, self.identity, self.fabric.world_size)
        self.crowd.begin(state.get("threads"))
        self.start, self.best, self.best_weights = (
            state["iteration"],
            state["best"],
            state["best_weights"],
        )
        self.history = History(state["records"], state["seconds"], state["best_step"])
        self.optimizer.load_state_dict(laid_out(state["optimizer"], self.trained))
        for values, targets in (
            (state["weights"], self.trained),
            (state["average"], self.average.values),
        ):
            for value, target in zip(values, targets):
                target.data.copy_(value)

    def batches(self) -> Iterator[tuple[list[int], Batch]]:
        """The batches of this rank that are left, and the positions of their samples."""
        sampler = RandomBatches(
            self.train,
            self.settings.batch_size,
            seed=self.seed,
            start=self.start,
            stop=self.settings.num_iterations,
            rank=self.fabric.global_rank,
            world=self.fabric.world_size,
        )
        return training_batches(self.train, sampler, self.fabric.device, self.trained[0].dtype)

    def update(self, iteration: int, indices: list[int], batch: Batch) -> None:
        """One step of the optimizer."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings._rate(iteration)
        losses = self.losses(iteration, indices, batch)
        # The gradients of ranks are averaged, whatever the number of their samples
        loss = losses.mean() * (len(losses) * self.fabric.world_size / self.batch_size)
        self.fabric.backward(loss)
        clip = self.settings.clip
        if clip is not None:
            self.fabric.clip_gradients(
                self.runner, self.optimizer, max_norm=clip, error_if_nonfinite=False
            )
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update(iteration)
        self.total = self.total + loss.detach()
        self.since += 1
        self.progress.update()
        self.crowd.look()

    def losses(self, iteration: int, indices: list[int], batch: Batch) -> Tensor:
        """The loss of each sample of a batch, refused if it is not finite."""
        device = self.fabric.device
        self.generator.manual_seed(mix(self.seed, iteration, _BATCH))
        # Dropout draws from the generator of all: it is seeded here, and put back afterwards.
        with (
            solvable(indices),
            torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
            self.own_rows(),
        ):
            torch.manual_seed(mix(self.seed, iteration, _BATCH, 1))
            batch = self.model.problem.augment(batch, self.generator)
            losses: Tensor = self.runner(batch, self.generator, self.num_steps(iteration))
        if not losses.isfinite().all():
            check_finite({**batch, "target": self.model.problem.target(batch)}, indices)
            bad = [indices[row] for row in (~losses.isfinite()).nonzero().flatten().tolist()]
            raise DescentError(
                f"iteration {iteration}: the loss of samples {bad[:10]} is not finite; lower lr or "
                "clip"
            )
        return losses

    def own_rows(self) -> AbstractContextManager[object]:
        """Where this rank draws what one that is alone would draw for its samples."""
        rank, world = self.fabric.global_rank, self.fabric.world_size
        if world == 1:
            return nullcontext()
        return OwnRows(range(rank, self.batch_size, world), self.batch_size)

    def num_steps(self, iteration: int) -> int:
        """The steps of a batch, the same on all ranks."""
        extra = self.settings.extra_steps
        return self.model.num_steps + mix(self.seed, iteration, _STEPS) % (extra + 1)

    def note(self, iteration: int) -> None:
        """Validates, keeps the best weights, and adds a record of the updates since the last
        one.
        """
        total = ranks.summed(self.fabric, self.total).item() / self.fabric.world_size
        loss = total / self.since if self.since else None
        record: dict[str, Any] = {
            "iteration": iteration,
            "loss": loss,
            "lr": self.settings._rate(max(0, iteration - 1)),
        }
        shown = {"loss": loss}
        if self.val is not None:
            with self.average.in_place():
                record["val_error"] = self.validate(self.val)
            shown["val"] = error = record["val_error"][-1]
            if error < self.best:
                self.best, self.history.best_step = error, iteration
                self.best_weights = [parameter.clone() for parameter in self.average.values]
        self.progress.set_postfix(shown)
        record["seconds"] = self.history.seconds = time.perf_counter() - self.begun
        self.history.records.append(record)
        self.total = torch.zeros_like(self.total)
        self.since = 0
        self.model.train()

    def is_stuck(self) -> bool:
        """Whether the validation error has not fallen for as long as the patience lasts."""
        patience, best = self.settings.patience, self.history.best_step
        if not patience or best is None:
            return False
        later = [record for record in self.history.records if record["iteration"] > best]
        return len(later) >= patience

    @torch.no_grad()
    def validate(self, val: Samples) -> list[float]:
        """The mean error at the start and after each step, over the samples of all ranks."""
        model, fabric = self.model.eval(), self.fabric
        sums = torch.zeros(model.num_steps + 2, dtype=torch.float64, device=fabric.device)
        place: dict[str, Any] = {
            "device": fabric.device,
            "dtype": floating_type(model.parameters()),
        }
        for batch in batches(
            val, self.settings.batch_size, rank=fabric.global_rank, world=fabric.world_size, **place
        ):
            with fabric.autocast():
                xs = model(batch).xs
            errors = torch.stack([model.problem.error(x, batch) for x in xs])
            sums[:-1] += errors.sum(1)
            sums[-1] += errors.shape[1]
        sums = ranks.summed(fabric, sums)
        return (sums[:-1] / sums[-1]).tolist()

    def save(self, iteration: int) -> None:
        """Writes all that is needed to go on after ``iteration`` updates."""
        if not (self.checkpoint and self.fabric.is_global_zero):
            return
        state = {
            "identity": self.identity,
            "iteration": iteration,
            "best": self.best,
            "best_step": self.history.best_step,
            "best_weights": self.best_weights,
            "records": self.history.records,
            "seconds": self.history.seconds,
            "optimizer": self.optimizer.state_dict(),
            "weights": self.trained,
            "average": self.average.values,
            "threads": self.crowd.threads,
        }
        save_state(self.checkpoint, state)

    def tell(self) -> None:
        """Hands the last record on, when its checkpoint is safe."""
        for callback in self.callbacks:
            with calling(f"{type(callback).__name__}.record"):
                callback.record(deepcopy(self.history.records[-1]))

    def finish(self) -> History:
        """Leaves the best weights in the model, or the last average where there is no
        validation.
        """
        kept = self.average.values if self.best_weights is None else self.best_weights
        for parameter, value in zip(self.trained, kept):
            parameter.data.copy_(value)
        self.model.eval()
        if not self.settings.patience:  # which is there to end where the error rises
            self.history.doubts = doubts_of_bptt(self.history.records)
        if self.fabric.global_rank == 0:
            say(self.history.doubts)
        for callback in self.callbacks:
            with calling(f"{type(callback).__name__}.end"):
                callback.end(deepcopy(self.history))
        return self.history


def _checked(path: Path, identity: dict[str, Any], world: int) -> dict[str, Any]:
    """The state in a checkpoint, refused if it belongs to another training than ``identity``
    says, or to one of several ranks that drew otherwise.
    """
    state: dict[str, Any] = load_state(path)
    most = max(world, state["identity"]["settings"].get("devices", 1))
    # One rank alone drew then what it draws now
    if state["identity"].setdefault("drawn", _BY_SAMPLE if most == 1 else "") != _BY_SAMPLE:
        raise DescentError(
            f"{path}: cannot resume on {most} ranks: an earlier version made it, whose ranks drew "
            "other starts and variants than those of this one: begin anew, in another directory"
        )
    # Written when there was no other
    firsts = {"schedule": str(_COSINE), "loss": str(_OWN_LOSS), "patience": 0, "extra_steps": 0}
    for name, first in firsts.items():
        state["identity"]["settings"].setdefault(name, first)
    check_identity(path, state["identity"], identity)
    return state


class _Objective(nn.Module):
    """The loss of each sample: the weighted sum over the steps of the unrolled descent."""

    def __init__(
        self, model: DescentModel, weights: list[float], settings: BackpropThroughTime
    ) -> None:
        super().__init__()
        self.model, self.weights = model, weights
        self.detach, self.loss = settings.detach, settings.loss

    def forward(self, batch: Batch, generator: Generator, num_steps: int) -> Tensor:
        xs = self.model(batch, num_steps=num_steps, detach=self.detach, generator=generator).xs[1:]
        problem = self.model.problem
        return torch.stack(
            [weight * self.loss(problem, x, batch) for weight, x in zip(self.weights, xs)]
        ).sum(0)
