"""The interface of a trainer."""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._check import DescentError
from .._files import atomic_write
from ..data import Samples
from ..model import DescentModel


@dataclass
class History:
    """What a training did.

    Attributes:
        records: one mapping of numbers per logged event, in order: stages for the closed form, iterations for gradients.
        seconds: the wall-clock time of the training.
        best_step: the iteration whose weights were kept; ``None`` where there is no choice to make.
    """

    records: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    best_step: int | None = None

    def write_csv(self, path: Path) -> None:
        """Writes the records as a table, atomically; a list of errors becomes one column per step."""

        def write(temporary: Path) -> None:
            rows = []
            for record in self.records:
                row = {name: value for name, value in record.items() if not isinstance(value, list)}
                for name, values in record.items():
                    row.update(
                        {f"{name}_{step}": value for step, value in enumerate(values)} if isinstance(values, list) else {}
                    )
                rows.append(row)
            with temporary.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, rows[0].keys())
                writer.writeheader()
                writer.writerows(rows)

        atomic_write(path, write)


class Trainer(ABC):
    """Changes the weights of a model; never its own settings, so a second ``fit`` forgets the first."""

    @abstractmethod
    def fit(self, model: DescentModel, train: Samples, val: Samples | None = None, *, seed: int = 0) -> History:
        """Trains ``model`` in place.

        Args:
            model: the model.
            train: training samples.
            val: held-out samples, for choosing settings or weights.
            seed: the seed of all that is random.

        Returns:
            What happened, for plots and logs.
        """


def check_identity(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuses to go on from the checkpoint at ``path`` if it was made with other ``settings``, ``seed`` or ``data``."""
    found["settings"] = {k: tuple(v) if isinstance(v, list) else v for k, v in found["settings"].items()}
    for name, value in {**wanted["settings"], "seed": wanted["seed"], "data": wanted["data"]}.items():
        stored = found["settings"].get(name, found.get(name))
        if stored != value:
            raise DescentError(
                f"{path}: cannot resume: the checkpoint was made with {name}={stored!r}, this training has {value!r}; give the "
                "settings of the checkpoint, or another directory"
            )
