"""What a sampler draws: true parameters and the data that they make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, final

import torch
from torch import Generator, Tensor

from ..data.batches import mix
from ..data.samples import Split
from ..errors import DescentError, about, calling, check_shape
from .arguments import (
    ROOTS_KEY,
    TRUTH_KEY,
    Arguments,
    as_arguments,
    as_tensor,
    kind_of,
    roots_of,
)

Sampler: TypeAlias = Callable[[Generator, int], Any]
"""Draws samples, ``sampler(generator, count)``: the true ``x (count, p)`` and their data, as
:func:`~learned_descent.least_squares` takes them, noise and all; or these two and the weights of
the residuals, ``(count, m)``, 0 or false for what does not count. The generator is one of the CPU,
and new in each call: with numpy, draw with
``numpy.random.default_rng(generator.initial_seed())``."""

_SPLITS: Mapping[Split, int] = {"train": 0, "val": 1, "test": 2}

_TRIED = 2
"""Samples that are drawn twice, to see whether they are the same."""


class Drawn(NamedTuple):
    """Samples of a sampler, as it gave them.

    Attributes:
        arguments: the data.
        batch: the data, the truth, and the roots of the weights where it gives any.
        kind: the widest precision among them.
    """

    arguments: Arguments
    batch: dict[str, Tensor]
    kind: torch.dtype


@final
@dataclass(frozen=True)
class Sampling:
    """A sampler, and how much of it.

    Attributes:
        sampler: draws the samples.
        count: samples for training; an eighth as many are held out.
        seed: the seed of all of them.

    Example:
        >>> def sampler(generator, count):
        ...     x = torch.rand(count, 2, generator=generator)
        ...     return x, x.sum(1)
        >>> sampling = Sampling(sampler, 64, 0)
        >>> {name: tuple(value.shape) for name, value in sampling.split("val").batch.items()}
        {'data': (8,), '(truth)': (8, 2)}
    """

    sampler: Sampler
    count: int
    seed: int

    def split(self, split: Split) -> Drawn:
        """The samples of a split, always the same ones."""
        count = self.count if split == "train" else self.count // 8
        return self.drawn(mix(self.seed, _SPLITS[split]), count)

    def drawn(self, seed: int, count: int) -> Drawn:
        """Any number of samples.

        Raises:
            DescentError: if the sampler fails, or gives anything but what :data:`Sampler` says.
        """
        with calling("sampler"):
            given: object = self.sampler(Generator().manual_seed(seed), count)
        if not isinstance(given, (tuple, list)) or len(given) not in (2, 3):
            raise DescentError(
                "sampler: expected the true x and their data, (x, data) or (x, data, weights), got "
                f"{_told(given)}"
            )
        arguments = as_arguments(given[1])
        if not arguments.batch:
            raise DescentError("sampler: expected data beside x, got none: nothing tells x")
        batch = {**arguments.batch, TRUTH_KEY: as_tensor(given[0], "sampler: x")}
        _check(batch[TRUTH_KEY], "x", "B p", count)
        for name, value in arguments.batch.items():
            _check(value, name, "B ...", count)
        kind = kind_of(batch.values(), tensors=True)
        if len(given) == 3:
            weights = as_tensor(given[2], "sampler: weights").to(kind)
            _check(weights, "weights", "B m", count)
            with about("sampler"):
                batch[ROOTS_KEY] = roots_of(weights, None, torch.ones_like(weights))
        return Drawn(arguments, batch, kind)

    def check(self) -> None:
        """Refuses a sampler that draws other samples from the same generator.

        Raises:
            DescentError: if it does.
        """
        first, second = (self.drawn(self.seed, _TRIED).batch for _ in range(2))
        if any(not torch.equal(first[name], second[name]) for name in first):
            raise DescentError(
                "sampler: expected the same samples of a generator with the same seed, got others: "
                "draw with it, as in torch.rand(..., generator=generator), or with "
                "numpy.random.default_rng(generator.initial_seed())"
            )


def _check(value: Tensor, name: str, shape: str, count: int) -> None:
    check_shape(value, shape, {"B": count}, name=f"sampler: {name}")
    if not bool(value.isfinite().all()):
        raise DescentError(
            f"sampler: {name}: expected finite numbers, got NaN or infinity: where data do not "
            "count put zeros, and return weights of 0"
        )


def _told(given: object) -> str:
    if isinstance(given, Tensor):
        return f"a tensor {tuple(given.shape)}"
    return type(given).__name__ + (f" of {len(given)}" if isinstance(given, (tuple, list)) else "")
