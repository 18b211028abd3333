"""What the timings share: the device, one thread, and what is stored beside every time."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import learned_descent
from learned_descent.faces.alignment import FaceAlignment

from .page.faces import unseen_faces


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device", default="cpu", help="where the benchmarks run: cpu (default) or cuda"
    )


@pytest.fixture
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.config.getoption("--device"))


@pytest.fixture
def facts(device: torch.device) -> dict[str, Any]:
    """Versions and devices, for ``benchmark.extra_info``."""
    return {
        "learned_descent": learned_descent.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
    }


@pytest.fixture
def one_thread() -> Iterator[None]:
    """What is timed has one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def faces() -> FaceAlignment:
    """See :func:`unseen_faces`."""
    return unseen_faces()
