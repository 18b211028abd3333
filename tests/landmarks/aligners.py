"""Small models of faces that need no training, for tests of what is built on them."""

from __future__ import annotations

import numpy as np
import torch

from learned_descent import Cascade
from learned_descent.checkpoint.model import annotate, save_model
from learned_descent.faces.alignment import FaceAlignment
from learned_descent.landmarks.calibration import BoxOffset, Calibration, Confidence
from learned_descent.landmarks.detector import Box, Detector
from learned_descent.observations import Patches

from ..faces.fake300w import neutral_face

SURE = Confidence(whole=(-6.0, -2.4), landmark=(-3.0, -1.1), threshold=0.08)


def small_model(problem: FaceAlignment | None = None) -> Cascade:
    """A model that leaves every start where it is: the mean shape in the box."""
    if problem is None:
        problem = FaceAlignment(crop=48, box_side=28.0)
        problem.mean_shape.copy_(0.4 * neutral_face())
        problem.start_factor.copy_(torch.diag(torch.tensor([0.1, 0.1, 0.05, 0.05])))
    eyes = Patches(problem.points, size=1)
    return Cascade(
        problem, eyes, 3 * problem.schema.num_points, 2 * problem.schema.num_points, num_steps=2
    )


def save_calibrated(path: str) -> None:
    """Writes the small model with a calibration for :class:`Bright`."""
    save_model(small_model(), path)
    offsets = {"bright": BoxOffset((0.0, 0.1), 0.1)}
    annotate(path, "calibration", Calibration(offsets, SURE).to_json())


class Bright(Detector):
    """Finds the face where the photo is bright: its bounding box, shrunk to three quarters of its
    width."""

    name = "bright"

    def __call__(self, photo: np.ndarray) -> list[Box]:
        rows, columns = np.nonzero(photo.min(2) > 100)
        if not len(rows):
            return []
        left, right, top, bottom = (
            float(side) for side in (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1)
        )
        return [(left + (right - left) / 8, top, right - (right - left) / 8, bottom)]
