from __future__ import annotations

from pathlib import Path

import pytest

from .fake300w import write_fake_300w


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of six cartoon faces in the layout of 300-W."""
    return write_fake_300w(tmp_path / "faces", {"afw": 4, "helen/testset": 2}, size=96)
