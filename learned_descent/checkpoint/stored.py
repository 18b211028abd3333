"""What a weights file holds, checked before anything is made of it: a file is data, and anybody may
have written it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from inspect import signature
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn

from ..errors import DescentError
from ..files import check_checksum, read_tensors
from ..system.text import printable
from ..weights import find_weights
from .description import FORMAT

KEY = "learned_descent"
"""The name of the description in the metadata."""

LARGEST_SETTING = 10_000_000
"""The largest whole number among the settings of a file, seeds apart: sizes of this kind fit into
memory."""

_DEPTH = 30

_Module = TypeVar("_Module", bound=nn.Module)


@dataclass(frozen=True)
class StoredModel:
    """What a weights file holds, read once and checked.

    Attributes:
        path: the file.
        description: what it says about itself: ``format``, ``problem``, ``observation``, ``model``,
            ``training``, ...
        tensors: its tensors by name.
    """

    path: Path
    description: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @property
    def training(self) -> dict[str, Any]:
        """What it says of its training; nothing if it is silent."""
        return dict(self.description.get("training") or {})


def read_stored(weights: str | Path | StoredModel) -> StoredModel:
    """The content of a weights file; what was read before is not read again.

    Raises:
        DescentError: if the file is missing, truncated, damaged, of another kind or version, or its
            description is none.
    """
    if isinstance(weights, StoredModel):
        return weights
    return StoredModel(Path(weights), *_read(Path(weights), tensors=True))


def find_stored(weights: str | Path | StoredModel) -> StoredModel:
    """As :func:`read_stored`, of a file or of weights that come with the package, by their name.

    Raises:
        DescentError: if nothing answers to the name, and as :func:`read_stored` does.
    """
    return weights if isinstance(weights, StoredModel) else read_stored(find_weights(weights))


def read_description(path: str | Path) -> dict[str, Any]:
    """What a weights file says about itself: ``format``, ``problem``, ``observation``, ``model``,
    ``training``, ...; its tensors are not looked at.

    Raises:
        DescentError: as :func:`read_stored` does, but for a damaged file.
    """
    return _read(Path(path), tensors=False)[0]


def _read(path: Path, *, tensors: bool) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise DescentError(
            f"{path}: expected a weights file, found {'a folder' if path.is_dir() else 'nothing'} "
            "there"
        )
    try:
        metadata, values = read_tensors(path, tensors=tensors)
    except OSError as error:
        raise DescentError(
            f"{path}: expected a safetensors file, could not read it ({printable(str(error))}): "
            "truncated or foreign"
        ) from error
    if KEY not in metadata:
        kind = (
            "the state of a training, not a model: give model.safetensors"
            if "state" in metadata
            else "of another program"
        )
        raise DescentError(
            f"{path}: expected a model of learned_descent, got a safetensors file {kind}"
        )
    if tensors:
        check_checksum(path, values, metadata)
    return _description(path, metadata[KEY]), values


def _description(path: Path, text: str) -> dict[str, Any]:
    try:
        description = json.loads(text)
        version = description["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DescentError(
            f"{path}: expected a description as JSON in the metadata, could not read it: "
            f"{_short(error)}"
        ) from error
    if version != FORMAT:
        raise DescentError(
            f"{path}: expected format {FORMAT}, got {_short(version)}: use the learned_descent "
            "that wrote it"
        )
    _check_depth(path, description)
    for part in ("problem", "model"):
        _check_part(path, part, description.get(part))
    _check_observation(path, description.get("observation"))
    _check_training(path, description.get("training"))
    return dict(description)


def _check_depth(path: Path, value: Any) -> None:
    level = [value]
    for _ in range(_DEPTH):
        level = [
            inner
            for item in level
            if isinstance(item, (dict, list))
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
    if level:
        raise DescentError(
            f"{path}: expected a description of at most {_DEPTH} levels, it has more"
        )


def _check_part(path: Path, part: str, found: Any) -> None:
    """A part of a description is ``{"name": text, "settings": {...}}``."""
    if (
        not isinstance(found, dict)
        or not isinstance(found.get("name"), str)
        or not isinstance(found.get("settings"), dict)
    ):
        raise DescentError(
            f"{path}: expected the name and the settings of the {part} in the description, got "
            f"{_short(found)}"
        )
    for name, value in found["settings"].items():
        if "seed" not in name:
            _check_sizes(path, f"{part}.{name}", value)


def _check_sizes(path: Path, name: str, value: Any) -> None:
    if isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            _check_sizes(path, name, inner)
    elif isinstance(value, int) and abs(value) > LARGEST_SETTING:
        raise DescentError(
            f"{path}: {name}: expected whole numbers of at most {LARGEST_SETTING:,}, got "
            f"{_short(value)}"
        )


def _check_observation(path: Path, found: Any) -> None:
    name = found.get("name") if isinstance(found, dict) else None
    if name == "frozen":
        _check_observation(path, found.get("inner"))
    elif name == "concat":
        if not isinstance(found.get("parts"), list) or not found["parts"]:
            raise DescentError(
                f"{path}: expected the parts of the observation in the description, got "
                f"{_short(found)}"
            )
        for part in found["parts"]:
            _check_observation(path, part)
    else:
        _check_part(path, "observation", found)


def _check_training(path: Path, found: Any) -> None:
    """What is said of a training, and of the one before it: ``{"settings": {...}, "seconds":
    number, "init": {...}, ...}``.
    """
    if found is None:
        return
    kinds: dict[str, Any] = {
        "settings": dict[str, Any] | None,
        "seconds": float,
        "init": dict[str, Any] | None,
    }
    if not isinstance(found, dict) or not all(
        fits(found[name], kind) for name, kind in kinds.items() if name in found
    ):
        raise DescentError(
            f"{path}: expected what is said of the training in the description, got {_short(found)}"
        )
    if not fits((found.get("settings") or {}).get("problem"), dict[str, Any] | None):
        raise DescentError(
            f"{path}: expected the settings of the training by section, got "
            f"{_short(found['settings'])}"
        )
    _check_training(path, found.get("init"))


def check_arguments(cls: type, settings: Mapping[str, Any]) -> None:
    """Compares settings that a file gives with the types of the arguments of a class.

    Raises:
        DescentError: if one is not an argument, or of another type.
    """
    try:
        arguments = signature(cls, eval_str=True).parameters
        hints = {
            name: argument.annotation
            for name, argument in arguments.items()
            if argument.annotation is not argument.empty
        }
    # A type that is imported for the type checker alone: what it cannot say the class must
    except NameError:
        hints = {}
    for name, value in settings.items():
        if not fits(value, hints.get(name, Any)):
            raise DescentError(
                f"{cls.__name__}: {name}: expected {_named(hints[name])}, got {_short(value)}"
            )


def fits(value: Any, hint: Any) -> bool:
    """Whether a value, as JSON gives it, can stand for an argument of a type.

    Example:
        >>> fits([1, 2], tuple[int, ...]), fits("1", int), fits(None, float | None), fits(True, int)
        (True, False, True, False)
    """
    origin = get_origin(hint) or hint
    arguments = get_args(hint)
    if origin is Literal:
        return isinstance(value, (str, int, NoneType)) and value in arguments
    if origin in (Union, UnionType):
        return any(fits(value, kind) for kind in arguments)
    if is_dataclass(origin) and isinstance(value, Mapping):
        hints = get_type_hints(origin)
        return all(
            fits(value[part.name], hints[part.name])
            for part in fields(origin)
            if part.name in value
        )
    if origin is float:
        return (
            isinstance(value, (int, float))
            and not isinstance(value, bool)
            and not math.isnan(value)
        )
    if origin in (bool, int, str, NoneType):
        return type(value) is origin
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, Mapping)
    if origin in (tuple, list) or (
        isinstance(origin, type) and hint.__module__ == "collections.abc"
    ):
        kinds = [kind for kind in arguments if kind is not Ellipsis]
        items = value if isinstance(value, (list, tuple)) else None
        return items is not None and all(any(fits(item, kind) for kind in kinds) for item in items)
    return True


def made_within(make: Callable[[], _Module], tensors: Mapping[str, Tensor], what: str) -> _Module:
    """What ``make`` makes, once it is known that it is about as large as the tensors of the file.

    Raises:
        DescentError: if it would be larger.
    """
    with torch.device("meta"):  # where tensors have shapes and no memory
        planned = make()
    size = sum(value.numel() for value in [*planned.parameters(), *planned.buffers()])
    stored = sum(value.numel() for value in tensors.values())
    if size > stored + LARGEST_SETTING:
        raise DescentError(
            f"the {what} that it describes has {size:,} numbers, and the file holds {stored:,}"
        )
    return make()


def _named(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(repr, get_args(hint)))}"
    return (
        hint.__name__
        if isinstance(hint, type) and not get_args(hint)
        else str(hint).replace("typing.", "")
    )


def _short(value: Any) -> str:
    text = printable(
        repr(value)
        if not isinstance(value, int) or abs(value) < 10**20
        else "a number of many digits"
    )
    return text if len(text) <= 120 else f"{text[:120]} ..."
