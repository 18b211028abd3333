"""The public names of the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import learned_descent


@pytest.mark.parametrize("name", learned_descent.__all__)
def test_every_public_name_exists(name: str) -> None:
    assert getattr(learned_descent, name) is not None
    assert name in dir(learned_descent)


def test_public_names_are_few_sorted_and_unique() -> None:
    assert len(learned_descent.__all__) <= 40
    assert learned_descent.__all__ == sorted(set(learned_descent.__all__))


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Newton'"):
        learned_descent.Newton  # noqa: B018


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = ("lightning_fabric", "matplotlib", "menpo", "scipy", "skimage", "torch._dynamo")
    code = f"import sys, learned_descent; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_in_the_reference() -> None:
    reference = Path(__file__).parent.parent / "docs" / "reference.md"
    listed = {line.strip().rpartition(".")[2] for line in reference.read_text("utf-8").splitlines() if line.startswith("   ")}
    assert set(learned_descent.__all__) <= listed
