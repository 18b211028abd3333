"""The landmarks of the objects in a photo: what trained weights are for."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped, UInt8
from PIL import Image
from torch import Tensor

from ..checkpoint import StoredModel, find_stored
from ..checkpoint.model import load_model, problem_class
from ..data.pictures import read_picture
from ..errors import DescentError
from ..model import DescentModel
from .calibration import SURE, Calibration
from .crops import SMALLEST_BOX, apply_affine, check_box, crop_face, crop_turned
from .detector import (
    Box,
    Boxes,
    Detector,
    DetectorWarning,
    FitWarning,
    checked_detector,
    detected,
    listed_boxes,
)
from .ensemble import VIEWS, agree, fit_often, fit_once, landmarks_of, look_again
from .geometry import boxes_around, fit_similarity
from .problem import Landmarks

FAR = 5.0
"""A fit lies far from where training objects lie in their boxes beyond so many standard
deviations."""

SAME = 0.15
"""Two fits are of the same object if their landmarks lie less than this apart (root mean square),
over its size."""


@final
@dataclass(frozen=True, eq=False)
class Fit:
    """One object in a photo; pixels count from the centre of the first one, ``(0, 0)``, in the
    photo as displayed.

    Args:
        box: the box that the landmarks were sought in, ``x0 y0 x1 y1`` in px.
        landmarks: ``(column, row)`` in px.
        confidence: the probability that the fit is no failure: that the mean error of the landmarks
            is at most the problem's ``failure_above``, for faces 0.08 of the distance between the
            outer corners of the eyes; NaN if the weights are not calibrated.
        landmark_confidence: the same for each landmark by itself.
        inside: whether each landmark lies in the photo; one that does not is a guess.
    """

    box: Box
    landmarks: Float[Tensor, "L 2"]
    confidence: float
    landmark_confidence: Float[Tensor, " L"]
    inside: Bool[Tensor, " L"]

    def to_json(self) -> dict[str, Any]:
        """The fit as JSON, by the names of the arguments; null for NaN."""
        return {
            "box": [round(side, 2) for side in self.box],
            "landmarks": [
                [round(value, 2) for value in point] for point in self.landmarks.tolist()
            ],
            "confidence": _number(self.confidence),
            "landmark_confidence": [_number(value) for value in self.landmark_confidence.tolist()],
            "inside": self.inside.tolist(),
        }


@final
class Aligner:
    """Trained weights, ready for photos: ``aligner(photo)`` gives the fits of the objects in it.

    An object is fitted from several starts: in its crop, in turned and enlarged copies of it, and
    in their mirror images. Its landmarks are the medians of the fits, and their agreement tells the
    confidence.

    Args:
        model: a model of landmarks, trained or loaded.
        calibration: how the detector's boxes lie on those of training, and what the agreement of
            the fits means.
        detector: what finds the objects where no boxes are given; by default that of the problem,
            :meth:`.Landmarks.detector`, when it is first needed.
        views: the number of copies of each crop, from 1 to 4; their mirror images come on top. 0
            for a single fit of the crop as it is: the quickest, of unknown confidence.
        anew: whether an unsure fit is sought anew; only weights that are calibrated know.
        device: where the model runs.

    Raises:
        DescentError: if the model is one of another problem, its mean shape was never learnt, a
            weight is not finite, or another argument is not what it should be.

    Example:
        >>> from learned_descent import Cascade
        >>> from learned_descent.faces.alignment import FaceAlignment
        >>> problem = FaceAlignment(schema="ibug49")
        >>> # reading training data sets it
        >>> _ = problem.mean_shape.copy_(torch.rand(problem.mean_shape.shape) - 0.5)
        >>> aligner = Aligner(Cascade(problem, problem.observation(), num_features=7056,
        ...     num_updates=98))
        >>> (fit,) = aligner(np.zeros((480, 640, 3), np.uint8), boxes=[(120, 80, 260, 220)])
        >>> fit.box, fit.landmarks.shape
        ((120.0, 80.0, 260.0, 220.0), torch.Size([49, 2]))
    """

    def __init__(
        self,
        model: DescentModel,
        *,
        calibration: Calibration | None = None,
        detector: Detector | None = None,
        views: int = 4,
        anew: bool = True,
        device: torch.device | str = "cpu",
    ) -> None:
        self.problem = landmarks_of(model)
        if views not in range(len(VIEWS) + 1):
            raise DescentError(f"views: expected 0 to {len(VIEWS)}, got {views}")
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
        self.detector = None if detector is None else checked_detector(detector)
        self.views, self.anew = int(views), anew

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path | StoredModel = "tokens",
        *,
        problem: Landmarks | None = None,
        model: type[DescentModel] | None = None,
        detector: Detector | None = None,
        views: int = 4,
        anew: bool = True,
        device: torch.device | str = "cpu",
    ) -> Aligner:
        """The weights that come with the package under a name, or those of a file. No code is run
        on the word of the file.

        Args:
            name_or_path: the name, such as ``"tokens"``, the path, or what was read of it.
            problem: the problem of the weights; needed where that is not a built-in one.
            model: the class of the model; needed where that is not a built-in one.
            detector: as for the class.
            views: as for the class.
            anew: as for the class.
            device: as for the class.

        Raises:
            DescentError: if there are no such weights (the message lists the names), or they are of
                another problem.
        """
        stored = find_stored(name_or_path)
        path, description = stored.path, stored.description
        made_for = type(problem) if problem else problem_class(description, path=path)
        if not issubclass(made_for, Landmarks):
            name = description["problem"]["name"]
            raise DescentError(
                f"{path}: expected weights of landmarks, got weights of the problem {name!r}"
            )
        try:
            calibration = Calibration.from_json(description.get("calibration"))
            loaded = load_model(stored, problem=problem, model=model)
            landmarks_of(loaded)
        except DescentError as error:
            raise DescentError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
        return cls(
            loaded,
            calibration=calibration,
            detector=detector,
            views=views,
            anew=anew,
            device=device,
        )

    def __call__(
        self, photo: str | Path | Image.Image | np.ndarray, boxes: Boxes | None = None
    ) -> list[Fit]:
        """The fits in a photo, the largest first, or those in the given boxes, in their order.

        Args:
            photo: an image file, a picture, or pixels ``(H, W)``, ``(H, W, 3)`` or ``(H, W, 4)``.
                Pixels are RGB, red first; OpenCV reads BGR: give it ``pixels[..., ::-1]``.
            boxes: the box of each object, ``x0 y0 x1 y1`` in px of the photo as displayed, drawn as
                those of training: a tensor or an array ``(N, 4)``, a list or another
                iterable of them, or a single box.

        Raises:
            DescentError: if the photo cannot be read, a box cannot hold an object, or a fit is not
                finite; the message names the file.

        Warns:
            FitWarning: for each fit that is to be looked at with care, and why; for each box of the
                detector that is left out, because it has its centre outside of the photo.
        """
        pixels = read_picture(photo)
        height, width = pixels.shape[:2]
        try:
            if min(height, width) < SMALLEST_BOX:
                raise DescentError(
                    f"the image has {width} x {height} px, expected a photo of {self.problem.noun}s"
                )
            chosen = self.detect(pixels) if boxes is None else listed_boxes(boxes, height, width)
            return self._fit(pixels, chosen) if chosen else []
        except DescentError as error:
            raise (
                DescentError(f"{photo}: {error}") if isinstance(photo, (str, Path)) else error
            ) from error

    def follow(
        self, photo: UInt8[np.ndarray, "H W 3"], landmarks: Float[Tensor, "B L 2"]
    ) -> list[Fit]:
        """The fits of objects that are known to lie about here: in a video, in the frame before.

        The mean shape, carried onto the landmarks as a whole, is the start. Each object is cropped
        as it lies, and so looks upright: it trembles less than in the box of a detector.

        Args:
            photo: pixels.
            landmarks: ``(column, row)`` in px.

        Returns:
            The fits in the order of the landmarks; their boxes are those before they are turned.

        Raises:
            DescentError: if the box around one cannot hold an object, as where it has left the
                frame, or a fit is not finite.
        """
        crop, side = self.problem.crop, self.problem.box_side
        around, angles = boxes_around(landmarks, self.problem.mean_shape.cpu())
        boxes = listed_boxes(around, *photo.shape[:2])
        cut = [
            crop_turned(photo, box, angle, crop, side) for box, angle in zip(boxes, angles.tolist())
        ]
        return self._agreed(boxes, cut, photo.shape[:2], anew=False)[0] if cut else []

    def _fit(self, pixels: np.ndarray, boxes: Sequence[Box]) -> list[Fit]:
        """The fits in checked boxes of a photo ``(H, W, 3)``."""
        cut = [crop_face(pixels, box, self.problem.crop, self.problem.box_side) for box in boxes]
        fits, points = self._agreed(boxes, cut, pixels.shape[:2], anew=self.anew)
        for doubt in self._doubts(fits, points):
            warnings.warn(doubt, FitWarning, stacklevel=3)
        return fits

    def _agreed(
        self,
        boxes: Sequence[Box],
        cut: Sequence[tuple[Tensor, Tensor]],
        size: tuple[int, int],
        *,
        anew: bool,
    ) -> tuple[list[Fit], Float[Tensor, "B L 2"]]:
        """The fits in crops, given the maps to the photo and its height and width, and their
        landmarks in px of the crops.
        """
        crops, ways = (torch.stack(parts) for parts in zip(*cut))
        points, confidence, each = self.fit_crops(crops, anew=anew)
        landmarks = apply_affine(ways, points)
        height, width = size
        inside = ((landmarks >= -0.5) & (landmarks <= torch.tensor([width, height]) - 0.5)).all(2)
        parts = zip(boxes, landmarks, confidence.tolist(), each, inside)
        return [Fit(*fit) for fit in parts], points

    def fit_crops(
        self, crops: Shaped[Tensor, "B 3 S S"], *, anew: bool
    ) -> tuple[Float[Tensor, "B L 2"], Float[Tensor, " B"], Float[Tensor, "B L"]]:
        """The landmarks in crops, and how sure they are.

        Args:
            crops: pictures in which the box has the centre and the side that the problem gives it.
            anew: whether what is unsure is sought anew.

        Returns:
            The landmarks in px of the crops, and the confidence of each object and each landmark,
            NaN if the weights are not calibrated or nothing is fitted twice.
        """
        crops, sure = crops.to(self.device), self.calibration.confidence
        if not self.views:
            points = fit_once(self.model, crops).cpu()
            unknown = torch.full(points.shape[:2], torch.nan)
            return points, unknown.mean(1), unknown
        found = agree(fit_often(self.model, crops, views=self.views))
        if sure is None:
            nothing = (found[1] * torch.nan).cpu()
            return found[0].cpu(), nothing.mean(1), nothing
        side = self.problem.box_side
        confidence, each = sure(found[1] / side)
        doubtful = (confidence < SURE).nonzero().flatten()
        if anew and len(doubtful):
            before = (found[0][doubtful], found[1][doubtful])
            points, spread = look_again(self.model, crops[doubtful], before, views=self.views)
            found[0][doubtful] = points
            confidence[doubtful], each[doubtful] = (sure.anew or sure)(spread / side)
        return found[0].cpu(), confidence.cpu(), each.cpu()

    def detect(self, photo: np.ndarray) -> list[Box]:
        """The boxes of the objects in the pixels ``(H, W, 3)`` of a photo, moved to where the
        training boxes would lie.
        """
        if self.detector is None:
            self.detector = checked_detector(self.problem.detector())
        name, noun = self.detector.name, self.problem.noun
        offset = self.calibration.boxes.get(name)
        found = detected(self.detector, photo)
        if offset is None:
            if name != self.problem.drawn_by:
                warnings.warn(
                    f"the weights do not know how the boxes of {name} lie on {noun}s: calibrate "
                    "them",
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
                    f"a {noun} at the border is left out: {error}", FitWarning, stacklevel=3
                )
        return kept

    def _doubts(self, fits: Sequence[Fit], points: Float[Tensor, "B L 2"]) -> Iterator[str]:
        """What speaks against fits: ``points`` in px of their crops.

        The box has another shape than a detector's, the fit lies far from where training objects
        lie in theirs, the frame cuts the object, or another fit is of the same one.
        """
        noun = self.problem.noun
        far = self._deviations(points).tolist()
        outside = [int((~fit.inside).sum()) for fit in fits]
        same = twins(torch.stack([fit.landmarks for fit in fits]))
        for number, (x0, y0, x1, y1) in enumerate(fit.box for fit in fits):
            sides = sorted((x1 - x0, y1 - y0))
            text = f"{noun} {number}: the box ({x0:.0f} {y0:.0f} {x1:.0f} {y1:.0f})"
            if sides[1] > self.problem.longest_box * sides[0]:
                ratio = sides[1] / sides[0]
                yield f"{text} is {ratio:.1f} times as long as wide, unlike a {noun}'s"
            elif far[number] > FAR:
                yield (
                    f"{text} lies on the {noun} unlike those of the training {noun}s "
                    f"({far[number]:.1f} standard deviations)"
                )
            if outside[number]:
                yield (
                    f"{noun} {number} is cut by the frame: {outside[number]} of its "
                    f"{points.shape[1]} landmarks lie outside of the photo and are guesses"
                )
            if number in same:
                yield (
                    f"{noun} {number} has the landmarks of {noun} {same[number]}: one {noun}, "
                    "found twice"
                )

    def _deviations(self, points: Float[Tensor, "B L 2"]) -> Float[Tensor, " B"]:
        """How far fits lie from where training objects lie in their boxes: the Mahalanobis distance
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


def twins(landmarks: Float[Tensor, "B L 2"]) -> dict[int, int]:
    """The fits that lie where an earlier one does, with the number of that one.

    Example:
        >>> square = torch.tensor([[0.0, 0.0], [9.0, 0.0], [9.0, 9.0], [0.0, 9.0]])
        >>> twins(torch.stack([square, square + 20, square + 0.5]))
        {2: 0}
    """
    count = landmarks.shape[1]
    apart = torch.cdist(landmarks.flatten(1), landmarks.flatten(1)) / count**0.5
    size = (landmarks.amax(1) - landmarks.amin(1)).amax(1)
    pairs = (apart < SAME * size).tril(-1).nonzero().tolist()
    return dict(reversed(pairs))


def _number(value: float) -> float | None:
    return round(value, 4) if value == value else None
