"""Where the parts of a face lie on the unrolled head: soft masks around the lines of its
landmarks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor

from ...landmarks.schema import IBUG68
from .head import INNER_LIPS, Head

BROWS = (tuple(range(17, 22)), tuple(range(22, 27)))
"""The landmarks of the left and of the right brow."""

LIPS = (tuple(range(48, 60)), INNER_LIPS)
"""The landmarks of the outer and of the inner lips."""

NASION = 27
"""The landmark between the eyes."""


def soft(value: Tensor, width: float | Tensor) -> Tensor:
    """From 0 to 1 around ``value = 0``, within ``width``."""
    return F.hardsigmoid(value * (6 / width), inplace=True)


def ridge(distance: Tensor, width: float) -> Tensor:
    """One where a distance is 0, and falling off within ``width``."""
    return (-((distance / width) ** 2)).exp()


def blob(
    x: Tensor, y: Tensor, at: tuple[float, float], width: float, height: float, power: int = 2
) -> Tensor:
    """One at ``at``, and falling off within ``width`` and ``height``."""
    return (-(((x - at[0]) / width) ** power) - ((y - at[1]) / height) ** power).exp()


def smooth_line(
    points: Float[Tensor, "N 2"], *, closed: bool, pieces: int = 6
) -> Float[Tensor, "M 2"]:
    """A curve through points, as short straight pieces.

    References:
        E. Catmull and R. Rom. A class of local interpolating splines. Computer Aided Geometric
        Design, 1974.
    """
    if closed:
        ring = torch.cat([points[-1:], points, points[:2]])
    else:
        ring = torch.cat([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    before, first, second, after = ring[:-3], ring[1:-2], ring[2:-1], ring[3:]
    t = torch.arange(pieces, dtype=points.dtype).view(-1, 1, 1) / pieces
    curve = first + t / 2 * (second - before + t * (2 * before - 5 * first + 4 * second - after))
    curve = curve + t**3 / 2 * (3 * first - 3 * second + after - before)
    curve = curve.transpose(0, 1).flatten(0, 1)
    return curve if closed else torch.cat([curve, points[-1:]])


def to_line(
    places: Float[Tensor, "V 2"], line: Float[Tensor, "M 2"]
) -> tuple[Float[Tensor, " V"], Float[Tensor, " V"]]:
    """How far places lie from a line, below it positive (for a line from left to right), and the
    share along it, 0 to 1.
    """
    start, step = line[:-1], line.diff(dim=0)
    length = torch.linalg.vector_norm(step, dim=1).clamp(min=1e-6)
    offset = places.unsqueeze(1) - start
    share = ((offset * step).sum(2) / length.square()).clamp(0.0, 1.0)
    gap = offset - share.unsqueeze(2) * step
    distance, nearest = torch.linalg.vector_norm(gap, dim=2).min(1)
    rows = torch.arange(len(places))
    side = (
        step[nearest, 0] * offset[rows, nearest, 1] - step[nearest, 1] * offset[rows, nearest, 0]
    ).sign()
    travelled = torch.cat([length.new_zeros(1), length.cumsum(0)])
    along = (travelled[nearest] + share[rows, nearest] * length[nearest]) / travelled[-1]
    return distance * side, along


def to_outline(places: Float[Tensor, "V 2"], points: Float[Tensor, "N 2"]) -> Float[Tensor, " V"]:
    """How far places lie outside of the smooth outline through points; negative inside."""
    line = smooth_line(points, closed=True)
    line = torch.cat([line, line[:1]])
    distance = to_line(places, line)[0].abs()
    first, second = line[:-1], line[1:]
    x, y = places[:, :1], places[:, 1:]
    crossed = ((first[:, 1] > y) != (second[:, 1] > y)) & (
        x
        < (second[:, 0] - first[:, 0]) * (y - first[:, 1]) / (second[:, 1] - first[:, 1] + 1e-12)
        + first[:, 0]
    )
    return torch.where(crossed.sum(1) % 2 == 1, -distance, distance)


def window(mask: Float[Tensor, "H W"]) -> tuple[slice, slice]:
    """The rows and columns that hold everything of a mask."""
    hits = (mask > 0.01).nonzero()
    (top, left), (bottom, right) = hits.amin(0).tolist(), hits.amax(0).tolist()
    return slice(top, bottom + 1), slice(left, right + 1)


def grain(
    side: int, octaves: Sequence[tuple[int, int, float]], count: int, seed: int
) -> Float[Tensor, "N G G"]:
    """Random pictures of zero mean and unit variance, a sum of random grids of ``(rows, columns,
    weight)``.
    """
    generator = Generator().manual_seed(seed)
    total = torch.zeros(count, 1, side, side)
    for rows, columns, weight in octaves:
        random = torch.randn(count, 1, rows, columns, generator=generator)
        total += weight * F.interpolate(random, (side, side), mode="bicubic", align_corners=True)
    total -= total.mean((2, 3), keepdim=True)
    return (total / total.std((2, 3), keepdim=True)).squeeze(1)


def face_masks(head: Head) -> dict[str, Float[Tensor, "... G G"]]:
    """The parts of the face on the grid of a head, by name.

    ``x``, ``y`` and ``z`` are the places on the mean head in mm; most masks go from 0 to 1.
    """
    side, places, controls = head.side, head.places, head.control_places
    x, y, z = head.surface(head.still.unsqueeze(0))[0]
    wide, sheet = x.abs(), (side, side)
    left, right = (controls[list(eye)] for eye in (IBUG68.left_eye, IBUG68.right_eye))
    eye = torch.minimum(to_outline(places, left), to_outline(places, right)).view(sheet)
    brows = []
    for brow in BROWS:
        distance, along = to_line(places, smooth_line(controls[list(brow)], closed=False))
        brows.append((distance.view(sheet), along.view(sheet)))
    below = torch.where(x < 0, brows[0][0], brows[1][0])
    outward = torch.where(x < 0, 1 - brows[0][1], brows[1][1])
    lips, mouth = (to_outline(places, controls[list(ring)]).view(sheet) for ring in LIPS)
    upper = soft(1.5 - y, 2.0)
    fold = to_line(
        torch.stack([wide, y], -1).flatten(0, 1),
        torch.tensor([[17.0, 41.0], [25.0, 50.0], [35.0, 68.0]]),
    )[0]
    ear = blob(z, y, (-99.0, 22.0), 15.0, 30.0, power=4) * soft(wide - 58, 3.0)
    return {
        "x": x,
        "y": y,
        "z": z,
        "features": soft(86 - wide, 2.0)
        * soft(y + 42, 2.0)
        * soft(142 - y, 2.0)
        * soft(z + 108, 2.0),
        "aperture": soft(-eye, 1.6),
        "lash": ridge(eye - 0.4, 1.2) * (0.3 + 0.7 * upper),
        "crease": ridge(eye - 4.5, 1.2) * upper,
        "lid": soft(7.0 - eye, 5.0) * upper,
        "lid_shade": 1 - 0.5 * soft(eye + 2.6, 3.0) * (0.4 + 0.6 * upper),
        "tired": blob(wide, y, (29.0, 11.0), 12.0, 5.0)
        + 0.8 * blob(wide, y, (19.0, 1.0), 6.0, 6.0),
        "brow_distance": (below - 1.6).abs(),
        "brow_width": 1
        - 0.55 * outward.clamp(0.3, 1.0)
        - 4.0 * ((outward <= 0.0) | (outward >= 1.0)),
        "lips": soft(-lips, 1.8),
        "mouth": soft(-mouth, 1.2),
        "lip_light": blob(x, y, (0.0, 80.5), 13.0, 2.6),
        "nostril": blob(wide, y, (7.8, 48.2), 3.4, 2.0),
        "red": blob(wide, y, (42.0, 34.0), 17.0, 16.0)
        + 0.8 * blob(wide, y, (0.0, 38.0), 12.0, 10.0),
        "fold": ridge(fold.view(sheet), 1.7) * soft(y - 40, 6.0) * soft(72 - y, 6.0),
        "beard": _beard_masks(wide, y, z) * soft(lips - 1.5, 2.0),
        "ear": ear,
        "shade": (1 - _dimness(wide, y, z, lips, ear)).clamp(0.25, 1.0),
    }


def _beard_masks(
    wide: Float[Tensor, "G G"], y: Float[Tensor, "G G"], z: Float[Tensor, "G G"]
) -> Float[Tensor, "3 G G"]:
    """Where moustache, chin and jaw are grown over, lips or not."""
    moustache = (
        soft(29 - wide + 0.2 * (y - 55), 5.0) * soft(y - 53 - 0.05 * wide, 3.0) * soft(70 - y, 6.0)
    )
    chin = torch.maximum(
        soft(22 - wide, 8.0) * soft(y - 91, 4.0), soft(7 - wide, 3.0) * soft(y - 84, 2.0)
    ) * soft(135 - y, 10.0)
    chin = torch.maximum(
        chin, soft(7 - (wide - 31).abs(), 4.0) * soft(y - 60, 8.0) * soft(104 - y, 16.0)
    )
    jaw = (
        soft(y - 62 + 1.0 * (wide - 28).clamp(min=0), 8.0)
        * soft(wide - 24, 10.0)
        * soft(138 - y, 12.0)
        * soft(z + 96, 8.0)
    )
    return torch.stack([moustache, chin, jaw])


def _dimness(
    wide: Float[Tensor, "G G"],
    y: Float[Tensor, "G G"],
    z: Float[Tensor, "G G"],
    lips: Float[Tensor, "G G"],
    ear: Float[Tensor, "G G"],
) -> Float[Tensor, "G G"]:
    """The light that folds and hollows keep away: of the eyes, under nose and lips, the neck, the
    ears.
    """
    dim = 0.50 * blob(wide, y, (20.0, -3.0), 8.0, 9.0) + 0.30 * blob(
        wide, y, (34.0, -9.0), 14.0, 4.0
    )
    dim += 0.40 * blob(wide, y, (0.0, 51.5), 15.0, 3.5) + 0.30 * blob(
        wide, y, (0.0, 92.0), 18.0, 4.0
    )
    dim += 0.20 * ridge(lips, 2.0) * soft(y - 80, 4.0) + 0.15 * ridge(
        (wide - 18).clamp(min=0) + (y - 42).abs() / 2, 4.0
    )
    dim += 0.55 * soft(y - 124, 10.0) * soft(172 - y, 30.0)
    dim += 0.55 * ear * blob(z, y, (-95.0, 20.0), 7.0, 15.0)
    return dim
