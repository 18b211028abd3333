from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest

from .fake300w import write_fake_300w


@pytest.fixture
def as_installed() -> Iterator[None]:
    """Annotations go unchecked, as for a user: what is tested is the library's own message."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of six cartoon faces in the layout of 300-W."""
    return write_fake_300w(tmp_path / "faces", {"afw": 4, "helen/testset": 2}, size=96)
