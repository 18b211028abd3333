"""A parametric head: a smooth surface carried along by its landmarks, with modes of identity and of
expression.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ...errors import check_whole
from ...landmarks.schema import IBUG68
from .deformations import closing, modes

# Lengths are in mm, of an adult: x to the right of the image, y down, z to the camera, from between
# the outer eye corners.
# A landmark that is its own mirror image or comes before it, in the order of the markup.
_LANDMARKS = (
    # jaw, from the ear to the chin
    (-76, 1, -86), (-76, 21, -84), (-74, 40, -80), (-70, 59, -72), (-62, 76, -60), (-49, 91, -43),
    (-34, 103, -25),
    (-18, 112, -11), (0, 115, -6),
    # brow, from the temple
    (-61, -12, -31), (-52, -19, -17), (-39, -22, -6), (-25, -21, 1), (-13, -16.5, 4),
    # ridge and base of the nose
    (0, -1, 3), (0, 11, 9), (0, 23.5, 17), (0, 36.5, 24), (-15, 45, 4), (-8, 48, 9), (0, 50, 12),
    # eye, from the outer corner over the upper lid
    (-45, 0, -20), (-37.5, -5, -12.5), (-28, -5, -10), (-19.5, 2, -11), (-28, 4.5, -11),
    (-37.5, 4, -14),
    # lips: outer, inner; the mouth is a little open
    (-27, 70, -4), (-18, 65.5, 6), (-7, 62.5, 11.5), (0, 64, 12.5), (18, 79.5, 3), (8, 84, 8),
    (0, 85, 9),
    (-23, 70, -3), (-7.5, 69, 10), (0, 69.5, 11), (7.5, 75, 7), (0, 75.5, 8),
)  # fmt: skip

# Points that shape the rest, of the midline and of the right half: x, y, z, and the depth at which
# the point enters the unrolled map instead of z, which spreads the neck.
_OTHERS = (
    (0, -16, 8, 8), (0, -45, 9, 9), (0, -75, -4, -4), (0, -100, -38, -38), (0, -114, -90, -90),
    (0, -95, -145, -145),
    (0, -50, -182, -182), (0, 0, -185, -185), (0, 93, 3, 3), (0, 105, 4, 4), (0, 122, -30, -30),
    (0, 128, -60, -70),
    (0, 160, -66, -95), (0, 270, -40, -135),
    (34, -48, 0, 0), (54, -52, -25, -25), (30, -80, -20, -20), (67, -20, -48, -48),
    (73, -50, -78, -78),
    (64, -50, -46, -46), (48, -80, -44, -44), (76, -40, -110, -110), (57, -84, -95, -95),
    (40, -100, -80, -80),
    (40, -84, -140, -140), (62, -30, -158, -158),
    (75, 0, -110, -110), (74, 40, -104, -104), (70, 10, -135, -135), (45, 20, -170, -170),
    (40, -20, -178, -178),
    (46, 24, -17, -17), (61, 22, -38, -38), (69, 14, -62, -62), (34, 36, -6, -6),
    (50, 50, -26, -26), (54, 68, -38, -38),
    (38, 70, -14, -14), (33, 88, -14, -14), (17, 96, -4, -4), (15, 106, -2, -2), (24, 54, 0, 0),
    (12, 56, 7, 7),
    (17, 26, -2, -2), (10, 12, -2, -2), (11, 0, -5, -5), (7, 30, 14, 14), (8, 39, 18, 18),
    (15, 38, 5, 5),
    (30, 13, -10, -10), (44, 12, -20, -20), (20, 12, -7, -7), (33, -12, -8, -8),
    (45, -9, -16, -16), (20, -9, -6, -6),
    (22, 120, -42, -42), (44, 108, -62, -62), (60, 91, -80, -80), (68, 70, -92, -92),
    (42, 132, -92, -104),
    (54, 160, -98, -122), (80, 270, -90, -150), (48, 130, -140, -150), (30, 124, -70, -84),
    (32, 165, -76, -112),
)  # fmt: skip

_CENTRE = torch.tensor([0.0, 12.0, -92.0], dtype=torch.float64)
_RADIUS = 92.0
# The grid on the map: half its width, the reach of its rows from the middle one, how much denser it
# is in the middle, and where the surface ends: at the back of the head, and below the chin.
_SPAN = (225.0, 230.0)
_MIDDLE = 35.0
_PINCH = (1.6, 1.3)
_LOWEST_ROW = 0.62
_RIM, _THROAT, _NAPE = 232.0, 128.0, (100.0, -88.0)
INNER_LIPS = tuple(range(60, IBUG68.num_points))
_JAW, _SAMPLES = 17, 24
"""The landmarks of the jaw, and the points of the line along which each slides."""

_LIDS = [
    (eye[upper], eye[lower])
    for eye in (IBUG68.left_eye, IBUG68.right_eye)
    for upper, lower in ((1, 5), (2, 4))
]
_FACING = [
    list(side)
    for side in zip(*_LIDS, *((INNER_LIPS[upper], INNER_LIPS[-upper]) for upper in (1, 2, 3)))
]
"""Landmarks of the upper lids and lips, and those of the lower ones that face them."""


def to_map(points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 2"]:
    """Where points of the template lie on its unrolled map, in mm: their direction from the centre
    of the head.

    Like a map of the globe around the nose: distances from the middle are true.
    """
    direction = points.double() - _CENTRE
    across = direction[:, :2]
    radius = torch.linalg.vector_norm(across, dim=1)
    angle = torch.atan2(radius, direction[:, 2])
    places: Tensor = _RADIUS * (angle / radius.clamp(min=1e-9)).unsqueeze(1) * across
    return places


def spline_kernel(
    first: Float[Tensor, "*B N 2"], second: Float[Tensor, "*B K 2"]
) -> Float[Tensor, "*B N K"]:
    """What each point of the plane bends at each other one, in a thin-plate spline."""
    square = torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist").square()
    return square * square.clamp(min=1e-12).log()


def spline_weights(
    at: Float[Tensor, "V 2"], controls: Float[Tensor, "K 2"]
) -> Float[Tensor, "V K"]:
    """The weights with which values at the controls make a thin-plate spline's values at other
    places of the plane.

    References:
        F. L. Bookstein. Principal warps: thin-plate splines and the decomposition of deformations.
        PAMI 1989.

    Example:
        >>> corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> spline_weights(torch.tensor([[0.5, 0.5]]), corners)
        tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """

    def linear(points: Tensor) -> Tensor:
        return torch.cat([torch.ones_like(points[:, :1]), points], 1)

    at, controls, dtype = at.double(), controls.double(), at.dtype
    count, affine = len(controls), linear(controls)
    system = torch.cat(
        [
            torch.cat([spline_kernel(controls, controls), affine], 1),
            torch.cat([affine.mT, affine.new_zeros(3, 3)], 1),
        ]
    )
    right = torch.cat([spline_kernel(at, controls), linear(at)], 1)
    weights: Tensor = torch.linalg.solve(system, right.mT)[:count].mT.to(dtype)
    return weights


class Head(nn.Module):
    """The head as a square grid of points on a smooth surface, linear in the coefficients of its
    modes.

    The surface is a thin-plate spline through control points; the landmarks are among the controls,
    so that they lie on it exactly. Modes move the controls. The grid covers the unrolled head: its
    middle is the nose, its rim the back of the head and the base of the neck; it is densest in the
    middle.

    Args:
        side: the number of points along each side of the grid.

    Example:
        >>> head = Head(32)
        >>> still = torch.zeros(1, len(head.modes)), torch.zeros(1, head.num_controls, 3)
        >>> controls = head.controls(*still)
        >>> head.surface(controls).shape, head.contours(controls).shape
        (torch.Size([1, 3, 32, 32]), torch.Size([1, 3, 408]))
    """

    def __init__(self, side: int = 128) -> None:
        super().__init__()
        check_whole(side, name="side", least=2)
        template, places = _template()
        self.side, self.num_landmarks, self.num_jaw, self.num_controls = (
            side,
            IBUG68.num_points,
            _JAW,
            len(template),
        )
        self.jaw_corners = (4, IBUG68.opposites[4])
        columns, rows = (
            span
            * (pinch * torch.linspace(-1.0, end, side, dtype=torch.float64)).sinh()
            / math.sinh(pinch)
            for span, pinch, end in zip(_SPAN, _PINCH, (1.0, _LOWEST_ROW))
        )
        grid = torch.stack(torch.meshgrid(columns, rows + _MIDDLE, indexing="xy"), -1).flatten(0, 1)
        weights = spline_weights(grid.float(), places)
        below, depth = (weights @ template[:, 1:]).T
        neck = (below > _THROAT) | ((below > _NAPE[0]) & (depth < _NAPE[1]))
        inside = (torch.linalg.vector_norm(grid, dim=1) < _RIM) & ~neck
        jaw = places[:_JAW]
        towards = jaw * torch.tensor([0.25, 0.85])
        share = torch.linspace(0.0, 1.0, _SAMPLES).view(1, -1, 1)
        lines = jaw.unsqueeze(1) + share * (towards - jaw).unsqueeze(1)
        self.register_buffer("places", grid.float(), persistent=False)
        self.register_buffer("control_places", places, persistent=False)
        self.register_buffer("still", template, persistent=False)
        self.register_buffer("inside", inside.view(side, side), persistent=False)
        self._halve(weights.view(side, side, -1), template)
        self.register_buffer(
            "line_weights", spline_weights(lines.flatten(0, 1), places), persistent=False
        )
        self.register_buffer("template", template + closing(template), persistent=False)
        self.register_buffer("modes", modes(template), persistent=False)
        self.register_buffer("wander", _wander(template), persistent=False)
        right, down = template[:_JAW, :2].T
        outward = torch.stack([right / 74, ((down - 60) / 57).clamp(min=0) ** 1.5], 1)
        self.register_buffer("jaw_normals", F.normalize(outward, dim=1), persistent=False)

    places: Tensor
    control_places: Tensor
    still: Tensor
    inside: Tensor
    pairs: Tensor
    weights: Tensor
    jaw_normals: Tensor
    line_weights: Tensor
    template: Tensor
    modes: Tensor
    wander: Tensor

    def _halve(self, weights: Float[Tensor, "G G K"], template: Float[Tensor, "K 3"]) -> None:
        """Keeps the weights of the left half of the grid, for what both controls of a pair share
        and for what sets them apart.

        The right half has the same weights for the mirrored controls, so that half of the products
        are enough.
        """
        mirror = torch.cdist(template, template * torch.tensor([-1.0, 1.0, 1.0])).argmin(1)
        first = (torch.arange(len(mirror)) <= mirror).nonzero().flatten()
        second = mirror[first]
        left = weights[:, : (self.side + 1) // 2].flatten(0, 1).mT
        even = (left[first] + left[second]) / torch.where(first == second, 4, 2).unsqueeze(1)
        self.register_buffer("pairs", torch.stack([first, second]), persistent=False)
        self.register_buffer(
            "weights", torch.stack([even, (left[first] - left[second]) / 2]), persistent=False
        )

    def controls(
        self, coefficients: Float[Tensor, "B M"], wander: Float[Tensor, "B K 3"]
    ) -> Float[Tensor, "B K 3"]:
        """The control points in mm, the landmarks first; lids and lips meet and never cross.

        Args:
            coefficients: of ``IDENTITY`` (in standard deviations), then of ``EXPRESSION`` (in
                shares of full strength).
            wander: standard normal numbers, which become a smooth displacement of 1 mm that no mode
                has.
        """
        moved = torch.einsum("bm,mkc->bkc", coefficients, self.modes)
        moved += self.template + torch.einsum("ckj,bjc->bkc", self.wander, wander)
        upper, lower = _FACING
        moved[:, upper, 1] = torch.minimum(moved[:, upper, 1], moved[:, lower, 1])
        return moved

    def surface(self, controls: Float[Tensor, "B K 3"]) -> Float[Tensor, "B 3 G G"]:
        """The grid on the surface through the controls, in mm."""
        first, second = controls[:, self.pairs].mT.unbind(1)
        halves = torch.stack([first + second, first - second]).flatten(1, 2) @ self.weights
        even, odd = halves.view(2, len(controls), 3, self.side, -1).unbind()
        return torch.cat([even + odd, (even - odd)[..., : self.side // 2].flip(-1)], -1)

    def contours(self, controls: Float[Tensor, "B K 3"]) -> Float[Tensor, "B 3 N"]:
        """From every landmark of the jaw a line over the cheek, in mm: where its contour slides as
        the head turns.
        """
        return (controls.mT.flatten(0, 1) @ self.line_weights.mT).view(len(controls), 3, -1)

    def with_contour(
        self,
        landmarks: Float[Tensor, "B 3 L"],
        contours: Float[Tensor, "B 3 N"],
        roll: Float[Tensor, " B"],
    ) -> Float[Tensor, "B 3 L"]:
        """Projected landmarks, where those of the jaw lie on the contour of the face that is seen,
        as annotators put them.

        Args:
            landmarks: as the camera sees them.
            contours: the lines over the cheek, as the camera sees them.
            roll: of the head, in rad.
        """
        lines = contours.unflatten(2, (-1, _SAMPLES))
        cos, sin = roll.cos().unsqueeze(1), roll.sin().unsqueeze(1)
        right, down = self.jaw_normals.T
        out = lines[:, 0] * (cos * right - sin * down).unsqueeze(2) + lines[:, 1] * (
            sin * right + cos * down
        ).unsqueeze(2)
        furthest = out.argmax(2)[:, None, :, None].expand(-1, 3, -1, 1)
        jaw = lines.gather(3, furthest).squeeze(3)
        return torch.cat([jaw, landmarks[:, :, jaw.shape[2] :]], 2)


def _template() -> tuple[Tensor, Tensor]:
    """The controls of the mean head with its mouth a little open, in mm, and their places on the
    map.
    """
    mirror = torch.tensor(IBUG68.opposites)
    first = (torch.arange(len(mirror)) <= mirror).nonzero().flatten()
    half = torch.tensor(_LANDMARKS)
    landmarks = torch.empty(len(mirror), 3)
    landmarks[mirror[first]] = half * torch.tensor([-1.0, 1.0, 1.0])
    landmarks[first] = half
    others = torch.tensor(_OTHERS)
    others = torch.cat([others, others[others[:, 0] > 0] * torch.tensor([-1.0, 1.0, 1.0, 1.0])])
    spread = torch.cat([landmarks, others[:, [0, 1, 3]]])
    return torch.cat([landmarks, others[:, :3]]), to_map(spread).float()


def _wander(template: Tensor) -> Tensor:
    """Factors of covariance of smooth, nearly symmetric displacements along x, y and z, ``(3, K,
    K)``, in mm.
    """
    opposite = template * torch.tensor([-1.0, 1.0, 1.0])
    near, across = (
        torch.exp(-(torch.cdist(template, other) / 20.0).square() / 2)
        for other in (template, opposite)
    )
    factors = []
    for sign in (-1.0, 1.0, 1.0):
        covariance = (near + sign * 0.75 * across).double() + 1e-4 * torch.eye(
            len(near), dtype=torch.float64
        )
        factors.append(torch.linalg.cholesky(covariance).float())
    return torch.stack(factors)
