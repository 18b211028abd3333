"""Configuration files: YAML of bounded size that sets options, and never names code."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from enum import Enum
from pathlib import Path, PurePath
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import torch

from ..errors import DescentError
from ..system.documents import read_document
from ..training.choices import Choice

_CODE = {"class_path", "init_args", "dict_kwargs", "problem_file"}
"""Names under which an option would say what code to run."""

_CODE_NAME = re.compile(r"\.py(:.*)?$|^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
"""A name that would be run or imported."""

_OWN_CHOICE = re.compile(r"([A-Za-z_]\w*)\(")
"""How settings tell of a schedule or a loss of one's own: by its class and its settings."""

_TYPED = {"task", "family", "families"}
"""What a file of settings tells of a run, and a command only takes where it is typed."""


def read_config(file: Path) -> dict[str, Any]:
    """The options in a configuration file.

    Raises:
        DescentError: if the file cannot be read, is no YAML of options, is beyond all bounds, or
            names code.
    """
    content = read_document(file, f"--config {file}")
    if not isinstance(content, dict):
        found = "an empty file" if content is None else f"one {type(content).__name__}"
        raise DescentError(f"--config {file}: expected options as NAME: VALUE, got {found}")
    for name, _ in _leaves(content):
        if _CODE & set(name.split(".")):
            raise _names_code(file, name)
    if "config" in content:
        raise DescentError(
            f"--config {file}: config: a file cannot name another one: give both on the command "
            "line"
        )
    return content


def check_options(file: Path, types: Mapping[str, Any]) -> None:
    """Refuses a configuration file that gives text to an option that would take it for code, or for
    another file.

    Args:
        file: the file.
        types: the types of the options by name, such as ``"problem.root"``.

    Raises:
        DescentError: as :func:`read_config` does, and if a section is no section.
    """
    for name, value in _leaves(read_config(file)):
        if _holds_choice(types.get(name)) and (own := _OWN_CHOICE.match(str(value))):
            raise DescentError(
                f"--config {file}: {name}: {value} is one of your own, and a file names no code: "
                f"remove this line, and type --{name} file.py:{own[1]}"
            )
        code = name not in _TYPED and _looks_like_code(value)
        if code or (_has_text(value) and not _is_data(types.get(name, str))):
            raise _names_code(file, name)
        if any(option.startswith(f"{name}.") for option in types):
            found = "it is empty: leave it out" if value is None else f"got {value!r}"
            raise DescentError(
                f"--config {file}: {name}: expected options as NAME: VALUE below it, {found}"
            )


def _holds_choice(hint: Any) -> bool:
    """Whether a type is that of schedules or losses, or one of several is."""
    if get_origin(hint) in (Union, UnionType):
        return any(map(_holds_choice, get_args(hint)))
    return isinstance(hint, type) and issubclass(hint, Choice)


def _names_code(file: Path, name: str) -> DescentError:
    return DescentError(
        f"--config {file}: {name}: a file sets options and names no code: give it on the command "
        "line"
    )


def _leaves(content: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The names of all options, with the names of their sections before them, and their values."""
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{name}.")
        else:
            yield name, value


def _has_text(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and any(map(_has_text, value)))


def _looks_like_code(value: Any) -> bool:
    """Whether a text, or one of several, is ``file.py``, ``file.py:Class`` or
    ``package.module:Class``: no option takes such a name from a file.
    """
    if isinstance(value, list):
        return any(map(_looks_like_code, value))
    return isinstance(value, str) and bool(_CODE_NAME.search(value))


def _is_data(hint: Any) -> bool:
    """Whether what has this type is data: no class, no function, nothing that text could be
    imported for.
    """
    origin = get_origin(hint) or hint
    if origin in (Any, Literal, Ellipsis):
        return True
    if origin in (Union, UnionType) or (
        isinstance(origin, type) and issubclass(origin, Collection)
    ):
        return all(map(_is_data, get_args(hint)))
    return isinstance(origin, type) and issubclass(
        origin, (bool, int, float, PurePath, Enum, torch.dtype, Choice, type(None))
    )
