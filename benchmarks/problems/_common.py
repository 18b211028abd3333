"""What the benchmarks of problems share: every method on the same samples, from the same starts, in
one thread.

A benchmark is a few lines::

    arguments = options(__doc__)
    problem = Pose()
    methods = trained(problem, ["sdm", "mdm", "mdm+lm", "lm"], seed=arguments.seed)
    methods["OpenCV RANSAC"] = External(problem, ransac)
    run(problem, methods, title="pose", out=arguments.out, levels=problem.data("test")["level"],
    level="start (deg)")
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from learned_descent import DescentModel, Evaluation, Problem, evaluate
from learned_descent.data.batches import fingerprint, index, num_samples
from learned_descent.data.samples import Batch
from learned_descent.evaluation.basin import basin
from learned_descent.evaluation.plots import plot_basin, plot_time
from learned_descent.files import save_figure, write_json
from learned_descent.provenance import provenance
from learned_descent.registry import recipe_for
from learned_descent.system.text import lay_out, number

_ENOUGH, _SLOW = 2.0, 20.0
"""Seconds of a batch beyond which it is timed once, and beyond which its size is left out."""


def options(text: str | None, *, data: bool = False) -> argparse.Namespace:
    """The options of a benchmark: ``out``, ``seed``, ``rounds`` and, where there are real data,
    ``data``.

    Args:
        text: what the benchmark does.
        data: whether it reads real data where they are.
    """
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/benchmarks"),
        help="the folder of the JSON and PNG files",
    )
    parser.add_argument("--seed", type=int, default=0, help="the seed of the trainings")
    parser.add_argument(
        "--rounds", type=int, default=5, help="how often everything is timed; the median counts"
    )
    if data:
        parser.add_argument(
            "--data", type=Path, default=Path("../shared/nlls"), help="the folder of real data"
        )
    return parser.parse_args()


def trained(problem: Problem, families: Sequence[str], *, seed: int = 0) -> dict[str, DescentModel]:
    """The models of several families by name, each trained by its recipe.

    Args:
        problem: the problem.
        families: names that ``compare --families`` knows.
        seed: the seed of the trainings.
    """
    torch.set_num_threads(1)
    models = {}
    for name in families:
        print(f"training {name}", flush=True)
        models[name] = recipe_for(type(problem), name).train(problem, seed=seed)[0]
    return models


def run(
    problem: Problem,
    methods: Mapping[str, DescentModel],
    *,
    title: str,
    out: Path,
    samples: Batch | None = None,
    levels: Tensor | None = None,
    level: str = "start error",
    within: float | None = None,
    loose: float | None = None,
    batch_size: int = 64,
    sizes: Sequence[int] = (1, 64, 4096),
    rounds: int = 5,
    seed: int = 0,
    left_out: Mapping[str, str] | None = None,
) -> tuple[dict[str, Evaluation], dict[str, dict[int, float]]]:
    """Measures all methods alike, prints a table, and writes ``TITLE.json``, ``TITLE.png`` and
    ``TITLE-time.png`` into ``out``.

    Args:
        problem: the problem.
        methods: trained models and solvers by name, made for this problem.
        title: names the files and the table.
        out: the folder.
        samples: what to measure on; by default the test samples of the problem.
        levels: the size of the start of each sample ``(N,)``, for the columns of the table; by
            default bins of the start error.
        level: what ``levels`` are, with their unit.
        within: the largest error that counts as solved; by default ``problem.failure_above``.
        loose: a larger error, whose share is shown as well; ``None`` for none.
        batch_size: samples that are solved at once where success is measured.
        sizes: the batch sizes that are timed; one that would take too long is left out.
        rounds: how often each is timed, all methods in turn; the median counts.
        seed: the seed of the trainings, for the file.
        left_out: methods that could not run, and why.

    Returns:
        The evaluations, and the microseconds per problem at each batch size, by the name of the
        method.
    """
    torch.set_num_threads(1)
    chosen = problem.data("test") if samples is None else samples
    if not isinstance(chosen, Mapping):
        raise TypeError(f"samples: expected one batch, got {type(chosen).__name__}")
    evaluations = {}
    for name, method in methods.items():
        print(f"measuring {name}", flush=True)
        evaluations[name] = evaluate(method, chosen, batch_size=batch_size)
    microseconds = timed(methods, chosen, sizes, rounds)
    within = float(problem.failure_above) if within is None else within
    bounds = [within] if loose is None else [within, loose]
    basins = [basin(evaluations, levels, within=bound) for bound in bounds]
    solved = {name: result.error() <= within for name, result in evaluations.items()}
    figures = {
        name: {
            "solved": float(solved[name].double().mean()),
            "loosely_solved": None
            if loose is None
            else float((result.error() <= loose).double().mean()),
            "median_error": result.median(),
            "median_error_of_solved": float(result.error()[solved[name]].median())
            if solved[name].any()
            else None,
            "microseconds": {str(size): microseconds[name].get(size) for size in sizes},
            "ended": result.ended,
        }
        for name, result in evaluations.items()
    }
    rows = [
        ["solved %", *(f"{100 * row['solved']:.1f}" for row in figures.values())],
        ["median error", *(f"{row['median_error']:.2e}" for row in figures.values())],
        ["of solved", *(_text(row["median_error_of_solved"], ".2e") for row in figures.values())],
    ]
    if loose is not None:
        rows.insert(
            1,
            [
                f"within {loose:g}",
                *(f"{100 * row['loosely_solved']:.1f}" for row in figures.values()),
            ],
        )
    times = [
        [f"B={size}", *(_text(row["microseconds"][str(size)]) for row in figures.values())]
        for size in sizes
    ]
    print(
        f"\n{lay_out([[[title, *methods]], rows, times], ['', '', 'microseconds per problem'])}\n"
    )
    for found in basins:
        if found is not None:
            print(f"{found.table(level)}\n")
    for name, reason in (left_out or {}).items():
        print(f"left out: {name}: {reason}")
    metric = next(iter(evaluations.values())).metrics[0]
    print(
        f"{num_samples(chosen)} problems; error: {metric}; solved: at most {within:g}; one thread "
        f"of {_processor()}"
    )
    out.mkdir(parents=True, exist_ok=True)
    stem = title.replace(" ", "-")
    write_json(
        out / f"{stem}.json",
        {
            **provenance(seed, None),
            "processor": _processor(),
            "data": fingerprint(chosen),
            "problem": {"name": type(problem).__name__, "settings": problem.settings()},
            "metric": metric,
            "within": within,
            "loose": loose,
            "level": level,
            "basins": [None if found is None else found.to_json() for found in basins],
            "methods": figures,
            "left_out": dict(left_out or {}),
        },
    )
    if (figure := plot_basin(evaluations, levels, within=within, label=level)) is not None:
        save_figure(out / f"{stem}.png", figure)
    save_figure(out / f"{stem}-time.png", plot_time(evaluations))
    return evaluations, microseconds


def timed(
    methods: Mapping[str, DescentModel], samples: Batch, sizes: Sequence[int], rounds: int
) -> dict[str, dict[int, float]]:
    """The median microseconds per problem of each method at each batch size, in rounds over all
    methods.

    Args:
        methods: the methods by name.
        samples: samples, which are repeated where a batch needs more of them.
        sizes: the batch sizes.
        rounds: the number of rounds, after one that only warms up; what takes seconds runs once.
    """
    found: dict[str, dict[int, float]] = {name: {} for name in methods}
    for size in sorted(sizes):
        batch = index(samples, torch.arange(size) % num_samples(samples))
        chosen = [name for name in methods if not _too_slow(found[name], size)]
        seconds: dict[str, list[float]] = {name: [] for name in chosen}
        for turn in range(rounds + 1):
            for name in chosen:
                if turn > 0 and seconds[name][-1] > _ENOUGH:
                    continue
                began = time.perf_counter()
                with torch.inference_mode():
                    methods[name].eval()(batch)
                seconds[name].append(time.perf_counter() - began)
        for name, values in seconds.items():
            found[name][size] = 1e6 * statistics.median(values[1:] or values) / size
    return found


def _too_slow(known: Mapping[int, float], size: int) -> bool:
    """Whether a batch will take too long, as far as the smaller ones tell: a method that still
    gains is given more time."""
    *smaller, last = [0.0, *known.values()]
    gains = len(smaller) > 1 and last < smaller[-1] / 4
    return len(smaller) > 1 and last * 1e-6 * size > (3 * _SLOW if gains else _SLOW)


def _text(value: float | None, form: str | None = None) -> str:
    return "-" if value is None else format(value, form) if form else number(value)


def _processor() -> str:
    return f"{platform.processor() or platform.machine()}, torch {torch.__version__}"
