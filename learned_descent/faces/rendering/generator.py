"""Synthetic photographs of faces with exact landmarks, in chunks that depend on nothing but their
seed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from ...data.batches import mix
from ...data.samples import Batch
from ...landmarks.crops import check_crop
from ...landmarks.schema import IBUG68
from .appearance import draw_look
from .background import (
    ONE,
    Light,
    backdrop,
    body,
    cover,
    enlarged,
)
from .camera import photograph
from .deformations import EXPRESSION, IDENTITY
from .head import Head
from .occluders import Canvas, View, put_glasses, put_hand, put_things
from .regions import grain
from .sampler import Dice
from .texture import Paint
from .zbuffer import LARGEST_GRID, ZBuffer, in_perspective, normals, rotation

CHUNK = 16
"""The number of faces that are drawn and rendered together; many more would not stay in the cache
of a processor."""

MAX_YAW = math.radians(60)
"""The largest yaw, in rad."""

# How a detector draws its box around landmarks, seen on the boxes of 300-W: the log of the ratio of
# the sides (box over the tight box around the points) along columns and rows, with a correlation;
# the centre is off by this share of the sides, with a heavier tail than the normal distribution's:
# a share of the boxes is off by a multiple of it.
BOX_LOG_MEAN = (-0.024, -0.002)
BOX_LOG_SPREAD = (0.082, 0.058)
BOX_LOG_CORRELATION = 0.34
BOX_SHIFT_SPREAD = (0.025, 0.015)
BOX_TAIL = (0.1, 3.2)

GLASSES, HANDS, THINGS = 0.22, 0.05, 0.14
"""The shares of faces that wear glasses, or have a hand or other things before them."""

_JOINT, _CROWN, _THROAT = (0.0, 60.0, -85.0), (0.0, -10.0, -95.0), -75.0
_NOISES = 32
_WANDER = 1.35
"""What no mode of the head has, in mm: with it the smaller differences between faces are as large
as on 300-W."""


class FaceGenerator(nn.Module):
    """Draws faces and renders them, a chunk at a time.

    Args:
        crop: the side ``S`` of the picture, in px; a multiple of 8.
        box_side: the longer side of the box in it, in px; the centre of the box is that of the
            picture.

    Example:
        >>> faces = FaceGenerator(crop=64, box_side=38.0)(seed=0, chunk=0)
        >>> faces["image"].shape, faces["image"].dtype, faces["pose"].shape
        (torch.Size([16, 3, 64, 64]), torch.uint8, torch.Size([16, 3]))
    """

    def __init__(self, crop: int, box_side: float) -> None:
        check_crop(crop, box_side)
        super().__init__()
        self.crop, self.box_side = crop, box_side
        self.head = Head(min(crop, LARGEST_GRID))
        self.paint = Paint(self.head)
        noise = grain(
            crop, [(crop, crop, 1.0), (crop // 2, crop // 2, 0.5)], 4 * _NOISES, seed=3
        ).unflatten(0, (_NOISES, 4))
        fibres = grain(crop // 2, [(3, crop // 2, 1.0), (3, crop // 8, 0.8)], _NOISES, seed=4)
        self.register_buffer("noise", 0.6 * noise[:, :3] + 0.8 * noise[:, 3:], persistent=False)
        self.register_buffer("fibres", fibres, persistent=False)
        self.register_buffer("joint", torch.tensor(_JOINT).view(1, 3, 1), persistent=False)

    noise: Tensor
    fibres: Tensor
    joint: Tensor

    @torch.no_grad()
    def forward(self, seed: int, chunk: int) -> Batch:
        """The ``CHUNK`` faces of one chunk of a stream.

        Args:
            seed: of the stream.
            chunk: the number of the chunk.

        Returns:
            ``image`` uint8 ``(B, 3, S, S)``; ``points`` ``(B, L, 2)`` and ``box`` ``(B, 4)`` in px;
            ``to_photo`` ``(B, 2, 3)``; ``visible`` bool ``(B, L)``, the landmarks that nothing
            hides; ``pose`` ``(B, 3)``: yaw, pitch and roll in rad.
        """
        device, head = self.joint.device, self.head
        dice = Dice(Generator().manual_seed(mix(seed, chunk)), CHUNK, device)
        controls = head.controls(_draw_shape(dice), dice.normal(_WANDER, head.num_controls, 3))
        pose, distance = _draw_pose(dice), dice.uniform(math.log(700.0), math.log(3000.0)).exp()
        turn, look, light = rotation(pose), draw_look(dice), Light.draw(dice)
        stance = _Stance(turn, self.joint - turn @ self.joint, distance)

        # The box that a detector draws around the landmarks says where the face is in the picture.
        landmarks = controls[:, : head.num_landmarks]
        contours = stance.seen(head.contours(controls))
        flat = head.with_contour(stance.seen(landmarks.mT), contours, pose[:, 2])
        box = _draw_box(dice, flat[:, :2])
        scale = self.box_side / (box[:, 2:] - box[:, :2]).amax(1)
        shift = (self.crop - 1) / 2 - scale.unsqueeze(1) * (box[:, :2] + box[:, 2:]) / 2
        frame = _Frame(scale, shift)

        # The head is painted at rest; then it turns, and the picture shows what is nearest.
        surface = head.surface(controls)
        hair, inside = self.paint.hair(look)
        colour = self.paint(look, controls, surface, hair)
        surface = self.paint.lifted(surface, look, inside).flatten(2)
        surface = stance.turned(surface)
        normal = normals(surface.unflatten(2, (head.side, -1)))
        grid = frame.placed(in_perspective(surface, distance)).unflatten(2, (head.side, -1))
        seen = ZBuffer(grid, head.inside & (normal[:, 2] > -0.3), self.crop)

        # What is behind the head and before it: a neck below the throat, glasses before the eyes.
        places = _throat_crown_eyes(controls, landmarks)
        eyes, marks = places[..., 2], frame.placed(stance.seen(places))
        half = 0.49 * (controls[:, head.jaw_corners[1], 0] - controls[:, head.jaw_corners[0], 0])
        around = body(
            dice,
            backdrop(dice, self.crop // 2),
            look,
            neck=marks[:, :2, 0] / 2,
            crown=marks[:, :2, 1] / 2,
            half=half,
            scale=scale / 2,
            light=light.direction,
            fibres=self.fibres.index_select(0, look.patterns[:, 0]),
        )
        lit = seen.look_up(light.shine(colour, normal, self.paint.shade))
        picture = Canvas(cover(enlarged(around), lit, seen.covered.to(lit)))
        put_glasses(dice, picture, seen, controls, View(turn, eyes, marks[:, :, 2], scale), GLASSES)
        put_hand(dice, picture, look, self.box_side, HANDS)
        put_things(dice, picture, THINGS)
        points = frame.placed(flat)
        where = points[:, :2].round().long().clamp(0, self.crop - 1)
        hidden = picture.hidden.flatten(1).gather(1, where[:, 1] * self.crop + where[:, 0])
        return {
            "image": photograph(dice, picture.colour, self.noise),
            "points": points[:, :2].mT.contiguous(),
            "box": scale.unsqueeze(1) * box + shift.repeat(1, 2),
            "to_photo": torch.eye(2, 3, device=device).repeat(CHUNK, 1, 1),
            "visible": seen.in_front(points, margin=7.0) & (hidden < 0.5),
            "pose": pose,
        }


class _Stance(NamedTuple):
    """How heads are turned, about the joint of the neck, and how far they are from the camera.

    Attributes:
        turn: the rotation, ``(B, 3, 3)``.
        offset: what it adds, for the joint stays where it is, ``(B, 3, 1)`` in mm.
        distance: from the camera, ``(B,)`` in mm.
    """

    turn: Float[Tensor, "B 3 3"]
    offset: Float[Tensor, "B 3 1"]
    distance: Float[Tensor, " B"]

    def turned(self, points: Float[Tensor, "B 3 N"]) -> Float[Tensor, "B 3 N"]:
        """Points of the head at rest, in mm, where the turn brings them."""
        return torch.baddbmm(self.offset, self.turn, points)

    def seen(self, points: Float[Tensor, "B 3 N"]) -> Float[Tensor, "B 3 N"]:
        """Points of the head at rest, in mm, as the camera sees them."""
        return in_perspective(self.turned(points), self.distance)


class _Frame(NamedTuple):
    """Where what the camera sees lies in the picture, in px.

    Attributes:
        scale: px for each unit of what the camera sees, ``(B,)``.
        shift: what is added to columns and rows, ``(B, 2)``.
    """

    scale: Float[Tensor, " B"]
    shift: Float[Tensor, "B 2"]

    def placed(self, points: Float[Tensor, "B 3 N"]) -> Float[Tensor, "B 3 N"]:
        """The points themselves, with columns and rows in px: in place, for a surface has many."""
        torch.addcmul(self.shift.unsqueeze(2), points[:, :2], self.scale[ONE], out=points[:, :2])
        return points


def _throat_crown_eyes(
    controls: Float[Tensor, "B C 3"],
    landmarks: Float[Tensor, "B L 3"],
) -> Float[Tensor, "B 3 3"]:
    """Throat, crown and middle of the eyes of each head at rest, in mm, along the last axis."""
    low = landmarks[..., 1].amax(1)
    throat = torch.stack([torch.zeros_like(low), low - 12, torch.full_like(low, _THROAT)], 1)
    crown = torch.tensor(_CROWN, device=low.device).expand_as(throat)
    eyes = controls[:, [*IBUG68.left_eye, *IBUG68.right_eye]].mean(1)
    return torch.stack([throat, crown, eyes], 2)


def _draw_shape(dice: Dice) -> Float[Tensor, "B M"]:
    """Coefficients of identity, then of expression."""
    identity, level = dice.normal(1.0, len(IDENTITY)), dice.uniform(0.0, 1.0)
    mouth = torch.tensor([[0.0, 0.0], [1.0, 6.0], [5.0, 18.0], [18.0, 34.0]])[
        dice.pick(0.45, 0.32, 0.18, 0.05).cpu()
    ].to(level)
    smile = (dice.uniform(-0.8, 1.0).clamp(min=0) + 0.3 * dice.chance(0.2)).clamp(max=1.1)
    strengths = {
        "open": torch.lerp(mouth[:, 0], mouth[:, 1], level),
        "blink": torch.where(dice.chance(0.08), dice.uniform(0.75, 1.0), dice.uniform(-0.35, 0.3)),
        "squint": dice.uniform(0.0, 0.5) + 0.6 * smile,
        "smile": smile,
        "grin": smile * dice.uniform(-0.4, 1.4).clamp(min=0),
        "pout": dice.chance(0.08) * dice.uniform(0.2, 1.0),
        "sulk": dice.uniform(-0.3, 0.5) * (smile == 0),
        "raise": dice.uniform(-0.3, 1.0) * dice.chance(0.5),
        "frown": dice.uniform(0.0, 0.9) * dice.chance(0.35),
    }
    return torch.cat([identity, torch.stack([strengths[name] for name in EXPRESSION], 1)], 1)


def _draw_pose(dice: Dice) -> Float[Tensor, "B 3"]:
    """Yaw, pitch and roll in rad: most faces look towards the camera."""
    yaw = torch.where(dice.chance(0.85), dice.normal(0.24), dice.uniform(-MAX_YAW, MAX_YAW)).clamp(
        -MAX_YAW, MAX_YAW
    )
    roll = torch.where(dice.chance(0.8), dice.normal(0.10), dice.normal(0.24))
    return torch.stack([yaw, dice.normal(0.14), roll], 1)


def _draw_box(dice: Dice, points: Float[Tensor, "B 2 L"]) -> Float[Tensor, "B 4"]:
    """A detector's box around landmarks, in their unit: ``x0 y0 x1 y1``."""
    low, high = points.amin(2), points.amax(2)
    first, second = dice.normal(1.0), dice.normal(1.0)
    second = BOX_LOG_CORRELATION * first + math.sqrt(1 - BOX_LOG_CORRELATION**2) * second
    mean, spread, off = torch.tensor(
        [BOX_LOG_MEAN, BOX_LOG_SPREAD, BOX_SHIFT_SPREAD], device=points.device
    )
    half = (high - low) / 2 * (mean + spread * torch.stack([first, second], 1)).exp()
    share, times = BOX_TAIL
    tail = torch.where(dice.chance(share), times, 1.0).unsqueeze(1)
    centre = (low + high) / 2 + (high - low) * off * tail * dice.normal(1.0, 2)
    return torch.cat([centre - half, centre + half], 1)
