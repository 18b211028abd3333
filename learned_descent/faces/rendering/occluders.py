"""What hides a part of a synthetic face: glasses, hands, and things in front of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ...landmarks.schema import IBUG68
from .appearance import Look
from .background import ONE, cover, pixels, shape_masks, shapes
from .regions import NASION, soft
from .sampler import Dice
from .zbuffer import ZBuffer

_FRAMES = torch.tensor(
    [
        [0.05, 0.05, 0.06],
        [0.30, 0.18, 0.10],
        [0.62, 0.52, 0.30],
        [0.60, 0.60, 0.63],
        [0.45, 0.08, 0.10],
    ]
)
_BESIDE_EYES, _EARS = 4.0, (80.0, -100.0)


class Canvas:
    """Pictures with a record of what was put over the faces.

    Args:
        colour: in 0..1.
    """

    def __init__(self, colour: Float[Tensor, "B 3 S S"]) -> None:
        self.colour, self.hidden = colour, torch.zeros_like(colour[:, 0])

    @property
    def size(self) -> int:
        """The side, in px."""
        return self.colour.shape[-1]

    def put(
        self, colour: Tensor, share: Float[Tensor, "N S S"], faces: Int64[Tensor, " N"]
    ) -> None:
        """``share`` of a colour over some of the pictures."""
        self.colour.index_copy_(0, faces, cover(self.colour.index_select(0, faces), colour, share))
        self.hidden.index_copy_(0, faces, torch.maximum(self.hidden.index_select(0, faces), share))


@dataclass(frozen=True)
class View:
    """How heads lie in the picture.

    Args:
        turn: the rotation of each head, ``(B, 3, 3)``.
        origin: a point of each head, in mm, ``(B, 3)``, and where it falls: column and row in px,
            depth in mm, ``(B, 3)``.
        place: see ``origin``.
        scale: px per mm, ``(B,)``.
    """

    turn: Tensor
    origin: Tensor
    place: Tensor
    scale: Tensor

    def of(self, faces: Int64[Tensor, " N"]) -> View:
        """The views of some of the faces."""
        return View(self.turn[faces], self.origin[faces], self.place[faces], self.scale[faces])

    def __call__(self, points: Float[Tensor, "B 3"]) -> Float[Tensor, "B 3"]:
        """Where points of the heads fall: column and row in px, depth in mm."""
        turned = (self.turn @ (points - self.origin).unsqueeze(2)).squeeze(2)
        unit = torch.stack([self.scale, self.scale, torch.ones_like(self.scale)], 1)
        return self.place + unit * turned


def put_glasses(
    dice: Dice,
    picture: Canvas,
    seen: ZBuffer,
    controls: Float[Tensor, "B K 3"],
    view: View,
    share: float,
) -> None:
    """Puts glasses on a share of the faces: two lenses in a plane before the eyes, a bridge, and
    arms to the ears.

    Args:
        dice: for who wears them, their shape, colour and tint.
        picture: the pictures, with the heads painted.
        seen: what hides the arms and the far lens.
        controls: the controls of the heads, in mm.
        view: how the heads lie in the picture.
        share: the share of faces that wear glasses.
    """
    wears, sun = dice.chance(share).nonzero().flatten(), dice.chance(0.3)
    tint = torch.where(sun, dice.uniform(0.7, 0.97), dice.uniform(0.0, 0.12))[wears]
    glass = torch.where(
        sun.unsqueeze(1), dice.uniform(0.02, 0.16, 3), dice.uniform(0.5, 1.0, 1).expand(-1, 3)
    )[wears]
    width, height = dice.uniform(20.0, 27.0)[wears], dice.uniform(13.0, 22.0)[wears]
    thick, corners = dice.uniform(0.7, 2.4)[wears], dice.uniform(0.0, 1.2)[wears]
    drop, frame = dice.uniform(0.0, 6.0)[wears], dice.colour(_FRAMES, 0.03)[wears]
    if not len(wears):
        return
    view, points = view.of(wears), controls[wears]
    left, right = (points[:, list(eye)].mean(1) for eye in (IBUG68.left_eye, IBUG68.right_eye))
    middle, gap = (left + right) / 2, (right - left)[:, 0] / 2 + 1
    bridge_depth = points[:, NASION, 2]
    front = torch.stack([middle[:, 0], middle[:, 1] + drop, bridge_depth + _BESIDE_EYES], 1)
    place = view(front)
    columns, rows = pixels(picture.size, points)
    back = torch.linalg.inv(view.scale[ONE] * view.turn[:, :2, :2])[..., None, None]
    dx, dy = columns - place[:, 0][ONE], rows - place[:, 1][ONE]
    a, b = back[:, 0, 0] * dx + back[:, 0, 1] * dy, back[:, 1, 0] * dx + back[:, 1, 1] * dy
    depth = place[:, 2][ONE] + view.turn[:, 2, 0][ONE] * a + view.turn[:, 2, 1][ONE] * b
    behind = seen.depth(wears)
    before = soft(depth - behind + 10, 4.0)
    across, upright = (a.abs() - gap[ONE]).div(width[ONE]).square(), b.div(height[ONE]).square()
    oval, square = (across + upright).sqrt(), (across.square() + upright.square()).sqrt().sqrt()
    rim = (torch.lerp(oval, square, corners[ONE]) - 1) * torch.minimum(width, height)[ONE]
    picture.put(glass, soft(-rim, 1.0) * before * tint[ONE], wears)
    pixel = 0.8 / view.scale[ONE]
    bar = soft(thick[ONE] - (b + 0.3 * height[ONE] + 0.01 * a.square()).abs(), pixel) * soft(
        (gap - width)[ONE] - a.abs(), 2.0
    )
    bars = torch.maximum(soft(thick[ONE] - rim.abs(), pixel), bar) * before
    for sign in (-1.0, 1.0):
        hinge = front + torch.stack([sign * (gap + width), -0.3 * height, 0 * gap], 1)
        ear = torch.stack(
            [
                torch.full_like(gap, sign * _EARS[0]),
                hinge[:, 1] - 2,
                torch.full_like(gap, _EARS[1]),
            ],
            1,
        )
        first, last = view(hinge), view(ear)
        step = last - first
        length = step[:, :2].square().sum(1).clamp(min=1e-3)
        ux, uy = columns - first[:, 0][ONE], rows - first[:, 1][ONE]
        t = (ux * (step[:, 0] / length)[ONE] + uy * (step[:, 1] / length)[ONE]).clamp(0, 1)
        gone = ((ux - t * step[:, 0][ONE]).square() + (uy - t * step[:, 1][ONE]).square()).sqrt()
        near = soft(first[:, 2][ONE] + t * step[:, 2][ONE] - behind + 6, 4.0)
        bars = torch.maximum(bars, soft((thick * view.scale)[ONE] + 0.3 - gone, 1.0) * near)
    picture.put(frame, 0.95 * bars, wears)


def put_hand(dice: Dice, picture: Canvas, look: Look, box_side: float, share: float) -> None:
    """Puts four fingers in the colour of the skin over a share of the faces.

    Args:
        dice: for who holds a hand where.
        picture: the pictures.
        look: the colours of the skin.
        box_side: the side of the box of a face, in px.
        share: the share of faces with a hand.
    """
    faces, angle = dice.chance(share).nonzero().flatten(), dice.uniform(0.0, 6.2832)
    reach, width = dice.uniform(0.15, 0.5) * box_side, dice.uniform(0.05, 0.07) * box_side
    fan, glow, tips = (
        dice.normal(0.08),
        dice.uniform(0.7, 1.0, 1),
        dice.uniform(0.0, 0.12, 4) * box_side,
    )
    if not len(faces):
        return
    angle, width, fan = (
        angle[faces][ONE],
        width[faces][ONE].unsqueeze(1),
        fan[faces][ONE].unsqueeze(1),
    )
    columns, rows = pixels(picture.size, angle)
    dx, dy = columns - picture.size / 2, rows - picture.size / 2
    out, side = dx * angle.cos() + dy * angle.sin(), dy * angle.cos() - dx * angle.sin()
    along = out.unsqueeze(1) - (reach.unsqueeze(1) + tips)[faces][..., None, None]
    offset = torch.tensor([-3.0, -1.0, 1.0, 3.0], device=angle.device).view(4, 1, 1)
    aside = side.unsqueeze(1) - offset * width * (1 + fan * along / 30)
    gone = (along.clamp(max=0).square() + aside.square()).sqrt() / width
    round_ = (1 - gone.square()).clamp(min=0).sqrt() - 0.25 * soft(
        4 - (along % (6 * width)), 4.0
    ) * soft(along - 9, 2.0)
    skin = (glow * look.skin)[faces][:, None, :, None, None] * (0.5 + 0.55 * round_).unsqueeze(2)
    for colour, finger in zip(skin.unbind(1), soft((1 - gone) * width, 1.0).unbind(1)):
        picture.put(colour, finger, faces)


def put_things(dice: Dice, picture: Canvas, share: float) -> None:
    """Puts ellipses, boxes and bars, some with stripes, over a share of the pictures, and a second
    one over a third of them.
    """
    for probability in (share, share / 3):
        faces, shape = (
            dice.chance(probability).nonzero().flatten(),
            shapes(dice, picture.size, 0.03, 0.3),
        )
        colour, stripes = dice.uniform(0.0, 1.0, 3), dice.uniform(0.0, 0.5) * dice.chance(0.5)
        if len(faces):
            columns, rows = pixels(picture.size, colour)
            wave = (
                stripes[faces][ONE]
                * ((columns + 0.6 * rows) * (0.3 + 0.5 * shape[faces, 4])[ONE]).sin()
            )
            textured = colour[faces][..., None, None] * (1 + wave).unsqueeze(1)
            picture.put(textured.clamp(0, 1), shape_masks(shape[faces], picture.size), faces)
