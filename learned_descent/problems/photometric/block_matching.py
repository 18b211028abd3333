"""Block matching: where the parts of a template lie in an image, and the update that most of them
agree on.
"""

from __future__ import annotations

from typing import Any, ClassVar, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ...data.samples import Batch
from ...errors import DescentError
from ...linear import damped_step
from ...observation import Beside, Observation
from .base import Photometric
from .blur import widest_blur
from .photos import sample
from .warps import project, velocities

_FITS = ((0.02, 0.15), (0.2, 0.15), (0.05, 0.4))
"""Dampings of the fitted updates, and the distances in half sides at which a block begins to be an
outlier of them."""

_ROUNDS, _WIDEST, _NARROWER = 7, 4.0, 0.7
"""Rounds of re-weighting; the first scale, as a multiple of the last; and how much it shrinks from
one to the next."""

_TRUST, _LEAST = 4, 0.01
"""The power of its correlation that a block weighs in the fit, and the correlation below which it
was not found."""

_NOISE = 3.0
"""Grey levels: a block of less contrast is hardly told from another."""


@final
class BlockMatches(Observation):
    """Updates that lay blocks of the template where each of them is found in the image, ``(B, 3 (2
    d + 1))``.

    The template is cut into nine overlapping blocks of half its side. Each is looked for in what
    the image shows around the warped template, by normalised correlation, and the moves of the
    blocks are fitted with an update, by squares that are re-weighted from a wide to a narrow scale,
    so that blocks which are hidden, or found in a wrong place, end with no say. The features are
    three such updates, of different dampings and scales, squashed; the share of the blocks that
    agrees with each; and their products. Where no block is found, as in a flat image, all are zero.

    Lucas-Kanade steps are right where image and template overlap by the width of their details;
    blocks are found from anywhere within ``reach``, as long as they are not deformed much. The
    features are in units of an update, for any template, like those of
    :class:`~learned_descent.observations.GaussNewtonSteps`; no gradient reaches ``x``.

    Args:
        problem: the alignment.
        cells: points along a side of the template that are compared, 4 to 64, and no more than it
            has px.
        reach: how far from the centre of the template the search goes, in half sides.

    Raises:
        DescentError: if there are too few or too many points, or the search ends within the
            template, or far away from it.

    References:
        J. Bouguet. Pyramidal implementation of the Lucas Kanade feature tracker. 2000 (parts are
        found one by one).
        M. Black and A. Rangarajan. On the unification of line processes, outlier rejection, and
        robust statistics. IJCV 19, 1996 (scales from wide to narrow).

    Example:
        >>> from learned_descent.problems.photometric.problems import AnyTemplate
        >>> problem = AnyTemplate(num_test=2)
        >>> batch = problem.data("test")
        >>> eyes = BlockMatches(problem)
        >>> eyes(problem.initial(batch), eyes.prepare(batch)).shape
        torch.Size([2, 51])
    """

    differentiable: ClassVar[bool] = False
    places: Tensor
    homes: Tensor
    field: Tensor
    fits: Tensor

    def __init__(self, problem: Photometric, *, cells: int = 16, reach: float = 2.0) -> None:
        super().__init__()
        most = min(64, *problem.size)
        for name, value, wanted, ok in (
            ("cells", cells, f"4 to {most} points", 4 <= cells <= most),
            ("reach", reach, "half sides, 1 to 4", 1 <= reach <= 4),
        ):
            if not ok:
                raise DescentError(f"{name}: expected {wanted}, got {value}")
        blur = min(problem.own["blur"], widest_blur(min(problem.size), cells))
        coarse = type(problem)(**{**problem.settings(), "grid": cells, "blur": blur})
        self._problem = Beside(coarse)
        self.cells, self.reach = cells, reach
        self.block, self.stride = cells // 2, cells // 4
        beyond = round(cells * (reach / coarse.inner - 1) / 2)
        self.spacing = 2 * coarse.inner / cells  # of neighbouring points, in half sides
        self.wide = cells + 2 * beyond
        ticks = coarse.inner * ((2 * torch.arange(self.wide) + 1) / cells - self.wide / cells)
        first = self.stride * torch.arange(3)
        centres = coarse.inner * ((2 * first + self.block) / cells - 1)
        field = velocities(
            coarse.warps.generators, torch.cartesian_prod(centres, centres).flip(1).double()
        )
        self.register_buffer("places", torch.cartesian_prod(ticks, ticks).flip(1), persistent=False)
        self.register_buffer(
            "homes", torch.cartesian_prod(first, first).flip(1) + beyond, persistent=False
        )
        self.register_buffer("fits", torch.tensor(_FITS), persistent=False)
        self.register_buffer("field", field.permute(1, 2, 0).float().contiguous(), persistent=False)

    def prepare(self, batch: Batch) -> Batch:
        problem = self._problem.module
        seen = problem.prepare(batch)
        values = (
            problem.template(seen)[0]
            .to(seen["image"])
            .nan_to_num()
            .unflatten(1, (1, self.cells, self.cells))
        )
        end = self.block + 2 * self.stride
        blocks = F.unfold(values[..., :end, :end], self.block, stride=self.stride).mT
        blocks = blocks - blocks.mean(2, keepdim=True)
        blocks = blocks / blocks.norm(dim=2, keepdim=True).clamp(min=0.1 * self.block)
        spectra = torch.fft.rfft2(
            blocks.unflatten(2, (self.block, self.block)), s=(self.wide, self.wide)
        ).conj()
        spectra = spectra.expand(len(seen["image"]), -1, -1, -1)
        return {"image": seen["image"], "blocks": torch.view_as_real(spectra.resolve_conj())}

    @torch.no_grad()
    def forward(self, x: Float[Tensor, "B 9"], batch: Batch) -> Float[Tensor, "B F"]:
        places, peaks, sharp = _peaks(self._correlations(x, batch))
        trust = torch.where(peaks > _LEAST, peaks, 0) ** _TRUST * sharp
        steps, agreement = self._agreed((places - self.homes.to(x)) * self.spacing, trust)
        return torch.cat(
            [steps.flatten(1), agreement.flatten(1), (agreement * steps).flatten(1)], 1
        )

    def _correlations(self, x: Tensor, batch: Batch) -> Float[Tensor, "B K m m"]:
        """How much every block is like what lies at each place of the search."""
        pool = self._problem.module.pool
        around = (project(x.unflatten(1, (3, 3)), self.places.to(x)) - (pool - 1) / 2) / pool
        values = sample(batch["image"], around).nan_to_num().unflatten(1, (1, self.wide, self.wide))
        values = values - values.mean((2, 3), keepdim=True)
        spectrum = torch.fft.rfft2(values) * torch.view_as_complex(batch["blocks"])
        count = self.wide - self.block + 1
        products = torch.fft.irfft2(spectrum, s=(self.wide, self.wide))[..., :count, :count]
        variance = (
            F.avg_pool2d(values.square(), self.block, 1)
            - F.avg_pool2d(values, self.block, 1).square()
        )
        alike: Tensor = products / (self.block * (variance.clamp(min=0) + _NOISE**2).sqrt())
        return alike

    def _agreed(
        self, found: Float[Tensor, "B K 2"], trust: Float[Tensor, "B K"]
    ) -> tuple[Float[Tensor, "B 3 d"], Float[Tensor, "B 3 1"]]:
        """The updates that fit the moves of the blocks, and the shares of the blocks, by their
        trust, that agree with them.
        """
        field = self.field.to(found)
        products = torch.einsum("nki,nkj->nij", field, field)
        damping, scale = self.fits.to(found).repeat(len(found), 1).unbind(1)
        given, wanted = (values.repeat_interleave(len(_FITS), 0) for values in (trust, found))
        weights = given
        for turn in range(_ROUNDS):
            pull = (weights.unsqueeze(2) * wanted).flatten(1) @ field.flatten(0, 1)
            steps, _ = damped_step(torch.einsum("bn,nij->bij", weights, products), -pull, damping)
            left = (torch.einsum("nki,bi->bnk", field, steps) - wanted).square().sum(2)
            width = scale * max(1.0, _WIDEST * _NARROWER**turn)
            # The kernel of Geman and McClure
            weights = given * (1 + left / width.unsqueeze(1).square()) ** -2
        agreement = weights.sum(1, keepdim=True) / given.sum(1, keepdim=True).clamp(
            min=torch.finfo(found.dtype).tiny
        )
        return tuple(values.unflatten(0, (-1, len(_FITS))) for values in (steps.tanh(), agreement))

    def settings(self) -> dict[str, Any]:
        return {"cells": self.cells, "reach": self.reach}


def _peaks(
    values: Float[Tensor, "B K m m"],
) -> tuple[Float[Tensor, "B K 2"], Float[Tensor, "B K"], Float[Tensor, "B K"]]:
    """Where each map is largest, ``(column, row)``, between its points by a parabola along either
    axis; how large; how sharp.

    A slope of grey values is like itself wherever it is looked for, but nowhere sharply.
    """
    side = values.shape[3]
    peaks, best = values.flatten(2).max(2)
    place = torch.stack([best % side, best // side], 2)
    inner = place.clamp(1, side - 2)
    found, bends = [], []
    for axis, step in ((0, 1), (1, side)):
        middle = inner[..., 1] * side + inner[..., 0]
        below, centre, above = (
            values.flatten(2).gather(2, (middle + by)[..., None])[..., 0] for by in (-step, 0, step)
        )
        bend = (below - 2 * centre + above).clamp(max=-torch.finfo(values.dtype).eps)
        found.append(inner[..., axis] + ((below - above) / (2 * bend)).clamp(-1, 1))
        bends.append(-bend)
    return torch.stack(found, 2), peaks, torch.stack(bends).amin(0)
