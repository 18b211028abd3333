"""Landmarks of any kind in pictures of any kind, from a file of labels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from ..data.pictures import read_picture
from ..data.samples import Batch, Split
from ..errors import DescentError, check_choice, check_real
from ..families import Recipe
from .augmentation import Augmentation, Turn
from .crops import apply_affine, check_crop
from .cut_outs import cut_out
from .detector import Box, WholePicture
from .formats import FormatName
from .formats.find import find_format
from .formats.format import Labelled
from .labels import BoxSource, Labels, boxes_of, check_copies, divided, in_schema
from .metrics import Normaliser, usual_normaliser
from .problem import Landmarks
from .recipes import RECIPES
from .schema_file import Schema, described_schema, find_schema

_ROOM = 0.6
"""The longer side of a box in sides of the crop; a whole picture fills it."""


@final
class _Flat(Turn):
    """Landmarks of which no shape in space is known."""

    solid: ClassVar[bool] = False

    def turned(self, batch: Batch, turn: Tensor) -> tuple[Batch, Tensor]:
        raise DescentError(
            "augmentation.turn: no shape in space is known that could turn: set it to 0"
        )


_AUGMENTATION = Augmentation(
    rotation=15.0,
    scale=0.1,
    shift=0.03,
    contrast=0.3,
    brightness=20.0,
    colour=0.1,
    noise=4.0,
    occlusion=0.0,
)
"""Milder than that of faces: pictures of one kind, taken in one way."""


@final
class LabelledLandmarks(Landmarks):
    r"""Any landmarks in any pictures, from a file or a folder of labels.

    Every labelled thing is cropped around its box once, when it is read, see
    :class:`~learned_descent.landmarks.problem.Landmarks`. The formats are those of
    :mod:`learned_descent.landmarks.formats`. Nothing has to be said of the markup: the number of
    points, and their names, come from the labels. What else is known of it (mirror pairs, edges,
    the distance that divides an error) is a file ``schema.yaml`` beside the data, see
    :func:`~learned_descent.landmarks.schema_file.find_schema`; without mirror pairs nothing is
    mirrored. A point that is not labelled weighs nothing: ``weights`` ``(N, L)`` of a batch, there
    where a weight is not 1.

    Args:
        data: the file of labels, the folder that holds them, or several; ``None`` for a model that
            is only to be applied.
        format: how they are written; by default what their ending and a look inside tell. A path
            ``file.py:Class`` names one of one's own.
        schema: the markup, by default ``schema.yaml`` beside the data, else what the labels tell.
        normaliser: the distance of the reported error, by default that of the schema, else between
            the eyes, else the centroid size.
        boxes: where the boxes come from: ``"file"``, the labels; ``"points"``, around the points,
            larger or smaller and moved as a detector's are, always in the same way for a picture
            (a random start of training is moved once more, as the boxes of training lie);
            ``"image"``, the whole picture; or the path of a file of boxes. By default those of the
            labels, if all have one, else around the points.
        crop: the side of the crop, in px.
        box_side: the longer side of the box in the crop, in px; by default 0.6 of the crop, and all
            of it for a whole picture.
        test_fraction: the share of the pictures that is for testing, where the labels say nothing
            of it; 1 where stored weights are measured on all of them.
        val_fraction: the share of the other pictures that is held out for validation, likewise.
        val_variants: random variants of each held-out picture that are held out with it.
        seed: which pictures these are.
        mirror: whether the training pictures come with their mirror images, where the schema has
            mirror pairs.
        start_noise: random starts are drawn with this times the spread of the training boxes.
        augmentation: the random variants of training.
        skip_bad: go on without labels that cannot be used.

    Raises:
        DescentError: if an argument is not what it should be, or no markup can be told from the
            labels.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> lines = ["image,root_x,root_y,tip_x,tip_y"]
        >>> for number in range(5):
        ...     Image.new("RGB", (80, 60), (number, 0, 0)).save(folder / f"{number}.png")
        ...     lines.append(f"{number}.png,{20 + number},30,60,{28 + number}")
        >>> _ = (folder / "wings.csv").write_text("\n".join(lines))
        >>> wings = LabelledLandmarks(str(folder / "wings.csv"))
        >>> wings.schema.names, wings.normaliser, wings.data("train")["image"].shape
        (('root', 'tip'), 'centroid_size', torch.Size([4, 3, 192, 192]))
        >>> wings.names("test")
        ['2.png']
    """

    def __init__(
        self,
        data: Sequence[str] | str | None = None,
        *,
        format: FormatName | Path | None = None,  # noqa: A002 - as on the command line
        schema: Schema | None = None,
        normaliser: Normaliser | None = None,
        boxes: BoxSource | Path | None = None,
        crop: int = 192,
        box_side: float | None = None,
        test_fraction: float = 0.2,
        val_fraction: float = 0.1,
        val_variants: int = 0,
        seed: int = 0,
        mirror: bool = True,
        start_noise: float = 1.0,
        augmentation: Augmentation = _AUGMENTATION,
        skip_bad: bool = False,
    ) -> None:
        if format is not None:
            find_format(format)
        if boxes is not None and not Path(boxes).suffix:  # a word, which may have come as a path
            check_choice(boxes := str(boxes), BoxSource, name="boxes")  # type: ignore[assignment]
        check_real(test_fraction, name="test_fraction", below=math.nextafter(1, 2))
        side = (1.0 if boxes == "image" else _ROOM) * crop if box_side is None else box_side
        check_crop(crop, side)
        paths = [data] if isinstance(data, (str, Path)) else data or []
        labels = Labels(tuple(map(Path, paths)), format)
        markup = labels.markup() if schema is None else find_schema(schema)
        super().__init__(
            schema=described_schema(markup),
            normaliser=normaliser or usual_normaliser(markup),
            crop=crop,
            box_side=side,
            val_fraction=val_fraction,
            val_variants=val_variants,
            mirror=mirror,
            start_noise=start_noise,
            augmentation=augmentation,
        )
        self.test_fraction, self.seed, self.skip_bad = test_fraction, seed, skip_bad
        self._labels, self._boxes = labels, boxes
        self._pictures: dict[Split, list[Path]] = {}
        self.drawn_by = WholePicture.name if boxes == "image" else None

    @property
    def has_faces(self) -> bool:
        return bool(self._labels.paths)

    @property
    def boxes(self) -> BoxSource:
        """Where the boxes come from, as a stored model keeps it."""
        if self._boxes is None:
            return self._labels.usual_boxes() if self.has_faces else "points"
        return "file" if isinstance(self._boxes, Path) else self._boxes

    @classmethod
    def families(cls) -> Mapping[str, Recipe]:
        return RECIPES

    def parts(self) -> Sequence[Split]:
        return [split for split, labels in self._parts.items() if labels]

    def photos(
        self, split: Split, numbers: Sequence[int]
    ) -> Iterator[tuple[UInt8[np.ndarray, "H W 3"], Box]]:
        """The whole pictures of samples, never mirrored, and where their boxes lie in them."""
        batch = self.data(split)
        pictures = self._pictures[split]
        for number in numbers:
            corners = batch["box"][number].view(2, 2)
            placed = apply_affine(batch["to_photo"][number], corners)
            x0, y0, x1, y1 = torch.cat([placed.amin(0), placed.amax(0)]).tolist()
            yield read_picture(pictures[number % len(pictures)]), (x0, y0, x1, y1)

    def turning(self) -> Turn:
        """What refuses to turn: weights of heads, whose training turned them, are measured here
        all the same.
        """
        return _Flat()

    @cached_property
    def _parts(self) -> Mapping[Split, Sequence[Labelled]]:
        """The usable labels of each part of the data."""
        parts = divided(
            self._labels.usable(self.skip_bad),
            self._labels.names,
            seed=self.seed,
            test_fraction=self.test_fraction,
            val_fraction=self.val_fraction,
        )
        check_copies(parts, self._labels.content)
        return parts

    def _read(self, split: Split) -> Batch:
        parts = self._parts
        if not parts[split] and split != "val":
            counts = ", ".join(f"{len(labels)} are of {part}" for part, labels in parts.items())
            raise DescentError(
                f"data: no picture is for {split}: of {sum(map(len, parts.values()))} labels "
                f"{counts}; say so in a column split or by folders train and test, or change "
                "test_fraction"
            )
        labels = [in_schema(label, self.schema) for label in parts[split]]
        boxes = boxes_of(labels, self._labels.names, self._boxes or self.boxes)
        cut = cut_out(labels, boxes, crop=self.crop, box_side=self.box_side, skip_bad=self.skip_bad)
        kept = [labels[place] for place in cut.kept]
        self._names[split] = self._labels.named(kept)
        self._pictures[split] = [label.image for label in kept]
        return cut.batch

    def settings(self) -> dict[str, Any]:
        return {
            **super().settings(),
            "boxes": self.boxes,
            "test_fraction": self.test_fraction,
            "seed": self.seed,
        }
