"""Back-propagation through time: one loop for cascades and recurrent models."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, final

import torch
from torch import Generator, Tensor, nn

from ..data.batches import (
    RandomBatches,
    batches,
    check_finite,
    fingerprint,
    mix,
    num_samples,
    training_batches,
)
from ..data.samples import Batch, Samples, floating_type
from ..errors import DescentError, check_choice, check_real, check_whole
from ..files import load_state, save_state
from ..model import DescentModel, Detach
from ..system.lock import locked
from ..system.progress import progress_bar
from . import ranks
from .average import MovingAverage
from .doubts import doubts_of_bptt, say
from .ranks import Accelerator
from .trainer import (
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

CHECKPOINT, LOG = "checkpoint.safetensors", "log.csv"
"""What a training keeps in its directory."""


@final
@dataclass(frozen=True)
class BackpropThroughTime(Trainer):
    """Trains any model end to end by the gradient of the loss after every step of the unrolled descent.

    AdamW with linear warm-up and cosine decay to zero; the weights that are validated, kept and returned are an exponential
    moving average (EMA). All that is random depends on the seed, the iteration and the rank alone, so a resumed training
    equals an uninterrupted one.

    Args:
        iterations: the number of weight updates.
        batch_size: samples per update, over all ranks.
        lr: the largest learning rate.
        weight_decay: AdamW's decay of the weights.
        warmup: share of the iterations in which the learning rate rises.
        step_weights: weight of the loss after each step; ``None`` for ones.
        detach: where back-propagation is cut, see :data:`learned_descent.model.Detach`.
        clip: the largest norm of a gradient; ``None`` for no limit.
        ema: decay of the moving average of the weights; 0 for none.
        precision: Fabric's name: ``"32-true"``, ``"bf16-mixed"``, ``"64-true"``, ...
        accelerator: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        devices: devices of this machine; ``torchrun`` decides where it is used.
        compile: whether ``torch.compile`` translates the unrolled descent.
        validate_every: iterations between two validations, log lines and checkpoints; 0 for twenty in all.
        directory: where ``log.csv`` and ``checkpoint.safetensors`` are kept, for this training alone; ``None`` for nowhere.
        resume: whether to go on from the checkpoint in ``directory``, if there is one.

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

    iterations: int = 2000
    batch_size: int = 32
    lr: float = 1e-3
    weight_decay: float = 1e-4
    warmup: float = 0.05
    step_weights: tuple[float, ...] | None = None
    detach: Detach = "none"
    clip: float | None = 1.0
    ema: float = 0.999
    precision: Precision = "32-true"
    accelerator: Accelerator = "auto"
    devices: int = 1
    compile: bool = False
    validate_every: int = 0
    directory: str | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        for name in ("iterations", "batch_size", "devices"):
            check_whole(getattr(self, name), name=name)
        check_whole(self.validate_every, name="validate_every", least=0)
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
        if self.resume and self.directory is None:
            raise DescentError("resume: expected a directory that holds the checkpoint, got directory=None")

    def fit(self, model: DescentModel, train: Samples, val: Samples | None = None, *, seed: int = 0) -> History:
        """Trains ``model`` in place; the best validated weights stay, or the last ones where there is no validation.

        The weights that it starts from take part, so a training never ends worse on ``val`` than it began.

        Args:
            model: the model; its problem's buffers stay as they are.
            train: training samples.
            val: held-out samples, validated after every step of the descent.
            seed: the seed of batches, starts and augmentation.

        Returns:
            One record per validation: ``iteration``, mean ``loss`` since the last (none before the first iteration), ``lr``,
            ``seconds`` and ``val_error``, the mean error at the start and after each step.

        Raises:
            DescentError: if a sample or a loss is not finite, ``step_weights`` has another length than the steps, a
                checkpoint belongs to another training or would be replaced, or ``directory`` is in use by another process.
        """
        with locked(self.directory):
            checkpoint = self._checkpoint()
            if checkpoint and checkpoint.exists() and not self.resume:
                raise DescentError(
                    f"{checkpoint}: is there already: give resume=True to go on from it, another directory, or remove it"
                )
            with in_own_precision(model):
                return self._fit(model, train, val, seed)

    def check_checkpoint(self, model: DescentModel, train: Samples, *, seed: int = 0) -> None:
        """Refuses a checkpoint that this training cannot go on from, before anything is done; without one it does nothing.

        Raises:
            DescentError: if the checkpoint belongs to another training, or is damaged.
        """
        checkpoint = self._checkpoint()
        if self.resume and checkpoint and checkpoint.exists():
            check_identity(checkpoint, load_state(checkpoint)["identity"], self._identity(model, train, seed))

    def _checkpoint(self) -> Path | None:
        return Path(self.directory, CHECKPOINT) if self.directory else None

    def _identity(self, model: DescentModel, train: Samples, seed: int) -> dict[str, Any]:
        """What a checkpoint must agree in with the training that goes on from it."""
        free = ("resume", "directory", "accelerator", "compile")
        return {
            "settings": {name: value for name, value in asdict(self).items() if name not in free},
            "seed": seed,
            "parameters": [list(weight.shape) for weight in model.parameters() if weight.requires_grad],
            "data": fingerprint(train) if self.directory else "",
        }

    def _fit(self, model: DescentModel, train: Samples, val: Samples | None, seed: int) -> History:  # noqa: C901 - one loop, from top to bottom
        weights = [1.0] * model.num_steps if self.step_weights is None else list(self.step_weights)
        if len(weights) != model.num_steps:
            raise DescentError(f"step_weights: expected one for each of the {model.num_steps} steps, got {len(weights)}")
        train, val = entered(model, train, val, gradients=True)
        count = num_samples(train)
        fabric = ranks.launch(self.accelerator, self.devices, self.precision)
        model.to(fabric.device)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        fused = self.precision != "16-mixed"  # whose scaled gradients could not be clipped
        optimizer = torch.optim.AdamW(trained, lr=self.lr, weight_decay=self.weight_decay, fused=fused)
        objective: nn.Module = _Objective(model, weights, self.detach)
        runner, optimizer = fabric.setup(torch.compile(objective) if self.compile else objective, optimizer)  # type: ignore[arg-type]
        average = MovingAverage(trained, self.ema)
        every = self.validate_every or max(1, self.iterations // 20)
        history, best, start = History(), math.inf, 0
        best_weights: list[Tensor] | None = None
        identity = self._identity(model, train, seed)
        checkpoint = self._checkpoint()
        if self.resume and checkpoint and checkpoint.exists():
            state = load_state(checkpoint)
            check_identity(checkpoint, state["identity"], identity)
            start, best, best_weights = state["iteration"], state["best"], state["best_weights"]
            history = History(state["records"], state["seconds"], state["best_step"])
            optimizer.load_state_dict(laid_out(state["optimizer"], trained))
            for values, targets in ((state["weights"], trained), (state["average"], average.values)):
                for value, target in zip(values, targets):
                    target.data.copy_(value)
        generator = Generator(fabric.device)
        own_devices = [fabric.device] if fabric.device.type == "cuda" else []
        rank, world = fabric.global_rank, fabric.world_size
        sampler = RandomBatches(count, self.batch_size, seed=seed, start=start, stop=self.iterations, rank=rank, world=world)
        begun, total, since = time.perf_counter() - history.seconds, torch.zeros((), device=fabric.device), 0
        progress = progress_bar(desc="bptt", total=self.iterations, initial=start, disable=rank > 0)

        def note(iteration: int, loss: float | None) -> None:
            nonlocal best, best_weights
            record: dict[str, Any] = {"iteration": iteration, "loss": loss, "lr": self._rate(max(0, iteration - 1))}
            if val is not None:
                with average.in_place():
                    record["val_error"] = self._validate(fabric, model, val)
                if record["val_error"][-1] < best:
                    best, history.best_step = record["val_error"][-1], iteration
                    best_weights = [parameter.clone() for parameter in average.values]
            progress.set_postfix({"loss": loss, **({"val": record["val_error"][-1]} if val is not None else {})})
            record["seconds"] = history.seconds = time.perf_counter() - begun
            history.records.append(record)
            model.train()

        if start == 0 and val is not None:
            note(0, None)  # what a training started from may stay the best
        model.train()
        for iteration, (indices, batch) in enumerate(training_batches(train, sampler, fabric.device, trained[0].dtype), start):
            for group in optimizer.param_groups:
                group["lr"] = self._rate(iteration)
            generator.manual_seed(mix(seed, iteration, rank))
            with solvable(indices), torch.random.fork_rng(devices=own_devices):  # dropout draws from the generator of all
                torch.manual_seed(mix(seed, iteration, rank, 1))
                batch = model.problem.augment(batch, generator)
                losses = runner(batch, generator)
            if not losses.isfinite().all():
                check_finite({**batch, "target": model.problem.target(batch)}, indices)
                bad = [indices[row] for row in (~losses.isfinite()).nonzero().flatten().tolist()]
                raise DescentError(f"iteration {iteration}: the loss of samples {bad[:10]} is not finite; lower lr or clip")
            fabric.backward(losses.mean())
            if self.clip is not None:
                fabric.clip_gradients(runner, optimizer, max_norm=self.clip, error_if_nonfinite=False)
            optimizer.step()
            optimizer.zero_grad()
            average.update(iteration)
            total, since = total + losses.detach().mean(), since + 1
            progress.update()
            if (iteration + 1) % every and iteration + 1 < self.iterations:
                continue
            note(iteration + 1, total.item() / since)
            total, since = torch.zeros_like(total), 0
            if checkpoint and fabric.is_global_zero:
                state = {
                    "identity": identity, "iteration": iteration + 1, "best": best, "best_step": history.best_step,
                    "best_weights": best_weights, "records": history.records, "seconds": history.seconds,
                    "optimizer": optimizer.state_dict(), "weights": trained, "average": average.values,
                }  # fmt: skip
                save_state(checkpoint, state)
                history.write_csv(checkpoint.with_name(LOG))
        progress.close()
        for parameter, value in zip(trained, average.values if best_weights is None else best_weights):
            parameter.data.copy_(value)
        model.eval()
        history.doubts = doubts_of_bptt(history.records)
        if rank == 0:
            say(history.doubts)
        return history

    def _rate(self, iteration: int) -> float:
        warm = self.warmup * self.iterations
        if iteration < warm:
            return self.lr * (iteration + 1) / (warm + 1)
        return self.lr * 0.5 * (1 + math.cos(math.pi * (iteration - warm) / max(1.0, self.iterations - warm)))

    @torch.no_grad()
    def _validate(self, fabric: ranks.Fabric, model: DescentModel, val: Samples) -> list[float]:
        """The mean error at the start and after each step, over the samples of all ranks."""
        model.eval()
        sums = torch.zeros(model.num_steps + 2, dtype=torch.float64, device=fabric.device)
        place: dict[str, Any] = {"device": fabric.device, "dtype": floating_type(model.parameters())}
        for batch in batches(val, self.batch_size, rank=fabric.global_rank, world=fabric.world_size, **place):
            with fabric.autocast():
                xs = model(batch).xs
            errors = torch.stack([model.problem.error(x, batch) for x in xs])
            sums[:-1] += errors.sum(1)
            sums[-1] += errors.shape[1]
        if fabric.world_size > 1:
            sums = fabric.all_reduce(sums, reduce_op="sum")  # type: ignore[assignment]
        return (sums[:-1] / sums[-1]).tolist()


class _Objective(nn.Module):
    """The loss of each sample: the weighted sum over the steps of the unrolled descent."""

    def __init__(self, model: DescentModel, weights: list[float], detach: Detach) -> None:
        super().__init__()
        self.model, self.weights, self.detach = model, weights, detach

    def forward(self, batch: Batch, generator: Generator) -> Tensor:
        xs = self.model(batch, detach=self.detach, generator=generator).xs[1:]
        problem = self.model.problem
        return torch.stack([weight * problem.loss(x, batch) for weight, x in zip(self.weights, xs)]).sum(0)
