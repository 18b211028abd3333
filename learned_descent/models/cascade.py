"""A cascade: one map per step, without memory."""

from __future__ import annotations

from typing import Any, final

from jaxtyping import Float
from torch import Tensor, nn

from ..errors import check_whole
from ..look import device_of, eyes_of, probe
from ..model import State, check_features, check_step
from ..observation import Observation
from ..problem import Problem
from .linear_stages import LinearStages


@final
class Cascade(LinearStages):
    """A cascade of ``T`` independent stages, each a linear map of the features or a multi-layer
    perceptron.

    An untrained cascade returns its start: the last layer of every stage is zero.

    Args:
        problem: the geometry.
        observation: the eyes, shared by the stages.
        num_features: the size ``F`` of the features.
        num_updates: the size ``d`` of an update.
        num_steps: the number ``T`` of stages.
        hidden: the size of one hidden layer (ReLU); ``None`` for linear stages, which the closed
            form can train.
        bias: whether the stages have a bias.

    Raises:
        DescentError: if a size is below 1.

    References:
        X. Xiong and F. De la Torre. Supervised descent method and its applications to face
        alignment. CVPR 2013, eq. 9.

    Example:
        >>> from learned_descent import Cascade
        >>> from learned_descent.problems import Analytic
        >>> problem = Analytic("sin")
        >>> model = Cascade.for_problem(problem, num_steps=3)
        >>> model(problem.data("test")).xs.shape
        torch.Size([4, 41, 1])
    """

    def __init__(
        self,
        problem: Problem,
        observation: Observation,
        num_features: int,
        num_updates: int,
        *,
        num_steps: int = 4,
        hidden: int | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__(problem, observation, num_steps)
        sizes = {"num_features": num_features, "num_updates": num_updates} | (
            {} if hidden is None else {"hidden": hidden}
        )
        for name, size in sizes.items():
            check_whole(size, name=name)
        self.num_features = num_features
        self.num_updates = num_updates
        self.hidden = hidden
        self.bias = bias
        last = [nn.Linear(hidden or num_features, num_updates, bias=bias) for _ in range(num_steps)]
        for layer in last:
            nn.init.zeros_(layer.weight)
            if bias:
                nn.init.zeros_(layer.bias)
        self.stages = nn.ModuleList(
            layer
            if hidden is None
            else nn.Sequential(nn.Linear(num_features, hidden), nn.ReLU(), layer)
            for layer in last
        )

    @classmethod
    def for_problem(
        cls,
        problem: Problem,
        *,
        num_steps: int = 4,
        hidden: int | None = None,
        bias: bool = True,
        observation: Observation | None = None,
    ) -> Cascade:
        """An untrained cascade of the right sizes, found by one training sample of the problem.

        Args:
            problem: the task.
            num_steps: the number ``T`` of stages.
            hidden: the size of the hidden layer, or ``None`` for linear stages.
            bias: whether the stages have a bias.
            observation: the eyes; ``None`` takes the problem's own.
        """
        observation = eyes_of(problem) if observation is None else observation
        num_features, num_updates = probe(problem, observation)
        model = cls(
            problem,
            observation,
            num_features,
            num_updates,
            num_steps=num_steps,
            hidden=hidden,
            bias=bias,
        )
        return model.to(device_of(problem))

    def init_state(self, x: Float[Tensor, "B p"]) -> State:
        return None

    def step(
        self, k: int, features: Float[Tensor, "B F"], state: State
    ) -> tuple[Float[Tensor, "B d"], State]:
        check_step(self, k, len(self.stages))
        check_features(features, self.num_features, next(self.stages[k].parameters()), k)
        return self.stages[k](features), None

    def linear(self, k: int) -> nn.Linear | None:
        stage = self.stages[k]
        return stage if isinstance(stage, nn.Linear) else None

    def settings(self) -> dict[str, Any]:
        sizes = {"num_features": self.num_features, "num_updates": self.num_updates}
        return sizes | super().settings() | {"hidden": self.hidden, "bias": self.bias}
