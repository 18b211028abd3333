"""What more faces would do: the error against the number of training faces: ``python -m
benchmarks.paper.faces``.

The recurrent model, or another ``--family``, is trained on the first 250, 500, 1,000 and all faces
of a random order, each with its mirror image, for the same number of iterations. The faces that it
is measured on are the same for all; ``--split val`` takes those held out from training. Writes
``faces.json`` and ``faces.png``.
"""

from __future__ import annotations

import torch
from torch import Generator

from learned_descent import evaluate
from learned_descent.data.batches import fingerprint, index
from learned_descent.evaluation.plots.frames import PALETTE, frame
from learned_descent.faces.recipes import RECIPES
from learned_descent.files import save_figure, write_json
from learned_descent.provenance import provenance
from learned_descent.system.text import lay_out

from .. import command
from ._common import options, problem_of, trained

COUNTS = (250, 500, 1000)


def main() -> None:
    """Trains what is missing, measures, prints and draws."""
    parser = options(__doc__, "faces")
    parser.add_argument("--family", default="mdm", choices=list(RECIPES), help="what is trained")
    parser.add_argument(
        "--split", default="test", choices=("val", "test"), help="the faces that are measured on"
    )
    arguments = parser.parse_args()
    problem = problem_of(arguments)
    train, test = problem.data("train"), problem.data(arguments.split)
    total = len(train["image"]) // 2  # the mirror images follow in the same order
    order = torch.randperm(total, generator=Generator().manual_seed(arguments.seed))
    counts = [*(count for count in COUNTS if count < total), total]
    results = {}
    for count in counts:
        some = order[:count]
        chosen = index(train, torch.cat([some, some + total])) if count < total else train
        models = trained(problem, {f"{count}": RECIPES[arguments.family]}, arguments, chosen)
        results[count] = evaluate(models[f"{count}"], test)
    rows = [
        (f"{count}", f"{r.mean():.4f}", f"{100 * r.auc():.2f}", f"{100 * r.failure_rate():.2f}")
        for count, r in results.items()
    ]
    print(
        lay_out(
            [[list(column)] for column in zip(("faces", "mean", "AUC %", "fail. %"), *rows)],
            [""] * 4,
        )
    )
    write_json(
        arguments.out / "faces.json",
        {
            **provenance(
                arguments.seed,
                {
                    name: getattr(arguments, name)
                    for name in ("iterations", "train", "family", "split")
                },
            ),
            "data": {"train": fingerprint(train), "test": fingerprint(test)},
            "results": {f"{count}": result.to_json() for count, result in results.items()},
        },
    )
    figure, axes = frame(5.2, 3.6)
    axes.plot(
        counts,
        [100 * result.auc() for result in results.values()],
        marker="o",
        markersize=4,
        color=PALETTE[0],
    )
    axes.set(xscale="log", xlabel="training faces", ylabel=f"AUC at {problem.failure_above:g} (%)")
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.minorticks_off()
    save_figure(arguments.out / "faces.png", figure)
    print(f"written to {arguments.out}")


if __name__ == "__main__":
    command(main)
