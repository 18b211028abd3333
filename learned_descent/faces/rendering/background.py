"""What is around a synthetic head: light, background, neck, shoulders and hanging hair."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .appearance import Look
from .regions import soft
from .sampler import Dice

ONE = (slice(None), None, None)
"""Numbers ``(B,)`` beside pictures ``(B, S, S)``."""


def pixels(size: int, like: Tensor) -> tuple[Float[Tensor, "1 1 S"], Float[Tensor, "1 S 1"]]:
    """The columns and the rows of a picture."""
    line = torch.arange(size, device=like.device, dtype=torch.float32)
    return line.view(1, 1, -1), line.view(1, -1, 1)


def cover(
    picture: Float[Tensor, "B 3 H W"],
    colour: Float[Tensor, "B 3"] | Tensor,
    share: Float[Tensor, "B H W"],
) -> Tensor:
    """``share`` of a colour, of one for each picture or of one for each pixel, over a picture, in
    place.
    """
    over = colour[..., None, None] if colour.ndim == 2 else colour
    return picture.lerp_(over.expand_as(picture), share.unsqueeze(1))


def enlarged(picture: Float[Tensor, "B C S S"]) -> Float[Tensor, "B C 2*S 2*S"]:
    """Pictures of twice the side. Each channel is a picture of its own: three at once are several
    times slower.
    """
    channels: Tensor = F.interpolate(
        picture.flatten(0, 1).unsqueeze(1), scale_factor=2, mode="bilinear"
    )
    return channels.view(*picture.shape[:2], *channels.shape[2:])


def shapes(dice: Dice, size: float, low: float, high: float) -> Float[Tensor, "B 6"]:
    """Ellipses, boxes and bars anywhere in a picture; half of their axes are ``low`` to ``high`` of
    its side.

    Returns:
        Column and row of the centre and half of both axes in px, the angle in rad, and whether it
        is a box.
    """
    axes = dice.uniform(math.log(low), math.log(high), 2).exp() * size
    angle, box = dice.uniform(0.0, math.pi, 1), dice.chance(0.5).unsqueeze(1)
    return torch.cat([dice.uniform(-0.1, 1.1, 2) * size, axes, angle, box.to(axes)], 1)


def shape_masks(shape: Float[Tensor, "*B 6"], size: int) -> Float[Tensor, "*B S S"]:
    """One inside of :func:`shapes`, with a soft edge."""
    columns, rows = pixels(size, shape)
    column, row, long, wide, angle, box = shape[..., None, None].unbind(-3)
    cos, sin = angle.cos(), angle.sin()
    right, down = columns - column, rows - row
    along = (right * (cos / long) + down * (sin / long)).square_()
    across = (down * (cos / wide) - right * (sin / wide)).square_()
    gone = (along + across).lerp_(torch.maximum(along, across), box)
    return soft(1 - gone, 2 / torch.minimum(long, wide))


def backdrop(dice: Dice, size: int) -> Float[Tensor, "B 3 S S"]:
    """Backgrounds in 0..1: gradients, stains of several sizes, and clutter."""

    def tone(spread: float) -> Tensor:
        grey = dice.uniform(0.05, 0.95, 1)
        return (grey + spread * dice.normal(1.0, 3) * dice.uniform(0.1, 1.0, 1)).clamp(0.0, 1.0)

    first, second = tone(0.14)[..., None, None], tone(0.14)[..., None, None]
    columns, rows = pixels(size, first)
    angle = dice.uniform(0.0, 2 * math.pi)[ONE]
    ramp = ((columns / size - 0.5) * angle.cos() + (rows / size - 0.5) * angle.sin() + 0.5).clamp(
        0, 1
    )
    picture = torch.lerp(first, second, ramp.unsqueeze(1))
    stains = torch.zeros(dice.count, 3, 1, 1, device=dice.device)
    for cells, strength in ((3, 0.16), (8, 0.12), (20, 0.08)):
        stain = 0.75 * dice.normal(1.0, 1, cells, cells) + 0.25 * dice.normal(1.0, 3, cells, cells)
        amount = (dice.uniform(0.0, strength) * dice.chance(0.7))[..., None, None, None]
        stains = (
            F.interpolate(stains, (cells, cells), mode="bilinear", align_corners=True)
            + amount * stain
        )
    picture += F.interpolate(stains, (size, size), mode="bilinear", align_corners=True)
    clutter = [
        (shapes(dice, size, 0.04, largest), dice.chance(0.5) * dice.uniform(0.4, 1.0), tone(0.22))
        for largest in (0.8, 0.5, 0.5, 0.3, 0.2)
    ]
    places, shares, colours = (torch.stack(parts, 1) for parts in zip(*clutter))
    masks = shape_masks(places, size) * shares[..., None, None]
    for mask, colour in zip(masks.unbind(1), colours.unbind(1)):
        cover(picture, colour, mask)
    return picture.clamp_(0, 1)


def body(
    dice: Dice,
    picture: Float[Tensor, "B 3 S S"],
    look: Look,
    neck: Float[Tensor, "B 2"],
    crown: Float[Tensor, "B 2"],
    half: Float[Tensor, " B"],
    scale: Float[Tensor, " B"],
    light: Float[Tensor, "B 3"],
    fibres: Float[Tensor, "B S S"],
) -> Float[Tensor, "B 3 S S"]:
    """Paints hair behind the head, neck, shoulders and long hair over them, from the back to the
    front, in place.

    Args:
        dice: for the clothes and the hair.
        picture: the background.
        look: colours and hair.
        neck: where the neck leaves the head, column and row in px.
        crown: the middle of the head above it, in px.
        half: half the width of the neck, in mm.
        scale: px per mm.
        light: the direction to the light.
        fibres: random pictures of strands.
    """
    columns, rows = pixels(picture.shape[-1], picture)
    down = (rows - neck[:, 1][ONE]) / scale[ONE]
    lean = dice.normal(0.1)[ONE]
    tilt = ((crown - neck)[:, 0] / (neck - crown)[:, 1].clamp(min=1.0))[ONE]
    across = (columns - neck[:, 0][ONE]) / scale[ONE] + torch.where(down < 0, tilt, -lean) * down
    wide = across.abs()
    top = ((neck - crown)[:, 1] / scale)[ONE]
    bulk, end = (84 + look.volume)[ONE], look.hair_end[ONE]
    strands = look.hair[..., None, None] * (1 + look.streaks[ONE] * fibres).clamp(
        0.3, 1.5
    ).unsqueeze(1)
    edge = 4 * fibres
    # The hair that hangs behind the neck; its top is round.
    rise = ((-down - top).clamp(min=0) / 88).square()
    behind = (
        soft(1 - rise - (wide / (bulk + 0.05 * down)).square(), 0.08)
        * soft(end - 95 - down + edge, 8.0)
        * look.long[ONE]
    )
    cover(picture, 0.55 * strands, behind)
    # Neck and shoulders.
    throat = half[ONE] * (1 + 0.25 * soft(down - 60, 80.0))
    turned = (across / throat).clamp(-1, 1)
    round_ = (1 - turned.square()).sqrt() * light[:, 2][ONE] + turned * light[:, 0][ONE]
    glow = (0.30 + 0.45 * round_.clamp(min=0)) * (0.65 + 0.5 * soft(down - 45, 80.0))
    cover(
        picture,
        look.skin[..., None, None] * glow.unsqueeze(1),
        soft(throat - wide, 4.0) * soft(down + 45, 20.0),
    )
    collar = dice.uniform(36.0, 64.0)[ONE] + dice.uniform(-0.5, 0.1)[ONE] * wide.clamp(max=60)
    shoulder = 28 + 0.0035 * (wide - 40).clamp(min=0).square() + 0.22 * wide
    cloth = torch.maximum(soft(down - collar, 3.0), soft(wide - throat, 3.0)) * soft(
        down - shoulder, 3.0
    )
    drape = (0.72 + 0.05 * fibres + 0.22 * turned * light[:, 0][ONE]).clamp(0.2, 1.2)
    cover(picture, look.cloth[..., None, None] * drape.unsqueeze(1), cloth)
    # Locks in front of the shoulders.
    inner = dice.uniform(0.6, 1.0)[ONE] * (bulk - 20)
    lock = soft(bulk - 3 + 0.05 * down - wide + edge, 4.0) * soft(wide - inner + edge, 5.0)
    lock = lock * soft(end - 110 - down + 2 * edge, 10.0) * soft(down + 40, 20.0) * look.long[ONE]
    return cover(picture, 0.85 * strands, lock)


@dataclass(frozen=True)
class Light:
    """One light from a direction, and one from everywhere.

    Args:
        direction: unit vectors to the light, ``(B, 3)``.
        colour: of the light, ``(B, 3)``.
        ambient: of what comes from everywhere, ``(B, 3)``.
        gloss: how much the skin shines, ``(B,)``.
    """

    direction: Tensor
    colour: Tensor
    ambient: Tensor
    gloss: Tensor

    @staticmethod
    def draw(dice: Dice) -> Light:
        """A random light for each face; from above more often than from below."""
        direction = torch.stack(
            [dice.normal(0.7), dice.normal(0.4) - 0.4, dice.uniform(0.4, 1.2)], 1
        )
        warmth = dice.normal(0.05, 1) * torch.tensor([1.0, 0.0, -1.0], device=dice.device)
        stage = dice.normal(0.14, 3) * dice.chance(0.15).unsqueeze(1)
        share, level = dice.uniform(0.2, 0.75).unsqueeze(1), dice.uniform(0.8, 1.08).unsqueeze(1)
        return Light(
            direction=F.normalize(direction, dim=1),
            colour=level * share * (1 + warmth + stage),
            ambient=level * (1 - 0.72 * share) * (1 - warmth / 2),
            gloss=dice.uniform(0.0, 0.22),
        )

    def shine(
        self,
        colour: Float[Tensor, "B 3 G G"],
        normal: Float[Tensor, "B 3 G G"],
        shade: Float[Tensor, "G G"],
    ) -> Float[Tensor, "B 3 G G"]:
        """Colours under the light: diffuse, dimmer where ``shade`` is below 1, with a highlight."""
        halfway = F.normalize(
            self.direction + torch.tensor([0.0, 0.0, 1.0], device=colour.device), dim=1
        )
        towards = torch.stack([self.direction, halfway], 1) @ normal.flatten(2)
        cosine, bright = towards.view(-1, 2, *shade.shape).unbind(1)
        bright.clamp_(min=0).square_().square_().square_().square_().mul_(self.gloss[ONE])
        direct = cosine.add_(0.15).clamp_(min=0).mul_((0.6 + 0.4 * shade) / 1.15)
        around = torch.addcmul(0.9 * shade, normal[:, 1], shade, value=-0.15)
        lit = self.ambient[..., None, None] * around.unsqueeze(1)
        lit.addcmul_(self.colour[..., None, None], direct.unsqueeze(1)).mul_(colour)
        return lit.addcmul_(self.colour[..., None, None], bright.unsqueeze(1))
