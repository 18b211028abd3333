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
from tests.toys import Gaps


class Still(Gaps):
    """Missing numbers, and in training the start of testing."""

    def initial(self, batch, generator=None):
        return super().initial(batch)


def train() -> dict[str, Tensor]:
    """The weights of two cascades by closed form, of which one has samples that lack numbers, and
    of a recurrent model by gradients; all without random starts."""
    problem = Analytic("erf", spread=0, dtype=torch.float64)
    cascade = Cascade.for_problem(problem, num_steps=3).double()
    closed = SequentialRidge(ridge=(1e-6, 1e-4), batch_size=4, accelerator="cpu").fit(
        cascade, problem.data("train"), problem.data("val")
    )
    gaps = Still(torch.float64, count=22)
    uneven = Cascade.for_problem(gaps, num_steps=2).double()
    SequentialRidge(ridge=(1e-3, 1e-1), batch_size=4, accelerator="cpu").fit(
        uneven, gaps.data("train"), gaps.data("val")
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
        for name, model in (("cascade", cascade), ("uneven", uneven), ("recurrent", recurrent))
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
