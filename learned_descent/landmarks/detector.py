"""What finds the objects of a photo: a photo in, boxes out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, TypeAlias, final

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from ..errors import DescentError, about, calling
from ..names import DETECTORS
from ..registry import resolve_class
from .crops import check_box

Box: TypeAlias = tuple[float, float, float, float]
"""``x0 y0 x1 y1`` in px of the photo; the centre of its first pixel is ``(0, 0)``."""

Boxes: TypeAlias = Iterable[Any]
"""Boxes ``x0 y0 x1 y1`` in px: a tensor or an array ``(N, 4)``, a list or another iterable of them,
or a single box."""


class FitWarning(UserWarning):
    """The landmarks of a fit are to be looked at with care."""


class DetectorWarning(UserWarning):
    """The objects are found by other means than they should be."""


class Detector(ABC):
    """Finds the objects in a photo. Trained weights keep the calibration of its boxes under its
    name.
    """

    name: ClassVar[str]

    @abstractmethod
    def __call__(self, photo: UInt8[np.ndarray, "H W 3"]) -> list[Box]:
        """The boxes of the objects, as this detector draws them, the largest first."""


@final
class WholePicture(Detector):
    """Takes the whole picture for the box of one object.

    Example:
        >>> WholePicture()(np.zeros((480, 640, 3), np.uint8))
        [(0.0, 0.0, 639.0, 479.0)]
    """

    name = "picture"

    def __call__(self, photo: UInt8[np.ndarray, "H W 3"]) -> list[Box]:
        height, width = photo.shape[:2]
        return [(0.0, 0.0, width - 1.0, height - 1.0)]


def made_detector(name: str) -> Detector:
    """The detector that a user names, made without arguments.

    Args:
        name: a built-in name, ``"package.module:Class"`` or ``"path/to/file.py:Class"``.

    Raises:
        DescentError: if nothing answers to the name, it is no :class:`Detector`, or it cannot be
            made.

    Example:
        >>> made_detector("picture").name
        'picture'
    """
    cls = resolve_class(name, Detector, DETECTORS, what="detector")
    with calling(f"{cls.__name__}()"):
        detector = cls()
    return checked_detector(detector)


def checked_detector(detector: Detector) -> Detector:
    """The detector, if it is one and has a name.

    Raises:
        DescentError: if it is none, or has none.
    """
    given: object = detector
    if not isinstance(given, Detector):
        raise DescentError(
            f"detector: expected a Detector, got {type(given).__name__}; derive a class "
            "from Detector, or give its boxes: aligner(photo, boxes)"
        )
    name: object = getattr(given, "name", None)
    if not isinstance(name, str) or not name:
        raise DescentError(
            f"detector: {type(given).__name__}.name: expected a name, under which trained weights "
            f"keep how its boxes lie, got {name!r}"
        )
    return given


def detected(detector: Detector, photo: UInt8[np.ndarray, "H W 3"]) -> list[Box]:
    """What a detector finds in a photo, in plain numbers.

    Raises:
        DescentError: if it fails, or returns something else than boxes.
    """
    what = f"{type(detector).__name__}(photo)"
    with calling(what):
        found = detector(photo)
    with about(what):
        rows = plain_boxes(found)
    odd = next((row for row in rows if len(row) != 4 or not np.isfinite(row).all()), None)
    if odd is not None:
        raise DescentError(f"{what}: expected boxes x0 y0 x1 y1, got {odd}")
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in rows]


def plain_boxes(boxes: Boxes) -> list[list[float]]:
    """Boxes as rows of numbers, whatever they came in; a single box is a list of one.

    Raises:
        DescentError: if these are no boxes.

    Example:
        >>> plain_boxes(np.array([1, 2, 3, 4]))
        [[1.0, 2.0, 3.0, 4.0]]
    """
    wanted = "boxes: expected boxes x0 y0 x1 y1, as numbers in a list, an array or a tensor (N, 4)"
    if isinstance(boxes, (str, bytes, Mapping)) or not isinstance(boxes, Iterable):
        raise DescentError(f"{wanted}, got {type(boxes).__name__}")
    try:
        listed = boxes.tolist() if isinstance(boxes, (Tensor, np.ndarray)) else list(boxes)
        single = bool(listed) and all(np.ndim(side) == 0 for side in listed)
        return [[float(side) for side in row] for row in ([listed] if single else listed)]
    except (TypeError, ValueError, RuntimeError) as error:
        raise DescentError(f"{wanted}, could not use what came ({error})") from error


def listed_boxes(boxes: Boxes, height: int, width: int) -> list[Box]:
    """Boxes of a photo of ``height`` x ``width`` px, checked, see :func:`plain_boxes`.

    Raises:
        DescentError: if these are no boxes, or one cannot hold an object.
    """
    return [check_box(row, height, width) for row in plain_boxes(boxes)]
