"""Progress on a terminal and in a log."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from tqdm import tqdm

from learned_descent.system import progress as _progress
from learned_descent.system.progress import progress_bar


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that bars see, in its one element."""
    now = [1000.0]
    monkeypatch.setattr(_progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_every_ten_seconds_and_one_at_the_end(clock, capsys):
    with progress_bar(desc="bptt", total=804) as bar:
        for number in range(804):
            clock[0] += 0.125
            bar.update()
            bar.set_postfix({"loss": number})  # which draws the bar anew
    log = capsys.readouterr().err
    assert "\r" not in log
    assert len(log.splitlines()) == 11
    assert all(line.startswith("bptt: ") for line in log.splitlines())
    assert "804/804" in log.splitlines()[-1]
    assert "loss=803" in log.splitlines()[-1]


def test_what_is_quick_leaves_one_line(clock, capsys):
    assert list(progress_bar(range(5), "reading", unit="face")) == [0, 1, 2, 3, 4]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("reading: 100%")
    assert "5/5" in line


def test_messages_leave_no_trace_of_a_bar_in_a_log(clock, capsys):
    with progress_bar(desc="bptt", total=2) as bar:
        bar.update()
        tqdm.write("training mdm", file=_progress.sys.stderr)
        bar.update()
    first, last = capsys.readouterr().err.splitlines()
    assert first == "training mdm"
    assert last.startswith("bptt: 100%")


def test_a_terminal_has_a_moving_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(_progress.sys, "stderr", terminal)
    with progress_bar(desc="bptt", total=3, initial=1) as bar:
        bar.set_postfix(loss=1.0)
    assert terminal.getvalue().count("\r") >= 3
    assert terminal.getvalue().count("\n") == 1


def test_nothing_is_shown_on_demand(capsys):
    list(progress_bar(range(3), disable=True))
    assert capsys.readouterr().err == ""


def test_every_bar_is_made_here():
    root = Path(_progress.__file__).parents[2]
    sources = [*root.glob("learned_descent/**/*.py"), *root.glob("benchmarks/**/*.py")]
    makers = [
        path.name
        for path in sources
        if re.search(r"\bt(qdm|range)\(", path.read_text(encoding="utf-8"))
    ]
    assert makers == ["progress.py"]
