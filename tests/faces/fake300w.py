"""Cartoon faces in the layout of 300-W, for tests that need faces but no download."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import Generator, Tensor

from learned_descent.faces.datasets import FaceData, read_faces
from learned_descent.landmarks.schema import IBUG68, LandmarkSchema

NOISE = 0.04
"""Spread of the detector's centre and side, as a fraction of the side."""


def _arc(
    centre: tuple[float, float], radii: tuple[float, float], start: float, stop: float, count: int
) -> Tensor:
    """Points on an ellipse, from one angle (degrees, clockwise from the left) to another."""
    angle = torch.linspace(start, stop, count).deg2rad()
    return torch.stack([centre[0] - radii[0] * angle.cos(), centre[1] - radii[1] * angle.sin()], 1)


def _line(start: tuple[float, float], stop: tuple[float, float], count: int) -> Tensor:
    return torch.lerp(torch.tensor(start), torch.tensor(stop), torch.linspace(0, 1, count)[:, None])


def neutral_face() -> Tensor:
    """A symmetric face ``(L, 2)`` in iBUG's order, half its width being 1, ``(column, row)`` from
    between the eyes."""
    return torch.cat(
        [
            _arc((0.0, 0.0), (1.0, 1.35), 0, -180, 17),
            _arc((-0.5, -0.3), (0.35, 0.15), 0, 180, 5),
            _arc((0.5, -0.3), (0.35, 0.15), 0, 180, 5),
            _line((0.0, 0.0), (0.0, 0.4), 4),
            _arc((0.0, 0.45), (0.2, 0.08), 0, -180, 5),
            _arc((-0.47, 0.0), (0.2, 0.09), 0, 300, 6),
            _arc((0.47, 0.0), (0.2, 0.09), 0, 300, 6),
            _arc((0.0, 0.8), (0.4, 0.16), 0, 330, 12),
            _arc((0.0, 0.8), (0.3, 0.07), 0, 315, 8),
        ]
    )


def random_face(generator: Generator) -> Tensor:
    """A neutral face with another mouth, other brows and proportions, turned a little to one
    side."""
    wide, brows, smile, gape, turn = (torch.rand(5, generator=generator) * 2 - 1).tolist()
    face = neutral_face()
    mouth = torch.arange(len(face)) >= IBUG68.right_eye[-1] + 1
    face[17:27, 1] -= 0.08 * brows
    below = mouth & (face[:, 1] > 0.81)
    face[below, 1] += 0.12 * (gape + 1)
    face[mouth, 1] -= (0.1 * smile * (face[:, 0] / 0.4).square())[mouth]
    depth = (1.3 - face[:, 0].square()).clamp(min=0) + 0.4 * (torch.arange(len(face)) == 30)
    face[:, 0] = face[:, 0] * (1 + 0.07 * wide) + 0.2 * turn * depth
    return face


def _draw(points: Tensor, height: int, width: int, generator: Generator) -> Image.Image:
    """A cartoon of the face before a smooth random background."""

    def colour(low: int, high: int) -> tuple[int, ...]:
        return tuple(torch.randint(low, high, (3,), generator=generator).tolist())

    def part(first: int, stop: int) -> list[tuple[float, float]]:
        return [(column, row) for column, row in points[first:stop].tolist()]

    clouds = torch.randint(0, 256, (5, 5, 3), generator=generator, dtype=torch.uint8).numpy()
    picture = Image.fromarray(clouds).resize((width, height), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    unit = float(torch.linalg.vector_norm(points[36] - points[45]))
    middle = (points[0] + points[16]) / 2
    skull = [tuple((2 * middle - point).tolist()) for point in points[:17]]
    draw.polygon(part(0, 17) + skull[1:16], fill=colour(170, 240))
    dark = colour(20, 90)
    for brow in (part(17, 22), part(22, 27)):
        draw.line(brow, fill=dark, width=max(1, round(unit / 12)), joint="curve")
    draw.line([*part(27, 31), *part(33, 34)], fill=colour(110, 160), width=max(1, round(unit / 20)))
    draw.line(part(31, 36), fill=dark, width=max(1, round(unit / 20)))
    for eye in (part(36, 42), part(42, 48)):
        draw.polygon(eye, fill=(250, 250, 250), outline=dark)
        column, row = np.mean(eye, axis=0)
        draw.ellipse(
            (column - unit / 18, row - unit / 18, column + unit / 18, row + unit / 18), fill=dark
        )
    draw.polygon(part(48, 60), fill=(190, 40, 60))
    draw.polygon(part(60, 68), fill=(60, 10, 20))
    return picture.filter(ImageFilter.GaussianBlur(0.7))


def write_pts(path: Path, points: Tensor) -> None:
    """Writes points ``(L, 2)``, ``(column, row)`` in px from 0, as a ``.pts``, which counts from
    1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = "".join(f"{column + 1:.4f} {row + 1:.4f}\n" for column, row in points.tolist())
    path.write_text(f"version: 1\nn_points: {len(points)}\n{{\n{rows}}}\n")


def write_fake_300w(root: Path, parts: dict[str, int], seed: int = 0, size: int = 160) -> Path:
    """Writes cartoon faces below ``root`` and gives ``root`` back.

    The photos differ in size, every fourth is a grey PNG, and the faces in turn (within 15
    degrees), scale, place, shape and colour. The box of each face is square and lies as a detector
    would put it: off by a few hundredths of its side.

    Args:
        root: the folder to write to.
        parts: the number of faces in each part, such as ``{"afw": 20, "helen/testset": 8}``.
        seed: another seed gives other faces.
        size: the shorter side of the photos, in px.
    """
    generator = Generator().manual_seed(seed)
    for part, count in parts.items():
        for index in range(count):
            turn, grow, across, down, longer = torch.rand(5, generator=generator).tolist()
            width, height = size + int(longer * size / 3), size + int((1 - longer) * size / 3)
            angle, scale = math.radians(30 * turn - 15), size * (0.22 + 0.06 * grow)
            centre = torch.tensor([width * (0.45 + 0.1 * across), height * (0.38 + 0.06 * down)])
            rotation = torch.tensor(
                [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
            )
            points = centre + scale * random_face(generator) @ rotation.mT
            noise = NOISE * torch.randn(3, generator=generator)
            side = 2.1 * scale * (1 + noise[2])
            middle = centre + scale * torch.tensor([0.0, 0.45]) @ rotation.mT + noise[:2] * side
            box = torch.stack([middle - side / 2, middle + side / 2])
            corners = torch.cartesian_prod(box[:, 0], box[:, 1])
            picture = _draw(points, height, width, generator)
            name = f"{part}/face_{index:04d}"
            write_pts(root / f"{name}.pts", points)
            write_pts(root / "bounding_boxes" / f"{name}.pts", corners)
            if index % 4 == 3:
                picture.convert("L").save(root / f"{name}.png")
            else:
                picture.save(root / f"{name}.jpg", quality=95)
    return root


def read_fake_300w(
    root: Path,
    parts: tuple[str, ...] = ("afw",),
    schema: LandmarkSchema = IBUG68,
    *,
    crop: int = 96,
    boxes: Path | None = None,
    skip_bad: bool = False,
) -> FaceData:
    """Reads what :func:`write_fake_300w` wrote, in small crops."""
    return read_faces(
        root,
        parts,
        schema=schema,
        crop=crop,
        box_side=56,
        boxes=boxes,
        skip_bad=skip_bad,
        progress=False,
    )
