"""What the experiments share: trainings that are kept and resumed, and one measurement, table and
figure for all."""

from __future__ import annotations

import argparse
import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from learned_descent import (
    DescentError,
    Evaluation,
    evaluate,
    load_model,
    save_model,
    table,
)
from learned_descent.checkpoint import read_description
from learned_descent.data.batches import fingerprint
from learned_descent.data.samples import Batch, Split
from learned_descent.evaluation.plots import plot_ced, plot_steps
from learned_descent.evaluation.tables import main_metrics
from learned_descent.faces.alignment import FaceAlignment
from learned_descent.families import Recipe, held_out_of
from learned_descent.files import atomic_write, save_figure, write_json
from learned_descent.landmarks.problem import Landmarks
from learned_descent.model import DescentModel
from learned_descent.provenance import provenance
from learned_descent.system.lock import locked
from learned_descent.training import BackpropThroughTime

RUNS = Path("runs/paper")
"""Where each experiment has its folder."""


def options(text: str | None, name: str, *, trains: bool = True) -> argparse.ArgumentParser:
    """The options of an experiment, to which it may add its own.

    Args:
        text: what it does.
        name: of its folder in ``runs/paper``.
        trains: whether it trains anything; without that it has none of the options of trainings.
    """
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="a folder in the layout of 300-W")
    parser.add_argument(
        "--test", nargs="+", default=["helen/testset"], help="its parts for testing"
    )
    parser.add_argument(
        "--out", type=Path, default=RUNS / name, help="the folder of weights, figures and JSON"
    )
    parts = ["afw", "helen/trainset"]
    if not trains:
        parser.set_defaults(train=parts, schema="ibug68", iterations=None, seed=0)
        return parser
    parser.add_argument("--train", nargs="+", default=parts, help="its parts for training")
    parser.add_argument("--schema", default="ibug68", help="the markup: ibug68, ibug51 or ibug49")
    parser.add_argument(
        "--iterations",
        type=int,
        help="iterations of every training by gradients; by default the recipes'",
    )
    parser.add_argument(
        "--kept",
        type=Path,
        default=RUNS,
        help="where other experiments keep theirs: equal ones are taken over",
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="torch.compile those trainings: faster, needs a C++ compiler",
    )
    parser.add_argument("--seed", type=int, default=0, help="the seed of the trainings")
    return parser


def problem_of(arguments: argparse.Namespace, like: Landmarks | None = None) -> FaceAlignment:
    """The faces that the options name, cropped by default, or like those of another problem."""
    crop = {} if like is None else {"crop": like.crop, "box_side": like.box_side}
    return FaceAlignment(
        arguments.data, train=arguments.train, test=arguments.test, schema=arguments.schema, **crop
    )


def trained(
    problem: FaceAlignment,
    recipes: Mapping[str, Recipe],
    arguments: argparse.Namespace,
    train: Batch | None = None,
) -> dict[str, DescentModel]:
    """The models of several recipes by name: from the folder if they are there, and else trained
    and written into it.

    A training that was cut off goes on from its checkpoint, and one that another experiment has
    done is taken over.

    Args:
        problem: the faces.
        recipes: the recipes by name.
        arguments: see :func:`options`.
        train: the faces to train on; by default all of the problem's.
    """
    models = {}
    samples = problem.data("train") if train is None else train
    data = fingerprint(samples)
    with locked(arguments.out):
        for name, recipe in recipes.items():
            if arguments.iterations is not None:
                recipe = _with_gradients(recipe, {"iterations": arguments.iterations})
            bptt = recipe.trainers.get("bptt")
            iterations = bptt.iterations if isinstance(bptt, BackpropThroughTime) else None
            wanted = {
                "seed": arguments.seed,
                "iterations": iterations,
                "data": data,
                "digest": digest_of(problem, recipe),
            }
            path = arguments.out / f"{name}.safetensors"
            if path.exists():
                check_kept(path, training_of(path), wanted)
            elif (twin := twin_of(arguments.kept, wanted)) is not None:
                print(f"taken over: {name}, from {twin}", flush=True)
                atomic_write(path, partial(shutil.copyfile, twin))
            else:
                print(f"training {name}", flush=True)
                recipe = _with_gradients(recipe, {"compile": arguments.compile}).within(
                    arguments.out / name, resume=True
                )
                model = recipe.build(problem, seed=arguments.seed)
                histories = recipe.fit(model, samples, held_out_of(problem), seed=arguments.seed)
                seconds = sum(history.seconds for history in histories.values())
                save_model(
                    model,
                    path,
                    training={**wanted, "seconds": seconds, "faces": len(samples["image"])},
                )
            models[name] = load_model(path, problem=problem)
    return models


def installed(recipes: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """Those of some recipes for which no library is missing; says what is left out, and why."""
    found = {}
    for name, recipe in recipes.items():
        try:
            recipe.check_installed()
        except DescentError as error:
            print(f"left out: {name}: {error}", flush=True)
        else:
            found[name] = recipe
    return found


def _with_gradients(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """A recipe whose trainings by gradients have other settings; as it is without any."""
    return replace(
        recipe,
        trainers={
            name: trainer.changed(settings) if isinstance(trainer, BackpropThroughTime) else trainer
            for name, trainer in recipe.trainers.items()
        },
    )


def digest_of(problem: FaceAlignment, recipe: Recipe) -> str:
    """A digest of the settings of a training: with equal seeds and faces, equal ones give equal
    weights."""
    faces = {name: value for name, value in problem.settings().items() if name != "test"}
    return hashlib.sha256(repr((faces, recipe)).encode()).hexdigest()[:16]


def twin_of(folder: Path, wanted: Mapping[str, Any]) -> Path | None:
    """The weights of an equal training in the folder of another experiment, if there are any.

    Args:
        folder: what holds the folders of all experiments.
        wanted: what the training is to be.
    """
    for path in sorted(folder.glob("*/*.safetensors")):
        try:
            kept = training_of(path)
        except DescentError:
            continue  # the checkpoint of a training, or none of ours
        if wanted.items() <= kept.items():
            return path
    return None


def training_of(path: Path) -> dict[str, Any]:
    """What a weights file says about its training."""
    return read_description(path)["training"] or {}


def check_kept(path: Path, kept: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuses to go on with what is left of another training: another seed, other faces, or a
    shortened one.

    Args:
        path: what is kept.
        kept: what its training was; what it does not say is not held against it.
        wanted: what it should be.
    """
    others = [
        f"{key} {kept[key]}, not {value}"
        for key, value in wanted.items()
        if kept.get(key, value) != value
    ]
    if others:
        raise DescentError(
            f"{path}: is kept from another training ({'; '.join(others)}); give another --out, or "
            "remove it"
        )


def report(
    problem: FaceAlignment,
    evaluations: Mapping[str, Evaluation],
    arguments: argparse.Namespace,
    title: str,
    *,
    columns: Mapping[str, Mapping[str, float]] | None = None,
    splits: Sequence[Split] = ("train", "test"),
    figures: bool = True,
) -> None:
    """Prints the table, and writes ``TITLE.json`` and, as figures, ``TITLE-ced.png`` and
    ``TITLE-steps.png``.

    Args:
        problem: the faces.
        evaluations: the result of each family.
        arguments: see :func:`options`.
        title: what the files are called.
        columns: further columns of the table: a number by the name of the family.
        splits: the faces that took part.
        figures: whether to draw them.
    """
    columns = columns or {}
    print(
        f"\n{table(evaluations, columns, metrics=main_metrics(next(iter(evaluations.values()))))}\n"
    )
    settings = {name: value for name, value in vars(arguments).items() if name != "out"}
    results = {name: result.to_json() for name, result in evaluations.items()}
    write_json(
        arguments.out / f"{title}.json",
        {
            **provenance(arguments.seed, settings),
            "data": {split: fingerprint(problem.data(split)) for split in splits},
            "results": results,
            **columns,
        },
    )
    for kind, plot in (("ced", plot_ced), ("steps", plot_steps)) if figures else ():
        save_figure(arguments.out / f"{title}-{kind}.png", plot(evaluations))
    print(f"written to {arguments.out}")


def measured(models: Mapping[str, DescentModel], problem: FaceAlignment) -> dict[str, Evaluation]:
    """The evaluation of each model on the test faces."""
    return {name: evaluate(model, problem.data("test")) for name, model in models.items()}


def fitted(points: Tensor, problem: Landmarks, seconds: float) -> Evaluation:
    """The evaluation of landmarks that were found one test face at a time, in another way than by
    one descent.

    Args:
        points: in px of the crops of the test faces, ``(N, L, 2)``.
        problem: the faces.
        seconds: what all of them took.
    """
    test = problem.data("test")
    xs = torch.stack([problem.initial(test), points.flatten(1)])
    steps = [problem.metrics(x, test) for x in xs]
    errors = {name: torch.stack([step[name] for step in steps]).double() for name in steps[0]}
    return Evaluation(
        errors, xs, problem.failure_above, seconds / len(points), batch_size=1, device="cpu"
    )
