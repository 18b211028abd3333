"""Landmarks of synthetic faces by an ensemble of regression trees (ERT), by dlib and by ours, both
grown by dlib with the same settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from learned_descent.data.samples import Batch
from learned_descent.faces.recipes import RECIPES
from learned_descent.faces.synthetic import SyntheticFaces
from learned_descent.training import BoostedTrees

from .peers import peer
from .races import Race, Turn, clocked

LEVELS, TREES, DEPTH, STARTS = 10, 100, 4, 5


def ours(problem: SyntheticFaces, batch: Batch) -> Turn:
    settings = {"num_steps": LEVELS, "trees": TREES, "depth": DEPTH}
    trainers = {"boosting": BoostedTrees(repeats=STARTS)}
    model = replace(RECIPES["ert"], options=settings, trainers=trainers).train(problem)[0].eval()
    return clocked(torch.inference_mode()(lambda: model(batch).final))


def dlib(problem: SyntheticFaces, batch: Batch) -> Turn:
    library = peer("dlib")
    options = library.shape_predictor_training_options()
    options.cascade_depth, options.num_trees_per_cascade_level = LEVELS, TREES
    options.tree_depth, options.oversampling_amount = DEPTH, STARTS
    options.num_threads = 1

    def pictures(batch: Batch) -> tuple[list[Any], list[Any]]:
        boxes = batch["box"].round().int().tolist()
        grey = batch["image"].float().mean(1).byte().numpy()
        return list(grey), [library.rectangle(*box) for box in boxes]

    train = problem.data("train")
    truths = [
        [library.full_object_detection(box, [library.point(*point) for point in points])]
        for box, points in zip(pictures(train)[1], train["points"].round().int().tolist())
    ]
    predictor = library.train_shape_predictor(pictures(train)[0], truths, options)
    pairs = list(zip(*pictures(batch)))

    def solve() -> Tensor:
        shapes = [predictor(image, box) for image, box in pairs]
        points = [[(point.x, point.y) for point in shape.parts()] for shape in shapes]
        return torch.tensor(points, dtype=torch.float32).flatten(1)

    return clocked(solve)


def races(seed: int) -> Iterator[Race]:
    """None where there is no dlib, for ours are grown by it too."""
    try:
        peer("dlib")
    except ImportError:
        return
    problem = SyntheticFaces(count=150, test_count=64, seed=seed)
    test = problem.data("test")
    for size in (1, 64):
        batch = {name: value[:size] for name, value in test.items()}

        def error(found: Tensor, batch: Batch = batch) -> float:
            return problem.error(found, batch).mean().item()

        yield Race(
            f"Synthetic faces by {LEVELS} levels of {TREES} trees",
            size,
            {"ours": partial(ours, problem, batch), "dlib": partial(dlib, problem, batch)},
            metric="mean error (of the eye distance)",
            error=error,
            note="dlib rounds landmarks to whole pixels.",
        )
