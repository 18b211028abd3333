"""Trained weights that an experiment is given by name."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from learned_descent import DescentError, load_model
from learned_descent.faces.alignment import FaceAlignment
from learned_descent.landmarks.problem import Landmarks
from learned_descent.landmarks.schema_file import described_schema
from learned_descent.model import DescentModel
from learned_descent.weights import find_weights

from ._common import problem_of


def weights_of(entries: Sequence[str]) -> dict[str, Path]:
    """The weights files by the name of their family, from entries ``NAME``, ``FILE`` or
    ``FAMILY=FILE``."""
    parts = [entry.rpartition("=") for entry in entries]
    return {family or Path(path).stem: find_weights(path) for family, _, path in parts}


def loaded(paths: Mapping[str, Path]) -> dict[str, DescentModel]:
    """The models of weights files; they must see faces alike."""
    models = {name: load_model(path) for name, path in paths.items()}
    first = first_problem(models)
    for name, model in models.items():
        other = cast(Landmarks, model.problem)
        if (other.schema, other.crop, other.box_side) != (first.schema, first.crop, first.box_side):
            raise DescentError(
                f"{name}: has another markup, crop or side of the box than the first weights: "
                "compare like with like"
            )
    return models


def first_problem(models: Mapping[str, DescentModel]) -> Landmarks:
    """The problem of the first of several models."""
    return cast(Landmarks, next(iter(models.values())).problem)


def problem_like(
    arguments: argparse.Namespace, models: Mapping[str, DescentModel]
) -> FaceAlignment:
    """The faces that the options name, in the markup, the crops and, for training, the parts of the
    first of several models."""
    first = first_problem(models)
    arguments.schema, arguments.train = (
        described_schema(first.schema),
        first.settings().get("train", arguments.train),
    )
    return problem_of(arguments, first)
