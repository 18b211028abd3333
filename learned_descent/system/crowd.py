"""How many threads a training takes on a processor that others use too."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import torch

_log = logging.getLogger(__name__)

_TASKS = Path("/proc/self/task")
"""Where Linux tells of every thread of a process how long it ran, and how long it waited for a
processor."""

_SECONDS = 5.0
"""The time between two looks."""

_TRIAL = 0.3
"""The time that is tried before a training, in seconds."""

_WAITING = 0.2
"""The share of its time that a thread has to wait for a processor to be one too many."""

_WANTING = 0.25
"""The share of the time that a thread has to want a processor to be counted."""


class Crowd:
    """Takes away threads of PyTorch that have to wait for a processor, and gives them back in the
    end.

    The threads of a convolution meet at barriers where they wait for each other without sleeping.
    When one of them has no processor because another process has it, the rest burn theirs until it
    returns, and each of thousands of barriers takes as long as the scheduler likes: beside two busy
    processes a training on two processors becomes 4 to 200 times slower, and little more than twice
    with one thread. Nothing is done where ``OMP_NUM_THREADS`` is set, and where the system does not
    tell who waits. Another number of threads adds numbers in another order: it is found out before
    the first update, and a checkpoint keeps it.

    Example:
        >>> with Crowd() as crowd:
        ...     crowd.begin()
        ...     crowd.look()
        ...     crowd.threads == torch.get_num_threads()
        True
    """

    def __init__(self) -> None:
        self.threads = self._usual = torch.get_num_threads()
        self._fixed = "OMP_NUM_THREADS" in os.environ or not _TASKS.is_dir()
        self._note()

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self.threads != self._usual:
            torch.set_num_threads(self._usual)

    def begin(self, threads: int | None = None) -> None:
        """Finds out how many threads have a processor to themselves, by a short trial.

        Args:
            threads: the number that a training had which goes on, in place of the trial.
        """
        if self._fixed or self.threads == 1:
            return
        if threads is not None:
            self._take(min(threads, self.threads))
            return
        self._note()
        work = torch.ones(2**20, device="cpu")
        while time.perf_counter() < self._begun + _TRIAL:
            work.mul_(1.0)
        self._decide()

    def look(self) -> None:
        """Called after every update: every few seconds it looks who had to wait, and takes fewer
        threads if some did.
        """
        if not self._fixed and self.threads > 1 and time.perf_counter() > self._begun + _SECONDS:
            self._decide()

    def _decide(self) -> None:
        wall = time.perf_counter() - self._begun
        shares = []
        for task, (ran, waited) in times_of_threads().items():
            before = self._times.get(task, (0.0, 0.0))
            wanted = ran + waited - sum(before)
            if wanted > _WANTING * wall:
                shares.append((waited - before[1]) / wanted)
        served = sum(share < _WAITING for share in shares)
        if served < len(shares):
            fewer = max(1, min(served, self.threads - 1))
            _log.warning(
                f"Others keep the processors busy: the training takes {fewer} of {self.threads} "
                "threads, for they would wait for each other; set OMP_NUM_THREADS to decide "
                "yourself"
            )
            self._take(fewer)
        self._note()

    def _take(self, threads: int) -> None:
        self.threads = threads
        torch.set_num_threads(threads)

    def _note(self) -> None:
        self._begun = time.perf_counter()
        self._times = {} if self._fixed else times_of_threads()


def times_of_threads() -> dict[str, tuple[float, float]]:
    """The seconds that each thread of this process ran and that it waited for a processor; empty
    where nobody knows.
    """
    found = {}
    for task in _TASKS.iterdir():
        try:
            ran, waited, _ = (task / "schedstat").read_text().split()
        except (OSError, ValueError):  # it has just ended, or the kernel does not count
            continue
        found[task.name] = (int(ran) / 1e9, int(waited) / 1e9)
    return found
