"""The command ``suspects``: labels that look wrong, before any training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..data.samples import Batch
from ..errors import DescentError
from ..problem import Problem

if TYPE_CHECKING:
    from ..landmarks.problem import Landmarks
    from ..landmarks.suspects import Suspect


def suspects(problem: Problem, *, folds: int = 5, seed: int = 0) -> str:
    """Names labels that look wrong: mirrored, flipped, with swapped points, off, or beside the
    object.

    Shapes are compared with one another; then models that are trained without a label fit its
    picture.

    Args:
        problem: the problem, of landmarks in pictures.
        folds: models that are trained; each fits the labels that it did not learn from. 0 looks at
            shapes alone, in a moment.
        seed: the seed of the trainings.

    Returns:
        The names of the pictures and what seems to be wrong with each, the worst first.

    Raises:
        DescentError: if the problem is not one of landmarks, or there are too few labels to tell.
    """
    from ..landmarks.problem import Landmarks
    from ..landmarks.suspects import suspicious_fits, suspicious_shapes

    if not isinstance(problem, Landmarks):
        raise DescentError(
            "suspects: expected a problem of landmarks in pictures, such as landmarks or faces, "
            f"got {type(problem).__name__}"
        )
    names, batch = _labels(problem)
    count = len(names)
    weights = batch.get("weights")
    shapes = suspicious_shapes(batch["points"], problem.schema, weights)
    lines = [f"labels: {count}"]
    if folds:
        known = [suspect.place for suspect in shapes]
        fits = suspicious_fits(problem, batch, known, folds=folds, seed=seed)
        lines += _listed("pictures in which a fit finds other points", fits.suspects, names)
        if not fits.follow:
            lines.append(
                f"the points do not follow the pictures: the start has an error of "
                f"{fits.start:.3g}, and fits of pictures that were not trained on {fits.end:.3g}; "
                "were all rows counted from the bottom, or are these labels of other pictures? "
                "learned-descent show draws them"
            )
    return "\n".join([*lines[:1], *_listed("shapes unlike the others", shapes, names), *lines[1:]])


def _labels(problem: Landmarks) -> tuple[list[str], Batch]:
    """All labels without mirror images, and what their pictures are called."""
    names: list[str] = []
    parts: list[Batch] = []
    for split in problem.parts():
        batch = problem.data(split)
        own = len(batch["points"]) // (2 if split == "train" and problem.mirror else 1)
        called = list(problem.names(split)) or [f"{split} {place}" for place in range(own)]
        names += called[:own]
        if own:
            every = {"weights": torch.ones(batch["points"].shape[:2]), **batch}
            parts.append({name: value[:own] for name, value in every.items()})
    shared = [name for name in parts[0] if all(name in part for part in parts)]
    return names, {name: torch.cat([part[name] for part in parts]) for name in shared}


def _listed(title: str, found: list[Suspect], names: list[str]) -> list[str]:
    lines = [
        f"  {names[suspect.place]}: {suspect.reason} ({suspect.score:.0f} sd)" for suspect in found
    ]
    return [f"{title}: {len(found)}", *lines]
