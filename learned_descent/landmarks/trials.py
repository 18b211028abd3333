"""The kinds of pictures that a confidence is fitted and measured on: other than those of training,
cut, or of nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import torch
from jaxtyping import Bool
from torch import Generator, Tensor

from ..data.samples import Batch
from ..errors import DescentError
from .augmentation import Augmentation, augment
from .problem import Landmarks

Trial: TypeAlias = Callable[[Landmarks, Batch, Generator], Batch]
"""Makes pictures of a kind of samples. Where a picture may hold no object, ``there`` ``(B,)`` says
which of them hold one.
"""

BAD = Augmentation(
    blur=4.0,
    channel_noise=60.0,
    low_resolution=0.2,
    jpeg=0.2,
    texture=0.4,
    hue=0.2,
    channel_order=0.2,
    duotone=0.1,
    grey=0.1,
    gamma=0.5,
)
"""Bad pictures: blurred, noisy, small, compressed, in other colours, partly hidden."""

_PIECES = 4
"""A picture of nothing is one whose squares, so many along a side, are laid in another order."""


def _varied(how: Augmentation) -> Trial:
    def varied(problem: Landmarks, batch: Batch, generator: Generator) -> Batch:
        turning = problem.turning() if how.turn else None
        return augment(batch, how, problem.mirror_points, generator, turning)

    return varied


def _cut(problem: Landmarks, batch: Batch, generator: Generator) -> Batch:
    """The frame ends on one side, at most in the middle of the box: what is beyond is black, as in
    a crop that reaches over the border of its photo.
    """
    image = batch["image"]
    side, count = image.shape[-1], len(image)
    deep = side / 2 * torch.rand(count, 1, generator=generator, device=image.device)
    seen = torch.arange(side, device=image.device) >= deep
    across = torch.where(_half(image, generator), seen, seen.flip(1))
    down = _half(image, generator)
    mask = torch.where(down.unsqueeze(2), across.unsqueeze(2), across.unsqueeze(1))
    return {**batch, "image": image.float() * mask.unsqueeze(1)}


def _nothing(problem: Landmarks, batch: Batch, generator: Generator) -> Batch:
    """No object: the squares of each picture in another order, each turned over."""
    image = batch["image"].to(torch.float32, copy=True)
    size = image.shape[-1] // _PIECES
    whole = image[..., : _PIECES * size, : _PIECES * size]
    pieces = whole.unflatten(3, (_PIECES, size)).unflatten(2, (_PIECES, size)).movedim(4, 3)
    pieces = pieces.flatten(2, 3).flip(-2)  # B C pieces size size
    order = torch.rand(len(image), 1, _PIECES**2, generator=generator, device=image.device)
    order = order.argsort(2)[..., None, None]
    mixed = pieces.take_along_dim(order, 2).unflatten(2, (_PIECES, _PIECES)).movedim(3, 4)
    image[..., : _PIECES * size, : _PIECES * size] = mixed.flatten(4, 5).flatten(2, 3)
    there = torch.zeros(len(image), dtype=torch.bool, device=image.device)
    return {**batch, "image": image, "there": there}


def _half(image: Tensor, generator: Generator) -> Bool[Tensor, "B 1"]:
    return torch.rand(len(image), 1, generator=generator, device=image.device) < 0.5


TRIALS: Final[Mapping[str, Trial]] = {
    "as trained": _varied(Augmentation()),
    "bad pictures": _varied(BAD),
    "at any angle": _varied(Augmentation(roll=1.0)),
    "turned heads": _varied(Augmentation(turn=45.0)),
    "cut": _cut,
    "nothing": _nothing,
}
"""What pictures may be, by name."""

VARIANTS: Final[Mapping[str, int]] = {
    "as trained": 5,
    "bad pictures": 3,
    "at any angle": 1,
    "turned heads": 1,
    "cut": 1,
    "nothing": 1,
}
"""How many pictures of each kind are made of each held-out object to fit a confidence."""


def trials_of(problem: Landmarks) -> dict[str, Trial]:
    """The kinds of pictures that can be made of the samples of a problem: turned heads only where
    it knows of a shape in space.

    Example:
        >>> from learned_descent.faces.alignment import FaceAlignment
        >>> list(trials_of(FaceAlignment()))[2:4]
        ['at any angle', 'turned heads']
    """
    try:
        solid = problem.turning().solid
    except DescentError:
        solid = False
    return {name: kind for name, kind in TRIALS.items() if solid or name != "turned heads"}
