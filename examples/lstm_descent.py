"""Another recurrent cell: mnemonic descent with a long short-term memory.

learned-descent train analytic --family examples/lstm_descent.py:LSTM --out runs/lstm
learned-descent evaluate runs/lstm/model.safetensors --model examples/lstm_descent.py:LSTMDescent
learned-descent compare analytic --families mdm examples/lstm_descent.py:LSTM --out runs/both
"""

from __future__ import annotations

from typing import Any, NamedTuple, final

from torch import Tensor, nn

from learned_descent import BackpropThroughTime, DescentModel
from learned_descent.families import Recipe
from learned_descent.look import eyes_of, probe


class Memory(NamedTuple):
    """What an LSTM tells, and what it keeps, ``(B, H)`` each."""

    told: Tensor
    kept: Tensor


@final
class LSTMDescent(DescentModel):
    """A descent whose memory is that of an LSTM."""

    def __init__(self, problem, observation, sizes, *, num_steps: int, hidden: int) -> None:
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

    def init_state(self, x: Tensor) -> Memory:
        return Memory(*x.new_zeros(2, len(x), self.hidden))

    def step(self, k: int, features: Tensor, state: Memory) -> tuple[Tensor, Memory]:
        memory = Memory(*self.cell(features, state))
        return self.update(memory.told), memory

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"sizes": self.sizes, "hidden": self.hidden}


LSTM = Recipe(LSTMDescent, {"num_steps": 4}, trainers={"bptt": BackpropThroughTime(iterations=500)})
