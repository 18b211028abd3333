"""What a camera makes of a picture: focus, exposure, noise and compression."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ...landmarks.filters import blurred
from .sampler import Dice

_AT_ONCE = 4
"""So few pictures at a time stay in the nearest cache of a processor, and use the same memory
again."""


def blocky(
    picture: Float[Tensor, "B C S S"], step: Float[Tensor, " B"]
) -> Float[Tensor, "B C S S"]:
    """Pictures whose blocks of 8 px are rounded in frequency space, as JPEG does.

    Args:
        picture: in 0..255; the side is a multiple of 8.
        step: the step of the mean of a block, in grey values; higher frequencies have coarser ones.

    References:
        G. K. Wallace. The JPEG still picture compression standard. Communications of the ACM, 1991.
    """
    k = torch.arange(8, device=picture.device, dtype=picture.dtype)
    basis = (math.pi / 8 * (k + 0.5) * k.unsqueeze(1)).cos() * 0.5
    basis[0] *= math.sqrt(0.5)
    waves = torch.kron(basis, basis)
    blocks = picture.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).transpose(3, 4)
    coarse = step.view(-1, 1, 1) * (1 + (k + k.unsqueeze(1)) / 3).flatten()
    frequency = (blocks.reshape(len(picture), -1, 64) @ waves.mT).div_(coarse).round_().mul_(coarse)
    found: Tensor = (frequency @ waves).view_as(blocks).transpose(3, 4).reshape(picture.shape)
    return found


def photograph(
    dice: Dice, picture: Float[Tensor, "B 3 S S"], noise: Float[Tensor, "N 3 S S"]
) -> UInt8[Tensor, "B 3 S S"]:
    """Photographs of pictures in 0..1.

    Args:
        dice: for the settings of the cameras.
        picture: what is seen.
        noise: random pictures of unit variance to choose from.
    """
    sigma = torch.where(dice.chance(0.7), dice.uniform(0.45, 0.75), dice.uniform(0.75, 1.8))
    grey = (dice.chance(0.1) + dice.chance(0.3) * dice.uniform(0.0, 0.6)).clamp(max=1)[
        :, None, None
    ]
    gain = (dice.normal(0.15, 1) + dice.normal(0.04, 3)).exp().unsqueeze(2)
    unit = torch.eye(3, device=picture.device)
    colours = 255 * gain * torch.lerp(unit, torch.full_like(unit, 1 / 3), grey)
    level = 255 * (0.45 + dice.normal(0.045)[:, None, None] - 0.45 * gain)
    grains = (dice.uniform(0.0, 1.0) * len(noise)).long()
    strength = (dice.uniform(0.0, 1.0).square() * 8 + 0.7)[:, None, None, None]
    squeezed, step = dice.chance(0.35), dice.uniform(4.0, 20.0)
    photos = torch.empty_like(picture, dtype=torch.uint8)
    parts = zip(
        *(
            part.split(_AT_ONCE)
            for part in (photos, picture, sigma, colours, level, grains, strength, squeezed, step)
        )
    )
    for photo, seen, blur, colour, base, grain, amount, packed, quantum in parts:
        taken = torch.baddbmm(base, colour, blurred(seen, blur).flatten(2)).view_as(seen)
        taken.addcmul_(noise.index_select(0, grain), amount)
        chosen = packed.nonzero().flatten()
        if len(chosen):
            taken.index_copy_(0, chosen, blocky(taken.index_select(0, chosen), quantum[chosen]))
        photo.copy_(taken.clamp_(0, 255).round_())
    return photos
