"""Experiments and measurements, each a command: ``python -m benchmarks.NAME``."""

from __future__ import annotations

import sys
from collections.abc import Callable

from learned_descent import DescentError


def command(main: Callable[[], int | None]) -> None:
    """Runs a command; a mistake of the user ends it with one message and the exit code 2.

    Args:
        main: what the command does; the exit code, if it is not 0.
    """
    try:
        status = main()
    except (DescentError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    if status:
        sys.exit(status)
