"""Trains in processes that are killed or asked to end, and goes on each time: python -m
tests.cli.killed_runs FOLDER KILLS.

Linux alone. One process imports PyTorch; each training is a fork of it. Prints one JSON object of
how the trainings ended.
"""

from __future__ import annotations

import json
import multiprocessing.util
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from learned_descent import files as _files
from learned_descent.cli.main import main
from learned_descent.training.trainer import CHECKPOINT

TRAIN = (
    "train analytic --family mdm --model.hidden 32 --bptt.iterations 60 --bptt.batch_size 8 "
    "--bptt.validate_every 1 --out"
)
FACES = (
    "train synthetic-faces --problem.count 3000 --problem.crop 64 --problem.box_side 38 --family "
    "sdm --out"
)


def started(words: list[str], prepare: Callable[[], None]) -> int:
    """The process of a training."""
    child = os.fork()
    if child == 0:
        prepare()
        code = main(words)
        sys.stderr.flush()
        multiprocessing.util._exit_function()  # as a process does that was not forked here
        os._exit(code)
    return child


def in_the_middle_of_writing() -> None:
    """Ends the process when the second half of a checkpoint is still to be written."""
    save = _files.save_file

    def half(tensors: object, path: Path, metadata: object) -> None:
        save(tensors, path, metadata)
        os.truncate(path, path.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)

    _files.save_file = half


def before_renaming() -> None:
    """Ends the process when a checkpoint or the weights are written and have not got their name
    yet."""
    replace = Path.replace

    def killed(path: Path, target: Path) -> None:
        if target.name in (CHECKPOINT, "model.safetensors"):
            os.kill(os.getpid(), signal.SIGKILL)
        replace(path, target)

    Path.replace = killed


def at_random() -> None:
    """Leaves the end to the other process."""


WAYS = (in_the_middle_of_writing, before_renaming, at_random, at_random)


def killed(folder: Path, kills: int) -> dict[str, object]:
    """How trainings that were killed and went on ended, and how many unfinished files each left."""
    draw = random.Random(0)
    words = [*TRAIN.split(), str(folder / "parts"), "--resume"]
    ends, left, most = [], [], 0.0
    for number in range(kills):
        begun = time.monotonic()
        way = WAYS[number % len(WAYS)]
        child = started(words, way)
        if way is at_random:
            time.sleep(draw.uniform(most / 2, 2 * most))
            os.kill(child, signal.SIGKILL)
        ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        if way is in_the_middle_of_writing:
            most = time.monotonic() - begun
        left.append(len(list((folder / "parts").glob(f"{_files.UNFINISHED}*"))))
    for last in (words, [*words[:-2], str(folder / "whole")]):
        ends.append(os.waitstatus_to_exitcode(os.waitpid(started(last, at_random), 0)[1]))
    return {"ends": ends, "left": left}


def asked_to_end(
    words: list[str], log: Path, number: int, ready: Callable[[int], object]
) -> dict[str, object]:
    """How a command ends that gets a signal once it is ready, what it says, and which of its
    processes are left."""

    def logged() -> None:
        os.dup2(os.open(log, os.O_CREAT | os.O_WRONLY), 2)

    child = started(words, logged)
    while not ready(child) and Path(f"/proc/{child}").exists():
        # Workers are seen before the fork has returned, where Python drops what a signal raises
        time.sleep(0.001)
    workers = Path(f"/proc/{child}/task/{child}/children").read_text().split()
    os.kill(child, number)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {
        "code": code,
        "text": log.read_text(),
        "workers": len(workers),
        "left": [x for x in workers if alive(x)],
    }


def alive(process: str) -> bool:
    return Path("/proc", process).exists()


def asked(folder: Path) -> dict[str, object]:
    """Two trainings that are asked to end, and one that makes its faces by several processes."""
    found = {}
    for name in ("SIGINT", "SIGTERM"):
        words = TRAIN.replace("iterations 60", "iterations 100000").split()
        out = folder / name
        ready = (out / CHECKPOINT).exists
        found[name] = asked_to_end(
            [*words, str(out)],
            folder / f"{name}.log",
            signal.Signals[name],
            lambda child, ready=ready: ready(),
        )
    torch.set_num_threads(2)
    found["faces"] = asked_to_end(
        [*FACES.split(), str(folder / "faces")],
        folder / "faces.log",
        signal.SIGTERM,
        lambda child: len(Path(f"/proc/{child}/task/{child}/children").read_text().split()) == 2,
    )
    return found


if __name__ == "__main__":
    # A shell starts what runs in its background with Ctrl-C ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print(
        json.dumps(
            {
                "killed": killed(Path(sys.argv[1]), int(sys.argv[2])),
                "asked": asked(Path(sys.argv[1])),
            }
        )
    )
