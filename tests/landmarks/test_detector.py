from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from learned_descent import DescentError
from learned_descent.landmarks.detector import (
    Box,
    Boxes,
    Detector,
    WholePicture,
    checked_detector,
    detected,
    made_detector,
)
from learned_descent.names import DETECTORS
from learned_descent.registry import builtin

PHOTO = np.zeros((30, 40, 3), np.uint8)


@pytest.mark.parametrize("name", DETECTORS)
def test_every_built_in_detector_is_one(name: str):
    assert issubclass(builtin(DETECTORS[name]), Detector)
    assert builtin(DETECTORS[name]).name == name


def test_the_whole_picture_is_a_box_from_centre_to_centre():
    assert WholePicture()(PHOTO) == [(0, 0, 39, 29)]


class Gives(Detector):
    """Gives what it is told."""

    name = "gives"

    def __init__(self, boxes: Boxes) -> None:
        self.boxes = boxes

    def __call__(self, photo: np.ndarray) -> list[Box]:
        return self.boxes  # type: ignore[return-value]


@pytest.mark.parametrize("box", [(1, 2, 3, 4), [np.float32(1), 2, 3, 4]])
def test_what_a_detector_gives_becomes_plain_numbers(box: list[float]):
    for given in ([box], np.array([box]), torch.tensor([list(map(float, box))]), map(list, [box])):
        found = detected(Gives(given), PHOTO)
        assert found == [(1, 2, 3, 4)]
        assert {type(side) for side in found[0]} == {float}
    assert detected(Gives([]), PHOTO) == []
    assert detected(Gives(np.zeros((0, 4))), PHOTO) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, r"Gives\(photo\): boxes: expected boxes x0 y0 x1 y1, .* got NoneType"),
        ([(1, 2, 3)], r"Gives\(photo\): expected boxes x0 y0 x1 y1, got \[1.0, 2.0, 3.0\]"),
        ([(1, 2, 3, float("nan"))], "expected boxes x0 y0 x1 y1, got .*nan"),
    ],
)
def test_a_detector_that_gives_no_boxes_is_named(given: Boxes, message: str):
    with pytest.raises(DescentError, match=message):
        detected(Gives(given), PHOTO)


def test_a_detector_that_fails_is_named():
    class Broken(Detector):
        name = "broken"

        def __call__(self, photo: np.ndarray) -> list[Box]:
            raise RuntimeError("no network")

    with pytest.raises(DescentError, match=r"Broken\(photo\) failed with RuntimeError: no network"):
        detected(Broken(), PHOTO)


def test_a_detector_needs_a_name():
    class Nameless(Detector):
        def __call__(self, photo: np.ndarray) -> list[Box]:
            return []

    with pytest.raises(DescentError, match=r"Nameless.name: expected a name, .* got None"):
        checked_detector(Nameless())


def test_a_detector_of_ones_own_goes_by_its_file(tmp_path: Path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from learned_descent.landmarks.detector import Detector\n"
        "class Mine(Detector):\n"
        "    name = 'mine'\n"
        "    def __call__(self, photo):\n"
        "        return [(1.0, 2.0, 30.0, 40.0)]\n"
        "class Picky(Mine):\n"
        "    def __init__(self, size):\n"
        "        self.size = size\n"
    )
    assert detected(made_detector(f"{file}:Mine"), PHOTO) == [(1, 2, 30, 40)]
    with pytest.raises(DescentError, match=r"Picky\(\) failed with TypeError: .*size"):
        made_detector(f"{file}:Picky")
    with pytest.raises(DescentError, match=r"expected a class 'Other'; it holds .* Mine"):
        made_detector(f"{file}:Other")
    with pytest.raises(
        DescentError, match="detector 'bright': expected one of centerface, lbp, picture, or"
    ):
        made_detector("bright")
