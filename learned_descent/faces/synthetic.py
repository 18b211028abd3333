"""Synthetic faces as a problem: labelled faces for training and testing that come from no data
set.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, final

import torch
from torch import Generator
from torch.utils.data import DataLoader, Dataset

from ..data.batches import mix
from ..data.samples import Batch, Split
from ..errors import DescentError
from ..landmarks.augmentation import Augmentation
from ..landmarks.metrics import Normaliser
from ..landmarks.schema import IBUG68
from ..landmarks.schema_file import Schema
from ..signals import unbroken
from ..system.progress import progress_bar
from .problem import Faces
from .rendering.generator import CHUNK, FaceGenerator

_SPLITS: tuple[Split, ...] = ("train", "val", "test")
_MOST_WORKERS, _CHUNKS_PER_WORKER = 8, 4
"""The processes that render, each a chunk at a time: each needs about 60 MB, and a few chunks to be
worth its start."""


@final
class SyntheticFaces(Faces):
    """The landmarks of rendered faces: a parametric head under random pose, light and occlusion.

    The faces are made when they are first asked for, on the device of the problem; on a CPU under
    Linux by as many processes as PyTorch has threads, up to eight. A face depends on nothing but
    the seed, its split and its number: a larger set begins with the faces of a smaller one. Beside
    what :class:`~learned_descent.faces.alignment.FaceAlignment` has, a batch holds ``visible``
    ``(N, L)``, the landmarks that nothing hides, and ``pose`` ``(N, 3)``: yaw, pitch and roll of
    the head in rad, where a positive yaw turns the nose to the right of the picture, a positive
    pitch lifts it, and a positive roll turns the head clockwise.

    Args:
        count: the number of faces for training and validation.
        test_count: the number of faces for testing.
        seed: another seed, other faces.
        schema: the markup: ``"ibug68"``, ``"ibug51"``, ``"ibug49"``, or one that says which of the
            68 points are its own.
        normaliser: the distance of the reported error: ``"inter_ocular"``, ``"inter_pupil"`` or
            ``"box"``.
        crop: the side of the picture, in px; a multiple of 8.
        box_side: the longer side of the box in it, in px.
        val_fraction: the share of ``count`` that is held out for validation.
        val_variants: random variants of each held-out picture that are held out with it.
        mirror: whether the training faces come with their mirror images; without ``mirror_pairs``
            they do not.
        start_noise: random starts are drawn with this times the spread of the training boxes.
        augmentation: the random variants of training.

    Raises:
        DescentError: if a number of faces is not positive, or the crop has another size.

    Example:
        >>> problem = SyntheticFaces(count=4, test_count=2, crop=64, box_side=38.0,
        ...     val_fraction=0.25)
        >>> [len(problem.data(split)["points"]) for split in ("train", "val", "test")]
        [6, 1, 2]
    """

    def __init__(
        self,
        count: int = 3000,
        test_count: int = 500,
        *,
        seed: int = 0,
        schema: Schema = "ibug68",
        normaliser: Normaliser = "inter_ocular",
        crop: int = 128,
        box_side: float = 75.0,
        val_fraction: float = 0.05,
        val_variants: int = 0,
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
            val_variants=val_variants,
            mirror=mirror,
            start_noise=start_noise,
            augmentation=augmentation,
        )
        if count < 1 or test_count < 1:
            raise DescentError(
                f"count and test_count: expected 1 face or more, got {count} and {test_count}"
            )
        if crop % 8 or crop < 32:
            raise DescentError(f"crop: expected a multiple of 8 px, 32 or more, got {crop}")
        self.schema.among(IBUG68)  # refused here, not after the first face is drawn
        self.count, self.test_count, self.seed = count, test_count, seed

    def _read(self, split: Split) -> Batch:
        held_out = min(round(self.val_fraction * self.count), self.count - 1)
        wanted = {"train": self.count - held_out, "val": held_out, "test": self.test_count}[split]
        stream, chunks = mix(self.seed, _SPLITS.index(split)), max(1, -(-wanted // CHUNK))
        device = self.mean_shape.device
        parts: list[Batch] = []
        with (
            _one_thread() as threads,
            progress_bar(
                desc=f"making {split} faces", total=wanted, unit="face", disable=wanted == 0
            ) as progress,
        ):
            make = functools.partial(_generator(self.crop, self.box_side, str(device)), stream)
            for faces in _Chunks(make, chunks).in_turn(threads if device.type == "cpu" else 1):
                left = min(CHUNK, wanted - CHUNK * len(parts))
                parts.append({name: value[:left].cpu().clone() for name, value in faces.items()})
                progress.update(left)
        batch = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        kept = list(self.schema.among(IBUG68))
        return {**batch, "points": batch["points"][:, kept], "visible": batch["visible"][:, kept]}

    def settings(self) -> dict[str, Any]:
        return {
            "count": self.count,
            "test_count": self.test_count,
            "seed": self.seed,
            **super().settings(),
        }


class _Chunks(Dataset[Batch]):
    """The chunks of a stream, each made when it is asked for."""

    def __init__(self, make: Callable[[int], Batch], count: int) -> None:
        self.make, self.count = make, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, chunk: int) -> Batch:
        return self.make(chunk)

    def in_turn(self, workers: int) -> Iterator[Batch]:
        """The chunks in their order, made by several processes where there is enough to do and
        processes can be forked.
        """
        workers = min(workers, self.count // _CHUNKS_PER_WORKER, _MOST_WORKERS, os.cpu_count() or 1)
        forked = workers > 1 and sys.platform == "linux"
        loader = DataLoader(
            self,
            batch_size=None,
            num_workers=workers if forked else 0,
            multiprocessing_context="fork" if forked else None,
            generator=Generator(),  # leaves the global random numbers alone
        )
        with warnings.catch_warnings():
            # Of forks beside threads: the workers start none
            warnings.simplefilter("ignore", DeprecationWarning)
            # A worker that starts, or a queue that is locked, would be left behind
            with unbroken():
                chunks = iter(loader)
        while True:
            with unbroken():
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk


@contextlib.contextmanager
def _one_thread() -> Iterator[int]:
    """One thread for each operation, and how many there were: they are small, and their bits depend
    on the number.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


@functools.lru_cache(maxsize=2)
def _generator(crop: int, box_side: float, device: str) -> FaceGenerator:
    """The splits of a problem, and problems that are alike, share what is computed once."""
    return FaceGenerator(crop, box_side).to(device)
