"""YAML and JSON files of bounded size, which build nothing but lists, mappings, text and
numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ..errors import DescentError

_BYTES = 2**18
_ENTRIES = 10_000
_DEPTH = 20
"""Far beyond any file of settings: a few bytes can ask for gigabytes by aliases, or for hours."""


def read_document(file: Path, name: str) -> Any:
    """What a YAML file holds; JSON is YAML too.

    Args:
        file: the file.
        name: what messages begin with.

    Raises:
        DescentError: if the file cannot be read, is no YAML, or is beyond all bounds.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "numbers.yaml"
        >>> _ = file.write_text("edges: [[0, 1], [1, 2]]")
        >>> read_document(file, "numbers")
        {'edges': [[0, 1], [1, 2]]}
    """
    try:
        if file.stat().st_size > _BYTES:
            raise DescentError(f"{name}: expected a YAML file of at most {_BYTES // 1024} kB")
        text = file.read_text(encoding="utf-8")
        _check_bounds(text, name)
        return yaml.safe_load(text)
    except DescentError:
        raise
    except (
        OSError,
        ValueError,
        yaml.YAMLError,
    ) as error:  # a number of 5,000 digits is a ValueError
        raise DescentError(f"{name}: expected a YAML file: {error}") from error


def _check_bounds(text: str, name: str) -> None:
    """Looks at the tokens alone, without memory or recursion, before anything is built of them."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(
            event, yaml.CollectionEndEvent
        )
        if depth > _DEPTH or count > _ENTRIES:
            most = f"{_DEPTH} levels and {_ENTRIES:,} entries"
            raise DescentError(f"{name}: expected at most {most}, it has more")
        if isinstance(event, yaml.AliasEvent):
            alias = f"the alias *{event.anchor}"
            raise DescentError(f"{name}: {alias} is not read: write out what it stands for")
        if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)) and event.tag:
            raise DescentError(f"{name}: the tag {event.tag} is not read: leave it out")
