"""The interface of a trainer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any


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
