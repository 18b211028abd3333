"""The one place that knows how trainings spread over devices and ranks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

import torch
import torch.distributed as dist
from torch import Tensor

from ..errors import DescentError
from ..system.allocator import keep_freed_memory

if TYPE_CHECKING:
    from lightning_fabric import Fabric as Fabric  # what trains by it is annotated ranks.Fabric

Accelerator: TypeAlias = Literal["auto", "cpu", "cuda"]
"""Where a training runs: ``"auto"`` takes a GPU where there is one."""

TIMEOUT: Final = "LEARNED_DESCENT_RANK_TIMEOUT"
"""The environment variable that holds the seconds that a rank waits for another one."""

_TIMEOUT: Final = 1800.0
"""The seconds where it is not set."""


def launch(accelerator: str, devices: int, precision: Any = "32-true") -> Fabric:
    """A running Fabric: the ranks that ``torchrun`` started, else ``devices`` devices of this
    machine.

    Args:
        accelerator: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        devices: the number of devices; under ``torchrun`` its ``--nproc-per-node`` counts instead.
        precision: Fabric's name of the precision, such as ``"32-true"`` or ``"bf16-mixed"``.

    Raises:
        DescentError: if ``"cuda"`` is asked for where there is none, or more devices than this
            machine has, or if not all ranks come in time.
    """
    # Takes as long to import as PyTorch: only what trains waits for it
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy

    if accelerator == "cuda" and not torch.cuda.is_available():
        raise DescentError(
            'accelerator="cuda": PyTorch finds no CUDA device on this machine; use "cpu" or "auto"'
        )
    ddp = DDPStrategy(timeout=timedelta(seconds=longest_wait()))
    if dist.is_torchelastic_launched():
        local, world = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
        fabric = Fabric(
            accelerator=accelerator,
            devices=local,
            num_nodes=world // local,
            strategy=ddp,
            precision=precision,
        )
    else:
        _check_devices(accelerator, devices)
        fabric = Fabric(
            accelerator=accelerator,
            devices=devices,
            strategy=ddp if devices > 1 else "auto",
            precision=precision,
        )
    with answered(fabric):
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
    with answered(fabric):
        return cast(Tensor, fabric.all_reduce(value, reduce_op="sum"))


def alike(fabric: Fabric, number: int) -> bool:
    """Whether all ranks have the same number."""
    numbers = torch.zeros(fabric.world_size, dtype=torch.int64, device=fabric.device)
    numbers[fabric.global_rank] = number
    return bool((summed(fabric, numbers) == number).all())


def longest_wait() -> float:
    """The seconds after which a rank that waits for another one gives up.

    Raises:
        DescentError: if the environment variable holds something else.
    """
    value = os.environ.get(TIMEOUT, str(_TIMEOUT))
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < timedelta.max.total_seconds():
        raise DescentError(f"{TIMEOUT}: expected a number of seconds > 0, got {value!r}")
    return seconds


@contextmanager
def answered(fabric: Fabric) -> Iterator[None]:
    """Says in a line that another rank keeps silent; on GPUs PyTorch itself says so, and ends the
    process.

    Args:
        fabric: the ranks. Processes that it has started itself do not stay behind.

    Raises:
        DescentError: if another rank did not answer within :func:`longest_wait`.
    """
    try:
        yield
    except RuntimeError as error:
        if fabric.world_size == 1 or "timed out" not in str(error).lower():
            raise
        for started in cast(Any, fabric.strategy).launcher.procs:
            started.kill()
        raise DescentError(
            f"rank {fabric.global_rank} of {fabric.world_size}: another rank did not answer; it "
            f"has {longest_wait():g} s ({TIMEOUT}): look whether it ended, is stopped, swapped "
            "out or cut off, and go on from the last checkpoint"
        ) from error


def _check_devices(accelerator: str, devices: int) -> None:
    """Every device becomes a process: sixty of them on two cores bring a machine to its knees."""
    on_cuda = accelerator != "cpu" and torch.cuda.is_available()
    most = torch.cuda.device_count() if on_cuda else max(2, os.cpu_count() or 1)
    if devices > most:
        kind = "CUDA devices" if on_cuda else "processes on the cores of this machine"
        raise DescentError(f"devices: expected at most {most} {kind}, got {devices}")
