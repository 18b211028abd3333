"""Filters of pictures, batched."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def blurred(
    picture: Float[Tensor, "B C S S"], sigma: Float[Tensor, " B"], reach: int = 3
) -> Float[Tensor, "B C S S"]:
    """Pictures under Gaussians of ``sigma`` px each, which end after ``reach`` px.

    Example:
        >>> blurred(torch.ones(1, 1, 4, 4), torch.tensor([1.5])).std().item() < 1e-6
        True
    """
    offsets = torch.arange(-reach, reach + 1, device=picture.device)
    weights = (-offsets.square() / (2 * sigma.unsqueeze(1).square())).exp()
    weights = (weights / weights.sum(1, keepdim=True)).repeat_interleave(picture.shape[1], 0)[
        :, None, None
    ]
    padded = F.pad(picture, (reach,) * 4, mode="replicate").flatten(0, 1).unsqueeze(0)
    along = F.conv2d(padded, weights, groups=len(weights))
    found: Tensor = F.conv2d(along, weights.mT, groups=len(weights)).view_as(picture)
    return found
