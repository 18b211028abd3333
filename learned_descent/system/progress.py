"""Progress of what takes a while: a moving bar on a terminal, and a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

SECONDS_PER_LINE = 10.0
"""The time between two lines of one bar in a log."""


def progress_bar(
    items: Iterable[Any] | None = None,
    desc: str | None = None,
    *,
    total: int | None = None,
    initial: int = 0,
    unit: str = "it",
    disable: bool = False,
) -> tqdm[Any]:
    """A bar on the error stream; where that is no terminal, a line every ten seconds and one at the
    end.

    Args:
        items: what it counts while it is iterated over; without it ``update`` counts.
        desc: what is done.
        total: how many there will be; by default the length of ``items``.
        initial: how many are done already.
        unit: what is counted.
        disable: whether nothing is shown.

    Example:
        >>> list(progress_bar([3, 4], "squaring", disable=True))
        [3, 4]
    """
    file: Any = sys.stderr if sys.stderr.isatty() else _Log(sys.stderr)
    return tqdm(items, desc, total, initial=initial, unit=unit, disable=disable, file=file)


class _Log:
    """A file that makes lines of a bar that is drawn over and over, at most one in ten seconds and
    the last one.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._bar = ""
        self._last = time.monotonic()

    def write(self, text: str) -> None:
        self._bar = text.strip("\r\n ") or self._bar
        ended = text.endswith("\n")
        now = time.monotonic()
        if self._bar and (ended or now - self._last >= SECONDS_PER_LINE):
            self._stream.write(f"{self._bar}\n")
            self._stream.flush()
            self._bar = ""
            self._last = now

    def flush(self) -> None:
        """Lines are flushed as they are written."""
