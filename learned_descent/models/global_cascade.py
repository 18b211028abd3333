"""A cascade whose every stage has a linear map for each domain of the search space."""

from __future__ import annotations

import math
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import DescentError, check_real, check_whole
from ..look import device_of, eyes_of, probe
from ..model import State, check_features, check_step
from ..observation import Observation
from ..problem import Problem
from .linear_stages import LinearStages, Measure

_MOST_AXES = 6
"""Sixty-four domains: each takes a share of the samples, and all of them a map."""

_SHRINKING = 0.1
"""How much the map that tells where updates point is shrunk, in units of the mean feature
variance."""

_MANY = 1000
"""Features of which the principal directions are found one after the other."""

_HALF_NORMAL = math.sqrt(2 / math.pi)
"""The mean of the positive half of a normal distribution of variance 1."""


@final
class GlobalCascade(LinearStages):
    """A cascade of ``T`` stages, each of which parts the search space into domains, where descent
    goes a like way, and has a linear map for each: Global SDM.

    A single map averages directions that contradict one another. Where the signs of an update and
    of a feature go together throughout a domain, one map descends in all of it (a domain of
    homogeneous descent). So each stage

    1. takes the first principal directions of the features, and of the updates as the features
       tell them by a linear map, made uncorrelated and of variance 1: the axes;
    2. parts the samples by their signs on ``A`` axes into ``2^A`` domains;
    3. has a map and a bias for each.

    The paper leaves open how a domain is known in testing, when the update is not: it takes the
    one of the previous frame. Here a domain is a matter of the features alone, so training and
    testing part alike, and no frame needs another: in a video a tracker starts where the previous
    frame ended, and the features seen there tell the domain. An untrained model returns its start.

    Args:
        problem: the geometry.
        observation: the eyes, shared by the stages.
        num_features: the size ``F`` of the features.
        num_updates: the size ``d`` of an update.
        num_steps: the number ``T`` of stages.
        feature_directions: principal directions of the features among the axes.
        update_directions: principal directions of the updates among the axes; with neither, this is
            a :class:`~learned_descent.Cascade`.
        softness: 0 for the one map of a domain; else the maps are mixed with weights
            ``exp(-|z - m|^2 / (2 softness^2))``, where ``z`` is the place on the axes and ``m`` the
            mean of a domain, taken as that of a normal distribution.
        rank: ``None`` for maps of all features, as in the paper; else all domains share one such
            map, and each adds one of so many principal directions of the features: for more
            features than a domain has samples.

    Raises:
        DescentError: if a size is below 1, or a number of directions is not from 0 to 6 in all.

    References:
        X. Xiong and F. De la Torre. Global supervised descent method. CVPR 2015, section 3.

    Example:
        >>> from learned_descent.problems import Pose
        >>> model = GlobalCascade.for_problem(Pose(num_points=8), num_steps=3)
        >>> model.num_domains, model.linear(0).out_features
        (4, 6)
    """

    centres: Tensor
    axes: Tensor
    lengths: Tensor
    basis: Tensor | None

    def __init__(
        self,
        problem: Problem,
        observation: Observation,
        num_features: int,
        num_updates: int,
        *,
        num_steps: int = 4,
        feature_directions: int = 1,
        update_directions: int = 1,
        softness: float = 0.0,
        rank: int | None = None,
    ) -> None:
        super().__init__(problem, observation, num_steps)
        check_whole(num_features, name="num_features")
        check_whole(num_updates, name="num_updates")
        for name, count in (
            ("feature_directions", feature_directions),
            ("update_directions", update_directions),
        ):
            check_whole(count, name=name, least=0, most=_MOST_AXES)
        check_real(softness, name="softness")
        if rank is not None:
            check_whole(rank, name="rank", most=num_features)
        num_axes = feature_directions + update_directions
        if num_axes > _MOST_AXES:
            raise DescentError(
                f"feature_directions + update_directions: expected at most {_MOST_AXES} in all, "
                f"which make {2**_MOST_AXES} domains, got {num_axes}"
            )
        self.num_features = num_features
        self.num_updates = num_updates
        self.feature_directions = feature_directions
        self.update_directions = update_directions
        self.softness = softness
        self.rank = rank
        self.num_domains = 2**num_axes
        self.register_buffer("centres", torch.zeros(num_steps, num_features))
        self.register_buffer("axes", torch.zeros(num_steps, num_features, num_axes))
        self.register_buffer("lengths", torch.zeros(num_steps))
        basis = None if rank is None else torch.zeros(num_steps, num_features, rank)
        self.register_buffer("basis", basis)
        stages = [nn.Linear(self._num_lifted(), num_updates) for _ in range(num_steps)]
        for layer in stages:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.stages = nn.ModuleList(stages)

    @classmethod
    def for_problem(
        cls,
        problem: Problem,
        *,
        num_steps: int = 4,
        feature_directions: int = 1,
        update_directions: int = 1,
        softness: float = 0.0,
        rank: int | None = None,
        observation: Observation | None = None,
    ) -> GlobalCascade:
        """An untrained model of the right sizes, found by one training sample of the problem.

        Args:
            problem: the task.
            num_steps: the number ``T`` of stages.
            feature_directions: principal directions of the features that part the domains.
            update_directions: principal directions of the updates that do.
            softness: 0 for the one map of a domain; more mixes the maps of all.
            rank: principal directions of the features that the maps of the domains see, where
                there are so many; ``None`` for all features.
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
            feature_directions=feature_directions,
            update_directions=update_directions,
            softness=softness,
            rank=None if rank is None else min(rank, num_features),
        )
        return model.to(device_of(problem))

    def init_state(self, x: Float[Tensor, "B p"]) -> State:
        return None

    def step(
        self, k: int, features: Float[Tensor, "B F"], state: State
    ) -> tuple[Float[Tensor, "B d"], State]:
        check_step(self, k, len(self.stages))
        layer = self.linear(k)
        check_features(features, self.num_features, layer.weight, k)
        return layer(self.lifted(k, features)), None

    def linear(self, k: int) -> nn.Linear:
        layer: nn.Linear = self.stages[k]  # type: ignore[assignment]
        return layer

    def shares(self, k: int, features: Float[Tensor, "B F"]) -> Float[Tensor, "B D"]:
        """What each domain counts for a row in stage ``k``; they sum to 1."""
        places = (features - self.centres[k]) @ self.axes[k]
        if self.softness:
            above = (places * (2 * _HALF_NORMAL / self.softness**2)).sigmoid()
        else:
            above = (places > 0).to(places)
        shares = torch.ones_like(features[:, :1])
        for axis in range(places.shape[1]):
            side = above[:, axis : axis + 1]
            shares = torch.cat([shares * (1 - side), shares * side], 1)
        return shares

    def lifted(self, k: int, features: Float[Tensor, "B F"]) -> Float[Tensor, "B G"]:
        """The features in the columns of their domain, and a constant for all domains but one,
        whose bias is that of the layer.
        """
        if self.num_domains == 1:
            return features
        shares = self.shares(k, features)
        rows = features - self.centres[k]
        seen = rows if self.basis is None else rows @ self.basis[k]
        parted = (shares.unsqueeze(2) * seen.unsqueeze(1)).flatten(1)
        # As long as the features are: the penalty hardly holds a bias back
        constants = shares[:, 1:] * self.lengths[k]
        shared = [] if self.basis is None else [rows]
        return torch.cat([*shared, parted, constants], 1)

    def begin(self, k: int, measure: Measure) -> None:
        """Finds the axes of stage ``k`` from the moments of its features and updates."""
        if self.num_domains == 1:
            return
        mean, covariance, cross = measure()
        variances = covariance.diagonal().clamp(min=0)
        penalty = _SHRINKING * variances.mean() + torch.finfo(variances.dtype).tiny
        told = torch.linalg.solve(covariance + penalty * torch.eye(len(mean)).to(mean), cross)
        ways = torch.linalg.eigh(cross.mT @ told).eigenvectors.flip(1)[:, : self.update_directions]
        rank = 0 if self.basis is None else self.basis.shape[2]
        vectors = _principal(covariance, max(rank, self.feature_directions))
        own = vectors[:, : self.feature_directions]
        axes = torch.zeros_like(self.axes[k], dtype=covariance.dtype)
        for number, axis in enumerate(torch.cat([own, told @ ways], 1).unbind(1)):
            axes[:, number] = _uncorrelated(axis, axes[:, :number], covariance)
        self.axes[k] = axes
        self.centres[k] = mean
        self.lengths[k] = variances.sum().sqrt()
        if self.basis is not None:
            self.basis[k] = vectors[:, :rank]

    def settings(self) -> dict[str, Any]:
        sizes = {"num_features": self.num_features, "num_updates": self.num_updates}
        return (
            sizes
            | super().settings()
            | {
                "feature_directions": self.feature_directions,
                "update_directions": self.update_directions,
                "softness": self.softness,
                "rank": self.rank,
            }
        )

    def _num_lifted(self) -> int:
        if self.num_domains == 1:
            return self.num_features
        shared = 0 if self.rank is None else self.num_features
        seen = self.num_features if self.rank is None else self.rank
        return int(shared + self.num_domains * seen + self.num_domains - 1)


def _principal(covariance: Float[Tensor, "F F"], count: int) -> Float[Tensor, "F A"]:
    """The first principal directions. Of thousands of features all of them take minutes; ARPACK
    finds the first ones in seconds.
    """
    size = len(covariance)
    if size < _MANY or 4 * count > size:
        every: Tensor = torch.linalg.eigh(covariance).eigenvectors
        return every.flip(1)[:, :count]
    from scipy.sparse.linalg import eigsh

    start = np.ones(size)  # a random one would make each training another one
    _, vectors = eigsh(covariance.cpu().numpy(), k=max(1, count), which="LA", v0=start)
    return torch.from_numpy(vectors[:, ::-1][:, :count].copy()).to(covariance)


def _uncorrelated(
    axis: Float[Tensor, " F"], others: Float[Tensor, "F A"], covariance: Float[Tensor, "F F"]
) -> Float[Tensor, " F"]:
    """An axis of variance 1 without what others of variance 1 tell of it; zeros where nothing is
    left.
    """
    whole = axis @ covariance @ axis
    axis = axis - others @ (others.mT @ (covariance @ axis))
    left = axis @ covariance @ axis
    return axis * left.rsqrt() if left > 1e-9 * whole else torch.zeros_like(axis)
