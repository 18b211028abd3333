"""What readers of JSON and of text share: entries that must be there, and pictures near a file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from ...errors import DescentError

_ABOVE = 3
"""How many folders above its own a file's pictures are looked for."""


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        DescentError: if it cannot be read.
    """
    try:
        found = path.stat()
        return _parsed(path, found.st_mtime_ns, found.st_size)
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable(path, "a JSON file", error) from error


@lru_cache(maxsize=1)
def _parsed(path: Path, changed: int, size: int) -> Any:
    """What is in a file of that time and size: several formats look into it before one reads it."""
    return json.loads(path.read_text(encoding="utf-8-sig"))


def forget_json() -> None:
    """Frees what :func:`read_json` keeps of the last file."""
    _parsed.cache_clear()


def unreadable(path: Path, wanted: str, error: Exception) -> DescentError:
    """What there is to say of a file that is not what was expected.

    Example:
        >>> print(unreadable(Path("a.csv"), "a table of text", ValueError("odd")))
        a.csv: expected a table of text: odd
    """
    if isinstance(error, UnicodeDecodeError):
        return DescentError(
            f"{path}: expected {wanted} in UTF-8, got byte {error.object[error.start]:#x}, as of "
            "Latin-1: save it anew as UTF-8 (in a spreadsheet: CSV UTF-8)"
        )
    return DescentError(f"{path}: expected {wanted}: {error}")


def entry(data: Any, key: str, where: str, kind: type = object) -> Any:
    """An entry that must be there.

    Raises:
        DescentError: if it is not, or of another kind.

    Example:
        >>> entry({"id": 3}, "id", "wings.json", int)
        3
    """
    if not isinstance(data, Mapping) or key not in data:
        raise DescentError(f"{where}: expected an entry {key!r}, and there is none; add it")
    if not isinstance(data[key], kind):
        found = type(data[key]).__name__
        raise DescentError(f"{where}: {key}: expected a {kind.__name__}, got {found}; mend it")
    return data[key]


def numbers_of(data: Any, key: str, where: str, count: int | None = None) -> list[float]:
    """An entry that is a list of numbers.

    Raises:
        DescentError: if it is not, or of another length.

    Example:
        >>> numbers_of({"bbox": [1, 2, 3, 4]}, "bbox", "wings.json")
        [1.0, 2.0, 3.0, 4.0]
    """
    found = entry(data, key, where, list)
    if not all(isinstance(value, (int, float)) and value is not True for value in found):
        raise DescentError(f"{where}: {key}: expected numbers, got {found!r}; mend it")
    if count is not None and len(found) != count:
        raise DescentError(f"{where}: {key}: expected {count} numbers, got {len(found)}; mend it")
    return [float(value) for value in found]


def find_image(path: Path, name: str, folders: Sequence[str] = ("images",)) -> Path:
    r"""The picture that a file names: as the name leads from the folder of the file, else below one
    of ``folders`` beside the file or above; the first of these where there is none.

    Example:
        >>> find_image(Path("/nowhere/wings.json"), "pictures\\a.png").as_posix()
        '/nowhere/pictures/a.png'
    """
    local = PurePosixPath(name.replace("\\", "/"))
    first = path.parent / local
    above = [path.parent, *path.parent.absolute().parents][: _ABOVE + 1]
    places = [first, *(parent / folder / local for parent in above for folder in folders)]
    return next((place for place in places if is_file(place)), first)


def is_file(path: Path) -> bool:
    """Whether there is a file; a name that can be none is none.

    Example:
        >>> is_file(Path("9" * 10_000))
        False
    """
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def in_order(names: Iterable[str]) -> tuple[list[str], bool]:
    """Points without repetition, numbers in their order and names as they are first met; and
    whether they are names.

    Example:
        >>> in_order(["10", "2", "10"]), in_order(["tip", "root"])
        ((['2', '10'], False), (['tip', 'root'], True))
    """
    found = dict.fromkeys(names)
    numbered = all(name.isdecimal() for name in found)
    return (sorted(found, key=int) if numbered else list(found)), not numbered
