"""Two ranks meet, then the second one is stopped: ``python tests/training/stopped_rank.py FOLDER``
with the variables of ``torchrun`` set.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import torch

from learned_descent import DescentError
from learned_descent.training import ranks


def meet(folder: Path, rank: int) -> None:
    """Returns when both processes have loaded all that they need."""
    (folder / str(rank)).touch()
    while not (folder / str(1 - rank)).exists():
        time.sleep(0.05)


if __name__ == "__main__":
    own = int(os.environ["RANK"])
    meet(Path(sys.argv[1]), own)
    fabric = ranks.launch("cpu", 1)
    assert ranks.summed(fabric, torch.ones(1)).item() == 2
    if own == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    try:
        ranks.summed(fabric, torch.ones(1))
    except DescentError as error:
        print(error)
    sys.stdout.flush()
    os._exit(0)
