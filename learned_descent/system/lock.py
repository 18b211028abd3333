"""Folders that one run uses at a time, and which of the processes of a run speaks for it."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import torch.distributed as dist

from ..errors import DescentError
from ..files import UNFINISHED

if sys.platform != "win32":
    import fcntl

LOCK = ".learned_descent.lock"
"""The file that is locked; it says who holds it, and goes away with the run."""

_held: set[Path] = set()
"""The folders that this process has locked: what a command has locked, its trainer may use."""


def main_rank() -> bool:
    """Whether this process writes and speaks for its run: the first rank, told by who started it or
    by PyTorch.
    """
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank() == 0
    return int(os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or 0) == 0


def several_ranks() -> bool:
    """Whether this process works with others on one training."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@contextmanager
def locked(folder: str | Path | None) -> Iterator[None]:
    """Keeps a folder for this run until the block ends, and clears away what killed writers left in
    it.

    The lock dies with the process, however that ends. The ranks of one run share the lock of the
    first.

    Args:
        folder: the folder, which is made where it is missing; ``None`` for nothing to lock.

    Raises:
        DescentError: if another process holds it, or it cannot be written to.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, locked(folder):
        ...     [path.name for path in Path(folder).iterdir()]
        ['.learned_descent.lock']
    """
    place = None if folder is None else Path(folder).resolve()
    if place is None or place in _held or not main_rank():
        yield
        return
    file = _acquired(place)
    _held.add(place)
    try:
        for left in place.glob(f"{UNFINISHED}*"):
            left.unlink(missing_ok=True)
        yield
    finally:
        _held.discard(place)
        with suppress(OSError):
            (place / LOCK).unlink()  # while it is locked, so that nobody else's goes
        file.close()


def _acquired(folder: Path) -> IO[str]:
    """The lock file of a folder, locked and signed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            file = (folder / LOCK).open("a+", encoding="utf-8", errors="replace")
            if not _lock(file):
                break
            if os.fstat(file.fileno()).st_nlink:  # else who had it removed it in the meantime
                file.truncate(0)
                file.write(
                    f"process {os.getpid()} on {socket.gethostname()} since "
                    f"{time.strftime('%Y-%m-%d %H:%M:%S')}"
                )
                file.flush()
                return file
            file.close()
    except OSError as error:
        raise DescentError(
            f"{folder}: expected a folder that can be written to: {error}; choose another one"
        ) from error
    with file:
        file.seek(0)
        holder = "".join(letter for letter in file.read(200) if letter.isprintable())
    raise DescentError(
        f"{folder}: is in use by another run ({holder}): wait for its end or stop it, or choose "
        "another folder"
    )


def _lock(file: IO[str]) -> bool:
    """Whether the file is ours now, or cannot be locked where it lies."""
    if sys.platform == "win32":
        return True
    try:
        # Unlike flock's, forked workers do not inherit it
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True  # a file system without locks
    return True
