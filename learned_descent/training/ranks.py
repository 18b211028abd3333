"""The one place that knows how trainings spread over devices and ranks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from .._allocator import keep_freed_memory
from .._check import DescentError

if TYPE_CHECKING:
    from lightning_fabric import Fabric as Fabric  # what trains by it is annotated ranks.Fabric


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
