"""TPS files."""

from __future__ import annotations

from pathlib import Path

import pytest

from learned_descent import DescentError
from learned_descent.landmarks.formats.tps import TPS

from .shared import found, picture

WINGS = """\
LM=2
3.5 4
50 6
IMAGE=a.png
ID=0
SCALE=0.004

LM=2
-1 -1
7 59
CURVES=1
POINTS=2
1 1
2 2
IMAGE=b.png
ID=1
"""


def test_rows_are_counted_from_the_bottom(tmp_path: Path):
    picture(tmp_path / "a.png", (80, 60))
    picture(tmp_path / "b.png", (80, 100))
    first, second = found(tmp_path / "wings.TPS", WINGS, TPS)
    assert first.points.tolist() == [[3.5, 55.0], [50.0, 53.0]], "the scale moves nothing"
    assert second.points[1].tolist() == [7.0, 40.0]
    assert second.weights.tolist() == [0.0, 1.0], "negative numbers are no position"
    assert second.where == f"{tmp_path / 'wings.TPS'}:8"


def test_the_picture_as_it_is_displayed_counts(tmp_path: Path):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (80, 60)).save(tmp_path / "a.jpg", exif=exif)
    (label,) = found(tmp_path / "wings.tps", "LM=1\n3 4\nIMAGE=a.jpg\n", TPS)
    assert label.points.tolist() == [[3.0, 75.0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no specimen; expected LM="),
        ("3 4\n", "wings.tps:1: expected LM= and a number of points, got '3 4'"),
        ("LM=two\n", "wings.tps:1: LM: expected a number of points, got 'two'"),
        ("LM3=2\n", "wings.tps:1: expected LM="),
        ("LM=2\n1 2\nIMAGE=a.png\n", "wings.tps:1: LM=2, and 1 points follow"),
        ("LM=1\n1 2\n3 4\nIMAGE=a.png\n", "wings.tps:3: more points than the 1 of LM= in line 1"),
        ("LM=1\n1 2 3\nIMAGE=a.png\n", "wings.tps:2: expected a column and a row, got '1 2 3'"),
        ("LM=1\n1 two\nIMAGE=a.png\n", "wings.tps:2: point: expected a number, got 'two'"),
        ("LM=1\n1 2\nID=0\n", "wings.tps:1: it names no picture; add a line IMAGE="),
        ("LM=1\n1 2\nIMAGE=broken.png\n", "wings.tps:1: .*broken.png: the image does not decode"),
    ],
)
def test_each_mistake_is_named(tmp_path: Path, text: str, message: str):
    (tmp_path / "broken.png").write_text("no picture")
    (tmp_path / "wings.tps").write_text(text)
    with pytest.raises(DescentError, match=message):
        TPS().read(tmp_path / "wings.tps")
