"""Being asked to end, by Ctrl-C or SIGTERM: heard in the end, and not in the middle of what must
not be cut off.
"""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_AGAIN = 0.05
"""The seconds after which a signal is repeated whose exception was dropped."""

_ENDING = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM came: it ends a command as Ctrl-C does."""


@contextmanager
def unbroken() -> Iterator[None]:
    """A request to end waits until the block is left: nothing is raised between two lines that
    belong together.
    """
    if not _in_main_thread():
        yield
        return
    asked: list[int] = []
    previous = {number: signal.getsignal(number) or signal.SIG_DFL for number in _ENDING}
    try:
        for number in _ENDING:
            signal.signal(number, lambda number, frame: asked.append(number))
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if asked:  # also where the block fails: who goes on after that would never hear of it
            signal.raise_signal(asked[0])


@contextmanager
def sigterm_ends() -> Iterator[None]:
    """SIGTERM ends the block by :class:`Terminated`, so that workers are ended and half a file is
    removed.
    """
    if not _in_main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        if sys.platform != "win32":
            # Workers that end with us are no failure of theirs
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        raise Terminated

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def heard() -> Iterator[None]:
    """Asks once more where Python drops what a signal raised: in a destructor, or in what runs
    after a fork.
    """

    def repeat(unraisable: sys.UnraisableHookArgs) -> None:
        if not isinstance(unraisable.exc_value, KeyboardInterrupt):
            previous(unraisable)
            return
        number = signal.SIGTERM if isinstance(unraisable.exc_value, Terminated) else signal.SIGINT
        # Not in here, where it would be dropped, too
        threading.Timer(_AGAIN, _ask, [number]).start()

    previous = sys.unraisablehook
    sys.unraisablehook = repeat
    try:
        yield
    finally:
        sys.unraisablehook = previous


def _ask(number: int) -> None:
    """Sends a signal to the main thread, where it also ends a call that waits."""
    if sys.platform == "win32":
        _thread.interrupt_main(number)
    else:
        signal.pthread_kill(threading.main_thread().ident or 0, number)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
