"""What an observation sees from several places around ``x``."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from ..data.samples import Batch
from ..observation import Beside, Observation
from ..problem import Problem


@final
class Around(Observation):
    """The features of another observation at candidates around ``x``, candidate after candidate.

    In step ``k`` the candidates are ``retract(x, offsets[k, m])``; the steps after the last one
    take its offsets.

    Args:
        inner: what looks at each candidate.
        problem: the geometry.
        num_steps: the number ``T`` of steps that have offsets of their own.
        num_candidates: the number ``M`` of candidates.
        num_updates: the size ``d`` of an update.

    Attributes:
        offsets: where the candidates are, ``(T, M, d)``; zero until they are trained.

    Example:
        >>> from learned_descent.problems import Analytic
        >>> problem = Analytic("sin")
        >>> eyes = Around(problem.observation(), problem, 1, 3, 1)
        >>> batch = problem.data("test")
        >>> eyes(problem.initial(batch), eyes.prepare(batch)).shape
        torch.Size([41, 3])
    """

    offsets: Tensor

    def __init__(
        self,
        inner: Observation,
        problem: Problem,
        num_steps: int,
        num_candidates: int,
        num_updates: int,
    ) -> None:
        super().__init__()
        self.inner = inner
        self.geometry = Beside(problem)
        self.register_buffer("offsets", torch.zeros(num_steps, num_candidates, num_updates))

    @property
    def differentiable(self) -> bool:  # type: ignore[override]
        """As the inner one is."""
        return self.inner.differentiable

    def prepare(self, batch: Batch) -> Batch:
        return self.inner.prepare(batch)

    def forward(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        return self.observe(0, x, batch)

    def observe(self, k: int, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        problem = self.geometry.module
        offsets = self.offsets[min(k, len(self.offsets) - 1)].to(x)
        places = (problem.retract(x, offset.expand(len(x), -1)) for offset in offsets)
        # One after the other: a batch of all would hold a copy of every map for each candidate,
        # and takes three times as long on a CPU
        return torch.cat([self.inner.observe(k, place, batch) for place in places], 1)

    def in_words(self) -> str:
        return f"{self.inner.in_words()} around x"
