"""What the tests of every format share."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

from learned_descent.landmarks.formats.find import read_labels
from learned_descent.landmarks.formats.format import LabelFormat, Labelled


def picture(path: Path, size: tuple[int, int] = (80, 60)) -> Path:
    """A picture of one colour, another one for each name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 90, sum(path.name.encode()) % 256)).save(path)
    return path


def found(path: Path, text: str, kind: type[LabelFormat]) -> list[Labelled]:
    """The labels of a text, read by its format, and again by whatever the file is taken for."""
    path.write_text(text)
    labels, again = kind().read(path), read_labels([path])
    assert [label.where for label in again] == [label.where for label in labels], "recognised"
    return labels


def written(path: Path, kind: type[LabelFormat], labels: list[Labelled]) -> list[Labelled]:
    """The labels, written and read again."""
    kind().write(path, labels)
    return read_labels([path])


def same(one: Labelled, other: Labelled, *, within: float = 0.0) -> None:
    """The same label, wherever it is."""
    assert one.image.resolve() == other.image.resolve()
    assert torch.equal(one.weights, other.weights)
    known = one.weights > 0
    torch.testing.assert_close(one.points[known], other.points[known], atol=within, rtol=0)
