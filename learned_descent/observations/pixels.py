"""Grey levels at random places around points: what the trees of a forest compare."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor

from ..data.samples import Batch
from ..errors import DescentError, check_real, check_shape, check_whole
from ..observation import ImageObservation
from .patches import as_float, shrink


@final
class NearbyPixels(ImageObservation):
    """Grey levels at random places around every point, in a frame that turns and grows with the
    points.

    A place is drawn once for each step and point, evenly from a disc, and indexed relative to the
    point in the frame of a reference shape: the similarity that carries the reference nearest to
    the points carries the places along. The disc shrinks from step to step. Levels are whole
    numbers in 0..255, those of the nearest pixel, so that a threshold between two of them is exact
    in any precision.

    Args:
        points: maps parameters ``(B, p)`` to points ``(B, L, 2)`` in pixels.
        image: the name of the images in the batch.
        num_points: the number ``L`` of points.
        count: places around each point.
        radii: the radius of the disc in each step, as a fraction of the shorter side of the image;
            the last one serves all further steps.
        spacing: pixels of the image that make one level: it is shrunk by it once per batch, without
            aliasing.
        seed: the seed of the places.

    References:
        S. Ren, X. Cao, Y. Wei and J. Sun. Face alignment at 3000 FPS via regressing local binary
        features. CVPR 2014, section 3.

    Example:
        >>> eyes = NearbyPixels(lambda x: x.unflatten(1, (-1, 2)), num_points=5, count=4)
        >>> batch = eyes.prepare({"image": torch.full((2, 1, 16, 16), 7, dtype=torch.uint8)})
        >>> eyes(torch.full((2, 10), 8.0), batch).unique()
        tensor([7.])
    """

    differentiable: ClassVar[bool] = False

    def __init__(
        self,
        points: Callable[[Tensor], Tensor],
        image: str = "image",
        *,
        num_points: int,
        count: int = 64,
        radii: Sequence[float] = (0.2, 0.15, 0.1, 0.07, 0.05),
        spacing: float = 2.0,
        seed: int = 0,
    ) -> None:
        super().__init__(points, image)
        check_whole(num_points, name="num_points")
        check_whole(count, name="count")
        check_whole(seed, name="seed", least=0)
        check_real(spacing, name="spacing", positive=True)
        if spacing < 1 or not radii:
            raise DescentError(
                f"expected spacing >= 1 and one radius or more, got spacing={spacing} and "
                f"radii={radii}"
            )
        for radius in radii:
            check_real(radius, name="radii", positive=True)
        self.num_points, self.count, self.seed = num_points, count, seed
        self.radii, self.spacing = tuple(map(float, radii)), spacing
        draw = torch.rand(
            len(radii), num_points, count, 2, generator=Generator().manual_seed(seed)
        ).to(torch.get_default_dtype())
        away = draw[..., 0].sqrt() * torch.tensor(self.radii)[:, None, None]
        angle = 2 * math.pi * draw[..., 1]
        places = torch.stack([away * angle.cos(), away * angle.sin()], -1)
        self.register_buffer("places", places)
        self.register_buffer("reference", torch.zeros(num_points, 2))

    places: Tensor
    reference: Tensor

    def refer_to(self, shape: Float[Tensor, "L 2"]) -> None:
        """Sets the shape in whose frame the places are; without one they neither turn nor grow."""
        self.reference.copy_(shape - shape.mean(0))

    def prepare(self, batch: Batch) -> Batch:
        grey = as_float(batch[self.image]).mean(1, keepdim=True)
        levels = (255 * shrink(grey, self.spacing)).round().clamp(0, 255)
        return {**batch, "levels": levels.squeeze(1)}

    def observe(self, k: int, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        levels, centres = batch["levels"], _checked(self.points(x), self.num_points)
        places = self.places[min(k, len(self.places) - 1)]
        places = places * (min(levels.shape[1:]) * self.spacing)
        turned = places @ _frame(self.reference, centres).unsqueeze(1)
        at = (centres.unsqueeze(2) + turned + 0.5) / self.spacing - 0.5
        return _nearest(levels, at.flatten(1, 2))

    def forward(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        return self.observe(0, x, batch)

    def settings(self) -> dict[str, Any]:
        return {
            "num_points": self.num_points,
            "count": self.count,
            "radii": list(self.radii),
            "spacing": self.spacing,
            "seed": self.seed,
        }


@final
class PixelPool(ImageObservation):
    """Grey levels at one pool of places for all trees of a step, in a frame that turns and grows
    with the points.

    Each place is beside one of the points: the similarity that carries the reference shape nearest
    to the points carries the places along. Where they are is a matter of training
    (:class:`~learned_descent.training.BoostedTrees`); before it, all are at the first point. Levels
    are whole numbers in 0..255, and 0 outside of the image.

    Args:
        points: maps parameters ``(B, p)`` to points ``(B, L, 2)`` in pixels.
        image: the name of the images in the batch.
        num_points: the number ``L`` of points.
        count: places of a step.
        stages: steps with places of their own; the last ones serve all further steps.
        finer: levels along a side of a pixel: the image is enlarged by it once per batch.

    References:
        V. Kazemi and J. Sullivan. One millisecond face alignment with an ensemble of regression
        trees. CVPR 2014, section 2.3.

    Example:
        >>> eyes = PixelPool(lambda x: x.unflatten(1, (-1, 2)), num_points=5, count=4)
        >>> batch = eyes.prepare({"image": torch.full((2, 1, 16, 16), 7, dtype=torch.uint8)})
        >>> eyes(torch.full((2, 10), 8.0), batch)
        tensor([[7., 7., 7., 7.],
                [7., 7., 7., 7.]])
    """

    differentiable: ClassVar[bool] = False

    places: Tensor
    """Where they are from their points, in px where the points lie as the reference does, ``(T, P,
    2)``."""

    beside: Tensor
    """The point of each place, ``(T, P)``."""

    reference: Tensor

    def __init__(
        self,
        points: Callable[[Tensor], Tensor],
        image: str = "image",
        *,
        num_points: int,
        count: int = 400,
        stages: int = 10,
        finer: float = 2.0,
    ) -> None:
        super().__init__(points, image)
        for name, size in {"num_points": num_points, "count": count, "stages": stages}.items():
            check_whole(size, name=name)
        check_real(finer, name="finer", positive=True)
        if finer < 1:
            raise DescentError(f"finer: expected 1 or more, got {finer}")
        self.num_points, self.count, self.stages, self.finer = num_points, count, stages, finer
        self.register_buffer("places", torch.zeros(stages, count, 2))
        self.register_buffer("beside", torch.zeros(stages, count, dtype=torch.int32))
        self.register_buffer("reference", torch.zeros(num_points, 2))

    def refer_to(self, shape: Float[Tensor, "L 2"]) -> None:
        """Sets the shape in whose frame the places are."""
        self.reference.copy_(shape - shape.mean(0))

    def prepare(self, batch: Batch) -> Batch:
        grey = as_float(batch[self.image]).mean(1, keepdim=True)
        if self.finer > 1:
            grey = F.interpolate(grey, scale_factor=self.finer, mode="bilinear")
        return {**batch, "levels": (255 * grey).round().squeeze(1)}

    def observe(self, k: int, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        points = _checked(self.points(x), self.num_points)
        stage = min(k, self.stages - 1)
        turned = self.places[stage] @ _frame(self.reference, points)
        at = (points[:, self.beside[stage].long()] + turned + 0.5) * self.finer - 0.5
        height, width = batch["levels"].shape[1:]
        column, row = at.unbind(2)
        inside = (at >= -0.5).all(2) & (column < width - 0.5) & (row < height - 0.5)
        return _nearest(batch["levels"], at) * inside

    def forward(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        return self.observe(0, x, batch)

    def settings(self) -> dict[str, Any]:
        return {
            "num_points": self.num_points,
            "count": self.count,
            "stages": self.stages,
            "finer": self.finer,
        }


def _checked(points: Float[Tensor, "B L 2"], count: int) -> Float[Tensor, "B L 2"]:
    """The points, if there are so many."""
    check_shape(points, f"B {count} 2", name=f"points (num_points={count})")
    return points


def _frame(
    reference: Float[Tensor, "L 2"], points: Float[Tensor, "B L 2"]
) -> Float[Tensor, "B 2 2"]:
    """The turn and the growth that carry the reference, centred at 0, nearest to the points, for
    rows of places.
    """
    shape = points - points.mean(1, keepdim=True)
    size = reference.square().sum()
    along = (shape * reference).sum((1, 2))
    across = (reference[:, 0] * shape[..., 1] - reference[:, 1] * shape[..., 0]).sum(1)
    cosine = torch.where(size > 0, along / size, 1.0)
    sine = torch.where(size > 0, across / size, 0.0)
    return torch.stack([cosine, sine, -sine, cosine], 1).view(-1, 2, 2)


def _nearest(levels: Float[Tensor, "B H W"], at: Float[Tensor, "B N 2"]) -> Float[Tensor, "B N"]:
    """The levels that are nearest to places, ``(column, row)``."""
    height, width = levels.shape[1:]
    column, row = (
        at[..., axis].nan_to_num(0.0).round().clamp(0, size - 1).long()
        for axis, size in ((0, width), (1, height))
    )
    return levels.flatten(1).gather(1, row * width + column)
