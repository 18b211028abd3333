"""The landmarks of the faces in a photo: what trained weights are for."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from .._check import DescentError
from ..checkpoint import load_model, problem_class, read_description
from ..model import DescentModel
from ..pictures import read_picture
from ..weights import find_weights
from .agreement import VIEWS, agree, fit_often
from .calibration import Calibration
from .crops import SMALLEST_BOX, apply_affine, crop_face
from .detect import Box, Detector, DetectorWarning, FaceWarning, default_detector
from .landmarks import Landmarks
from .shapes import fit_similarity

FAR = 5.0
"""A fit lies far from where training faces lie in their boxes beyond so many standard deviations."""

LONGISH = 2.0
"""A box is no face detector's if one side is so many times as long as the other."""


@final
@dataclass(frozen=True, eq=False)
class Face:
    """One face in a photo; pixels count from the centre of the first one, ``(0, 0)``, in the photo as displayed.

    Args:
        box: the box that the landmarks were sought in, ``x0 y0 x1 y1`` in px.
        landmarks: ``(column, row)`` in px.
        confidence: the probability that the mean error of the landmarks is at most 0.08 of the distance between the outer
            corners of the eyes; NaN if the weights are not calibrated.
        landmark_confidence: the same for each landmark by itself.
    """

    box: Box
    landmarks: Float[Tensor, "L 2"]
    confidence: float
    landmark_confidence: Float[Tensor, " L"]

    def to_json(self) -> dict[str, Any]:
        """The face as JSON: ``box``, ``landmarks``, ``confidence`` and ``landmark_confidence``; null for NaN."""
        return {
            "box": [round(side, 2) for side in self.box],
            "landmarks": [[round(value, 2) for value in point] for point in self.landmarks.tolist()],
            "confidence": _number(self.confidence),
            "landmark_confidence": [_number(value) for value in self.landmark_confidence.tolist()],
        }


@final
class FaceAligner:
    """Trained weights, ready for photos: ``aligner(photo)`` gives the faces in it.

    A face is fitted from several starts: in its crop, in turned and enlarged copies of it, and in their mirror images. Its
    landmarks are the medians of the fits, and their agreement tells the confidence.

    Args:
        model: a model of faces, trained or loaded.
        calibration: how the detector's boxes lie on those of the training faces, and what the agreement of the fits means.
        detector: what finds the faces where no boxes are given; by default
            :func:`~learned_descent.faces.detect.default_detector`, when it is first needed.
        views: the number of copies of each crop, from 1 to 4; their mirror images come on top.
        device: where the model runs.

    Raises:
        DescentError: if the model is one of another problem, or its mean shape was never learnt.

    Example:
        >>> from learned_descent import Cascade
        >>> from learned_descent.faces.alignment import FaceAlignment
        >>> problem = FaceAlignment(schema="ibug49")
        >>> _ = problem.mean_shape.copy_(torch.rand(problem.mean_shape.shape) - 0.5)  # reading training faces sets it
        >>> aligner = FaceAligner(Cascade(problem, problem.observation(), num_features=7056, num_updates=98))
        >>> (face,) = aligner(np.zeros((480, 640, 3), np.uint8), boxes=[(120, 80, 260, 220)])
        >>> face.box, face.landmarks.shape
        ((120.0, 80.0, 260.0, 220.0), torch.Size([49, 2]))
    """

    def __init__(
        self,
        model: DescentModel,
        *,
        calibration: Calibration | None = None,
        detector: Detector | None = None,
        views: int = 4,
        device: torch.device | str = "cpu",
    ) -> None:
        problem = model.problem
        if not isinstance(problem, Landmarks):
            raise DescentError(f"model: expected one of faces, got one of the problem {type(problem).__name__}")
        if not problem.mean_shape.isfinite().all():
            raise DescentError("model: its mean shape is not known; train it, or load trained weights")
        if not 1 <= views <= len(VIEWS):
            raise DescentError(f"views: expected 1 to {len(VIEWS)}, got {views}")
        self.model = model.to(device, torch.float32).eval()
        self.problem = problem
        self.calibration = calibration or Calibration()
        self.detector = detector
        self.views = views
        self.device = torch.device(device)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path = "mdm",
        *,
        detector: Detector | None = None,
        views: int = 4,
        device: torch.device | str = "cpu",
    ) -> FaceAligner:
        """The weights that come with the package under a name, or those of a file. No code is run on the word of the file.

        Args:
            name_or_path: the name, such as ``"mdm"``, or the path.
            detector: as for the class.
            views: as for the class.
            device: as for the class.

        Raises:
            DescentError: if there are no such weights (the message lists the names), or they are of another problem.
        """
        path = find_weights(name_or_path)
        description = read_description(path)
        name = description["problem"]["name"]
        try:
            faces = issubclass(problem_class(description, path=path), Landmarks)
        except DescentError:
            faces = False  # not even a built-in problem
        if not faces:
            raise DescentError(f"{path}: expected weights of faces, got weights of the problem {name!r}")
        try:
            calibration = Calibration.from_json(description.get("calibration"))
        except DescentError as error:
            raise DescentError(f"{path}: {error}") from error
        return cls(load_model(path), calibration=calibration, detector=detector, views=views, device=device)

    def __call__(
        self, photo: str | Path | Image.Image | np.ndarray, boxes: Sequence[Sequence[float]] | None = None
    ) -> list[Face]:
        """The faces in a photo, the largest first, or those in the given boxes, in their order.

        Args:
            photo: an image file, a picture, or pixels ``(H, W)``, ``(H, W, 3)`` or ``(H, W, 4)``.
            boxes: the box of each face, ``x0 y0 x1 y1`` in px of the photo as displayed, drawn as those of the training faces.

        Raises:
            DescentError: if the photo cannot be read or a box cannot hold a face; the message names the file.
        """
        pixels = read_picture(photo)
        try:
            if min(pixels.shape[:2]) < SMALLEST_BOX:
                height, width = pixels.shape[:2]
                raise DescentError(f"the image has {width} x {height} px, expected a photo of a face")
            chosen = self.detect(pixels) if boxes is None else boxes
            cut = [crop_face(pixels, box, self.problem.crop, self.problem.box_side) for box in chosen]
        except DescentError as error:
            raise DescentError(f"{photo}: {error}") if isinstance(photo, (str, Path)) else error from error
        if not cut:
            return []
        crops, ways = (torch.stack(parts) for parts in zip(*cut))
        points, spread = agree(fit_often(self.model, crops.to(self.device), views=self.views))
        points, spread = points.cpu(), spread.cpu() / self.problem.box_side
        sure = self.calibration.confidence
        confidence, each = sure(spread) if sure else (spread.mean(1) * torch.nan, spread * torch.nan)
        corners: list[Box] = [(float(x0), float(y0), float(x1), float(y1)) for x0, y0, x1, y1 in chosen]
        self._warn_of_far(corners, points)
        landmarks = apply_affine(ways, points)
        return [Face(*face) for face in zip(corners, landmarks, confidence.tolist(), each)]

    def detect(self, photo: np.ndarray) -> list[Box]:
        """The boxes of the faces in the pixels ``(H, W, 3)`` of a photo, moved to where the training boxes would lie."""
        if self.detector is None:
            self.detector = default_detector()
        name = self.detector.name
        offset = self.calibration.boxes.get(name)
        found = self.detector(photo)
        if offset is None:
            warnings.warn(
                f"the weights do not know how the boxes of {name} lie on faces: calibrate them", DetectorWarning, stacklevel=3
            )
            return found
        height, width = photo.shape[:2]
        moved = [offset(box) for box in found]
        return [b for b in moved if 0 <= (b[0] + b[2]) / 2 <= width - 1 and 0 <= (b[1] + b[3]) / 2 <= height - 1]

    def _warn_of_far(self, boxes: Sequence[Box], points: Float[Tensor, "B L 2"]) -> None:
        """Warns of boxes of another shape than a face detector's, and of fits far from where training faces lie in theirs."""
        far = self._deviations(points)
        for number, ((x0, y0, x1, y1), deviations) in enumerate(zip(boxes, far.tolist())):
            sides = sorted((x1 - x0, y1 - y0))
            text = f"face {number}: the box ({x0:.0f} {y0:.0f} {x1:.0f} {y1:.0f})"
            if sides[1] > LONGISH * sides[0]:
                warnings.warn(
                    f"{text} is {sides[1] / sides[0]:.1f} times as long as wide, unlike a face's", FaceWarning, stacklevel=3
                )
            elif deviations > FAR:
                warnings.warn(
                    f"{text} lies on the face unlike those of the training faces ({deviations:.1f} standard deviations)",
                    FaceWarning,
                    stacklevel=3,
                )

    def _deviations(self, points: Float[Tensor, "B L 2"]) -> Float[Tensor, " B"]:
        """How far fits lie from where training faces lie in their boxes: the Mahalanobis distance of their similarities."""
        factor, mean = self.problem.start_factor.cpu(), self.problem.mean_shape.cpu()
        if not factor.any():
            return torch.zeros(len(points))
        centre = (self.problem.crop - 1) / 2
        shapes = (points - centre) / self.problem.box_side
        away = fit_similarity(mean - mean.mean(0), torch.cat([mean.unsqueeze(0), shapes]))
        deviations: Tensor = torch.linalg.solve_triangular(factor, (away[1:] - away[:1]).T, upper=False)
        return deviations.square().sum(0).sqrt()


def _number(value: float) -> float | None:
    return round(value, 4) if value == value else None
