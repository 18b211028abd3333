"""The features of discriminative optimization: how much of a scan is in front of and behind every
point of a model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import embedding_bag

from ...data.samples import Batch
from ...errors import DescentError
from ...observation import Beside, Observation

if TYPE_CHECKING:
    from .problem import Registration

_PAIRS = 1 << 17  # pairs of points that are looked at at once: they stay in the cache
_MARGIN = 2.0  # around the model, in widths: beyond it a point hardly weighs anything


@final
class Sides(Observation):
    """How much of a scan lies in front of and behind the first ``M`` points of the model, ``(B, 2
    M)``.

    The two features of a model point are the sums over the points of the scan on either side of its
    tangent plane, weighted by a Gaussian of their distance to it. All features of a scan sum to
    ``M``, unless all of it is far away. What a point adds is read from a table, at the middle of
    the cell of a grid in which it lies, so that a look costs a few reads for every point; no
    gradient reaches ``x``.

    Args:
        problem: gives the model and moves the scan.
        num_points: the number ``M`` of points of the model that are looked at, at most; the first
            ones are spread evenly too.
        width: the distance at which a point weighs ``1 / e``, in half sides of the model.
        cells: of the grid, along each axis; the table holds ``2 M cells^3`` numbers of two bytes.

    Raises:
        DescentError: if there are no points to look at or fewer than two cells, or the width is not
            positive.

    References:
        J. Vongkulbhisal, F. De la Torre and J. Costeira. Discriminative optimization: theory and
        applications to point cloud registration. CVPR 2017, eq. 9.
    """

    differentiable: ClassVar[bool] = False

    def __init__(
        self, problem: Registration, *, num_points: int = 160, width: float = 0.25, cells: int = 40
    ) -> None:
        super().__init__()
        for name, value, least in (("num_points", num_points, 1), ("cells", cells, 2)):
            if value < least:
                raise DescentError(f"{name}: expected {least} or more, got {value}")
        if not 0 < width < float("inf"):
            raise DescentError(f"width: expected a positive number, got {width}")
        self._problem = Beside(problem)
        self._table: Tensor | None = None
        self.num_points, self.width, self.cells = num_points, width, cells

    def prepare(self, batch: Batch) -> Batch:
        self._problem.module.check_valid(batch)
        valid = batch["valid"] & batch["scan"].isfinite().all(2)
        return {"scan": torch.where(valid.unsqueeze(2), batch["scan"], 0), "valid": valid}

    @torch.no_grad()
    def forward(self, x: Float[Tensor, "B 12"], batch: Batch) -> Float[Tensor, "B F"]:
        place = (self._problem.module.moved(x, batch) / self._reach + 1) * (self.cells / 2)
        inside = batch["valid"] & (place > 0).all(2) & (place < self.cells).all(2)
        along, across, up = torch.where(inside.unsqueeze(2), place, 0).long().unbind(2)
        row = torch.where(inside, (along * self.cells + across) * self.cells + up, self.cells**3)
        if not row.shape[1]:
            return x.new_zeros(x.shape[0], self._rows().shape[1])
        sums = embedding_bag(row, self._rows(), mode="sum").to(x)
        return sums * (sums.shape[1] / 2 / sums.sum(1, keepdim=True).clamp(min=1.0))

    def _rows(self) -> Float[Tensor, "C F"]:
        """What a point in each cell adds to the features; the last row, all zeros, is for points in
        none.
        """
        problem = self._problem.module
        points, normals = (
            values[: self.num_points].float() for values in (problem.points, problem.normals)
        )
        if self._table is None or self._table.device != points.device:
            ticks = self._reach * (
                (2 * torch.arange(self.cells, device=points.device) + 1) / self.cells - 1
            )
            places = pieces(torch.cartesian_prod(ticks, ticks, ticks), len(points))
            table = [_sides(place, points, normals, self.width) for place in places]
            self._table = torch.cat([*table, torch.zeros_like(table[0][:1])])
        return self._table

    @property
    def _reach(self) -> float:
        """Half the side of the grid."""
        return 1 + _MARGIN * self.width

    def settings(self) -> dict[str, Any]:
        return {"num_points": self.num_points, "width": self.width, "cells": self.cells}


def _sides(
    place: Float[Tensor, "N 3"],
    points: Float[Tensor, "M 3"],
    normals: Float[Tensor, "M 3"],
    width: float,
) -> Tensor:
    """The features of single points, ``(N, 2 M)``."""
    weights = (-(torch.cdist(place, points) / width).square()).exp()
    ahead = torch.where(place @ normals.T > (points * normals).sum(1), weights, 0)
    return torch.cat([ahead, weights - ahead], 1).half()


def pieces(values: Tensor, others: int) -> Iterator[Tensor]:
    """``values`` by few points at a time, so that their pairs with ``others`` points stay few."""
    return iter(
        values.split(max(1, _PAIRS // max(1, values[0].numel() // values.shape[-1] * others)))
    )
