"""The landmarks of the faces in a photo."""

from __future__ import annotations

from pathlib import Path
from typing import final

import numpy as np
import torch
from PIL import Image

from ..landmarks.aligner import Aligner, Fit
from ..landmarks.calibration import Calibration
from ..landmarks.detector import Boxes, Detector
from ..model import DescentModel
from . import detectors


@final
class FaceAligner:
    """An :class:`~learned_descent.landmarks.aligner.Aligner` with a detector of faces: any weights
    of landmarks, put onto the faces of a photo.

    Args:
        model: a model of landmarks, trained or loaded.
        calibration: how the detector's boxes lie on those of training, and what the agreement of
            the fits means.
        detector: what finds the faces where no boxes are given; by default
            :func:`~learned_descent.faces.detectors.default_detector`, when it is first needed.
        views: the number of copies of each crop, from 1 to 4; their mirror images come on top. 0
            for a single fit of the crop as it is: the quickest, of unknown confidence.
        anew: whether an unsure fit is sought anew, at any angle and in grey.
        device: where the model runs.

    Raises:
        DescentError: as :class:`~learned_descent.landmarks.aligner.Aligner` does.

    Example:
        >>> FaceAligner.from_pretrained("mdm").aligner.problem.noun
        'face'
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
        self.aligner = Aligner(
            model,
            calibration=calibration,
            detector=detector,
            views=views,
            anew=anew,
            device=device,
        )

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path = "tokens",
        *,
        detector: Detector | None = None,
        views: int = 4,
        anew: bool = True,
        device: torch.device | str = "cpu",
    ) -> FaceAligner:
        """The weights that come with the package under a name, or those of a file, see
        :meth:`.Aligner.from_pretrained`.
        """
        found = Aligner.from_pretrained(name_or_path)
        return cls(
            found.model,
            calibration=found.calibration,
            detector=detector,
            views=views,
            anew=anew,
            device=device,
        )

    def __call__(
        self, photo: str | Path | Image.Image | np.ndarray, boxes: Boxes | None = None
    ) -> list[Fit]:
        """The faces in a photo, the largest first, or those in the given boxes, in their order, see
        :meth:`.Aligner.__call__`.
        """
        if boxes is None and self.aligner.detector is None:
            self.aligner.detector = detectors.default_detector()
        return self.aligner(photo, boxes)
