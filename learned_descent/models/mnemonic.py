"""Mnemonic descent: one recurrent step, shared by all iterations."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, TypeAlias, final

from jaxtyping import Float
from torch import Tensor, nn

from ..errors import check_choice, check_real, check_whole
from ..look import device_of, eyes_of, probe
from ..model import DescentModel, State, check_features
from ..observation import Observation
from ..problem import Problem

Cell: TypeAlias = Literal["tanh", "gru", "lstm"]
"""What carries the memory from step to step."""

_CELLS = {"tanh": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}


class LSTMState(NamedTuple):
    """The memory of ``cell="lstm"``: what the update is made of, and what is kept behind the gates,
    ``(B, H)`` each.
    """

    told: Tensor
    kept: Tensor


@final
class MnemonicDescent(DescentModel):
    """The recurrent descent: a memory carries what was seen from step to step, and one set of
    weights serves all steps.

    ``h <- cell(features, h)``, ``delta = W h + b``. An untrained model returns its start.

    Args:
        problem: the geometry.
        observation: the eyes, trained together with the memory where they hold weights.
        num_features: the size ``F`` of the features.
        num_updates: the size ``d`` of an update.
        num_steps: the number ``T`` of steps; any other may be asked for in the call.
        hidden: the size ``H`` of the memory.
        cell: ``"tanh"`` as in the paper, or ``"gru"`` or ``"lstm"``, whose gates decide what of
            the memory stays.
        memory: whether the state lives on from step to step; without it every step starts from
            zero, which shows what the memory is worth.
        dropout: the share of the features that training hides from each step. It is no part of
            :meth:`settings`: a stored model does without.

    Raises:
        DescentError: if a size is below 1, ``cell`` is another word, or ``dropout`` is no share.

    References:
        G. Trigeorgis, P. Snape, M. Nicolaou, E. Antonakos and S. Zafeiriou. Mnemonic descent
        method: a recurrent process applied for end-to-end face alignment. CVPR 2016, eqs. 5 and 6.
        S. Hochreiter and J. Schmidhuber. Long short-term memory. Neural Computation 9, 1997.
        K. Cho et al. Learning phrase representations using RNN encoder-decoder for statistical
        machine translation. EMNLP 2014, eqs. 5 to 8 (GRU).

        Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov. Dropout: a simple way to
        prevent neural networks from overfitting. JMLR 15, 2014.

    Example:
        >>> from learned_descent import MnemonicDescent
        >>> from learned_descent.problems import Analytic
        >>> problem = Analytic("sin")
        >>> model = MnemonicDescent.for_problem(problem, hidden=8)
        >>> model(problem.data("test"), num_steps=6, keep_states=True).states.shape
        torch.Size([6, 41, 8])
    """

    def __init__(
        self,
        problem: Problem,
        observation: Observation,
        num_features: int,
        num_updates: int,
        *,
        num_steps: int = 4,
        hidden: int = 512,
        cell: Cell = "tanh",
        memory: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(problem, observation, num_steps)
        for name, size in (
            ("num_features", num_features),
            ("num_updates", num_updates),
            ("hidden", hidden),
        ):
            check_whole(size, name=name)
        check_choice(cell, Cell, name="cell")
        check_real(dropout, name="dropout", below=1)
        self.num_features = num_features
        self.num_updates = num_updates
        self.hidden = hidden
        self.memory = memory
        self.dropout = nn.Dropout(dropout)
        self.cell_name: Cell = cell
        self.cell = _CELLS[cell](num_features, hidden)
        # PyTorch draws input weights within 1 / sqrt(H) however many there are: beyond 16 H
        # features tanh would saturate.
        self.cell.weight_ih.data *= min(1.0, 4 * math.sqrt(hidden / num_features))
        self.update = nn.Linear(hidden, num_updates)
        nn.init.zeros_(self.update.weight)
        nn.init.zeros_(self.update.bias)

    @classmethod
    def for_problem(
        cls,
        problem: Problem,
        *,
        num_steps: int = 4,
        hidden: int = 512,
        cell: Cell = "tanh",
        memory: bool = True,
        dropout: float = 0.0,
        observation: Observation | None = None,
    ) -> MnemonicDescent:
        """An untrained model of the right sizes, found by one training sample of the problem.

        Args:
            problem: the task.
            num_steps: the number ``T`` of steps.
            hidden: the size ``H`` of the memory.
            cell: ``"tanh"``, ``"gru"`` or ``"lstm"``.
            memory: whether the state lives on from step to step.
            dropout: the share of the features that training hides from each step.
            observation: the eyes; ``None`` takes the problem's own.
        """
        observation = eyes_of(problem) if observation is None else observation
        num_features, num_updates = probe(problem, observation)
        options: dict[str, Any] = {
            "num_steps": num_steps,
            "hidden": hidden,
            "cell": cell,
            "memory": memory,
        }
        model = cls(problem, observation, num_features, num_updates, dropout=dropout, **options)
        return model.to(device_of(problem))

    def init_state(self, x: Float[Tensor, "B p"]) -> State:
        zeros = x.new_zeros(x.shape[0], self.hidden)
        return LSTMState(zeros, zeros) if self.cell_name == "lstm" else zeros

    def step(
        self, k: int, features: Float[Tensor, "B F"], state: State
    ) -> tuple[Float[Tensor, "B d"], State]:
        check_features(features, self.num_features, self.cell.weight_ih, k)
        state = self.cell(self.dropout(features), state if self.memory else None)
        if self.cell_name == "lstm":
            state = LSTMState(*state)
            return self.update(state.told), state
        return self.update(state), state

    def settings(self) -> dict[str, Any]:
        sizes = {"num_features": self.num_features, "num_updates": self.num_updates}
        return (
            sizes
            | super().settings()
            | {"hidden": self.hidden, "cell": self.cell_name, "memory": self.memory}
        )
