"""Ridge regression where the coordinates of an update count unlike one another: what is known of
one sample is missing of another.

Each coordinate then has a matrix of its own, too many to hold. The one of the mean weights is near
to all of them, up to a factor, so a few steps of conjugate gradients, preconditioned by it, solve
all at once; a step is a pass over the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from . import ranks

MOST_PASSES = 100
"""Steps of conjugate gradients: what is not solved by then is regularised by stopping."""

TOLERANCE = 1e-6
"""The relative residual, in the norm of the preconditioner, at which a coordinate is solved."""


_KEPT = 2**25
"""Numbers of features that are kept for the passes over uneven weights, whatever their matrix
needs: 128 MiB in single precision."""


class WeighedRows(NamedTuple):
    """Rows of a regression.

    Attributes:
        features: ``(B, F)``.
        updates: what they are to give, ``(B, d)``.
        weights: how much each coordinate counts, ``(B, d)``; ``None`` where all count 1.
    """

    features: Tensor
    updates: Tensor
    weights: Tensor | None = None


class KeptRows(Iterable[WeighedRows]):
    """Rows that are made again for every pass, unless so few that they are kept after the first.

    Args:
        make: makes them.
        most: how many rows are kept at most.

    Example:
        >>> rows = KeptRows(lambda: iter([WeighedRows(torch.ones(3, 2), torch.ones(3, 1))]), most=3)
        >>> [len(row.features) for row in rows], rows.kept is not None
        ([3], True)
    """

    def __init__(self, make: Callable[[], Iterator[WeighedRows]], most: int) -> None:
        self.make, self.most = make, most
        self.kept: list[WeighedRows] | None = None

    @classmethod
    def beside(cls, make: Callable[[], Iterator[WeighedRows]], num_features: int) -> KeptRows:
        """Rows that are kept where they need no more memory than their matrix, or little."""
        return cls(make, max(2 * num_features, _KEPT // num_features))

    def __iter__(self) -> Iterator[WeighedRows]:
        if self.kept is not None:
            yield from self.kept
            return
        kept: list[WeighedRows] = []
        count = 0
        for row in self.make():
            count += len(row.features)
            if count <= self.most:
                kept.append(row)
            else:
                kept.clear()
            yield row
        if count <= self.most:
            self.kept = kept


class UnevenWeights:
    """What each coordinate counts more or less than the mean of its row, summed: ``e``, ``f e^T``
    and ``|f|^2 e`` for ``e = w - mean w``.

    Args:
        num_features: the size ``F``.
        like: a tensor ``(d,)`` of the sums: their size, type and device.
    """

    def __init__(self, num_features: int, like: Tensor) -> None:
        self.mass = torch.zeros_like(like)
        self.energy = torch.zeros_like(like)
        self.features = like.new_zeros(num_features, len(like))

    def add(self, features: Tensor, beyond: Tensor) -> None:
        """Adds rows: features ``(B, F)``, and what their coordinates count beyond the mean, ``(B,
        d)``.
        """
        self.mass += beyond.sum(0, dtype=torch.float64)
        self.energy += features.double().square().sum(1) @ beyond.double()
        self.features += features.T @ beyond

    def sum_over(self, fabric: ranks.Fabric) -> None:
        """Adds up the ranks."""
        for name in ("mass", "energy", "features"):
            setattr(self, name, ranks.summed(fabric, getattr(self, name)))

    def variance(
        self, mass: float, energy: Tensor, features: Tensor, *, bias: bool
    ) -> Float[Tensor, " d"]:
        """The mean over the features of their sum of squares, about their mean if there is a bias,
        among the rows of each coordinate.

        Args:
            mass: the sum of the mean weights.
            energy: of ``|f|^2``, by the mean weights.
            features: of ``f`` ``(F,)``, by the mean weights.
            bias: whether the features are centred.
        """
        squares = energy + self.energy
        if bias:
            own = features.unsqueeze(1) + self.features
            squares = squares - own.square().sum(0) / (mass + self.mass).clamp(min=1e-300)
        return squares.clamp(min=0) / len(features)


def product(
    fabric: ranks.Fabric,
    rows: Iterable[WeighedRows],
    solution: Float[Tensor, "n d"],
    middle: Float[Tensor, " F"] | None,
) -> Float[Tensor, "n d"]:
    """The normal matrix of each coordinate times its column of a solution, by a pass over the rows.

    Args:
        fabric: sums over the ranks.
        rows: the rows.
        solution: weights ``(F, d)``, and below them the bias if there is a middle.
        middle: what is subtracted from the features, where there is a bias.
    """
    found = torch.zeros_like(solution)
    for features, _, weights in rows:
        seen = features
        if middle is not None:
            ones = torch.ones_like(features[:, :1])
            seen = torch.cat([features - middle.to(features), ones], 1)
        given = seen @ solution.to(features)
        found += seen.T @ (given if weights is None else weights * given)
    return ranks.summed(fabric, found)


def conjugate_gradients(
    product: Callable[[Tensor], Tensor],
    precondition: Callable[[Tensor], Tensor],
    right: Float[Tensor, "n d"],
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"], float]:
    """Solves a system for each column, all at once, by preconditioned conjugate gradients.

    Args:
        product: the matrix of each column times that column.
        precondition: the inverse of a matrix that is near to all of them.
        right: the right sides.

    Returns:
        The solutions, their residuals, and the largest relative residual, in the norm of the
        preconditioner.

    References:
        J. Nocedal and S. Wright. Numerical Optimization, algorithm 5.3. Springer 2006.

    Example:
        >>> matrix = torch.tensor([[4.0, 1.0], [1.0, 3.0]])
        >>> right = torch.tensor([[1.0], [2.0]])
        >>> found, _, relative = conjugate_gradients(lambda x: matrix @ x, lambda x: x, right)
        >>> found.flatten(), relative < 1e-6
        (tensor([0.0909, 0.6364]), True)
    """
    solution, residual = torch.zeros_like(right), right.clone()
    direction = precondition(residual)
    left = (residual * direction).sum(0)
    first = left.clamp(min=torch.finfo(left.dtype).tiny)
    for _ in range(MOST_PASSES):
        live = left > TOLERANCE**2 * first
        if not live.any():
            break
        along = product(direction)
        step = torch.where(live, left / (direction * along).sum(0), 0)
        solution += step * direction
        residual -= step * along
        changed = precondition(residual)
        before, left = left, torch.where(live, (residual * changed).sum(0), left)
        direction = changed + torch.where(live, left / before, 0) * direction
    return solution, residual, float((left / first).max().sqrt())
