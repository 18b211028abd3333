"""A command with an end."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path


def bounded(command: Sequence[str], seconds: float, log: Path | None = None) -> str:
    """Runs a command in a process group of its own, which is ended with its time, and says how it
    ended.

    Args:
        command: the program and its arguments.
        seconds: its time.
        log: a file for what it prints; by default it prints here.
    """
    with ExitStack() as stack:
        file = None if log is None else stack.enter_context(log.open("w"))
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=None if file is None else subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return f"its {seconds:.0f} s were over"
        finally:
            _end(process)
    return "well" if code == 0 else f"exit code {code}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends what is left of the group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()
