"""Coarse-to-fine search: in each step many candidates, of which the mean by learned weights is
kept.
"""

from __future__ import annotations

from typing import Any, NamedTuple, final

from jaxtyping import Float
from torch import Tensor, nn

from ..errors import check_whole
from ..look import device_of, eyes_of, probe
from ..model import DescentModel, State, check_features, check_step
from ..observation import Observation
from ..observations.around import Around
from ..problem import Problem


class Candidates(NamedTuple):
    """What a step thought of its candidates.

    Attributes:
        proposals: the update that each proposes, from the centre of the region, ``(B, M, d)``.
        weights: how much each counts, ``(B, M)``; they sum to 1.
    """

    proposals: Float[Tensor, "B M d"]
    weights: Float[Tensor, "B M"]


@final
class CoarseToFineSearch(DescentModel):
    """A search that looks at many candidates in each step, in a region that shrinks from step to
    step (CFSS).

    ``x`` is the centre of the region. In step ``k``:

    1. the candidates are ``retract(x, offsets[k, m])``: offsets that training shapes had from the
       centre of this step, so the region is as wide as what the steps before it leave;
    2. a linear map of the features at each candidate proposes where the truth is;
    3. another one tells how far the candidate is from it: the logarithm of the mean square of the
       update that is missing there; the candidates count as the inverse of that;
    4. ``x`` moves to the mean of the proposals by these weights.

    What is decided otherwise than in the paper: the candidates of a step are the same for all
    samples, since nothing is random in testing, and lie around the centre, where the paper draws
    from all training shapes those near to it; one map serves all candidates of a step, where the
    paper has several in turn; and weights are learned, where it takes the dominant set of the
    proposals. Offsets are added to the updates that are proposed at them, which is exact where
    ``retract`` adds.

    An untrained one returns its start.

    Args:
        problem: the geometry.
        observation: the eyes, which look at each candidate.
        num_features: the size ``F`` of the features of one candidate.
        num_updates: the size ``d`` of an update.
        num_steps: the number ``T`` of steps.
        candidates: the number ``M`` of candidates of a step; the first one is the centre itself.

    Raises:
        DescentError: if a size is below 1.

    References:
        S. Zhu, C. Li, C. C. Loy and X. Tang. Face alignment by coarse-to-fine shape searching.
        CVPR 2015, section 3.

    Example:
        >>> from learned_descent.problems import Analytic
        >>> problem = Analytic("sin")
        >>> model = CoarseToFineSearch.for_problem(problem, num_steps=3, candidates=5)
        >>> model(problem.data("test"), keep_states=True).states.proposals.shape
        torch.Size([3, 41, 5, 1])
    """

    observation: Around

    def __init__(
        self,
        problem: Problem,
        observation: Observation,
        num_features: int,
        num_updates: int,
        *,
        num_steps: int = 4,
        candidates: int = 8,
    ) -> None:
        sizes = {
            "num_features": num_features,
            "num_updates": num_updates,
            "num_steps": num_steps,
            "candidates": candidates,
        }
        for name, size in sizes.items():
            check_whole(size, name=name)
        eyes = Around(observation, problem, num_steps, candidates, num_updates)
        super().__init__(problem, eyes, num_steps)
        self.num_features, self.num_updates = num_features, num_updates
        self.candidates = candidates
        self.stages = nn.ModuleList(
            nn.Linear(num_features, num_updates + 1) for _ in range(num_steps)
        )
        for layer in self.stages:
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    @classmethod
    def for_problem(
        cls,
        problem: Problem,
        *,
        num_steps: int = 4,
        candidates: int = 8,
        observation: Observation | None = None,
    ) -> CoarseToFineSearch:
        """An untrained search of the right sizes, found by one training sample of the problem.

        Args:
            problem: the task.
            num_steps: the number ``T`` of steps.
            candidates: the number ``M`` of candidates of a step.
            observation: the eyes; ``None`` takes the problem's own.
        """
        observation = eyes_of(problem) if observation is None else observation
        sizes = probe(problem, observation)
        model = cls(problem, observation, *sizes, num_steps=num_steps, candidates=candidates)
        return model.to(device_of(problem))

    def init_state(self, x: Float[Tensor, "B p"]) -> State:
        shape = (x.shape[0], self.candidates)
        return Candidates(x.new_zeros(*shape, self.num_updates), x.new_zeros(shape))

    def step(
        self, k: int, features: Float[Tensor, "B F"], state: State
    ) -> tuple[Float[Tensor, "B d"], State]:
        check_step(self, k, len(self.stages))
        layer = self.linear(k)
        check_features(features, self.candidates * self.num_features, layer.weight, k)
        found = layer(features.unflatten(1, (self.candidates, -1)))
        proposals = self.observation.offsets[k] + found[..., :-1]
        weights = (-found[..., -1]).softmax(1)
        delta = (weights.unsqueeze(2) * proposals).sum(1)
        return delta, Candidates(proposals, weights)

    def linear(self, k: int) -> nn.Linear:
        """The layer of step ``k``: ``d`` numbers of an update, and the logarithm of how far the
        truth is.
        """
        layer: nn.Linear = self.stages[k]  # type: ignore[assignment]
        return layer

    def settings(self) -> dict[str, Any]:
        sizes = {"num_features": self.num_features, "num_updates": self.num_updates}
        return sizes | super().settings() | {"candidates": self.candidates}
