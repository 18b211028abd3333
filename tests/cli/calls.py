"""The command line as a function."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import pytest

from learned_descent.cli.main import main

Run: TypeAlias = Callable[[str], tuple[int, str, str]]
"""Exit code, output and messages of a command with the words of a line."""


def calling(
    capsys: pytest.CaptureFixture[str],
    *first: str | Path,
    weights: str | Path = "tiny.safetensors",
) -> Run:
    """Runs what begins with some words, with weights unless the line names others."""

    def call(line: str) -> tuple[int, str, str]:
        capsys.readouterr()
        words: Sequence[str] = [*map(str, first), *shlex.split(line)]
        words = words if "--weights" in words else [*words, "--weights", str(weights)]
        return main(words), *capsys.readouterr()

    return call
