"""Figure 5 (bottom): the error against the number of steps: ``python -m benchmarks.paper.steps``.

The recurrent model is trained for each ``T`` of 1 to ``--most``; and the one that was trained for
four steps is run for other numbers than that. ``--cell gru lstm --extra-steps 4`` adds models with
these cells, trained for four steps and up to four more. Writes ``steps.json`` and ``steps.png``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

from learned_descent import DescentError, evaluate
from learned_descent.data.batches import fingerprint
from learned_descent.evaluation.plots.frames import PALETTE, frame
from learned_descent.faces.recipes import RECIPES
from learned_descent.families import Recipe
from learned_descent.files import save_figure, write_json
from learned_descent.models.mnemonic import Cell
from learned_descent.provenance import provenance
from learned_descent.system.text import lay_out

from .. import command
from ._common import options, problem_of, trained

MOST, USUAL = 8, 4


def gated(recipe: Recipe, cell: Cell, extra_steps: int) -> Recipe:
    """The recipe with another cell, trained for four steps and up to some more."""
    return replace(
        recipe,
        options={**recipe.options, "num_steps": USUAL, "cell": cell},
        trainers={"bptt": recipe.trainers["bptt"].changed({"extra_steps": extra_steps})},
    )


def main() -> None:
    """Trains what is missing, measures, prints and draws."""
    parser = options(__doc__, "steps")
    parser.add_argument("--most", type=int, default=MOST, help="the largest T")
    parser.add_argument(
        "--cell",
        nargs="+",
        choices=get_args(Cell),
        default=[],
        help="further models by their cells",
    )
    parser.add_argument(
        "--extra-steps", type=int, default=0, help="the setting of that name, for those models"
    )
    arguments = parser.parse_args()
    if arguments.most < USUAL:
        raise DescentError(f"--most: expected {USUAL} or more, got {arguments.most}")
    problem, mdm = problem_of(arguments), RECIPES["mdm"]
    counts = range(1, arguments.most + 1)
    recipes = {
        f"T{count}": replace(mdm, options={**mdm.options, "num_steps": count}) for count in counts
    }
    longer = {
        f"{cell}{USUAL}-{USUAL + arguments.extra_steps}": gated(mdm, cell, arguments.extra_steps)
        for cell in arguments.cell
    }
    recipes |= longer
    models = trained(problem, recipes, arguments)
    test = problem.data("test")
    own = {count: evaluate(models[f"T{count}"], test) for count in counts}
    labels = {f"T{USUAL}": f"trained for {USUAL}, run for T"} | {
        name: f"{name}, run for T" for name in longer
    }
    lines = {"trained for T steps": [own[count].mean() for count in counts]}
    for name, label in labels.items():
        models[name].num_steps = arguments.most
        longest = evaluate(models[name], test)
        lines[label] = [longest.mean(step=count) for count in counts]
    print(
        lay_out(
            [
                [["T", *map(str, counts)]],
                *([[name, *(f"{value:.4f}" for value in line)]] for name, line in lines.items()),
            ],
            [""] * (1 + len(lines)),
        )
    )
    write_json(
        arguments.out / "steps.json",
        {
            **provenance(
                arguments.seed,
                {
                    "iterations": arguments.iterations,
                    "cell": arguments.cell,
                    "extra_steps": arguments.extra_steps,
                },
            ),
            "data": {split: fingerprint(problem.data(split)) for split in ("train", "test")},
            "metric": longest.metrics[0],
            "steps": list(counts),
            "mean": lines,
            "failures": [own[count].failure_rate() for count in counts],
        },
    )
    figure, axes = frame(5.2, 3.6)
    for (name, line), color in zip(lines.items(), PALETTE):
        axes.plot(counts, line, marker="o", markersize=4, color=color, label=name)
    axes.set(xlabel="steps T", ylabel=f"mean error ({longest.metrics[0]})")
    axes.legend(frameon=False, fontsize=8)
    save_figure(arguments.out / "steps.png", figure)
    print(f"written to {arguments.out}")


if __name__ == "__main__":
    command(main)
