"""Supervised descent against Newton's method and Levenberg-Marquardt on known functions, from far
starts.

``python -m benchmarks.problems.analytic``: inverts sin, x^3, erf and exp for 801 values each. The
cascade is trained on the paper's grid of 10 to 19 values. A problem is solved when ``x`` is within
0.01. The figure shows the share that is solved from other starts, each with a cascade of its own.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import torch

from learned_descent import Cascade, DescentModel, SequentialRidge, evaluate
from learned_descent.evaluation.plots import PALETTE, canvas
from learned_descent.files import save_figure, write_json
from learned_descent.problems import Analytic
from learned_descent.problems.analytic import Function
from learned_descent.provenance import provenance
from learned_descent.solvers import GaussNewton, LevenbergMarquardt

from .. import command
from ._common import options, run

STARTS: dict[Function, tuple[float, list[float]]] = {
    "sin": (1.5, [-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]),
    "cube": (8.0, [-16.0, -8.0, -4.0, -2.0, -0.5, 0.1, 0.5, 2.0, 4.0, 8.0, 16.0]),
    "erf": (2.0, [-3.0, -2.5, -2.0, -1.5, -1.0, 0.0, 1.0, 1.5, 2.0, 2.5, 3.0]),
    "exp": (-2.0, [-4.0, -3.0, -2.0, -1.0, 0.0, 2.0, 4.0, 8.0, 12.0, 16.0, 24.0]),
}
"""The far start of the table, and the starts of the figure."""

SOLVED = 1e-2
"""The largest error that counts as solved, in the unit of ``x``."""


def methods(problem: Analytic) -> dict[str, DescentModel]:
    """The methods of the table by name."""
    sdm = Cascade.for_problem(problem, num_steps=20).to(problem.dtype)
    SequentialRidge(ridge=1e-10).fit(sdm, problem.data("train"))
    return {
        "SDM, 20 steps": sdm,
        "Newton, 20 steps": GaussNewton(problem, num_steps=20),
        "LM, 50 steps": LevenbergMarquardt(problem, num_steps=50),
    }


def sweep(out: Path, seed: int) -> None:
    """Draws the share that is solved against the start, for each function."""
    figure = canvas(7.6, 2.5)
    rows = figure.subplots(1, len(STARTS), sharey=True)
    found: dict[str, dict[str, list[float]]] = {}
    for axes, (function, (_, starts)) in zip(rows, STARTS.items()):
        shares: dict[str, list[float]] = {}
        for start in starts:
            problem = _problem(function, start)
            for name, method in methods(problem).items():
                result = evaluate(method, problem.data("test"), batch_size=1024)
                shares.setdefault(name, []).append(
                    float((result.error() <= SOLVED).double().mean())
                )
        for (name, values), color in zip(shares.items(), PALETTE):
            axes.plot(
                starts,
                [100 * value for value in values],
                "o-",
                color=color,
                markersize=3,
                linewidth=1.4,
                label=name,
            )
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.tick_params(labelsize=8)
        axes.set(xlabel="start", ylim=(-3, 103))
        axes.set_title({"cube": "$x^3$"}.get(function, function), fontsize=10)
        found[function] = {"start": starts, **shares}
    rows[0].set_ylabel(f"solved to {SOLVED:g} (%)")
    handles, labels = rows[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", frameon=False, fontsize=8, ncols=3)
    save_figure(out / "analytic.png", figure)
    write_json(out / "analytic.json", {**provenance(seed, None), "within": SOLVED, "solved": found})


def main(arguments: Namespace) -> None:
    """Prints a table per function, and draws the figure."""
    for function, (start, _) in STARTS.items():
        problem = _problem(function, start)
        run(
            problem,
            methods(problem),
            title=f"{function} from {start:g}",
            out=arguments.out,
            within=SOLVED,
            rounds=arguments.rounds,
            seed=arguments.seed,
        )
    sweep(arguments.out, arguments.seed)


def _problem(function: Function, start: float) -> Analytic:
    return Analytic(function, start=start, spread=0.0, num_test=801, dtype=torch.float64)


if __name__ == "__main__":
    command(lambda: main(options(__doc__)))
