"""Trains both ways and saves the weights: run under ``torchrun`` and in one process, the results
have to agree.

python -m torch.distributed.run --standalone --nproc-per-node 2 tests/training/two_ranks.py FILE
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from learned_descent import BackpropThroughTime, Cascade, MnemonicDescent, SequentialRidge
from learned_descent.files import save_state
from learned_descent.problems import Analytic


def train() -> dict[str, Tensor]:
    """The weights of a cascade by closed form, and of a recurrent model by gradients; both without
    random starts."""
    problem = Analytic("erf", spread=0, dtype=torch.float64)
    cascade = Cascade.for_problem(problem, num_steps=3).double()
    closed = SequentialRidge(ridge=(1e-6, 1e-4), batch_size=4, accelerator="cpu").fit(
        cascade, problem.data("train"), problem.data("val")
    )
    torch.manual_seed(0)  # the same first weights on every rank
    recurrent = MnemonicDescent.for_problem(problem, hidden=8, num_steps=3).double()
    settings = {
        "iterations": 25,
        "batch_size": 8,
        "lr": 1e-2,
        "validate_every": 5,
        "precision": "64-true",
    }
    history = BackpropThroughTime(**settings, accelerator="cpu").fit(
        recurrent, problem.data("train"), problem.data("val")
    )
    results = {
        f"{name}/{key}": value
        for name, model in (("cascade", cascade), ("recurrent", recurrent))
        for key, value in model.state_dict().items()
    }
    results["closed/loss"] = torch.tensor([record["loss"] for record in closed.records])
    results["closed/ridge"] = torch.tensor([record["ridge"] for record in closed.records])
    results["history/val_error"] = torch.tensor([record["val_error"] for record in history.records])
    return results


if __name__ == "__main__":
    weights = train()
    if torch.distributed.get_rank() == 0:
        save_state(sys.argv[1], {"world": torch.distributed.get_world_size(), "weights": weights})
    torch.distributed.destroy_process_group()
