"""Configuration files: they set options; they neither name code nor ask for gigabytes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from learned_descent import DescentError
from learned_descent.cli.config import read_config
from learned_descent.cli.main import main

SEEN = """
from lenses import Lens
from learned_descent import DescentError
from learned_descent.problems import Analytic


class Seen(Analytic):
    def __init__(self, lens: Lens | None = None, names: tuple[str, ...] = (), *,
    much: float | tuple[float, ...] = 1.0):
        super().__init__("sin")
        raise DescentError(f"lens {type(lens).__name__} names {names} much {much}")
"""


@pytest.fixture
def refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str, str], str]:
    """Runs a command with a configuration file beside code that must not run; gives the one
    message."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("evil.py").write_text("raise SystemExit('it ran')")

    def call(content: str, line: str = "train analytic --family mdm --out x") -> str:
        Path("c.yaml").write_text(content)
        capsys.readouterr()
        begun = time.process_time()
        assert main([*line.split(), "--config", "c.yaml"]) == 2
        assert time.process_time() - begun < 5
        assert "evil" not in sys.modules
        error = capsys.readouterr().err
        assert error.startswith("learned-descent: error: ")
        return error

    return call


@pytest.fixture
def seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], str]:
    """Gives options to a problem that tells what it got."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("lenses.py").write_text("class Lens: ...\n")
    Path("seen.py").write_text(SEEN)

    def call(words: str) -> str:
        main(["check", "seen.py:Seen", *words.split()])
        return capsys.readouterr().err

    return call


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "problem: {class_path: evil.Evil}",
            "problem.class_path: a file sets options and names no code",
        ),
        (
            "bptt: {class_path: evil.Evil, init_args: {}}",
            "bptt.class_path: a file sets options and names no code",
        ),
        (
            "problem.dtype.class_path: evil.Evil",
            "problem.dtype.class_path: a file sets options and names no code",
        ),
        ("problem: {dtype: evil.Evil}", "expected one of float32, float64, got evil.Evil"),
        (
            "problem: other.yaml",
            "problem: expected options as NAME: VALUE below it, got 'other.yaml'",
        ),
        (
            "problem:",
            "problem: expected options as NAME: VALUE below it, it is empty: leave it out",
        ),
        ("bptt: {}", "bptt: expected options as NAME: VALUE below it, got {}"),
        ("config: other.yaml", "config: a file cannot name another one"),
        ("", "expected options as NAME: VALUE, got an empty file"),
        ("- 1", "expected options as NAME: VALUE, got one list"),
        ("a: &a [1]\nb: [*a, *a]", "the alias *a is not read"),
        (
            "a: !!python/object/apply:os.system [ls]",
            "the tag tag:yaml.org,2002:python/object/apply:os.system is not read",
        ),
        ("a: " + "[" * 10_000 + "]" * 10_000, "expected at most 20 levels and 10,000 entries"),
        ("a: [" + "1, " * 20_000 + "1]", "expected at most 20 levels and 10,000 entries"),
        ("a: " + "1" * 300_000, "expected a YAML file of at most 256 kB"),
        ("seed: " + "9" * 5_000, "expected a YAML file"),
        ("seed: 2020-99-99", "expected a YAML file"),
        ("a: [", "expected a YAML file"),
        ("family: [sdm]", "--config: family: expected a name, got ['sdm']"),
    ],
    ids=lambda text: text[:40],
)
def test_a_file_that_does_not_only_set_options_is_refused(
    refused: Callable[..., str], content: str, message: str
):
    line = (
        "train analytic --out x"
        if content.startswith("family")
        else "train analytic --family mdm --out x"
    )
    assert message in refused(content, line)


@pytest.mark.parametrize("task", ["evil.py:Evil", "evil:Evil", "evil.py"])
def test_only_the_command_line_names_a_problem_of_ones_own(refused: Callable[..., str], task: str):
    assert f"task: {task}: a file names no code: give the problem on the command line" in refused(
        f"task: {task}", "check"
    )
    assert "task: expected a name, got [1]" in refused("task: [1]", "check")
    assert "problem_file: a file sets options and names no code" in refused(
        f"problem_file: {task}", "evaluate mdm"
    )


@pytest.mark.parametrize("value", ["evil.py:EVIL", "evil:EVIL", "deep/evil.py"])
@pytest.mark.parametrize("option", ["schema", "normaliser"])
def test_a_file_names_no_code_where_a_path_is_asked_for(
    refused: Callable[..., str], option: str, value: str
):
    message = refused(f"problem: {{{option}: '{value}'}}", "check synthetic-faces")
    assert f"problem.{option}: a file sets options and names no code" in message


@pytest.mark.usefixtures("seen")
def test_a_file_gives_no_class_to_an_option_that_takes_one(refused: Callable[..., str]):
    message = refused("problem: {lens: evil.Evil}", "check seen.py:Seen")
    assert "problem.lens: a file sets options and names no code" in message
    assert "problem.lens.class_path: a file" in refused(
        "problem: {lens: {class_path: evil.Evil}}", "check seen.py:Seen"
    )


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("--problem.names afw", "names ('afw',) much 1.0"),
        ("--problem.names=afw,ibug", "names ('afw', 'ibug') much 1.0"),
        ("--problem.names [afw]", "names ('afw',) much 1.0"),
        ("--problem.much 2", "names () much 2.0"),
        ("--problem.much 2,3", "names () much (2.0, 3.0)"),
    ],
)
def test_a_sequence_is_written_with_or_without_brackets(
    seen: Callable[..., str], words: str, shown: str
):
    assert shown in seen(words)


def test_what_is_written_is_read_again(tmp_path: Path):
    content = {
        "seed": 1,
        "problem": {"root": None, "train": ["afw", "helen/trainset"]},
        "bptt": {"lr": 1e-4},
    }
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump(content))
    assert read_config(file) == content
    with pytest.raises(DescentError, match=r"gone.yaml: expected a YAML file: .*No such file"):
        read_config(tmp_path / "gone.yaml")


@pytest.mark.parametrize(
    "words", ["--config c.yaml --problem.much 2", "--problem.much 2 --config c.yaml"]
)
def test_what_is_typed_goes_before_what_a_file_says(seen: Callable[..., str], words: str):
    """Wherever it stands: a training once took 1,300 iterations from a file, and not the 2 typed
    before it."""
    Path("c.yaml").write_text("problem: {much: 3, names: [afw]}")
    assert "names ('afw',) much 2.0" in seen(words)
