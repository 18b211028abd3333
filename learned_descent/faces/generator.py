"""Synthetic photographs of faces with exact landmarks, in chunks that depend on nothing but their seed."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from ..data import mix
from ..problem import Batch
from .dice import Dice
from .head import EXPRESSION, IDENTITY, Head
from .look import draw_look
from .masks import grain
from .paint import Paint
from .props import Picture, put_glasses, put_hand, put_things
from .render import ZBuffer, normals, project, rotation
from .scene import Light, backdrop, body, photograph
from .schema import IBUG68

CHUNK = 16
"""The number of faces that are drawn and rendered together; more would not stay in the cache of a processor."""

MAX_YAW = math.radians(60)
"""The largest yaw, in rad."""

# How a detector draws its box around landmarks, seen on the boxes of 300-W: the log of the ratio of the sides (box over tight box
# around the 68 points) has this mean and spread along columns and rows, and a correlation; the centre is off by this spread, in
# sides, with a heavier tail than the normal distribution's: a share of the boxes has a multiple of it.
BOX_LOG_MEAN = (-0.024, -0.002)
BOX_LOG_SPREAD = (0.082, 0.058)
BOX_LOG_CORRELATION = 0.34
BOX_SHIFT_SPREAD = (0.026, 0.016)
BOX_TAIL = (0.1, 3.2)

_JOINT = (0.0, 60.0, -85.0)
"""The head turns about this point, in mm."""


class FaceGenerator(nn.Module):
    """Draws faces and renders them, a chunk at a time.

    Args:
        crop: the side ``S`` of the picture, in px; a multiple of 8.
        box_side: the longer side of the box in it, in px; the centre of the box is that of the picture.

    Example:
        >>> faces = FaceGenerator(crop=64, box_side=38.0)(seed=0, chunk=0)
        >>> {name: tuple(value.shape[1:]) for name, value in faces.items()}  # doctest: +NORMALIZE_WHITESPACE
        {'image': (3, 64, 64), 'points': (68, 2), 'box': (4,), 'to_photo': (2, 3), 'visible': (68,), 'pose': (3,)}
    """

    def __init__(self, crop: int, box_side: float) -> None:
        super().__init__()
        self.crop, self.box_side = crop, box_side
        self.head = Head(round(1.25 * crop))
        self.paint = Paint(self.head)
        self.register_buffer("joint", torch.tensor(_JOINT), persistent=False)
        octaves = [(crop, crop, 1.0), (crop // 2, crop // 2, 0.5)]
        noise = torch.stack([grain(crop, octaves, 3, seed) for seed in range(32)])
        self.register_buffer("noise", noise + noise.mean(1, keepdim=True), persistent=False)
        frontal = self.head.template[: len(self.head.jaw_normals)]
        del frontal

    joint: Tensor
    noise: Tensor

    @torch.no_grad()
    def forward(self, seed: int, chunk: int) -> Batch:
        """The faces of one chunk: ``image`` uint8, ``points``, ``box`` and ``to_photo``, ``visible`` and ``pose``.

        Args:
            seed: of the stream of faces.
            chunk: the number of the chunk in the stream; it has ``CHUNK`` faces.
        """
        device = self.joint.device
        dice = Dice(Generator().manual_seed(mix(seed, chunk)), CHUNK, device)
        controls = self.head.controls(_draw_shape(dice), dice.normal(1.0, self.head.num_controls, 3))
        angles = _draw_pose(dice)
        turn, distance = rotation(angles), dice.uniform(500.0, 1600.0)
        look, light = draw_look(dice), Light.draw(dice)
        one, nowhere = torch.ones_like(distance), torch.zeros(CHUNK, 2, device=device)

        def turned(points: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N 3"]:
            return (points - self.joint) @ turn.mT + self.joint

        flat = project(turned(controls[:, : self.head.num_landmarks]), one, distance, nowhere)
        lines = turned(self.head.contours(controls).flatten(1, 2))
        contour = project(lines, one, distance, nowhere).unflatten(1, (len(self.head.jaw_normals), -1))
        flat[:, : contour.shape[1]] = self._outermost(contour, angles[:, 2])
        box = _draw_box(dice, flat[..., :2])
        scale = self.box_side / (box[:, 2:] - box[:, :2]).amax(1)
        shift = (self.crop - 1) / 2 - scale.unsqueeze(1) * (box[:, :2] + box[:, 2:]) / 2

        def placed(points: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N 3"]:
            return torch.cat([points[..., :2] * scale.view(-1, 1, 1) + shift.unsqueeze(1), points[..., 2:]], 2)

        points = placed(flat)
        surface = self.head.surface(controls)
        cover, inside = self.paint.hair(look)
        colour = self.paint(look, controls, surface, cover)
        surface = turned((surface + self.paint.lift(look, cover, inside)).flatten(2).mT).mT.view_as(surface)
        normal = normals(surface)
        grid = project(surface.flatten(2).mT, scale, distance, shift).mT.reshape_as(surface)
        seen = ZBuffer(grid, self.head.inside & (normal[:, 2] > 0), self.crop)
        lit = light.shine(colour, normal, self.paint.shade)
        throat = placed(project(turned(self.throat(controls)), one, distance, nowhere))[:, 0]
        half = (controls[:, 12, 0] - controls[:, 4, 0]) / 2 * 0.86
        around = body(dice, backdrop(dice, self.crop), look, torch.stack([throat[:, 0], throat[:, 1], half], 1), scale, light.direction)
        picture = Picture(torch.where(seen.covered.unsqueeze(1), seen.look_up(lit), around))
        eyes = [list(IBUG68.left_eye), list(IBUG68.right_eye)]
        between = (controls[:, eyes[0]].mean(1, keepdim=True) + controls[:, eyes[1]].mean(1, keepdim=True)) / 2
        spot = placed(project(turned(between), one, distance, nowhere))[:, 0]
        spot[:, 2] = scale
        put_glasses(dice, picture, seen, controls, turn, spot, 0.24)
        put_hand(dice, picture, look, self.box_side, 0.05)
        put_things(dice, picture, self.noise[: CHUNK, 0], 0.12)
        image = photograph(dice, picture.colour, self.noise)
        visible = seen.in_front(points, 7.0) & (self._at(picture.hidden, points) < 0.5)
        corners = torch.stack([scale, scale, scale, scale], 1) * box + torch.cat([shift, shift], 1)
        identity = torch.eye(2, 3, device=device).expand(CHUNK, -1, -1)
        return {
            "image": image.round().to(torch.uint8),
            "points": points[..., :2],
            "box": corners,
            "to_photo": identity,
            "visible": visible,
            "pose": angles,
        }

    def throat(self, controls: Float[Tensor, "B K 3"]) -> Float[Tensor, "B 1 3"]:
        """Where the neck meets the head, in mm."""
        low = controls[:, :17, 1].amax(1)
        return torch.stack([torch.zeros_like(low), low - 12, torch.full_like(low, -75.0)], 1).unsqueeze(1)

    def _outermost(self, lines: Float[Tensor, "B J S 3"], roll: Float[Tensor, " B"]) -> Float[Tensor, "B J 3"]:
        """The point of each line that lies furthest out in the picture: the contour that an annotator sees."""
        cos, sin = roll.cos()[:, None], roll.sin()[:, None]
        nx, ny = self.head.jaw_normals.T
        out = lines[..., 0] * (cos * nx - sin * ny).unsqueeze(2) + lines[..., 1] * (sin * nx + cos * ny).unsqueeze(2)
        chosen = out.argmax(2)
        return lines.gather(2, chosen[..., None, None].expand(-1, -1, 1, 3)).squeeze(2)

    def _at(self, picture: Float[Tensor, "B S S"], points: Float[Tensor, "B L 3"]) -> Float[Tensor, "B L"]:
        places = points[..., :2].round().long().clamp(0, self.crop - 1)
        return picture.flatten(1).gather(1, places[..., 1] * self.crop + places[..., 0])


def _draw_shape(dice: Dice) -> Float[Tensor, "B M"]:
    """Coefficients of identity, then of expression."""
    zero = dice.uniform(0.0, 0.0)
    talk = dice.pick(0.45, 0.3, 0.17, 0.08)  # closed, parted, open, wide open
    wide = torch.tensor([[0.0, 0.0], [1.0, 6.0], [5.0, 18.0], [18.0, 38.0]], device=zero.device)[talk]
    smile = (dice.uniform(-0.8, 1.0).clamp(min=0) + (0.3 * dice.chance(0.2))).clamp(max=1.1)
    expression = {
        "open": wide[:, 0] + dice.uniform(0.0, 1.0) * (wide[:, 1] - wide[:, 0]),
        "blink": torch.where(dice.chance(0.08), dice.uniform(0.75, 1.0), dice.uniform(-0.25, 0.4)),
        "squint": dice.uniform(0.0, 0.5) + 0.6 * smile,
        "smile": smile,
        "grin": smile * dice.uniform(-0.4, 1.4).clamp(min=0),
        "pout": dice.chance(0.08) * dice.uniform(0.2, 1.0),
        "sulk": dice.uniform(-0.3, 0.5) * (smile == 0),
        "raise": dice.uniform(-0.3, 1.0) * dice.chance(0.5),
        "frown": dice.uniform(0.0, 0.9) * dice.chance(0.35),
    }
    return torch.cat([dice.normal(1.0, len(IDENTITY)), torch.stack([expression[name] for name in EXPRESSION], 1)], 1)


def _draw_pose(dice: Dice) -> Float[Tensor, "B 3"]:
    """Yaw, pitch and roll in rad: most faces look towards the camera."""
    yaw = torch.where(dice.chance(0.75), dice.normal(0.26), dice.uniform(-MAX_YAW, MAX_YAW)).clamp(-MAX_YAW, MAX_YAW)
    roll = torch.where(dice.chance(0.8), dice.normal(0.10), dice.normal(0.24))
    return torch.stack([yaw, dice.normal(0.17) + 0.03, roll], 1)


def _draw_box(dice: Dice, points: Float[Tensor, "B L 2"]) -> Float[Tensor, "B 4"]:
    """A detector's box around landmarks, in their unit: ``x0 y0 x1 y1``."""
    low, high = points.amin(1), points.amax(1)
    first, second = dice.normal(1.0), dice.normal(1.0)
    mixed = BOX_LOG_CORRELATION * first + math.sqrt(1 - BOX_LOG_CORRELATION**2) * second
    spread = torch.tensor([BOX_LOG_MEAN, BOX_LOG_SPREAD, BOX_SHIFT_SPREAD], device=points.device)
    sides = (high - low) * (spread[0] + spread[1] * torch.stack([first, mixed], 1)).exp()
    tail = 1 + (BOX_TAIL[1] - 1) * dice.chance(BOX_TAIL[0]).unsqueeze(1)
    centre = (low + high) / 2 + (high - low) * spread[2] * tail * dice.normal(1.0, 2)
    return torch.cat([centre - sides / 2, centre + sides / 2], 1)
