"""Patches of images and maps around points, sampled bilinearly: the one path by which every image
observation looks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..data.samples import Batch
from ..errors import DescentError, check_levels, check_real, check_shape
from ..observation import ImageObservation


def sample_patches(
    maps: Float[Tensor, "B C H W"], centres: Float[Tensor, "B L 2"], size: int, spacing: int = 1
) -> Tensor:
    """Square grids of ``size x size`` samples around centres, by bilinear interpolation.

    Outside the map its border is repeated, however far away. Differentiable in the maps and in the
    centres. The grid is rigid, so all its samples share one fraction of a pixel: whole rows of
    channels are gathered and blended, which costs less than interpolating each sample for itself.

    Args:
        maps: the maps, fastest in the ``channels_last`` memory format.
        centres: ``(column, row)`` in pixels of the map, ``(0, 0)`` the centre of its first pixel.
        size: samples along a side of the grid.
        spacing: pixels between neighbouring samples.

    Returns:
        Samples ``(B, L, size, size, C)``, rows before columns.

    Raises:
        ShapeError: if the shapes do not fit.

    Example:
        >>> ramp = torch.arange(5.0).expand(1, 1, 5, 5)
        >>> sample_patches(ramp, torch.tensor([[[2.25, 2.0]]]), 3)[0, 0, 0, :, 0]
        tensor([1.2500, 2.2500, 3.2500])
    """
    known = check_shape(maps, "B C H W", name="maps")
    check_shape(centres, "B L 2", known, name="centres")
    batch, channels, height, width = maps.shape
    reach = (size - 1) * spacing
    column, along = _corners(centres[..., 0], width, reach)
    row, down = _corners(centres[..., 1], height, reach)
    if spacing == 1:
        offsets = torch.arange(size + 1, device=maps.device)
    else:
        offsets = (
            torch.arange(size, device=maps.device)[:, None] * spacing
            + torch.arange(2, device=maps.device)
        ).flatten()
    columns = (column[..., None] + offsets).clamp(0, width - 1)
    rows = (row[..., None] + offsets).clamp(0, height - 1)
    first = torch.arange(batch, device=maps.device)[:, None, None, None] * (height * width)
    indices = first + rows[..., :, None] * width + columns[..., None, :]
    grid = (
        maps.permute(0, 2, 3, 1)
        .reshape(-1, channels)
        .index_select(0, indices.flatten())
        .unflatten(0, indices.shape)
    )
    along, down = (part.to(maps.dtype)[..., None, None, None] for part in (along, down))
    if spacing == 1:
        grid = torch.lerp(grid[..., :-1, :], grid[..., 1:, :], along)
        return torch.lerp(grid[..., :-1, :, :], grid[..., 1:, :, :], down)
    grid = torch.lerp(grid[..., 0::2, :], grid[..., 1::2, :], along)
    return torch.lerp(grid[..., 0::2, :, :], grid[..., 1::2, :, :], down)


def _corners(centres: Float[Tensor, "B L"], length: int, reach: int) -> tuple[Tensor, Tensor]:
    """Along one axis, the whole pixel at or before the first sample of each grid, and the fraction
    of a pixel that is left.
    """
    corner = (
        (centres - reach / 2).nan_to_num(0.0).clamp(min=-length - reach, max=2 * length + reach)
    )
    whole = corner.detach().floor()
    return whole.long(), corner - whole


def as_float(images: Tensor) -> Tensor:
    """Images ``(B, C, H, W)`` in 0..255 as floating point in 0..1, of the default type if they were
    whole numbers.

    Raises:
        ShapeError: if there are not four axes.
        DescentError: if the images are smaller than 4 pixels, or in 0..1 already.
    """
    check_shape(images, "B C H W", name="image")
    check_levels(images, "image", wait=False)
    if min(images.shape[-2:]) < 4:
        raise DescentError(
            f"image: expected at least 4 x 4 pixels, got {images.shape[-2]} x {images.shape[-1]}"
        )
    return images / 255.0


@final
class Patches(ImageObservation):
    """Grey or coloured patches of the image itself around every point, in 0..1.

    Args:
        points: maps parameters ``(B, p)`` to points ``(B, L, 2)`` in pixels.
        image: the name of the images in the batch.
        size: samples along a side of a patch.
        spacing: pixels of the image between neighbouring samples; the image is shrunk by it once
            per batch, without aliasing.

    Example:
        >>> eyes = Patches(lambda x: x.unflatten(1, (-1, 2)), size=3)
        >>> batch = eyes.prepare({"image": torch.zeros(2, 1, 16, 16, dtype=torch.uint8)})
        >>> eyes(torch.full((2, 10), 8.0), batch).shape
        torch.Size([2, 45])
    """

    def __init__(
        self,
        points: Callable[[Tensor], Tensor],
        image: str = "image",
        *,
        size: int = 16,
        spacing: float = 1.0,
    ) -> None:
        super().__init__(points, image)
        check_real(spacing, name="spacing", positive=True)
        if size < 1 or spacing < 1:
            raise DescentError(
                f"expected size >= 1 and spacing >= 1, got size={size} and spacing={spacing}"
            )
        self.size, self.spacing = size, spacing

    def prepare(self, batch: Batch) -> Batch:
        return {
            **batch,
            "patches": shrink(as_float(batch[self.image]), self.spacing).contiguous(
                memory_format=torch.channels_last
            ),
        }

    def forward(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        centres = (self.points(x) + 0.5) / self.spacing - 0.5
        return sample_patches(batch["patches"], centres, self.size).flatten(1)

    def settings(self) -> dict[str, Any]:
        return {"size": self.size, "spacing": self.spacing}


def shrink(images: Tensor, factor: float) -> Tensor:
    """Images ``(B, C, H, W)`` shrunk by ``factor >= 1`` without aliasing: pixel ``u`` goes to ``(u
    + 0.5) / factor - 0.5``.

    Raises:
        DescentError: if less than two pixels would be left of a side.
    """
    if factor == 1:
        return images
    height, width = images.shape[-2:]
    if min(height, width) < 2 * factor:
        raise DescentError(
            f"spacing: an image of {height} x {width} pixels is too small for spacing={factor:g}; "
            "lower it"
        )
    return F.interpolate(images, scale_factor=1 / factor, mode="bilinear", antialias=True)
