"""How the C library serves large tensors."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""The options of ``mallopt`` in ``malloc.h``: what may lie free, and what is asked of the system by
itself, in bytes."""
_KEPT = 32 * 2**20
"""The largest tensor whose memory is kept, in bytes: the most that every glibc takes."""


@cache
def keep_freed_memory() -> bool:
    """Has the C library keep the memory of large tensors that are freed, for the next ones.

    By default glibc gives it back to the system at once, and a training or a solver asks for the
    same again in every step: page after page is then cleared anew. Tensors of more than 32 MiB go
    back all the same: they would leave holes that small ones fill, and the memory would grow. Where
    there is no glibc nothing happens.

    Returns:
        Whether it was done.

    Example:
        >>> import platform
        >>> keep_freed_memory() == (platform.libc_ver()[0] == "glibc")
        True
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    limits = {_TRIM_THRESHOLD: 2**31 - 1, _MMAP_THRESHOLD: _KEPT}
    return mallopt is not None and all(
        mallopt(option, limit) == 1 for option, limit in limits.items()
    )
