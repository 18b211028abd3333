"""The public names of the package."""

from __future__ import annotations

import resource
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


def seen(code: str) -> str:
    """What a fresh interpreter prints last, with the modules that are slow to import."""
    heavy = {
        "torch",
        "torch._dynamo",
        "lightning_fabric",
        "matplotlib",
        "menpo",
        "roma",
        "scipy",
        "skimage",
        "sklearn",
    }
    found = f"{code}; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {found}"], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[-1]


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert seen("import learned_descent") == "[]"
    assert seen("from learned_descent import Cascade, Problem") == "['torch']"


@pytest.mark.parametrize("line", ["--version", "--help", ""])
def test_version_and_help_do_not_wait_for_pytorch(line: str) -> None:
    assert seen(f"from learned_descent.cli.main import main; main({line.split()!r})") == "[]"


@pytest.mark.parametrize(
    "line", ["train pose --family mdm --help", "compare faces --help", "inspect --help"]
)
def test_the_help_of_a_command_waits_for_pytorch_alone(line: str) -> None:
    called = (
        f"from learned_descent.cli.main import main\ntry: main({line.split()!r})\nexcept "
        "SystemExit: pass\n1"
    )
    assert seen(called) == "['torch']"


def test_version_takes_a_third_of_a_second_of_processor_time() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "learned_descent", "--version"], check=True, capture_output=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime <= 0.3


def test_every_public_name_is_in_the_reference() -> None:
    reference = Path(__file__).parent.parent / "docs" / "reference.md"
    listed = {
        line.strip().rpartition(".")[2]
        for line in reference.read_text("utf-8").splitlines()
        if line.startswith("   ")
    }
    assert set(learned_descent.__all__) <= listed
