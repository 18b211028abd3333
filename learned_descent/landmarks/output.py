"""What becomes of the fits in a photo: an annotated picture, and files of landmarks."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..data.pictures import shrunk
from ..errors import check_choice
from ..files import atomic_write, write_json
from .aligner import Fit
from .point_files import LANDMARKS, write_landmarks

Format: TypeAlias = Literal["png", "json", "csv", "pts", "ljson"]
"""A picture, JSON and a table of all fits in a photo; landmarks as menpo reads them, one file per
fit."""

SMALLEST = 600
LARGEST = 2048
"""The longer side of a picture lies between these, in px, however large the photo is."""

FONT = 12
"""The size of a label, in pt: 17 px, whatever the size of the photo and of what it shows."""

_DPI = 100

_PAD = 1.5
"""The margin of a label, in pt."""


def files_of(folder: Path, stem: str, kind: Format, count: int) -> list[Path]:
    """The files that :func:`write_fits` writes: ``STEM.KIND``, or ``STEM_0.KIND`` and so on where
    each fit has its own.

    Example:
        >>> [path.name for path in files_of(Path("out"), "photo", "pts", 2)]
        ['photo_0.pts', 'photo_1.pts']
    """
    if f".{kind}" in LANDMARKS:
        return [folder / f"{stem}_{number}.{kind}" for number in range(count)]
    return [folder / f"{stem}.{kind}"]


def write_fits(
    folder: Path,
    stem: str,
    kind: Format,
    fits: Sequence[Fit],
    photo: UInt8[np.ndarray, "H W 3"],
    edges: Sequence[tuple[int, int]],
    noun: str = "object",
) -> None:
    """Writes the fits in a photo in one format, atomically.

    Args:
        folder: where; it is made if it is missing.
        stem: the name of the photo without its suffix.
        kind: the format.
        fits: the fits.
        photo: the pixels of the photo.
        edges: pairs of landmarks to join in the picture.
        noun: what a fit is called in JSON (``{"objects": [...]}``) and in the table.
    """
    check_choice(kind, Format, name="kind")
    paths = files_of(folder, stem, kind, len(fits))
    if kind == "png":
        figure = draw(photo, fits, edges)
        atomic_write(paths[0], lambda path: figure.savefig(path))
    elif kind == "json":
        write_json(paths[0], {f"{noun}s": [fit.to_json() for fit in fits]})
    elif kind == "csv":
        atomic_write(paths[0], lambda path: _write_csv(path, fits, noun))
    else:
        for path, fit in zip(paths, fits):
            write_landmarks(path, fit.landmarks)


def draw(
    photo: UInt8[np.ndarray, "H W 3"], fits: Sequence[Fit], edges: Sequence[tuple[int, int]]
) -> Figure:
    """The photo with the landmarks of its fits, joined by the lines of the markup, their boxes and
    their confidence.

    Args:
        photo: its pixels.
        fits: the fits; their landmarks count the pixels of the photo, whatever the size of the
            picture.
        edges: pairs of landmarks to join.

    Returns:
        A figure as large as the photo, but with a longer side of 600 to 2,048 px; save it with
        ``figure.savefig``.
    """
    height, width = photo.shape[:2]
    # Matplotlib holds several copies of what it shows, with four floats a pixel: it gets no more
    # than is seen.
    shown, _ = shrunk(photo, LARGEST)
    zoom = max(SMALLEST / max(shown.shape[:2]), 1.0)
    size = [max(round(zoom * side), 1) / _DPI for side in (shown.shape[1], shown.shape[0])]
    figure = Figure(figsize=(size[0], size[1]), dpi=_DPI)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    axes.imshow(shown, interpolation="lanczos", aspect="auto", extent=extent)
    axes.set(xlim=extent[:2], ylim=extent[2:])
    axes.set_axis_off()
    for fit in fits:
        _draw_fit(axes, fit, edges, _DPI * size[0] / width)
    return figure


def _draw_fit(axes: Axes, fit: Fit, edges: Sequence[tuple[int, int]], zoom: float) -> None:
    """Draws one fit into axes that show ``zoom`` px for each of the photo."""
    points = fit.landmarks.numpy()
    # Of a dot, by the size of the object
    size = float(np.clip(zoom * np.ptp(points, 0).max() / 150, 0.4, 2.0))
    lines = [points[list(edge)] for edge in edges]
    axes.add_collection(
        LineCollection(lines, colors="white", linewidths=1.4 * size, alpha=0.8), autolim=False
    )
    axes.scatter(
        points[:, 0],
        points[:, 1],
        s=9 * size**2,
        color="#E8601C",
        edgecolors="white",
        linewidths=0.4 * size,
        zorder=3,
    )
    x0, y0, x1, y1 = fit.box
    axes.add_patch(
        Rectangle(
            (x0, y0), x1 - x0, y1 - y0, fill=False, color="#56B4E9", linewidth=1.2, linestyle="--"
        )
    )
    if fit.confidence == fit.confidence:
        _draw_label(axes, f"{fit.confidence:.2f}", x0, y0)


def _draw_label(axes: Axes, label: str, x: float, y: float) -> None:
    """Writes a label above a point; where the picture ends it is moved until it is seen whole."""
    look = {"facecolor": "#56B4E9", "edgecolor": "none", "pad": _PAD}
    text = axes.text(x, y, label, fontsize=FONT, bbox=look, verticalalignment="bottom", zorder=4)
    room = axes.get_window_extent()
    margin = _PAD * _DPI / 72
    taken = text.get_window_extent().padded(margin)
    # The left and the upper border win where the picture is smaller than the label.
    right = max(min(0.0, room.x1 - taken.x1), room.x0 - taken.x0)
    up = min(max(0.0, room.y0 - taken.y0), room.y1 - taken.y1)
    there = axes.transData.transform((x, y))
    place = axes.transData.inverted().transform((there[0] + right, there[1] + up))
    text.set_position((float(place[0]), float(place[1])))


def _write_csv(path: Path, fits: Sequence[Fit], noun: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow([noun, "landmark", "x", "y", "confidence", f"{noun}_confidence", "inside"])
        for number, fit in enumerate(fits):
            found = fit.to_json()
            parts = zip(found["landmarks"], found["landmark_confidence"], found["inside"])
            for landmark, ((x, y), sure, inside) in enumerate(parts):
                table.writerow(
                    [number, landmark, x, y, sure, found["confidence"], str(inside).lower()]
                )
