"""How the page measures: all methods in turns within one run, in processor seconds of one thread.

A ratio of two times that were taken in turns survives a busy machine, a time does not. So every
round also holds a fixed piece of work, the yard: a time of ours in yards can be compared with that
of another day.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import torch

Turn: TypeAlias = Callable[[], tuple[float, Any]]
"""Runs a method; tells its processor seconds, and what it found."""

_LEAST = 0.05
"""Seconds of a turn: what takes less runs several times."""


class Race(NamedTuple):
    """Methods that do the same work.

    Attributes:
        title: the work.
        size: how many problems are solved at once.
        methods: what makes the turns of each method, ours first; it raises ``ImportError`` where a
            peer is not installed.
        goal: what ours may take, as a multiple of what another takes.
        metric: what the error is.
        note: what else the page says of it.
        error: the error of what a method found.
    """

    title: str
    size: int
    methods: Mapping[str, Callable[[], Turn]]
    goal: float = 1.0
    metric: str = ""
    note: str = ""
    error: Callable[[Any], float] | None = None

    @property
    def name(self) -> str:
        """What tells it from others."""
        return f"{self.title}, {self.size:,} at once"


def clocked(solve: Callable[[], Any]) -> Turn:
    """The turns of a method that is called; the first call, which may compile, is not timed."""
    solve()
    began = time.process_time()
    solve()
    calls = max(1, min(100, round(_LEAST / max(time.process_time() - began, 1e-6))))

    def turn() -> tuple[float, Any]:
        began = time.process_time()
        for _ in range(calls):
            found = solve()
        return (time.process_time() - began) / calls, found

    return turn


def yard() -> Turn:
    """The fixed piece of work: products of matrices, small tensors, and plain Python."""
    square, row = torch.full((192, 192), 0.1), torch.ones(16)

    def work() -> float:
        for _ in range(8):
            torch.mm(square, square)
        total = 0.0
        for step in range(2000):
            total += step % 7
        for _ in range(200):
            row.mul(1.5).add(row)
        return total

    return clocked(work)


def run(race: Race, rounds: int) -> list[dict[str, Any]]:
    """A row for each method that is there.

    Args:
        race: the methods.
        rounds: how often each has its turn; medians count.

    Returns:
        Who it is, processor ``seconds`` a problem, ``error``, and what ours ``takes`` as a multiple
        of it; for ours that is its time in ``yards``, in place of the multiple.
    """
    turns: dict[str, Turn] = {}
    for name, make in race.methods.items():
        try:
            turns[name] = make()
        except ImportError:  # the page says so once, above
            continue
    turns["yard"] = yard()
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    found: dict[str, Any] = {}
    for _ in range(rounds):
        for name, turn in turns.items():
            took, found[name] = turn()
            seconds[name].append(took)
    ours = next(iter(race.methods))
    rows = []
    for name in [name for name in turns if name != "yard"]:
        other = "yard" if name == ours else name
        times = statistics.median(mine / its for mine, its in zip(seconds[ours], seconds[other]))
        rows.append(
            {
                "who": name,
                "seconds": statistics.median(seconds[name]) / race.size,
                "yards" if name == ours else "takes": times,
                "error": None if race.error is None else race.error(found[name]),
            }
        )
    return rows
