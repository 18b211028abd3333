"""What a camera makes of a picture: focus, exposure, noise and compression."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .dice import Dice


def blurred(picture: Float[Tensor, "B C S S"], sigma: Float[Tensor, " B"], reach: int = 3) -> Float[Tensor, "B C S S"]:
    """Pictures under Gaussians of ``sigma`` px each, which end after ``reach`` px.

    Example:
        >>> blurred(torch.ones(1, 1, 4, 4), torch.tensor([1.5])).std().item() < 1e-6
        True
    """
    offsets = torch.arange(-reach, reach + 1, device=picture.device)
    weights = (-offsets.square() / (2 * sigma.unsqueeze(1).square())).exp()
    weights = (weights / weights.sum(1, keepdim=True)).repeat_interleave(picture.shape[1], 0)[:, None, None]
    padded = F.pad(picture, (reach,) * 4, mode="replicate").flatten(0, 1).unsqueeze(0)
    along = F.conv2d(padded, weights, groups=len(weights))
    found: Tensor = F.conv2d(along, weights.mT, groups=len(weights)).view_as(picture)
    return found


def blocky(picture: Float[Tensor, "B C S S"], step: Float[Tensor, " B"]) -> Float[Tensor, "B C S S"]:
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


def photograph(dice: Dice, picture: Float[Tensor, "B 3 S S"], noise: Float[Tensor, "N 3 S S"]) -> Float[Tensor, "B 3 S S"]:
    """Photographs in 0..255 of pictures in 0..1.

    Args:
        dice: for the settings of the cameras.
        picture: what is seen.
        noise: random pictures of unit variance to choose from.
    """
    sigma = torch.where(dice.chance(0.7), dice.uniform(0.45, 0.75), dice.uniform(0.75, 1.8))
    grey = (dice.chance(0.1) + dice.chance(0.3) * dice.uniform(0.0, 0.6)).clamp(max=1)[:, None, None]
    gain = (dice.normal(0.15, 1) + dice.normal(0.04, 3)).exp().unsqueeze(2)
    unit = torch.eye(3, device=picture.device)
    colours = 255 * gain * torch.lerp(unit, torch.full_like(unit, 1 / 3), grey)
    level = 255 * (0.45 + dice.normal(0.045)[:, None, None] - 0.45 * gain)
    picture = torch.baddbmm(level, colours, blurred(picture, sigma).flatten(2)).view_as(picture)
    grains = (dice.uniform(0.0, 1.0) * len(noise)).long()
    picture.addcmul_(noise.index_select(0, grains), (dice.uniform(0.0, 1.0).square() * 8 + 0.7)[:, None, None, None])
    squeezed, step = dice.chance(0.35).nonzero().flatten(), dice.uniform(4.0, 20.0)
    if len(squeezed):
        picture.index_copy_(0, squeezed, blocky(picture.index_select(0, squeezed), step[squeezed]))
    return picture.clamp_(0, 255)
