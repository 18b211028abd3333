"""What the benchmarks share: faces without a download, and what is stored beside every time."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import learned_descent
from learned_descent.faces.alignment import FaceAlignment


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
    """Faces of random pixels around the mean shape of random points: costs do not depend on what is
    to be seen."""
    problem = FaceAlignment()
    generator = torch.Generator().manual_seed(0)
    problem.mean_shape.copy_(torch.rand(problem.mean_shape.shape, generator=generator) - 0.5)
    problem.start_factor.copy_(0.05 * torch.eye(4))
    return problem


def random_faces(
    problem: FaceAlignment, count: int, device: torch.device
) -> dict[str, torch.Tensor]:
    """A batch of ``count`` such faces."""
    generator = torch.Generator().manual_seed(1)
    side, half = problem.crop, problem.box_side / 2
    centre = (side - 1) / 2
    box = torch.tensor([centre - half, centre - half, centre + half, centre + half])
    batch = {
        "image": torch.randint(
            0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator
        ),
        "box": box.expand(count, 4).clone(),
        "to_photo": torch.eye(2, 3).expand(count, 2, 3).clone(),
    }
    batch["points"] = problem.initial(batch, generator).unflatten(1, (-1, 2))
    return {name: value.to(device) for name, value in batch.items()}
