"""Face alignment as a problem: the landmarks of a face in the crop around its detector box."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any, final, get_args

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from tqdm import tqdm

from .._check import DescentError
from ..data import index, mix
from ..observation import Observation
from ..observations import DenseHOG
from ..problem import Batch, Problem, Split
from .augment import Augmentation, augment, mirrored
from .datasets import FaceData, read_faces
from .metrics import Normaliser, landmark_errors
from .schema import schema as find_schema
from .shapes import apply_similarity, fit_similarity


@final
class FaceAlignment(Problem):
    """The landmarks of a face, given the box of a detector.

    Every face is cropped around its box once, when it is read, into a square in which the box has a fixed centre and longer
    side. ``x (B, 2 L)`` holds the landmarks in pixels of that crop, ``(column, row)`` after ``(column, row)``; an update is
    in units of the box's side. The start is the mean shape of the training faces in the box; random starts are similarities
    of it, drawn from how the training boxes lie on their faces. The error is the mean distance from point to point over the
    named normaliser, in training and testing alike scaled by the box and never by the truth.

    Args:
        root: a folder in the layout of 300-W; ``None`` for a model that is only to be applied.
        train: its parts for training and validation.
        test: its parts for testing.
        schema: the markup: ``"ibug68"``, ``"ibug51"`` or ``"ibug49"``.
        normaliser: the distance of the reported error: ``"inter_ocular"``, ``"inter_pupil"`` or ``"box"``.
        crop: the side of the crop, in px.
        box_side: the longer side of the box in the crop, in px.
        val_fraction: the share of the training faces that is held out for validation, by photo.
        mirror: whether the training faces come with their mirror images.
        start_noise: random starts are drawn with this times the spread of the training boxes.
        augmentation: the random variants of training.
        boxes: a file of boxes, see :func:`learned_descent.faces.datasets.read_faces`.
        skip_bad: go on even if more than 5 % of the faces cannot be used.

    References:
        C. Sagonas, E. Antonakos, G. Tzimiropoulos, S. Zafeiriou and M. Pantic. 300 faces in-the-wild challenge: database
        and results. Image and Vision Computing 47, 2016.

    Example:
        >>> problem = FaceAlignment(schema="ibug49")  # without data: for a model that is loaded
        >>> problem.points(torch.zeros(2, 98)).shape
        torch.Size([2, 49, 2])
    """

    failure_above = 0.08

    def __init__(
        self,
        root: str | None = None,
        *,
        train: Sequence[str] = ("afw", "helen/trainset"),
        test: Sequence[str] = ("helen/testset",),
        schema: str = "ibug68",
        normaliser: Normaliser = "inter_ocular",
        crop: int = 192,
        box_side: float = 112.0,
        val_fraction: float = 0.05,
        mirror: bool = True,
        start_noise: float = 1.0,
        augmentation: Augmentation = Augmentation(),  # noqa: B008 - frozen
        boxes: str | None = None,
        skip_bad: bool = False,
    ) -> None:
        super().__init__()
        if normaliser not in get_args(Normaliser):
            raise DescentError(f"normaliser: expected one of {', '.join(get_args(Normaliser))}, got {normaliser!r}")
        if not 0 <= val_fraction < 1:
            raise DescentError(f"val_fraction: expected a share in [0, 1), got {val_fraction}")
        for name, parts in (("train", train), ("test", test)):
            if isinstance(parts, str):
                raise DescentError(f"{name}: expected a sequence of folders such as ['afw', 'helen/trainset'], got {parts!r}")
        seen = sorted({part for part in test if any(_overlap(part, other) for other in train)})
        if seen:
            raise DescentError(f"test: {seen} are training parts; test on faces that training never saw")
        self.root, self.train_parts, self.test_parts = root, tuple(train), tuple(test)
        self.schema, self.normaliser = find_schema(schema), normaliser
        self.crop, self.box_side, self.val_fraction = crop, box_side, val_fraction
        self.mirror, self.start_noise = mirror, start_noise
        self.augmentation, self.boxes, self.skip_bad = augmentation, boxes, skip_bad
        self.edges = self.schema.edges
        self._faces: dict[str, FaceData] = {}
        self._data: dict[str, Batch] = {}
        self.register_buffer("mean_shape", torch.full((self.schema.num_points, 2), torch.nan))
        self.register_buffer("start_factor", torch.zeros(4, 4))
        self.register_buffer("mirror_points", torch.tensor(self.schema.mirror), persistent=False)

    mean_shape: Tensor
    start_factor: Tensor
    mirror_points: Tensor

    def points(self, x: Float[Tensor, "B p"]) -> Float[Tensor, "B L 2"]:
        """The landmarks that ``x`` stands for, ``(column, row)`` in px of the crop."""
        points: Tensor = x.unflatten(1, (-1, 2))
        return points

    def observation(self) -> Observation:
        return DenseHOG(self.points)

    def data(self, split: Split) -> Batch:
        """The faces of ``split``; an empty batch for ``"val"`` where ``val_fraction`` is 0.

        Reading the training faces sets the mean shape and the statistics of the starts, unless a stored model brought them.
        """
        if split in self._data:
            return self._data[split]
        faces = self.faces("test" if split == "test" else "train")
        chosen = faces.batch
        if split != "test":
            held_out = torch.tensor([self._is_held_out(name) for name in faces.names])
            chosen = index(chosen, (held_out if split == "val" else ~held_out).nonzero().flatten())
        if split == "train":
            if self.mirror:
                images = mirrored(chosen, self.mirror_points.cpu())
                chosen = {name: torch.cat([value, images[name]]) for name, value in chosen.items()}
            if not self.mean_shape.isfinite().all():
                self._learn_starts(chosen)
        self._data[split] = chosen
        return chosen

    def faces(self, split: str) -> FaceData:
        """The faces of the ``"train"`` parts or of the ``"test"`` parts, read once, with names and report."""
        if split not in self._faces:
            if self.root is None:
                raise DescentError(
                    "root: expected a folder in the layout of 300-W to read faces from, got None; give --data DIR"
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
        photo = re.sub(r"(?<=\d)_\d+$", "", name)  # the faces of one photo stay together: 134212_1, 134212_2
        return mix(*photo.encode()) % 1000 < 1000 * self.val_fraction

    def _learn_starts(self, batch: Batch) -> None:
        centre, side = _centre_and_side(batch["box"])
        shapes = (batch["points"] - centre.unsqueeze(1)) / side[:, None, None]
        mean = shapes.mean(0)
        similarities = fit_similarity(mean - mean.mean(0), shapes)
        self.mean_shape.copy_(mean)
        if len(shapes) > 4:
            covariance = similarities.T.cov() + 1e-8 * torch.eye(4)
            self.start_factor.copy_(torch.linalg.cholesky(covariance))

    def initial(self, batch: Batch, generator: Generator | None = None) -> Float[Tensor, "B p"]:
        if not self.mean_shape.isfinite().all():
            if self.root is None:
                raise DescentError(
                    "the mean shape is not known yet: read training faces (data('train')) or load a trained model"
                )
            self.data("train")
        centre, side = _centre_and_side(batch["box"])
        shape = self.mean_shape.expand(len(side), -1, -1)
        if generator is not None:
            noise = torch.randn(len(side), 4, generator=generator, device=side.device)
            similarity = self.start_noise * noise @ self.start_factor.T
            middle = self.mean_shape.mean(0)
            shape = apply_similarity(similarity, self.mean_shape - middle) + middle
        return (centre.unsqueeze(1) + side[:, None, None] * shape).flatten(1)

    def target(self, batch: Batch) -> Float[Tensor, "B p"]:
        return batch["points"].flatten(1)

    def augment(self, batch: Batch, generator: Generator) -> Batch:
        return augment(batch, self.augmentation, self.mirror_points, generator)

    def retract(self, x: Float[Tensor, "B p"], delta: Float[Tensor, "B d"]) -> Float[Tensor, "B p"]:
        """``x + box_side * delta``: an update is in units of the box's side."""
        return x + self.box_side * delta

    def local(self, x: Float[Tensor, "B p"], y: Float[Tensor, "B p"]) -> Float[Tensor, "B d"]:
        return (y - x) / self.box_side

    def loss(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, " B"]:
        """The mean distance from point to point, over the side of the box: robust, not squared."""
        left = self.points(self.local(x, self.target(batch)))
        return (left.square().sum(2) + 1e-8).sqrt().mean(1)

    def error(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, " B"]:
        """The mean distance from point to point as a fraction of the named normaliser."""
        return self._error(x, batch, self.normaliser, None)

    def metrics(self, x: Float[Tensor, "B p"], batch: Batch) -> dict[str, Float[Tensor, " B"]]:
        count = self.schema.num_points
        found = {f"{count} points / {self.normaliser}": self.error(x, batch)}
        for subset in self.schema.subsets:
            found[f"{subset} points / {self.normaliser}"] = self._error(x, batch, self.normaliser, subset)
        for normaliser in get_args(Normaliser):
            name = f"{count} points / {normaliser}"
            if name not in found:
                found[name] = self._error(x, batch, normaliser, None)
        return found

    def _error(self, x: Tensor, batch: Batch, normaliser: Normaliser, subset: str | None) -> Tensor:
        return landmark_errors(self.points(x), batch["points"], self.schema, normaliser, batch["box"], subset)

    def settings(self) -> dict[str, Any]:
        return {
            "train": list(self.train_parts),
            "test": list(self.test_parts),
            "schema": self.schema.name,
            "normaliser": self.normaliser,
            "crop": self.crop,
            "box_side": self.box_side,
            "val_fraction": self.val_fraction,
            "mirror": self.mirror,
            "start_noise": self.start_noise,
            "augmentation": asdict(self.augmentation),
        }


def _overlap(part: str, other: str) -> bool:
    """Whether one of two folders is the other or holds it."""
    first, second = PurePosixPath(part), PurePosixPath(other)
    return first.is_relative_to(second) or second.is_relative_to(first)


def _centre_and_side(box: Float[Tensor, "B 4"]) -> tuple[Tensor, Tensor]:
    """The centres ``(B, 2)`` and longer sides ``(B,)`` of boxes."""
    corners = box.unflatten(1, (2, 2))
    return corners.mean(1), (corners[:, 1] - corners[:, 0]).amax(1)
