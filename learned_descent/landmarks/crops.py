"""A face cut out of a photo: one square in which the detector's box has a fixed centre and side."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from ..errors import DescentError, ShapeError

SMALLEST_BOX = 2.0
"""The shortest side of a box that can hold a face, in px."""

LARGEST_BOX = 2.0
"""The longest side of a box that can hold a face, in longer sides of the photo."""

LARGEST_CUT = 8192
"""A crop that covers more px of the photo than this along its side is cut out of a copy that is
shrunk before."""


def check_box(box: Sequence[float], height: int, width: int) -> tuple[float, float, float, float]:
    """A box ``x0 y0 x1 y1`` in 0-based px, if it can hold a face of a photo of ``height`` x
    ``width`` px.

    Raises:
        DescentError: if the box has another length or is not finite, is mirrored, smaller than two
            pixels, far larger than the photo, or has its centre outside of the photo.

    Example:
        >>> check_box([10, 10, 60, 70], height=100, width=100)
        (10.0, 10.0, 60.0, 70.0)
    """
    values = [float(value) for value in box]
    text = " ".join(f"{value:g}" for value in values)
    if len(values) != 4:
        raise DescentError(f"the box has {len(values)} numbers ({text}), expected x0 y0 x1 y1")
    x0, y0, x1, y1 = values
    if not all(map(math.isfinite, values)):
        raise DescentError(f"the box ({text}) has a side that is not a finite number")
    if x1 < x0 or y1 < y0:
        raise DescentError(f"the box ({text}) is mirrored, expected x0 < x1 and y0 < y1")
    if min(x1 - x0, y1 - y0) < SMALLEST_BOX:
        raise DescentError(
            f"the box ({text}) is {x1 - x0:g} x {y1 - y0:g} px, expected {SMALLEST_BOX:g} px or "
            "more"
        )
    photo = f"the image of {width} x {height} px"
    if max(x1 - x0, y1 - y0) > LARGEST_BOX * max(height, width):
        raise DescentError(
            f"the box ({text}) is more than {LARGEST_BOX:g} times as large as {photo}"
        )
    if not (0 <= (x0 + x1) / 2 <= width - 1 and 0 <= (y0 + y1) / 2 <= height - 1):
        raise DescentError(f"the box ({text}) has its centre outside of {photo}")
    return x0, y0, x1, y1


def check_crop(crop: int, box_side: float) -> None:
    """Refuses sizes of the crop that cannot hold the box.

    Raises:
        DescentError: unless ``0 < box_side <= crop``.
    """
    if not 0 < box_side <= crop:
        raise DescentError(
            f"crop and box_side: expected 0 < box_side <= crop, got box_side = {box_side} and crop "
            f"= {crop} px"
        )


def crop_face(
    image: UInt8[np.ndarray, "H W 3"], box: Sequence[float], crop: int, box_side: float
) -> tuple[UInt8[Tensor, "3 S S"], Float[Tensor, "2 3"]]:
    """The square around a detector's box, and the way back to the photo.

    The centre of the box becomes the centre of the crop, and its longer side ``box_side`` px long.
    The pixels are averaged where the photo shrinks (a triangle filter as wide as the scale asks
    for); what lies outside of the photo is black.

    Args:
        image: the photo.
        box: ``x0 y0 x1 y1`` in px of the photo; the centre of its first pixel is ``(0, 0)``.
        crop: the side ``S`` of the square, in px.
        box_side: the longer side of the box in the crop, in px.

    Returns:
        The crop, and the affine map that takes ``(column, row)`` in the crop to ``(column, row)``
        in the photo, both from 0.

    Raises:
        DescentError: if the box cannot hold a face of the photo (see :func:`check_box`) or does not
            fit the crop.

    Example:
        >>> photo = np.zeros((480, 640, 3), np.uint8)
        >>> pixels, to_photo = crop_face(photo, box=[200, 100, 400, 300], crop=192, box_side=100)
        >>> pixels.shape, to_photo
        (torch.Size([3, 192, 192]), tensor([[  2.,   0., 109.],
                [  0.,   2.,   9.]]))
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ShapeError(f"image: expected uint8 pixels (H, W, 3), got {image.dtype} {image.shape}")
    check_crop(crop, box_side)
    height, width = image.shape[:2]
    x0, y0, x1, y1 = check_box(box, height, width)
    scale = max(x1 - x0, y1 - y0) / box_side
    # In PIL a pixel is an area: its centre c has the coordinate c + 0.5.
    left, top = ((low + high) / 2 + 0.5 - scale * crop / 2 for low, high in ((x0, x1), (y0, y1)))
    shrink = math.ceil(scale * crop / LARGEST_CUT)
    source = image if shrink == 1 else np.asarray(Image.fromarray(image).reduce(shrink))
    pixels = _cut(source, left / shrink, top / shrink, scale / shrink, crop)
    to_photo = [[scale, 0.0, left + scale / 2 - 0.5], [0.0, scale, top + scale / 2 - 0.5]]
    return torch.from_numpy(np.array(pixels)).movedim(-1, 0).contiguous(), torch.tensor(to_photo)


def crop_turned(
    image: UInt8[np.ndarray, "H W 3"],
    box: Sequence[float],
    angle: float,
    crop: int,
    box_side: float,
) -> tuple[UInt8[Tensor, "3 S S"], Float[Tensor, "2 3"]]:
    """The square around a box that is turned about its centre, in which it lies upright.

    Args:
        image: the photo.
        box: ``x0 y0 x1 y1`` in px of the photo, before it is turned.
        angle: by how much it is turned, in rad, from columns to rows.
        crop: the side ``S`` of the square, in px.
        box_side: the longer side of the box in the crop, in px.

    Returns:
        The crop, and the affine map from it to the photo, as of :func:`crop_face`.

    Raises:
        DescentError: if the box cannot hold a face of the photo or does not fit the crop.

    Example:
        >>> photo = np.zeros((480, 640, 3), np.uint8)
        >>> _, to_photo = crop_turned(photo, [200, 100, 400, 300], math.pi / 2, crop=192,
        ...     box_side=100)
        >>> apply_affine(to_photo, torch.tensor([[95.5, 95.5], [96.5, 95.5]])).round()
        tensor([[300., 200.],
                [300., 202.]])
    """
    wide = math.ceil(crop * math.sqrt(2)) + 1  # with its corners
    pixels, to_photo = crop_face(image, box, wide, box_side)
    cos, sin = math.cos(angle), math.sin(angle)
    turn = torch.tensor([[cos, -sin], [sin, cos]])
    middle = (wide - 1) / 2 - turn @ torch.full((2, 1), (crop - 1) / 2)
    back = torch.cat([turn, middle], 1)
    grid = sampling_grid(back.unsqueeze(0), crop, wide)
    turned = F.grid_sample(pixels.unsqueeze(0).float(), grid, align_corners=True)[0]
    way = torch.cat([to_photo[:, :2] @ turn, apply_affine(to_photo, middle.T).T], 1)
    return turned.round().to(torch.uint8), way


def _cut(
    image: UInt8[np.ndarray, "H W 3"], left: float, top: float, scale: float, crop: int
) -> Image.Image:
    """The square of ``crop`` px whose corner is at ``(left, top)`` and whose pixels have the side
    ``scale`` in the photo.
    """
    margin = math.ceil(scale) + 1  # what the filter sees beyond the crop
    ahead, above = math.floor(left) - margin, math.floor(top) - margin
    behind, below = math.ceil(left + scale * crop) + margin, math.ceil(top + scale * crop) + margin
    inside_x, inside_y = max(ahead, 0), max(above, 0)
    inside = Image.fromarray(image[inside_y : max(below, 0), inside_x : max(behind, 0)])
    padded = inside.crop((ahead - inside_x, above - inside_y, behind - inside_x, below - inside_y))
    area = (left - ahead, top - above, left - ahead + scale * crop, top - above + scale * crop)
    return padded.resize((crop, crop), Image.Resampling.BILINEAR, box=area, reducing_gap=3.0)


def apply_affine(
    affine: Float[Tensor, "*B 2 3"], points: Float[Tensor, "*B L 2"]
) -> Float[Tensor, "*B L 2"]:
    """Points moved by an affine map.

    Example:
        >>> apply_affine(torch.tensor([[2.0, 0.0, 1.0], [0.0, 2.0, 0.0]]), torch.tensor([[3.0,
        ...     4.0]]))
        tensor([[7., 8.]])
    """
    return points @ affine[..., :2].mT + affine[..., 2].unsqueeze(-2)


def sampling_grid(back: Float[Tensor, "B 2 3"], side: int, source: int) -> Float[Tensor, "B S S 2"]:
    """Where the pixels of new crops lie in the old ones, for ``grid_sample`` with
    ``align_corners=True``.

    Args:
        back: the affine maps that take ``(column, row)`` in a new crop to ``(column, row)`` in the
            old one.
        side: the side ``S`` of the new crops, in px.
        source: the side of the old ones, in px.

    Example:
        >>> still = torch.eye(2, 3).unsqueeze(0)
        >>> sampling_grid(still, side=3, source=5)[0, 0]
        tensor([[-1.0000, -1.0000],
                [-0.5000, -1.0000],
                [ 0.0000, -1.0000]])
    """
    # -1 and 1 are the centres of the first and the last pixel.
    new, old = (side - 1) / 2, (source - 1) / 2
    shift = ((back[..., :2] * new).sum(2) + back[..., 2] - old).unsqueeze(2) / old
    unit = torch.cat([back[..., :2] * (new / old), shift], 2).to(torch.float32)
    return F.affine_grid(unit, [len(back), 1, side, side], align_corners=True)


def invert_affine(affine: Float[Tensor, "*B 2 3"]) -> Float[Tensor, "*B 2 3"]:
    """The affine map that undoes ``affine``.

    Example:
        >>> there = torch.tensor([[2.0, 0.0, 1.0], [0.0, 2.0, 0.0]])
        >>> apply_affine(invert_affine(there), apply_affine(there, torch.tensor([[3.0, 4.0]])))
        tensor([[3., 4.]])
    """
    inverse = torch.linalg.inv(affine[..., :2])
    return torch.cat([inverse, -inverse @ affine[..., 2:]], -1)
