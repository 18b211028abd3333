"""The one place that knows how trainings spread over devices and ranks."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from .._check import DescentError

if TYPE_CHECKING:
    from lightning_fabric import Fabric as Fabric  # what trains by it is annotated ranks.Fabric

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""The options of ``mallopt`` in ``malloc.h``: what may lie free, and what is asked of the system by itself, in bytes."""
_KEPT = 32 * 2**20
"""The largest tensor whose memory is kept, in bytes: the most that every glibc takes."""


def launch(accelerator: str, devices: int, precision: Any = "32-true") -> Fabric:
    """A running Fabric: the ranks that ``torchrun`` started, else ``devices`` devices of this machine.

    Args:
        accelerator: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        devices: the number of devices; under ``torchrun`` its ``--nproc-per-node`` counts instead.
        precision: Fabric's name of the precision, such as ``"32-true"`` or ``"bf16-mixed"``.

    Raises:
        DescentError: if ``"cuda"`` is asked for where there is none.
    """
    from lightning_fabric import Fabric  # takes as long to import as PyTorch: only what trains waits for it

    if accelerator == "cuda" and not torch.cuda.is_available():
        raise DescentError('accelerator="cuda": PyTorch finds no CUDA device on this machine; use "cpu" or "auto"')
    if dist.is_torchelastic_launched():
        local, world = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
        fabric = Fabric(accelerator=accelerator, devices=local, num_nodes=world // local, strategy="ddp", precision=precision)
    else:
        fabric = Fabric(accelerator=accelerator, devices=devices, precision=precision)
    fabric.launch()
    if fabric.device.type == "cpu":
        keep_freed_memory()
    return fabric


def keep_freed_memory() -> bool:
    """Has the C library keep the memory of large tensors that are freed, for the next ones.

    By default glibc gives it back to the system at once, and a training asks for the same again in every iteration: page after
    page is then cleared anew. Tensors of more than 32 MiB go back all the same: they would leave holes that small ones fill,
    and the memory would grow. Where there is no glibc nothing happens.

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
    return mallopt is not None and all(mallopt(option, limit) == 1 for option, limit in limits.items())
