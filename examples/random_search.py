"""Another trainer: random search, which needs no gradient and keeps every change of the weights
that helps.

learned-descent train analytic --family examples/random_search.py:SEARCHED --out runs/searched
learned-descent compare analytic --families sdm examples/random_search.py:SEARCHED --out runs/both
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from learned_descent import Cascade, DescentModel, History, Trainer
from learned_descent.data.batches import batches
from learned_descent.data.samples import Samples
from learned_descent.families import Recipe


@dataclass(frozen=True)
class RandomSearch(Trainer):
    """Moves all weights at random, and goes back where the samples were better off before."""

    iterations: int = 500
    spread: float = 0.3

    @torch.no_grad()
    def fit(
        self, model: DescentModel, train: Samples, val: Samples | None = None, *, seed: int = 0
    ) -> History:
        begun, history = time.perf_counter(), History()
        generator = torch.Generator().manual_seed(seed)
        weights = [weight for weight in model.eval().parameters() if weight.requires_grad]
        best = parameters_to_vector(weights)
        least = self._loss(model, train)
        for iteration in range(self.iterations):
            step = (
                self.spread * torch.randn(len(best), generator=generator) / (1 + iteration) ** 0.5
            )
            vector_to_parameters(best + step.to(best), weights)
            loss = self._loss(model, train)
            if loss < least:
                best, least = best + step.to(best), loss
            history.records.append({"iteration": iteration, "loss": least})
        vector_to_parameters(best, weights)
        history.seconds = time.perf_counter() - begun
        return history

    def _loss(self, model: DescentModel, train: Samples) -> float:
        """The mean loss after the last step."""
        losses = [model.problem.loss(model(batch).final, batch) for batch in batches(train, 256)]
        return torch.cat(losses).mean().item()


SEARCHED = Recipe(Cascade, {"num_steps": 2}, trainers={"search": RandomSearch()})
