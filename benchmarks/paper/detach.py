"""What cutting back-propagation through time saves, in memory and in time: ``python -m
benchmarks.paper.detach``.

The recurrent model is unrolled for 1, 2, 4 and 8 steps on synthetic faces, cut as each ``detach``
mode says. Its memory is what autograd keeps from the forward to the backward pass for one more face
in the batch, each storage once: of the loop, and of what the eyes do once per face. An iteration is
forward, loss and backward; its time is the median ratio to ``none`` over rounds that take the modes
in turn, so that a busy machine slows all alike. Needs no data. Writes ``detach.json`` and
``detach.png``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, get_args
from weakref import WeakSet

import torch
from matplotlib.figure import Figure
from torch import Generator, Tensor
from torch.autograd.graph import saved_tensors_hooks

from learned_descent.data.batches import index
from learned_descent.data.samples import Batch
from learned_descent.evaluation.plots.frames import PALETTE, canvas
from learned_descent.faces.alignment import FaceAlignment
from learned_descent.faces.recipes import RECIPES
from learned_descent.faces.synthetic import SyntheticFaces
from learned_descent.files import save_figure, write_json
from learned_descent.model import DescentModel, Detach
from learned_descent.provenance import provenance
from learned_descent.system.text import lay_out

from .. import command

STEPS = (1, 2, 4, 8)
MODES: tuple[Detach, ...] = get_args(Detach)
MIB = 2**20


class _Saved:
    """A tensor that a node of the graph keeps; it goes when the node goes."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def kept(run: Callable[[], Any]) -> int:
    """The bytes that the graph of what ``run`` returns keeps for the backward pass, each storage
    once."""
    entries: WeakSet[_Saved] = WeakSet()

    def note(tensor: Tensor) -> _Saved:
        entry = _Saved(tensor)
        entries.add(entry)
        return entry

    with saved_tensors_hooks(note, lambda entry: entry.tensor):
        result = run()  # while it lives, so does its graph
    storages = {
        storage.data_ptr(): storage.nbytes()
        for entry in entries
        for storage in [entry.tensor.untyped_storage()]
    }
    del result
    return sum(storages.values())


def kept_per_face(run: Callable[[Batch], Any], batch: Batch) -> float:
    """The MiB that one more face in the batch costs; weights, which all faces share, drop out."""
    few, more = (kept(partial(run, index(batch, slice(count)))) for count in (2, 4))
    return (more - few) / 2 / MIB


def mixed(batch: Batch) -> torch.autocast:
    """The precision that the model is trained in."""
    trainer = RECIPES["mdm"].trainers["bptt"]
    return torch.autocast(
        batch["image"].device.type, torch.bfloat16, enabled=trainer.precision == "bf16-mixed"
    )


def loss_of(model: DescentModel, steps: int, detach: Detach, batch: Batch) -> Tensor:
    """The loss of a training, over all steps and faces."""
    with mixed(batch):
        xs = model(batch, num_steps=steps, detach=detach, generator=Generator().manual_seed(0)).xs[
            1:
        ]
        return torch.stack([model.problem.loss(x, batch).mean() for x in xs]).sum()


def milliseconds(model: DescentModel, steps: int, detach: Detach, batch: Batch) -> float:
    """The time of one iteration."""
    began = time.perf_counter()
    loss_of(model, steps, detach, batch).backward()
    taken = 1000 * (time.perf_counter() - began)
    model.zero_grad()
    return taken


def measured(
    model: DescentModel, steps: int, batch: Batch, rounds: int
) -> dict[Detach, dict[str, float]]:
    """Memory of the whole and time of each mode."""
    times = [
        {mode: milliseconds(model, steps, mode, batch) for mode in MODES} for _ in range(1 + rounds)
    ][1:]  # one to warm up
    return {
        mode: {
            "MiB": kept_per_face(partial(loss_of, model, steps, mode), batch),
            "ms": statistics.median(taken[mode] for taken in times),
            "time": statistics.median(taken[mode] / taken[MODES[0]] for taken in times),
        }
        for mode in MODES
    }


def main() -> None:
    """Measures, prints, draws."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--batch-size", type=int, default=32, help="faces of an iteration, 4 or more"
    )
    parser.add_argument(
        "--rounds", type=int, default=7, help="iterations of each mode that are timed"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/paper/detach"),
        help="the folder of detach.png and detach.json",
    )
    parser.add_argument("--seed", type=int, default=0, help="the seed of faces and weights")
    arguments = parser.parse_args()
    real = FaceAlignment()
    alike = {"crop": real.crop, "box_side": real.box_side, "val_fraction": 0.0, "mirror": False}
    problem = SyntheticFaces(arguments.batch_size, 1, seed=arguments.seed, **alike)
    batch, model = problem.data("train"), RECIPES["mdm"].build(problem, seed=arguments.seed).train()

    def prepared(faces: Batch) -> Batch:
        with mixed(faces):
            return model.observation.prepare(faces)

    once = kept_per_face(prepared, batch)
    results = {steps: measured(model, steps, batch, arguments.rounds) for steps in STEPS}
    groups = [[["steps", *map(str, STEPS)]]]
    for mode in MODES:
        rows = [results[steps][mode] for steps in STEPS]
        memory, ratio = (
            [f"{row['MiB'] - once:.2f}" for row in rows],
            [f"{row['time']:.2f}" for row in rows],
        )
        groups.append([["MiB/face", *memory], ["time", *ratio]])
    print(f"{lay_out(groups, ['', *MODES])}\n")
    print(f"MiB/face: kept by the loop, beside the {once:.2f} of the eyes, which look once")
    print(f"time: of an iteration of {arguments.batch_size} faces, over that of {MODES[0]!r}")
    settings = {"batch_size": arguments.batch_size, "rounds": arguments.rounds}
    found = {"eyes": {"MiB": once}, "steps": results}
    write_json(arguments.out / "detach.json", {**provenance(arguments.seed, settings), **found})
    save_figure(arguments.out / "detach.png", drawn(results))
    print(f"written to {arguments.out}")


def drawn(results: Mapping[int, Mapping[Detach, Mapping[str, float]]]) -> Figure:
    """Memory to the left, time to the right, against the number of steps."""
    figure = canvas(6.4, 3.2)
    for axes, key, label in zip(
        figure.subplots(1, 2), ("MiB", "ms"), ("memory (MiB per face)", "time of an iteration (ms)")
    ):
        # The last two may lie on each other
        for mode, color, dashes in zip(MODES, PALETTE, ("-", "-", "--")):
            values = [found[mode][key] for found in results.values()]
            axes.plot(
                list(results),
                values,
                dashes,
                marker="o",
                markersize=3,
                color=color,
                label=f"detach {mode!r}",
            )
        axes.set(xlabel="steps T", ylabel=label, ylim=(0, None), xticks=list(results))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#dddddd", linewidth=0.6)
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside upper center",
        ncols=3,
        frameon=False,
        fontsize=8,
    )
    return figure


if __name__ == "__main__":
    command(main)
