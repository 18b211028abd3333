"""A parametric head: a smooth surface carried along by its landmarks, with modes of identity and of expression."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .schema import IBUG68

Field: TypeAlias = Callable[[Tensor, Tensor, Tensor], Sequence[Tensor | float]]
"""The displacement ``(dx, dy, dz)`` at ``(x, y, z)``, all in mm, of the right half of the image: ``x >= 0``."""

# Lengths are in mm, of an adult: x to the right of the image, y down, z to the camera, from between the outer eye corners.
# A landmark that is its own mirror image or comes before it, in the order of the markup.
_LANDMARKS = (
    # jaw, from the ear to the chin
    (-73, 1, -86), (-73, 21, -84), (-71, 40, -80), (-67, 59, -72), (-59, 77, -60), (-47, 92, -43), (-33, 105, -25),
    (-17, 114, -11), (0, 117, -6),
    # brow, from the temple
    (-60, -13, -31), (-51, -21, -17), (-38, -24, -6), (-25, -23, 1), (-13, -18, 4),
    # ridge and base of the nose
    (0, -1, 3), (0, 11, 9), (0, 23.5, 17), (0, 36.5, 24), (-15, 45, 4), (-8, 48, 9), (0, 50, 12),
    # eye, from the outer corner over the upper lid
    (-45, 0, -20), (-37.5, -5, -12.5), (-28, -5, -10), (-19.5, 2, -11), (-28, 4.5, -11), (-37.5, 4, -14),
    # lips: outer, inner; the mouth is a little open
    (-27, 70, -4), (-18, 65.5, 6), (-7, 62.5, 11.5), (0, 64, 12.5), (18, 79.5, 3), (8, 84, 8), (0, 85, 9),
    (-23, 70, -3), (-7.5, 69, 10), (0, 69.5, 11), (7.5, 75, 7), (0, 75.5, 8),
)  # fmt: skip

# Points that shape the rest, of the midline and of the right half: x, y, z, and the depth at which the point enters the
# unrolled map instead of z, which spreads the neck.
_OTHERS = (
    (0, -16, 8, 8), (0, -45, 9, 9), (0, -75, -4, -4), (0, -100, -38, -38), (0, -114, -90, -90), (0, -95, -145, -145),
    (0, -50, -182, -182), (0, 0, -185, -185), (0, 93, 3, 3), (0, 105, 4, 4), (0, 122, -30, -30), (0, 128, -60, -70),
    (0, 160, -66, -95), (0, 270, -40, -135),
    (34, -48, 0, 0), (54, -52, -25, -25), (30, -80, -20, -20), (66, -20, -48, -48), (72, -50, -78, -78),
    (64, -50, -46, -46), (48, -80, -44, -44), (76, -40, -110, -110), (57, -84, -95, -95), (40, -100, -80, -80), (40, -84, -140, -140), (62, -30, -158, -158),
    (73, 0, -110, -110), (72, 40, -104, -104), (70, 10, -135, -135), (45, 20, -170, -170), (40, -20, -178, -178),
    (46, 24, -17, -17), (60, 22, -38, -38), (67, 14, -62, -62), (34, 36, -6, -6), (50, 50, -26, -26), (54, 68, -38, -38),
    (38, 70, -14, -14), (33, 88, -14, -14), (17, 96, -4, -4), (15, 106, -2, -2), (24, 54, 0, 0), (12, 56, 7, 7),
    (17, 26, -2, -2), (10, 12, -2, -2), (11, 0, -5, -5), (7, 30, 14, 14), (8, 39, 18, 18), (15, 38, 5, 5),
    (30, 13, -10, -10), (44, 12, -20, -20), (20, 12, -7, -7), (33, -12, -8, -8), (45, -9, -16, -16), (20, -9, -6, -6),
    (22, 120, -42, -42), (44, 108, -62, -62), (58, 92, -80, -80), (66, 70, -92, -92), (42, 132, -92, -104),
    (54, 160, -98, -122), (80, 270, -90, -150), (48, 130, -140, -150), (30, 124, -70, -84), (32, 165, -76, -112),
)  # fmt: skip

_CENTRE = torch.tensor([0.0, 12.0, -92.0], dtype=torch.float64)
_RADIUS = 92.0
# The grid on the map: half its width, the reach of its rows from the middle one, how much denser it is in the middle, and
# where the surface ends: at the back of the head, and below the chin.
_SPAN = (225.0, 230.0)
_MIDDLE = 35.0
_PINCH = (1.6, 1.3)
_LOWEST_ROW = 0.62
_RIM, _THROAT = 232.0, 136.0
_SAMPLES = 24
"""The points of a line along which a landmark of the jaw slides."""


def _bump(x: Tensor, y: Tensor, at: tuple[float, float], width: float, height: float | None = None) -> Tensor:
    """One at ``at``, and falling off smoothly within ``width`` and ``height`` (mm)."""
    return (-(((x - at[0]) / width) ** 2) - ((y - at[1]) / (height or width)) ** 2).exp()


def _below(y: Tensor, at: float, soft: float) -> Tensor:
    """From 0 above ``at`` to 1 below it, within ``soft`` mm."""
    return ((y - at) / soft).sigmoid()


def _jaw_drop(x: Tensor, y: Tensor, z: Tensor) -> Sequence[Tensor | float]:
    """The jaw turns about its joint; 1 mm at the lower lip."""
    moved = _below(y, 72.2, 0.7) + 0.3 * _bump(x, y, (25.0, 70.0), 5.0, 3.0)
    fade = ((200.0 - y) / 60.0).clamp(0.0, 1.0)
    return (0.0, moved * fade * ((z + 86.0) / 92.0).clamp(min=0.0), -moved * fade * (y - 15.0) / 120.0)


IDENTITY: Mapping[str, tuple[float, Field]] = {
    "face width": (0.045, lambda x, y, z: (x, 0.0, 0.0)),
    "face length": (0.05, lambda x, y, z: (0.0, y.clamp(min=0.0), 0.0)),
    "depth": (0.05, lambda x, y, z: (0.0, 0.0, z)),
    "forehead": (0.06, lambda x, y, z: (0.0, (y + 25.0).clamp(max=0.0), 0.0)),
    "forehead slope": (3.0, lambda x, y, z: (0.0, 0.0, _below(-y, 35.0, 15.0))),
    "jaw width": (4.0, lambda x, y, z: (_below(y, 60.0, 12.0) * (x / 50.0).clamp(max=1.2), 0.0, 0.0)),
    "chin length": (3.5, lambda x, y, z: (0.0, _below(y, 98.0, 5.0) * (-((x / 45.0) ** 2)).exp(), 0.0)),
    "chin depth": (3.0, lambda x, y, z: (0.0, 0.0, _bump(x, y, (0.0, 110.0), 30.0, 16.0))),
    "chin width": (3.0, lambda x, y, z: (_bump(x, y, (22.0, 112.0), 18.0, 12.0), 0.0, 0.0)),
    "fullness": (5.0, lambda x, y, z: (_bump(x, y, (62.0, 66.0), 26.0, 34.0), 0.0, _bump(x, y, (46.0, 66.0), 20.0, 30.0))),
    "cheekbones": (2.5, lambda x, y, z: (_bump(x, y, (64.0, 20.0), 20.0), 0.0, _bump(x, y, (50.0, 22.0), 20.0))),
    "nose length": (3.0, lambda x, y, z: (0.0, _bump(x, y, (0.0, 46.0), 22.0, 16.0), 0.0)),
    "nose width": (2.2, lambda x, y, z: (_bump(x, y, (14.0, 44.0), 8.0, 9.0), 0.0, 0.0)),
    "nose tip": (2.5, lambda x, y, z: (0.0, 0.0, _bump(x, y, (0.0, 38.0), 11.0, 12.0))),
    "nose bridge": (2.2, lambda x, y, z: (0.0, 0.0, _bump(x, y, (0.0, 12.0), 11.0, 16.0))),
    "nose tilt": (1.8, lambda x, y, z: (0.0, -_bump(x, y, (0.0, 36.0), 10.0, 8.0), 0.0)),
    "eye distance": (1.8, lambda x, y, z: (_bump(x, y, (32.0, 0.0), 24.0, 12.0), 0.0, 0.0)),
    "eye length": (1.4, lambda x, y, z: ((x - 32.5) / 13.0 * _bump(x, y, (32.5, 0.0), 18.0, 9.0), 0.0, 0.0)),
    "eye height": (0.8, lambda x, y, z: (0.0, y / 5.0 * _bump(x, y, (32.5, 0.0), 16.0, 8.0), 0.0)),
    "eye slant": (1.4, lambda x, y, z: (0.0, (32.5 - x) / 13.0 * _bump(x, y, (32.5, 0.0), 18.0, 10.0), 0.0)),
    "eye depth": (2.0, lambda x, y, z: (0.0, 0.0, _bump(x, y, (32.0, 0.0), 18.0, 11.0))),
    "eye level": (1.8, lambda x, y, z: (0.0, _bump(x, y, (32.0, -5.0), 30.0, 18.0), 0.0)),
    "brow level": (2.6, lambda x, y, z: (0.0, _bump(x, y, (36.0, -22.0), 34.0, 9.0), 0.0)),
    "brow slope": (2.2, lambda x, y, z: (0.0, (x - 36.0) / 22.0 * _bump(x, y, (36.0, -20.0), 34.0, 9.0), 0.0)),
    "brow arch": (1.8, lambda x, y, z: (0.0, -_bump(x, y, (42.0, -22.0), 11.0, 9.0), 0.0)),
    "brow length": (2.0, lambda x, y, z: ((x - 36.0) / 22.0 * _bump(x, y, (36.0, -20.0), 34.0, 9.0), 0.0, 0.0)),
    "brow ridge": (2.0, lambda x, y, z: (0.0, 0.0, _bump(x, y, (30.0, -17.0), 34.0, 8.0))),
    "mouth level": (2.4, lambda x, y, z: (0.0, _bump(x, y, (0.0, 74.0), 38.0, 16.0), 0.0)),
    "mouth width": (2.4, lambda x, y, z: (x / 26.0 * _bump(x, y, (0.0, 72.0), 36.0, 14.0), 0.0, 0.0)),
    "upper lip": (1.2, lambda x, y, z: (0.0, -_bump(x, y, (0.0, 63.0), 20.0, 3.4), 0.4 * _bump(x, y, (0.0, 65.0), 18.0, 6.0))),
    "lower lip": (1.4, lambda x, y, z: (0.0, _bump(x, y, (0.0, 85.0), 20.0, 5.0), 0.4 * _bump(x, y, (0.0, 80.0), 18.0, 6.0))),
    "mouth depth": (2.4, lambda x, y, z: (0.0, 0.0, _bump(x, y, (0.0, 72.0), 34.0, 22.0))),
    "neck": (5.0, lambda x, y, z: (_below(y, 130.0, 6.0) * x / 50.0, 0.0, 0.0)),
}
"""How heads differ: the standard deviation of each mode, and its field."""

EXPRESSION: Mapping[str, Field] = {
    "open": _jaw_drop,
    "blink": lambda x, y, z: (
        0.0,
        8.4 * _bump(x, y, (32.8, -5.0), 15.0, 3.4) + 3.0 * _bump(x, y, (32.8, -11.0), 15.0, 4.0),
        -1.2 * _bump(x, y, (32.8, -5.0), 15.0, 3.0),
    ),
    "squint": lambda x, y, z: (0.0, -2.4 * _bump(x, y, (32.8, 5.0), 15.0, 3.2), 0.0),
    "smile": lambda x, y, z: (
        5.5 * _bump(x, y, (27.0, 70.0), 15.0, 12.0) + 3.0 * _bump(x, y, (44.0, 52.0), 18.0),
        -5.0 * _bump(x, y, (27.0, 70.0), 13.0, 12.0) - 3.0 * _bump(x, y, (36.0, 40.0), 18.0, 16.0),
        -5.0 * _bump(x, y, (27.0, 70.0), 13.0, 12.0) + 4.0 * _bump(x, y, (38.0, 42.0), 15.0, 14.0),
    ),
    "grin": lambda x, y, z: (
        0.0,
        -3.6 * _bump(x, y, (0.0, 66.0), 20.0, 6.0) + _below(y, 72.2, 0.7) * _bump(x, y, (0.0, 78.0), 26.0, 9.0),
        0.0,
    ),  # fmt: skip
    "pout": lambda x, y, z: (
        -6.0 * x / 27.0 * _bump(x, y, (0.0, 72.0), 34.0, 14.0),
        0.0,
        5.0 * _bump(x, y, (0.0, 73.0), 17.0, 11.0),
    ),
    "sulk": lambda x, y, z: (0.0, 4.0 * _bump(x, y, (27.0, 70.0), 11.0, 9.0), 0.0),
    "raise": lambda x, y, z: (0.0, -6.0 * _bump(x, y, (36.0, -22.0), 32.0, 11.0), 0.0),
    "frown": lambda x, y, z: (-2.5 * _bump(x, y, (14.0, -18.0), 13.0), 5.0 * _bump(x, y, (13.0, -18.0), 14.0, 11.0), 0.0),
}
"""How one head moves: each field is of full strength."""


def to_map(points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 2"]:
    """Where points of the template lie on its unrolled map, in mm: their direction from the centre of the head.

    Like a map of the globe around the nose: distances from the middle are true.
    """
    direction = points.double() - _CENTRE
    across = direction[:, :2]
    radius = torch.linalg.vector_norm(across, dim=1)
    angle = torch.atan2(radius, direction[:, 2])
    return _RADIUS * (angle / radius.clamp(min=1e-9)).unsqueeze(1) * across


def spline_weights(at: Float[Tensor, "V 2"], controls: Float[Tensor, "K 2"]) -> Float[Tensor, "V K"]:
    """The weights with which values at the controls make a thin-plate spline's values at other places of the plane.

    References:
        F. L. Bookstein. Principal warps: thin-plate splines and the decomposition of deformations. PAMI 1989.

    Example:
        >>> corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> spline_weights(torch.tensor([[0.5, 0.5]]), corners)
        tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """

    def kernel(first: Tensor, second: Tensor) -> Tensor:
        square = torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist").square()
        return torch.special.xlogy(square, square.clamp(min=1e-12))

    def linear(points: Tensor) -> Tensor:
        return torch.cat([torch.ones_like(points[:, :1]), points], 1)

    at, controls, dtype = at.double(), controls.double(), at.dtype
    count, affine = len(controls), linear(controls)
    system = torch.cat([torch.cat([kernel(controls, controls), affine], 1), torch.cat([affine.mT, affine.new_zeros(3, 3)], 1)])
    right = torch.cat([kernel(at, controls), linear(at)], 1)
    return torch.linalg.solve(system, right.mT)[:count].mT.to(dtype)


class Head(nn.Module):
    """The head as a square grid of points on a smooth surface, linear in the coefficients of its modes.

    The surface is a thin-plate spline through control points; the landmarks are among the controls, so that they lie on it
    exactly. Modes move the controls. The grid covers the unrolled head: its middle is the nose, its rim the back of the head
    and the base of the neck; it is densest in the middle.

    Args:
        side: the number of points along each side of the grid.

    Example:
        >>> head = Head(32)
        >>> still = torch.zeros(1, len(IDENTITY) + len(EXPRESSION)), torch.zeros(1, head.num_controls, 3)
        >>> controls = head.controls(*still)
        >>> head.surface(controls).shape, head.contours(controls).shape
        (torch.Size([1, 3, 32, 32]), torch.Size([1, 3, 408]))
    """

    def __init__(self, side: int = 128) -> None:
        super().__init__()
        template, places = _template()
        self.side, self.num_controls = side, len(template)
        columns, rows = (
            span * (pinch * torch.linspace(-1.0, end, side, dtype=torch.float64)).sinh() / math.sinh(pinch)
            for span, pinch, end in zip(_SPAN, _PINCH, (1.0, _LOWEST_ROW))
        )
        grid = torch.stack(torch.meshgrid(columns, rows + _MIDDLE, indexing="xy"), -1).flatten(0, 1)
        weights = spline_weights(grid.float(), places)
        inside = (torch.linalg.vector_norm(grid, dim=1) < _RIM) & (weights @ template[:, 1] < _THROAT)
        count = IBUG68.num_points
        jaw = places[:17]
        towards = jaw * torch.tensor([0.25, 0.85])
        share = torch.linspace(0.0, 1.0, _SAMPLES).view(1, -1, 1)
        lines = jaw.unsqueeze(1) + share * (towards - jaw).unsqueeze(1)
        self.register_buffer("places", grid.float(), persistent=False)
        self.register_buffer("control_places", places, persistent=False)
        self.register_buffer("still", template, persistent=False)
        self.register_buffer("inside", inside.view(side, side), persistent=False)
        self.register_buffer("weights", weights.mT.contiguous(), persistent=False)
        self.register_buffer("line_weights", spline_weights(lines.flatten(0, 1), places), persistent=False)
        self.register_buffer("template", _closed(template), persistent=False)
        self.register_buffer("modes", _modes(template), persistent=False)
        self.register_buffer("wander", _wander(template), persistent=False)
        outward = torch.stack([template[:17, 0] / 74, ((template[:17, 1] - 60) / 57).clamp(min=0) ** 1.5], 1)
        self.register_buffer("jaw_normals", torch.nn.functional.normalize(outward, dim=1), persistent=False)
        self.num_landmarks, self.jaw_corners = count, (4, 12)

    places: Tensor
    control_places: Tensor
    still: Tensor
    inside: Tensor
    weights: Tensor
    jaw_normals: Tensor
    line_weights: Tensor
    template: Tensor
    modes: Tensor
    wander: Tensor

    def controls(self, coefficients: Float[Tensor, "B M"], wander: Float[Tensor, "B K 3"]) -> Float[Tensor, "B K 3"]:
        """The control points in mm, the landmarks first.

        Args:
            coefficients: of ``IDENTITY`` (in standard deviations), then of ``EXPRESSION`` (in shares of full strength).
            wander: standard normal numbers, which become a smooth displacement of 1 mm that no mode has.
        """
        moved = torch.einsum("bm,mkc->bkc", coefficients, self.modes)
        return self.template + moved + torch.einsum("ckj,bjc->bkc", self.wander, wander)

    def surface(self, controls: Float[Tensor, "B K 3"]) -> Float[Tensor, "B 3 G G"]:
        """The grid on the surface through the controls, in mm."""
        grid = controls.mT.flatten(0, 1) @ self.weights
        return grid.view(len(controls), 3, self.side, self.side)

    def contours(self, controls: Float[Tensor, "B K 3"]) -> Float[Tensor, "B 3 N"]:
        """From every landmark of the jaw a line over the cheek, in mm: where its contour slides as the head turns."""
        return (self.line_weights @ controls).mT

    def with_contour(
        self, landmarks: Float[Tensor, "B 3 L"], contours: Float[Tensor, "B 3 N"], roll: Float[Tensor, " B"]
    ) -> Float[Tensor, "B 3 L"]:
        """Projected landmarks, where those of the jaw lie on the contour of the face that is seen, as annotators put them.

        Args:
            landmarks: as the camera sees them.
            contours: the lines over the cheek, as the camera sees them.
            roll: of the head, in rad.
        """
        lines = contours.unflatten(2, (-1, _SAMPLES))
        cos, sin = roll.cos().unsqueeze(1), roll.sin().unsqueeze(1)
        right, down = self.jaw_normals.T
        out = lines[:, 0] * (cos * right - sin * down).unsqueeze(2) + lines[:, 1] * (sin * right + cos * down).unsqueeze(2)
        furthest = out.argmax(2)[:, None, :, None].expand(-1, 3, -1, 1)
        jaw = lines.gather(3, furthest).squeeze(3)
        return torch.cat([jaw, landmarks[:, :, jaw.shape[2] :]], 2)


def _template() -> tuple[Tensor, Tensor]:
    """The controls of the mean head with its mouth a little open, in mm, and their places on the map."""
    mirror = torch.tensor(IBUG68.mirror)
    first = (torch.arange(len(mirror)) <= mirror).nonzero().flatten()
    half = torch.tensor(_LANDMARKS)
    landmarks = torch.empty(len(mirror), 3)
    landmarks[mirror[first]] = half * torch.tensor([-1.0, 1.0, 1.0])
    landmarks[first] = half
    others = torch.tensor(_OTHERS)
    others = torch.cat([others, others[others[:, 0] > 0] * torch.tensor([-1.0, 1.0, 1.0, 1.0])])
    spread = torch.cat([landmarks, others[:, [0, 1, 3]]])
    return torch.cat([landmarks, others[:, :3]]), to_map(spread).float()


def _closed(template: Tensor) -> Tensor:
    x, y, z = template.T
    shift = torch.zeros_like(template)
    shift[:, 1] = -6.0 * _below(y, 72.2, 0.7) * _bump(x, y, (0.0, 75.0), 30.0, 10.0)
    return template + shift


def _modes(template: Tensor) -> Tensor:
    x, y, z = template.T
    fields = []
    for spread, field in [*IDENTITY.values(), *((1.0, field) for field in EXPRESSION.values())]:
        columns = [torch.as_tensor(part).expand_as(x) for part in field(x.abs(), y, z)]
        fields.append(spread * torch.stack([columns[0] * x.sign(), *columns[1:]], 1))
    return torch.stack(fields)


def _wander(template: Tensor) -> Tensor:
    """Factors of covariance of smooth, nearly symmetric displacements along x, y and z, ``(3, K, K)``, in mm."""
    opposite = template * torch.tensor([-1.0, 1.0, 1.0])
    near, across = (torch.exp(-(torch.cdist(template, other) / 20.0).square() / 2) for other in (template, opposite))
    factors = []
    for sign in (-1.0, 1.0, 1.0):
        covariance = (near + sign * 0.75 * across).double() + 1e-4 * torch.eye(len(near), dtype=torch.float64)
        factors.append(torch.linalg.cholesky(covariance).float())
    return torch.stack(factors)
