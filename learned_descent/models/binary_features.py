"""Local binary features: forests that say in which leaf a point is, and a linear map of the
leaves.
"""

from __future__ import annotations

from typing import Any, final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..errors import DescentError, check_whole
from ..look import device_of, eyes_of, one_sample, probe
from ..model import DescentModel, State, check_features, check_step
from ..observation import ImageObservation, Observation
from ..observations import NearbyPixels, PixelPool
from ..problem import Problem

MOST_LEVELS = 12
"""The deepest trees: each level doubles their weights."""


@final
class LocalBinaryFeatures(DescentModel):
    """A cascade whose stages are forests: each tree says in which of its leaves a sample is, and
    the update is the sum of what the leaves stand for.

    1. The features are in equal groups, one for each point of the image; a group has trees of its
       own, which see nothing but its features (local). A
       :class:`~learned_descent.observations.PixelPool` is one group, whose trees serve all points:
       an ensemble of regression trees, which :class:`~learned_descent.training.BoostedTrees` grows.
    2. A node compares the difference of two features with a threshold, or one feature alone.
    3. The leaves of all trees make a vector of zeros and ones, one of each tree, and the
       update is a linear map of it (global). The map is kept as a row for each leaf.

    A tree is complete: ``depth`` levels of nodes, those after node ``n`` are ``2 n + 1`` and ``2 n
    + 2``. Where it was grown less deep, every sample goes left. An untrained model returns its
    start.

    Args:
        problem: the geometry.
        observation: the eyes, shared by the stages.
        num_features: the size ``F`` of the features.
        num_groups: the number of groups of features, each of ``F / num_groups``.
        num_updates: the size ``d`` of an update.
        num_steps: the number ``T`` of stages.
        trees: trees of each group and stage.
        depth: levels of nodes of a tree, which has ``2 ** depth`` leaves.

    Raises:
        DescentError: if a size is below 1, the trees are too deep, or the groups differ in size.

    References:
        S. Ren, X. Cao, Y. Wei and J. Sun. Face alignment at 3000 FPS via regressing local binary
        features. CVPR 2014, section 3.
        V. Kazemi and J. Sullivan. One millisecond face alignment with an ensemble of regression
        trees. CVPR 2014, section 2.

    Example:
        >>> from learned_descent.problems import Analytic
        >>> problem = Analytic("sin")
        >>> model = LocalBinaryFeatures.for_problem(problem, num_steps=3, trees=2, depth=3)
        >>> model.leaves(0, torch.zeros(4, 1)).shape, model.rows.shape
        (torch.Size([4, 2]), torch.Size([3, 16, 1]))
    """

    def __init__(
        self,
        problem: Problem,
        observation: Observation,
        num_features: int,
        num_groups: int,
        num_updates: int,
        *,
        num_steps: int = 5,
        trees: int = 5,
        depth: int = 5,
    ) -> None:
        super().__init__(problem, observation, num_steps)
        for name, size in {
            "num_features": num_features,
            "num_groups": num_groups,
            "num_updates": num_updates,
            "trees": trees,
        }.items():
            check_whole(size, name=name)
        check_whole(depth, name="depth", most=MOST_LEVELS)
        if num_features % num_groups:
            raise DescentError(
                f"num_features: expected a multiple of the {num_groups} groups, got {num_features}"
            )
        self.num_features, self.num_groups, self.num_updates = num_features, num_groups, num_updates
        self.trees, self.depth = trees, depth
        all_trees, nodes = num_groups * trees, 2**depth - 1
        self.rows = nn.Parameter(torch.zeros(num_steps, all_trees * (nodes + 1), num_updates))
        self.offsets = nn.Parameter(torch.zeros(num_steps, num_updates))
        shape = (num_steps, all_trees, nodes)
        self.register_buffer("compared", torch.zeros(*shape, 2, dtype=torch.int32))
        self.register_buffer("thresholds", torch.zeros(shape))

    compared: Tensor
    """The two features of each node, ``(T, trees, nodes, 2)``; the number ``F`` stands for 0."""

    thresholds: Tensor
    """What their difference must exceed to go right, ``(T, trees, nodes)``."""

    @classmethod
    def for_problem(
        cls,
        problem: Problem,
        *,
        num_steps: int = 5,
        trees: int = 5,
        depth: int = 5,
        observation: Observation | None = None,
    ) -> LocalBinaryFeatures:
        """An untrained model of the right sizes for a problem, found by one training sample: a
        group of features for each point that the eyes look at, one for all where there are none or
        the eyes are a pool.

        Args:
            problem: the task.
            num_steps: the number ``T`` of stages.
            trees: trees of each group and stage.
            depth: levels of nodes of a tree.
            observation: the eyes; ``None`` takes the problem's own.
        """
        observation = eyes_of(problem) if observation is None else observation
        num_features, num_updates = probe(problem, observation)
        groups = 1
        if isinstance(observation, ImageObservation):
            shape = observation.points(problem.initial(one_sample(problem)))[0]
            groups = 1 if isinstance(observation, PixelPool) else len(shape)
            if isinstance(observation, (NearbyPixels, PixelPool)):
                observation.refer_to(shape)
        model = cls(
            problem,
            observation,
            num_features,
            groups,
            num_updates,
            num_steps=num_steps,
            trees=trees,
            depth=depth,
        )
        return model.to(device_of(problem))

    def init_state(self, x: Float[Tensor, "B p"]) -> State:
        return None

    def leaves(self, k: int, features: Float[Tensor, "B F"]) -> Int[Tensor, "B M"]:
        """The leaf of each of the ``M`` trees that a sample is in, from the left, in step ``k``.

        Differences are those of single precision, as in training.
        """
        seen = F.pad(features.float(), (0, 1))
        compared, thresholds = self.compared[k].flatten(0, 1), self.thresholds[k].flatten()
        nodes = self.thresholds.shape[2]
        first = torch.arange(self.thresholds.shape[1], device=seen.device) * nodes
        node = first.new_zeros(len(seen), len(first))
        for _ in range(self.depth):
            place = first + node
            one, other = compared[place].long().unbind(2)
            difference = seen.gather(1, one) - seen.gather(1, other)
            node = 2 * node + 1 + (difference > thresholds[place]).long()
        return node - nodes

    def places(self, k: int, features: Float[Tensor, "B F"]) -> Int[Tensor, "B M"]:
        """The rows of the map that make the update of step ``k``: a one in the vector of zeros and
        ones each.
        """
        leaves = self.leaves(k, features)
        return leaves + torch.arange(leaves.shape[1], device=leaves.device) * (1 << self.depth)

    def step(
        self, k: int, features: Float[Tensor, "B F"], state: State
    ) -> tuple[Float[Tensor, "B d"], State]:
        check_step(self, k, len(self.rows))
        check_features(features, self.num_features, self.rows, k)
        summed = F.embedding_bag(self.places(k, features), self.rows[k], mode="sum")
        return self.offsets[k] + summed, None

    def settings(self) -> dict[str, Any]:
        return {
            "num_features": self.num_features,
            "num_groups": self.num_groups,
            "num_updates": self.num_updates,
            **super().settings(),
            "trees": self.trees,
            "depth": self.depth,
        }
