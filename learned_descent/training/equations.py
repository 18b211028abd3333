"""The normal equations of a stage, summed over rows that come in batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import DescentError, check_shape
from ..models.linear_stages import Moments
from . import ranks
from .uneven import TOLERANCE, UnevenWeights, WeighedRows, conjugate_gradients, product

EVEN = 1e-6
"""The weights of a row are alike where they differ from their mean by less than this: by
rounding."""

SUMMED = ("gram", "cross", "sum_features", "sum_updates", "scalars")
"""The sums that all ranks add up."""


class Solution(NamedTuple):
    """A stage for one ridge.

    Attributes:
        weight: ``(F, d)``.
        offset: the bias ``(d,)``, zeros where there is none.
        loss: the mean square, by the weights of the coordinates, of what is left of the rows.
        residual: how far it is from solved, relative; 0 where the system was solved directly.
    """

    weight: Tensor
    offset: Tensor
    loss: float
    residual: float = 0.0

    def fill(self, layer: nn.Linear) -> None:
        """Puts it in a layer."""
        layer.weight.copy_(self.weight.T)
        if layer.bias is not None:
            layer.bias.copy_(self.offset)

    @property
    def unsolved(self) -> dict[str, float]:
        """What a record says where it is not solved: ``residual``."""
        return {} if self.residual <= TOLERANCE else {"residual": self.residual}  # NaN is not


class RidgeEquations:
    """Sums of ``f f^T``, ``f y^T``, ``f`` and ``y`` over rows that come in batches, for ridge
    regression with a free bias.

    Where the coordinates of a row count unlike one another, its features count as the mean of
    those, and what each counts beyond it is summed apart.

    Args:
        num_features: the size ``F``.
        like: a tensor ``(B, d)`` of updates: their size, and the device of the sums.
        block: rows that are multiplied in their own precision before they are added in float64.
    """

    def __init__(self, num_features: int, like: Tensor, *, block: int = 1024) -> None:
        wide = like.new_empty(0, dtype=torch.float64)
        self.gram = wide.new_zeros(num_features, num_features)
        self.cross = wide.new_zeros(num_features, like.shape[1])
        self.sum_features = wide.new_zeros(num_features)
        self.sum_updates = wide.new_zeros(like.shape[1])
        # Rows, squared updates, and how uneven the weights are
        self.scalars = wide.new_zeros(3)
        self.uneven: UnevenWeights | None = None
        self.block = block
        self.rounding = torch.finfo(like.dtype).eps
        self._pending: list[WeighedRows] = []
        self._rows = 0
        self._gathered = False

    @classmethod
    def of(cls, rows: Iterable[WeighedRows]) -> RidgeEquations:
        """The sums over rows.

        Raises:
            DescentError: if there are none.
        """
        equations: RidgeEquations | None = None
        for row in rows:
            equations = equations or cls(row.features.shape[1], row.updates)
            equations.add(row)
        if equations is None:
            raise DescentError(
                "samples: expected one or more for every rank, got none for one of them"
            )
        return equations

    def add(self, rows: WeighedRows) -> None:
        """Adds rows."""
        check_shape(rows.features, "B F", {"F": len(self.gram)}, name="features")
        self._pending.append(rows)
        self._rows += len(rows.features)
        if self._rows >= self.block:
            self._flush()

    def _flush(self, width: int = 1024) -> None:
        if not self._pending:
            return
        features, updates, weights = joined(self._pending)
        self._pending, self._rows = [], 0
        seen, squares = features, updates.double().square()
        if weights is not None:
            mean = weights.mean(1, keepdim=True)
            seen, updates, squares = mean * features, weights * updates, weights * squares
            beyond = weights - mean
            if self.uneven is None:
                self.uneven = UnevenWeights(len(self.gram), self.sum_updates)
            self.uneven.add(features, beyond)
        for at in range(0, len(self.gram), width):  # the upper triangle is enough
            self.gram[at : at + width, at:] += seen[:, at : at + width].T @ features[:, at:]
        self.cross += features.T @ updates
        self.sum_features += seen.sum(0, dtype=torch.float64)
        self.sum_updates += updates.sum(0, dtype=torch.float64)
        count = self.scalars.new_tensor(len(features)) if weights is None else mean.double().sum()
        apart = count.new_zeros(()) if weights is None else beyond.double().abs().mean(1).sum()
        self.scalars += torch.stack([count, squares.sum(), apart])

    def gather(self, fabric: ranks.Fabric) -> None:
        """Sums over the ranks, once.

        Raises:
            DescentError: if nothing is known of any row.
        """
        self._flush()
        if self._gathered:
            return
        self._gathered = True
        for name in SUMMED:
            setattr(self, name, ranks.summed(fabric, getattr(self, name)))
        check_known(self.scalars[0].item())

    def moments(self, fabric: ranks.Fabric) -> Moments:
        """Mean and covariance of the features, and their covariance with the updates."""
        self.gather(fabric)
        count = self.scalars[0]
        gram = self.gram.triu() + self.gram.triu(1).mT
        mean = self.sum_features / count
        cross = self.cross / count - mean.outer(self.sum_updates / count)
        return Moments(mean, gram / count - mean.outer(mean), cross)

    def solve(
        self,
        fabric: ranks.Fabric,
        candidates: tuple[float, ...],
        again: Iterable[WeighedRows],
        *,
        bias: bool,
        stage: int,
    ) -> dict[float, Solution]:
        """The solution for each ridge that is enough.

        Args:
            fabric: sums over the ranks.
            candidates: the values of ridge.
            again: the rows that were added, once more, for weights that differ within a row.
            bias: whether there is one, which is not penalised.
            stage: its number, for messages.

        Raises:
            DescentError: if no system is positive definite; the message names the ridge to raise.
        """
        self.gather(fabric)
        (count, square, apart), size = self.scalars.tolist(), len(self.gram)
        # Where nothing but rounding is left to see
        least = max(self.rounding * self.gram.diagonal().mean().item(), 1e-100)
        uneven = self._uneven(fabric, count, bias=bias) if apart > EVEN * count else None
        middle = self._centre(count) if bias else None
        diagonal = self.gram.diagonal().clone()
        solutions = {}
        for ridge in candidates:
            more = least if ridge else 0.0
            penalty = ridge * diagonal.mean() + more
            factor = self._factor(diagonal + penalty)
            if factor is None:
                continue
            if uneven is None:
                solutions[ridge] = self._direct(factor, penalty.item(), count, square, middle)
            else:
                mass, variance = uneven
                penalties = ridge * variance + more * mass / count
                solutions[ridge] = self._iterated(
                    fabric, again, factor, penalties, count, square, middle
                )
            del factor  # as large as the matrix: there is never more than one
        if not solutions:
            ridge = max(candidates)
            raise DescentError(
                f"ridge={ridge:g}: the system of stage {stage} with {size} features from "
                f"{count:.0f} rows is not positive definite; raise ridge (for example to "
                f"{max(10 * ridge, 1e-4):g}) or give more samples"
            )
        return solutions

    def _uneven(self, fabric: ranks.Fabric, count: float, *, bias: bool) -> tuple[Tensor, Tensor]:
        """What each coordinate counts, and the variance of the features among its rows, ``(d,)``
        each.
        """
        uneven = self.uneven or UnevenWeights(len(self.gram), self.sum_updates)
        uneven.sum_over(fabric)
        energy = self.gram.diagonal().sum()
        variance = uneven.variance(count, energy, self.sum_features, bias=bias)
        return count + uneven.mass, variance

    def _centre(self, count: float) -> Tensor:
        """Subtracts the means of the rows, and gives that of the features."""
        middle: Tensor = self.sum_features / count
        self.gram.addr_(self.sum_features, middle, alpha=-1)
        self.cross.addr_(self.sum_features, self.sum_updates / count, alpha=-1)
        return middle

    def _factor(self, diagonal: Tensor) -> Tensor | None:
        """The Cholesky factor of the matrix with another diagonal, if it is positive definite."""
        self.gram.diagonal().copy_(diagonal)
        factor, info = torch.linalg.cholesky_ex(self.gram, upper=True)
        pivots = factor.diagonal()
        least = len(pivots) * torch.finfo(torch.float64).eps * pivots.max() ** 2
        return None if info.item() or pivots.min() ** 2 <= least else factor

    def _direct(
        self, factor: Tensor, penalty: float, count: float, square: float, middle: Tensor | None
    ) -> Solution:
        """The solution where the coordinates of a row count alike."""
        weight = torch.cholesky_solve(self.cross, factor, upper=True)
        offset = torch.zeros_like(weight[0])
        if middle is not None:
            mean = self.sum_updates / count
            offset = mean - middle @ weight
            square -= self.sum_updates.dot(mean).item()
        left = square - (weight * self.cross).sum().item() - penalty * weight.square().sum().item()
        return Solution(weight, offset, max(left, 0.0) / (count * weight.shape[1]))

    def _iterated(
        self,
        fabric: ranks.Fabric,
        again: Iterable[WeighedRows],
        factor: Tensor,
        penalties: Tensor,
        count: float,
        square: float,
        middle: Tensor | None,
    ) -> Solution:
        """The solution where each coordinate has a matrix of its own: that of the mean weights is
        near to them.
        """
        size = len(factor)
        right = self.cross if middle is None else torch.cat([self.cross, self.sum_updates[None]])

        def times_matrix(x: Tensor) -> Tensor:
            found = product(fabric, again, x, middle)
            found[:size] += penalties * x[:size]
            return found

        def nearly_solved(x: Tensor) -> Tensor:
            return torch.cat([torch.cholesky_solve(x[:size], factor, upper=True), x[size:] / count])

        found, rest, residual = conjugate_gradients(times_matrix, nearly_solved, right)
        weight = found[:size]
        offset = torch.zeros_like(weight[0]) if middle is None else found[size] - middle @ weight
        left = square - (found * (right + rest)).sum() - (penalties * weight.square()).sum()
        loss = max(left.item(), 0.0) / (count * weight.shape[1])
        return Solution(weight, offset, loss, residual)


def check_known(count: float) -> None:
    """Refuses rows of which nothing is known.

    Args:
        count: the sum of their weights.

    Raises:
        DescentError: if it is 0.
    """
    if not count:
        raise DescentError(
            "target_weights: all are 0, so nothing is known of any sample: give some that are not"
        )


def check_held_known(count: float) -> None:
    """Refuses held-out rows of which nothing is known, as :func:`check_known` does others."""
    if not count:
        raise DescentError(
            "target_weights: all are 0 for the held-out samples, so nothing can be chosen on them: "
            "hold out some that are known, or give one ridge and no held-out samples"
        )


def joined(pending: Sequence[WeighedRows]) -> WeighedRows:
    """Rows together; where some have weights, the others have ones."""
    features = torch.cat([rows.features for rows in pending])
    updates = torch.cat([rows.updates for rows in pending])
    if all(rows.weights is None for rows in pending):
        return WeighedRows(features, updates)
    weights = [
        torch.ones_like(rows.updates) if rows.weights is None else rows.weights for rows in pending
    ]
    return WeighedRows(features, updates, torch.cat(weights))


def losses_left(
    fabric: ranks.Fabric, rows: Iterable[WeighedRows], solutions: list[Solution]
) -> list[float]:
    """The mean square of the updates of some rows, by their weights, and of what each solution
    leaves of them.

    Raises:
        DescentError: if all weights are 0: every solution would seem as good as any other.
    """
    sums: Tensor = torch.zeros(len(solutions) + 2, dtype=torch.float64, device=fabric.device)
    for row in rows:
        squares = _squares_left(row, solutions)
        sums[:-1] += squares.sum((1, 2), dtype=torch.float64)
        known = row.weights
        sums[-1] += row.updates.numel() if known is None else known.sum(dtype=torch.float64)
    *squares_left, count = ranks.summed(fabric, sums).tolist()
    check_held_known(count)
    return [value / count for value in squares_left]


def lengths_left(
    fabric: ranks.Fabric, rows: Iterable[WeighedRows], solutions: list[Solution]
) -> list[float]:
    """The same of the root mean square of each row: a few that go astray count for less than in the
    mean square of all.

    Raises:
        DescentError: as there.
    """
    sums: Tensor = torch.zeros(len(solutions) + 2, dtype=torch.float64, device=fabric.device)
    for row in rows:
        squares = _squares_left(row, solutions)
        known = squares.new_ones(squares.shape[1:]) if row.weights is None else row.weights
        mass = known.mean(1)
        lengths = (mass * squares.mean(2)).sqrt()  # the mean by the weights, which count once more
        sums[:-1] += lengths.sum(1, dtype=torch.float64)
        sums[-1] += mass.sum(dtype=torch.float64)
    *left, count = ranks.summed(fabric, sums).tolist()
    check_held_known(count)
    return [value / count for value in left]


def _squares_left(row: WeighedRows, solutions: list[Solution]) -> Float[Tensor, "S B d"]:
    """The squares of the updates, times their weights, and of what each solution leaves of them."""
    features, updates, weights = row
    left = [
        updates - features @ solution.weight.to(features) - solution.offset.to(features)
        for solution in solutions
    ]
    squares = torch.stack([updates, *left]).square()
    return squares if weights is None else weights * squares
