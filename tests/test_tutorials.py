"""The commands of the tutorials run, in their order, on pictures that are drawn here."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from learned_descent.cli.main import main

from .tutorials import prepare_landmarks, prepare_markup

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^```(bash|yaml)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

LESS = {
    "show": ["--count=2"],
    "suspects": ["--folds=2"],
    "compare": ["--sdm.ridge.repeats=1", "--sdm.ridge.ridge=1.0"],
}
"""What is added to a command, so that a test has little of what a reader gets much of."""


def run(page: str, folder: Path) -> None:
    """Does what a reader does, from top to bottom: a block of YAML is the file that its first line
    names."""
    for kind, text in BLOCK.findall((DOCS / page).read_text("utf-8")):
        if kind == "yaml":
            (folder / text.splitlines()[0].removeprefix("# ")).write_text(text)
            continue
        for line in text.replace("\\\n", " ").splitlines():
            program, *words = shlex.split(line)
            assert program == "learned-descent"
            assert main([*words, *LESS.get(words[0], [])]) == 0, line


@pytest.mark.parametrize(
    ("page", "prepare", "made"),
    [
        (
            "landmarks.md",
            prepare_landmarks,
            [
                "show.png",
                "runs/wings/report.html",
                "runs/wings/sdm.safetensors",
                "aligned/new.png",
                "aligned/new.json",
                "tracked/frames.json",
            ],
        ),
        (
            "markup.md",
            prepare_markup,
            ["ibug68.png", "sdm.test.json", "runs/twelve/report.html", "aligned/photo.png"],
        ),
    ],
)
def test_page_runs(
    page: str,
    prepare: Callable[[Path], None],
    made: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    run(page, tmp_path)
    assert [name for name in made if not (tmp_path / name).is_file()] == []


def test_table_of_the_page_is_that_of_the_pictures(tmp_path: Path) -> None:
    prepare_landmarks(tmp_path)
    shown = re.search(r"^(image,.*?)^```$", (DOCS / "landmarks.md").read_text("utf-8"),
                      re.DOTALL | re.MULTILINE)  # fmt: skip
    assert shown is not None
    assert (tmp_path / "wings" / "wings.csv").read_text().startswith(shown[1])
