"""One family from several seeds, with mean and spread: ``python -m benchmarks.paper.seeds``.

Trains the family from each of the ``--seeds``, or takes weights that were trained from different
seeds on the same faces::

    python -m benchmarks.paper.seeds --data ../shared/300w --weights runs/mdm-*/model.safetensors

Prints the errors, AUC and failures of each, their mean, and their standard deviation over seeds.
Writes ``seeds.json``, the error distributions and the error after every step.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from learned_descent import DescentError, Evaluation, evaluate
from learned_descent.evaluation.tables import certainty, main_metrics, table
from learned_descent.faces.alignment import FaceAlignment
from learned_descent.faces.recipes import RECIPES
from learned_descent.model import DescentModel

from .. import command
from ._common import options, problem_of, report, trained, training_of
from ._weights import find_weights, loaded, problem_like


def arguments_of() -> argparse.Namespace:
    """The options of this experiment."""
    parser = options(__doc__, "seeds")
    parser.add_argument("--family", default="mdm", choices=list(RECIPES), help="what to train")
    parser.add_argument(
        "--seeds",
        nargs="+",
        type=int,
        default=[0, 1, 2],
        help="the seeds of the trainings, two or more",
    )
    parser.add_argument(
        "--weights",
        nargs="+",
        help="files of trained weights instead, of one family and one set of faces",
    )
    return parser.parse_args()


def of_seeds(arguments: argparse.Namespace) -> tuple[FaceAlignment, dict[str, DescentModel]]:
    """The faces, and a model for each seed."""
    if arguments.weights:
        paths = [find_weights(entry) for entry in arguments.weights]
        trainings = [training_of(path) for path in paths]
        check_alike(paths, trainings)
        models = loaded(
            {f"seed {known.get('seed')}": path for known, path in zip(trainings, paths)}
        )
        return problem_like(arguments, models), models
    if len(set(arguments.seeds)) < 2:
        raise DescentError(
            "--seeds: expected two different ones or more, which have a spread, got "
            f"{arguments.seeds}"
        )
    problem, recipe, models = problem_of(arguments), RECIPES[arguments.family], {}
    for seed in arguments.seeds:
        models |= trained(
            problem,
            {f"seed {seed}": recipe},
            argparse.Namespace(**{**vars(arguments), "seed": seed}),
        )
    return problem, models


def check_alike(paths: list[Path], trainings: list[Mapping[str, object]]) -> None:
    """Refuses weights that have no spread, or that differ in more than their seed."""
    seeds = [known.get("seed") for known in trainings]
    if len(set(seeds)) < max(2, len(paths)):
        raise DescentError(
            "--weights: expected two files or more, each from a seed of its own, got the seeds "
            f"{seeds}"
        )
    first = trainings[0].get("data")
    for path, known in zip(paths, trainings):
        if known.get("data") != first:
            raise DescentError(
                f"{path}: was trained on other faces than {paths[0]}: {known.get('data')}, not "
                f"{first}"
            )


def main() -> None:
    """Trains what is missing, measures, and prints each seed, the mean and the spread."""
    arguments = arguments_of()
    problem, models = of_seeds(arguments)
    evaluations = {name: evaluate(model, problem.data("test")) for name, model in models.items()}
    report(
        problem,
        evaluations,
        arguments,
        "seeds",
        splits=("test",) if arguments.weights else ("train", "test"),
    )
    whole = {"all": Evaluation.pooled(list(evaluations.values()))}
    points = whole["all"].metrics[0].partition(" / ")[0]
    metrics = list(dict.fromkeys([*main_metrics(whole["all"]), f"{points} / inter_pupil"]))
    print(f"\n{table(whole, metrics=metrics)}\n\n{certainty(whole, metrics)}")


if __name__ == "__main__":
    command(main)
