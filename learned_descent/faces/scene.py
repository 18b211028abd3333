"""What is around a synthetic face: light, body, background, and the camera that takes the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .dice import Dice
from .look import Look
from .masks import soft

_CLUTTER = 40
"""The side of the coarse picture that a background is made of, in px."""


def pixels(size: int, like: Tensor) -> tuple[Float[Tensor, "1 1 S"], Float[Tensor, "1 S 1"]]:
    """The columns and the rows of a picture."""
    line = torch.arange(size, device=like.device, dtype=torch.float32)
    return line.view(1, 1, -1), line.view(1, -1, 1)


@dataclass(frozen=True)
class Shapes:
    """Ellipses, boxes and bars, one for each face.

    Args:
        centre: in px, ``(B, 2)``.
        axes: half the lengths of the axes in px, ``(B, 2)``.
        angle: in rad, ``(B,)``.
        power: 2 for an ellipse; a larger one for a box, ``(B,)``.
    """

    centre: Tensor
    axes: Tensor
    angle: Tensor
    power: Tensor

    def mask(self, size: int, edge: float = 1.0) -> Float[Tensor, "B S S"]:
        """One inside, with an edge of about ``edge`` px."""
        columns, rows = pixels(size, self.centre)
        one = (slice(None), None, None)
        dx, dy = columns - self.centre[:, 0][one], rows - self.centre[:, 1][one]
        cos, sin = self.angle.cos()[one], self.angle.sin()[one]
        along, across = (dx * cos + dy * sin) / self.axes[:, 0][one], (dy * cos - dx * sin) / self.axes[:, 1][one]
        square = torch.where(
            self.power[one] > 2, torch.maximum(along.square(), across.square()), along.square() + across.square()
        )
        return soft((1 - square) * self.axes.amin(1)[one] / 2, edge)


def some_shapes(dice: Dice, size: float, low: float, high: float) -> Shapes:
    """Shapes anywhere in a picture; half of their axes are ``low`` to ``high`` of its side."""
    return Shapes(
        centre=dice.uniform(-0.1, 1.1, 2) * size,
        axes=(dice.uniform(math.log(low), math.log(high), 2)).exp() * size,
        angle=dice.uniform(0.0, math.pi),
        power=torch.where(dice.chance(0.5), 2.0, 8.0),
    )


def backdrop(dice: Dice, size: int) -> Float[Tensor, "B 3 S S"]:
    """Backgrounds in 0..1: gradients, stains of several sizes and clutter out of focus, then a few sharp shapes."""
    first, second = dice.uniform(0.0, 1.0, 3), dice.uniform(0.0, 1.0, 3)
    plain = dice.chance(0.6).unsqueeze(1)
    first, second = (
        torch.where(plain, c.mean(1, keepdim=True) + 0.25 * (c - c.mean(1, keepdim=True)), c) for c in (first, second)
    )
    columns, rows = pixels(_CLUTTER, first)
    angle = dice.uniform(0.0, 2 * math.pi)[:, None, None]
    ramp = ((columns / _CLUTTER - 0.5) * angle.cos() + (rows / _CLUTTER - 0.5) * angle.sin() + 0.5).clamp(0, 1)
    coarse = torch.lerp(first[..., None, None], second[..., None, None], ramp.unsqueeze(1))
    for cells in (4, 10, _CLUTTER):
        stain = dice.normal(1.0, 3, cells, cells)
        stain = 0.6 * stain.mean(1, keepdim=True) + 0.4 * stain
        if cells < _CLUTTER:
            stain = F.interpolate(stain, (_CLUTTER, _CLUTTER), mode="bilinear", align_corners=True)
        coarse = coarse + (dice.uniform(0.0, 0.22) * dice.chance(0.8))[:, None, None, None] * stain
    for _ in range(7):
        mask = some_shapes(dice, _CLUTTER, 0.03, 0.5).mask(_CLUTTER) * dice.chance(0.6)[:, None, None]
        coarse = torch.lerp(coarse, dice.uniform(0.0, 1.0, 3)[..., None, None], mask.unsqueeze(1))
    picture = F.interpolate(coarse, (size, size), mode="bilinear", align_corners=True)
    for _ in range(2):
        mask = some_shapes(dice, size, 0.02, 0.4).mask(size) * dice.chance(0.35)[:, None, None]
        picture = torch.lerp(picture, dice.uniform(0.0, 1.0, 3)[..., None, None], mask.unsqueeze(1))
    return picture.clamp_(0, 1)


def body(
    dice: Dice,
    picture: Float[Tensor, "B 3 S S"],
    look: Look,
    neck: Float[Tensor, "B 3"],
    scale: Float[Tensor, " B"],
    light: Float[Tensor, "B 3"],
) -> Float[Tensor, "B 3 S S"]:
    """Paints hair behind the head, neck, shoulders and long hair over them, from the back to the front.

    Args:
        dice: for the pose of the body.
        picture: the background.
        look: colours and hair.
        neck: where the neck leaves the head: column, row in px, and its half width in mm.
        scale: px per mm.
        light: the direction to the light.
    """
    size = picture.shape[-1]
    columns, rows = pixels(size, picture)
    one, three = (slice(None), None, None), (slice(None), slice(None), None, None)
    lean = dice.normal(0.12)
    down = (rows - neck[:, 1][one]) / scale[one]
    across = (columns - neck[:, 0][one]) / scale[one] - lean[one] * down
    wide = across.abs()
    ripple = dice.normal(1.0, 1, 9, 12)
    ripple = F.interpolate(ripple, (size, size), mode="bilinear", align_corners=True)[:, 0]
    strands = F.interpolate(dice.normal(1.0, 1, 4, size // 2), (size, size), mode="bilinear", align_corners=True)[:, 0]
    # The hair that hangs behind the neck.
    bulk, end = (86 + look.volume)[one], look.hair_end[one]
    behind = soft(bulk + 0.06 * down - wide + 3 * ripple, 3.0) * soft(end - 95 - down + 5 * ripple, 6.0) * look.long[one]
    behind = behind * soft(down + 130, 30.0)
    fibre = (1 + look.streaks[one] * strands).clamp(0.4, 1.5).unsqueeze(1)
    picture = torch.lerp(picture, 0.55 * look.hair[three] * fibre, behind.unsqueeze(1))
    # Neck and shoulders.
    half = neck[:, 2][one] * (1 + 0.0022 * (down - 25).clamp(min=0).square().clamp(max=900) / 10)
    turned = (across / half).clamp(-1, 1)
    glow = 0.42 + 0.5 * ((1 - turned.square()).clamp(min=0).sqrt() * light[:, 2][one] + turned * light[:, 0][one]).clamp(min=0)
    glow = glow * (0.62 + 0.38 * soft(down - 45, 60.0))
    picture = torch.lerp(
        picture, look.skin[three] * glow.unsqueeze(1), (soft(half - wide, 2.0) * soft(down + 60, 20.0)).unsqueeze(1)
    )
    collar = dice.uniform(48.0, 80.0)[one] + dice.uniform(-0.5, 0.1)[one] * wide.clamp(max=60)
    shoulder = 40 + 0.0035 * (wide - 40).clamp(min=0).square() + 0.22 * wide
    cloth = torch.maximum(soft(down - collar, 2.0), soft(wide - half, 2.0)) * soft(down - shoulder, 2.5)
    drape = (0.75 + 0.12 * ripple + 0.25 * turned * light[:, 0][one]).clamp(0.2, 1.2)
    picture = torch.lerp(picture, look.cloth[three] * drape.unsqueeze(1), cloth.unsqueeze(1))
    # Locks in front of the shoulders.
    inner = dice.uniform(0.55, 1.0)[one] * (bulk - 22)
    lock = soft(bulk - 4 + 0.05 * down - wide + 3 * ripple, 3.0) * soft(wide - inner + 4 * ripple, 4.0)
    lock = lock * soft(end - 110 - down + 6 * ripple, 6.0) * soft(down + 40, 20.0) * look.long[one]
    return torch.lerp(picture, 0.85 * look.hair[three] * fibre, lock.unsqueeze(1))


@dataclass(frozen=True)
class Light:
    """One light from a direction, one from everywhere, each with its colour.

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
        direction = torch.stack([dice.normal(0.75), dice.normal(0.45) - 0.35, dice.uniform(0.35, 1.2)], 1)
        tint = (
            1
            + dice.normal(0.06, 1) * torch.tensor([1.0, 0.0, -1.0]).to(direction)
            + dice.normal(0.05, 3) * dice.chance(0.25).unsqueeze(1)
        )
        share = dice.uniform(0.15, 0.8)
        level = dice.uniform(0.85, 1.25)
        return Light(
            direction=F.normalize(direction, dim=1),
            colour=(level * share * 1.15).unsqueeze(1) * tint,
            ambient=(level * (1 - share * 0.8)).unsqueeze(1) * (1 + dice.normal(0.04, 3)),
            gloss=dice.uniform(0.0, 0.35),
        )

    def shine(
        self, colour: Float[Tensor, "B 3 G G"], normal: Float[Tensor, "B 3 G G"], shade: Tensor
    ) -> Float[Tensor, "B 3 G G"]:
        """Colours under the light: diffuse, dimmer where ``shade`` is below 1, with a highlight."""
        direction = self.direction
        cosine = torch.einsum("bc,bchw->bhw", direction, normal)
        halfway = F.normalize(direction + torch.tensor([0.0, 0.0, 1.0]).to(direction), dim=1)
        bright = torch.einsum("bc,bchw->bhw", halfway, normal).clamp(min=0)
        bright = bright.square().square().square()
        bright = self.gloss[:, None, None] * bright.square()
        wrapped = ((cosine + 0.15) / 1.15).clamp(min=0) * (0.6 + 0.4 * shade)
        upward = shade * (0.85 - 0.15 * normal[:, 1])
        lit = self.ambient[..., None, None] * upward.unsqueeze(1) + self.colour[..., None, None] * wrapped.unsqueeze(1)
        return colour * lit + (0.3 * self.colour)[..., None, None] * bright.unsqueeze(1)


def blurred(picture: Float[Tensor, "B 3 S S"], sigma: Float[Tensor, " B"], taps: int = 4) -> Float[Tensor, "B 3 S S"]:
    """Pictures blurred by Gaussians of ``sigma`` px each."""
    offsets = torch.arange(taps, device=picture.device)
    weights = (-(offsets.square() / (2 * sigma.clamp(min=0.05).unsqueeze(1).square()))).exp()
    weights = (weights / (2 * weights.sum(1, keepdim=True) - weights[:, :1]))[:, :, None, None, None]
    size, reach = picture.shape[-1], taps - 1
    for axis, padding in ((3, (reach, reach, 0, 0)), (2, (0, 0, reach, reach))):
        padded = F.pad(picture, padding, mode="replicate")
        picture = weights[:, 0] * picture
        for offset in range(1, taps):
            both = padded.narrow(axis, reach - offset, size) + padded.narrow(axis, reach + offset, size)
            picture.addcmul_(weights[:, offset], both)
    return picture


def blocky(picture: Float[Tensor, "B 3 S S"], step: Float[Tensor, " B"]) -> Float[Tensor, "B 3 S S"]:
    """Pictures whose blocks of 8 px are rounded in frequency space, as JPEG does; the side is a multiple of 8.

    References:
        G. K. Wallace. The JPEG still picture compression standard. Communications of the ACM, 1991.
    """
    k = torch.arange(8, device=picture.device, dtype=picture.dtype)
    basis = (math.pi / 8 * (k + 0.5) * k.unsqueeze(1)).cos() * 0.5
    basis[0] *= math.sqrt(0.5)
    blocks = picture.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).transpose(3, 4)
    frequency = basis @ blocks @ basis.mT
    coarse = step.view(-1, 1, 1, 1, 1, 1) * (1 + (k + k.unsqueeze(1)) / 3)
    frequency = (frequency / coarse).round() * coarse
    return (basis.mT @ frequency @ basis).transpose(3, 4).flatten(4, 5).flatten(2, 3)


def photograph(dice: Dice, picture: Float[Tensor, "B 3 S S"], noise: Float[Tensor, "N 3 S S"]) -> Float[Tensor, "B 3 S S"]:
    """What a camera makes of pictures in 0..1: focus, exposure, white balance, noise and compression; in 0..255."""
    one = (slice(None), None, None, None)
    sigma = torch.where(dice.chance(0.65), dice.uniform(0.45, 0.8), dice.uniform(0.8, 2.0))
    picture = blurred(picture, sigma)
    grey = (dice.chance(0.1).float() + dice.chance(0.3).float() * dice.uniform(0.0, 0.6)).clamp(max=1)[one]
    mean = picture.mean(1, keepdim=True)
    picture = torch.lerp(picture, mean, grey)
    gain = (dice.normal(0.16, 1) + dice.normal(0.04, 3)).exp()[..., None, None]
    level = dice.normal(0.05)[one]
    picture = ((picture - 0.45) * gain + 0.45 + level).mul_(255)
    grain = noise[(dice.uniform(0.0, 1.0) * len(noise)).long()]
    picture = picture.addcmul_(grain, (dice.uniform(0.0, 1.0).square() * 11 + 0.7)[one])
    squeezed = dice.chance(0.35).nonzero().flatten()
    step = dice.uniform(4.0, 22.0)
    if len(squeezed):
        picture[squeezed] = blocky(picture[squeezed], step[squeezed])
    return picture.clamp_(0, 255)
