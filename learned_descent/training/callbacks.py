"""What is told of a training while it goes on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeAlias, final, runtime_checkable

from ..errors import DescentError
from .trainer import History

Record: TypeAlias = Mapping[str, Any]
"""One line of the log: ``iteration``, ``loss``, ``lr``, ``seconds`` and ``val_error``, a list with
one number per step."""


class Callback(ABC):
    """Is told of every record of a training, and of its end, by the first rank alone.

    It gets copies: nothing that it does changes the training, or what a checkpoint compares when
    one goes on.
    """

    def start(self, records: Sequence[Record]) -> None:  # noqa: B027 - nothing to do is a choice
        """Is told that a training begins.

        Args:
            records: those of the checkpoint that it goes on from; none where it begins anew.
        """

    @abstractmethod
    def record(self, record: Record) -> None:
        """Is told of a new record, after its checkpoint was written.

        Args:
            record: the mean loss since the last one, the validation errors, and what else the log
                holds.
        """

    def end(self, history: History) -> None:  # noqa: B027 - nothing to do is a choice
        """Is told that the training came to its end; not if it failed or was stopped.

        Args:
            history: what the training returns.
        """


@final
class CSVLog(Callback):
    """A table with a row per record, written anew with each of them, so that it is whole at any
    time.

    Args:
        path: the file; it is replaced.

    Example:
        >>> import tempfile
        >>> log = CSVLog(Path(tempfile.mkdtemp()) / "log.csv")
        >>> log.start([])
        >>> log.record({"iteration": 0, "val_error": [2.0, 1.5]})
        >>> print(log.path.read_text())
        iteration,val_error_0,val_error_1
        0,2.0,1.5
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._history = History()

    def start(self, records: Sequence[Record]) -> None:
        self._history = History([dict(record) for record in records])

    def record(self, record: Record) -> None:
        self._history.records.append(dict(record))
        self._history.write_csv(self.path)


@runtime_checkable
class Logger(Protocol):
    """What Lightning's loggers can do, of Fabric and of PyTorch Lightning alike."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Logs numbers by name."""

    def save(self) -> None:
        """Writes what was logged."""

    def finalize(self, status: str) -> None:
        """Is told how it ended."""


@final
class LightningLog(Callback):
    """Hands each record to a logger of Lightning; a list of errors becomes one number per step.

    Args:
        logger: one of ``lightning_fabric.loggers`` or ``pytorch_lightning.loggers``.

    Example:
        >>> import tempfile
        >>> from lightning_fabric.loggers import CSVLogger
        >>> log = LightningLog(CSVLogger(tempfile.mkdtemp()))
        >>> log.record({"iteration": 100, "loss": 0.5, "val_error": [2.0, 1.5]})
        >>> print(Path(log.logger.log_dir, "metrics.csv").read_text())
        loss,step,val_error_0,val_error_1
        0.5,100,2.0,1.5
    """

    def __init__(self, logger: Logger) -> None:
        self.logger = logger

    def record(self, record: Record) -> None:
        numbers: dict[str, float] = {}
        for name, value in record.items():
            if isinstance(value, list):
                numbers |= {f"{name}_{step}": item for step, item in enumerate(value)}
            # There is no loss before the first iteration
            elif value is not None and name != "iteration":
                numbers[name] = value
        self.logger.log_metrics(numbers, step=record["iteration"])
        self.logger.save()

    def end(self, history: History) -> None:
        self.logger.finalize("success")


def tensorboard(directory: str | Path, name: str = "") -> LightningLog:
    """A log for TensorBoard, through Fabric's logger; needs the extra ``logging``.

    Args:
        directory: the folder that ``tensorboard --logdir`` gets.
        name: a folder within it, for trainings side by side; each training gets a new one below.

    Raises:
        DescentError: if neither ``tensorboard`` nor ``tensorboardX`` is installed.
    """
    logger = _needed("lightning_fabric.loggers", "TensorBoardLogger", "tensorboard")
    try:
        return LightningLog(logger(str(directory), name))
    except ModuleNotFoundError as error:
        raise _missing("tensorboard") from error


def weights_and_biases(
    project: str, *, directory: str | Path = ".", name: str | None = None
) -> LightningLog:
    """A log for Weights & Biases, through the logger of PyTorch Lightning; needs the extra
    ``logging``.

    Where the runs go, and whether anything leaves this machine, is told by ``WANDB_MODE`` and the
    like.

    Args:
        project: the project.
        directory: where files are kept.
        name: the name of the run; by default one is made up.

    Raises:
        DescentError: if ``wandb`` or ``pytorch-lightning`` is not installed.
    """
    logger = _needed("pytorch_lightning.loggers", "WandbLogger", "pytorch-lightning")
    try:
        return LightningLog(logger(name=name, save_dir=str(directory), project=project))
    except ModuleNotFoundError as error:
        raise _missing("wandb") from error


def _needed(module: str, name: str, package: str) -> Any:
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        raise _missing(package) from error


def _missing(package: str) -> DescentError:
    return DescentError(
        f"{package}: is not installed, and this log needs it: pip install "
        "'learned-descent[logging]', or give another callback"
    )
