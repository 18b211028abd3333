"""A contact sheet of synthetic faces: ``python -m benchmarks.contact_sheet``, the picture in the
documentation.

``--landmarks`` draws the points, green where they are visible and red where something hides them,
and the boxes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image, ImageDraw

from learned_descent.data.samples import Batch
from learned_descent.faces.synthetic import SyntheticFaces

from . import command


def contact_sheet(faces: Batch, columns: int, side: int, landmarks: bool) -> Image.Image:
    """The faces in rows of ``columns``, each ``side`` px wide."""
    count, zoom = len(faces["image"]), side / faces["image"].shape[-1]
    sheet = Image.new("RGB", (columns * side, -(-count // columns) * side))
    for number, pixels in enumerate(faces["image"]):
        tile = Image.fromarray(pixels.movedim(0, -1).contiguous().numpy()).resize(
            (side, side), Image.Resampling.LANCZOS
        )
        if landmarks:
            draw, points = ImageDraw.Draw(tile), (faces["points"][number] + 0.5) * zoom
            draw.rectangle(((faces["box"][number] + 0.5) * zoom).tolist(), outline=(86, 180, 233))
            for (column, row), visible in zip(points.tolist(), faces["visible"][number].tolist()):
                draw.ellipse(
                    (column - 1.5, row - 1.5, column + 1.5, row + 1.5),
                    fill=(60, 255, 0) if visible else (255, 40, 0),
                )
        sheet.paste(tile, (number % columns * side, number // columns * side))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/_static/synthetic_faces.png"))
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--columns", type=int, default=10)
    parser.add_argument("--side", type=int, default=76, help="px per face")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--landmarks", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    faces = SyntheticFaces(test_count=arguments.count, seed=arguments.seed).data("test")
    sheet = contact_sheet(faces, arguments.columns, arguments.side, arguments.landmarks)
    sheet.quantize(256, dither=Image.Dither.NONE).save(arguments.out, optimize=True)
    print(f"{arguments.out}: {arguments.count} faces, {arguments.out.stat().st_size // 1000} kB")


if __name__ == "__main__":
    command(main)
