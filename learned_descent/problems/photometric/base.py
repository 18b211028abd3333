"""What alignments of images to templates share: the warps, the residuals, and the simulated
images.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from ...data.samples import Batch, Split
from ...errors import DescentError, check_choice, check_levels
from ...kernels import Kernel, Squares, Tukey
from ...problem import LeastSquares
from .blur import check_blur, inner_share, pool_of, smoothed
from .grey import matched, standardised, standardised_slope, without_contrast
from .photos import Scenes, placed, sample, slopes
from .warps import Kind, Warps, project, velocities

Template: TypeAlias = tuple[Float[Tensor, "T N"], Float[Tensor, "T N d"], Float[Tensor, "T d d"]]
"""Standardised grey values, their steepest descent and its Hessian; ``T`` is 1 if all samples have
one template."""

_SEEDS: Mapping[Split, int] = {"train": 0, "val": 1, "test": 2}

_ROUND = 0.01
"""Half sides: below it the loss is round, so that it has a derivative at the target."""


class Photometric(LeastSquares, ABC):
    """The alignment of an image to a template: what :class:`FixedTemplate` and :class:`AnyTemplate`
    share.

    ``x (B, 9)`` is the homography, 1 in its last entry, from the template, the square -1..1, to
    pixels of the image. An update ``(B, d)`` moves the control points within the square, before the
    warp: ``x <- x exp(delta)``, in half sides. Residuals are differences of grey values on ``grid x
    grid`` points, with mean 0 and variance 1 in image and template alike: gain and bias do not
    matter. With ``robust``, mean and variance are those of the points that agree, by the weights of
    Tukey's kernel, and what an occluder hides costs the same wherever it is. The error is the root
    mean square distance of the control points (the four corners, or three points of an affine warp)
    from where they belong, in px.

    A batch holds ``image`` (grey levels, ``(B, 1, H, W)``), ``start`` and ``truth`` ``(B, 9)``.
    Beyond its border an image goes on as it ends. Without contrast in image or template the
    residuals are NaN: to a solver the sample is invalid.

    In simulated images a photo is seen under a random warp, gain, bias and noise. The warp moves
    the control points by 0 to ``spread`` sides, root mean square; in the tests by 1/4, 2/4, 3/4 and
    all of it in turn.

    A blur mixes what is in the template with what is around it. Where that is not known (``bare``),
    the grid keeps away from the border, so that template and image agree at the truth.

    References:
        S. Baker and I. Matthews. Lucas-Kanade 20 years on: a unifying framework. IJCV 56, 2004.
    """

    failure_above = 1.0
    images: Sequence[str] = ("image",)
    points: Tensor
    fields: Tensor
    centred: Tensor
    home: Tensor

    def __init__(
        self,
        size: tuple[int, int],
        *,
        warp: Kind,
        grid: int,
        blur: float,
        spread: float,
        margin: float,
        lighting: float,
        noise: float,
        occluder: float,
        num_train: int,
        num_test: int,
        seed: int,
        inverse: bool,
        robust: float,
        bare: bool,
    ) -> None:
        super().__init__()
        for name, value, wanted, ok in (
            ("size", size, "4 px or more along both sides of the template", min(size) >= 4),
            ("grid", grid, f"4 to {min(size)} points along a side", 4 <= grid <= min(size)),
            ("blur", blur, "spacings of the grid, 0 to 4", 0 <= blur <= 4),
            ("spread", spread, "a share of the side, 0 to 0.5", 0 <= spread <= 0.5),
            ("margin", margin, "a share of the side, 0 to 4", 0 <= margin <= 4),
            ("lighting", lighting, "a share, 0 to 0.9", 0 <= lighting <= 0.9),
            ("noise", noise, "grey levels, 0 to 255", 0 <= noise <= 255),
            ("occluder", occluder, "a share of the template, 0 to 0.9", 0 <= occluder <= 0.9),
            ("robust", robust, "standard deviations, or 0 for squares", 0 <= robust < math.inf),
            ("num_train", num_train, "1 or more images", num_train >= 1),
            ("num_test", num_test, "1 or more images", num_test >= 1),
        ):
            if not ok:
                raise DescentError(f"{name}: expected {wanted}, got {value}")
        self.own: dict[str, Any] = {"warp": warp, "grid": grid, "blur": blur, "spread": spread}
        self.own |= {"inverse": inverse, "robust": robust}
        self.size, self.grid, self.spread = size, grid, spread
        self.lighting, self.noise, self.occluder, self.inverse = lighting, noise, occluder, inverse
        self.kernel: Kernel = Tukey(robust) if robust else Squares()
        self.counts: Mapping[Split, int] = {"train": num_train, "val": num_test, "test": num_test}
        self.seed = seed
        self.warps = Warps(warp)
        self.pool = pool_of(min(size), grid)
        self.blur = blur * min(size) / (grid * self.pool)
        if bare:
            check_blur(min(size), grid, blur)
        self.inner = inner_share(min(size), grid, self.blur) if bare else 1.0
        self.image_size = (round((1 + 2 * margin) * size[0]), round((1 + 2 * margin) * size[1]))
        self._lay_grid()
        self.shapes = {"image": "B 1 H W", "start": "B 9"}

    def _lay_grid(self) -> None:
        """Registers the points of the grid, how they move with an update, and where the template
        lies: in the middle of an image, and over one of its own size.
        """
        ticks = self.inner * (
            (2 * torch.arange(self.grid, dtype=torch.float64) + 1) / self.grid - 1
        )
        points = torch.cartesian_prod(ticks, ticks).flip(1)
        fields = velocities(self.warps.generators, points).permute(1, 2, 0)
        self.register_buffer("points", points.float(), persistent=False)
        self.register_buffer("fields", fields.float(), persistent=False)
        for name, size in (("centred", self.image_size), ("home", self.size)):
            centre = (torch.tensor([size]) - 1) / 2
            self.register_buffer(name, placed(self.size, centre), persistent=False)

    @abstractmethod
    def template(self, batch: Batch) -> Template:
        """The templates of a prepared batch."""

    @abstractmethod
    def scenes(self, split: Split, count: int, generator: Generator) -> Scenes:
        """Where ``count`` templates lie in photos of ``split``."""

    def shown(self, scenes: Scenes) -> dict[str, Tensor]:
        """What a batch shows of the templates; nothing where they are all one."""
        return {}

    def surrounded(
        self, image: Tensor, truth: Float[Tensor, "N 3 3"], generator: Generator, split: Split
    ) -> Tensor:
        """The images with what is to be around the templates; by default what is there."""
        return image

    @final
    def data(self, split: Split) -> dict[str, Tensor]:
        """The samples of ``split``, simulated afresh; the same in every call."""
        check_choice(split, Split, name="split")
        generator = Generator().manual_seed(3 * self.seed + _SEEDS[split])
        count = self.counts[split]
        level = (
            (torch.arange(count) % 4 + 1) / 4
            if split == "test"
            else torch.rand(count, generator=generator)
        )
        return self.simulate(self._moves(level, generator), generator, split)

    def simulate(
        self, moves: Float[Tensor, "N C 2"], generator: Generator, split: Split = "test"
    ) -> dict[str, Tensor]:
        """Images with the control points of the template ``moves`` away, in half sides, from where
        the search starts.
        """
        start = self.centred.to(moves).expand(len(moves), 3, 3)
        truth = start @ self.warps.through(self.warps.controls.to(moves) + moves)
        scenes = self.scenes(split, len(moves), generator)
        image = self.surrounded(scenes.render(truth, self.image_size), truth, generator, split)
        image = self._occluded(image, truth, generator)
        gain, bias = (
            self.lighting * (2 * torch.rand(len(moves), 1, 1, 1, generator=generator) - 1)
            for _ in range(2)
        )
        image = (
            127
            + (1 + gain) * (image - 127)
            + 127 * bias
            + self.noise * torch.randn(image.shape, generator=generator)
        )
        known = {"start": start, "truth": truth / truth[:, 2:, 2:]}
        return {
            "image": image.round().clamp(0, 255).byte(),
            **{name: warp.flatten(1).clone() for name, warp in known.items()},
            **self.shown(scenes),
        }

    def _occluded(
        self, image: Tensor, truth: Float[Tensor, "N 3 3"], generator: Generator
    ) -> Tensor:
        """The images with another part of themselves over a box somewhere in the template."""
        shares = 2 * torch.rand(len(truth), 2, generator=generator) - 1
        centre = (
            truth
            @ torch.cat(
                [shares * (1 - self.occluder**0.5), torch.ones(len(truth), 1)], 1
            ).unsqueeze(2)
        )[:, :, 0]
        near = [
            (torch.arange(length) - (centre[:, axis] / centre[:, 2])[:, None]).abs()
            < self.occluder**0.5 * side / 2
            for axis, (length, side) in enumerate(zip(self.image_size, self.size))
        ]
        hidden = near[1][:, None, :, None] & near[0][:, None, None, :]
        return torch.where(hidden, image.flip(2, 3), image)

    def _moves(self, level: Float[Tensor, " N"], generator: Generator) -> Float[Tensor, "N C 2"]:
        """Random moves of the control points, in half sides: ``level * spread`` sides in the root
        mean square.
        """
        moves = torch.randn(
            len(level), len(self.warps.controls), 2, generator=generator, device=generator.device
        )
        moves = (
            moves
            * (2 * self.spread * level.to(moves) / moves.square().sum(2).mean(1).sqrt())[
                :, None, None
            ]
        )
        return self.warps.unfolded(moves)

    @final
    def initial(self, batch: Batch, generator: Generator | None = None) -> Float[Tensor, "B 9"]:
        if generator is None:
            return batch["start"]
        level = torch.rand(len(batch["truth"]), generator=generator, device=generator.device)
        away = self.warps.through(self.warps.controls.to(level) + self._moves(level, generator)).to(
            batch["truth"]
        )
        start = batch["truth"].unflatten(1, (3, 3)) @ torch.linalg.inv_ex(away)[0]
        scaled: Tensor = (start / start[:, 2:, 2:]).flatten(1)
        return scaled

    @final
    def target(self, batch: Batch) -> Float[Tensor, "B 9"]:
        return batch["truth"]

    @final
    def retract(self, x: Float[Tensor, "B 9"], delta: Float[Tensor, "B d"]) -> Float[Tensor, "B 9"]:
        moved = x.unflatten(1, (3, 3)) @ self.warps.exponential(delta)
        scaled: Tensor = (moved / moved[:, 2:, 2:]).flatten(1)
        return scaled

    @final
    def local(self, x: Float[Tensor, "B 9"], y: Float[Tensor, "B 9"]) -> Float[Tensor, "B d"]:
        return self.warps.logarithm(
            torch.linalg.solve_ex(x.unflatten(1, (3, 3)), y.unflatten(1, (3, 3)))[0]
        )

    @final
    def marks(self, x: Float[Tensor, "B 9"]) -> Float[Tensor, "B C 2"]:
        return self.corners(x)

    def corners(self, x: Float[Tensor, "B 9"]) -> Float[Tensor, "B C 2"]:
        """The control points of the template in the image, in px."""
        return project(x.unflatten(1, (3, 3)), self.warps.controls)

    @final
    def loss(self, x: Float[Tensor, "B 9"], batch: Batch) -> Float[Tensor, " B"]:
        """``log(1 + e)`` of the root mean square distance ``e`` of the control points from where
        they belong, in half sides.

        The few samples that run away in training would else be all that is learned from.
        """
        left = (self.corners(x) - self.corners(batch["truth"])) / self.centred[0].diagonal()[:2].to(
            x
        )
        return (left.square().sum(2).mean(1) + _ROUND**2).sqrt().log1p()

    @final
    def error(self, x: Float[Tensor, "B 9"], batch: Batch) -> Float[Tensor, " B"]:
        return (self.corners(x) - self.corners(batch["truth"])).square().sum(2).mean(1).sqrt()

    @final
    def metrics(self, x: Float[Tensor, "B 9"], batch: Batch) -> dict[str, Float[Tensor, " B"]]:
        return {"corners (px)": self.error(x, batch)}

    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """The batch with images of about one pixel per half spacing of the grid."""
        for name in self.images:
            check_levels(batch[name], name, wait=False)
        return {**batch, "image": self.pooled(batch["image"]).to(batch["start"])}

    def pooled(self, image: Tensor) -> Tensor:
        """Blurred images of about one pixel per half spacing of the grid."""
        image = F.avg_pool2d(image.float() if not image.is_floating_point() else image, self.pool)
        return smoothed(image, self.blur) if self.blur else image

    def _places(self, x: Tensor) -> Float[Tensor, "B N 2"]:
        """The points of the grid, in pixels of a prepared image."""
        return (project(x.unflatten(1, (3, 3)), self.points) - (self.pool - 1) / 2) / self.pool

    def seen(self, x: Float[Tensor, "B 9"], batch: Batch) -> Float[Tensor, "B N"]:
        """Grey values at the points of the grid in a prepared image, standardised; NaN where ``x``
        is not known.
        """
        known = 0 * x.sum(1, keepdim=True)  # an interpolation at NaN would be a number
        return standardised(sample(batch["image"], self._places(x))) + known

    @final
    def residual(self, x: Float[Tensor, "B 9"], batch: Batch) -> Float[Tensor, "B N"]:
        return matched(self.seen(x, batch), self.template(batch)[0], self.kernel)[0]

    @final
    def jacobian(self, x: Float[Tensor, "B 9"], batch: Batch) -> Float[Tensor, "B N d"]:
        """The derivative, forwards and compositional: that of the image where it is now.

        It is exact without ``robust``; with it, the weights of the points are held.
        """
        places, warp = self._places(x), x.unflatten(1, (3, 3))
        values, slope = sample(batch["image"], places), slopes(batch["image"], places) / self.pool
        depth = self.points.to(x) @ warp[:, 2, :2, None] + 1
        where = project(warp, self.points)
        along = (
            slope @ warp[:, :2, :2] - (slope * where).sum(2, keepdim=True) * warp[:, None, 2, :2]
        ) / depth
        slope = standardised_slope(values, torch.einsum("bnk,nkd->bnd", along, self.fields.to(x)))
        return slope * matched(standardised(values), self.template(batch)[0], self.kernel)[
            1
        ].unsqueeze(2)

    @final
    def normal_equations(
        self, x: Float[Tensor, "B 9"], batch: Batch
    ) -> tuple[Float[Tensor, "B d d"], Float[Tensor, "B d"], Float[Tensor, " B"]]:
        """Those of the cost; with ``inverse``, those of the inverse compositional algorithm.

        There the derivative and, without ``robust``, the Hessian are the template's, the same at
        every ``x``: they cost much less, and agree with those of the cost where image and template
        do.
        """
        if not self.inverse:
            return super().normal_equations(x, batch)
        residual = self.residual(x, batch)
        _, steepest, hessian = self.template(batch)
        pull = residual
        if not isinstance(self.kernel, Squares):
            weights = self.weights(residual)
            pull, hessian = weights * residual, (weights.unsqueeze(2) * steepest).mT @ steepest
        gradient = (
            pull @ steepest[0] if len(steepest) == 1 else (pull.unsqueeze(1) @ steepest).squeeze(1)
        )
        return hessian.expand(len(x), -1, -1), gradient, self.kernel.cost(residual)

    def faults(self, x: Float[Tensor, "B 9"], batch: Batch) -> dict[str, Bool[Tensor, " B"]]:
        return without_contrast(self.template(batch)[0], self.seen(x, batch))

    def learnt_by_heart(self, image: Float[Tensor, "T 1 h w"], around: int = 0) -> Template:
        """What is to be known of templates that fill prepared images but for ``around`` unpooled px
        on every side.
        """
        home = self.home.clone()
        home[:, :2, 2] += around
        places = self._places(home.to(image).flatten(1).expand(len(image), 9))
        values, half = sample(image, places), self.home[0].diagonal()[:2].to(image)
        rise = [sample(along, places) for along in torch.gradient(image, dim=(3, 2))]
        slope = torch.stack(rise, 2) * half / self.pool
        unit = standardised(values)
        steepest = standardised_slope(
            values, torch.einsum("bnk,nkd->bnd", slope, self.fields.to(image))
        )
        steepest = steepest.where(unit.isfinite().unsqueeze(2), 0)  # without contrast no step
        return unit, steepest, steepest.mT @ steepest
