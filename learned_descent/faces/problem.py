"""What the problems of faces share."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence

from ..families import Family
from ..landmarks.augmentation import Turn
from ..landmarks.detector import Detector
from ..landmarks.problem import Landmarks
from . import detectors
from .head_rotation import Turning
from .other_data import THREE_HUNDRED_W
from .recipes import RECIPES


class Faces(Landmarks, ABC):
    """The landmarks of faces: heads that turn in space, and that detectors find."""

    pictured = "faces"
    other_data = THREE_HUNDRED_W
    noun = "face"
    longest_box = 2.0

    @classmethod
    def families(cls) -> Mapping[str, Family]:
        return RECIPES

    def turning(self) -> Turn:
        return Turning(self.schema)

    def detector(self) -> Detector:
        return detectors.default_detector()

    def detectors(self) -> Sequence[Detector]:
        return [detectors.CenterFace(), detectors.LBPCascade()]
