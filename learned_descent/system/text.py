"""Aligned text tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from difflib import get_close_matches


def lay_out(groups: Sequence[Sequence[Sequence[str]]], titles: Sequence[str]) -> str:
    """Groups of columns under centred titles; the first column is flush left, all others flush
    right.
    """
    above: list[str] = []
    lines = [""] * len(groups[0][0])
    for place, (group, title) in enumerate(zip(groups, titles)):
        widths = [max(map(len, column)) for column in group]
        widths[0] += max(0, len(title) - sum(widths) - 2 * (len(widths) - 1))
        for row in range(len(lines)):
            cells = [
                f"{column[row]:{'>' if place else '<'}{width}}"
                for column, width in zip(group, widths)
            ]
            lines[row] += ("  " if place else "") + "  ".join(cells)
        above.append(title.center(sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join(["  ".join(above).rstrip(), lines[0], "-" * len(lines[0]), *lines[1:]])


def aligned(values: Sequence[float], like: Sequence[float] | None = None) -> list[str]:
    """Numbers with the decimals that show three digits of the smallest one, or of the smallest of
    ``like``; in scientific notation beyond five decimals.
    """
    known = values if like is None else like
    smallest = min((value for value in known if 0 < value < math.inf), default=1.0)
    decimals = max(0, 2 - math.floor(math.log10(smallest)))
    return [f"{value:.{decimals}f}" if decimals <= 5 else f"{value:.2e}" for value in values]


def number(value: float | int | str) -> str:
    """A number for a reader: three digits, whole numbers in full; a text as it is."""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 100 else f"{value:.3g}"


def suggestion(word: str, known: Iterable[str]) -> str:
    """What a message says after a misspelt word: the nearest of the known ones, if one is near.

    Example:
        >>> suggestion("trian", ["train", "align"]), suggestion("help", ["train", "align"])
        (': did you mean train?', '')
    """
    near = get_close_matches(word, list(known), 1, 0.7)
    return f": did you mean {near[0]}?" if near else ""


def printable(text: str) -> str:
    r"""A text that came from a file, for a terminal: control characters, which could steer it, are
    spelt out.

    Example:
        >>> printable("red \x1b[31m")
        'red \\x1b[31m'
    """
    return "".join(
        char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text
    )
