"""The landmarks of the objects in a video, each with an identity of its own."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..data.video import RATE
from ..errors import DescentError, check_real, check_whole
from .aligner import Aligner, Fit, twins
from .crops import check_box
from .detector import Box, FitWarning
from .geometry import boxes_around
from .smoothing import Smoothed, Smoothing

OVERLAP = 0.2
"""A box that a detector draws is of an object that is known if they share this much of what they
cover (intersection over union)."""


TRUST = 3
"""A fit that is sure need not be seen by the detector for so many of its rounds: it may miss one,
and confidence may be misled by what is no such object."""


@final
@dataclass(frozen=True, eq=False)
class Tracked:
    """An object in one frame of a video.

    Args:
        identity: a number that it keeps from frame to frame, from 0.
        fit: its landmarks, smoothed, with their confidence.
    """

    identity: int
    fit: Fit

    def to_json(self) -> dict[str, Any]:
        """The object as JSON: ``identity``, and what :meth:`.Fit.to_json` has."""
        return {"identity": self.identity, **self.fit.to_json()}


@dataclass(eq=False)
class _Track:
    """What is known of an object between two frames.

    Args:
        identity: its number.
        fit: as it was found last, not smoothed.
        missed: for how many frames it has not been seen.
        unchecked: for how many frames the detector has not found it.
        smoothed: what the filter remembers; None where it begins anew.
    """

    identity: int
    fit: Fit
    missed: int = 0
    unchecked: int = 0
    smoothed: Smoothed | None = None


@final
class Tracker:
    """Follows the objects of a video: ``tracker(frame)`` gives those in the next frame.

    Each is sought where the frame before had it, from the mean shape carried there; that is
    quicker than a detector, and trembles less. The detector looks at the first frame, at one in so
    many, and wherever the confidence of a fit is low or an object is lost. Its boxes are matched
    with the objects that are known by their overlap: what is left over is a new object, and one
    that stays unseen for a while is gone, and its number with it. Landmarks are smoothed, each
    object by itself.

    Args:
        aligner: what fits and detects; one view is enough, and quickest.
        smoothing: the filters of the landmarks; None leaves them as they are found.
        least: the least confidence of a fit that is not checked by the detector. Where weights are
            not calibrated the last word of the detector counts.
        every: the detector looks at one frame in so many.
        patience: for so many frames an object may be out of sight, and is known again where it was
            lost.

    Raises:
        DescentError: if an argument is not what it should be.

    References:
        H. W. Kuhn. The Hungarian method for the assignment problem. Naval Research Logistics
        Quarterly 2, 1955.

    Example:
        >>> from learned_descent.faces import FaceAligner
        >>> tracker = Tracker(FaceAligner.from_pretrained("mdm", views=1).aligner)
        >>> for frame in frames:  # doctest: +SKIP
        ...     print([(face.identity, face.fit.landmarks) for face in tracker(frame)])
    """

    def __init__(
        self,
        aligner: Aligner,
        *,
        smoothing: Smoothing | None = Smoothing(),  # noqa: B008 - frozen
        least: float = 0.9,
        every: int = 30,
        patience: int = 30,
    ) -> None:
        check_real(least, name="least", below=1)
        check_whole(every, name="every")
        check_whole(patience, name="patience", least=0)
        self.mean_shape = aligner.problem.mean_shape.cpu()
        self.aligner, self.smoothing = aligner, smoothing
        self.least, self.every, self.patience = least, every, patience
        self.reset()

    def reset(self) -> None:
        """Forgets everything: the next frame is the first one of another video."""
        self._tracks: list[_Track] = []
        self._born = 0
        self._since = 0
        self._seconds: float | None = None

    def __call__(
        self, photo: UInt8[np.ndarray, "H W 3"], seconds: float | None = None
    ) -> list[Tracked]:
        """The objects in the next frame, those that are known longest first.

        Args:
            photo: its pixels.
            seconds: when it is shown; by default a thirtieth of a second after the last one.

        Raises:
            DescentError: if time runs backwards, or a fit is not finite.
        """
        last = self._seconds
        if seconds is None:
            seconds = 0.0 if last is None else last + 1 / RATE
        if last is not None and seconds < last:
            raise DescentError(
                f"seconds: expected {last:g} or more, for frames come in their order, got "
                f"{seconds:g}; call reset() for another video"
            )
        self._seconds = seconds
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FitWarning)  # what is cut by the frame, at each frame
            seen = self._followed(photo)
            self._since += 1
            doubtful = any(not seen.get(track, False) for track in self._tracks)
            if not self._tracks or doubtful or self._since >= self.every:
                self._since = 0
                self._look(photo, seen)
        return self._passed_on(seen, seconds)

    def _followed(self, photo: np.ndarray) -> dict[_Track, bool]:
        """The objects that are where they were, and whether their fits are to be trusted."""
        there = [track for track in self._tracks if not track.missed]
        landmarks = [track.fit.landmarks for track in there]
        near = self._near(photo, landmarks)
        for track, found in zip(there, near):
            track.fit = found or track.fit
            track.unchecked += 1
        return {
            track: not found.confidence < self.least and track.unchecked <= TRUST * self.every
            for track, found in zip(there, near)
            if found is not None
        }

    def _look(self, photo: np.ndarray, seen: dict[_Track, bool]) -> None:
        """Lets the detector see a frame: what is known is confirmed, what is not is new."""
        boxes = self.aligner.detect(photo)
        pairs = _matched([track.fit for track in self._tracks], boxes, self.mean_shape)
        known = {box: self._tracks[number] for number, box in pairs.items()}
        for track in self._tracks:
            seen[track] = seen.get(track, False) and track.fit.confidence >= self.least
        for track in known.values():
            track.unchecked = 0
        sure = {number for number, track in known.items() if seen[track]}
        asked = [number for number in range(len(boxes)) if number not in sure]
        for number, found in zip(asked, self._fitted(photo, [boxes[number] for number in asked])):
            if number in known:
                known[number].fit = found or known[number].fit
                seen[known[number]] = found is not None
            elif found is not None:
                self._tracks.append(_Track(self._born, found))
                seen[self._tracks[-1]] = True
                self._born += 1

    def _passed_on(self, seen: dict[_Track, bool], seconds: float) -> list[Tracked]:
        """What is told of a frame; who is not seen grows older, and goes in the end."""
        found = []
        for track in self._once_each(seen):
            track.missed = 0 if seen.get(track, False) else track.missed + 1
            if track.missed:
                track.smoothed = None
            elif self.smoothing is None:
                found.append(Tracked(track.identity, track.fit))
            else:
                track.smoothed = self.smoothing(
                    track.fit.landmarks,
                    seconds=seconds,
                    mean_shape=self.mean_shape,
                    before=track.smoothed,
                )
                quiet = replace(track.fit, landmarks=track.smoothed.points)
                found.append(Tracked(track.identity, quiet))
        self._tracks = [track for track in self._tracks if track.missed <= self.patience]
        return found

    def _once_each(self, seen: dict[_Track, bool]) -> list[_Track]:
        """The objects without those that have slipped onto one that is known longer: these go."""
        there = [track for track in self._tracks if seen.get(track, False)]
        if len(there) > 1:
            same = twins(torch.stack([track.fit.landmarks for track in there]))
            gone = {there[number] for number in same}
            self._tracks = [track for track in self._tracks if track not in gone]
        return self._tracks

    def _near(
        self, photo: np.ndarray, landmarks: Sequence[Float[Tensor, "L 2"]]
    ) -> list[Fit | None]:
        """The fits about where landmarks are; None where that is outside of the frame."""
        if not landmarks:
            return []
        around, _ = boxes_around(torch.stack(list(landmarks)), self.mean_shape)
        inside = [_holds(photo, box) for box in around.tolist()]
        chosen = [points for points, there in zip(landmarks, inside) if there]
        found = iter(self.aligner.follow(photo, torch.stack(chosen)) if chosen else [])
        return [next(found) if there else None for there in inside]

    def _fitted(self, photo: np.ndarray, boxes: Sequence[Box]) -> list[Fit | None]:
        """The fits in boxes of the detector, all at once; None where a box can hold nothing."""
        inside = [_holds(photo, box) for box in boxes]
        chosen = [box for box, there in zip(boxes, inside) if there]
        found = iter(self.aligner(photo, chosen) if chosen else [])
        return [next(found) if there else None for there in inside]


def _holds(photo: np.ndarray, box: Sequence[float]) -> bool:
    """Whether a box can hold an object of a photo."""
    try:
        check_box(box, *photo.shape[:2])
    except DescentError:
        return False
    return True


def _matched(
    fits: Sequence[Fit], boxes: Sequence[Box], mean_shape: Float[Tensor, "L 2"]
) -> dict[int, int]:
    """The number of the box of each fit that has one; together they overlap as much as can be."""
    if not fits or not boxes:
        return {}
    from scipy.optimize import linear_sum_assignment  # here, for help is not to wait for it

    landmarks = torch.stack([fit.landmarks for fit in fits])
    around, _ = boxes_around(landmarks, mean_shape)
    shared = overlaps(around, torch.tensor(boxes))
    rows, columns = linear_sum_assignment(shared.numpy(), maximize=True)
    return {
        int(row): int(column)
        for row, column in zip(rows, columns)
        if shared[row, column] >= OVERLAP
    }


def overlaps(first: Float[Tensor, "A 4"], second: Float[Tensor, "B 4"]) -> Float[Tensor, "A B"]:
    """Intersection over union of each box ``x0 y0 x1 y1`` with each other one.

    Example:
        >>> overlaps(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 0.0, 3.0, 2.0]]))
        tensor([[0.3333]])
    """
    low = torch.maximum(first[:, None, :2], second[None, :, :2])
    high = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (first, second)]
    return shared / (areas[0][:, None] + areas[1][None] - shared)
