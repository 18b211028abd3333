"""The peer of the paper's Figure 4 that anyone can install: dlib's ensemble of regression trees
(ERT).

It is trained on the same faces, mirror images included, in the same boxes as the families, and sees
the same crops in grey. dlib keeps landmarks and boxes as whole pixels: it is given crops of twice
their size, so that half as much is rounded away.

References:
    V. Kazemi and J. Sullivan. One millisecond face alignment with an ensemble of regression trees.
    CVPR 2014.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from learned_descent import Evaluation
from learned_descent.data.batches import fingerprint
from learned_descent.data.samples import Batch
from learned_descent.files import atomic_write, write_json
from learned_descent.landmarks.problem import Landmarks

from ._common import check_kept, fitted

try:
    import dlib
except ImportError:
    dlib = None

SCALE = 2
SETTINGS = {"cascade_depth": 10, "tree_depth": 4, "oversampling_amount": 20}


def trained_ert(problem: Landmarks, arguments: argparse.Namespace) -> tuple[Any, float]:
    """The trees, from the folder if they are there, and else trained and written into it; and the
    seconds of the training.

    Args:
        problem: the faces.
        arguments: the seed, the folder, and the number of ``trees`` of each level.
    """
    path = Path(arguments.out, "ert.dat")
    known = path.with_suffix(".json")
    train = problem.data("train")
    wanted = {"seed": arguments.seed, "trees": arguments.trees, "data": fingerprint(train)}
    if path.exists() and known.exists():
        kept = json.loads(known.read_text(encoding="utf-8"))
        check_kept(path, kept, wanted)
        return dlib.shape_predictor(str(path)), kept["seconds"]
    print("training ERT", flush=True)
    settings = dlib.shape_predictor_training_options()
    for name, value in {
        **SETTINGS,
        "num_trees_per_cascade_level": arguments.trees,
        "random_seed": str(arguments.seed),
    }.items():
        setattr(settings, name, value)
    settings.num_threads = torch.get_num_threads()
    boxes = _boxes(train)
    parts = [
        [dlib.point(column, row) for column, row in face]
        for face in _enlarged(train["points"]).round().int().tolist()
    ]
    truth = [[dlib.full_object_detection(box, face)] for box, face in zip(boxes, parts)]
    began = time.perf_counter()
    trees = dlib.train_shape_predictor(_grey(train), truth, settings)
    seconds = time.perf_counter() - began
    atomic_write(path, lambda temporary: trees.save(str(temporary)))
    write_json(known, {**wanted, **SETTINGS, "seconds": seconds, "faces": len(boxes)})
    return trees, seconds


def measured_ert(trees: Any, problem: Landmarks) -> Evaluation:
    """The evaluation of the trees on the test faces, one at a time; they start from the same mean
    shape as the families."""
    test = problem.data("test")
    faces = list(zip(_grey(test), _boxes(test)))
    trees(*faces[0])
    began = time.perf_counter()
    fits = [trees(image, box) for image, box in faces]
    seconds = time.perf_counter() - began
    points = torch.tensor(
        [[(part.x, part.y) for part in fit.parts()] for fit in fits], dtype=torch.float32
    )
    return fitted((points + 0.5) / SCALE - 0.5, problem, seconds)


def _enlarged(points: Tensor) -> Tensor:
    """Points in px of a crop in px of the enlarged one, ``(column, row)``; the centre of the first
    pixel is ``(0, 0)``."""
    return (points + 0.5) * SCALE - 0.5


def _boxes(batch: Batch) -> list[Any]:
    return [dlib.rectangle(*box) for box in _enlarged(batch["box"]).round().int().tolist()]


def _grey(batch: Batch) -> list[np.ndarray]:
    side = SCALE * batch["image"].shape[-1]
    photos = (
        Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L") for image in batch["image"]
    )
    return [np.asarray(photo.resize((side, side), Image.Resampling.BILINEAR)) for photo in photos]
