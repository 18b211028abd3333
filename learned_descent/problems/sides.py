"""The features of discriminative optimization: how much of a scan is in front of and behind every point of a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from .._check import DescentError
from ..observation import Observation
from ..problem import Batch

if TYPE_CHECKING:
    from .registration import Registration

_PAIRS = 1 << 17  # pairs of points that are looked at at once: they stay in the cache
_NOWHERE = 1e9  # the square of the distance to a point that is not there


@final
class Sides(Observation):
    """How much of a scan lies in front of and behind every point of the model, ``(B, 2 M)``.

    The two features of a model point are the sums over the points of the scan on either side of its tangent plane, weighted
    by a Gaussian of their distance to it. All features of a scan sum to ``M``, unless all of it is far away.

    Args:
        problem: gives the model and moves the scan.
        width: the distance at which a point weighs ``1 / e``, in half sides of the model.

    Raises:
        DescentError: if the width is not positive.

    References:
        J. Vongkulbhisal, F. De la Torre and J. Costeira. Discriminative optimization: theory and applications to point cloud
        registration. CVPR 2017, eq. 9.
    """

    def __init__(self, problem: Registration, *, width: float = 0.17) -> None:
        super().__init__()
        if not 0 < width < float("inf"):
            raise DescentError(f"width: expected a positive number, got {width}")
        self._problem = [problem]  # in a list: the buffers of the problem are stored once, with the model
        self.width = width

    def prepare(self, batch: Batch) -> Batch:
        valid = batch["valid"] & batch["scan"].isfinite().all(2)
        return {"scan": torch.where(valid.unsqueeze(2), batch["scan"], 0), "valid": valid}

    def forward(self, x: Float[Tensor, "B 12"], batch: Batch) -> Float[Tensor, "B F"]:
        problem = self._problem[0]
        points, normals = problem.points.to(x), problem.normals.to(x)
        moved, valid = problem.moved(x, batch), batch["valid"]
        own = torch.where(valid, moved.square().sum(2), _NOWHERE)
        ends = torch.stack([torch.ones_like(own), own], 2)
        others = torch.stack([points.square().sum(1), torch.ones_like(points[:, 0])], 1)
        left, right = torch.cat([2 * moved, -ends], 2) / self.width**2, torch.cat([points, others], 1)  # squares of distances
        planes, features = (points * normals).sum(1), []
        for part, place in zip(pieces(left, len(points)), pieces(moved, len(points))):
            weights = (part @ right.T).exp()
            ahead = torch.where(place @ normals.T > planes, weights, 0).sum(1)
            features.append(torch.cat([ahead, weights.sum(1) - ahead], 1))
        sums = torch.cat(features)
        return sums * (len(points) / sums.sum(1, keepdim=True).clamp(min=1.0))

    def settings(self) -> dict[str, Any]:
        return {"width": self.width}


def pieces(values: Tensor, others: int) -> Iterator[Tensor]:
    """``values (B, S, ...)`` by few samples at a time, so that their pairs with ``others`` points stay few."""
    return iter(values.split(max(1, _PAIRS // (values.shape[1] * others))))
