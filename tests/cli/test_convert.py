"""The command convert."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from learned_descent.cli.main import main
from learned_descent.landmarks.formats.find import read_labels

from ..landmarks.drawn import NAMES, write_wings


@pytest.mark.parametrize(
    ("form", "output"),
    [("csv", "new/wings.tsv.csv"), ("coco", "a.json"), ("dlib", "a.xml"), ("pts", ""),
     ("ljson", "")],
)  # fmt: skip
def test_every_format_that_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, output: str
) -> None:
    file, made = write_wings(tmp_path, 3), tmp_path / output
    words = ["convert", str(file), "--to", form, "--output", str(made)]
    assert main(words) == 0
    assert capsys.readouterr().out == f"3 labels of 5 points written as {form}: {made}\n"
    own, found = read_labels([file]), read_labels([made], form)  # type: ignore[arg-type]
    for one, other in zip(own, found, strict=True):
        assert one.image.resolve() == other.image.resolve()
        torch.testing.assert_close(one.points, other.points, atol=0.51, rtol=0)
    assert main(words) == 2
    assert "is there already: give another --output, or --overwrite" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0


def test_a_markup_keeps_some_of_the_points(tmp_path: Path) -> None:
    file, made = write_wings(tmp_path, 3), tmp_path / "two.csv"
    markup = tmp_path / "two.yaml"
    markup.write_text("num_points: 2\nsources:\n  5: [2, 0]\n")
    words = ["--to", "csv", "--output", str(made), "--schema", str(markup)]
    assert main(["convert", str(file), *words]) == 0
    label = read_labels([made])[0]
    torch.testing.assert_close(label.points, read_labels([file])[0].points[[2, 0]])
    assert NAMES[2] not in label.names


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "wflw", "--output", "a.txt"], "format 'wflw': it is only read; write csv, coco"),
        (["--to", "xml", "--output", "a.xml"], "format: expected one of csv, .* got 'xml'"),
        (["--to", "csv", "--output", "a.png"], "a.png: expected a file that ends with .csv or"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    file = write_wings(tmp_path, 3)
    words[-1] = str(tmp_path / words[-1])
    assert main(["convert", str(file), *words]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not Path(words[-1]).exists()
