"""Table 1 and Figure 4: every family on the same faces: ``python -m benchmarks.paper.table``.

Trains what is missing of every learned family but ``mdm-paper``, which is made for a GPU, and
``ert`` where dlib is not there (``pip install dlib-bin``), and prints errors, AUC and failures for
all points and for each part of the markup. ``--schema ibug49`` is Figure 6. Trained weights take
the place of the families by::

    python -m benchmarks.paper.table --data ../shared/300w --weights mdm sdm

Writes ``table.json`` and its figures: the error distribution of all points, and of each part,
``table-ced-51.png``.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch

from learned_descent import evaluate
from learned_descent.evaluation.plots import plot_ced
from learned_descent.evaluation.tables import main_metrics, size
from learned_descent.faces.alignment import FaceAlignment
from learned_descent.families import Recipe
from learned_descent.files import save_figure
from learned_descent.model import DescentModel
from learned_descent.registry import recipes_for

from .. import command
from ._common import installed, options, problem_of, report, trained, training_of
from ._weights import loaded, problem_like, weights_of


def arguments_of() -> argparse.Namespace:
    """The options of this experiment."""
    parser = options(__doc__, "table")
    parser.add_argument(
        "--families",
        nargs="+",
        choices=list(learned()),
        help="what to train; by default all but mdm-paper",
    )
    parser.add_argument(
        "--weights",
        nargs="+",
        help="names, files, or FAMILY=FILE of trained weights instead",
    )
    return parser.parse_args()


def learned() -> dict[str, Recipe]:
    """The families of faces that are trained, by name."""
    families = recipes_for(FaceAlignment)
    return {name: family for name, family in families.items() if isinstance(family, Recipe)}


def chosen(arguments: argparse.Namespace) -> dict[str, Recipe]:
    """The families that the options name; without any, all that can be trained on a CPU here."""
    known = learned()
    if arguments.families:
        return {name: known[name] for name in arguments.families}
    return installed({name: recipe for name, recipe in known.items() if name != "mdm-paper"})


def models_of(
    arguments: argparse.Namespace,
) -> tuple[FaceAlignment, dict[str, DescentModel], Mapping[str, Path]]:
    """The faces, and the models and weights files that the options name."""
    if not arguments.weights:
        problem = problem_of(arguments)
        models = trained(problem, chosen(arguments), arguments)
        return problem, models, {name: arguments.out / f"{name}.safetensors" for name in models}
    paths = weights_of(arguments.weights)
    models = loaded(paths)
    return problem_like(arguments, models), models, paths


def main() -> None:
    """Trains what is missing, measures, prints and draws."""
    arguments = arguments_of()
    problem, models, paths = models_of(arguments)
    evaluations = {
        name: evaluate(model, problem.data("test"), batch_size=1) for name, model in models.items()
    }
    seconds = {
        name: known["seconds"]
        for name, path in paths.items()
        if "seconds" in (known := training_of(path))
    }
    columns = {
        "training s": seconds,
        "ms/face": {name: 1000 * result.seconds_per_sample for name, result in evaluations.items()},
        "parameters": {name: size(model) for name, model in models.items()},
    }
    splits = ("test",) if arguments.weights else ("train", "test")
    report(problem, evaluations, arguments, "table", columns=columns, splits=splits)
    for metric in main_metrics(next(iter(evaluations.values())))[1:]:
        save_figure(
            arguments.out / f"table-ced-{metric.split()[0]}.png", plot_ced(evaluations, metric)
        )
    print(f"ms/face: one face at a time; threads: {torch.get_num_threads()}")


if __name__ == "__main__":
    command(main)
