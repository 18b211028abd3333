"""Another recurrent cell: mnemonic descent with a long short-term memory.

learned-descent train analytic --family examples/lstm_descent.py:LSTM --out runs/lstm
learned-descent evaluate runs/lstm/model.safetensors --model examples/lstm_descent.py:LSTMDescent
learned-descent compare analytic --families mdm examples/lstm_descent.py:LSTM --out runs/both
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn

from learned_descent import BackpropThroughTime, DescentModel, Observation, Problem
from learned_descent.families import Recipe
from learned_descent.look import eyes_of, probe


@final
class LSTMDescent(DescentModel):
    """A descent whose memory is that of an LSTM: what it tells and what it keeps, side by side,
    ``(B, 2 H)``."""

    def __init__(
        self,
        problem: Problem,
        observation: Observation,
        sizes: tuple[int, int],
        *,
        num_steps: int,
        hidden: int,
    ) -> None:
        super().__init__(problem, observation, num_steps)
        self.sizes, self.hidden = tuple(sizes), hidden
        self.cell = nn.LSTMCell(sizes[0], hidden)
        self.update = nn.Linear(hidden, sizes[1])
        nn.init.zeros_(self.update.weight)  # an untrained model stays at its start
        nn.init.zeros_(self.update.bias)

    @classmethod
    def for_problem(cls, problem, *, observation=None, num_steps: int = 4, hidden: int = 32):
        eyes = eyes_of(problem) if observation is None else observation
        return cls(problem, eyes, probe(problem, eyes), num_steps=num_steps, hidden=hidden)

    def init_state(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x), 2 * self.hidden)

    def step(self, k: int, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        told, kept = self.cell(features, state.chunk(2, dim=1))
        return self.update(told), torch.cat([told, kept], dim=1)

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"sizes": self.sizes, "hidden": self.hidden}


LSTM = Recipe(LSTMDescent, {"num_steps": 4}, trainers={"bptt": BackpropThroughTime(iterations=500)})
