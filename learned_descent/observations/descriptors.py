"""Histograms of oriented gradients, computed densely once per image and sampled at the points:
batched and differentiable.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..data.samples import Batch
from ..errors import DescentError, check_real
from ..observation import ImageObservation
from .patches import as_float, sample_patches, shrink

_TINY = 1e-3  # in units of a gradient: a black-to-white step over one pixel is 0.5


def gradients(images: Float[Tensor, "B C H W"]) -> tuple[Tensor, Tensor]:
    """Central differences ``(along columns, along rows)`` of the mean of the channels, ``(B, 1, H,
    W)`` each.
    """
    padded = F.pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    dx = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    dy = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    return dx, dy


def orientation_maps(
    images: Float[Tensor, "B C H W"], orientations: int
) -> Float[Tensor, "B O H W"]:
    """Gradient magnitude shared out among the directions of the full circle that are less than one
    bin away.

    The share of a direction falls as the cosine of the angle to it, from one to zero a bin away: a
    linear map of the gradient and its magnitude, cut at zero.
    """
    dx, dy = gradients(images)
    magnitude = (dx.square() + dy.square() + 1e-12).sqrt()
    angles = torch.arange(orientations, device=images.device, dtype=images.dtype) * (
        2 * math.pi / orientations
    )
    edge = math.cos(2 * math.pi / max(orientations, 4))
    weights = torch.stack([angles.cos(), angles.sin(), torch.full_like(angles, -edge)], 1) / (
        1 - edge
    )
    stacked = torch.cat([dx, dy, magnitude], 1).flatten(2)
    maps: Tensor = (weights @ stacked).relu().unflatten(2, images.shape[-2:])
    return maps


def pool_cells(maps: Float[Tensor, "B C H W"], cell: int, stride: int) -> Float[Tensor, "B C h w"]:
    """Means over cells with triangular weights two cells wide, centred at every ``stride``-th pixel
    from the first.
    """

    def weights(length: int) -> Tensor:
        pixels = torch.arange(length, device=maps.device)
        distance = (pixels[None, :] - pixels[::stride, None]).abs()
        near = (1 - distance.to(maps.dtype) / cell).clamp(min=0)
        return near / near.sum(1, keepdim=True)

    return weights(maps.shape[2]) @ (maps @ weights(maps.shape[3]).T)


class _Descriptors(ImageObservation, ABC):
    """What HOG and SIFT share: cells on a grid around each point, on maps with a stride that
    divides the cell.
    """

    def __init__(
        self,
        points: Callable[[Tensor], Tensor],
        image: str,
        *,
        cell: int,
        cells: int,
        orientations: int,
        stride: int | None,
        spacing: float | Sequence[float],
    ) -> None:
        super().__init__(points, image)
        stride = stride or (2 if cell % 2 == 0 else 1)
        steps = [spacing] if isinstance(spacing, (int, float)) else spacing
        self.spacings = tuple(map(float, steps))
        for step in self.spacings:
            check_real(step, name="spacing", positive=True)
        if (
            min(cell, cells, stride, *self.spacings) < 1
            or cell % stride
            or orientations < 2
            or not self.spacings
        ):
            raise DescentError(
                "expected cell, cells, stride, spacing >= 1, a stride that divides cell, and 2 or "
                f"more orientations, got cell={cell}, cells={cells}, stride={stride}, "
                f"spacing={spacing}, orientations={orientations}"
            )
        self.cell, self.cells, self.orientations, self.stride = cell, cells, orientations, stride

    @abstractmethod
    def describe(self, images: Tensor) -> Tensor:
        """The dense map ``(B, C, h, w)`` of grey images ``(B, 1, H, W)`` in 0..1."""

    def prepare(self, batch: Batch) -> Batch:
        grey = as_float(batch[self.image]).mean(1, keepdim=True)
        prepared = dict(batch)
        for spacing in set(self.spacings):
            images = shrink(grey, spacing)
            # A few at a time stay in the cache; a graph is to serve any number
            whole = images.device.type != "cpu" or torch.compiler.is_compiling()
            few = (images,) if whole else images.split(8)
            maps = torch.cat([self.describe(part) for part in few])
            prepared[f"map/{spacing:g}"] = maps.contiguous(memory_format=torch.channels_last)
        return prepared

    def observe(self, k: int, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        spacing = self.spacings[min(k, len(self.spacings) - 1)]
        centres = ((self.points(x) + 0.5) / spacing - 0.5) / self.stride
        return self.normalise(
            sample_patches(
                batch[f"map/{spacing:g}"], centres, self.cells, self.cell // self.stride
            ).flatten(2)
        )

    def normalise(self, descriptors: Tensor) -> Tensor:
        """The features ``(B, F)`` of the descriptors ``(B, L, D)``."""
        return descriptors.flatten(1)

    def forward(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        return self.observe(0, x, batch)

    def settings(self) -> dict[str, Any]:
        spacing = self.spacings[0] if len(self.spacings) == 1 else self.spacings
        return {
            name: getattr(self, name) for name in ("cell", "cells", "orientations", "stride")
        } | {"spacing": spacing}


@final
class DenseHOG(_Descriptors):
    """Histograms of oriented gradients in ``cells x cells`` cells around every point.

    Each cell has one value per signed direction, one per unsigned direction, and four that tell the
    strength of the texture around it: every histogram is divided by the energies of the four blocks
    of 2 x 2 cells that hold the cell, clipped at 0.2, and averaged.

    Args:
        points: maps parameters ``(B, p)`` to points ``(B, L, 2)`` in pixels.
        image: the name of the images in the batch.
        cell: side of a cell in pixels of the shrunk image.
        cells: cells along a side of the descriptor.
        orientations: unsigned directions; there are twice as many signed ones.
        stride: pixels between two samples of the dense map; ``None`` for 2 where that divides the
            cell.
        spacing: pixels of the image to one pixel of the lengths above, by which the image is
            shrunk; several numbers are those of the steps in turn, from coarse to fine, and the
            last one serves all steps after.

    References:
        N. Dalal and B. Triggs. Histograms of oriented gradients for human detection. CVPR 2005.
        P. Felzenszwalb et al. Object detection with discriminatively trained part-based models.
        PAMI 2010, section 6.

    Example:
        >>> eyes = DenseHOG(lambda x: x.unflatten(1, (-1, 2)), cells=2, orientations=4)
        >>> batch = eyes.prepare({"image": torch.zeros(2, 1, 32, 32, dtype=torch.uint8)})
        >>> eyes(torch.full((2, 10), 8.0), batch).shape  # 5 points, 2 x 2 cells, 8 + 4 + 4 values
        torch.Size([2, 320])
    """

    def __init__(
        self,
        points: Callable[[Tensor], Tensor],
        image: str = "image",
        *,
        cell: int = 8,
        cells: int = 3,
        orientations: int = 4,
        stride: int | None = None,
        spacing: float | Sequence[float] = 1.0,
    ) -> None:
        super().__init__(
            points,
            image,
            cell=cell,
            cells=cells,
            orientations=orientations,
            stride=stride,
            spacing=spacing,
        )

    def describe(self, images: Tensor) -> Tensor:
        signed = pool_cells(orientation_maps(images, 2 * self.orientations), self.cell, self.stride)
        unsigned = signed[:, : self.orientations] + signed[:, self.orientations :]
        energy = unsigned.square().sum(1, keepdim=True)
        step = self.cell // self.stride
        around = F.pad(energy, (step, step, step, step), mode="replicate")
        pairs = around[..., step:, :] + around[..., :-step, :]
        # (h + step, w + step): block with its last cell at (i, j)
        blocks = pairs[..., step:] + pairs[..., :-step]
        height, width = energy.shape[-2:]
        parts, textures = [], []
        both = torch.cat([signed, unsigned], 1)
        for top in (0, step):
            for left in (0, step):
                scale = (blocks[..., top : top + height, left : left + width] + _TINY**2).rsqrt()
                clipped = (both * scale).clamp(max=0.2)
                parts.append(clipped)
                textures.append(clipped[:, : 2 * self.orientations].sum(1, keepdim=True))
        return torch.cat([torch.stack(parts).mean(0) * 2, torch.cat(textures, 1) * 0.2357], 1)


@final
class DenseSIFT(_Descriptors):
    """The scale-invariant feature transform's descriptor, upright and of fixed scale, around every
    point.

    ``cells x cells`` histograms of signed directions; the whole descriptor of a point is scaled to
    unit length, clipped at 0.2, and scaled again.

    Args:
        points: maps parameters ``(B, p)`` to points ``(B, L, 2)`` in pixels.
        image: the name of the images in the batch.
        cell: side of a cell in pixels of the shrunk image.
        cells: cells along a side of the descriptor.
        orientations: signed directions.
        stride: pixels between two samples of the dense map; ``None`` for 2 where that divides the
            cell.
        spacing: pixels of the image to one pixel of the lengths above, by which the image is
            shrunk; several numbers are those of the steps in turn, from coarse to fine, and the
            last one serves all steps after.

    References:
        D. Lowe. Distinctive image features from scale-invariant keypoints. IJCV 2004, section 6.

    Example:
        >>> eyes = DenseSIFT(lambda x: x.unflatten(1, (-1, 2)))
        >>> batch = eyes.prepare({"image": torch.zeros(2, 1, 32, 32, dtype=torch.uint8)})
        >>> eyes(torch.full((2, 10), 8.0), batch).shape  # 5 points, 4 x 4 cells, 8 directions
        torch.Size([2, 640])
    """

    def __init__(
        self,
        points: Callable[[Tensor], Tensor],
        image: str = "image",
        *,
        cell: int = 8,
        cells: int = 4,
        orientations: int = 8,
        stride: int | None = None,
        spacing: float | Sequence[float] = 1.0,
    ) -> None:
        super().__init__(
            points,
            image,
            cell=cell,
            cells=cells,
            orientations=orientations,
            stride=stride,
            spacing=spacing,
        )

    def describe(self, images: Tensor) -> Tensor:
        return pool_cells(orientation_maps(images, self.orientations), self.cell, self.stride)

    def normalise(self, descriptors: Tensor) -> Tensor:
        clipped = (
            descriptors * (descriptors.square().sum(2, keepdim=True) + _TINY**2).rsqrt()
        ).clamp(max=0.2)
        return (clipped * (clipped.square().sum(2, keepdim=True) + _TINY**2).rsqrt()).flatten(1)
