"""The rows that a closed form is made of: what a stage sees, and the update that is missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, final

from torch import Generator, Tensor

from ..data.batches import check_finite, mix, placed_batches
from ..data.samples import Batch, Samples, floating_type
from ..look import weights_of
from ..model import DescentModel
from . import ranks
from .trainer import solvable
from .uneven import WeighedRows


class Prepared(NamedTuple):
    """Samples that a stage is trained on, before the descent to its input.

    Attributes:
        rows: their places in the whole set.
        batch: the samples, or a random variant of them.
        seen: what the observation prepared of them.
        target: the truth, ``(B, p)``.
        weights: what the coordinates of an update count, ``(B, d)``; ``None`` where all count 1.
        generator: draws the starts.
    """

    rows: list[int]
    batch: Batch
    seen: Batch
    target: Tensor
    weights: Tensor | None
    generator: Generator


@final
@dataclass(frozen=True)
class StageRows:
    """Goes through samples for the rows of a stage, on this rank; the same ones each time.

    Attributes:
        fabric: the ranks, which take turns over the batches.
        model: what runs up to the stage.
        seed: the seed of starts and augmentation.
        repeats: random starts per sample and pass, all from one prepared image.
        passes: passes over the samples.
        augment: whether the samples go through ``problem.augment``.
        batch_size: samples that are prepared at a time.
        every: one sample of so many is held out; 0 for none.
    """

    fabric: ranks.Fabric
    model: DescentModel
    seed: int
    repeats: int
    passes: int
    augment: bool
    batch_size: int
    every: int

    def of(self, stage: int, samples: Samples, *, held_out: bool = False) -> Iterator[WeighedRows]:
        """Features, missing updates and what those count, at the input of a stage, start by
        start.

        Args:
            stage: its number.
            samples: the samples.
            held_out: whether they are for a choice, and not for training: neither varied nor
                started from more than once.
        """
        problem, model = self.model.problem, self.model
        for part in self.prepared(samples, held_out=held_out):
            with solvable(part.rows):
                for _ in range(1 if held_out else self.repeats):
                    x = self.reached(stage, part)
                    features = model.observation.observe(stage, x, part.seen)
                    check_finite({f"features of stage {stage}": features}, part.rows)
                    yield WeighedRows(features, problem.local(x, part.target), part.weights)

    def first_updates(self, samples: Samples) -> Iterator[tuple[Tensor, Tensor | None]]:
        """The updates that are missing at the starts of :meth:`of`, and what they count; no sample
        is looked at.
        """
        problem = self.model.problem
        for part in self.prepared(samples, look=False):
            with solvable(part.rows):
                for _ in range(self.repeats):
                    start = problem.initial(part.batch, part.generator)
                    yield problem.local(start, part.target), part.weights

    def reached(self, stage: int, part: Prepared) -> Tensor:
        """The input of a stage, from a random start of each sample, ``(B, p)``."""
        with solvable(part.rows):
            start = self.model.problem.initial(part.batch, part.generator)
            return self.model.descend(part.seen, start, num_steps=stage).final

    def prepared(
        self, samples: Samples, *, held_out: bool = False, look: bool = True
    ) -> Iterator[Prepared]:
        """The samples, batch after batch, see :meth:`of`; what the observation prepares is left out
        where nobody is to ``look``.
        """
        problem, eyes = self.model.problem, self.model.observation
        for number, first, rows, batch in self.parts(samples, held_out=held_out):
            generator = Generator(self.fabric.device).manual_seed(
                mix(self.seed, int(held_out), number, first)
            )
            with solvable(rows):
                if self.augment and not held_out:
                    batch = problem.augment(batch, generator)
                target, seen = problem.target(batch), eyes.prepare(batch) if look else {}
                check_finite({"target": target}, rows)
                weights = weights_of(problem, batch, rows)
            yield Prepared(rows, batch, seen, target, weights, generator)

    def parts(
        self, samples: Samples, *, held_out: bool = False
    ) -> Iterator[tuple[int, int, list[int], Batch]]:
        """The samples as they are, batch after batch: the number of the pass, where the batch
        begins, and the places of its samples.
        """
        rank, world = self.fabric.global_rank, self.fabric.world_size
        place: dict[str, Any] = {
            "device": self.fabric.device,
            "dtype": floating_type(self.model.parameters()),
        }
        for number in range(1 if held_out else self.passes):
            for places, batch in placed_batches(
                samples, self.batch_size, rank=rank, world=world, **place
            ):
                first, rows = places.start, list(places)
                if self.every:
                    keep = [
                        row
                        for row, place in enumerate(rows)
                        if (place % self.every == self.every - 1) == held_out
                    ]
                    if not keep:
                        continue
                    batch = {name: value[keep] for name, value in batch.items()}
                    rows = [rows[row] for row in keep]
                check_finite(batch, rows)
                yield number, first, rows, batch
