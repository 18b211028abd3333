"""Files that are whole or not there: atomic writes, and nested states of tensors as safetensors."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ._check import DescentError

_TENSOR = "__tensor__"


def atomic_write(path: str | Path, write: Callable[[Path], object]) -> None:
    """Writes a file so that it is either the old one or the whole new one, whatever happens.

    Args:
        path: the file; missing folders are made.
        write: writes the content to the temporary path that it is given, which has the suffix of ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """Writes ``value`` as indented JSON, atomically."""
    text = json.dumps(value, indent=2) + "\n"
    atomic_write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def save_state(path: str | Path, state: Any, metadata: Mapping[str, str] | None = None) -> None:
    """Writes a nested state (mappings with text or whole-number keys, lists, numbers, texts, tensors) as one safetensors file.

    The tensors are stored as they are; the rest is JSON in the metadata. Nothing is pickled.

    Example:
        >>> import tempfile, torch
        >>> path = Path(tempfile.mkdtemp()) / "state.safetensors"
        >>> save_state(path, {"step": 3, "moments": {0: [torch.ones(2), None]}})
        >>> load_state(path)
        {'step': 3, 'moments': {0: [tensor([1., 1.]), None]}}
    """
    tensors: dict[str, Tensor] = {}
    packed = json.dumps(_pack(state, tensors))
    atomic_write(path, lambda temporary: save_file(tensors, temporary, {**(metadata or {}), "state": packed}))


def load_state(path: str | Path) -> Any:
    """Reads what :func:`save_state` wrote.

    Raises:
        DescentError: if the file is missing, truncated or not one of ours.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            packed = (file.metadata() or {}).get("state")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError) as error:
        raise DescentError(f"{path}: expected a saved state, could not read it ({error}); remove it to start afresh") from error
    if packed is None:
        raise DescentError(f"{path}: expected a saved training state, got a safetensors file of another kind")

    try:
        return _unpack(json.loads(packed), tensors)
    except (ValueError, KeyError, TypeError) as error:
        raise DescentError(f"{path}: expected a saved training state, its description does not make sense ({error})") from error


# Not closures: one that calls itself is a cycle, and holds its tensors until the garbage collector comes by.
def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {_TENSOR: name}
    if isinstance(value, Mapping):
        return {"__items__": [[key, _pack(item, tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_pack(item, tensors) for item in value]
    return value


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if _TENSOR in value:
            return tensors[value[_TENSOR]]
        return {key: _unpack(item, tensors) for key, item in value["__items__"]}
    return [_unpack(item, tensors) for item in value] if isinstance(value, list) else value
