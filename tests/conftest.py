"""Options and fixtures of all tests; the shapes and types in the annotations of the package are
checked while they run."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jaxtyping
import pytest
import torch
from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """The type checker of the tests: it looks when the function has returned, for what it refuses
    itself is its own error."""
    if inspect.signature(function).return_annotation is Any:
        return function  # the look before the call
    return beartype(conf=BeartypeConf(is_pep484_tower=True))(function)  # a whole number is a float


sys.modules["checker"] = ModuleType("checker")  # the hook imports it by name
sys.modules["checker"].check = check  # type: ignore[attr-defined]
install_import_hook("learned_descent", "checker.check")
torch.set_num_threads(1)  # the workers share the machine

SHARED = Path(__file__).parents[2] / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device", default="cpu", help="where the tests run: cpu (default), cuda, cuda:1, ..."
    )
    parser.addoption(
        "--dtype",
        default="float32",
        choices=["float32", "float64"],
        help="the precision of the tests",
    )


def pytest_configure(config: pytest.Config) -> None:
    device = torch.device(config.getoption("--device"))
    if device.type == "cuda" and not torch.cuda.is_available():
        raise pytest.UsageError(f"--device {device}: PyTorch finds no CUDA device here")
    torch.backends.cudnn.allow_tf32 = False  # ten bits are too few to compare with


def pytest_itemcollected(item: pytest.Item) -> None:
    if isinstance(item, pytest.Function) and "device" in item.fixturenames:
        item.add_marker("on_device")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("shared") and not SHARED.is_dir():
        pytest.skip(f"needs the data in {SHARED}, which is not there")


@pytest.fixture
def device(request: pytest.FixtureRequest) -> torch.device:
    found = torch.device(request.config.getoption("--device"))
    # As tensors say where they are
    return torch.device("cuda", 0) if found == torch.device("cuda") else found


@pytest.fixture
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return {"float32": torch.float32, "float64": torch.float64}[request.config.getoption("--dtype")]


@pytest.fixture
def generator(device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(0)


@pytest.fixture
def shared() -> Path:
    """The folder of data that a test marked ``shared`` reads."""
    return SHARED


@pytest.fixture
def as_installed() -> Iterator[None]:
    """Annotations go unchecked, as for a user: what is tested is the library's own message."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
