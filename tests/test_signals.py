"""Being asked to end: never unheard, and never in the middle of what belongs together."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from learned_descent.files import UNFINISHED, atomic_write, growing
from learned_descent.signals import Terminated, heard, sigterm_ends, unbroken

BOTH = pytest.mark.parametrize(
    ("number", "stop"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)


@pytest.fixture(autouse=True)
def interrupts() -> Iterator[None]:
    """Ctrl-C raises, also where a shell starts the tests in its background."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@BOTH
def test_a_signal_whose_exception_python_drops_is_heard(number: int, stop: type[KeyboardInterrupt]):
    class Asked:
        def __del__(self) -> None:
            signal.raise_signal(number)

    def wait(asked: Asked) -> None:
        del asked
        time.sleep(60)

    with pytest.raises(stop) as found, heard(), sigterm_ends():
        wait(Asked())
    assert found.type is stop


@BOTH
def test_a_file_that_is_being_written_is_finished_first(
    tmp_path, number: int, stop: type[KeyboardInterrupt]
):
    def write(path) -> None:
        signal.raise_signal(number)
        path.write_text("whole")

    with pytest.raises(stop) as found, sigterm_ends():
        atomic_write(tmp_path / "file.txt", write)
    assert found.type is stop
    assert (tmp_path / "file.txt").read_text() == "whole"
    assert not list(tmp_path.glob(f"{UNFINISHED}*"))


@BOTH
def test_a_signal_is_heard_where_the_block_fails_too(number: int, stop: type[KeyboardInterrupt]):
    def fail() -> None:
        signal.raise_signal(number)
        raise ValueError("disk full")

    with pytest.raises(stop) as found, sigterm_ends(), unbroken():
        fail()
    assert found.type is stop
    assert isinstance(found.value.__context__, ValueError)


@BOTH
def test_a_file_that_was_just_begun_is_removed(
    tmp_path, monkeypatch, number: int, stop: type[KeyboardInterrupt]
):
    close = os.close

    def closed(handle: int) -> None:
        close(handle)
        signal.raise_signal(number)

    monkeypatch.setattr(os, "close", closed)
    with pytest.raises(stop), sigterm_ends(), growing(tmp_path / "file.txt"):
        pass
    assert not list(tmp_path.iterdir())


def test_what_is_not_broken_off_leaves_the_handlers_as_they_were():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with unbroken():
        assert signal.getsignal(signal.SIGINT) is not before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_other_threads_leave_signals_alone():
    found = []

    def enter() -> None:
        before = signal.getsignal(signal.SIGTERM)
        with unbroken(), sigterm_ends():
            found.append(signal.getsignal(signal.SIGTERM) is before)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [True]
