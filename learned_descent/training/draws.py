"""Random draws that each sample has to itself, made for many at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, final

import torch
from torch import Generator

from ..data.batches import index, mix
from ..data.samples import Batch

BLOCK: Final = 16
"""Samples that are drawn at once."""


@final
class Draws:
    """What is drawn for the samples of a batch, whatever else is in it.

    A problem draws for a whole batch from one generator, sample after sample. So each sample has a
    fixed place: number ``n`` of all is row ``n % BLOCK`` of a block that has a generator of its
    own. Rows of a block whose samples are not there are filled with others, and left out of what
    comes back. The draws of a problem that counts what it sees before it draws are not so fixed.

    Args:
        seed: what the generators are seeded with, beside the number of the block.
        places: of the samples among all, in a row.
        device: where they are drawn.

    Example:
        >>> def draw(batch, generator):
        ...     return {"x": torch.rand(len(batch["y"]), generator=generator)}
        >>> few, all = Draws([0], range(30, 33), "cpu"), Draws([0], range(40), "cpu")
        >>> one = few(draw, {"y": torch.zeros(3)})["x"]
        >>> torch.equal(one, all(draw, {"y": torch.zeros(40)})["x"][30:33])
        True
    """

    def __init__(
        self, seed: Sequence[int], places: Sequence[int], device: torch.device | str
    ) -> None:
        first, last = places[0], places[-1]
        self._blocks = []
        for block in range(first // BLOCK, last // BLOCK + 1):
            own = range(block * BLOCK, (block + 1) * BLOCK)
            rows = torch.tensor([min(max(place, first), last) - first for place in own])
            there = slice(max(first - own[0], 0), last + 1 - own[0])
            self._blocks.append((rows, there, Generator(device).manual_seed(mix(*seed, block))))

    def __call__(self, draw: Callable[[Batch, Generator], Batch], batch: Batch) -> Batch:
        """What ``draw`` gives for the samples; another time it draws what comes next."""
        parts = [
            index(draw(index(batch, rows), generator), there)
            for rows, there, generator in self._blocks
        ]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
