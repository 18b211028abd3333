"""Batches of surfaces in pictures: projection, a z-buffer of the points of a grid, and the places
that pixels see.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

LARGEST_GRID = 181
"""The largest side of a grid: a key of the z-buffer has 15 bits for the number of a point."""

# A key holds the depth in 16 bits, in steps of a 64th of a mm behind the nearest depth there is,
# above the number of the point.
_POINTS, _STEPS, _NEAREST = 1 << 15, 64, 500.0
_EMPTY = (1 << 31) - _POINTS
"""The key of what is behind everything."""
_HOLE = 8 * _STEPS * _POINTS
"""A pixel that lies 8 mm behind both its neighbours is a hole between the points of the grid."""


def rotation(pose: Float[Tensor, "B 3"]) -> Float[Tensor, "B 3 3"]:
    """The rotation of the head for yaw, pitch and roll in rad.

    x points to the right of the picture, y down, z to the camera. A positive yaw turns the nose to
    the right of the picture, a positive pitch lifts it, and a positive roll turns the head
    clockwise.

    Example:
        >>> nose = torch.tensor([0.0, 0.0, 1.0])
        >>> (rotation(torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]])) @ nose).round(decimals=2)
        tensor([[ 0.4800,  0.0000,  0.8800],
                [ 0.0000, -0.4800,  0.8800]])
    """
    (yaw, pitch, roll), zero, one = (
        pose.T,
        torch.zeros_like(pose[:, 0]),
        torch.ones_like(pose[:, 0]),
    )

    def matrix(*entries: Tensor) -> Tensor:
        return torch.stack(entries, 1).view(-1, 3, 3)

    turn = matrix(yaw.cos(), zero, yaw.sin(), zero, one, zero, -yaw.sin(), zero, yaw.cos())
    nod = matrix(one, zero, zero, zero, pitch.cos(), -pitch.sin(), zero, pitch.sin(), pitch.cos())
    tilt = matrix(roll.cos(), -roll.sin(), zero, roll.sin(), roll.cos(), zero, zero, zero, one)
    return tilt @ nod @ turn


def angles(turn: Float[Tensor, "B 3 3"]) -> Float[Tensor, "B 3"]:
    """Yaw, pitch and roll in rad of rotations, for a pitch below a right angle: undoes
    :func:`rotation`.

    Example:
        >>> angles(rotation(torch.tensor([[0.5, -0.2, 0.1]])))
        tensor([[ 0.5000, -0.2000,  0.1000]])
    """
    yaw = torch.atan2(-turn[:, 2, 0], turn[:, 2, 2])
    return torch.stack(
        [yaw, turn[:, 2, 1].clamp(-1, 1).asin(), torch.atan2(-turn[:, 0, 1], turn[:, 1, 1])], 1
    )


def in_perspective(
    points: Float[Tensor, "B 3 *N"], distance: Float[Tensor, " B"]
) -> Float[Tensor, "B 3 *N"]:
    """Points as a camera sees them, in mm: x and y in the plane of depth 0, and the depth, which
    grows to the camera.

    Args:
        points: x to the right, y down, z to the camera, in mm.
        distance: from the camera to the depth 0, in mm.
    """
    closer = 1 - points[:, 2:] / distance.view(-1, *(1,) * (points.ndim - 1))
    seen = points.clone()
    seen[:, :2] /= closer
    return seen


def differences(
    grid: Float[Tensor, "B C G G"],
) -> tuple[Float[Tensor, "B C G G"], Float[Tensor, "B C G G"]]:
    """Differences across two cells along the columns and along the rows of a grid; 0 at its rim."""
    along, down = torch.empty_like(grid), torch.empty_like(grid)
    torch.sub(grid[..., 2:], grid[..., :-2], out=along[..., 1:-1])
    torch.sub(grid[..., 2:, :], grid[..., :-2, :], out=down[..., 1:-1, :])
    rim = grid.shape[-1] - 1
    along[..., ::rim], down[..., ::rim, :] = 0, 0
    return along, down


def cross(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], out: Tensor) -> Tensor:
    """``first[0] * second[1] - first[1] * second[0]``, into ``out``."""
    return torch.mul(first[0], second[1], out=out).addcmul_(first[1], second[0], value=-1)


def normals(surface: Float[Tensor, "B 3 G G"]) -> Float[Tensor, "B 3 G G"]:
    """The unit normals of a grid of points; they point out of the head."""
    along, down = (slope.unbind(1) for slope in differences(surface))
    normal = torch.empty_like(surface)
    for axis in range(3):
        one, two = (axis + 1) % 3, (axis + 2) % 3
        cross((along[one], along[two]), (down[one], down[two]), out=normal[:, axis])
    x, y, z = normal.unbind(1)
    length = x.square().addcmul_(y, y).addcmul_(z, z)
    return normal.mul_(length.add_(1e-9).rsqrt_().unsqueeze(1))


class ZBuffer:
    """What each pixel sees of a projected grid: the nearest point, and the exact place between the
    points around it.

    The nearest point falls into the pixel by rounding; one Newton step on the projection of its
    cell then finds the place that the centre of the pixel sees, so that pictures and landmarks
    agree to a fraction of a pixel. A pixel between the points of a coarse grid takes over the point
    of a neighbour.

    Args:
        grid: column, row (px) and depth (mm, within 500 of 0) of the points, ``(B, 3, G, G)``.
        solid: the points that can be seen, ``(B, G, G)``.
        size: the side ``S`` of the picture, in px.
    """

    def __init__(
        self, grid: Float[Tensor, "B 3 G G"], solid: Bool[Tensor, "B G G"], size: int
    ) -> None:
        count, _, side, _ = grid.shape
        self.size, device = size, grid.device
        column, row = grid[:, :2].round().unbind(1)
        middle = (size - 1) / 2
        inside = (
            torch.maximum((column - middle).abs_(), (row - middle).abs_())
            .lt(size / 2)
            .logical_and_(solid)
        )
        pixel = torch.add(column, row, alpha=size).long().masked_fill_(~inside, size * size)
        key = ((_NEAREST - grid[:, 2]) * _STEPS).int().mul_(_POINTS)
        key += torch.arange(side * side, device=device, dtype=torch.int32).view(side, side)
        buffer = torch.full((count, size * size + 1), _EMPTY, device=device, dtype=torch.int32)
        buffer.scatter_reduce_(1, pixel.flatten(1), key.flatten(1), "amin")
        self.keys = _close(_fill(buffer[:, :-1].view(count, size, size)), 2)
        self.covered = self.keys < _EMPTY
        nearest = self.keys & (_POINTS - 1)
        place = nearest.long().view(count, 1, -1).expand(-1, 2, -1)
        known = (
            part.flatten(2).gather(2, place) for part in (grid[:, :2], *differences(grid[:, :2]))
        )
        (x, y), (xu, yu), (xv, yv) = (part.view(count, 2, size, size).unbind(1) for part in known)
        line = torch.arange(size, device=device, dtype=grid.dtype)
        gap = line - x, line.unsqueeze(1) - y
        places = torch.empty(count, 2, size, size, device=device)
        u, v = places.unbind(1)
        area = cross((xu, yu), (xv, yv), out=torch.empty_like(x)).mul_(0.5).clamp_(min=0.04)
        cross(gap, (xv, yv), out=u)
        cross((xu, yu), gap, out=v)
        places.div_(area.unsqueeze(1)).clamp_(-1.2, 1.2)
        level = nearest.to(grid.dtype).add_(0.5).mul_(1 / side).floor_()
        v += level
        u += nearest.to(grid.dtype).sub_(level, alpha=side)
        self.places = places.mul_(2 / (side - 1)).sub_(1).permute(0, 2, 3, 1)

    def depth(self, faces: Int64[Tensor, " N"]) -> Float[Tensor, "N S S"]:
        """The depth of what the pixels of some faces see, in mm; far behind the head where they see
        none of it.
        """
        return _depth(self.keys.index_select(0, faces))

    def look_up(self, picture: Float[Tensor, "B C G G"]) -> Float[Tensor, "B C S S"]:
        """A picture on the grid, as the pixels see it."""
        return F.grid_sample(picture, self.places, align_corners=True, padding_mode="border")

    def in_front(self, points: Float[Tensor, "B 3 N"], margin: float) -> Bool[Tensor, "B N"]:
        """Whether nothing hides points of the picture: something more than ``margin`` mm nearer in
        all pixels around them.
        """
        around = torch.tensor([-1.0, 0.0, 1.0], device=points.device)
        column, row = (
            (points[:, :2].round().unsqueeze(3) + around).clamp_(0, self.size - 1).long().unbind(1)
        )
        pixel = row.unsqueeze(3) * self.size + column.unsqueeze(2)
        furthest = (
            self.keys.flatten(1).gather(1, pixel.flatten(1)).view(*pixel.shape[:2], -1).amax(2)
        )
        return _depth(furthest) < points[:, 2] + margin


def _depth(keys: Tensor) -> Tensor:
    """The depth of the points of some keys, in mm."""
    return (keys >> _POINTS.bit_length() - 1).mul(-1 / _STEPS).add_(_NEAREST)


def _fill(keys: Tensor) -> Tensor:
    """The keys, where a pixel that sees nothing, or far behind both neighbours, takes the nearer
    pair of neighbours.
    """
    padded = F.pad(keys, (1, 1, 1, 1), value=_EMPTY)
    across = torch.maximum(padded[:, 1:-1, :-2], padded[:, 1:-1, 2:])
    upright = torch.maximum(padded[:, :-2, 1:-1], padded[:, 2:, 1:-1])
    around = torch.minimum(across, upright)
    return torch.where(keys - _HOLE > around, around, keys)


def _close(keys: Tensor, reach: int) -> Tensor:
    """The keys without gaps of up to ``2 * reach`` px in a surface: each is given to the nearest
    point around it.

    References:
        J. Serra. Image Analysis and Mathematical Morphology. Academic Press 1982: a closing of the
        depth.
    """
    grown = _sweep(torch.minimum, keys, reach, beyond=_EMPTY)
    shrunk = _sweep(torch.maximum, grown, reach, beyond=0)
    return torch.where(keys - _HOLE > shrunk, grown, keys)


def _sweep(
    pick: Callable[[Tensor, Tensor], Tensor], keys: Tensor, reach: int, beyond: int
) -> Tensor:
    """The smallest or the largest key within ``reach`` px along both axes; ``beyond`` the picture
    there is one key.
    """
    found = F.pad(keys, (reach,) * 4, value=beyond)
    for axis in (2, 1):
        size = keys.shape[axis]
        found = functools.reduce(
            pick, (found.narrow(axis, offset, size) for offset in range(2 * reach + 1))
        )
    return found
