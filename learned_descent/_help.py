"""The help of a command: docstrings as a reader of a terminal wants them."""

from __future__ import annotations

import re

from jsonargparse import ArgumentParser

_ROLE = re.compile(r":[a-z]+:`~?(?:[\w.]*\.)?(\w+)`")
_LITERAL = re.compile(r"``(.+?)``", re.DOTALL)


def readable(parser: ArgumentParser) -> ArgumentParser:
    """The parser, with plain text in place of the markup of docstrings in all that its help shows."""
    parser.description = plain(parser.description)
    for group in parser._action_groups:
        group.title = plain(group.title)
        group.description = plain(group.description)
    for action in parser._actions:
        action.help = plain(action.help)
    return parser


def plain(text: str | None) -> str | None:
    """A docstring's text without its markup; what is None in Python is null on the command line.

    Example:
        >>> plain("the size ``F``, or ``None``: see :class:`~learned_descent.models.Cascade`")
        'the size F, or null: see Cascade'
    """
    if text is None:
        return None
    return _LITERAL.sub(r"\1", _ROLE.sub(r"\1", text.replace("``None``", "null")))
