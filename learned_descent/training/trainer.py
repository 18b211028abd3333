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
            rows: list[dict[str, Any]] = []
            for record in self.records:
                rows.append({})
                for name, value in record.items():
                    several = isinstance(value, list)
                    rows[-1] |= {f"{name}_{step}": item for step, item in enumerate(value)} if several else {name: value}
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
    """Refuses to go on from the checkpoint at ``path`` if it was made with other settings, or another seed, model or data."""
    found["settings"] = {k: tuple(v) if isinstance(v, list) else v for k, v in found["settings"].items()}
    flat, stored_flat = ({**identity, **identity["settings"]} for identity in (wanted, found))
    for name in flat.keys() - {"settings"}:
        value, stored = flat[name], stored_flat.get(name)
        if stored != value:
            raise DescentError(
                f"{path}: cannot resume: the checkpoint was made with {name}={stored!r}, this training has {value!r}; give the "
                "settings of the checkpoint, or another directory"
            )
