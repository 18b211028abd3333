"""Batches of surfaces in pictures: projection, a z-buffer of the points of a grid, and the places that pixels see."""

from __future__ import annotations

from collections.abc import Callable
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

# A key of the z-buffer holds the depth, in steps of a 64th of a mm, above the number of the point.
_POINTS, _STEPS, _FURTHEST = 1 << 20, 64, 2000.0
_EMPTY = 1 << 50
_HOLE = 8
"""A pixel this much further away than both its neighbours, in mm, is a hole between the points of the grid."""


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

    def matrix(*rows: Tensor) -> Tensor:
        return torch.stack(rows, 1).view(-1, 3, 3)

    turn = matrix(yaw.cos(), zero, yaw.sin(), zero, one, zero, -yaw.sin(), zero, yaw.cos())
    nod = matrix(one, zero, zero, zero, pitch.cos(), -pitch.sin(), zero, pitch.sin(), pitch.cos())
    tilt = matrix(roll.cos(), -roll.sin(), zero, roll.sin(), roll.cos(), zero, zero, zero, one)
    return tilt @ nod @ turn


def project(
    points: Float[Tensor, "B N 3"], scale: Float[Tensor, " B"], distance: Float[Tensor, " B"], shift: Float[Tensor, "B 2"]
) -> Float[Tensor, "B N 3"]:
    """Points of the camera's frame (mm) in the picture: column and row in px, and the depth in mm, which grows to the camera.

    Args:
        points: x to the right, y down, z to the camera.
        scale: px per mm at the depth 0.
        distance: from the camera to the depth 0, in mm.
        shift: where the origin falls, in px.
    """
    closer = scale.view(-1, 1, 1) / (1 - points[..., 2:] / distance.view(-1, 1, 1))
    return torch.cat([points[..., :2] * closer + shift.unsqueeze(1), points[..., 2:]], 2)


def slopes(grid: Float[Tensor, "B C G G"]) -> tuple[Float[Tensor, "B C G G"], Float[Tensor, "B C G G"]]:
    """Central differences per cell along the columns and the rows of a grid."""
    along, down = torch.zeros_like(grid), torch.zeros_like(grid)
    torch.sub(grid[..., 2:], grid[..., :-2], out=along[..., 1:-1])
    torch.sub(grid[..., 2:, :], grid[..., :-2, :], out=down[..., 1:-1, :])
    return along.mul_(0.5), down.mul_(0.5)


def normals(surface: Float[Tensor, "B 3 G G"]) -> Float[Tensor, "B 3 G G"]:
    """The unit normals of a grid of points; they point out of the head."""
    (ax, ay, az), (bx, by, bz) = (slope.unbind(1) for slope in slopes(surface))
    normal = torch.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], 1)
    return normal * (normal.square().sum(1, keepdim=True) + 1e-9).rsqrt()


class ZBuffer:
    """What each pixel sees of a projected grid: the nearest point, and the exact place between the points around it.

    The nearest point falls into the pixel by rounding; one Newton step on the projection of its cell then finds the place that
    the centre of the pixel sees, so that pictures and landmarks agree to a fraction of a pixel. A pixel between the points
    of a coarse grid takes over the point of a neighbour.

    Args:
        grid: column, row (px) and depth (mm) of the points, ``(B, 3, G, G)``.
        solid: the points that can be seen, ``(B, G, G)``.
        size: the side ``S`` of the picture, in px.
    """

    def __init__(self, grid: Float[Tensor, "B 3 G G"], solid: Bool[Tensor, "B G G"], size: int) -> None:
        count, _, side, _ = grid.shape
        self.size = size
        device = grid.device
        column, row = grid[:, 0].round().long(), grid[:, 1].round().long()
        inside = solid & (column >= 0) & (column < size) & (row >= 0) & (row < size)
        sample = torch.arange(count, device=device).view(-1, 1, 1)
        pixel = torch.where(inside, (sample * size + row) * size + column, count * size * size)
        order = torch.arange(side * side, device=device).view(1, side, side)
        key = ((_FURTHEST - grid[:, 2]) * _STEPS).long() * _POINTS + order
        buffer = torch.full((count * size * size + 1,), _EMPTY, device=device)
        buffer = buffer.scatter_reduce(0, pixel.flatten(), key.flatten(), "amin")[:-1].view(count, size, size)
        buffer = _close(_fill(buffer), 3)
        self.covered = buffer < _EMPTY
        nearest = torch.where(self.covered, buffer, 0) & (_POINTS - 1)
        known = torch.cat([grid, *slopes(grid[:, :2])], 1).flatten(2)
        seen = known.gather(2, nearest.view(count, 1, -1).expand(-1, known.shape[1], -1)).view(count, -1, size, size)
        x, y, self.depth, xu, yu, xv, yv = seen.unbind(1)
        line = torch.arange(size, device=device, dtype=grid.dtype)
        dx, dy = line - x, line.unsqueeze(1) - y
        area = xu * yv - xv * yu
        area = torch.where(area.abs() < 0.02, 0.02, area)
        u = (nearest % side).to(grid.dtype) + ((dx * yv - dy * xv) / area).clamp(-1.2, 1.2)
        v = nearest.div(side, rounding_mode="floor").to(grid.dtype) + ((dy * xu - dx * yu) / area).clamp(-1.2, 1.2)
        self.places = torch.stack([u, v], 3) * (2 / (side - 1)) - 1

    def look_up(self, picture: Float[Tensor, "B C G G"]) -> Float[Tensor, "B C S S"]:
        """A picture on the grid, as the pixels see it."""
        return F.grid_sample(picture, self.places, align_corners=True, padding_mode="border")

    def in_front(self, points: Float[Tensor, "B N 3"], margin: float) -> Bool[Tensor, "B N"]:
        """Whether nothing hides projected points: something more than ``margin`` mm nearer in all pixels around them."""
        where = (points[..., :2] + 0.5) * (2 / self.size) - 1
        depth = torch.where(self.covered, self.depth, -1e4).unsqueeze(1)
        furthest = -F.max_pool2d(-depth, 3, 1, 1)
        found = F.grid_sample(furthest, where.unsqueeze(1), mode="nearest", align_corners=False, padding_mode="border")
        return found[:, 0, 0] < points[..., 2] + margin


def _fill(buffer: Tensor) -> Tensor:
    """The buffer with pixels that see nothing, or far behind both neighbours, given to the nearer pair of neighbours."""
    padded = F.pad(buffer, (1, 1, 1, 1), value=_EMPTY)
    across = torch.maximum(padded[:, 1:-1, :-2], padded[:, 1:-1, 2:])
    upright = torch.maximum(padded[:, :-2, 1:-1], padded[:, 2:, 1:-1])
    around = torch.minimum(across, upright)
    return torch.where(buffer > around + _HOLE * _STEPS * _POINTS, around, buffer)


def _close(buffer: Tensor, reach: int) -> Tensor:
    """The buffer without gaps of up to ``2 * reach`` px inside a surface: each is given to the nearest point around it."""
    grown = buffer
    for axes in ((reach, reach, 0, 0), (0, 0, reach, reach)):
        grown = _sweep(torch.minimum, F.pad(grown, axes, value=_EMPTY), reach, bool(axes[0]))
    shrunk = grown
    for axes in ((reach, reach, 0, 0), (0, 0, reach, reach)):
        shrunk = _sweep(torch.maximum, F.pad(shrunk, axes, value=0), reach, bool(axes[0]))
    return torch.where((buffer == _EMPTY) & (shrunk < _EMPTY), grown, buffer)


def _sweep(pick: Callable[[Tensor, Tensor], Tensor], padded: Tensor, reach: int, across: bool) -> Tensor:
    """The smallest or the largest key within ``reach`` px along one axis."""
    axis = 2 if across else 1
    size = padded.shape[axis] - 2 * reach
    found = padded.narrow(axis, 0, size)
    for offset in range(1, 2 * reach + 1):
        found = pick(found, padded.narrow(axis, offset, size))
    return found
