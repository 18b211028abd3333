"""The Python of the README and of the documentation runs, and prints what the text says it
prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if "```python" in page.read_text("utf-8")
]
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"\d+\.\d+(?:e-?\d+)?")


def assert_prints(printed: str, documented: str) -> None:
    """The same words; decimals may differ as they do between machines."""
    assert NUMBER.sub("#", printed).split() == NUMBER.sub("#", documented).split()
    found, expected = (list(map(float, NUMBER.findall(text))) for text in (printed, documented))
    assert found == pytest.approx(expected, rel=0.2, abs=0.01)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_runs(
    page: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.chdir(tmp_path)
    blocks = BLOCK.findall(page.read_text("utf-8"))
    assert len(blocks) == page.read_text("utf-8").count("```python")
    names: dict[str, object] = {"__name__": "__main__"}
    for code, documented in blocks:
        capsys.readouterr()
        exec(compile(code, page.name, "exec"), names)
        if documented:
            assert_prints(capsys.readouterr().out, documented)


def test_readme_names_the_two_commands_first() -> None:
    commands = re.findall(r"^make \w+", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert commands[:2] == ["make compare", "make test"]


def test_a_wrong_output_is_noticed() -> None:
    with pytest.raises(AssertionError):
        assert_prints("mean error 0.5", "mean error 0.1")
    with pytest.raises(AssertionError):
        assert_prints("one", "two")
