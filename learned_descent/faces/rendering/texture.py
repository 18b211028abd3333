"""The colours of a head on its grid: skin, eyes, brows, lips, beard and hair, tied to the lines of
the landmarks.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...landmarks.schema import IBUG68
from .appearance import PATTERNS, Look
from .background import ONE, cover
from .head import Head
from .regions import (
    LIPS,
    face_masks,
    grain,
    ridge,
    soft,
    window,
)

_DARK, _TONGUE, _TOOTH, _EYEBALL = (
    (0.16, 0.05, 0.05),
    (0.58, 0.26, 0.26),
    (0.92, 0.88, 0.81),
    (0.95, 0.92, 0.90),
)


class Paint(nn.Module):
    """Paints heads: what is fixed on the grid is computed once, so that every face costs only a few
    blends.

    Args:
        head: the head that gives the grid.
    """

    def __init__(self, head: Head) -> None:
        super().__init__()
        masks = face_masks(head)
        x, y, z = (masks[name] for name in "xyz")
        outward = torch.stack([x, y + 10, z + 90])
        side = head.side
        self.face = window(masks.pop("features"))
        self.eyes = [
            window(masks["aperture"][self.face] * (x[self.face] * sign > 0)) for sign in (-1.0, 1.0)
        ]
        self.inside = window(masks["mouth"][self.face])
        whole = {"x", "y", "z", "shade", "ear"}
        for name, mask in masks.items():
            cut = mask if name in whole else mask[..., self.face[0], self.face[1]]
            self.register_buffer(name, cut.contiguous(), persistent=False)
        fixed = {
            "radial": outward / torch.linalg.vector_norm(outward, dim=0).clamp(min=1),
            "beside": soft(y - 45, 30.0) * (78 - x.abs()).clamp(min=0) * x.sign(),
            "lobe": self.ear * (8 - 0.45 * (z + 98)).clamp(0, 16) * x.sign(),
            "blotches": grain(side, [(9, 9, 0.7), (30, 30, 1.0), (90, 90, 0.8)], PATTERNS, seed=1),
            "strands": grain(
                side, [(5, side // 2, 1.0), (14, side, 1.0), (6, 14, 0.9)], PATTERNS, seed=2
            ),
        }
        for name, value in fixed.items():
            self.register_buffer(name, value, persistent=False)

    x: Tensor
    y: Tensor
    z: Tensor
    aperture: Tensor
    lash: Tensor
    crease: Tensor
    lid: Tensor
    lid_shade: Tensor
    tired: Tensor
    brow_distance: Tensor
    brow_width: Tensor
    lips: Tensor
    mouth: Tensor
    lip_light: Tensor
    nostril: Tensor
    red: Tensor
    fold: Tensor
    beard: Tensor
    ear: Tensor
    shade: Tensor
    radial: Tensor
    beside: Tensor
    lobe: Tensor
    blotches: Tensor
    strands: Tensor

    def hair(self, look: Look) -> tuple[Float[Tensor, "B G G"], Float[Tensor, "B G G"]]:
        """How much hair covers each point, and how far in from the edge of the hair the point lies,
        in mm.
        """
        line = look.hairline[ONE] + look.temples[ONE] * (self.x.abs() / 45).clamp(max=1.4).square()
        above = line - (0.35 * (self.z + 40).clamp(max=0) + self.y)
        beside = look.hair_front[ONE] - (self.z + 0.15 * (self.y - 30).clamp(min=0))
        beside = torch.minimum(beside, look.hair_end[ONE] - self.y)
        nape = torch.minimum(-116 - self.z, look.hair_end.clamp(min=92)[ONE] - self.y)
        inside = torch.maximum(torch.maximum(above, beside), nape)
        inside = torch.minimum(inside, self.y - look.bald_above[ONE])
        strand = self.strands.index_select(0, look.patterns[:, 0])
        return soft(torch.addcmul(inside, look.ragged[ONE], strand), 3.0), inside

    def lifted(
        self, surface: Float[Tensor, "B 3 G G"], look: Look, inside: Float[Tensor, "B G G"]
    ) -> Float[Tensor, "B 3 G G"]:
        """The surfaces with their hair and ears, which stand out from the head, in mm."""
        inner = (inside / 24).clamp_(0, 1)
        rise = look.volume[ONE] * inner * (2 - inner)
        moved = torch.addcmul(surface, rise.unsqueeze(1), self.radial)
        moved[:, 0] += inner * (look.long[ONE] * self.beside - self.lobe) + self.lobe
        return moved

    def forward(
        self,
        look: Look,
        controls: Float[Tensor, "B K 3"],
        surface: Float[Tensor, "B 3 G G"],
        hair: Float[Tensor, "B G G"],
    ) -> Float[Tensor, "B 3 G G"]:
        """The colours in 0..1, before any light.

        Args:
            look: the looks.
            controls: the controls of the heads, in mm.
            surface: their points in the frame of the head, without hair, in mm.
            hair: the share of hair on each point.
        """
        coarse = self.blotches.index_select(0, look.patterns[:, 1])
        strand = self.strands.index_select(0, look.patterns[:, 3])
        tone = (1 - 0.12 * self.ear) * (1 + look.blotches[ONE] * coarse)
        colour = look.skin[..., None, None] * tone.unsqueeze(1)
        rows, columns = self.face
        self._features(
            colour[..., rows, columns], look, coarse[:, rows, columns], strand[:, rows, columns]
        )
        self._eyes(colour[..., rows, columns], look, controls, surface[..., rows, columns])
        self._mouth(colour[..., rows, columns], look, controls, surface[..., rows, columns])
        fibre = (0.92 + look.streaks[ONE] * strand).clamp_(0.35, 1.6)
        return cover(colour, look.hair[..., None, None] * fibre.unsqueeze(1), hair)

    def _features(self, face: Tensor, look: Look, coarse: Tensor, strand: Tensor) -> None:
        """Paints what lies in the skin: folds, lips, whiskers, nostrils, brows, make-up and
        lashes.
        """
        shadow = torch.addcmul(
            1 - 0.22 * self.crease, look.shadows[ONE], 0.5 * self.tired + 0.4 * self.fold, value=-1
        )
        face *= shadow.unsqueeze(1)
        face[:, 1:] *= 1 - (look.redness[ONE] * torch.add(self.red, coarse, alpha=0.3)).unsqueeze(1)
        gleam = torch.add(1 + 0.25 * self.lip_light, coarse, alpha=0.05)
        cover(
            face, look.lips[..., None, None] * gleam.unsqueeze(1), look.lip_share[ONE] * self.lips
        )
        dark = look.hair.clamp(max=0.6)
        uneven = 1 + 0.25 * strand
        whiskers = torch.einsum("bk,kij->bij", look.beard, self.beard) * uneven.clamp(0, 1.2)
        cover(face, 0.8 * dark, whiskers.clamp_(0, 1))
        hairs = soft(
            (look.brow[ONE] * self.brow_width).sub_(self.brow_distance).add_(strand, alpha=0.4), 1.6
        )
        cover(face, 0.75 * dark, hairs.mul_(look.brow_share[ONE]).mul_(uneven.clamp_(0.3, 1)))
        cover(face, look.shadow_colour, look.makeup[ONE] * (0.6 * self.lid))
        face *= (
            (1 - (0.5 + 0.4 * look.makeup[ONE]) * self.lash) * (1 - 0.8 * self.nostril)
        ).unsqueeze(1)

    def _eyes(self, face: Tensor, look: Look, controls: Tensor, surface: Tensor) -> None:
        """Paints eyeballs between the lids; an iris is round and stays in place however far the
        lids are open.
        """
        for (rows, columns), eye in zip(self.eyes, (IBUG68.left_eye, IBUG68.right_eye)):
            x, y = surface[:, :2, rows, columns].unbind(1)
            middle = (controls[:, eye[0], :2] + controls[:, eye[len(eye) // 2], :2]) / 2
            aside = x - middle[:, 0][ONE]
            across, down = (
                aside - look.gaze[:, 0][ONE],
                y - middle[:, 1][ONE] + 1.0 - look.gaze[:, 1][ONE],
            )
            radius = (across.square() + down.square() + 1e-6).sqrt()
            ball = _shade(_EYEBALL, x) * (1 - 0.014 * aside.abs()).unsqueeze(1)
            iris = look.iris[..., None, None] * (
                0.8 + 0.08 * radius * soft(5.0 - radius, 1.0)
            ).unsqueeze(1)
            ball = cover(ball, iris, soft(6.0 - radius, 0.9))
            ball *= (1 - 0.9 * soft(2.6 - radius, 0.9)).unsqueeze(1) * self.lid_shade[rows, columns]
            spark = ((across + 1.8).square() + (down + 1.8).square()).sqrt()
            ball = cover(ball, torch.ones_like(ball), look.spark[ONE] * soft(1.2 - spark, 0.8))
            ball *= (1 - (0.4 + 0.4 * look.makeup[ONE]) * self.lash[rows, columns]).unsqueeze(1)
            cover(face[..., rows, columns], ball, self.aperture[rows, columns].expand_as(x))

    def _mouth(self, face: Tensor, look: Look, controls: Tensor, surface: Tensor) -> None:
        """Paints the inside of the mouth: dark, with a tongue, and teeth that hang behind the upper
        lip.
        """
        rows, columns = self.inside
        x, y = surface[:, :2, rows, columns].unbind(1)
        inner = LIPS[1]
        upper, lower = (controls[:, inner[place], 1][ONE] for place in (2, 6))
        depth = y - upper - 0.006 * x.square()
        inside = _shade(_DARK, x).repeat(len(x), 1, *x.shape[1:])
        cover(inside, _shade(_TONGUE, x), 0.8 * soft(depth - 12, 5.0) * soft(15 - x.abs(), 6.0))
        gaps = 1 - 0.25 * ridge((x / 7.5 + 0.5).frac().abs() - 0.5, 0.1) - (x / 36).square()
        teeth = torch.maximum(
            soft(look.teeth[:, 0][ONE] - depth, 1.2), soft(look.teeth[:, 1][ONE] - (lower - y), 1.2)
        )
        cover(inside, _shade(_TOOTH, x) * gaps.unsqueeze(1), teeth * soft(23 - x.abs(), 4.0))
        cover(face[..., rows, columns], inside, self.mouth[rows, columns].expand_as(x))


def _shade(colour: tuple[float, float, float], like: Tensor) -> Float[Tensor, "1 3 1 1"]:
    return torch.tensor(colour, device=like.device).view(1, 3, 1, 1)
