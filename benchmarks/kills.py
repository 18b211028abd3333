"""A training of faces that is killed again and again, against one that is not: ``python -m
benchmarks.kills FOLDER``.

The ``mdm`` of faces as it ships (convolutions, bfloat16, moving average), with few iterations on a
few synthetic faces, goes through ``learned-descent train`` twice: once from end to end, and once
with ``SIGKILL`` at ``--kills`` random moments and ``--resume`` after each. A kill comes some time
after a new checkpoint, or one in four times some time after the start, whatever the training is
doing then. Prints how many tensors of the weights and of the checkpoint differ; 0 is right. Set
``OMP_NUM_THREADS`` where others use the machine, see the troubleshooting page.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from . import command

_TRAIN = (
    "train synthetic-faces --family mdm --problem.count 60 --problem.test_count 1 --problem.crop "
    "64 --problem.box_side 38 --bptt.iterations 120 --bptt.batch_size 8 --bptt.validate_every 2"
)
_FILES = ("model.safetensors", "checkpoint.safetensors")


def started(out: Path, *, resume: bool) -> subprocess.Popen[bytes]:
    """The training in a process of its own."""
    words = [*_TRAIN.split(), "--out", str(out), *(["--resume"] if resume else [])]
    log = (out.parent / f"{out.name}.log").open("ab")
    return subprocess.Popen(
        [sys.executable, "-m", "learned_descent", *words], stdout=log, stderr=log
    )


def stamp(path: Path) -> int:
    """When a file was written last; 0 where there is none."""
    return path.stat().st_mtime_ns if path.exists() else 0


def killed(out: Path, draw: random.Random) -> int:
    """The exit code of a training that is killed once."""
    checkpoint = out / _FILES[1]
    before = stamp(checkpoint)
    training = started(out, resume=before > 0)
    if draw.random() < 0.75 or not before:
        while stamp(checkpoint) == before and training.poll() is None:
            time.sleep(0.02)
        time.sleep(draw.uniform(0, 2))
    else:
        time.sleep(draw.uniform(0, 10))
    training.kill()
    return training.wait()


def differing(one: Path, other: Path) -> tuple[int, int]:
    """How many tensors of two files differ in a bit, and how many there are."""
    pair = load_file(one), load_file(other)
    names = set(pair[0]) | set(pair[1])
    return sum(
        not all(name in part for part in pair) or not torch.equal(*(part[name] for part in pair))
        for name in names
    ), len(names)


def main() -> int:
    """Trains, kills, compares; 1 where anything differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True)
    whole, parts = arguments.folder / "whole", arguments.folder / "parts"
    draw = random.Random(arguments.seed)
    ends = [killed(parts, draw) for _ in range(arguments.kills)]
    print(f"{ends.count(-9)} of {len(ends)} trainings were killed")
    done = started(parts, resume=True).wait(), started(whole, resume=False).wait()
    print(f"exit codes in the end: {done}")
    found = {name: differing(whole / name, parts / name) for name in _FILES}
    for name, (count, total) in found.items():
        print(f"{name}: {count} of {total} tensors differ")
    return int(any(done) or any(count for count, _ in found.values()))


if __name__ == "__main__":
    command(main)
