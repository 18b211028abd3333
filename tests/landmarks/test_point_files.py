from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from learned_descent import DescentError
from learned_descent.landmarks.point_files import write_landmarks

POINTS = torch.tensor([[10.0, 20.5], [30.25, 20.0], [20.0, 40.0]])


def test_pts_count_from_1(tmp_path: Path):
    write_landmarks(tmp_path / "a.pts", POINTS)
    numbers = [
        line.split() for line in (tmp_path / "a.pts").read_text().splitlines() if line[:1].isdigit()
    ]
    assert [[float(number) for number in row] for row in numbers] == (POINTS + 1).tolist()


def test_landmarks_that_cannot_be_written(tmp_path: Path):
    with pytest.raises(DescentError, match=r"ends with .ljson or .pts"):
        write_landmarks(tmp_path / "a.txt", POINTS)
    with pytest.raises(DescentError, match="expected finite landmarks"):
        write_landmarks(tmp_path / "b.pts", POINTS * math.inf)
    assert not list(tmp_path.iterdir())
