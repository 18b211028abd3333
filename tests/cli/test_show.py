"""`show`: what is drawn, and what is said where nothing can be."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from PIL import Image

from learned_descent.cli.main import main
from learned_descent.cli.show import show
from learned_descent.landmarks.labelled import LabelledLandmarks
from learned_descent.names import PROBLEMS
from learned_descent.registry import resolve_problem

from ..faces.fake300w import write_fake_300w
from ..landmarks.drawn import write_wings

SMALL = ("--problem.num_train=8", "--problem.num_test=4", "--problem.count=6")
LANDMARKS = {"landmarks", "in-shape-model"}
PICTURES = {"faces", "synthetic-faces", "fixed-template", "any-template", *LANDMARKS}


def words_of(name: str, folder: Path) -> list[str]:
    """What makes a problem small, where it has such settings, and gives it pictures."""
    known = inspect.signature(resolve_problem(name)).parameters
    words = [word for word in SMALL if word.split("=")[0].removeprefix("--problem.") in known]
    if name == "faces":
        root = write_fake_300w(folder, {"afw": 4, "helen/testset": 2}, size=96)
        words += ["--data", str(root), "--problem.train=[afw]"]
    if name in LANDMARKS:
        words += ["--data", str(write_wings(folder, 8))]
    return words


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_problem_is_drawn_or_says_that_it_has_no_pictures(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out" / "show.png"
    words = ["show", name, "--count", "3", "--output", str(output)]
    code = main([*words, *words_of(name, tmp_path / "data")])
    out, err = capsys.readouterr()
    if name in PICTURES:
        assert code == 0, err
        assert out.startswith("3 of ")
        assert str(output) in out
        with Image.open(output) as picture:
            assert picture.width > 800
    else:
        assert code == 2
        assert "are no pictures: there is nothing to draw before a training" in err
        assert not output.exists()


def test_the_samples_go_by_the_names_of_their_pictures(tmp_path: Path) -> None:
    problem = LabelledLandmarks(str(write_wings(tmp_path, 8)))
    output = tmp_path / "show.svg"
    assert show(problem, split="test", output=output) == (
        f"2 of 2 test samples of LabelledLandmarks: {output}"
    )
    assert [name in output.read_text() for name in problem.names("test")] == [True, True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--split holdout", "--split"),
        ("--count 0", "count: expected 1 or more, got 0"),
        ("--count 61", "count: expected at most 60, got 61"),
        ("--output show.txt", "--output show.txt: expected a name that ends with .png, .pdf or"),
        ("--output there.png", "there.png: is there already: give another --output"),
        ("--data gone.csv", "gone.csv"),
        ("", "expected a file or a folder of labels, got None; give --data FILE"),
    ],
)
def test_a_mistake_gets_one_message(
    options: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.png").write_text("kept")
    file = write_wings(tmp_path / "wings", 8)
    data = ["--data", str(file)] if options and "--data" not in options else []
    assert main(["show", "landmarks", *data, *options.split()]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert "Traceback" not in err
    assert out == ""
    assert Path("there.png").read_text() == "kept"
    assert not Path("show.png").exists()
