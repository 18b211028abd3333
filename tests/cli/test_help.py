"""The help of the commands, as a reader meets it."""

from __future__ import annotations

import re

import pytest

from learned_descent.cli.main import main
from learned_descent.names import PROBLEMS

MARKUP = re.compile(r"`|^ *\.\. ", re.MULTILINE)


def shown(capsys: pytest.CaptureFixture[str], line: str) -> str:
    with pytest.raises(SystemExit, match="0"):
        main(line.split())
    return capsys.readouterr().out


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("family", ["sdm", "mdm"])
def test_there_is_no_markup_in_it(capsys: pytest.CaptureFixture[str], problem: str, family: str):
    text = shown(capsys, f"train {problem} --family {family} --help")
    assert "--model.num_steps" in text
    assert not MARKUP.search(text)


@pytest.mark.parametrize(
    "line", ["train", "compare", "evaluate", "calibrate", "check", "align", "inspect"]
)
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], line: str):
    text = shown(capsys, f"{line} --help")
    assert "--config" in text
    assert not MARKUP.search(text)
    assert ("--data PATH" in text) == (line not in ("align", "inspect"))


@pytest.mark.parametrize(
    "line",
    ["train faces", "train faces --family mdm", "compare faces", "check faces", "evaluate mdm"],
)
def test_the_short_names_are_listed(capsys: pytest.CaptureFixture[str], line: str):
    text = shown(capsys, f"{line} --help")
    assert "--problem.root ROOT, --data ROOT" in text
    assert "--problem.skip_bad {true,false}, --skip-bad {true,false}" in text


def test_without_a_family_the_options_of_the_problem_are_shown(capsys: pytest.CaptureFixture[str]):
    text = shown(capsys, "train faces --help")
    assert "--problem.crop" in text
    assert "--model.num_steps" not in text
    assert main(["train", "analytic", "--data", "here", "--family", "mdm", "--out", "x"]) == 2
    assert (
        "--data: it is short for --problem.root or --problem.data, and this problem has no such "
        "setting" in capsys.readouterr().err
    )
