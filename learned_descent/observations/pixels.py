"""Grey levels at random places around points: what the trees of a forest compare."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, final

import torch
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
        levels, centres = batch["levels"], self.points(x)
        name = f"points (num_points={self.num_points})"
        check_shape(centres, f"B {self.num_points} 2", name=name)
        height, width = levels.shape[1:]
        places = self.places[min(k, len(self.places) - 1)] * (min(height, width) * self.spacing)
        at = (centres.unsqueeze(2) + places @ self._frame(centres) + 0.5) / self.spacing - 0.5
        column, row = (
            at[..., axis].nan_to_num(0.0).round().clamp(0, size - 1).long()
            for axis, size in ((0, width), (1, height))
        )
        return levels.flatten(1).gather(1, (row * width + column).flatten(1))

    def forward(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        return self.observe(0, x, batch)

    def _frame(self, points: Float[Tensor, "B L 2"]) -> Float[Tensor, "B 1 2 2"]:
        """The turn and the growth that carry the reference nearest to the points, for rows of
        places.
        """
        own, shape = self.reference, points - points.mean(1, keepdim=True)
        size = own.square().sum()
        along = (shape * own).sum((1, 2))
        across = (own[:, 0] * shape[..., 1] - own[:, 1] * shape[..., 0]).sum(1)
        cosine = torch.where(size > 0, along / size, 1.0)
        sine = torch.where(size > 0, across / size, 0.0)
        return torch.stack([cosine, sine, -sine, cosine], 1).view(-1, 1, 2, 2)

    def settings(self) -> dict[str, Any]:
        return {
            "num_points": self.num_points,
            "count": self.count,
            "radii": list(self.radii),
            "spacing": self.spacing,
            "seed": self.seed,
        }
