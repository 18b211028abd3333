"""How synthetic faces look apart from their shape: tones, hair, beard, make-up, gaze."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .sampler import Dice, mixed

PATTERNS = 24
"""The number of random pictures that skin and hair are made of."""

_TONES = (
    torch.tensor(
        [
            [250, 222, 205],
            [238, 196, 166],
            [205, 154, 118],
            [152, 102, 70],
            [104, 68, 48],
            [70, 46, 36],
        ]
    )
    / 255
)
_HAIR = torch.tensor(
    [[22, 20, 22], [48, 32, 24], [84, 54, 34], [128, 88, 54], [196, 158, 102], [226, 200, 150],
    [142, 66, 32], [168, 166, 164],
     [228, 226, 222]]
) / 255  # fmt: skip
_IRIS = (
    torch.tensor(
        [[44, 26, 16], [78, 48, 26], [104, 92, 46], [86, 112, 84], [84, 116, 150], [118, 132, 142]]
    )
    / 255
)
_CLOTH = (
    torch.tensor(
        [
            [20, 22, 30],
            [236, 234, 230],
            [128, 28, 36],
            [34, 60, 110],
            [60, 90, 62],
            [196, 170, 130],
            [110, 108, 112],
        ]
    )
    / 255
)


@dataclass
class Look:
    """What a chunk of faces looks like, apart from its shape: one row per face; lengths in mm,
    shares in 0..1.

    Hair grows above ``hairline`` (a level), and behind ``hair_front`` (a depth) down to
    ``hair_end`` (a level).
    """

    skin: Tensor
    hair: Tensor
    iris: Tensor
    lips: Tensor
    cloth: Tensor
    lip_share: Tensor
    redness: Tensor
    shadows: Tensor
    blotches: Tensor
    makeup: Tensor
    brow: Tensor
    brow_share: Tensor
    beard: Tensor
    gaze: Tensor
    teeth: Tensor
    hairline: Tensor
    temples: Tensor
    hair_front: Tensor
    hair_end: Tensor
    bald_above: Tensor
    volume: Tensor
    long: Tensor
    ragged: Tensor
    streaks: Tensor
    shadow_colour: Tensor
    spark: Tensor
    patterns: Tensor


def draw_look(dice: Dice) -> Look:
    """A random look for each face."""
    tone = dice.uniform(0.0, 1.0)
    skin = (mixed(tone, _TONES) * (1 + dice.normal(0.05, 1)) + dice.normal(0.015, 3)).clamp(
        0.02, 1.0
    )
    dark = (tone > 0.55).float().unsqueeze(1)
    hair = _draw_hair(dice, dark)
    veiled = dice.chance(0.05)
    style = dice.pick(0.42, 0.30, 0.10, 0.07, 0.11)  # short, long, receding, bald, fringe
    long = (style == 1) | ((style == 4) & dice.chance(0.7)) | veiled
    cloth = dice.colour(_CLOTH, 0.08)
    fringe = style == 4
    male = ~long & dice.chance(0.7)
    beard = _draw_beard(dice, male)
    made_up = (~male & dice.chance(0.5)).float() * dice.uniform(0.3, 1.0)
    lips = _draw_lips(dice, skin, made_up)
    hairline = torch.where(style == 2, dice.uniform(-95.0, -75.0), dice.uniform(-72.0, -52.0))
    hairline = torch.where(fringe, dice.uniform(-40.0, -24.0), hairline)
    end = torch.where(long, dice.uniform(70.0, 330.0), dice.uniform(0.0, 28.0))
    return Look(
        skin=skin,
        hair=torch.where(veiled.unsqueeze(1), cloth, hair),
        iris=torch.where(
            (dice.uniform(0.0, 1.0) > 0.15).unsqueeze(1) & (dark > 0),
            _IRIS[:1].to(skin),
            dice.colour(_IRIS, 0.03),
        ),
        lips=lips,
        cloth=dice.colour(_CLOTH, 0.08),
        lip_share=dice.uniform(0.55, 1.0),
        redness=dice.uniform(0.0, 0.16),
        shadows=dice.uniform(0.0, 0.35),
        blotches=dice.uniform(0.01, 0.06),
        makeup=made_up,
        brow=dice.uniform(1.5, 3.6) * (1 + 0.25 * male),
        brow_share=dice.uniform(0.45, 0.95),
        beard=beard,
        gaze=dice.normal(1.0, 2) * torch.tensor([2.2, 0.9], device=skin.device),
        teeth=torch.stack([dice.uniform(-1.0, 9.0), dice.uniform(-6.0, 3.0)], 1),
        hairline=torch.where(veiled, dice.uniform(-62.0, -40.0), hairline),
        temples=dice.uniform(-6.0, 14.0) * (1 + (style == 2)),
        hair_front=torch.where(long, dice.uniform(-84.0, -46.0), dice.uniform(-90.0, -66.0)),
        hair_end=torch.where(veiled, 330.0, end),
        bald_above=torch.where(style == 3, torch.where(dice.chance(0.5), 300.0, -35.0), -400.0),
        volume=dice.uniform(2.0, 14.0) + dice.chance(0.12) * dice.uniform(0.0, 26.0),
        long=long.float(),
        ragged=dice.uniform(1.0, 6.0),
        streaks=dice.uniform(0.1, 0.5) * ~veiled,
        shadow_colour=dice.colour(
            torch.tensor([[0.25, 0.2, 0.22], [0.35, 0.3, 0.45], [0.45, 0.3, 0.22]]), 0.05
        )
        * skin.amax(1, True),
        spark=dice.uniform(0.2, 1.0),
        patterns=(dice.uniform(0.0, 1.0, 4) * PATTERNS).long(),
    )


def _draw_hair(dice: Dice, dark: Tensor) -> Tensor:
    """The colour of the hair, nearly always dark where the skin is."""
    usual = dice.colour(_HAIR, 0.02, 3, 3, 2, 1.5, 1.2, 0.8, 0.6, 1, 0.6)
    black = dice.colour(_HAIR[:2], 0.015)
    fitting = (dice.uniform(0.0, 1.0) < 0.9).unsqueeze(1)
    return torch.where(fitting, usual + dark * (black - usual), usual)


def _draw_beard(dice: Dice, male: Tensor) -> Tensor:
    """How strong moustache, chin and jaw are grown over."""
    bearded = dice.pick(0.45, 0.25, 0.12, 0.06, 0.12)  # none, stubble, full, moustache, goatee
    strength = torch.tensor(
        [[0, 0, 0], [0.3, 0.32, 0.28], [0.95, 0.95, 0.9], [0.95, 0, 0], [0.9, 0.95, 0]],
        device=male.device,
    )
    return strength[bearded] * dice.uniform(0.6, 1.0, 1) * male.unsqueeze(1)


def _draw_lips(dice: Dice, skin: Tensor, made_up: Tensor) -> Tensor:
    """The colour of the lips: that of the skin, redder, under more or less rouge."""
    rouge = dice.colour(
        torch.tensor([[0.7, 0.12, 0.18], [0.75, 0.35, 0.36], [0.5, 0.12, 0.2]]), 0.06
    )
    natural = skin * torch.tensor([0.86, 0.62, 0.62], device=skin.device) + torch.tensor(
        [0.06, 0.0, 0.01], device=skin.device
    )
    return natural + 0.75 * made_up.unsqueeze(1) * (rouge - natural)
