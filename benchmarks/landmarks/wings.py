"""Drawn wings of flies: twelve points where veins meet, in pictures that a script makes."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

POINTS = (
    (0.02, 0.46), (0.07, 0.60), (0.14, 0.40), (0.24, 0.62), (0.30, 0.46), (0.44, 0.30),
    (0.55, 0.64), (0.62, 0.48), (0.80, 0.22), (0.96, 0.36), (0.97, 0.52), (0.78, 0.78),
)  # fmt: skip
"""The mean wing, ``(column, row)`` in lengths of a wing."""

VEINS = (
    (0, 2, -0.05), (2, 5, -0.03), (5, 8, -0.03), (8, 9, -0.05), (9, 10, -0.03), (10, 11, -0.09),
    (0, 1, 0.02), (1, 3, 0.03), (3, 11, 0.14), (2, 4, 0.02), (4, 7, -0.03), (7, 10, 0.02),
    (3, 6, 0.02), (6, 11, 0.02), (6, 7, 0.0), (3, 4, 0.01), (4, 8, -0.07), (7, 9, -0.04),
    (0, 4, -0.02), (5, 7, 0.01),
)  # fmt: skip
"""Veins from point to point, and how far each bends, in lengths of a wing."""

_SIZE = (320, 240)
_OVER = 3  # drawn so much larger, then made smaller: smooth lines


def draw_wings(folder: Path, count: int = 60, *, seed: int = 0, label_noise: float = 1.0) -> Path:
    """Draws wings and writes their labels.

    A wing differs from the others in its shape (bends, aspect and single points), its place, its
    size and its angle; its picture in light, contrast, sharpness, hairs and grain.

    Args:
        folder: where ``NAME.png`` and ``wings.csv`` are written.
        count: the number of wings.
        seed: which wings.
        label_noise: standard deviation of the hand that labels, in px.

    Returns:
        The file of labels, ``image,x0,y0,...`` in px; (0, 0) is the centre of the first pixel.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[list[str]] = []
    for number in range(count):
        dice = np.random.default_rng([seed, number])
        points = posed(wing(dice), dice)
        name = f"wing-{number:03d}.png"
        picture(points, dice).save(folder / name)
        marked = points + label_noise * dice.standard_normal(points.shape)
        rows.append([name, *(f"{value:.2f}" for value in marked.ravel())])
    titles = ["image", *(f"{axis}{point}" for point in range(len(POINTS)) for axis in "xy")]
    file = folder / "wings.csv"
    with file.open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened, lineterminator="\n").writerows([titles, *rows])
    return file


def wing(dice: np.random.Generator) -> np.ndarray:
    """The points of a wing, ``(12, 2)`` in lengths of it: the mean, bent smoothly, and each point
    moved a little by itself."""
    mean = np.array(POINTS)
    column, row = mean[:, 0] - 0.5, mean[:, 1] - 0.5
    modes = np.stack([column, row, column * row, column**2, row**2, column**3], 1)
    bends = dice.normal(0, [0.05, 0.06, 0.12, 0.10, 0.15, 0.12], (2, 6))
    points: np.ndarray = mean + modes @ bends.T + dice.normal(0, 0.012, mean.shape)
    return points


def posed(points: np.ndarray, dice: np.random.Generator) -> np.ndarray:
    """The points of a wing in px of its picture, ``(12, 2)``."""
    angle, scale = dice.normal(0, np.radians(8)), 215 * np.exp(dice.normal(0, 0.08))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array(_SIZE) / 2 + dice.normal(0, 8, 2)
    placed: np.ndarray = scale * (points - points.mean(0)) @ turn.T + middle
    return placed


def picture(points: np.ndarray, dice: np.random.Generator) -> Image.Image:
    """The picture of a wing whose points lie there, in grey."""
    size = (_OVER * _SIZE[0], _OVER * _SIZE[1])
    light, skin = dice.uniform(190, 235), dice.uniform(15, 45)
    image = Image.new("L", size, int(light))
    draw = ImageDraw.Draw(image)
    curves = [_curve(points[a], points[b], bend) for a, b, bend in VEINS]
    outline = [*curves[0], *curves[1], *curves[2], *curves[3], *curves[4], *curves[5]]
    outline += [*curves[8][::-1], *curves[7][::-1], *curves[6][::-1]]
    draw.polygon([tuple(_pixel(place)) for place in outline], fill=int(light - skin))
    _hairs(draw, dice, light - skin)
    for curve in curves:
        dark = int(dice.uniform(60, 130))
        wide = max(3, round(_OVER * dice.uniform(1.2, 2.6)))
        draw.line([tuple(_pixel(place)) for place in curve], fill=dark, width=wide, joint="curve")
    image = image.filter(ImageFilter.GaussianBlur(_OVER * dice.uniform(0.4, 1.2)))
    grey = np.asarray(image.resize(_SIZE, Image.Resampling.BOX), dtype=np.float64)
    rows, columns = np.mgrid[-1 : 1 : _SIZE[1] * 1j, -1 : 1 : _SIZE[0] * 1j]
    grey = grey + dice.normal(0, 8) * rows + dice.normal(0, 8) * columns
    grey = 128 + dice.uniform(0.6, 1.0) * (grey - 128) + dice.normal(0, 4, grey.shape)
    return Image.fromarray(grey.clip(0, 255).astype(np.uint8))


def _hairs(draw: ImageDraw.ImageDraw, dice: np.random.Generator, grey: float) -> None:
    """Short dark strokes everywhere: what is no vein."""
    places = dice.uniform((0, 0), _SIZE, (700, 2))
    strokes = dice.normal((3, 1), 1.0, (700, 2))
    for start, stroke in zip(places, strokes):
        ends = [tuple(_pixel(start)), tuple(_pixel(start + stroke))]
        draw.line(ends, fill=int(grey - dice.uniform(10, 50)), width=2)


def _pixel(place: np.ndarray) -> list[float]:
    """A place in px of the picture, in px of the larger one that is drawn."""
    return list((place + 0.5) * _OVER - 0.5)


def _curve(start: np.ndarray, end: np.ndarray, bend: float) -> np.ndarray:
    """Places on a curved line, ``(17, 2)``; it bends away by a share of 215 px."""
    along = end - start
    across = np.array([-along[1], along[0]]) / max(1e-9, float(np.hypot(*along)))
    middle = (start + end) / 2 + 2 * 215 * bend * across
    share = np.linspace(0, 1, 17)[:, None]
    curve: np.ndarray = (1 - share) ** 2 * start + 2 * share * (1 - share) * middle + share**2 * end
    return curve
