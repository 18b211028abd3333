"""Files that are whole or not there: atomic writes, and nested states of tensors as safetensors."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .errors import DescentError
from .signals import unbroken

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNFINISHED = ".learned_descent-"
"""How the names of files begin that are being written; what a killed process leaves can be told by
it."""

_TENSOR = "__tensor__"
_CHECKSUM = "checksum"


def atomic_write(path: str | Path, write: Callable[[Path], object]) -> None:
    """Writes a file so that it is either the old one or the whole new one, whatever happens.

    Args:
        path: the file; missing folders are made.
        write: writes the content to the temporary path that it is given, which has the suffix of
            ``path``.

    Raises:
        DescentError: if it cannot be written, such as on a full disk; the old file is kept then.
    """
    with unbroken(), growing(path) as temporary:
        write(temporary)


@contextmanager
def growing(path: str | Path) -> Iterator[Path]:
    """A file that grows beside its name, and takes it when the block ends; where that fails nothing
    of it is left.

    Args:
        path: the file; missing folders are made.

    Returns:
        The path to write to, which has the suffix of ``path``.

    Raises:
        DescentError: if it cannot be written, such as on a full disk; the old file is kept then.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with growing(f"{folder}/rows.csv") as rows:
        ...         _ = rows.write_text("0,1")
        ...     Path(folder, "rows.csv").read_text()
        '0,1'
    """
    path = Path(path)
    try:
        with ExitStack() as leaving:
            with unbroken():
                path.parent.mkdir(parents=True, exist_ok=True)
                handle, name = tempfile.mkstemp(
                    prefix=UNFINISHED, suffix=path.suffix, dir=path.parent
                )
                temporary = Path(name)
                leaving.callback(temporary.unlink, missing_ok=True)
                os.close(handle)
            yield temporary
            with unbroken():
                _settle_in(temporary, path)
    except (OSError, SafetensorError) as error:
        kept = "the one that was there is kept" if path.exists() else "nothing of it is left"
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DescentError(
            f"{path}: this file could not be written ({reason}); {kept}; make room, or choose "
            "another folder"
        ) from error
    _settle(path.parent)


def _settle_in(temporary: Path, path: Path) -> None:
    """Gives a file that is written its name."""
    umask = os.umask(0)
    os.umask(umask)
    temporary.chmod(0o666 & ~umask)
    with temporary.open("rb+") as file:  # a name must not outlive a crash without its content
        os.fsync(file.fileno())
    temporary.replace(path)


def _settle(folder: Path) -> None:
    """Waits until the names in a folder are on the disk, where the system can tell."""
    if os.name == "posix":
        with suppress(OSError):  # not every network file system knows it
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def plain(value: Any) -> Any:
    """What JSON can hold of a value: anything that it does not know becomes a text; ``None``
    becomes ``{}``.

    Example:
        >>> plain({"table": Path("a.csv"), "lr": 0.1})
        {'table': 'a.csv', 'lr': 0.1}
    """
    return json.loads(json.dumps(value or {}, default=str))


def write_json(path: str | Path, value: Any) -> None:
    """Writes ``value`` as indented JSON, atomically; JSON knows no NaN and no infinity, so they
    become null.
    """
    text = json.dumps(or_null(value), indent=2, allow_nan=False) + "\n"
    atomic_write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_text(path: str | Path, text: str) -> None:
    """Writes a text that ends with its line, atomically."""
    whole = text.rstrip("\n") + "\n"
    atomic_write(path, lambda temporary: temporary.write_text(whole, encoding="utf-8"))


def or_null(value: Any) -> Any:
    """Nested mappings and lists in which numbers that are not finite are ``None``."""
    if isinstance(value, Mapping):
        return {key: or_null(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [or_null(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def save_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Writes tensors and texts as one safetensors file, atomically, with a checksum that
    :func:`check_checksum` knows.
    """
    sealed = {**metadata, _CHECKSUM: _checksum(tensors, metadata)}
    atomic_write(path, lambda temporary: save_file(dict(tensors), temporary, sealed))


def read_tensors(
    path: str | Path, *, tensors: bool = True
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The texts of a safetensors file, and its tensors or, where they are not wanted, none.

    Raises:
        OSError: if the file is missing, truncated, or of another kind.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_tensors(f"{folder}/a.safetensors", {"a": torch.ones(2)}, {"made": "here"})
        ...     texts, found = read_tensors(f"{folder}/a.safetensors")
        >>> texts["made"], found
        ('here', {'a': tensor([1., 1.])})
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            names = file.keys() if tensors else ()
            return file.metadata() or {}, {name: file.get_tensor(name) for name in names}
    # The last for a type that PyTorch has not
    except (SafetensorError, ValueError, AttributeError) as error:
        raise OSError(str(error)) from error


def check_checksum(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Compares what was read from a safetensors file with its checksum, if it has one.

    Raises:
        DescentError: if it is not what was written.
    """
    if _CHECKSUM in metadata and metadata[_CHECKSUM] != _checksum(tensors, metadata):
        raise DescentError(
            f"{path}: is damaged: its content and its checksum do not agree; use a copy of it, or "
            "remove it and train again"
        )


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """A digest of all tensors and texts but the checksum itself."""
    texts = sorted((key, text) for key, text in metadata.items() if key != _CHECKSUM)
    digest = hashlib.blake2b(json.dumps(texts).encode(), digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_state(path: str | Path, state: Any, metadata: Mapping[str, str] | None = None) -> None:
    """Writes a nested state (mappings with text or whole-number keys, lists, numbers, texts,
    tensors) as one safetensors file.

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
    save_tensors(path, tensors, {**(metadata or {}), "state": packed})


def load_state(path: str | Path) -> Any:
    """Reads what :func:`save_state` wrote.

    Raises:
        DescentError: if the file is missing, truncated, damaged or not one of ours.
    """
    try:
        metadata, tensors = read_tensors(path)
    except OSError as error:
        raise DescentError(
            f"{path}: expected a saved state, could not read it ({error}); remove it to start "
            "afresh"
        ) from error
    if "state" not in metadata:
        raise DescentError(
            f"{path}: expected a saved training state, got a safetensors file of another kind"
        )

    check_checksum(path, tensors, metadata)
    try:
        return _unpack(json.loads(metadata["state"]), tensors)
    except (ValueError, KeyError, TypeError) as error:
        raise DescentError(
            f"{path}: expected a saved training state, its description does not make sense "
            f"({error})"
        ) from error


# Not closures: one that calls itself is a cycle, and holds its tensors until the garbage collector
# comes by.
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


def save_figure(path: Path, figure: Figure) -> None:
    """Writes a figure, atomically, of the kind that the ending of the file names.

    A PDF has its fonts inside, as TrueType, and no date: equal figures are equal files.
    """
    from matplotlib import rc_context  # only what draws waits for it

    known = {"CreationDate": None} if path.suffix.lower() == ".pdf" else None
    with rc_context({"pdf.fonttype": 42}):
        atomic_write(path, lambda temporary: figure.savefig(temporary, dpi=150, metadata=known))
