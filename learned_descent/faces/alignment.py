"""Face alignment as a problem: the landmarks of a face in the crop around its detector box."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, final

import torch
from tqdm import tqdm

from ..data.batches import index, mix
from ..data.samples import Batch, Split
from ..errors import DescentError
from ..landmarks.augmentation import Augmentation
from ..landmarks.metrics import Normaliser
from ..landmarks.schema_file import Schema, described_schema
from .datasets import FaceData, read_faces
from .problem import Faces
from .synthetic import SyntheticFaces


@final
class FaceAlignment(Faces):
    """The landmarks of a face, given the box of a detector.

    Every face is cropped around its box once, when it is read, into a square in which the box has a
    fixed centre and longer side. ``x (B, 2 L)`` holds the landmarks in pixels of that crop,
    ``(column, row)`` after ``(column, row)``; an update is in units of the box's side. The start is
    the mean shape of the training faces in the box; random starts are similarities of it, drawn
    from how the training boxes lie on their faces. The error is the mean distance from point to
    point over the named normaliser, in training and testing alike scaled by the box and never by
    the truth.

    Args:
        root: a folder in the layout of 300-W; ``None`` for a model that is only to be applied.
        train: its parts for training and validation.
        test: its parts for testing.
        schema: the markup: ``"ibug68"``, ``"ibug51"``, ``"ibug49"``, the path of a YAML or JSON
            file, or what such a file holds, see
            :func:`~learned_descent.landmarks.schema_file.find_schema`.
        normaliser: the distance of the reported error: ``"inter_ocular"``, ``"inter_pupil"`` or
            ``"box"``.
        crop: the side of the crop, in px.
        box_side: the longer side of the box in the crop, in px.
        val_fraction: the share of the training faces that is held out for validation, by photo.
        val_variants: random variants of each held-out picture that are held out with it.
        mirror: whether the training faces come with their mirror images; without ``mirror_pairs``
            they do not.
        start_noise: random starts are drawn with this times the spread of the training boxes.
        augmentation: the random variants of training.
        synthetic: so many synthetic faces join those of training, mirror images apart: poses that
            photographs seldom show. The start is still that of the real faces, and no synthetic
            face is held out.
        boxes: a file of boxes, see :func:`learned_descent.faces.datasets.read_faces`.
        skip_bad: go on even if more than 5 % of the faces cannot be used.

    References:
        C. Sagonas, E. Antonakos, G. Tzimiropoulos, S. Zafeiriou and M. Pantic. 300 faces
        in-the-wild challenge: database and results. Image and Vision Computing 47, 2016.

    Example:
        >>> problem = FaceAlignment(schema="ibug49")  # without data: for a model that is loaded
        >>> problem.points(torch.zeros(2, 98)).shape
        torch.Size([2, 49, 2])
    """

    def __init__(
        self,
        root: str | None = None,
        *,
        train: Sequence[str] = ("afw", "helen/trainset"),
        test: Sequence[str] = ("helen/testset",),
        schema: Schema = "ibug68",
        normaliser: Normaliser = "inter_ocular",
        crop: int = 192,
        box_side: float = 112.0,
        val_fraction: float = 0.05,
        val_variants: int = 0,
        mirror: bool = True,
        start_noise: float = 1.0,
        augmentation: Augmentation = Augmentation(turn=15.0),  # noqa: B008 - frozen
        synthetic: int = 0,
        boxes: str | None = None,
        skip_bad: bool = False,
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
        for name, parts in (("train", train), ("test", test)):
            if isinstance(parts, str):
                raise DescentError(
                    f"{name}: expected a sequence of folders such as ['afw', 'helen/trainset'], "
                    f"got {parts!r}"
                )
        seen = sorted({part for part in test if any(_overlap(part, other) for other in train)})
        if seen:
            raise DescentError(
                f"test: {seen} are training parts; test on faces that training never saw"
            )
        if synthetic < 0:
            raise DescentError(f"synthetic: expected a number of faces, 0 or more, got {synthetic}")
        self.synthetic = synthetic
        self.root, self.train_parts, self.test_parts = root, tuple(train), tuple(test)
        self.boxes, self.skip_bad = boxes, skip_bad
        self._faces: dict[str, FaceData] = {}

    @property
    def has_faces(self) -> bool:
        return self.root is not None

    def data(self, split: Split) -> Batch:
        """The faces of ``split``, see :meth:`.Landmarks.data`; the synthetic ones that were asked
        for come last in training.
        """
        known, batch = split in self._data, super().data(split)
        if split == "train" and self.synthetic and not known:
            faces = SyntheticFaces(
                self.synthetic,
                1,
                schema=described_schema(self.schema),
                normaliser=self.normaliser,
                crop=self.crop,
                box_side=self.box_side,
                val_fraction=0.0,
                mirror=self.mirror,
            )
            made = dict(faces.data("train"))
            made["weights"] = torch.ones_like(made["points"][..., 0])  # of them all is known
            batch = self._data[split] = {
                name: torch.cat([value, made[name]]) for name, value in batch.items()
            }
        return batch

    def _read(self, split: Split) -> Batch:
        faces = self.faces("test" if split == "test" else "train")
        if split == "test":
            self._names[split] = faces.names
            return faces.batch
        held_out = torch.tensor([self._is_held_out(name) for name in faces.names])
        chosen = (held_out if split == "val" else ~held_out).nonzero().flatten()
        self._names[split] = [faces.names[face] for face in chosen.tolist()]
        return index(faces.batch, chosen)

    def faces(self, split: str) -> FaceData:
        """The faces of the ``"train"`` parts or of the ``"test"`` parts, read once, with names and
        report.
        """
        if split not in self._faces:
            if self.root is None:
                raise DescentError(
                    "root: expected a folder in the layout of 300-W to read faces from, got None; "
                    "give --data DIR"
                )
            self._faces[split] = read_faces(
                self.root,
                self.train_parts if split == "train" else self.test_parts,
                schema=self.schema,
                crop=self.crop,
                box_side=self.box_side,
                boxes=self.boxes,
                skip_bad=self.skip_bad,
            )
            for part in self._faces[split].report:
                tqdm.write(str(part), file=sys.stderr)
        return self._faces[split]

    def _is_held_out(self, name: str) -> bool:
        # The faces of one photo stay together: 134212_1, 134212_2
        photo = re.sub(r"(?<=\d)_\d+$", "", name)
        return mix(*photo.encode()) % 1000 < 1000 * self.val_fraction

    def settings(self) -> dict[str, Any]:
        return {
            "train": list(self.train_parts),
            "test": list(self.test_parts),
            "synthetic": self.synthetic,
            **super().settings(),
        }


def _overlap(part: str, other: str) -> bool:
    """Whether one of two folders is the other or holds it."""
    first, second = PurePosixPath(part), PurePosixPath(other)
    return first.is_relative_to(second) or second.is_relative_to(first)
