"""What trained weights know of their use: how the boxes of a detector lie on objects, and how far
a fit can be trusted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Generator, Tensor

from ..data.batches import index
from ..data.samples import Batch
from ..errors import DescentError, about
from ..model import DescentModel
from ..system.progress import progress_bar
from .detector import Box, Detector, checked_detector, detected
from .ensemble import agree, fit_often, landmarks_of, look_again
from .metrics import normalising_distance
from .problem import Landmarks
from .trials import VARIANTS, trials_of

ZOOMS = (0.5, 0.75, 1.0, 1.5)
"""The sizes at which a detector is shown the training pictures: its boxes differ a little
from size to size."""

FEWEST = 10
"""The least number of objects that tell how the boxes of a detector lie."""

SURE = 0.99
"""An object of less confidence is sought anew, see :func:`.fit_anew`."""


@dataclass(frozen=True)
class BoxOffset:
    """How the boxes of one detector lie on those of the training data.

    With ``s`` the geometric mean of its sides, the box of the detector becomes the square around
    its centre plus ``shift * s`` whose side is ``exp(log_scale) * s``.

    Args:
        shift: ``(column, row)``, in units of ``s``.
        log_scale: the log of the ratio of the sides.
        spread: robust standard deviations of the shift (both coordinates pooled) and of the log of
            the scale.
        found: the share of the training objects that the detector finds.

    Example:
        >>> BoxOffset(shift=(0.0, 0.1), log_scale=0.0)((0.0, 0.0, 10.0, 10.0))
        (0.0, 1.0, 10.0, 11.0)
    """

    shift: tuple[float, float]
    log_scale: float
    spread: tuple[float, float] = (0.0, 0.0)
    found: float = 1.0

    def __call__(self, box: Box) -> Box:
        """The box that the training data would have had for the object in ``box``."""
        column, row, side = _centre_and_side(box)
        half = math.exp(self.log_scale) * side / 2
        column, row = column + self.shift[0] * side, row + self.shift[1] * side
        return column - half, row - half, column + half, row + half


@dataclass(frozen=True)
class Confidence:
    """How the agreement of several fits tells the probability that the error is small.

    The probability is logistic in the log of the spread ``s`` of the fits (as a fraction of the
    side of the box): ``1 / (1 + exp(-(a + b log s)))``, with ``a, b`` fitted on held-out objects.

    Args:
        whole: ``a, b`` for the mean error of an object, from the mean of the spreads of its
            landmarks.
        landmark: ``a, b`` for the error of one landmark, from its own spread.
        threshold: what a small error is: at most so much of the distance that the problem measures
            errors by.
        anew: the confidence of what was sought anew, of which the best of three is kept; None if it
            was not fitted.

    References:
        J. Platt. Probabilistic outputs for support vector machines and comparisons to regularized
        likelihood methods. 1999.

    Example:
        >>> sure = Confidence(whole=(0.0, -2.0), landmark=(0.0, -1.0), threshold=0.08)
        >>> sure(torch.tensor([[0.1, 0.1]]))
        (tensor([0.9901]), tensor([[0.9091, 0.9091]]))
    """

    whole: tuple[float, float]
    landmark: tuple[float, float]
    threshold: float
    anew: Confidence | None = None

    def __call__(
        self, spread: Float[Tensor, "B L"]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, "B L"]]:
        """The confidence of each object and each landmark, given the spread of their fits over
        the side of the box.
        """

        def probability(values: Tensor, numbers: tuple[float, float]) -> Tensor:
            return torch.sigmoid(numbers[0] + numbers[1] * values.clamp(min=1e-6).log())

        return probability(spread.mean(1), self.whole), probability(spread, self.landmark)


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
            confidence = dict(found["confidence"]) if found.get("confidence") else None
            if confidence is not None and "face" in confidence:  # its name while faces were all
                confidence["whole"] = confidence.pop("face")
            if confidence is not None and confidence.get("anew"):
                confidence["anew"] = Confidence(**_tuples(confidence["anew"]))
            return cls(boxes, None if confidence is None else Confidence(**_tuples(confidence)))
        except (TypeError, ValueError, AttributeError) as error:
            raise DescentError(
                f"expected a calibration of boxes and confidence, could not use it: {error!r}"
            ) from error


def fit_calibration(
    model: DescentModel,
    detectors: Sequence[Detector],
    *,
    count: int = 600,
    views: int = 4,
    seed: int = 0,
) -> Calibration:
    """Fits the offset of each detector's boxes on training data, and the confidence on held-out
    ones.

    Args:
        model: a trained model of landmarks, whose problem has the data.
        detectors: the detectors.
        count: at most so many training pictures are shown to each.
        views: the number of views of each object that are fitted.
        seed: the seed of the choice of pictures and of the variants.

    Raises:
        DescentError: if the model is none of landmarks or not finite, if a detector finds next to
            nothing, or if there are no held-out data.
    """
    problem = landmarks_of(model)
    if count < FEWEST:
        raise DescentError(f"calibrate: expected {FEWEST} or more {problem.noun}s, got {count}")
    generator = Generator().manual_seed(seed)
    train, held_out = problem.data("train"), problem.data("val")
    if not len(held_out["image"]):
        raise DescentError(
            f"calibrate: expected held-out {problem.noun}s to fit the confidence on, got none; "
            "raise val_fraction above 0"
        )
    chosen = torch.randperm(len(train["image"]), generator=generator)[:count].tolist()
    with about("calibrate"):
        boxes = {
            detector.name: fit_offset(detector, problem.photos("train", chosen), len(chosen))
            for detector in map(checked_detector, detectors)
        }
    return Calibration(boxes, fit_confidence(model, held_out, views=views, generator=generator))


def fit_offset(
    detector: Detector, photos: Iterable[tuple[UInt8[np.ndarray, "H W 3"], Box]], count: int
) -> BoxOffset:
    """The offset of a detector's boxes, robustly: the medians over the objects that it finds.

    Args:
        detector: the detector.
        photos: pictures and, in px of each, the box of the object in it.
        count: their number.

    Raises:
        DescentError: if fewer than ten objects are found.
    """
    found = []
    shown_so_far = progress_bar(photos, detector.name, unit="picture", total=count)
    for number, (pixels, box) in enumerate(shown_so_far):
        zoom = ZOOMS[number % len(ZOOMS)]
        width, height = (max(round(zoom * side), 1) for side in pixels.shape[1::-1])
        picture = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
        (column, row), longest = _middle(box), max(box[2] - box[0], box[3] - box[1])
        for other in detected(detector, np.asarray(picture)):  # the largest first
            x, y, size = (value / zoom for value in _centre_and_side(other))
            if max(abs(x - column), abs(y - row)) < size / 2:
                found.append([(column - x) / size, (row - y) / size, math.log(longest / size)])
                break
    if len(found) < FEWEST:
        raise DescentError(
            f"the detector {detector.name} finds the object in {len(found)} of {count} training "
            f"pictures, expected {FEWEST}"
        )
    offsets = np.array(found)
    middle = np.median(offsets, 0)
    spread = 1.4826 * np.median(np.abs(offsets - middle), 0)
    shift_spread = float(np.sqrt((spread[:2] ** 2).mean()))
    return BoxOffset(
        (float(middle[0]), float(middle[1])),
        float(middle[2]),
        (shift_spread, float(spread[2])),
        len(found) / count,
    )


def fit_confidence(
    model: DescentModel, held_out: Batch, *, views: int, generator: Generator
) -> Confidence:
    """The confidence, fitted by maximum likelihood on pictures that are made of held-out data.

    Of each sample there are those of :data:`~learned_descent.landmarks.trials.VARIANTS`, however
    gentle those of the training were: as in training, bad, at any angle, turned, cut, and of
    nothing, so that there are failures to learn from. What is unsure is sought anew, and has a
    confidence of its own.

    Args:
        model: a trained model of landmarks.
        held_out: samples that training never saw.
        views: the number of views of each object that are fitted.
        generator: draws the variants.
    """
    problem = cast(Landmarks, model.problem)
    kinds = trials_of(problem)
    wanted = [kind for name, kind in kinds.items() for _ in range(VARIANTS[name])]
    draws, first = [], _Trials(problem)
    for kind in progress_bar(wanted, "confidence", unit="variant"):
        draws.append(generator.get_state())  # pictures are drawn again: kept, they fill the memory
        batch = kind(problem, held_out, generator)
        first.add(batch, agree(fit_often(model, batch["image"], views=views)))
    at_once, again = first.confidence(), _Trials(problem)
    trials = list(zip(wanted, draws, first.found))
    for kind, state, found in progress_bar(trials, "again", unit="variant"):
        unsure = (at_once(found[1] / problem.box_side)[0] < SURE).nonzero().flatten()
        if len(unsure):
            batch = kind(problem, held_out, generator.set_state(state))
            few, fits = index(batch, unsure), (found[0][unsure], found[1][unsure])
            again.add(few, look_again(model, few["image"], fits, views=views))
    return replace(at_once, anew=again.confidence()) if again.found else at_once


class _Trials:
    """Fits of pictures whose truth is known."""

    def __init__(self, problem: Landmarks) -> None:
        self.problem = problem
        self.found: list[tuple[Tensor, Tensor]] = []
        self._good: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, batch: Batch, found: tuple[Tensor, Tensor]) -> None:
        """Takes what was found in pictures, points and spread in px, and whether it is right."""
        problem, (points, _) = self.problem, found
        there = batch.get("there", torch.ones(len(points), dtype=torch.bool))
        distance = normalising_distance(
            batch["points"], problem.schema, problem.normaliser, batch["box"]
        )
        away: Tensor = torch.linalg.vector_norm(points - batch["points"], dim=-1)
        whole = problem.error(points.flatten(1), batch) <= problem.failure_above
        each = away / distance.unsqueeze(1) <= problem.failure_above
        known = batch.get("weights", torch.ones_like(away)) > 0
        self.found.append(found)
        self._good.append((whole & there, each & there.unsqueeze(1), known))

    def confidence(self) -> Confidence:
        """What the spread tells of the errors."""
        spread = torch.cat([spread for _, spread in self.found]) / self.problem.box_side
        whole, each, known = (torch.cat(parts) for parts in zip(*self._good))
        return Confidence(
            _logistic(spread.mean(1), whole),
            _logistic(spread[known], each[known]),
            self.problem.failure_above,
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
