"""Any weights of landmarks with a detector of faces; what an aligner does has its tests in
landmarks/."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from learned_descent import Cascade
from learned_descent.checkpoint.model import annotate, save_model
from learned_descent.faces import detectors
from learned_descent.faces.aligner import FaceAligner
from learned_descent.landmarks.aligner import Aligner
from learned_descent.landmarks.calibration import BoxOffset, Calibration

from ..landmarks.aligners import Bright, small_model


@pytest.fixture
def model() -> Cascade:
    return small_model()


@pytest.fixture
def photo() -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 90, (60, 80, 3), dtype=np.uint8)
    pixels[15:45, 20:50] = 200
    return pixels


def test_the_detector_of_faces_is_made_when_it_is_needed(
    model: Cascade, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    made = []
    monkeypatch.setattr(detectors, "CenterFace", lambda: made.append(0) or Bright())
    calibration = Calibration({"bright": BoxOffset((0.0, 0.1), 0.1)})
    aligner = FaceAligner(model, calibration=calibration)
    (given,) = aligner(photo, (20, 15, 50, 45))
    assert not made
    (found,) = aligner(photo)
    assert len(made) == 1
    assert given.landmarks.shape == found.landmarks.shape == (68, 2)
    assert found.box == calibration.boxes["bright"](Bright()(photo)[0])


def test_it_is_an_aligner_with_a_detector(model: Cascade, photo: np.ndarray, tmp_path: Path):
    save_model(model, tmp_path / "tiny.safetensors")
    calibration = Calibration({"bright": BoxOffset((0.0, 0.1), 0.1)})
    annotate(tmp_path / "tiny.safetensors", "calibration", calibration.to_json())
    file = tmp_path / "tiny.safetensors"
    (face,) = FaceAligner.from_pretrained(file, detector=Bright())(photo)
    (fit,) = Aligner.from_pretrained(file, detector=Bright())(photo)
    assert face.to_json() == fit.to_json()


@pytest.mark.parametrize("anew", [True, False])
def test_whether_a_doubtful_face_is_sought_anew_is_passed_on(
    model: Cascade, tmp_path: Path, anew: bool
):
    save_model(model, path := tmp_path / "faces.safetensors")
    assert FaceAligner(model, anew=anew).aligner.anew is anew
    assert FaceAligner.from_pretrained(path, anew=anew).aligner.anew is anew
