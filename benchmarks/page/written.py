"""The page as text, and what it says of the one before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from learned_descent.system.text import number

SLOWER = 1.1
"""How much slower than on the last page is said."""

_LOST = 1.1, 1e-6
"""How much larger an error than on the last page is said, as a multiple and at least."""

_HEAD = """# Beside the peers

Processor seconds of one thread, all methods of a table in turns within one run: medians of {rounds}
rounds after one that only warms up. "Ours takes" is the median of the ratio of two times of the
same round: below 1 ours is faster. Printed by `python -m benchmarks.page`, seed {seed}."""


def written(page: Mapping[str, Any], last: Mapping[str, Any] | None) -> str:
    """A page in Markdown.

    Args:
        page: the page as JSON.
        last: the last page of the same machine; ``None`` if there is none.
    """
    machine = page["machine"]
    parts = [
        _HEAD.format(rounds=page["rounds"], seed=page["seed"]),
        f"{machine['processor']}, commit {page['commit']}, {page['date']}.",
        _table(["", "version"], [[name, text] for name, text in page["peers"].items()]),
        "## Since the last page",
        "\n".join(f"* {line}" for line in since(page, last)),
    ]
    for name, race in page["races"].items():
        rows = [
            [
                row["who"],
                f"{number(1e6 * row['seconds'])}",
                f"{row['takes']:.2f}" if "takes" in row else "",
                "" if row["error"] is None else f"{row['error']:.2e}",
            ]
            for row in race["rows"]
        ]
        goal = f"Goal: ours takes at most {race['goal']:g} times as long as the others."
        heads = ["", "microseconds each", "ours takes, times", race["metric"]]
        parts += [f"## {name}", goal, _table(heads, rows)]
        if race["note"]:
            parts.append(race["note"])
    return "\n\n".join(parts) + "\n"


def since(page: Mapping[str, Any], last: Mapping[str, Any] | None) -> list[str]:
    """What is slower or less exact than on the last page of the same machine, in words."""
    if last is None:
        return ["No page of this machine to compare with."]
    lines = [*_changes(page, last)] or [f"Nothing is slower by {100 * (SLOWER - 1):.0f} % or more."]
    return [f"Compared with {last['date']}, commit {last['commit']}.", *lines]


def _changes(page: Mapping[str, Any], last: Mapping[str, Any]) -> Iterator[str]:
    for name, text in page["peers"].items():
        before = last["peers"].get(name, "not installed")
        if before != text:
            yield f"{name}: {before} before, {text} now."
    for name, race in page["races"].items():
        if name not in last["races"]:
            continue
        ours, before = race["rows"][0], last["races"][name]["rows"][0]
        times = ours["yards"] / before["yards"]
        if times >= SLOWER:
            yield f"SLOWER by {100 * (times - 1):.0f} %: {name}."
        if ours["error"] is not None and before["error"] is not None:
            factor, least = _LOST
            if ours["error"] > max(factor * before["error"], least):
                yield f"LESS EXACT: {name}: {before['error']:.2e} before, {ours['error']:.2e} now."


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
