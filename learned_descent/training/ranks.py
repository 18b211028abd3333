"""The one place that knows how trainings spread over devices and ranks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import torch
import torch.distributed as dist
from torch import Tensor

from ..errors import DescentError
from ..system.allocator import keep_freed_memory

if TYPE_CHECKING:
    from lightning_fabric import Fabric as Fabric  # what trains by it is annotated ranks.Fabric

Accelerator: TypeAlias = Literal["auto", "cpu", "cuda"]
"""Where a training runs: ``"auto"`` takes a GPU where there is one."""


def launch(accelerator: str, devices: int, precision: Any = "32-true") -> Fabric:
    """A running Fabric: the ranks that ``torchrun`` started, else ``devices`` devices of this
    machine.

    Args:
        accelerator: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        devices: the number of devices; under ``torchrun`` its ``--nproc-per-node`` counts instead.
        precision: Fabric's name of the precision, such as ``"32-true"`` or ``"bf16-mixed"``.

    Raises:
        DescentError: if ``"cuda"`` is asked for where there is none, or more devices than this
            machine has.
    """
    # Takes as long to import as PyTorch: only what trains waits for it
    from lightning_fabric import (
        Fabric,
    )

    if accelerator == "cuda" and not torch.cuda.is_available():
        raise DescentError(
            'accelerator="cuda": PyTorch finds no CUDA device on this machine; use "cpu" or "auto"'
        )
    if dist.is_torchelastic_launched():
        local, world = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
        fabric = Fabric(
            accelerator=accelerator,
            devices=local,
            num_nodes=world // local,
            strategy="ddp",
            precision=precision,
        )
    else:
        _check_devices(accelerator, devices)
        fabric = Fabric(accelerator=accelerator, devices=devices, precision=precision)
    fabric.launch()
    if fabric.device.type == "cpu":
        keep_freed_memory()
    return fabric


def alone(trainer: str) -> Fabric:
    """A Fabric of this process, for what cannot be shared out.

    Args:
        trainer: what the message calls it.

    Raises:
        DescentError: if there are other ranks.
    """
    fabric = launch("cpu", 1)
    if fabric.world_size > 1:
        raise DescentError(
            f"{trainer} trains in one process, got {fabric.world_size} ranks: start it without "
            "torchrun"
        )
    return fabric


def summed(fabric: Fabric, value: Tensor) -> Tensor:
    """The sum of ``value`` over the ranks."""
    if fabric.world_size == 1:
        return value
    return cast(Tensor, fabric.all_reduce(value, reduce_op="sum"))


def _check_devices(accelerator: str, devices: int) -> None:
    """Every device becomes a process: sixty of them on two cores bring a machine to its knees."""
    on_cuda = accelerator != "cpu" and torch.cuda.is_available()
    most = torch.cuda.device_count() if on_cuda else max(2, os.cpu_count() or 1)
    if devices > most:
        kind = "CUDA devices" if on_cuda else "processes on the cores of this machine"
        raise DescentError(f"devices: expected at most {most} {kind}, got {devices}")
