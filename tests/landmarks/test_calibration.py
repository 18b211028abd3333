from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from learned_descent import DescentError
from learned_descent.faces.alignment import FaceAlignment
from learned_descent.landmarks import calibration
from learned_descent.landmarks.calibration import (
    BoxOffset,
    Calibration,
    Confidence,
    _logistic,
    fit_calibration,
    fit_offset,
)
from learned_descent.landmarks.detector import Box, Detector
from learned_descent.landmarks.trials import TRIALS

from ..faces.fake300w import write_fake_300w
from .aligners import Bright, small_model


def bright_faces(count: int) -> tuple[list[tuple[np.ndarray, Box]], int]:
    """Grey pictures with a bright square in each, above the box of the face by a tenth of its side,
    and their number."""
    picture = np.zeros((96, 96, 3), np.uint8)
    picture[23:71, 26:74] = 200
    return [(picture, (26.0, 28.0, 74.0, 76.0))] * count, count


def test_the_offset_is_found_and_carries_the_detectors_box_to_the_faces():
    offset = fit_offset(Bright(), *bright_faces(12))
    assert offset.found == 1
    assert offset.shift[0] == pytest.approx(0, abs=0.02)
    (box,) = Bright()(bright_faces(1)[0][0][0])
    np.testing.assert_allclose(offset(box), [26, 28, 74, 76], atol=1)
    assert max(offset.spread) < 0.03


def test_outliers_and_faces_that_are_missed_do_not_count():
    class Moody(Detector):
        """Is wrong on one face in five, and blind on another."""

        name = "moody"
        calls = 0

        def __call__(self, photo: np.ndarray) -> list[Box]:
            self.calls += 1
            (box,) = Bright()(photo)
            if self.calls % 5 == 1:
                return []
            grow = (box[2] - box[0]) * (self.calls % 5 == 2)
            return [(box[0] - grow, box[1] - grow, box[2] + grow, box[3] + grow)]

    offset, wanted = fit_offset(Moody(), *bright_faces(40)), fit_offset(Bright(), *bright_faces(40))
    assert offset.found == 0.8
    assert [*offset.shift, offset.log_scale] == pytest.approx(
        [*wanted.shift, wanted.log_scale], abs=0.02
    )


def test_a_detector_that_finds_next_to_nothing_is_refused():
    with pytest.raises(
        DescentError,
        match="the detector bright finds the object in 3 of 3 training pictures, expected 10",
    ):
        fit_offset(Bright(), *bright_faces(3))


def test_the_logistic_curve_finds_its_numbers():
    draw = torch.Generator().manual_seed(0)
    spread = torch.exp(torch.randn(20000, generator=draw) - 3)
    good = torch.rand(20000, generator=draw) < torch.sigmoid(-5 - 2 * spread.log())
    assert _logistic(spread, good) == pytest.approx((-5, -2), abs=0.15)
    a, b = _logistic(spread, torch.ones(20000, dtype=torch.bool))
    assert torch.sigmoid(torch.tensor(a + b * math.log(0.05))) > 0.99
    assert _logistic(spread, ~good)[1] == 0  # agreement is never a sign of error


def test_confidence_falls_with_the_spread():
    sure = Confidence(whole=(-6.0, -2.4), landmark=(-3.0, -1.1), threshold=0.08)
    face, landmark = sure(torch.tensor([[0.0, 0.0], [0.01, 0.03], [0.3, 0.3]]))
    assert face.tolist() == sorted(face.tolist(), reverse=True)
    assert landmark[1, 0] > landmark[1, 1]
    assert ((landmark >= 0) & (landmark <= 1)).all()


@pytest.mark.parametrize("anew", [None, Confidence((0.5, -2.5), (3.5, -4.5), 0.08)])
def test_calibration_survives_json(anew: Confidence | None):
    found = Calibration(
        {"lbp": BoxOffset((0.1, 0.2), -0.3, (0.01, 0.02), 0.9)},
        Confidence((1.0, -2.0), (3.0, -4.0), 0.08, anew),
    )
    assert Calibration.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert Calibration.from_json(None) == Calibration()
    for wrong in ({"boxes": {"lbp": {"tilt": 3}}}, {"confidence": [1]}, {"boxes": 3}):
        with pytest.raises(
            DescentError, match="expected a calibration of boxes and confidence, could not use it"
        ):
            Calibration.from_json(wrong)


@pytest.fixture
def problem(tmp_path):
    root = write_fake_300w(tmp_path, {"afw": 12}, size=96)
    return FaceAlignment(
        str(root), train=["afw"], test=[], crop=64, box_side=36.0, val_fraction=0.3
    )


class Centre(Detector):
    """Finds the face in the middle."""

    name = "centre"

    def __call__(self, photo: np.ndarray) -> list[Box]:
        height, width = photo.shape[:2]
        return [(width * 0.2, height * 0.2, width * 0.8, height * 0.8)]


def test_calibrate_uses_training_and_held_out_faces(
    problem: FaceAlignment, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(calibration, "VARIANTS", dict.fromkeys(TRIALS, 1))
    problem.data("train")
    found = fit_calibration(small_model(problem), [Centre()], count=12)
    assert found == fit_calibration(small_model(problem), [Centre()], count=12)
    assert math.exp(found.boxes["centre"].log_scale) == pytest.approx(36 / (0.6 * 64), rel=0.02)
    assert found.confidence.threshold == 0.08
    assert all(map(math.isfinite, (*found.confidence.whole, *found.confidence.landmark)))


def test_calibrate_needs_held_out_faces(problem: FaceAlignment):
    problem.val_fraction = 0.0
    problem.data("train")
    with pytest.raises(
        DescentError, match=r"expected held-out faces .*, got none; raise val_fraction"
    ):
        fit_calibration(small_model(problem), [Centre()])
