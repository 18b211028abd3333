"""The help of a command: docstrings as a reader of a terminal wants them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from jsonargparse import ArgumentParser

from ..system.text import suggestion

_ROLE = re.compile(r":[a-z]+:`~?(?:[\w.]*\.)?(\w+)`")
_LITERAL = re.compile(r"``(.+?)``", re.DOTALL)


def readable(parser: ArgumentParser) -> ArgumentParser:
    """The parser, with plain text in place of the markup of docstrings in all that its help
    shows.
    """
    parser.description = without_markup(parser.description)
    for group in parser._action_groups:
        group.title = without_markup(group.title)
        group.description = without_markup(group.description)
    for action in parser._actions:
        action.help = without_markup(action.help)
    return parser


def without_markup(text: str | None) -> str | None:
    """A docstring's text without its markup; what is None in Python is null on the command line.

    Example:
        >>> without_markup("the size ``F``, or ``None``: see :class:`~learned_descent.Cascade`")
        'the size F, or null: see Cascade'
    """
    if text is None:
        return None
    return _LITERAL.sub(r"\1", _ROLE.sub(r"\1", text.replace("``None``", "null")))


_WORDING = (
    (r'Parser key "([\w.+-]+)"(?: element \d+)?:\s*', r"--\1: "),
    (r"<class '([\w.]+)'>", r"\1"),
    (r"(?:typing\.)?Literal\[(.*?)\]", r"one of \1"),
    (r"Expected an? ", "expected "),
    (r": Not of type \w+: ", ": "),
    (r"\. Got value: ", ", got "),
)
"""How the parser words a message, and how we do."""


def in_words(message: str, options: Sequence[str]) -> str:
    r"""A message of the parser for a reader, with the option that a misspelt one may stand for.

    Example:
        >>> in_words('Parser key "seed": Expected a <class \'int\'>. Got value: many', [])
        '--seed: expected int, got many'
        >>> in_words("unrecognized arguments: --iterations 5", ["--bptt.iterations"])
        'unrecognized arguments: --iterations 5: did you mean --bptt.iterations?'
    """
    for theirs, ours in _WORDING:
        message = re.sub(theirs, ours, message)
    unknown = re.match(r"unrecognized arguments: --([\w.+-]+)", message)
    if unknown is None:
        return message
    short = [option for option in options if option.endswith(f".{unknown[1]}")]
    return message + (
        f": did you mean {short[0]}?" if short else suggestion(f"--{unknown[1]}", options)
    )
