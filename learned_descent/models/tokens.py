"""Tokens: one for every landmark, which attend to each other in every step."""

from __future__ import annotations

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import DescentError, check_whole
from ..look import count_points, device_of, eyes_of, probe
from ..model import DescentModel, State, check_features
from ..observation import ImageObservation, Observation
from ..problem import Problem


@final
class _OwnLinear(nn.Module):
    """A linear layer for each of ``n`` tokens: ``(B, n, I)`` to ``(B, n, O)``."""

    def __init__(self, num_tokens: int, inputs: int, outputs: int) -> None:
        super().__init__()
        reach = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(num_tokens, inputs, outputs).uniform_(-reach, reach))
        self.bias = nn.Parameter(torch.empty(num_tokens, outputs).uniform_(-reach, reach))

    def forward(self, tokens: Float[Tensor, "B n I"]) -> Float[Tensor, "B n O"]:
        return torch.einsum("bni,nio->bno", tokens, self.weight) + self.bias


@final
class Tokens(DescentModel):
    """One token a landmark: what is seen there, which landmark it is, and what it knew before; the
    tokens attend to each other, and each gives the update of its own landmark.

    ``t_i <- encoder(norm(E_i f_i + p_i) + t_i)`` over all ``i`` at once, ``delta_i = W_i t_i +
    b_i``. A landmark has its own maps ``E_i, p_i`` into its token and ``W_i, b_i`` out of it; the
    encoder is that of a transformer, shared by the landmarks. All is shared by the steps. An
    untrained model returns its start.

    Where the observation looks at no points in an image, there is one token for each number of an
    update, and each of them gets all features.

    Left open by the paper, or decided in another way:

    * As in the code that its authors released, one encoder serves all steps, and the patches halve
      from step to step (``shrinking`` of :class:`~learned_descent.observations.ConvolutionalMap`).
    * There landmarks share the maps into and out of their tokens, and a learnt query tells them
      apart. Here each has its own, so that attention which is the same for all of them, as it is at
      first, already adds up what each landmark sees in its own way: with shared maps the first
      hundreds of updates teach little.
    * The memory is that of mnemonic descent; the paper has none.

    Args:
        problem: the geometry.
        observation: the eyes, trained together with the tokens where they hold weights.
        num_features: the size ``F`` of the features: those of the first landmark, the second, ...
        num_updates: the size ``d`` of an update, in the same order.
        num_tokens: the number ``n`` of tokens.
        num_steps: the number ``T`` of steps; any other may be asked for in the call.
        hidden: numbers of a token.
        layers: layers of the encoder.
        heads: heads of the attention of a layer.
        memory: whether a token lives on from step to step; without it every step starts anew.
        split: whether a token gets its own part of the features; all of them otherwise.

    Raises:
        DescentError: if a size is below 1, the heads do not divide ``hidden``, or the tokens do
            not divide the features or the updates.

    References:
        J. Xia, W. Qu, W. Huang, J. Zhang, X. Wang and M. Xu. Sparse local patch transformer for
        robust face alignment and landmarks inherent relation learning. CVPR 2022, section 3.

    Example:
        >>> from learned_descent.problems import Analytic
        >>> problem = Analytic("sin")
        >>> model = Tokens.for_problem(problem, hidden=8)
        >>> model(problem.data("test")).xs.shape
        torch.Size([5, 41, 1])
    """

    def __init__(
        self,
        problem: Problem,
        observation: Observation,
        num_features: int,
        num_updates: int,
        num_tokens: int,
        *,
        num_steps: int = 4,
        hidden: int = 64,
        layers: int = 2,
        heads: int = 4,
        memory: bool = True,
        split: bool = True,
    ) -> None:
        super().__init__(problem, observation, num_steps)
        self.sizes = {
            "num_features": num_features,
            "num_updates": num_updates,
            "num_tokens": num_tokens,
            "hidden": hidden,
            "layers": layers,
            "heads": heads,
        }
        for name, size in self.sizes.items():
            check_whole(size, name=name)
        if hidden % heads:
            raise DescentError(
                f"hidden: expected a multiple of the {heads} heads of the attention, got {hidden}"
            )
        parts = {"updates": num_updates} | ({"features": num_features} if split else {})
        for name, size in parts.items():
            if size % num_tokens:
                raise DescentError(
                    f"expected as many {name} for each of the {num_tokens} points of the "
                    f"observation, got {size}: take an observation of which each point has its own "
                    "part, and a problem whose updates are those of the points, or another family"
                )
        self.num_features, self.num_tokens = num_features, num_tokens
        self.hidden, self.memory, self.split = hidden, memory, split
        seen = num_features // num_tokens if split else num_features
        self.embed = _OwnLinear(num_tokens, seen, hidden)
        self.norm = nn.LayerNorm(hidden)
        layer = nn.TransformerEncoderLayer(
            hidden, heads, 2 * hidden, dropout=0.0, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(
            layer, layers, nn.LayerNorm(hidden), enable_nested_tensor=False
        )
        self.update = _OwnLinear(num_tokens, hidden, num_updates // num_tokens)
        nn.init.zeros_(self.update.weight)
        nn.init.zeros_(self.update.bias)

    @classmethod
    def for_problem(
        cls,
        problem: Problem,
        *,
        num_steps: int = 4,
        hidden: int = 64,
        layers: int = 2,
        heads: int = 4,
        memory: bool = True,
        observation: Observation | None = None,
    ) -> Tokens:
        """An untrained model of the right sizes, found by one training sample of the problem.

        Args:
            problem: the task.
            num_steps: the number ``T`` of steps.
            hidden: numbers of a token.
            layers: layers of the encoder.
            heads: heads of the attention of a layer.
            memory: whether a token lives on from step to step.
            observation: the eyes; ``None`` takes the problem's own.
        """
        observation = eyes_of(problem) if observation is None else observation
        num_features, num_updates = probe(problem, observation)
        eyes = [part for part in observation.modules() if isinstance(part, ImageObservation)]
        model = cls(
            problem,
            observation,
            num_features,
            num_updates,
            count_points(problem, eyes[0]) if eyes else num_updates,
            num_steps=num_steps,
            hidden=hidden,
            layers=layers,
            heads=heads,
            memory=memory,
            split=bool(eyes),
        )
        return model.to(device_of(problem))

    def init_state(self, x: Float[Tensor, "B p"]) -> State:
        return x.new_zeros(x.shape[0], self.num_tokens * self.hidden)

    def step(
        self, k: int, features: Float[Tensor, "B F"], state: State
    ) -> tuple[Float[Tensor, "B d"], State]:
        check_features(features, self.num_features, self.embed.weight, k)
        seen = (
            features.unflatten(1, (self.num_tokens, -1))
            if self.split
            else features.unsqueeze(1).expand(-1, self.num_tokens, -1)
        )
        tokens = self.norm(self.embed(seen))
        if self.memory and isinstance(state, Tensor):
            tokens = tokens + state.view_as(tokens)
        tokens = self.encoder(tokens)
        return self.update(tokens).flatten(1), tokens.flatten(1)

    def settings(self) -> dict[str, Any]:
        return self.sizes | super().settings() | {"memory": self.memory, "split": self.split}
