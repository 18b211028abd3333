"""What the defaults of ``landmarks`` reach on few pictures.

``python -m benchmarks.landmarks.small`` trains on some dozen drawn wings and, where 300-W is there,
on as many faces with 12 of their points, and measures on 150 others. ``--choose`` measures on the
pictures that the defaults were chosen on: other wings, and other faces of the training part.
"""

from __future__ import annotations

import argparse
import csv
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from learned_descent import DescentError, evaluate
from learned_descent.families import Recipe
from learned_descent.landmarks.labelled import LabelledLandmarks
from learned_descent.landmarks.point_files import quiet_menpo, read_landmarks
from learned_descent.registry import recipe_for
from learned_descent.system.text import lay_out

from .. import command
from ..paper._common import installed
from .wings import draw_wings

POINTS = (36, 39, 42, 45, 30, 31, 35, 48, 54, 51, 57, 8)
"""Corners of the eyes, nose, mouth and chin among the points of 300-W."""

TESTED = 150
"""Pictures that the errors are measured on."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/300w"), help="300-W")
    parser.add_argument("--out", type=Path, default=Path("runs/small"))
    parser.add_argument("--sets", nargs="+", default=["wings", "faces"])
    parser.add_argument("--families", nargs="+", default=["sdm", "joint", "mdm", "ert"])
    parser.add_argument("--pictures", nargs="+", type=int, default=[48], help="of training")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--choose", action="store_true")
    arguments = parser.parse_args()
    recipes = installed(_recipes(arguments.families))
    rows = []
    for name in arguments.sets:
        for count in arguments.pictures:
            for seed in arguments.seeds:
                file = _labels(name, count, seed, arguments)
                problem = LabelledLandmarks(str(file), seed=seed)
                for family, error, seconds in _errors(problem, recipes, seed):
                    rows.append((f"{name} {count}", seed, family, error, seconds))
                    print(f"{name} {count} seed {seed} {family} {error:.4f}", flush=True)
    print(_table(rows))


def _labels(name: str, count: int, seed: int, arguments: argparse.Namespace) -> Path:
    """The labels of a set, with a column that says which pictures are for training."""
    folder = arguments.out / f"{name}-{count}-{seed}{'-choose' if arguments.choose else ''}"
    if name == "wings":
        drawing = 2 * seed + (0 if arguments.choose else 1)
        file = draw_wings(folder, count + TESTED, seed=drawing)
        with file.open(encoding="utf-8", newline="") as opened:
            titles, *rows = csv.reader(opened)
    elif name == "faces":
        file, titles, rows = folder / "faces.csv", *_faces(count, seed, arguments)
    else:
        raise DescentError(f"--sets: expected wings or faces, got {name}")
    folder.mkdir(parents=True, exist_ok=True)
    parts = ["train"] * count + ["test"] * (len(rows) - count)
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow([*titles, "split"])
        writer.writerows([*row, part] for row, part in zip(rows, parts))
    return file


def _faces(
    count: int, seed: int, arguments: argparse.Namespace
) -> tuple[list[str], list[list[str]]]:
    """Faces of afw to train on, then those to measure on: the rest of them, or helen/testset."""
    found = sorted(arguments.data.glob("afw/*.pts"))
    if not found:
        raise DescentError(f"--data: expected 300-W with its part afw, got {arguments.data}")
    random.Random(seed).shuffle(found)
    tested = sorted(arguments.data.glob("helen/testset/*.pts"))
    others = found[count:] if arguments.choose else tested
    titles = ["image", *(f"{axis}{place}" for place in range(len(POINTS)) for axis in "xy")]
    with quiet_menpo():
        rows = [
            [
                str(file.with_suffix(".jpg").resolve()),
                *(f"{value:.3f}" for value in read_landmarks(file)[list(POINTS)].ravel().tolist()),
            ]
            for file in [*found[:count], *others[:TESTED]]
        ]
    return titles, rows


def _recipes(families: Sequence[str]) -> dict[str, Recipe]:
    """The families by name.

    Raises:
        DescentError: if one is not trained.
    """
    found = {}
    for name in families:
        recipe = recipe_for(LabelledLandmarks, name)
        if not isinstance(recipe, Recipe):
            raise DescentError(f"--families: expected learned ones, got {name}")
        found[name] = recipe
    return found


def _errors(
    problem: LabelledLandmarks, recipes: Mapping[str, Recipe], seed: int
) -> Iterator[tuple[str, float, float]]:
    """The mean error of the start and of each family with its defaults, and the seconds of the
    training.
    """
    start = problem.error(problem.initial(problem.data("test")), problem.data("test"))
    yield "start", float(start.mean()), 0.0
    for name, recipe in recipes.items():
        began = time.perf_counter()
        model, _ = recipe.train(problem, seed=seed)
        yield name, evaluate(model, problem.data("test")).mean(), time.perf_counter() - began


def _table(rows: Sequence[tuple[str, int, str, float, float]]) -> str:
    columns = [
        ["set", *(row[0] for row in rows)],
        ["seed", *(str(row[1]) for row in rows)],
        ["family", *(row[2] for row in rows)],
        ["error", *(f"{row[3]:.4f}" for row in rows)],
        ["train s", *(f"{row[4]:.0f}" for row in rows)],
    ]
    return lay_out([columns[:1], columns[1:]], ["", "mean error of 12 points / centroid size"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    command(main)
