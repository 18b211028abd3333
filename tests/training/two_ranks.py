"""Trains in all ways and saves the weights: run under ``torchrun`` and in one process, the results
have to agree.

python -m torch.distributed.run --standalone --nproc-per-node 2 tests/training/two_ranks.py FILE
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from learned_descent import (
    BackpropThroughTime,
    Cascade,
    DescentModel,
    MnemonicDescent,
    SequentialRidge,
)
from learned_descent.data import Shards, write_shards
from learned_descent.data.batches import index
from learned_descent.data.own_rows import change_some
from learned_descent.files import save_state
from learned_descent.models import CoarseToFineSearch
from learned_descent.training import SearchRidge
from tests.toys import Bent, Gaps, Line


class Shaken(Line):
    """What is seen is varied, and for a few samples varied again."""

    def augment(self, batch, generator):
        def noise(seen):
            return seen + 0.1 * torch.randn(seen.shape, generator=generator, dtype=seen.dtype)

        return {**batch, "y": change_some(noise(batch["y"]), 0.2, generator, noise)}


def of(records: list[dict[str, Any]], name: str) -> Tensor:
    return torch.tensor([record[name] for record in records], dtype=torch.float64)


def from_shards(problem: Shaken) -> DescentModel:
    """A cascade trained both ways on two parts; each of two ranks has a machine with one."""
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    batch = problem.data("train")
    model = Cascade.for_problem(problem, num_steps=2, observation=Bent()).double()
    with TemporaryDirectory() as folder:
        for part, rows in enumerate((slice(0, 12), slice(12, 22))):
            write_shards(Path(folder, str(part)), index(batch, rows), size=4)
        if torch.distributed.is_initialized():
            for file in Path(folder, str(1 - rank)).glob("*.safetensors"):
                file.unlink()
        shards = Shards(folder)
        SequentialRidge(ridge=(1e-6, 1e-4), batch_size=4, accelerator="cpu").fit(model, shards)
        BackpropThroughTime(
            iterations=12, batch_size=8, lr=1e-3, precision="64-true", accelerator="cpu"
        ).fit(model, shards, shards)
    return model


def train() -> dict[str, Tensor]:
    """The weights of three models by closed form, of which one has samples that lack numbers, and
    of a recurrent model by gradients; all from random starts of varied samples."""
    problem, gaps = Shaken(torch.float64, count=22), Gaps(torch.float64, count=22)
    closed = {"ridge": (1e-6, 1e-4), "batch_size": 4, "accelerator": "cpu"}
    models: dict[str, DescentModel] = {}
    results = {}
    for name, kind in (("cascade", problem), ("uneven", gaps)):
        models[name] = Cascade.for_problem(kind, num_steps=2, observation=Bent()).double()
        history = SequentialRidge(**closed).fit(models[name], kind.data("train"), kind.data("val"))
        for key in ("loss", "ridge"):
            results[f"{name}/{key}"] = of(history.records, key)
    models["search"] = CoarseToFineSearch.for_problem(problem, num_steps=2).double()
    SearchRidge(batch_size=4, accelerator="cpu").fit(models["search"], problem.data("train"))
    models["shards"] = from_shards(problem)
    torch.manual_seed(0)  # the same first weights on every rank
    models["recurrent"] = MnemonicDescent.for_problem(
        problem, hidden=8, num_steps=3, dropout=0.2
    ).double()
    history = BackpropThroughTime(
        iterations=25,
        batch_size=9,  # of which one rank has five
        lr=1e-2,
        validate_every=5,
        precision="64-true",
        accelerator="cpu",
    ).fit(models["recurrent"], problem.data("train"), problem.data("val"))
    results["errors"] = of(history.records, "val_error")
    results["losses"] = of(history.records[1:], "loss")
    return results | {
        f"{name}/{key}": value
        for name, model in models.items()
        for key, value in model.state_dict().items()
    }


if __name__ == "__main__":
    weights = train()
    if torch.distributed.get_rank() == 0:
        save_state(sys.argv[1], {"world": torch.distributed.get_world_size(), "weights": weights})
    torch.distributed.destroy_process_group()
