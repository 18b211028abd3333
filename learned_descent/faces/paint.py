"""The colours of a head on its grid: skin, eyes, brows, lips, beard and hair, tied to the lines of the landmarks."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .head import Head
from .look import Look
from .masks import face_masks, grain, soft, window
from .schema import IBUG68

_ONE = (slice(None), None, None)
_BANK = 24


def blend(colour: Tensor, other: Tensor, share: Float[Tensor, "B H W"]) -> Tensor:
    """``share`` of the other colour over a colour, per pixel."""
    return torch.lerp(colour, other.expand_as(colour), share.unsqueeze(1))


class Paint(nn.Module):
    """Paints heads: what is fixed on the grid is computed once, so that every face costs only a few blends.

    Args:
        head: the head that gives the grid.
    """

    def __init__(self, head: Head) -> None:
        super().__init__()
        for name, mask in face_masks(head).items():
            self.register_buffer(name, mask.contiguous(), persistent=False)
        side, still = head.side, torch.stack([self.x, self.y + 10, self.z + 90])
        radial = still / torch.linalg.vector_norm(still, dim=0).clamp(min=1)
        beside = soft(self.y - 45, 30.0) * (78 - self.x.abs()).clamp(min=0) * self.x.sign()
        lobe = self.ear * (8 - 0.45 * (self.z + 98)).clamp(0, 16) * self.x.sign()
        self.register_buffer("radial", radial, persistent=False)
        self.register_buffer("beside", beside, persistent=False)
        self.register_buffer("lobe", lobe, persistent=False)
        self.register_buffer("blotches", grain(side, [(9, 9, 0.7), (30, 30, 1.0), (90, 90, 0.8)], _BANK, 1), persistent=False)
        self.register_buffer(
            "strands", grain(side, [(5, side // 2, 1.0), (14, side, 1.0), (6, 14, 0.9)], _BANK, 2), persistent=False
        )
        self.eyes = [window(self.aperture * (self.x * sign > 0)) for sign in (-1.0, 1.0)]
        self.inside = window(self.mouth)

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
        """How much hair covers each point, and how far in from the edge of the hair the point lies, in mm."""
        strand = self.strands[look.patterns[:, 0]]
        line = look.hairline[_ONE] + look.temples[_ONE] * (self.x.abs() / 45).clamp(max=1.4).square()
        above = line - 0.35 * (self.z + 40).clamp(max=0) - self.y
        beside = torch.minimum(look.hair_front[_ONE] - self.z - 0.15 * (self.y - 30).clamp(min=0), look.hair_end[_ONE] - self.y)
        nape = torch.minimum(-116 - self.z, look.hair_end.clamp(min=92)[_ONE] - self.y)
        inside = torch.minimum(torch.maximum(torch.maximum(above, beside), nape), self.y - look.bald_above[_ONE])
        return soft(inside + look.ragged[_ONE] * strand, 3.0), inside

    def lifted(
        self, surface: Float[Tensor, "B 3 G G"], look: Look, inside: Float[Tensor, "B G G"]
    ) -> Float[Tensor, "B 3 G G"]:
        """The surfaces with their hair and ears, which stand out from the head, in mm."""
        inner = (inside / 24).clamp(0, 1)
        rise = look.volume[_ONE] * inner * (2 - inner)
        moved = torch.addcmul(surface, rise.unsqueeze(1), self.radial)
        moved[:, 0] += (inner * look.long[_ONE]) * self.beside + (1 - inner) * self.lobe
        return moved

    def forward(
        self,
        look: Look,
        controls: Float[Tensor, "B K 3"],
        surface: Float[Tensor, "B 3 G G"],
        cover: Float[Tensor, "B G G"],
    ) -> Float[Tensor, "B 3 G G"]:
        """The colours in 0..1, before any light.

        Args:
            look: the looks.
            controls: the controls of the heads, in mm.
            surface: their points in the frame of the head, in mm.
            cover: the share of hair on each point.
        """
        coarse, fine = self.blotches[look.patterns[:, 1]], self.blotches[look.patterns[:, 2]]
        strand = self.strands[look.patterns[:, 3]]
        tone = 1 + look.blotches[_ONE] * (coarse + fine) / 2
        tone -= look.shadows[_ONE] * (0.5 * self.tired + 0.4 * self.fold) + 0.22 * self.crease
        colour = look.skin[..., None, None] * tone.unsqueeze(1)
        colour[:, 1:] *= (1 - look.redness[_ONE] * (self.red + 0.3 * coarse)).unsqueeze(1)
        lips = look.lips[..., None, None] * (1 + 0.06 * fine + 0.25 * self.lip_light).unsqueeze(1)
        colour = blend(colour, lips, look.lip_share[_ONE] * self.lips)
        whiskers = torch.einsum("bk,kij->bij", look.beard, self.beard) * (1 + 0.4 * strand + 0.3 * fine).clamp(0, 1.2)
        dark = look.hair[..., None, None].clamp(max=0.6)
        colour = blend(colour, 0.8 * dark, whiskers.clamp(0, 1))
        colour *= (1 - 0.8 * self.nostril) * (1 - 0.12 * self.ear)
        hairs = look.brow[_ONE] * self.brow_width - self.brow_distance + 0.35 * strand + 0.25 * fine
        colour = blend(colour, 0.75 * dark, look.brow_share[_ONE] * soft(hairs, 1.6) * (1 + 0.25 * strand).clamp(0.3, 1))
        colour = blend(colour, look.shadow_colour[..., None, None], look.makeup[_ONE] * 0.6 * self.lid)
        self._eyes(colour, look, controls, surface)
        colour *= (1 - (0.5 + 0.4 * look.makeup[_ONE]) * self.lash).unsqueeze(1)
        self._mouth(colour, look, controls, surface)
        fibre = (0.92 + look.streaks[_ONE] * strand + 0.1 * fine).clamp(0.35, 1.6)
        return blend(colour, look.hair[..., None, None] * fibre.unsqueeze(1) + 0.02, cover)

    def _eyes(self, colour: Tensor, look: Look, controls: Tensor, surface: Tensor) -> None:
        """Paints eyeballs between the lids; an iris is round and stays in place however far the lids are open."""
        for (rows, columns), eye in zip(self.eyes, (IBUG68.left_eye, IBUG68.right_eye)):
            x, y = surface[:, :2, rows, columns].unbind(1)
            middle = (controls[:, eye[0], :2] + controls[:, eye[len(eye) // 2], :2]) / 2
            beside = x - middle[:, 0][_ONE]
            across, down = beside - look.gaze[:, 0][_ONE], y - middle[:, 1][_ONE] + 1.0 - look.gaze[:, 1][_ONE]
            radius = (across.square() + down.square() + 1e-6).sqrt()
            white = torch.tensor([0.95, 0.92, 0.90], device=x.device)[None, :, None, None]
            ball = white * (1 - 0.014 * beside.abs()).unsqueeze(1)
            iris = look.iris[..., None, None] * (0.8 + 0.08 * radius * soft(5.0 - radius, 1.0)).unsqueeze(1)
            ball = blend(ball, iris, soft(6.0 - radius, 0.9))
            ball *= (1 - 0.9 * soft(2.6 - radius, 0.9)).unsqueeze(1) * self.lid_shade[rows, columns]
            spark = ((across + 1.8).square() + (down + 1.8).square()).sqrt()
            ball = blend(ball, torch.ones_like(ball), look.spark[_ONE] * soft(1.2 - spark, 0.8))
            view = colour[:, :, rows, columns]
            view.copy_(blend(view, ball, self.aperture[rows, columns].expand_as(x)))

    def _mouth(self, colour: Tensor, look: Look, controls: Tensor, surface: Tensor) -> None:
        """Paints the inside of the mouth: dark, with a tongue, and teeth that hang behind the upper lip."""
        rows, columns = self.inside
        x, y = surface[:, :2, rows, columns].unbind(1)
        upper = controls[:, IBUG68.num_points - 6, 1][_ONE]
        lower = controls[:, IBUG68.num_points - 2, 1][_ONE]
        depth = y - upper - 0.006 * x.square()
        tongue = soft(depth - 12, 5.0) * soft(15 - x.abs(), 6.0)
        gaps = 1 - 0.25 * ridge_of(x) - (x / 36).square()
        teeth = torch.maximum(
            soft(look.teeth[:, 0][_ONE] - depth, 1.2), soft(look.teeth[:, 1][_ONE] - (lower - y), 1.2)
        ) * soft(23 - x.abs(), 4.0)

        def shade(red: float, green: float, blue: float) -> Tensor:
            return torch.tensor([red, green, blue], device=x.device)[None, :, None, None]

        inside = blend(shade(0.16, 0.05, 0.05).expand(len(x), -1, *x.shape[1:]), shade(0.58, 0.26, 0.26), 0.8 * tongue)
        inside = blend(inside, shade(0.92, 0.88, 0.81) * gaps.unsqueeze(1), teeth)
        view = colour[:, :, rows, columns]
        view.copy_(blend(view, inside, self.mouth[rows, columns].expand_as(x)))


def ridge_of(x: Tensor) -> Tensor:
    """Thin lines every 7.5 mm: the gaps between teeth."""
    return (1 - 6 * ((x / 7.5).frac().abs() - 0.5).abs().sub(0.5).abs()).clamp(min=0)
