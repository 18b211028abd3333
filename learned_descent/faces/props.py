"""What hides a part of a synthetic face: glasses, hands, and things in front of it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from .dice import Dice
from .look import Look
from .masks import soft
from .render import ZBuffer
from .scene import pixels, some_shapes
from .schema import IBUG68

_ONE = (slice(None), None, None)
_FRAMES = torch.tensor([[0.05, 0.05, 0.06], [0.30, 0.18, 0.10], [0.62, 0.52, 0.30], [0.60, 0.60, 0.63], [0.45, 0.08, 0.10]])


class Picture:
    """Pictures with a record of what was put over the faces.

    Args:
        colour: in 0..1.
    """

    def __init__(self, colour: Float[Tensor, "B 3 S S"]) -> None:
        self.colour = colour
        self.hidden = torch.zeros_like(colour[:, 0])

    def put(self, other: Tensor, share: Float[Tensor, "B S S"], rows: Tensor | None = None) -> None:
        """``share`` of another colour over the pictures, or over some of them."""
        if rows is None:
            self.colour = torch.lerp(self.colour, other.expand_as(self.colour), share.unsqueeze(1))
            self.hidden = torch.maximum(self.hidden, share)
        elif len(rows):
            old = self.colour[rows]
            self.colour[rows] = torch.lerp(old, other.expand_as(old), share.unsqueeze(1))
            self.hidden[rows] = torch.maximum(self.hidden[rows], share)


def put_glasses(
    dice: Dice,
    picture: Picture,
    seen: ZBuffer,
    controls: Float[Tensor, "B K 3"],
    pose: Float[Tensor, "B 3 3"],
    place: Float[Tensor, "B 3"],
    share: float,
) -> None:
    """Puts glasses on a share of the faces: two lenses in a plane before the eyes, a bridge and the arms to the ears.

    Args:
        dice: for their shape, colour and tint.
        picture: the pictures, with the head painted.
        seen: what hides the arms and the far lens.
        controls: the controls of the heads, in mm.
        pose: the rotation of the heads.
        place: where the middle between the eyes falls (column, row, in px) and the px per mm there.
        share: the share of faces that wear glasses.
    """
    size = picture.colour.shape[-1]
    wears = dice.chance(share).nonzero().flatten()
    half = torch.stack([dice.uniform(20.0, 27.0), dice.uniform(13.0, 22.0)], 1)
    thick, power, drop = dice.uniform(0.7, 2.6), dice.uniform(2.0, 5.0), dice.uniform(0.0, 6.0)
    dark = dice.chance(0.3)
    tint = torch.where(dark, dice.uniform(0.7, 0.97), dice.uniform(0.0, 0.12))
    glass = torch.where(dark.unsqueeze(1), dice.uniform(0.02, 0.16, 3), dice.uniform(0.5, 1.0, 1).expand(-1, 3))
    frame = dice.colour(_FRAMES, 0.03)
    if not len(wears):
        return
    half, thick, power, drop, tint, glass, frame, pose, place = (
        value[wears] for value in (half, thick, power, drop, tint, glass, frame, pose, place)
    )
    points, depth, covered = controls[wears], seen.depth[wears], seen.covered[wears]
    eyes = [points[:, list(eye)].mean(1) for eye in (IBUG68.left_eye, IBUG68.right_eye)]
    middle = (eyes[0] + eyes[1]) / 2
    gap = (eyes[1] - eyes[0])[:, 0] / 2 + 1.0
    front = torch.stack([middle[:, 0], middle[:, 1] + drop, points[:, IBUG68.num_points - 40, 2] + 4.0], 1)
    columns, rows = pixels(size, points)
    offset = (pose @ (front - middle).unsqueeze(2)).squeeze(2)
    origin = place[:, :2] + place[:, 2:] * offset[:, :2]
    base = place[:, 2, None, None] * pose[:, :2, :2]
    back = torch.linalg.inv(base)
    dx, dy = columns - origin[:, 0][_ONE], rows - origin[:, 1][_ONE]
    a = back[:, 0, 0][_ONE] * dx + back[:, 0, 1][_ONE] * dy
    b = back[:, 1, 0][_ONE] * dx + back[:, 1, 1][_ONE] * dy
    plane = pose[:, 2, 0][_ONE] * a + pose[:, 2, 1][_ONE] * b
    level = (pose @ front.unsqueeze(2))[:, 2, 0][_ONE] + plane
    zero = (pose @ torch.zeros_like(front).unsqueeze(2))[:, 2, 0][_ONE]
    before = soft(level - zero - depth + 12, 4.0)
    before = torch.where(covered, before, 1.0)
    q = power[_ONE] / 2
    away = ((a.abs() - gap[_ONE]) / half[:, 0][_ONE]).square().pow(q) + (b / half[:, 1][_ONE]).square().pow(q)
    rim = (away.clamp(min=1e-6).pow(0.5 / q) - 1) * half.amin(1)[_ONE]
    px = 1.0 / place[:, 2][_ONE]
    lens = soft(-rim, 1.0) * before
    picture.put(glass[..., None, None], lens * tint[_ONE], wears)
    bridge = soft(thick[_ONE] - (b + 0.3 * half[:, 1][_ONE] + 0.01 * a.square()).abs(), 2.0) * soft(
        (gap - half[:, 0])[_ONE] - a.abs() + 1, 1.0
    )
    bow = torch.maximum(soft(thick[_ONE] / 1.0 - rim.abs(), 0.8 * px), bridge) * before
    picture.put(frame[..., None, None], 0.95 * bow, wears)
    for sign in (-1.0, 1.0):
        start = front.clone()
        start[:, 0] += sign * (gap + half[:, 0])
        start[:, 1] -= 0.3 * half[:, 1]
        end = torch.stack(
            [sign * points[:, :, 0].abs().amax(1) * 0.0 + sign * 80.0, start[:, 1] - 2, torch.full_like(gap, -100.0)], 1
        )
        ends = [(pose @ (point - middle).unsqueeze(2)).squeeze(2) for point in (start, end)]
        first, second = (place[:, :2] + place[:, 2:] * point[:, :2] for point in ends)
        step = second - first
        length = step.square().sum(1).clamp(min=1e-3)
        ux, uy = columns - first[:, 0][_ONE], rows - first[:, 1][_ONE]
        t = ((ux * step[:, 0][_ONE] + uy * step[:, 1][_ONE]) / length[_ONE]).clamp(0, 1)
        gone = ((ux - t * step[:, 0][_ONE]).square() + (uy - t * step[:, 1][_ONE]).square()).sqrt()
        height = (
            torch.lerp((ends[0][:, 2])[_ONE].expand_as(t), ends[1][:, 2][_ONE].expand_as(t), t)
            + (pose @ middle.unsqueeze(2))[:, 2, 0][_ONE]
        )
        arm = soft(thick[_ONE] * place[:, 2][_ONE] * 0.9 - gone + 0.3, 1.0) * torch.where(
            covered, soft(height - depth + 6, 4.0), 0.0
        )
        picture.put(frame[..., None, None], 0.9 * arm, wears)


def put_hand(dice: Dice, picture: Picture, look: Look, box_side: float, share: float) -> None:
    """Puts four fingers over a share of the faces, in the colour of their skin."""
    size = picture.colour.shape[-1]
    chosen = dice.chance(share).nonzero().flatten()
    angle, reach = dice.uniform(0.0, 6.2832), dice.uniform(0.15, 0.55) * box_side
    width = dice.uniform(0.045, 0.065) * box_side
    bend, lengths = dice.normal(0.1), dice.uniform(0.8, 1.1, 4)
    glow = dice.uniform(0.7, 1.05)
    if not len(chosen):
        return
    angle, reach, width, bend, lengths, glow = (value[chosen] for value in (angle, reach, width, bend, lengths, glow))
    columns, rows = pixels(size, angle)
    dx, dy = columns - (size - 1) / 2, rows - (size - 1) / 2
    cos, sin = angle.cos()[_ONE], angle.sin()[_ONE]
    out, side = dx * cos + dy * sin, dy * cos - dx * sin
    for finger in range(4):
        tip = (reach + box_side * 0.3 * (1.1 - lengths[:, finger]))[_ONE]
        line = ((finger - 1.5) * 2.05 * width)[_ONE] * (1 + 0.0 * out) + bend[_ONE] * (out - tip)
        gone = ((out - tip).clamp(max=0).square() + (side - line).square()).sqrt() / width[_ONE]
        round_ = (1 - gone.square()).clamp(min=0).sqrt()
        colour = (look.skin[chosen] * glow.unsqueeze(1))[..., None, None] * (0.45 + 0.6 * round_).unsqueeze(1)
        picture.put(colour, soft((1 - gone) * width[_ONE], 1.0), chosen)


def put_things(dice: Dice, picture: Picture, texture: Float[Tensor, "B S S"], share: float) -> None:
    """Puts ellipses, boxes and bars with a texture over a share of the faces."""
    size = picture.colour.shape[-1]
    for probability in (share, share / 3):
        shapes = some_shapes(dice, size, 0.03, 0.3)
        mask = shapes.mask(size) * dice.chance(probability)[_ONE]
        colour = dice.uniform(0.0, 1.0, 3)[..., None, None]
        picture.put((colour * (1 + dice.uniform(0.0, 0.4)[_ONE] * texture).unsqueeze(1)).clamp(0, 1), mask)
