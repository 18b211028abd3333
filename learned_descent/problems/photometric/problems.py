"""Photometric alignment: the warp under which an image looks like a template."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor

from ...data.samples import Batch, Split
from ...errors import DescentError, check_whole
from ...families import Family, Recipe
from ...models import Cascade, MnemonicDescent
from ...observation import Beside, Concat, Observation
from ...observations import GaussNewtonSteps
from ...training import BackpropThroughTime, SequentialRidge
from .base import Photometric, Template
from .block_matching import BlockMatches
from .blur import REACH, widest_blur
from .photos import Scenes, photo_of, placed, random_scenes
from .warps import Kind, project


@final
class Appearance(Observation):
    """What the grid of the template sees of the image at ``x``: edges and grey values, ``(B, 4 (m -
    1)^2 + m^2)``.

    ``m`` is half the number of points along a side: features are means of 2 x 2 points. Edges are
    rising and falling slopes along both axes, each for itself, the strong ones compressed: far from
    the answer a linear map makes much more of them than of grey values, which are what tells it
    where to stop.

    Args:
        problem: the alignment.

    References:
        X. Xiong and F. De la Torre. Supervised descent method and its applications to face
        alignment. CVPR 2013 (SIFT, for the same reason).
    """

    def __init__(self, problem: Photometric) -> None:
        super().__init__()
        self._problem = Beside(problem)

    def prepare(self, batch: Batch) -> Batch:
        return self._problem.module.prepare(batch)

    def forward(self, x: Float[Tensor, "B 9"], batch: Batch) -> Float[Tensor, "B F"]:
        problem = self._problem.module
        seen = problem.seen(x, batch).nan_to_num().unflatten(1, (1, problem.grid, problem.grid))
        slopes = (
            torch.cat(
                [
                    seen[..., 1:-1, 2:] - seen[..., 1:-1, :-2],
                    seen[..., 2:, 1:-1] - seen[..., :-2, 1:-1],
                ],
                1,
            )
            / 2
        )
        slopes = slopes * (slopes.square().sum(1, keepdim=True) + 0.01) ** -0.25
        edges = torch.cat([slopes.relu(), (-slopes).relu()], 1)
        return torch.cat(
            [F.avg_pool2d(edges, 2).flatten(1), (F.avg_pool2d(seen, 2) / 2).tanh().flatten(1)], 1
        )


@final
class FixedTemplate(Photometric):
    """The alignment of images to one template, which is known in training: a model learns it by
    heart.

    Args:
        photo: a photo of scikit-image (coins, astronaut, ...), or the path of an image.
        box: the template in the photo: first column, first row, last column, last row.
        warp: ``"affine"`` or ``"homography"``.
        grid: points along a side.
        blur: the standard deviation of the Gaussian that images are seen under, in spacings of the
            grid. The template is smoothed with what lies around it in its photo; where an image
            shows something else around it (``elsewhere``) the minimum is not quite the truth, so
            end such a search without a blur.
        spread: how far the control points are moved at most, in sides.
        margin: what an image shows around the template, in sides.
        lighting: gain and bias vary by this share.
        noise: the standard deviation of the noise, in grey levels.
        occluder: the share of the area of the template that a box with something else hides.
        elsewhere: the share of the images in which the template lies in another photo, so that a
            model learns the template and not what is around it.
        num_train: simulated images for training.
        num_test: simulated images for testing, and as many for validation.
        seed: the seed of all that is simulated.
        inverse: whether solvers take the steps of the inverse compositional algorithm, with the
            derivative of the template.
        robust: the residual, in standard deviations of the template, beyond which a point counts no
            more (Tukey's kernel); 0 for squares.

    Raises:
        DescentError: if a number is out of its range, there is no such photo, the box leaves it, or
            has no contrast.

    Example:
        >>> problem = FixedTemplate(num_test=4)
        >>> batch = problem.data("test")
        >>> problem.error(problem.initial(batch), batch)
        tensor([ 9.5000, 19.0000, 28.5000, 38.0000])
    """

    surroundings: Mapping[Split, Sequence[str]] = {
        "train": (
            "astronaut",
            "brick",
            "coins",
            "grass",
            "gravel",
            "hubble_deep_field",
            "immunohistochemistry",
            "text",
        ),
        "val": ("moon", "retina"),
        "test": ("camera", "chelsea", "coffee", "page", "rocket"),
    }

    def __init__(
        self,
        photo: str = "coins",
        box: Sequence[int] = (140, 100, 235, 195),
        *,
        warp: Kind = "homography",
        grid: int = 24,
        blur: float = 0.0,
        spread: float = 0.4,
        margin: float = 0.6,
        lighting: float = 0.2,
        noise: float = 2.0,
        occluder: float = 0.0,
        elsewhere: float = 0.5,
        num_train: int = 8192,
        num_test: int = 512,
        seed: int = 0,
        inverse: bool = False,
        robust: float = 0.0,
    ) -> None:
        image = photo_of(photo)
        left, top, right, bottom = _checked_box(box, image)
        if not 0 <= elsewhere <= 1:
            raise DescentError(
                f"elsewhere: expected a share of the images, 0 to 1, got {elsewhere}"
            )
        super().__init__(
            (right - left + 1, bottom - top + 1), warp=warp, grid=grid, blur=blur, spread=spread,
            margin=margin,
            lighting=lighting, noise=noise, occluder=occluder, num_train=num_train,
            num_test=num_test, seed=seed,
            inverse=inverse, robust=robust, bare=False,
        )  # fmt: skip
        self.photo, self.box, self.photo_pixels = photo, tuple(box), image
        self.elsewhere = elsewhere
        around = self.pool * (1 + math.ceil(REACH * self.blur))
        height, width = image.shape
        rows = torch.arange(top - around, bottom + around + 1).clamp(0, height - 1)
        columns = torch.arange(left - around, right + around + 1).clamp(0, width - 1)
        wide = image[rows[:, None], columns]  # beyond its border the photo goes on as in the images
        values, steepest, hessian = self.learnt_by_heart(self.pooled(wide[None, None]), around)
        if not values.isfinite().all():
            raise DescentError(
                f"box: expected a part of {photo} with contrast, got one of a single grey level"
            )
        self.register_buffer("values", values, persistent=False)
        self.register_buffer("steepest", steepest, persistent=False)
        self.register_buffer("hessian", hessian, persistent=False)

    values: Tensor
    steepest: Tensor
    hessian: Tensor

    def template(self, batch: Batch) -> Template:
        return self.values, self.steepest, self.hessian

    def scenes(self, split: Split, count: int, generator: Generator) -> Scenes:
        left, top, right, bottom = self.box
        warp = placed(self.size, torch.tensor([[(left + right) / 2, (top + bottom) / 2]]))
        return Scenes(
            [self.photo_pixels], torch.zeros(count, dtype=torch.long), warp.expand(count, 3, 3)
        )

    def surrounded(
        self, image: Tensor, truth: Float[Tensor, "N 3 3"], generator: Generator, split: Split
    ) -> Tensor:
        """The images, a share of them with another photo around the template."""
        moved = (torch.rand(len(image), generator=generator) < self.elsewhere).nonzero()[:, 0]
        photos = [photo_of(name) for name in self.surroundings[split]]
        other = random_scenes(photos, max(self.image_size), len(moved), generator)
        whole = placed(
            (max(self.image_size),) * 2, (torch.tensor([self.image_size]) - 1) / 2
        ).expand(len(moved), 3, 3)
        pixels = torch.cartesian_prod(
            *(torch.arange(float(side)) for side in reversed(self.image_size))
        ).flip(1)
        within = (
            project(torch.linalg.inv(truth[moved]), pixels)
            .abs()
            .amax(2)
            .view(-1, 1, *image.shape[2:])
            <= 1
        )
        image[moved] = torch.where(within, image[moved], other.render(whole, self.image_size))
        return image

    def observation(self) -> Observation:
        return Appearance(self)

    @classmethod
    def families(cls) -> Mapping[str, Family]:
        return RECIPES

    def settings(self) -> dict[str, Any]:
        return {"photo": self.photo, "box": list(self.box), **self.own}


def _checked_box(box: Sequence[int], image: Float[Tensor, "H W"]) -> tuple[int, int, int, int]:
    """First column, first row, last column and last row of a part of the image."""
    if len(box) != 4:
        raise DescentError(
            f"box: expected first column, first row, last column, last row, got {box}"
        )
    height, width = image.shape
    left, top, right, bottom = box
    if not (0 <= left < right < width and 0 <= top < bottom < height):
        raise DescentError(
            f"box: expected a part of the photo, whose last pixel is ({width - 1}, "
            f"{height - 1}), got {box}"
        )
    return left, top, right, bottom


@final
class AnyTemplate(Photometric):
    """The alignment of images to a template that comes with each of them: a model learns to align.

    The photos of training, validation and test are different ones.

    Args:
        side: the side of the templates, in px.
        warp: ``"affine"`` or ``"homography"``.
        grid: points along a side.
        blur: the standard deviation of the Gaussian that images are seen under, in spacings of the
            grid. Nothing is known of what lies around a template, so the grid keeps as far from its
            border as the blur reaches.
        spread: how far the control points are moved at most, in sides.
        margin: what an image shows around the template, in sides.
        lighting: gain and bias vary by this share.
        noise: the standard deviation of the noise, in grey levels.
        occluder: the share of the area of the template that a box with something else hides.
        num_train: simulated images for training.
        num_test: simulated images for testing, and as many for validation.
        seed: the seed of all that is simulated.
        inverse: whether solvers take the steps of the inverse compositional algorithm, with the
            derivative of the template.
        robust: the residual, in standard deviations of the template, beyond which a point counts no
            more (Tukey's kernel); 0 for squares.

    Raises:
        DescentError: if a number is out of its range, or the blur leaves too little of a template
            to compare.

    Example:
        >>> problem = AnyTemplate(num_test=4)
        >>> problem.data("test")["template"].shape
        torch.Size([4, 1, 64, 64])
    """

    images = ("image", "template")

    photos: Mapping[Split, Sequence[str]] = {
        "train": (
            "astronaut",
            "brick",
            "grass",
            "gravel",
            "hubble_deep_field",
            "immunohistochemistry",
            "retina",
            "text",
        ),
        "val": ("coins", "moon"),
        "test": ("camera", "chelsea", "coffee", "page", "rocket"),
    }

    def __init__(
        self,
        *,
        side: int = 64,
        warp: Kind = "homography",
        grid: int = 32,
        blur: float = 0.5,
        spread: float = 0.4,
        margin: float = 0.6,
        lighting: float = 0.2,
        noise: float = 2.0,
        occluder: float = 0.0,
        num_train: int = 4096,
        num_test: int = 512,
        seed: int = 0,
        inverse: bool = False,
        robust: float = 0.0,
    ) -> None:
        check_whole(side, name="side", least=4)
        super().__init__(
            (side, side), warp=warp, grid=grid, blur=blur, spread=spread, margin=margin,
            lighting=lighting, noise=noise,
            occluder=occluder, num_train=num_train, num_test=num_test, seed=seed, inverse=inverse,
            robust=robust, bare=True,
        )  # fmt: skip
        self.shapes = {**self.shapes, "template": f"B 1 {side} {side}"}

    def template(self, batch: Batch) -> Template:
        return batch["values"], batch["steepest"], batch["hessian"]

    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        found = super().prepare(batch)
        names = ("values", "steepest", "hessian")
        return found | dict(
            zip(names, self.learnt_by_heart(self.pooled(batch["template"]).to(found["image"])))
        )

    def scenes(self, split: Split, count: int, generator: Generator) -> Scenes:
        photos = [photo_of(name) for name in self.photos[split]]
        if self.size[0] > (least := min(min(photo.shape) for photo in photos)):
            raise DescentError(
                f"side: expected at most {least} px, the least side of a photo of {split!r}, got "
                f"{self.size[0]}"
            )
        return random_scenes(photos, self.size[0], count, generator)

    def shown(self, scenes: Scenes) -> dict[str, Tensor]:
        return {
            "template": scenes.render(
                self.home.to(scenes.warps).expand(len(scenes.which), 3, 3), self.size
            )
            .round()
            .byte()
        }

    def observation(self) -> Observation:
        """Where blocks of the template are found, and inverse compositional steps on all, half and
        a quarter of the grid.
        """
        grids = [max(4, self.grid // factor) for factor in (1, 2, 4)]
        own = {**self.settings(), "inverse": True}
        blurs = (min(self.own["blur"], widest_blur(self.size[0], grid)) for grid in grids)
        steps = (
            GaussNewtonSteps(AnyTemplate(**{**own, "grid": grid, "blur": blur}))
            for grid, blur in zip(grids, blurs)
        )
        return Concat(BlockMatches(self, cells=min(16, self.grid)), *steps)

    @classmethod
    def families(cls) -> Mapping[str, Family]:
        return RECIPES

    def settings(self) -> dict[str, Any]:
        return {"side": self.size[0], **self.own}


RECIPES: Mapping[str, Family] = {
    "sdm": Recipe(
        Cascade, {"num_steps": 8},
        trainers={"ridge": SequentialRidge(ridge=(1e-3, 1e-2, 0.1, 1.0), repeats=4,
        batch_size=256)},
    ),
    "mdm": Recipe(
        MnemonicDescent, {"num_steps": 8, "hidden": 256, "cell": "gru"},
        trainers={"bptt": BackpropThroughTime(iterations=1500, batch_size=64, lr=1e-3, ema=0.99,
        detach="observation")},
    ),
}  # fmt: skip
"""The families on photometric alignment."""
