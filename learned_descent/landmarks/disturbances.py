"""What scenes, cameras and files do to pictures: colours, noise, JPEG, things in front."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor

from ..data.own_rows import change_some

Disturbance: TypeAlias = Callable[[Tensor, float, Generator], Tensor]
"""Images ``(B, 3, S, S)`` in 0..255, a share or an amount, and what draws; other such images."""

COARSER = (2, 3, 4, 6)
"""A picture of few pixels has so many times fewer of them along a side."""

QUALITY = (5.0, 60.0)
"""Between these lies the quality of a JPEG file, of 100."""

_BLOCK = 8
"""JPEG cuts a picture into squares of so many px."""

# The tables of the standard, ITU-T T.81, annex K.1, at a quality of 50
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
_TO_LUMINANCE = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
"""From red, green and blue to what JPEG stores: luminance and two differences of colour."""


def compress(
    images: Float[Tensor, "B 3 S S"], quality: Float[Tensor, " B"]
) -> Float[Tensor, "B 3 S S"]:
    """What JPEG leaves of pictures: the cosine transform of squares of 8 px, rounded.

    It is the loss of the format on the device of the pictures, whole batches at once. Unlike most
    programs it keeps all pixels of the colours, and it knows nothing of files.

    Args:
        images: in 0..255.
        quality: of each, from 1 to 100, as libjpeg counts it.

    References:
        ITU-T T.81, Digital compression and coding of continuous-tone still images, 1992.

    Example:
        >>> flat = torch.full((1, 3, 20, 20), 96.0)
        >>> torch.allclose(compress(flat, torch.tensor([90.0])), flat, atol=1.0)
        True
    """
    side = images.shape[-1]
    missing = -side % _BLOCK
    padded = F.pad(images, (0, missing, 0, missing), mode="replicate") - 128.0
    place = torch.arange(_BLOCK, device=images.device)
    cosines = 0.5 * (math.pi / _BLOCK * (place + 0.5) * place.unsqueeze(1)).cos()
    cosines[0] /= math.sqrt(2)
    colours = torch.tensor(_TO_LUMINANCE, device=images.device)
    # libjpeg's curve: 1 at a quality of 50, twice as coarse at 25, twice as fine at 75
    factor = torch.where(quality < 50, 50 / quality, 2 - quality / 50)
    tables = torch.tensor((_LUMINANCE, _CHROMINANCE, _CHROMINANCE), device=images.device)
    steps = (factor[:, None, None, None] * tables).round().clamp(1, 255)[:, :, None, :, None]
    blocks = (
        torch.einsum("dc,bchw->bdhw", colours, padded)
        .round()  # as bytes
        .unflatten(3, (-1, _BLOCK))
        .unflatten(2, (-1, _BLOCK))
    )
    stored = torch.einsum("ui,bcyixj,vj->bcyuxv", cosines, blocks, cosines)
    kept = (stored / steps).round() * steps
    back = torch.einsum("ui,bcyuxv,vj->bcyixj", cosines, kept, cosines)
    found = torch.einsum("cd,bdhw->bchw", colours.inverse(), back.flatten(4, 5).flatten(2, 3))
    return (found[..., :side, :side] + 128.0).clamp(0, 255)


def hue_turns(angle: Float[Tensor, " B"]) -> Float[Tensor, "B 3 3"]:
    """What turns colours about the axis of the greys.

    Args:
        angle: in rad; a third of a turn makes green of red, blue of green and red of blue.

    Example:
        >>> hue_turns(torch.tensor([2 * math.pi / 3]))[0].round().abs()
        tensor([[0., 0., 1.],
                [1., 0., 0.],
                [0., 1., 0.]])
    """
    cos, sin = angle.cos(), angle.sin() / math.sqrt(3)
    rest = (1 - cos) / 3
    return torch.stack(
        [
            torch.stack(row, 1)
            for row in (
                [cos + rest, rest - sin, rest + sin],
                [rest + sin, cos + rest, rest - sin],
                [rest - sin, rest + sin, cos + rest],
            )
        ],
        1,
    )


def _rand(images: Tensor, generator: Generator, *shape: int) -> Tensor:
    """Numbers in 0..1, some for each image."""
    return torch.rand(len(images), *shape, generator=generator, device=images.device)


def _of_some(disturb: Callable[[Tensor, Generator], Tensor]) -> Disturbance:
    """Does it to a share of the images, and spends no time on the others."""

    def disturbed(images: Tensor, share: float, generator: Generator) -> Tensor:
        return change_some(images, share, generator, lambda chosen: disturb(chosen, generator))

    return disturbed


def _grey(images: Tensor, _: Generator) -> Tensor:
    """The mean of the channels in all of them."""
    return images.mean(1, keepdim=True).expand_as(images)


def _reordered(images: Tensor, generator: Generator) -> Tensor:
    """The channels in any order."""
    order = _rand(images, generator, images.shape[1]).argsort(1)
    return images.take_along_dim(order[..., None, None], 1)


def _hue(images: Tensor, generator: Generator) -> Tensor:
    """The colours turned by any angle."""
    turns = hue_turns(2 * math.pi * _rand(images, generator))
    return torch.einsum("bdc,bchw->bdhw", turns, images)


def _duotone(images: Tensor, generator: Generator) -> Tensor:
    """The greys, shown by the colours between a dark one and a light one."""
    light = _rand(images, generator, images.shape[1], 1, 1).square() + 1e-3
    light = light / light.amax(1, keepdim=True)  # the brightest channel reaches white
    dark = 0.3 * light.mean(1, keepdim=True) * _rand(images, generator, images.shape[1], 1, 1)
    return 255 * dark + (light - dark) * images.mean(1, keepdim=True)


def _gamma(images: Tensor, amount: float, generator: Generator) -> Tensor:
    """Darker or lighter middles; black and white stay."""
    power = ((2 * _rand(images, generator, 1, 1, 1) - 1) * amount).exp()
    return 255 * (images / 255) ** power


def _noise(images: Tensor, amount: float, generator: Generator) -> Tensor:
    """Gaussian noise in every second picture, of each channel by itself."""
    most = (amount * (2 * _rand(images, generator, 1, 1, 1) - 1)).clamp(min=0)
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    return images + most * noise


def _coarser(images: Tensor, generator: Generator) -> Tensor:
    """Few pixels, enlarged."""
    which = (_rand(images, generator, 1, 1, 1) * len(COARSER)).long()
    found, side = images, images.shape[-1]
    for number, factor in enumerate(COARSER):
        small = F.interpolate(images, size=max(1, round(side / factor)), mode="area")
        again = F.interpolate(small, size=side, mode="bilinear", align_corners=False)
        found = torch.where(which == number, again, found)
    return found


def _jpeg(images: Tensor, generator: Generator) -> Tensor:
    """Compressed much."""
    low, high = QUALITY
    return compress(images, low + (high - low) * _rand(images, generator))


def _texture(images: Tensor, generator: Generator) -> Tensor:
    """Something round or long in front, up to half of the side across, with stripes of two of the
    picture's own colours: skin, as of a hand, among them.
    """
    side = images.shape[-1]
    line = torch.linspace(-1, 1, side, device=images.device)
    rows, columns = torch.meshgrid(line, line, indexing="ij")
    angle = math.pi * _rand(images, generator, 2, 1, 1)
    cos, sin = angle.cos(), angle.sin()
    column, row = (2 * _rand(images, generator, 2, 1, 1) - 1).unbind(1)
    long, wide = (0.1 + 0.4 * _rand(images, generator, 2, 1, 1)).unbind(1)
    along = cos[:, 0] * (columns - column) + sin[:, 0] * (rows - row)
    across = cos[:, 0] * (rows - row) - sin[:, 0] * (columns - column)
    inside = ((along / long).square() + (across / wide).square() < 1).unsqueeze(1)
    wave = cos[:, 1] * columns + sin[:, 1] * rows
    wave = (math.pi * (1 + 15 * _rand(images, generator, 1, 1)) * wave).sin()
    where = (_rand(images, generator, 1, 2) * side**2).long().clamp(max=side**2 - 1)
    first, second = images.flatten(2).take_along_dim(where, 2)[..., None, None].unbind(2)
    pattern = first + (second - first) * (0.5 + 0.5 * wave).unsqueeze(1)
    return torch.where(inside, pattern, images)


DISTURBANCES: Final[Mapping[str, Disturbance]] = {
    "texture": _of_some(_texture),
    "channel_noise": _noise,
    "low_resolution": _of_some(_coarser),
    "hue": _of_some(_hue),
    "channel_order": _of_some(_reordered),
    "duotone": _of_some(_duotone),
    "grey": _of_some(_grey),
    "gamma": _gamma,
    "jpeg": _of_some(_jpeg),
}
"""By the names of their settings, in the order in which a scene, a camera and a file do them."""
