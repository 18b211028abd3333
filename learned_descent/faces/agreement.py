"""Several fits of one face: where they agree, and how well."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float, Shaped
from torch import Generator, Tensor

from ..model import DescentModel
from .landmarks import Landmarks


@torch.inference_mode()
def fit_often(
    model: DescentModel, images: Shaped[Tensor, "B 3 S S"], *, starts: int, batch_size: int = 16
) -> Float[Tensor, "B K L 2"]:
    """Fits of each face from several starts, in its crop and in the mirrored one.

    The first start is that of testing, the others are drawn as those of training, with a fixed seed and alike for every face.
    The features of a crop are prepared once.

    Args:
        model: a model of faces.
        images: crops, in which the box has the centre and the side that the problem gives it.
        starts: the number of starts.
        batch_size: faces at once.

    Returns:
        ``K = 2 starts`` fits per face, in px of its crop.
    """
    problem = cast(Landmarks, model.problem)
    centre, half = (problem.crop - 1) / 2, problem.box_side / 2
    box = torch.tensor([centre - half] * 2 + [centre + half] * 2, device=images.device).unsqueeze(0)
    seed = Generator(images.device).manual_seed(0)
    first = problem.initial({"box": box})
    x0s = torch.cat([first, problem.initial({"box": box.expand(starts - 1, 4)}, seed)]) if starts > 1 else first
    fits = []
    for chunk in images.split(batch_size):
        prepared = model.observation.prepare({"image": torch.cat([chunk, chunk.flip(-1)])})
        found = [problem.points(model.descend(prepared, x0.expand(2 * len(chunk), -1)).final) for x0 in x0s]
        plain, mirrored = torch.stack(found, 1).split(len(chunk))
        back = mirrored[:, :, problem.mirror_points]
        back = torch.stack([problem.crop - 1 - back[..., 0], back[..., 1]], -1)
        fits.append(torch.cat([plain, back], 1))
    return torch.cat(fits)


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
