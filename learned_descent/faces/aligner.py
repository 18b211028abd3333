"""The landmarks of the faces in a photo: what trained weights are for."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from ..checkpoint.model import load_model, problem_class, read_description
from ..data.pictures import read_picture
from ..errors import DescentError
from ..landmarks.crops import SMALLEST_BOX, apply_affine, check_box, crop_face
from ..landmarks.geometry import fit_similarity
from ..landmarks.problem import Landmarks
from ..model import DescentModel
from ..weights import find_weights
from .calibration import Calibration
from .detectors import Box, Detector, DetectorWarning, FaceWarning, default_detector
from .ensemble import VIEWS, agree, faces_of, fit_often

Boxes: TypeAlias = Iterable[Any]
"""Boxes ``x0 y0 x1 y1`` in px: a tensor or an array ``(N, 4)``, a list or another iterable of them,
or a single box."""

FAR = 5.0
"""A fit lies far from where training faces lie in their boxes beyond so many standard
deviations."""

LONGISH = 2.0
"""A box is no face detector's if one side is so many times as long as the other."""

SAME = 0.15
"""Two fits are of the same face if their landmarks lie less than this apart (root mean square),
over its size."""


@final
@dataclass(frozen=True, eq=False)
class Face:
    """One face in a photo; pixels count from the centre of the first one, ``(0, 0)``, in the photo
    as displayed.

    Args:
        box: the box that the landmarks were sought in, ``x0 y0 x1 y1`` in px.
        landmarks: ``(column, row)`` in px.
        confidence: the probability that the mean error of the landmarks is at most 0.08 of the
            distance between the outer corners of the eyes; NaN if the weights are not calibrated.
        landmark_confidence: the same for each landmark by itself.
    """

    box: Box
    landmarks: Float[Tensor, "L 2"]
    confidence: float
    landmark_confidence: Float[Tensor, " L"]

    def to_json(self) -> dict[str, Any]:
        """The face as JSON: ``box``, ``landmarks``, ``confidence`` and ``landmark_confidence``;
        null for NaN.
        """
        return {
            "box": [round(side, 2) for side in self.box],
            "landmarks": [
                [round(value, 2) for value in point] for point in self.landmarks.tolist()
            ],
            "confidence": _number(self.confidence),
            "landmark_confidence": [_number(value) for value in self.landmark_confidence.tolist()],
        }


@final
class FaceAligner:
    """Trained weights, ready for photos: ``aligner(photo)`` gives the faces in it.

    A face is fitted from several starts: in its crop, in turned and enlarged copies of it, and in
    their mirror images. Its landmarks are the medians of the fits, and their agreement tells the
    confidence.

    Args:
        model: a model of faces, trained or loaded.
        calibration: how the detector's boxes lie on those of the training faces, and what the
            agreement of the fits means.
        detector: what finds the faces where no boxes are given; by default
            :func:`~learned_descent.faces.detectors.default_detector`, when it is first needed.
        views: the number of copies of each crop, from 1 to 4; their mirror images come on top.
        device: where the model runs.

    Raises:
        DescentError: if the model is one of another problem, its mean shape was never learnt, a
            weight is not finite, or another argument is not what it should be.

    Example:
        >>> from learned_descent import Cascade
        >>> from learned_descent.faces.alignment import FaceAlignment
        >>> problem = FaceAlignment(schema="ibug49")
        >>> # reading training faces sets it
        >>> _ = problem.mean_shape.copy_(torch.rand(problem.mean_shape.shape) - 0.5)
        >>> aligner = FaceAligner(Cascade(problem, problem.observation(), num_features=7056,
        ...     num_updates=98))
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
        self.problem = faces_of(model)
        if views not in range(1, len(VIEWS) + 1):
            raise DescentError(f"views: expected 1 to {len(VIEWS)}, got {views}")
        if detector is not None and not isinstance(detector, Detector):
            raise DescentError(
                f"detector: expected a Detector, got {type(detector).__name__}; derive a class "
                "from Detector, or give its boxes: aligner(photo, boxes)"
            )
        try:
            self.device = torch.device(device)
            self.model = model.to(self.device, torch.float32).eval()
        except (
            RuntimeError,
            AssertionError,
        ) as error:  # torch asserts that it was built for the device
            raise DescentError(
                "device: expected cpu, or cuda where PyTorch finds a device, could not use "
                f"{device!r} ({error})"
            ) from error
        self.calibration = calibration or Calibration()
        self.detector = detector
        self.views = int(views)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path = "mdm",
        *,
        detector: Detector | None = None,
        views: int = 4,
        device: torch.device | str = "cpu",
    ) -> FaceAligner:
        """The weights that come with the package under a name, or those of a file. No code is run
        on the word of the file.

        Args:
            name_or_path: the name, such as ``"mdm"``, or the path.
            detector: as for the class.
            views: as for the class.
            device: as for the class.

        Raises:
            DescentError: if there are no such weights (the message lists the names), or they are of
                another problem.
        """
        path = find_weights(name_or_path)
        description = read_description(path)
        name = description["problem"]["name"]
        try:
            faces = issubclass(problem_class(description, path=path), Landmarks)
        except DescentError:
            faces = False  # not even a built-in problem
        if not faces:
            raise DescentError(
                f"{path}: expected weights of faces, got weights of the problem {name!r}"
            )
        try:
            calibration = Calibration.from_json(description.get("calibration"))
            model = load_model(path)
            faces_of(model)
        except DescentError as error:
            raise DescentError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
        return cls(model, calibration=calibration, detector=detector, views=views, device=device)

    def __call__(
        self, photo: str | Path | Image.Image | np.ndarray, boxes: Boxes | None = None
    ) -> list[Face]:
        """The faces in a photo, the largest first, or those in the given boxes, in their order.

        Args:
            photo: an image file, a picture, or pixels ``(H, W)``, ``(H, W, 3)`` or ``(H, W, 4)``.
                Pixels are RGB, red first; OpenCV reads BGR: give it ``pixels[..., ::-1]``.
            boxes: the box of each face, ``x0 y0 x1 y1`` in px of the photo as displayed, drawn as
                those of the training faces: a tensor or an array ``(N, 4)``, a list or another
                iterable of them, or a single box.

        Raises:
            DescentError: if the photo cannot be read, a box cannot hold a face, or a fit is not
                finite; the message names the file.

        Warns:
            FaceWarning: for each face that is to be looked at with care, and why; for each box of
            the detector that is left
                out, because it has its centre outside of the photo.
        """
        pixels = read_picture(photo)
        try:
            if min(pixels.shape[:2]) < SMALLEST_BOX:
                height, width = pixels.shape[:2]
                raise DescentError(
                    f"the image has {width} x {height} px, expected a photo of a face"
                )
            chosen = self.detect(pixels) if boxes is None else _listed(boxes, pixels)
            return self._fit(pixels, chosen) if chosen else []
        except DescentError as error:
            raise (
                DescentError(f"{photo}: {error}") if isinstance(photo, (str, Path)) else error
            ) from error

    def _fit(self, pixels: np.ndarray, boxes: Sequence[Box]) -> list[Face]:
        """The faces in checked boxes of a photo ``(H, W, 3)``."""
        cut = [crop_face(pixels, box, self.problem.crop, self.problem.box_side) for box in boxes]
        crops, ways = (torch.stack(parts) for parts in zip(*cut))
        points, spread = agree(fit_often(self.model, crops.to(self.device), views=self.views))
        points, spread = points.cpu(), spread.cpu() / self.problem.box_side
        sure = self.calibration.confidence
        confidence, each = (
            sure(spread) if sure else (spread.mean(1) * torch.nan, spread * torch.nan)
        )
        landmarks = apply_affine(ways, points)
        for doubt in self._doubts(boxes, points, landmarks, pixels):
            warnings.warn(doubt, FaceWarning, stacklevel=3)
        return [Face(*face) for face in zip(boxes, landmarks, confidence.tolist(), each)]

    def detect(self, photo: np.ndarray) -> list[Box]:
        """The boxes of the faces in the pixels ``(H, W, 3)`` of a photo, moved to where the
        training boxes would lie.
        """
        if self.detector is None:
            self.detector = default_detector()
        name = self.detector.name
        offset = self.calibration.boxes.get(name)
        found = self.detector(photo)
        if offset is None:
            warnings.warn(
                f"the weights do not know how the boxes of {name} lie on faces: calibrate them",
                DetectorWarning,
                stacklevel=3,
            )
            return found
        kept = []
        for box in map(offset, found):
            try:
                kept.append(check_box(box, *photo.shape[:2]))
            except DescentError as error:
                warnings.warn(
                    f"a face at the border is left out: {error}", FaceWarning, stacklevel=3
                )
        return kept

    def _doubts(
        self,
        boxes: Sequence[Box],
        points: Float[Tensor, "B L 2"],
        landmarks: Float[Tensor, "B L 2"],
        pixels: np.ndarray,
    ) -> Iterator[str]:
        """What speaks against fits: ``points`` in px of their crops, ``landmarks`` of the photo.

        The box has another shape than a face detector's, the fit lies far from where training faces
        lie in theirs, the frame cuts the face, or another fit is of the same face.
        """
        height, width = pixels.shape[:2]
        far = self._deviations(points).tolist()
        outside = (
            ((landmarks < -0.5) | (landmarks > torch.tensor([width, height]) - 0.5))
            .any(2)
            .sum(1)
            .tolist()
        )
        twins = _twins(landmarks)
        for number, (x0, y0, x1, y1) in enumerate(boxes):
            sides = sorted((x1 - x0, y1 - y0))
            text = f"face {number}: the box ({x0:.0f} {y0:.0f} {x1:.0f} {y1:.0f})"
            if sides[1] > LONGISH * sides[0]:
                yield f"{text} is {sides[1] / sides[0]:.1f} times as long as wide, unlike a face's"
            elif far[number] > FAR:
                yield (
                    f"{text} lies on the face unlike those of the training faces "
                    f"({far[number]:.1f} standard deviations)"
                )
            if outside[number]:
                yield (
                    f"face {number} is cut by the frame: {outside[number]} of its "
                    f"{landmarks.shape[1]} landmarks lie outside of the photo and are guesses"
                )
            if number in twins:
                yield (
                    f"face {number} has the landmarks of face {twins[number]}: one face, found "
                    "twice"
                )

    def _deviations(self, points: Float[Tensor, "B L 2"]) -> Float[Tensor, " B"]:
        """How far fits lie from where training faces lie in their boxes: the Mahalanobis distance
        of their similarities.
        """
        factor, mean = self.problem.start_factor.cpu(), self.problem.mean_shape.cpu()
        if not factor.any():
            return torch.zeros(len(points))
        centre = (self.problem.crop - 1) / 2
        shapes = (points - centre) / self.problem.box_side
        away = fit_similarity(mean - mean.mean(0), torch.cat([mean.unsqueeze(0), shapes]))
        deviations: Tensor = torch.linalg.solve_triangular(
            factor, (away[1:] - away[:1]).T, upper=False
        )
        return deviations.square().sum(0).sqrt()


def _listed(boxes: Boxes, pixels: np.ndarray) -> list[Box]:
    """The boxes of a photo ``(H, W, 3)``, checked, whatever they came in; a single box is a list of
    one.

    Raises:
        DescentError: if these are no boxes, or one cannot hold a face.
    """
    wanted = "boxes: expected boxes x0 y0 x1 y1, as numbers in a list, an array or a tensor (N, 4)"
    if isinstance(boxes, (str, bytes, Mapping)) or not isinstance(boxes, Iterable):
        raise DescentError(f"{wanted}, got {type(boxes).__name__}")
    try:
        listed = boxes.tolist() if isinstance(boxes, (Tensor, np.ndarray)) else list(boxes)
        single = bool(listed) and all(np.ndim(side) == 0 for side in listed)
        rows = [[float(side) for side in row] for row in ([listed] if single else listed)]
    except (TypeError, ValueError, RuntimeError) as error:
        raise DescentError(f"{wanted}, could not use what came ({error})") from error
    height, width = pixels.shape[:2]
    return [check_box(row, height, width) for row in rows]


def _twins(landmarks: Float[Tensor, "B L 2"]) -> dict[int, int]:
    """The fits that lie where an earlier one does, with the number of that one."""
    count = landmarks.shape[1]
    apart = torch.cdist(landmarks.flatten(1), landmarks.flatten(1)) / count**0.5
    size = (landmarks.amax(1) - landmarks.amin(1)).amax(1)
    pairs = (apart < SAME * size).tril(-1).nonzero().tolist()
    return dict(reversed(pairs))


def _number(value: float) -> float | None:
    return round(value, 4) if value == value else None
