"""On what device, and how much of everything."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Scale:
    """The device, and whether it is to be tried only.

    Attributes:
        name: of the device, such as ``cuda``.
        quick: tiny sizes.
    """

    name: str
    quick: bool

    @property
    def device(self) -> torch.device:
        return torch.device(self.name)

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    def of(self, full: Any, quick: Any) -> Any:
        """The full size, or the tiny one."""
        return quick if self.quick else full

    def synchronise(self) -> None:
        if self.is_cuda:
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], object]) -> float:
        """The time of one call, the mean over about half a second after two calls to warm up."""
        for _ in range(2):
            work()
        self.synchronise()
        begun, calls = time.perf_counter(), 0
        while calls == 0 or time.perf_counter() - begun < self.of(0.5, 0.0):
            work()
            self.synchronise()
            calls += 1
        return (time.perf_counter() - begun) / calls

    def memory(self) -> float | None:
        """The most memory of the GPU since the last call, in GB; ``None`` on a CPU."""
        if not self.is_cuda:
            return None
        peak = torch.cuda.max_memory_allocated(self.device) / 1e9
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        return peak

    def facts(self) -> dict[str, Any]:
        """The device and the versions."""
        found: dict[str, Any] = {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "quick": self.quick,
        }
        if self.is_cuda:
            properties = torch.cuda.get_device_properties(self.device)
            found |= {
                "device": properties.name,
                "memory_gb": properties.total_memory / 1e9,
                "cuda": torch.version.cuda,
            }
        else:
            found |= {
                "device": platform.processor() or platform.machine(),
                "threads": torch.get_num_threads(),
            }
        return found
