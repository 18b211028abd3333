"""Drawn wings with labelled points, for tests that need pictures but no data set."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Generator, Tensor

NAMES = ("root", "front", "tip", "back", "spot")

SHAPE = torch.tensor([[-40.0, 0.0], [5.0, -16.0], [45.0, -4.0], [8.0, 18.0], [10.0, 0.0]])
"""A wing, in px around its middle."""


def draw_wings(
    folder: Path, count: int, *, seed: int = 0, size: tuple[int, int] = (160, 120)
) -> Tensor:
    """Writes ``count`` pictures ``00.png``, ``01.png``, ... of one wing each.

    Returns:
        Their points ``(count, 5, 2)``, ``(column, row)`` in px.
    """
    folder.mkdir(parents=True, exist_ok=True)
    dice = Generator().manual_seed(seed)
    every = []
    for number in range(count):
        angle, grow = (0.2 * torch.randn(2, generator=dice)).tolist()
        shift = 6 * torch.randn(2, generator=dice) + torch.tensor(size) / 2
        turn = torch.tensor(
            [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
        )
        points = (SHAPE + 1.5 * torch.randn(5, 2, generator=dice)) @ turn * math.exp(grow) + shift
        picture = Image.new("RGB", size, (230, 225, 215))
        draw = ImageDraw.Draw(picture)
        corners = [tuple(point) for point in points[:4].tolist()]
        draw.polygon(corners, fill=(120, 140, 170), outline=(20, 20, 30))
        x, y = points[4].tolist()
        draw.ellipse([x - 4, y - 4, x + 4, y + 4], fill=(200, 60, 40))
        picture.save(folder / f"{number:02d}.png")
        every.append(points)
    return torch.stack(every)


def write_wings(folder: Path, count: int, *, seed: int = 0) -> Path:
    """Draws wings and writes their points as a CSV with a row a picture."""
    lines = ["image," + ",".join(f"{name}_x,{name}_y" for name in NAMES)]
    for number, points in enumerate(draw_wings(folder, count, seed=seed).flatten(1).tolist()):
        lines.append(f"{number:02d}.png," + ",".join(f"{value:.2f}" for value in points))
    file = folder / "wings.csv"
    file.write_text("\n".join(lines) + "\n")
    return file
