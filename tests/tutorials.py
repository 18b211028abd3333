"""What the pages of the documentation have at hand where their commands run."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from PIL import Image

from learned_descent.landmarks.formats.point_sets import PTS
from learned_descent.landmarks.schema import IBUG68, WFLW98

from .faces.fake300w import write_fake_300w
from .landmarks.drawn import draw_wings, write_wings

BOX = (38, 18, 122, 102)
"""Where a drawn wing is, in px."""


def prepare_landmarks(folder: Path) -> None:
    """A table of wings, further ones, a new photo with its box, and frames of a video."""
    write_wings(folder / "wings", 24)
    write_wings(folder / "more", 6, seed=1)
    draw_wings(folder / "frames", 3, seed=2)
    draw_wings(folder / "new", 1, seed=3)
    (folder / "new" / "00.png").rename(folder / "new.png")
    box = ",".join(map(str, BOX))
    (folder / "boxes.csv").write_text(f"image,x0,y0,x1,y1\nnew.png,{box}\n")


def prepare_markup(folder: Path) -> None:
    """Faces of 68 points as ``.pts``, and others of 98 points in the list of WFLW."""
    write_fake_300w(folder / "faces", {"train": 16, "test": 4}, seed=1)
    write_fake_300w(folder / "drawn", {"all": 6}, seed=2)
    shutil.copy(folder / "faces" / "test" / "face_0000.jpg", folder / "photo.jpg")
    lines = [_of_wflw(label, folder) for path in sorted((folder / "drawn" / "all").glob("*.pts"))
             for label in PTS().read(path)]  # fmt: skip
    (folder / "wflw" / "list_98pt_test.txt").write_text("\n".join(lines) + "\n")


def _of_wflw(label, folder: Path) -> str:
    """A line of the list; the points that iBUG does not have are between their neighbours."""
    known = torch.tensor(IBUG68.sources[WFLW98.num_points])
    order = known.argsort()
    points = torch.empty(WFLW98.num_points, 2, dtype=torch.float64)
    for point in range(len(points)):
        after = int((known[order] < point).sum().clamp(max=len(known) - 1))
        before = max(after - 1, 0) if int(known[order][after]) != point else after
        points[point] = (label.points[order[before]] + label.points[order[after]]) / 2
    x0, y0, x1, y1 = label.around()
    name = f"0--Parade/{label.image.stem}.png"
    image = folder / "wflw" / "WFLW_images" / name
    image.parent.mkdir(parents=True, exist_ok=True)
    Image.open(label.image).convert("RGB").save(image)
    words = [f"{value:.3f}" for value in points.flatten().tolist()]
    box = [f"{value:.0f}" for value in (x0, y0, x1, y1)]
    return " ".join([*words, *box, *"000000", name])
