"""The landmarks of faces in crops around their boxes: what every problem of faces shares."""

from __future__ import annotations

import logging
import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Generator, Tensor

from ..data.samples import Batch, Split
from ..errors import DescentError, check_choice, check_real, check_shape, check_whole
from ..observation import Observation
from ..observations import DenseHOG
from ..problem import Problem
from .augmentation import Augmentation, Turn, augment, mirrored
from .crops import check_crop
from .detector import Box, Detector, WholePicture
from .geometry import apply_similarity, completed, fit_similarity, mean_shape
from .metrics import (
    Normaliser,
    check_normaliser,
    landmark_errors,
    measured_between,
    reported_normalisers,
)
from .schema_file import Schema, described_schema, find_schema

_log = logging.getLogger(__name__)


_FAILURE = 0.13
"""A mean error that is a failure, over the root mean square distance of landmarks to their middle:
0.08 of the distance between the eyes of a mean face."""


class Landmarks(Problem):
    """The landmarks of a face in a crop around its box; where the faces come from is left to the
    subclasses.

    ``x (B, 2 L)`` holds the landmarks in pixels of that crop, ``(column, row)`` after ``(column,
    row)``; an update is in units of the box's side. The start is the mean shape of the training
    faces in the box; random starts are similarities of it, drawn from how the training boxes lie on
    their faces. The error is the mean distance from point to point over the named normaliser.

    A batch may say how much each landmark counts, as ``weights`` ``(N, L)`` in 0..1; all count
    alike where it says nothing. What counts 0 is missing: no loss, no error, no start and no
    trained weight depends on where ``points`` has it, which is where the mean shape, laid on the
    landmarks that are known, has it.

    Args:
        schema: the markup: the name of a built-in one, the path of a file, or what such a file
            holds.
        normaliser: the distance of the reported error.
        crop: the side of the crop, in px.
        box_side: the longer side of the box in the crop, in px.
        val_fraction: the share of the training faces that is held out for validation.
        val_variants: so many random variants of each held-out face are held out with it, made as
            those of training are: a training for bad pictures is then chosen by such pictures too.
        mirror: whether the training faces come with their mirror images; without ``mirror_pairs``
            they do not.
        start_noise: random starts are drawn with this times the spread of the training boxes.
        augmentation: the random variants of training.

    Raises:
        DescentError: if the markup or the normaliser is unknown, or ``val_fraction`` is no share.
    """

    failure_above = 0.08
    """Of the distance between the eyes, as usual, or of another one; of the centroid size, which
    grows with the number ``L`` of landmarks, ``0.13 / sqrt(L)``: for a face that is the same.
    """

    optional = ("weights",)

    noun: ClassVar[str] = "object"
    """What a sample shows, in one word: files and messages about photos name and count it so."""

    longest_box: ClassVar[float] = math.inf
    """A box that is more times as long as wide (or as wide as long) is not one of a detector's."""

    drawn_by: str | None = None
    """The name of the detector that drew the boxes of training: its boxes need no calibration."""

    def __init__(
        self,
        *,
        schema: Schema,
        normaliser: Normaliser,
        crop: int,
        box_side: float,
        val_fraction: float,
        val_variants: int = 0,
        mirror: bool,
        start_noise: float,
        augmentation: Augmentation,
    ) -> None:
        super().__init__()
        check_crop(crop, box_side)
        check_real(val_fraction, name="val_fraction", below=1)
        check_whole(val_variants, name="val_variants", least=0)
        check_real(start_noise, name="start_noise")
        self.schema, self.normaliser = find_schema(schema), normaliser
        check_normaliser(self.schema, normaliser)
        if normaliser == "centroid_size":
            self.failure_above = round(_FAILURE / math.sqrt(self.schema.num_points), 4)
        if augmentation.mirror and self.schema.mirror is None:
            raise DescentError(
                f"augmentation.mirror: the schema {self.schema.name!r} says no mirror_pairs: add "
                "them, or set it to 0"
            )
        self.crop, self.box_side = crop, box_side
        self.val_fraction, self.val_variants = val_fraction, val_variants
        self.mirror = mirror and self.schema.mirror is not None
        self.start_noise, self.augmentation = start_noise, augmentation
        self.edges = self.schema.edges
        self._data: dict[str, Batch] = {}
        self._names: dict[str, Sequence[str]] = {}
        self.register_buffer("mean_shape", torch.full((self.schema.num_points, 2), torch.nan))
        self.register_buffer("start_factor", torch.zeros(4, 4))
        self.register_buffer("mirror_points", torch.tensor(self.schema.opposites), persistent=False)
        self._has_starts = False
        self.register_load_state_dict_post_hook(Landmarks._look_for_starts)  # type: ignore[no-untyped-call]
        self._turning = self.turning() if augmentation.turn else None

    mean_shape: Tensor
    start_factor: Tensor
    mirror_points: Tensor

    def turning(self) -> Turn:
        """What turns a sample out of the plane of its picture, where ``augmentation.turn`` asks for
        it.

        Raises:
            DescentError: if no solid shape is known behind the landmarks, as here.
        """
        raise DescentError(
            f"augmentation.turn: {type(self).__name__} knows of no shape in space that could turn: "
            "set it to 0"
        )

    @abstractmethod
    def _read(self, split: Split) -> Batch:
        """The faces of a split, without mirror images: ``image``, ``points``, ``box``, ``to_photo``
        and what else is known, such as ``weights``; a landmark that is missing is NaN, or has the
        weight 0. What they are called goes to ``_names``.
        """

    def detector(self) -> Detector:
        """What finds the objects of a photo where no boxes are given: the whole picture is the box,
        unless a subclass knows better.
        """
        return WholePicture()

    def detectors(self) -> Sequence[Detector]:
        """The detectors whose boxes ``calibrate`` lays onto those of training unless told
        otherwise.
        """
        return [self.detector()]

    def photos(
        self, split: Split, numbers: Sequence[int]
    ) -> Iterator[tuple[UInt8[np.ndarray, "H W 3"], Box]]:
        """What a detector is shown of samples, and their boxes in px of it: the crops by default.

        Args:
            split: the split.
            numbers: the samples, by their place in :meth:`data`.
        """
        batch = self.data(split)
        for number in numbers:
            x0, y0, x1, y1 = batch["box"][number].tolist()
            yield batch["image"][number].movedim(0, -1).numpy(), (x0, y0, x1, y1)

    def parts(self) -> Sequence[Split]:
        """The parts of the data that hold samples, as far as that is known before they are read."""
        return "train", "val", "test"

    @property
    def has_faces(self) -> bool:
        """Whether there are training faces to read."""
        return True

    def data(self, split: Split) -> Batch:
        """The faces of ``split``; an empty batch for ``"val"`` where ``val_fraction`` is 0.

        Reading the training faces sets the mean shape and the statistics of the starts, unless a
        stored model brought them.
        """
        check_choice(split, Split, name="split")
        if split not in self._data:
            chosen = _weighed(self._read(split), f"{split} {self.noun}s")
            if split == "train":
                if self.mirror:
                    images = mirrored(chosen, self.mirror_points.cpu())
                    chosen = {
                        name: torch.cat([value, images[name]]) for name, value in chosen.items()
                    }
                self._look_for_starts()
                if not self._has_starts:
                    self._learn_starts(chosen)
                    self._look_for_starts()
            self._data[split] = self.completed(chosen)
            self._tell_of_missing(chosen, split)
        return self._data[split]

    def held_out(self) -> Batch:
        """The held-out faces, then ``val_variants`` variants of each, always the same ones."""
        batch = self.data("val")
        if not len(batch["image"]):
            return batch
        generator = Generator(batch["image"].device).manual_seed(0)
        variants = [self.augment(batch, generator) for _ in range(self.val_variants)]
        # Levels, as those of photos are
        levels = [variant["image"].round() for variant in variants]
        parts = [{**variant, "image": image} for variant, image in zip(variants, levels)]
        return {
            name: torch.cat([value, *(part[name].to(value) for part in parts)])
            for name, value in batch.items()
        }

    def names(self, split: Split) -> Sequence[str]:
        """What the samples of ``split`` are called: the paths of their pictures, then of their
        mirror images; none if they are not read from files.
        """
        count = len(self.data(split)["points"])
        if not (read := self._names.get(split, ())):
            return ()
        known = [*read, *(f"{name} (mirrored)" for name in read)][:count]
        return [*known, *(f"sample {number}" for number in range(len(known), count))]

    def points(self, x: Float[Tensor, "B p"]) -> Float[Tensor, "B L 2"]:
        """The landmarks that ``x`` stands for, ``(column, row)`` in px of the crop."""
        points: Tensor = x.unflatten(1, (-1, 2))
        return points

    def observation(self) -> Observation:
        return DenseHOG(self.points)

    def _learn_starts(self, batch: Batch) -> None:
        centre, side = _centre_and_side(batch["box"])
        shapes = (batch["points"] - centre.unsqueeze(1)) / side[:, None, None]
        weights = batch.get("weights")
        nowhere = [] if weights is None else (weights.sum(0) == 0).nonzero().flatten().tolist()
        if nowhere:
            raise DescentError(
                f"training {self.noun}s: none has landmark {nowhere[0]} (from 0; {len(nowhere)} of "
                f"{self.schema.num_points} landmarks): add some that have it, or choose a schema "
                "without it"
            )
        mean = mean_shape(shapes, weights)
        if weights is not None:
            shapes = completed(shapes, weights, mean)
        similarities = fit_similarity(mean - mean.mean(0), shapes)
        odd = (~similarities.isfinite().all(1)).nonzero().flatten().tolist()
        if odd:
            raise DescentError(
                f"training {self.noun}s {odd[:10]}: expected landmarks in a box, got ones that are "
                "all in one place or not finite, or a box without area; remove or mend them"
            )
        self.mean_shape.copy_(mean)
        if len(shapes) > 4:
            covariance = similarities.T.cov() + 1e-8 * torch.eye(4)
            self.start_factor.copy_(torch.linalg.cholesky(covariance))

    def completed(self, batch: Batch) -> Batch:
        """A batch with its missing landmarks where the mean shape has them, laid on those that
        are known.
        """
        weights = batch.get("weights")
        if weights is None:
            return batch
        if not self._has_starts:
            self._find_starts()
        centre, side = (value[:, None] for value in _centre_and_side(batch["box"]))
        shapes = (batch["points"] - centre) / side.unsqueeze(2)
        known = weights > 0
        shapes = completed(shapes, known.to(shapes), self.mean_shape)
        points = centre + side.unsqueeze(2) * shapes
        return {**batch, "points": torch.where(known.unsqueeze(2), batch["points"], points)}

    def _tell_of_missing(self, batch: Batch, split: Split) -> None:
        """Logs that the error of a face is divided by a distance that its labels do not have."""
        weights, needed = batch.get("weights"), measured_between(self.schema, self.normaliser)
        if weights is None or not needed:
            return
        lacking = (weights[:, list(needed)] == 0).any(1).sum().item()
        if lacking:
            _log.warning(
                "%d of %d %s %ss lack a landmark that the %s distance is measured with: theirs "
                "is that of the mean shape, laid on the landmarks that they have; the normaliser "
                "'box' needs none",
                lacking,
                len(weights),
                split,
                self.noun,
                self.normaliser,
            )

    def initial(self, batch: Batch, generator: Generator | None = None) -> Float[Tensor, "B p"]:
        if not self._has_starts:
            self._find_starts()
        centre, side = _centre_and_side(batch["box"])
        shape = self.mean_shape.expand(side.shape[0], -1, -1)
        if generator is not None:
            noise = torch.randn(len(side), 4, generator=generator, device=side.device)
            similarity = self.start_noise * noise @ self.start_factor.T
            middle = self.mean_shape.mean(0)
            shape = apply_similarity(similarity, self.mean_shape - middle) + middle
        return (centre.unsqueeze(1) + side[:, None, None] * shape).flatten(1)

    def _find_starts(self) -> None:
        """Sees to the mean shape, once: to look into a buffer stalls a GPU, and cannot be
        exported.
        """
        self._look_for_starts()
        if not self._has_starts:
            if not self.has_faces:
                raise DescentError(
                    "the mean shape is not known yet: read training faces (data('train')) or load "
                    "a trained model"
                )
            self.data("train")

    def _look_for_starts(self, *_: object) -> None:
        self._has_starts = bool(self.mean_shape.isfinite().all())

    def export_sample(self, count: int) -> Batch:
        """Crops of noise around their boxes: no data are needed, and the truth is not known."""
        noise = torch.randint(
            256,
            (count, 3, self.crop, self.crop),
            generator=Generator().manual_seed(count),
            dtype=torch.uint8,
        )
        return {"image": noise, "box": torch.tensor([self._box()]).repeat(count, 1)}

    def _box(self) -> list[float]:
        """Where a crop has its box, ``x0 y0 x1 y1`` in px."""
        middle, half = (self.crop - 1) / 2, self.box_side / 2
        return [middle - half, middle - half, middle + half, middle + half]

    def export_notes(self) -> dict[str, Any]:
        box = self._box()
        return {
            "crop": self.crop,
            "box_side": self.box_side,
            "box": box,
            "markup": self.schema.name,
            "num_points": self.schema.num_points,
            "units": "px of the crop: (column, row) after (column, row), the centre of the first "
            "pixel is (0, 0)",
            "image": "RGB in 0..255, rows after rows, a plane for each colour; the centre of the "
            "box is the centre of the crop, and its longer side box_side px long",
            "start": self.points(self.initial({"box": torch.tensor([box])}))[0].tolist(),
        }

    def target(self, batch: Batch) -> Float[Tensor, "B p"]:
        return batch["points"].flatten(1)

    def target_weights(self, batch: Batch) -> Float[Tensor, "B d"] | None:
        weights = batch.get("weights")
        return None if weights is None else weights.repeat_interleave(2, dim=1)

    def augment(self, batch: Batch, generator: Generator) -> Batch:
        batch = batch if self._turning is None else self.completed(batch)
        return augment(batch, self.augmentation, self.mirror_points, generator, self._turning)

    def retract(self, x: Float[Tensor, "B p"], delta: Float[Tensor, "B d"]) -> Float[Tensor, "B p"]:
        """``x + box_side * delta``: an update is in units of the box's side."""
        return x + self.box_side * delta

    def local(self, x: Float[Tensor, "B p"], y: Float[Tensor, "B p"]) -> Float[Tensor, "B d"]:
        return (y - x) / self.box_side

    def loss(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, " B"]:
        """The mean distance from point to point, over the side of the box: robust, not squared.
        Each distance is multiplied by its weight.
        """
        left = self.points(self.local(x, self.target(batch)))
        distances = (left.square().sum(2) + 1e-8).sqrt()
        weights = batch.get("weights")
        return (distances if weights is None else weights * distances).mean(1)

    def error(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, " B"]:
        """The mean distance from point to point, by their weights, as a fraction of the named
        normaliser.
        """
        return self._error(x, batch, self.normaliser, None)

    def metrics(self, x: Float[Tensor, "B p"], batch: Batch) -> dict[str, Float[Tensor, " B"]]:
        count = self.schema.num_points
        found = {f"{count} points / {self.normaliser}": self.error(x, batch)}
        for subset in self.schema.subsets:
            found[f"{subset} points / {self.normaliser}"] = self._error(
                x, batch, self.normaliser, subset
            )
        for normaliser in reported_normalisers(self.schema):
            name = f"{count} points / {normaliser}"
            if name not in found:
                found[name] = self._error(x, batch, normaliser, None)
        return found

    def _error(self, x: Tensor, batch: Batch, normaliser: Normaliser, subset: str | None) -> Tensor:
        batch = self.completed(batch)
        return landmark_errors(
            self.points(x),
            batch["points"],
            self.schema,
            normaliser,
            batch["box"],
            subset,
            batch.get("weights"),
        )

    def settings(self) -> dict[str, Any]:
        return {
            "schema": described_schema(self.schema),
            "normaliser": self.normaliser,
            "crop": self.crop,
            "box_side": self.box_side,
            "val_fraction": self.val_fraction,
            "val_variants": self.val_variants,
            "mirror": self.mirror,
            "start_noise": self.start_noise,
            "augmentation": asdict(self.augmentation),
        }


def _weighed(batch: Batch, what: str) -> Batch:
    """A batch with ``weights`` where a landmark counts less than 1, and no landmark that is NaN.

    Raises:
        DescentError: if the weights are not ``(N, L)`` in 0..1, or nothing is known of a sample.
    """
    points, missing = batch["points"], batch["points"].isnan().any(2)
    weights = batch.get("weights", torch.ones_like(points[..., 0]))
    check_shape(weights, "N L", {"N": len(points), "L": points.shape[1]}, name="weights")
    if not ((weights >= 0) & (weights <= 1)).all():
        raise DescentError(
            f"weights of the {what}: expected numbers from 0 (missing) to 1, got "
            f"{weights.min():g} to {weights.max():g}"
        )
    weights = weights.to(points).masked_fill(missing, 0)
    empty = (weights == 0).all(1).nonzero().flatten().tolist()
    if empty:
        raise DescentError(f"{what} {empty[:10]}: none of their landmarks is known; leave them out")
    rest = {name: value for name, value in batch.items() if name != "weights"}
    if (weights == 1).all():
        return rest
    points = points.masked_fill((weights == 0).unsqueeze(2), 0)
    return {**rest, "points": points, "weights": weights}


def _centre_and_side(box: Float[Tensor, "B 4"]) -> tuple[Tensor, Tensor]:
    """The centres ``(B, 2)`` and longer sides ``(B,)`` of boxes."""
    corners = box.unflatten(1, (2, 2))
    return corners.mean(1), (corners[:, 1] - corners[:, 0]).amax(1)
