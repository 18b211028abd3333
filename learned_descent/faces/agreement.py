"""Several fits of one face: where they agree, and how well."""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

from ..model import DescentModel
from .crops import apply_affine, sampling_grid
from .landmarks import Landmarks

VIEWS = ((0.0, 1.0), (12.0, 1.08), (-12.0, 1.08), (0.0, 1.08))
"""How a crop is looked at: turned by so many degrees, and enlarged. Chosen on held-out faces."""


@torch.inference_mode()
def fit_often(
    model: DescentModel, images: Shaped[Tensor, "B 3 S S"], *, views: int, batch_size: int = 16
) -> Float[Tensor, "B K L 2"]:
    """Fits of each face from several starts: in its crop, in turned and enlarged copies of it, and in their mirror images.

    The start lies on each copy where it lies on the crop, so on another part of the face; and no two copies have the same
    features. The first view is the crop itself, as in testing.

    Args:
        model: a model of faces.
        images: crops, in which the box has the centre and the side that the problem gives it.
        views: the number of copies that are looked at, from 1 to 4.
        batch_size: faces at once.

    Returns:
        ``K = 2 views`` fits per face, in px of its crop; those in the mirror images come last.
    """
    problem = cast(Landmarks, model.problem)
    middle, half = (problem.crop - 1) / 2, problem.box_side / 2
    start = problem.initial({"box": torch.tensor([[middle - half] * 2 + [middle + half] * 2], device=images.device)})
    fits = []
    for chunk in images.split(batch_size):
        plain, mirrored = [], []
        for degrees, factor in VIEWS[:views]:
            seen, back = _view(chunk, degrees, factor)
            prepared = model.observation.prepare({"image": torch.cat([seen, seen.flip(-1)])})
            found = problem.points(model.descend(prepared, start.expand(2 * len(chunk), -1)).final)
            there, other = found.split(len(chunk))
            other = other[:, problem.mirror_points]
            plain.append(apply_affine(back, there))
            mirrored.append(apply_affine(back, torch.stack([problem.crop - 1 - other[..., 0], other[..., 1]], -1)))
        fits.append(torch.stack(plain + mirrored, 1))
    return torch.cat(fits)


def _view(images: Shaped[Tensor, "B 3 S S"], degrees: float, factor: float) -> tuple[Tensor, Float[Tensor, "B 2 3"]]:
    """Turned and enlarged copies, and the affine map from their px to those of the crops."""
    angle, middle = math.radians(degrees), (images.shape[-1] - 1) / 2
    turn = (
        torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], device=images.device) / factor
    )
    back = torch.cat([turn, middle * (1 - turn.sum(1, keepdim=True))], 1).expand(len(images), 2, 3)
    if (degrees, factor) == VIEWS[0]:
        return images, back
    side = images.shape[-1]
    return F.grid_sample(images.float(), sampling_grid(back, side, side), align_corners=True), back


def agree(fits: Float[Tensor, "B K L 2"]) -> tuple[Float[Tensor, "B L 2"], Float[Tensor, "B L"]]:
    """The median of several fits, and their spread about it.

    Returns:
        The median of each coordinate, and the root mean square distance of the fits from it, both in the unit of the fits.

    Example:
        >>> points, spread = agree(torch.tensor([[[[0.0, 0.0]], [[3.0, 0.0]], [[3.0, 4.0]]]]))
        >>> points, spread.square()
        (tensor([[[3., 0.]]]), tensor([[8.3333]]))
    """
    points = fits.quantile(0.5, dim=1)
    return points, (fits - points.unsqueeze(1)).square().sum(-1).mean(1).sqrt()
