"""Two ranks that share no disk, and of which the second one is stopped: ``python
tests/training/parted_ranks.py FOLDER`` with the variables of ``torchrun`` set.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from learned_descent import BackpropThroughTime, Cascade, DescentError
from learned_descent.training import ranks
from tests.toys import Line


def meet(folder: Path, rank: int) -> None:
    """Returns when both processes have loaded all that they need."""
    (folder / str(rank)).touch()
    while not (folder / str(1 - rank)).exists():
        time.sleep(0.05)


def part(folder: Path, rank: int) -> None:
    """Prints what the first rank says of the other one."""
    problem, own = Line(), str(folder / f"disk-{rank}")
    trainer = BackpropThroughTime(iterations=2, accelerator="cpu", directory=own)
    trainer.fit(Cascade.for_problem(problem), problem.data("train"))
    fabric = ranks.launch("cpu", 1)
    try:
        replace(trainer, resume=True).fit(Cascade.for_problem(problem), problem.data("train"))
    except DescentError as error:
        print(error)
    if rank == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    try:
        ranks.summed(fabric, torch.ones(1))
    except DescentError as error:
        print(error, flush=True)


if __name__ == "__main__":
    place, number = Path(sys.argv[1]), int(os.environ["RANK"])
    meet(place, number)
    part(place, number)
    os._exit(0)  # the other one is gone
