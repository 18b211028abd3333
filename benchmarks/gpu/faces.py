"""Faces in one small file, so that a machine without data has some."""

from __future__ import annotations

from pathlib import Path
from typing import cast, final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from learned_descent.data.batches import index
from learned_descent.data.samples import Batch, Split
from learned_descent.faces.alignment import FaceAlignment
from learned_descent.faces.head_rotation import Turning
from learned_descent.faces.synthetic import SyntheticFaces
from learned_descent.landmarks.augmentation import Augmentation, Turn
from learned_descent.landmarks.problem import Landmarks

CROP, BOX = 192, 112.0
MOST = 40_000_000
"""Bytes of a packed file."""


def pack(root: str | None, count: int, path: Path) -> None:
    """Writes ``count`` training faces of a folder in the layout of 300-W, or synthetic ones, and
    says how many fitted."""
    problem: Landmarks
    if root is None:
        problem = SyntheticFaces(count, 1, crop=CROP, box_side=BOX, val_fraction=0.0, mirror=False)
    else:
        problem = FaceAlignment(root, crop=CROP, box_side=BOX, val_fraction=0.0, mirror=False)
    batch = cast(dict[str, Tensor], problem.data("train"))
    names = ("image", "points", "box", "to_photo")
    each = sum(batch[name][0].nbytes for name in names)
    order = torch.randperm(len(batch["image"]), generator=torch.Generator().manual_seed(0))[
        : min(count, MOST // each)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: batch[name][order].contiguous() for name in names},
        path,
        {"faces": "synthetic" if root is None else "300-W"},
    )
    print(f"{path}: {len(order)} faces, {path.stat().st_size / 1e6:.1f} MB")


@final
class PackedFaces(Landmarks):
    """The faces of a packed file, or synthetic ones where there is none: all for training, the
    first ones for testing."""

    def __init__(self, path: Path, *, quick: bool) -> None:
        super().__init__(
            schema="ibug68", normaliser="inter_ocular", crop=64 if quick else CROP,
            box_side=38.0 if quick else BOX,
            val_fraction=0.0, mirror=False, start_noise=1.0, augmentation=Augmentation(turn=15.0),
        )  # fmt: skip
        self.path, self.quick = path, quick

    @property
    def origin(self) -> str:
        """What the faces are."""
        return "synthetic" if self.quick or not self.path.exists() else str(self.path.name)

    def turning(self) -> Turn:
        return Turning(self.schema)

    def _read(self, split: Split) -> Batch:
        if not self.quick and self.path.exists():
            batch: Batch = load_file(self.path)
        else:
            made = SyntheticFaces(
                8 if self.quick else 256,
                1,
                crop=self.crop,
                box_side=self.box_side,
                val_fraction=0.0,
                mirror=False,
            )
            batch = cast(Batch, made.data("train"))
            batch = {name: batch[name] for name in ("image", "points", "box", "to_photo")}
        return batch if split == "train" else index(batch, slice(0, 4 if self.quick else 64))


def repeated(batch: Batch, count: int, device: torch.device) -> Batch:
    """``count`` samples: those of a batch, again and again."""
    rows = torch.arange(count) % len(next(iter(batch.values())))
    return {name: value[rows].to(device) for name, value in batch.items()}
