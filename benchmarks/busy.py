"""What a training loses beside busy processes: the ``mdm`` of ``make compare`` on synthetic faces,
alone and in company.

On a machine that does nothing else::

    python -m benchmarks.busy

It trains the same few iterations alone and beside ``--busy`` processes that do nothing but count,
in turns and ``--rounds`` times, each in a process of its own and all at the same niceness, and
prints the seconds of an iteration (the median over the rounds). The busy processes take a share of
the processors: with as many of them as there are processors a training of as many threads has half.
It may lose 1.5 times that: the last line says whether it does. ``OMP_NUM_THREADS`` is taken out of
the environment of the trainings, for with it they would not adapt.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from . import command

_TRAINING = """
import sys
from dataclasses import replace
from learned_descent.faces.recipes import RECIPES
from learned_descent.faces.synthetic import SyntheticFaces

iterations = int(sys.argv[1])
problem = SyntheticFaces(count=64, test_count=1)
recipe = RECIPES["mdm"]
bptt = replace(recipe.trainers["bptt"], iterations=iterations, batch_size=16,
    validate_every=iterations // 2, accelerator="cpu")
model = recipe.build(problem)
records = bptt.fit(model, problem.data("train")).records
print((records[1]["seconds"] - records[0]["seconds"]) / (iterations - iterations // 2))
"""


def seconds(iterations: int) -> float:
    """The seconds of an iteration in the second half of a short training, which has found its
    pace."""
    free = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, "-c", _TRAINING, str(iterations)]
    done = subprocess.run(command, env=free, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


@contextmanager
def company(count: int) -> Iterator[None]:
    """Processes that keep a processor busy each."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def main() -> int:
    """Measures and prints; 1 where more is lost than may be."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--busy", type=int, default=2, help="processes beside the training")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=60)
    arguments = parser.parse_args()
    alone, beside = [], []
    for _ in range(arguments.rounds):
        alone.append(seconds(arguments.iterations))
        with company(arguments.busy):
            beside.append(seconds(arguments.iterations))
    quiet, busy = statistics.median(alone), statistics.median(beside)
    processors = len(os.sched_getaffinity(0))
    allowed = 1.5 * max(1.0, (processors + arguments.busy) / processors)
    print(f"alone   {quiet:.3f} s an iteration  ({', '.join(f'{value:.3f}' for value in alone)})")
    print(f"beside  {busy:.3f} s an iteration  ({', '.join(f'{value:.3f}' for value in beside)})")
    print(
        f"{busy / quiet:.2f} times as long beside {arguments.busy} on {processors} processors; "
        f"allowed: {allowed:.2f}"
    )
    return int(busy > allowed * quiet)


if __name__ == "__main__":
    command(main)
