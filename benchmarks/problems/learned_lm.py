"""Learned Levenberg-Marquardt from far starts, against the classical one at the same number of
steps, and at twice as many: a learned step evaluates the cost twice.

``python -m benchmarks.problems.learned_lm [--seeds 0 1 2] [--problems pose sinusoid
exponentials]``: the family ``learned-lm`` by its recipe, once for each seed, on the test data of
each problem. The data are the same for all seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from learned_descent import DescentModel, LeastSquares, evaluate
from learned_descent.data.batches import fingerprint, num_samples
from learned_descent.evaluation.intervals import wilson
from learned_descent.families import LEARNED_LM, Recipe
from learned_descent.files import write_json
from learned_descent.problems import Pose
from learned_descent.problems.curves import Sinusoid, TwoExponentials
from learned_descent.provenance import provenance
from learned_descent.solvers import LevenbergMarquardt
from learned_descent.system.text import lay_out

from .. import command

PROBLEMS: Mapping[str, Callable[[], LeastSquares]] = {
    "pose": Pose,
    "sinusoid": Sinusoid,
    "exponentials": TwoExponentials,
}

BATCH = 256
"""Samples that are solved at once."""


def recipe(iterations: int | None = None) -> Recipe:
    """The family with its own number of iterations, or with another."""
    if iterations is None:
        return LEARNED_LM
    trainers: dict[str, Any] = dict(LEARNED_LM.trainers)
    trainers["bptt"] = replace(trainers["bptt"], iterations=iterations)
    return replace(LEARNED_LM, trainers=trainers)


def figures(errors: Sequence[Tensor], within: float) -> dict[str, Any]:
    """The share that is solved, its 95 % interval over samples, and the median error.

    Args:
        errors: those of each training, ``(N,)``. Trainings share their samples, so that several
            make the interval no narrower: the mean of their counts stands for them.
        within: the largest error that counts as solved.
    """
    every = torch.stack(list(errors))
    count = every.shape[1]
    solved = float((every <= within).double().sum(1).mean())
    return {
        "solved": solved / count,
        "interval": wilson(solved, count),
        "median_error": float(every.nan_to_num(torch.inf).median()),
    }


def measured(
    problem: LeastSquares, seeds: Sequence[int], iterations: int | None = None
) -> dict[str, dict[str, Any]]:
    """The figures of every seed, of all seeds together, and of the classical solver."""
    batch = problem.data("test")

    def errors(model: DescentModel) -> Tensor:
        return evaluate(model, batch, batch_size=BATCH).error()

    learned, steps = {}, 0
    for seed in seeds:
        print(f"training with seed {seed}", flush=True)
        model, _ = recipe(iterations).train(problem, seed=seed)
        learned[seed], steps = errors(model), model.num_steps
    rows = {f"learned-lm, {steps} steps, seed {seed}": [found] for seed, found in learned.items()}
    rows[f"learned-lm, {steps} steps, all seeds"] = list(learned.values())
    for count in (steps, 2 * steps):
        rows[f"lm, {count} steps"] = [errors(LevenbergMarquardt(problem, num_steps=count))]
    return {name: figures(found, float(problem.failure_above)) for name, found in rows.items()}


def _table(title: str, found: Mapping[str, Mapping[str, Any]]) -> str:
    low, high = zip(*(row["interval"] for row in found.values()))
    columns = [
        ["solved %", *(f"{100 * row['solved']:.1f}" for row in found.values())],
        ["95 %", *(f"{100 * one:.1f}..{100 * other:.1f}" for one, other in zip(low, high))],
        ["median error", *(f"{row['median_error']:.2e}" for row in found.values())],
    ]
    return lay_out([[[title, *found]], columns], ["", ""]).lstrip("\n")


def main() -> None:
    """Prints a table per problem, and writes ``learned-lm-PROBLEM.json``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the trainings")
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--iterations", type=int, help="of each training; by default the recipe's")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    asked = {"seeds": arguments.seeds, "iterations": arguments.iterations}
    for name in arguments.problems:
        problem = PROBLEMS[name]()
        batch, within = problem.data("test"), float(problem.failure_above)
        found = measured(problem, arguments.seeds, arguments.iterations)
        print(f"\n{_table(name, found)}")
        print(f"{num_samples(batch)} samples; solved: an error of at most {within:g}\n", flush=True)
        content = {
            **provenance(arguments.seeds[0], asked),
            "data": fingerprint(batch),
            "problem": {"name": name, "settings": problem.settings()},
            "within": within,
            "methods": found,
        }
        write_json(arguments.out / f"learned-lm-{name}.json", content)


if __name__ == "__main__":
    command(main)
