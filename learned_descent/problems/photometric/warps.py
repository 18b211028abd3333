"""Plane warps as Lie groups: homographies, SL(3), and their affine subgroup, with the exponential
map.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...errors import check_choice, check_shape

Kind: TypeAlias = Literal["affine", "homography"]

_CORNERS = {
    "affine": [[-1.0, -1.0], [1.0, -1.0], [0.0, 1.0]],
    "homography": [[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]],
}
"""The control points of a template: the fewest points that fix a warp, on the border of the square
-1..1."""

_ROOTS = 3
"""Square roots before the series of a logarithm."""

_SQUARINGS = 4
"""Squarings after the fraction of an exponential."""

_UPRIGHT, _SHRINKINGS = 0.25, 10
"""The least depth of a control point of a square that does not fold; how often moves shrink to
reach it, seven times at most in a million of them."""

_NEAR = 0.05
"""The least depth of a point relative to the centre: beyond it lies the horizon."""


@final
class Warps(nn.Module):
    """A group of warps of the square -1..1, with its algebra in coordinates that have a meaning.

    A warp is a matrix ``(3, 3)`` of homogeneous coordinates, 1 in its last entry. A coordinate of
    the algebra ``(d,)`` is the velocity with which a control point moves, x before y, point after
    point: ``exponential(delta)`` moves the control points by ``delta``, to first order.

    Args:
        kind: ``"affine"`` (``d = 6``, three control points) or ``"homography"`` (``d = 8``, the
            four corners).

    Raises:
        DescentError: if there is no such kind.

    References:
        S. Benhimane and E. Malis. Homography-based 2D visual tracking and servoing. IJRR 26, 2007,
        section 3 (SL(3)).

    Example:
        >>> warps = Warps("affine")
        >>> shift = warps.exponential(torch.tensor([[0.5, 0.0, 0.5, 0.0, 0.5, 0.0]]))
        >>> project(shift, torch.zeros(1, 2))
        tensor([[[0.5000, 0.0000]]])
    """

    controls: Tensor
    generators: Tensor

    def __init__(self, kind: Kind = "homography") -> None:
        super().__init__()
        check_choice(kind, Kind, name="warp")
        self.kind: Kind = kind
        controls = torch.tensor(_CORNERS[kind], dtype=torch.float64)
        entries = [(0, 1), (1, 0), (0, 2), (1, 2), (2, 0), (2, 1)][: 2 * len(controls) - 2]
        basis = torch.zeros(2 * len(controls), 3, 3, dtype=torch.float64)
        for matrix, (row, column) in zip(basis, entries):
            matrix[row, column] = 1
        basis[-2], basis[-1] = (
            torch.diag(torch.tensor([1.0, -1, 0])),
            torch.diag(torch.tensor([1.0, 1, -2])),
        )
        moved = velocities(basis, controls).flatten(1)
        self.register_buffer("controls", controls, persistent=False)
        self.register_buffer(
            "generators", torch.einsum("jk,krc->jrc", moved.inverse(), basis), persistent=False
        )

    def exponential(self, delta: Float[Tensor, "B d"]) -> Float[Tensor, "B 3 3"]:
        """The warp that the constant velocity ``delta`` reaches in unit time."""
        velocity = torch.einsum("bj,jrc->brc", delta, self.generators.to(delta))
        matrix = _exponential(velocity.double()).to(delta)
        warp: Tensor = matrix / matrix[:, 2:, 2:].clamp(min=_NEAR)
        return warp

    def logarithm(self, matrix: Float[Tensor, "B 3 3"]) -> Float[Tensor, "B d"]:
        """The velocity that leads to a warp: the inverse of :meth:`exponential`; NaN for a warp
        that no velocity reaches.
        """
        root = matrix.double()
        size = torch.linalg.det(root)[:, None, None]
        root = root / (size.sign() * size.abs() ** (1 / 3))
        for _ in range(_ROOTS):
            root = _square_root(root)
        identity = torch.eye(3, dtype=root.dtype, device=root.device)
        ratio = _inverse(root + identity) @ (root - identity)  # log m = 2 artanh (m - 1) / (m + 1)
        square, series = ratio @ ratio, identity / 13
        for order in (11, 9, 7, 5, 3, 1):
            series = identity / order + square @ series
        return (
            velocities(2 ** (_ROOTS + 1) * ratio @ series, self.controls.to(root))
            .flatten(1)
            .to(matrix)
        )

    def through(self, points: Float[Tensor, "B C 2"]) -> Float[Tensor, "B 3 3"]:
        """The warp that takes the control points to ``points``.

        Raises:
            ShapeError: if the number of points is not that of the control points.
        """
        check_shape(points, f"B {len(self.controls)} 2", name="points")
        frames = [_frame(self.controls.to(points)[None]), _frame(points)]
        matrix = frames[1] @ torch.linalg.inv_ex(frames[0])[0]
        warp: Tensor = matrix / matrix[:, 2:, 2:]
        return warp

    def unfolded(self, moves: Float[Tensor, "B C 2"]) -> Float[Tensor, "B C 2"]:
        """Moves of the control points by at most about a side, shrunk by tenths until none of them
        folds the square.
        """
        for _ in range(0 if self.kind == "affine" else _SHRINKINGS):
            folded = self.depth(self.through(self.controls.to(moves) + moves)) < _UPRIGHT
            moves = torch.where(folded[:, None, None], 0.9 * moves, moves)
        return moves

    def depth(self, matrix: Float[Tensor, "B 3 3"]) -> Float[Tensor, " B"]:
        """The least depth of a control point relative to the centre; not positive if the horizon
        crosses the square.
        """
        return (self.controls.to(matrix) @ matrix[:, 2, :2, None] + matrix[:, 2, None, 2:]).amin(
            (1, 2)
        ) / matrix[:, 2, 2]


def project(matrix: Float[Tensor, "B 3 3"], points: Float[Tensor, "N 2"]) -> Float[Tensor, "B N 2"]:
    """Where warps take ``points``; points at or beyond the horizon stay before it."""
    homogeneous = torch.cat([points, torch.ones_like(points[:, :1])], 1).to(matrix)
    # One product for all, not a small one for each
    moved = (matrix.flatten(0, 1) @ homogeneous.T).unflatten(0, (-1, 3))
    places: Tensor = (moved[:, :2] / moved[:, 2:].clamp(min=_NEAR)).mT
    return places


def velocities(
    generator: Float[Tensor, "B 3 3"], points: Float[Tensor, "N 2"]
) -> Float[Tensor, "B N 2"]:
    """The velocity of each point under ``exp(t generator)`` at ``t = 0``."""
    moved = points @ generator[:, :, :2].mT + generator[:, None, :, 2]
    return moved[..., :2] - points * moved[..., 2:]


def _exponential(matrix: Float[Tensor, "B 3 3"]) -> Float[Tensor, "B 3 3"]:
    """The exponential by Padé's fraction of order 5 of a 16th, squared: in float64 to rounding up
    to a norm of 4.

    ``torch.matrix_exp`` sorts the matrices by their norms, which stalls a GPU.

    References:
        N. Higham. The scaling and squaring method for the matrix exponential revisited. SIAM J.
        Matrix Anal. Appl. 26, 2005.
    """
    scaled = matrix / 2**_SQUARINGS
    identity = torch.eye(3, dtype=matrix.dtype, device=matrix.device)
    square = scaled @ scaled
    fourth = square @ square
    odd = scaled @ (fourth + 420 * square + 15120 * identity)
    even = 30 * fourth + 3360 * square + 30240 * identity
    power = _inverse(even - odd) @ (even + odd)
    for _ in range(_SQUARINGS):
        power = power @ power
    result: Tensor = power
    return result


def _square_root(matrix: Float[Tensor, "B 3 3"], iterations: int = 7) -> Float[Tensor, "B 3 3"]:
    """The principal square root by the iteration of Denman and Beavers (1976)."""
    root, inverse = matrix, torch.eye(3, dtype=matrix.dtype, device=matrix.device).expand_as(matrix)
    for _ in range(iterations):
        root, inverse = (root + _inverse(inverse)) / 2, (inverse + _inverse(root)) / 2
    return root


def _inverse(matrix: Float[Tensor, "B 3 3"]) -> Float[Tensor, "B 3 3"]:
    """The inverse by cross products of the rows, which for small matrices takes a tenth of the time
    of a factorisation.
    """
    first, second, third = matrix.unbind(1)
    column = torch.linalg.cross(second, third)
    columns = torch.stack(
        [column, torch.linalg.cross(third, first), torch.linalg.cross(first, second)], 2
    )
    inverse: Tensor = columns / (first * column).sum(1)[:, None, None]
    return inverse


def _frame(points: Float[Tensor, "B C 2"]) -> Float[Tensor, "B 3 3"]:
    """The matrix that takes the unit vectors to the first three points and ``(1, 1, 1)`` to the
    fourth, if there is one.
    """
    columns = torch.cat([points, torch.ones_like(points[..., :1])], 2).mT
    if points.shape[1] == 3:
        return columns
    weights = torch.linalg.solve_ex(columns[:, :, :3], columns[:, :, 3:])[0]
    frame: Tensor = columns[:, :, :3] * weights.mT
    return frame
