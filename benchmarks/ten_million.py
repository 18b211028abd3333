"""What a training on ten million faces costs, from measurements on a few: ``python -m
benchmarks.ten_million FOLDER``.

Writes synthetic faces as shards, again and again the same ones, for time and memory do not depend
on what they show. The families of faces are trained on some and on more of them, in one pass, each
time in a process of its own. Prints the processor time of a further face, and what is spent however
few they are; the largest memory of the process; and what follows for ``--faces``: the disk, and the
time of one rank and of ``--ranks``, if each has a core and they do not wait for each other. Set
``OMP_NUM_THREADS=1``.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, final

import torch
from torch import Tensor
from torch.utils.data import Dataset

from learned_descent.data import RandomBatches, Shards, write_shards
from learned_descent.faces.recipes import RECIPES
from learned_descent.faces.synthetic import SyntheticFaces
from learned_descent.training import BackpropThroughTime

from . import command

_TRAININGS = {"sdm": "ridge", "incremental": "parallel", "joint": "bptt", "mdm": "bptt"}
"""The families that are measured, and which of their trainers."""


@final
class Again(Dataset[dict[str, Tensor]]):
    """Samples of a batch, one after the other, until there are so many."""

    def __init__(self, batch: Mapping[str, Tensor], count: int) -> None:
        self.batch, self.count = batch, count
        self.own = len(next(iter(batch.values())))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: int) -> dict[str, Tensor]:
        return {name: value[place % self.own] for name, value in self.batch.items()}


def faces(count: int) -> SyntheticFaces:
    """Faces in crops of the size that ``faces`` has."""
    return SyntheticFaces(count, 1, crop=192, box_side=112.0, val_fraction=0.0, mirror=False)


def measured(family: str, folder: Path) -> dict[str, float]:
    """The processor seconds of a pass over all faces, and the largest memory of this process in
    bytes."""
    problem, shards = faces(16), Shards(folder)
    problem.data("train")  # for the mean shape
    recipe, name = RECIPES[family], _TRAININGS[family]
    trainer, model = recipe.trainers[name], recipe.build(problem)
    if isinstance(trainer, BackpropThroughTime):
        trainer = replace(trainer, iterations=len(shards) // trainer.batch_size)
    start = time.process_time()
    trainer.changed({"accelerator": "cpu"}).fit(model, shards)
    spent = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": spent, "peak": peak * (1 if platform.system() == "Darwin" else 1024)}


def apart(family: str, folder: Path) -> dict[str, float]:
    """:func:`measured` in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.ten_million", str(folder), "--only", family]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{family}: {done.stderr.strip().splitlines()[-1]}")
    return cast("dict[str, float]", json.loads(done.stdout.splitlines()[-1]))


def reading(folder: Path) -> float:
    """The seconds in which a sample is read, in a random order, from files that are in memory."""
    shards = Shards(folder)
    order = torch.randperm(len(shards)).tolist()
    start = time.perf_counter()
    for place in order:
        shards[place]
    return (time.perf_counter() - start) / len(order)


def drawing(count: int) -> float:
    """The seconds in which the order of an epoch is drawn, and its first batch."""
    start = time.perf_counter()
    list(RandomBatches(count, 32, seed=0, start=0, stop=1))
    return time.perf_counter() - start


def tell(arguments: Any) -> None:
    """Measures and prints."""
    root, total = arguments.folder, arguments.faces
    made = cast("dict[str, Tensor]", faces(64).data("train"))
    for count in arguments.sizes:
        write_shards(root / str(count), Again(made, count), size=64)
    largest = root / str(arguments.sizes[1])
    each = sum(file.stat().st_size for file in largest.iterdir()) / arguments.sizes[1]
    print(f"a face on the disk: {each / 1e3:.0f} kB; {total:,}: {total * each / 1e12:.2f} TB")
    print(f"a face read in a random order: {1e3 * reading(largest):.2f} ms")
    print(f"the order of an epoch of {total:,}: {drawing(total):.1f} s, {8 * total / 1e6:.0f} MB")
    print(
        f"{'':12}  {'ms a face':>9}  {'and in all':>10}  {'memory with':>11}  {'one rank':>9}  "
        f"{arguments.ranks:4} ranks"
    )
    for family in arguments.families:
        few, many = (apart(family, root / str(count)) for count in arguments.sizes)
        less, more = arguments.sizes
        slope = (many["seconds"] - few["seconds"]) / (more - less)
        days = slope * total / 86400
        print(
            f"{family:12}  {1e3 * slope:9.1f}  {few['seconds'] - slope * less:8.0f} s  "
            f"{few['peak'] / 1e9:4.2f}, {many['peak'] / 1e9:4.2f}  {days:7.1f} d  "
            f"{24 * days / arguments.ranks:8.1f} h",
            flush=True,
        )
    print(f"a pass over {total:,} faces; memory in GB, with {less} faces and with {more}")


def main() -> None:
    """Measures all families, or one in this process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="a new one, for the shards")
    parser.add_argument("--faces", type=int, default=10_000_000)
    parser.add_argument("--ranks", type=int, default=64)
    parser.add_argument("--sizes", type=int, nargs=2, default=[128, 512])
    parser.add_argument("--families", nargs="+", choices=_TRAININGS, default=list(_TRAININGS))
    parser.add_argument("--only", choices=_TRAININGS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measured(arguments.only, arguments.folder)))
    else:
        tell(arguments)


if __name__ == "__main__":
    command(main)
