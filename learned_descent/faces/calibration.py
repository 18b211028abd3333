"""What trained weights know of their use: how the boxes of a detector lie on faces, and how far a
fit can be trusted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Generator, Tensor

from ..data.batches import index
from ..data.samples import Batch
from ..errors import DescentError
from ..landmarks.augmentation import Augmentation, augment
from ..landmarks.metrics import normalisers, normalising_distance
from ..landmarks.problem import Landmarks
from ..model import DescentModel
from ..system.progress import progress_bar
from .detectors import Box, Detector
from .ensemble import agree, faces_of, fit_often

ZOOMS = (0.5, 0.75, 1.0, 1.5)
"""The sizes at which a detector is shown the training faces, in crops: its boxes differ a little
from size to size."""

FEWEST = 10
"""The least number of faces that tell how the boxes of a detector lie."""

VARIANTS = 12
"""How many random variants of each held-out face the confidence is fitted on."""


@dataclass(frozen=True)
class BoxOffset:
    """How the boxes of one detector lie on those of the training faces.

    With ``s`` the geometric mean of its sides, the box of the detector becomes the square around
    its centre plus ``shift * s`` whose side is ``exp(log_scale) * s``.

    Args:
        shift: ``(column, row)``, in units of ``s``.
        log_scale: the log of the ratio of the sides.
        spread: robust standard deviations of the shift (both coordinates pooled) and of the log of
            the scale.
        found: the share of the training faces that the detector finds.

    Example:
        >>> BoxOffset(shift=(0.0, 0.1), log_scale=0.0)((0.0, 0.0, 10.0, 10.0))
        (0.0, 1.0, 10.0, 11.0)
    """

    shift: tuple[float, float]
    log_scale: float
    spread: tuple[float, float] = (0.0, 0.0)
    found: float = 1.0

    def __call__(self, box: Box) -> Box:
        """The box that the training data would have had for the face in ``box``."""
        column, row, side = _centre_and_side(box)
        half = math.exp(self.log_scale) * side / 2
        column, row = column + self.shift[0] * side, row + self.shift[1] * side
        return column - half, row - half, column + half, row + half


@dataclass(frozen=True)
class Confidence:
    """How the agreement of several fits tells the probability that the error is small.

    The probability is logistic in the log of the spread ``s`` of the fits (as a fraction of the
    side of the box): ``1 / (1 + exp(-(a + b log s)))``, with ``a, b`` fitted on held-out faces.

    Args:
        face: ``a, b`` for the mean error of a face, from the mean of the spreads of its landmarks.
        landmark: ``a, b`` for the error of one landmark, from its own spread.
        threshold: what a small error is: at most so much of the distance between the outer corners
            of the eyes; of the side of the box where the schema has no eyes.

    References:
        J. Platt. Probabilistic outputs for support vector machines and comparisons to regularized
        likelihood methods. 1999.

    Example:
        >>> sure = Confidence(face=(0.0, -2.0), landmark=(0.0, -1.0), threshold=0.08)
        >>> sure(torch.tensor([[0.1, 0.1]]))
        (tensor([0.9901]), tensor([[0.9091, 0.9091]]))
    """

    face: tuple[float, float]
    landmark: tuple[float, float]
    threshold: float

    def __call__(
        self, spread: Float[Tensor, "B L"]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, "B L"]]:
        """The confidence of each face and of each landmark, given the spread of their fits over the
        side of the box.
        """

        def probability(values: Tensor, numbers: tuple[float, float]) -> Tensor:
            return torch.sigmoid(numbers[0] + numbers[1] * values.clamp(min=1e-6).log())

        return probability(spread.mean(1), self.face), probability(spread, self.landmark)


@dataclass(frozen=True)
class Calibration:
    """What :func:`fit_calibration` found; weights keep it in their metadata, under ``calibration``.

    Args:
        boxes: the offset of each detector, by its name.
        confidence: the confidence of the fits; None if it was not fitted.
    """

    boxes: Mapping[str, BoxOffset] = field(default_factory=dict)
    confidence: Confidence | None = None

    def to_json(self) -> dict[str, Any]:
        """The calibration as JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> Calibration:
        """The calibration that :meth:`to_json` wrote; an empty one for None.

        Raises:
            DescentError: if it is none.
        """
        try:
            found = dict(value or {})
            boxes = {
                name: BoxOffset(**_tuples(offset))
                for name, offset in found.get("boxes", {}).items()
            }
            confidence = found.get("confidence")
            return cls(boxes, None if confidence is None else Confidence(**_tuples(confidence)))
        except (TypeError, ValueError, AttributeError) as error:
            raise DescentError(
                f"expected a calibration of boxes and confidence, could not use it: {error!r}"
            ) from error


def fit_calibration(
    model: DescentModel,
    detectors: Sequence[Detector],
    *,
    faces: int = 600,
    views: int = 4,
    seed: int = 0,
) -> Calibration:
    """Fits the offset of each detector's boxes on training faces, and the confidence on held-out
    ones.

    Args:
        model: a trained model of faces, whose problem has the data.
        detectors: the detectors.
        faces: at most so many training faces are shown to each.
        views: the number of views of each face that are fitted.
        seed: the seed of the choice of faces and of the variants.

    Raises:
        DescentError: if the model is none of faces or not finite, if a detector finds next to no
            face, or if there are no held-out faces.
    """
    problem = faces_of(model)
    if faces < FEWEST:
        raise DescentError(f"calibrate: expected {FEWEST} or more faces, got {faces}")
    generator = Generator().manual_seed(seed)
    train, held_out = problem.data("train"), problem.data("val")
    if not len(held_out["image"]):
        raise DescentError(
            "calibrate: expected held-out faces to fit the confidence on, got none; raise "
            "val_fraction above 0"
        )
    chosen = index(train, torch.randperm(len(train["image"]), generator=generator)[:faces])
    boxes = {detector.name: fit_offset(detector, chosen) for detector in detectors}
    return Calibration(boxes, fit_confidence(model, held_out, views=views, generator=generator))


def fit_offset(detector: Detector, batch: Batch) -> BoxOffset:
    """The offset of a detector's boxes, robustly: the medians over the faces that it finds.

    Args:
        detector: the detector.
        batch: ``image`` uint8 ``(N, 3, S, S)`` and ``box`` ``(N, 4)``, as training data have them.

    Raises:
        DescentError: if fewer than ten faces are found.
    """
    found = []
    images, boxes = batch["image"], batch["box"].tolist()
    for number, (image, box) in enumerate(
        zip(progress_bar(images, detector.name, unit="face"), boxes)
    ):
        zoom, side = ZOOMS[number % len(ZOOMS)], image.shape[-1]
        picture = Image.fromarray(image.movedim(0, -1).numpy())
        shown = np.asarray(picture.resize((round(side * zoom),) * 2, Image.Resampling.BILINEAR))
        (column, row), longest = _middle(box), max(box[2] - box[0], box[3] - box[1])
        for other in detector(shown):  # the largest first
            x, y, size = (value / zoom for value in _centre_and_side(other))
            if max(abs(x - column), abs(y - row)) < size / 2:
                found.append([(column - x) / size, (row - y) / size, math.log(longest / size)])
                break
    if len(found) < FEWEST:
        raise DescentError(
            f"calibrate: the detector {detector.name} finds {len(found)} of {len(boxes)} training "
            f"faces, expected {FEWEST}"
        )
    offsets = np.array(found)
    middle = np.median(offsets, 0)
    spread = 1.4826 * np.median(np.abs(offsets - middle), 0)
    shift_spread = float(np.sqrt((spread[:2] ** 2).mean()))
    return BoxOffset(
        (float(middle[0]), float(middle[1])),
        float(middle[2]),
        (shift_spread, float(spread[2])),
        len(found) / len(boxes),
    )


def fit_confidence(
    model: DescentModel, held_out: Batch, *, views: int, generator: Generator
) -> Confidence:
    """The confidence, fitted by maximum likelihood on random variants of held-out faces.

    The variants are those of the default
    :class:`~learned_descent.landmarks.augmentation.Augmentation`, however gentle those of the
    training were: turned, scaled, shifted, recoloured, and some lose a rectangle, so that there are
    failures to learn from.

    Args:
        model: a trained model of faces.
        held_out: faces that training never saw.
        views: the number of views of each face that are fitted.
        generator: draws the variants.
    """
    problem = cast(Landmarks, model.problem)
    spreads, errors = [], []
    for _ in progress_bar(range(VARIANTS), "confidence", unit="variant"):
        batch = augment(held_out, Augmentation(), problem.mirror_points, generator)
        points, spread = agree(fit_often(model, batch["image"], views=views))
        unit = normalisers(problem.schema)[0]  # the eyes, where there are any
        distance = normalising_distance(batch["points"], problem.schema, unit, batch["box"])
        spreads.append(spread / problem.box_side)
        errors.append(
            torch.linalg.vector_norm(points - batch["points"], dim=-1) / distance.unsqueeze(1)
        )
    spread, error, small = torch.cat(spreads), torch.cat(errors), problem.failure_above
    return Confidence(
        _logistic(spread.mean(1), error.mean(1) <= small),
        _logistic(spread.flatten(), error.flatten() <= small),
        small,
    )


def _logistic(spread: Float[Tensor, " N"], good: Bool[Tensor, " N"]) -> tuple[float, float]:
    """The numbers ``a, b`` of the logistic curve in the log of the spread; ``b`` is not
    positive.
    """
    x, y = spread.clamp(min=1e-6).log().double().numpy(), good.double().numpy()
    y = (y * len(y) + 1) / (len(y) + 2)  # Platt's targets: not all good nor all bad
    middle = x.mean()

    def loss(numbers: np.ndarray) -> float:
        z = numbers[0] + numbers[1] * (x - middle)
        return float((np.logaddexp(0, z) - y * z).mean())

    from scipy.optimize import minimize  # here, for the help of `align` is not to wait for it

    a, b = minimize(
        loss, np.array([0.0, -1.0]), method="L-BFGS-B", bounds=[(None, None), (None, 0.0)]
    ).x
    return float(a - b * middle), float(b)


def _tuples(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(item) if isinstance(item, list) else item for key, item in value.items()}


def _middle(box: Sequence[float]) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _centre_and_side(box: Sequence[float]) -> tuple[float, float, float]:
    """The centre of a box, and the geometric mean of its sides."""
    return *_middle(box), math.sqrt(abs((box[2] - box[0]) * (box[3] - box[1])))
