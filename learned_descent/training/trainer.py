"""The interface of a trainer."""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ..data.batches import check_finite, check_images, num_samples
from ..data.samples import Batch, Rows, Samples, as_samples, floating_type
from ..errors import DescentError, about
from ..files import atomic_write
from ..look import Objective, look, look_training
from ..model import DescentModel
from ..models import LinearStages

CHECKPOINT, LOG = "checkpoint.safetensors", "log.csv"
"""What a training keeps in its folder."""


@dataclass
class History:
    """What a training did.

    Attributes:
        records: one mapping of numbers per logged event, in order: stages for the closed form,
            iterations for gradients.
        seconds: the wall-clock time of the training.
        best_step: the iteration whose weights were kept; ``None`` where there is no choice to make.
        doubts: what should be looked at, such as an error that rises, in a line each; they are
            logged as warnings too.
    """

    records: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    best_step: int | None = None
    doubts: list[str] = field(default_factory=list)

    def write_csv(self, path: Path) -> None:
        """Writes the records as a table, atomically; a list of errors becomes one column per
        step.
        """

        def write(temporary: Path) -> None:
            rows: list[dict[str, Any]] = []
            for record in self.records:
                rows.append({})
                for name, value in record.items():
                    several = isinstance(value, list)
                    rows[-1] |= (
                        {f"{name}_{step}": item for step, item in enumerate(value)}
                        if several
                        else {name: value}
                    )
            with temporary.open("w", newline="", encoding="utf-8") as file:
                names = dict.fromkeys(name for row in rows for name in row)  # not all have all
                writer = csv.DictWriter(file, names)
                writer.writeheader()
                writer.writerows(rows)

        atomic_write(path, write)


class Trainer(ABC):
    """Changes the weights of a model; never its own settings, so a second ``fit`` forgets the
    first.

    A trainer is a frozen dataclass: its fields are its settings, and options of the commands. Only
    :meth:`fit` must be written; one that takes long, or keeps files to go on from, says so in the
    other methods.
    """

    places: ClassVar[frozenset[str]] = frozenset()
    """Fields that are no settings: where files are kept and whether to go on from them, which the
    command says."""

    closed_form: ClassVar[bool] = False
    """Whether it forgets the weights that it starts from: it is left out where weights are
    given."""

    def check_installed(self) -> None:  # noqa: B027 # most need nothing
        """Refuses a training for which a library is missing, before anything is done."""

    @abstractmethod
    def fit(
        self, model: DescentModel, train: Samples, val: Samples | None = None, *, seed: int = 0
    ) -> History:
        """Trains ``model`` in place.

        Args:
            model: the model.
            train: training samples.
            val: held-out samples, for choosing settings or weights.
            seed: the seed of all that is random.

        Returns:
            What happened, for plots and logs.
        """

    def settings(self) -> dict[str, Any]:
        """Its fields by name, without :attr:`places`."""
        own = fields(self)  # type: ignore[arg-type] # a dataclass, which Recipe sees to
        return {part.name: getattr(self, part.name) for part in own if part.name not in self.places}

    def changed(self, settings: Mapping[str, Any]) -> Trainer:
        """The same trainer with other settings."""
        changed: Trainer = replace(self, **settings)  # type: ignore[type-var]
        return changed

    def sized(self, count: int) -> Trainer:
        """The same trainer with a value for each setting that is ``None`` where it is to follow
        from the number of samples; as it is, where there is no such setting.

        Args:
            count: the number of training samples.
        """
        return self

    def augmenting(self) -> Trainer:
        """The same trainer on samples that go through ``problem.augment``, as they do by
        default: its setting ``augment`` says so, where it has one.
        """
        return self.changed({"augment": True}) if "augment" in self.settings() else self

    def within(self, folder: Path, *, resume: bool) -> Trainer:
        """The same trainer with its files in ``folder``; as it is, where it keeps none."""
        return self

    def files(self) -> tuple[Path, ...]:
        """The files that it keeps, the checkpoint to go on from first; none by default."""
        return ()

    def resumes(self) -> bool:
        """Whether it finds a checkpoint that it goes on from."""
        return False

    def check_checkpoint(self, model: DescentModel, train: Samples, *, seed: int = 0) -> None:
        """Refuses a checkpoint that it cannot go on from, before anything is done."""
        return

    def forecast(self, model: DescentModel, train: Samples, *, seed: int = 0) -> float | None:
        """The seconds that ``fit`` will take, found without changing the model; ``None`` where it
        cannot tell.
        """
        return None


T = TypeVar("T")


def several(value: T | Iterable[T]) -> tuple[T, ...]:
    """The values of a setting that is one of them or several.

    Example:
        >>> several(0.1), several((0.1, 1.0))
        ((0.1,), (0.1, 1.0))
    """
    return tuple(value) if isinstance(value, Iterable) else (value,)


def with_linear_stages(model: DescentModel, trainer: str) -> LinearStages:
    """The model, if every stage of it is linear.

    Args:
        model: any model.
        trainer: what the message calls the trainer.

    Raises:
        DescentError: if one is not.
    """
    if not isinstance(model, LinearStages) or any(
        model.linear(stage) is None for stage in range(model.num_steps)
    ):
        raise DescentError(
            f"{trainer} trains linear stages, such as those of a Cascade with hidden=None, got "
            f"{type(model).__name__}: use BackpropThroughTime"
        )
    return model


def check_identity(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuses to go on from the checkpoint at ``path`` if it was made with other settings, or
    another seed, model or data.
    """
    found["settings"] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in found["settings"].items()
    }
    flat, stored_flat = ({**identity, **identity["settings"]} for identity in (wanted, found))
    for name in flat.keys() - {"settings"}:
        value, stored = flat[name], stored_flat.get(name)
        if stored != value:
            raise DescentError(
                f"{path}: cannot resume: the checkpoint was made with {name}={stored!r}, this "
                f"training has {value!r}; give the settings of the checkpoint, or another directory"
            )


def entered(
    model: DescentModel,
    train: Samples,
    val: Samples | None,
    *,
    gradients: bool,
    loss: Objective | None = None,
    augment: bool = True,
) -> tuple[Batch | Rows, Batch | Rows | None]:
    """The samples of a training, after a first look at all that it needs.

    Args:
        model: the model; it is in evaluation mode afterwards.
        train: training samples.
        val: held-out samples.
        gradients: whether the model is trained by gradients, and not in closed form.
        loss: what they make small; by default the loss of the problem.
        augment: whether the samples go through ``problem.augment``.

    Raises:
        DescentError: if the samples, the problem or the observation are not what they have to be,
            or a sample is not finite.
    """
    if not any(weight.requires_grad or not gradients for weight in model.parameters()):
        raise DescentError(
            f"model: expected one with weights to train, got {type(model).__name__}, which has none"
        )
    own, held = as_samples(train, "train"), None if val is None else as_samples(val, "val")
    for samples in (own,) if held is None else (own, held):
        check_images(model.images, samples)
        if isinstance(samples, Mapping):
            check_finite(samples, list(range(num_samples(samples))))
    look_training(model.eval(), own, gradients=gradients, loss=loss, augment=augment)
    with about("the held-out samples"):
        if held is not None:
            look(
                model.problem,
                held,
                device=next(model.parameters()).device,
                dtype=floating_type(model.parameters()),
            )
    return own, held


@contextmanager
def in_own_precision(model: DescentModel) -> Iterator[None]:
    """Weights and buffers have the types afterwards that they had before, in whatever precision
    they were trained.
    """
    tensors = [
        (module, name, tensor.dtype)
        for module in model.modules()
        for name, tensor in (
            *module.named_parameters(recurse=False),
            *module.named_buffers(recurse=False),
        )
    ]
    try:
        yield
    finally:
        for module, name, kind in tensors:
            tensor: Tensor = getattr(module, name)
            tensor.data = tensor.data.to(kind)


@contextmanager
def solvable(indices: Sequence[int]) -> Iterator[None]:
    """Names the samples of a batch of which a matrix is made that cannot be decomposed.

    Args:
        indices: their positions in the whole set.

    Raises:
        DescentError: if the body raises a ``LinAlgError`` of PyTorch or numpy.

    Example:
        >>> with solvable([3, 8]):  # doctest: +ELLIPSIS
        ...     torch.linalg.cholesky(torch.zeros(2, 2))
        Traceback (most recent call last):
        learned_descent.errors.DescentError: samples [3, 8]: one of them makes a matrix that cannot
        be decomposed ...
    """
    try:
        yield
    except (torch.linalg.LinAlgError, np.linalg.LinAlgError) as error:  # type: ignore[attr-defined]
        raise DescentError(
            f"samples {list(indices)}: one of them makes a matrix that cannot be decomposed "
            f"({error}): remove or mend the one that is degenerate, such as a face whose landmarks "
            "are all in one place"
        ) from error


def laid_out(state: dict[str, Any], parameters: list[nn.Parameter]) -> dict[str, Any]:
    """The state of an optimizer, in whose memory every moment lies as its parameter does.

    A file holds tensors row by row, and the parameters of a convolution need not lie so: the fused
    AdamW goes through memory without a look at strides, and would move a weight by the moments of
    another one.
    """
    moments = {}
    for number, stored in state["state"].items():
        own = parameters[number].detach()
        moments[number] = {
            name: torch.empty_like(own, dtype=value.dtype).copy_(value)
            if value.shape == own.shape
            else value
            for name, value in stored.items()
        }
    return {**state, "state": moments}
