"""Batches of surfaces in pictures: projection, a z-buffer of the points of a grid, and the places that pixels see."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

LARGEST_GRID = 181
"""The largest side of a grid: a key of the z-buffer has 15 bits for the number of a point."""

# A key holds the depth in 16 bits, in steps of a 64th of a mm behind the nearest depth there is, above the number of the point.
_POINTS, _STEPS, _NEAREST = 1 << 15, 64, 500.0
_EMPTY = (1 << 31) - 1
_HOLE = 8 * _STEPS * _POINTS
"""A pixel that lies 8 mm behind both its neighbours is a hole between the points of the grid."""


def rotation(pose: Float[Tensor, "B 3"]) -> Float[Tensor, "B 3 3"]:
    """The rotation of the head for yaw, pitch and roll in rad.

    x points to the right of the picture, y down, z to the camera. A positive yaw turns the nose to the right of the picture,
    a positive pitch lifts it, and a positive roll turns the head clockwise.

    Example:
        >>> nose = torch.tensor([0.0, 0.0, 1.0])
        >>> (rotation(torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]])) @ nose).round(decimals=2)
        tensor([[ 0.4800,  0.0000,  0.8800],
                [ 0.0000, -0.4800,  0.8800]])
    """
    (yaw, pitch, roll), zero, one = pose.T, torch.zeros_like(pose[:, 0]), torch.ones_like(pose[:, 0])

    def matrix(*entries: Tensor) -> Tensor:
        return torch.stack(entries, 1).view(-1, 3, 3)

    turn = matrix(yaw.cos(), zero, yaw.sin(), zero, one, zero, -yaw.sin(), zero, yaw.cos())
    nod = matrix(one, zero, zero, zero, pitch.cos(), -pitch.sin(), zero, pitch.sin(), pitch.cos())
    tilt = matrix(roll.cos(), -roll.sin(), zero, roll.sin(), roll.cos(), zero, zero, zero, one)
    return tilt @ nod @ turn


def project(points: Float[Tensor, "B 3 *N"], distance: Float[Tensor, " B"]) -> Float[Tensor, "B 3 *N"]:
    """Points as a camera sees them, in mm: x and y in the plane of depth 0, and the depth, which grows to the camera.

    Args:
        points: x to the right, y down, z to the camera, in mm.
        distance: from the camera to the depth 0, in mm.
    """
    closer = 1 - points[:, 2:] / distance.view(-1, *(1,) * (points.ndim - 1))
    return torch.cat([points[:, :2] / closer, points[:, 2:]], 1)


def slopes(grid: Float[Tensor, "B C G G"]) -> tuple[Float[Tensor, "B C G G"], Float[Tensor, "B C G G"]]:
    """Central differences per cell along the columns and along the rows of a grid; 0 at its rim."""
    along, down = torch.zeros_like(grid), torch.zeros_like(grid)
    torch.sub(grid[..., 2:], grid[..., :-2], out=along[..., 1:-1])
    torch.sub(grid[..., 2:, :], grid[..., :-2, :], out=down[..., 1:-1, :])
    return along.mul_(0.5), down.mul_(0.5)


def normals(surface: Float[Tensor, "B 3 G G"]) -> Float[Tensor, "B 3 G G"]:
    """The unit normals of a grid of points; they point out of the head."""
    (ax, ay, az), (bx, by, bz) = (slope.unbind(1) for slope in slopes(surface))
    normal = torch.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], 1)
    return normal.mul_(normal.square().sum(1, keepdim=True).add_(1e-9).rsqrt_())


class ZBuffer:
    """What each pixel sees of a projected grid: the nearest point, and the exact place between the points around it.

    The nearest point falls into the pixel by rounding; one Newton step on the projection of its cell then finds the place that
    the centre of the pixel sees, so that pictures and landmarks agree to a fraction of a pixel. A pixel between the points
    of a coarse grid takes over the point of a neighbour.

    Args:
        grid: column, row (px) and depth (mm, within 500 of 0) of the points, ``(B, 3, G, G)``.
        solid: the points that can be seen, ``(B, G, G)``.
        size: the side ``S`` of the picture, in px.
    """

    def __init__(self, grid: Float[Tensor, "B 3 G G"], solid: Bool[Tensor, "B G G"], size: int) -> None:
        count, _, side, _ = grid.shape
        self.size, device = size, grid.device
        column, row = grid[:, 0].round(), grid[:, 1].round()
        inside = solid & (column >= 0) & (column < size) & (row >= 0) & (row < size)
        pixel = torch.where(inside, row * size + column, size * size).long()
        pixel += torch.arange(count, device=device).view(-1, 1, 1) * (size * size + 1)
        key = ((_NEAREST - grid[:, 2]) * _STEPS).int() * _POINTS
        key += torch.arange(side * side, device=device, dtype=torch.int32).view(1, side, side)
        buffer = torch.full((count * (size * size + 1),), _EMPTY, device=device, dtype=torch.int32)
        buffer.scatter_reduce_(0, pixel.flatten(), key.flatten(), "amin")
        keys = buffer.view(count, -1)[:, :-1].view(count, size, size)
        keys = _close(_fill(keys), 2)
        self.covered = keys < _EMPTY
        nearest = (keys & (_POINTS - 1)).clamp_(max=side * side - 1)
        self.depth = _NEAREST - (keys >> _POINTS.bit_length() - 1).to(grid.dtype) / _STEPS
        known = torch.cat([grid[:, :2], *slopes(grid[:, :2])], 1).flatten(2)
        seen = known.gather(2, nearest.long().view(count, 1, -1).expand(-1, known.shape[1], -1))
        x, y, xu, yu, xv, yv = seen.view(count, -1, size, size).unbind(1)
        line = torch.arange(size, device=device, dtype=grid.dtype)
        dx, dy = line - x, line.unsqueeze(1) - y
        area = xu * yv - xv * yu
        area = 1 / torch.where(area.abs() < 0.02, 0.02, area)
        number = nearest.to(grid.dtype)
        level = number.add(0.5).mul_(1 / side).floor_()
        u = number.sub_(level, alpha=side) + ((dx * yv - dy * xv) * area).clamp_(-1.2, 1.2)
        v = level + ((dy * xu - dx * yu) * area).clamp_(-1.2, 1.2)
        self.places = torch.stack([u, v], 3).mul_(2 / (side - 1)).sub_(1)

    def look_up(self, picture: Float[Tensor, "B C G G"]) -> Float[Tensor, "B C S S"]:
        """A picture on the grid, as the pixels see it."""
        return F.grid_sample(picture, self.places, align_corners=True, padding_mode="border")

    def in_front(self, points: Float[Tensor, "B 3 N"], margin: float) -> Bool[Tensor, "B N"]:
        """Whether nothing hides points of the picture: something more than ``margin`` mm nearer in all pixels around them."""
        depth = torch.where(self.covered, self.depth, -2 * _NEAREST).flatten(1)
        found = []
        for right in (-1, 0, 1):
            for down in (-1, 0, 1):
                column = (points[:, 0].round().long() + right).clamp(0, self.size - 1)
                row = (points[:, 1].round().long() + down).clamp(0, self.size - 1)
                found.append(depth.gather(1, row * self.size + column))
        return torch.stack(found).amin(0) < points[:, 2] + margin


def _fill(keys: Tensor) -> Tensor:
    """The keys, where a pixel that sees nothing, or far behind both neighbours, takes the nearer pair of neighbours."""
    padded = F.pad(keys, (1, 1, 1, 1), value=_EMPTY)
    across = torch.maximum(padded[:, 1:-1, :-2], padded[:, 1:-1, 2:])
    upright = torch.maximum(padded[:, :-2, 1:-1], padded[:, 2:, 1:-1])
    around = torch.minimum(across, upright)
    return torch.where(keys - _HOLE > around, around, keys)


def _close(keys: Tensor, reach: int) -> Tensor:
    """The keys without gaps of up to ``2 * reach`` px in a surface: each is given to the nearest point around it.

    References:
        J. Serra. Image Analysis and Mathematical Morphology. Academic Press 1982: a closing of the depth.
    """
    grown = _sweep(torch.minimum, _sweep(torch.minimum, keys, reach, 2, _EMPTY), reach, 1, _EMPTY)
    shrunk = _sweep(torch.maximum, _sweep(torch.maximum, grown, reach, 2, 0), reach, 1, 0)
    return torch.where(keys - _HOLE > shrunk, grown, keys)


def _sweep(pick: Callable[[Tensor, Tensor], Tensor], keys: Tensor, reach: int, axis: int, beyond: int) -> Tensor:
    """The smallest or the largest key within ``reach`` px along one axis; ``beyond`` the picture there is one key."""
    padded = F.pad(keys, (reach, reach, 0, 0) if axis == 2 else (0, 0, reach, reach), value=beyond)
    size, found = keys.shape[axis], keys
    for offset in (*range(reach), *range(reach + 1, 2 * reach + 1)):
        found = pick(found, padded.narrow(axis, offset, size))
    return found
