"""Synthetic faces as a problem: labelled faces for training and testing that come from no data set."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, final

import torch
from tqdm import tqdm

from .._check import DescentError
from ..data import mix
from ..problem import Batch, Split
from .augment import Augmentation
from .crops import check_crop
from .generator import CHUNK, FaceGenerator
from .landmarks import Landmarks
from .metrics import Normaliser
from .schema import IBUG68

_SPLITS: tuple[Split, ...] = ("train", "val", "test")
_MOST_WORKERS = 8
"""The threads that render, each a chunk: more would wait for the interpreter, and each needs about 60 MB."""


@final
class SyntheticFaces(Landmarks):
    """The landmarks of rendered faces: a parametric head under random pose, light and occlusion.

    The faces are made when they are first asked for, on the device of the problem. A face depends on nothing but the seed, its
    split and its number: a larger set begins with the faces of a smaller one. Beside what :class:`~learned_descent.faces
    .alignment.FaceAlignment` has, a batch holds ``visible`` ``(N, L)``, the landmarks that nothing hides, and ``pose``
    ``(N, 3)``: yaw, pitch and roll of the head in rad, where a positive yaw turns the nose to the right of the picture, a
    positive pitch lifts it, and a positive roll turns the head clockwise.

    Args:
        count: the number of faces for training and validation.
        test_count: the number of faces for testing.
        seed: another seed, other faces.
        schema: the markup: ``"ibug68"``, ``"ibug51"`` or ``"ibug49"``.
        normaliser: the distance of the reported error: ``"inter_ocular"``, ``"inter_pupil"`` or ``"box"``.
        crop: the side of the picture, in px; a multiple of 8.
        box_side: the longer side of the box in it, in px.
        val_fraction: the share of ``count`` that is held out for validation.
        mirror: whether the training faces come with their mirror images.
        start_noise: random starts are drawn with this times the spread of the training boxes.
        augmentation: the random variants of training.

    Raises:
        DescentError: if a number of faces is not positive, or the crop has another size.

    Example:
        >>> problem = SyntheticFaces(count=4, test_count=2, crop=64, box_side=38.0, val_fraction=0.25)
        >>> [len(problem.data(split)["points"]) for split in ("train", "val", "test")]
        [6, 1, 2]
    """

    def __init__(
        self,
        count: int = 3000,
        test_count: int = 500,
        *,
        seed: int = 0,
        schema: str = "ibug68",
        normaliser: Normaliser = "inter_ocular",
        crop: int = 128,
        box_side: float = 75.0,
        val_fraction: float = 0.05,
        mirror: bool = True,
        start_noise: float = 1.0,
        augmentation: Augmentation = Augmentation(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(
            schema=schema,
            normaliser=normaliser,
            crop=crop,
            box_side=box_side,
            val_fraction=val_fraction,
            mirror=mirror,
            start_noise=start_noise,
            augmentation=augmentation,
        )
        if count < 1 or test_count < 1:
            raise DescentError(f"count and test_count: expected 1 face or more, got {count} and {test_count}")
        check_crop(crop, box_side)
        if crop % 8 or crop < 32:
            raise DescentError(f"crop: expected a multiple of 8 px, 32 or more, got {crop}")
        self.count, self.test_count, self.seed = count, test_count, seed

    def _read(self, split: Split) -> Batch:
        held_out = min(round(self.val_fraction * self.count), self.count - 1)
        wanted = {"train": self.count - held_out, "val": held_out, "test": self.test_count}[split]
        stream, chunks = mix(self.seed, _SPLITS.index(split)), max(1, -(-wanted // CHUNK))
        device = self.mean_shape.device
        workers = min(torch.get_num_threads(), chunks, _MOST_WORKERS) if device.type == "cpu" else 1
        parts: list[Batch] = []
        with (
            _one_thread(),
            tqdm(total=wanted, desc=f"making {split} faces", unit="face", file=sys.stderr, disable=wanted == 0) as progress,
            ThreadPoolExecutor(workers) as pool,
        ):
            generator = _generator(self.crop, self.box_side, str(device))
            for faces in pool.map(functools.partial(generator, stream), range(chunks)):
                left = min(CHUNK, wanted - CHUNK * len(parts))
                parts.append({name: value[:left].cpu() for name, value in faces.items()})
                progress.update(left)
        batch = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        kept = list(IBUG68.indices() if self.schema is IBUG68 else self.schema.within(IBUG68.num_points))
        return {**batch, "points": batch["points"][:, kept], "visible": batch["visible"][:, kept]}

    def settings(self) -> dict[str, Any]:
        return {"count": self.count, "test_count": self.test_count, "seed": self.seed, **super().settings()}


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for each operation, here and in new threads: they are small, and their bits depend on the number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@functools.lru_cache(maxsize=2)
def _generator(crop: int, box_side: float, device: str) -> FaceGenerator:
    """The splits of a problem, and problems that are alike, share what is computed once."""
    return FaceGenerator(crop, box_side).to(device)
