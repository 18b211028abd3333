"""Photos, and images of them under known warps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import skimage
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from PIL import Image
from torch import Generator, Tensor

from ...data.pictures import read_picture
from ...errors import DescentError
from .warps import project

PHOTOS = (
    "astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel",
    "hubble_deep_field",
    "immunohistochemistry", "moon", "page", "retina", "rocket", "text",
)  # fmt: skip
"""Photos that come with scikit-image."""


def photo_of(name: str) -> Float[Tensor, "H W"]:
    """A grey photo, 0 to 255, by a name in :data:`PHOTOS` or by its file.

    A file is read by :func:`~learned_descent.data.pictures.open_picture`.

    Raises:
        DescentError: if there is no such photo, or no picture in the file.
    """
    if name in PHOTOS:
        pixels = getattr(skimage.data, name)()
    elif Path(name).is_file():
        pixels = read_picture(name)
    else:
        raise DescentError(
            f"photo: expected the path of an image, or one of {', '.join(PHOTOS)}; got {name!r}"
        )
    return torch.from_numpy(np.array(Image.fromarray(pixels).convert("L"), dtype=np.float32))


def placed(size: tuple[float, float], centre: Float[Tensor, "N 2"]) -> Float[Tensor, "N 3 3"]:
    """The warps that take the square -1..1 to boxes of ``size`` (columns, rows), up to the centres
    of their outer pixels.
    """
    warp = torch.zeros(len(centre), 3, 3, dtype=centre.dtype)
    warp[:, 0, 0], warp[:, 1, 1], warp[:, 2, 2] = (size[0] - 1) / 2, (size[1] - 1) / 2, 1
    warp[:, :2, 2] = centre
    return warp


@dataclass(frozen=True)
class Scenes:
    """Templates in photos.

    Attributes:
        photos: grey photos, ``(H, W)`` each.
        which: the photo of each template.
        warps: where in its photo each template lies, as warps of the square -1..1.
    """

    photos: Sequence[Tensor]
    which: Int[Tensor, " N"]
    warps: Float[Tensor, "N 3 3"]

    def render(
        self, seen: Float[Tensor, "N 3 3"], size: tuple[int, int], block: int = 64
    ) -> Float[Tensor, "N 1 h w"]:
        """Images of ``size`` (columns, rows) in which the templates lie where the warps ``seen``
        take the square.
        """
        pixels = torch.cartesian_prod(
            torch.arange(float(size[1])), torch.arange(float(size[0]))
        ).flip(1)
        found = torch.empty(len(seen), 1, size[1], size[0])
        # Of positive depth before the horizon, unless it is scaled
        back = self.warps @ torch.linalg.inv(seen)
        for number, photo in enumerate(self.photos):
            for rows in (self.which == number).nonzero()[:, 0].split(block):
                values = sample(
                    photo.expand(len(rows), 1, *photo.shape), project(back[rows], pixels)
                )
                found[rows] = values.view(-1, 1, size[1], size[0])
        return found


def random_scenes(
    photos: Sequence[Tensor], side: int, count: int, generator: Generator, contrast: float = 10.0
) -> Scenes:
    """Square templates at random places of random photos, with a standard deviation of ``contrast``
    grey levels or more.
    """
    which, corners = torch.empty(0, dtype=torch.long), torch.empty(0, 2, dtype=torch.long)
    while len(which) < count:
        number = int(torch.randint(len(photos), (1,), generator=generator))
        height, width = photos[number].shape
        row, column = (
            (torch.rand(2, generator=generator) * torch.tensor([height - side, width - side]))
            .long()
            .tolist()
        )
        if photos[number][row : row + side, column : column + side].std() >= contrast:
            which = torch.cat([which, torch.tensor([number])])
            corners = torch.cat([corners, torch.tensor([[column, row]])])
    return Scenes(photos, which, placed((side, side), corners + (side - 1) / 2))


def sample(
    images: Float[Tensor, "B 1 H W"], points: Float[Tensor, "B N 2"]
) -> Float[Tensor, "B N"]:
    """Values at ``points`` (column, row) px by bilinear interpolation; beyond the border those of
    the border.
    """
    return cast(Tensor, _Sample.apply(images, points))  # type: ignore[no-untyped-call]


def slopes(
    images: Float[Tensor, "B 1 H W"], points: Float[Tensor, "B N 2"]
) -> Float[Tensor, "B N 2"]:
    """The derivative of :func:`sample` along the points, exactly: differences between the sides of
    a pixel.
    """
    low, (column, row) = points.floor(), points.unbind(2)
    sides = [
        torch.stack(place, 2)
        for place in (
            (low[..., 0], row), (low[..., 0] + 1, row), (column, low[..., 1]), (column, low[...,
            1] + 1),
        )
    ]  # fmt: skip
    left, right, above, below = _bilinear(images, torch.cat(sides, 1)).chunk(4, 1)
    return torch.stack([right - left, below - above], 2)


def _bilinear(images: Tensor, points: Tensor) -> Tensor:
    sides = images.shape[3], images.shape[2]
    grid = torch.stack(
        [(2 * place + 1) / side - 1 for place, side in zip(points.unbind(2), sides)], 2
    )
    return F.grid_sample(images, grid.unsqueeze(2), padding_mode="border", align_corners=False)[
        :, 0, :, 0
    ]


class _Sample(torch.autograd.Function):
    """PyTorch's bilinear interpolation, which has no forward mode, with one; images are data and
    get no gradient.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(images: Tensor, points: Tensor) -> Tensor:
        return _bilinear(images, points)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        return None, slopes(*ctx.saved_tensors) * gradient.unsqueeze(2)

    @staticmethod
    def jvp(ctx: Any, _: Tensor | None, points: Tensor) -> Tensor:
        return (slopes(*ctx.saved_tensors) * points).sum(2)
