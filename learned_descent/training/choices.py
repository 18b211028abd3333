"""Objects that are settings: compared by what they were made with, and stored as text."""

from __future__ import annotations

from abc import ABC
from typing import ClassVar


class Choice(ABC):  # noqa: B024 - what it does is up to each kind
    """A part of a training that a user may write and choose by name.

    Its attributes are its settings: two of one class with equal ones are equal, and a training that
    goes on from a checkpoint compares them.
    """

    name: ClassVar[str] = ""
    """Under which it is built in; nothing for one's own."""

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({settings})"

    def __str__(self) -> str:
        """The name of a built-in one, and else class and settings: what is stored of it."""
        return self.name or repr(self)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(repr(self))
