"""How long a training will take."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, suppress
from copy import deepcopy
from dataclasses import replace

from ..data.samples import Samples
from ..errors import DescentError
from ..families import Recipe
from ..model import DescentModel

_REHEARSED = 4
"""Iterations of a rehearsal; the first one warms up and is not timed."""


def forecast(recipe: Recipe, model: DescentModel, samples: Samples, *, seed: int = 0) -> float | None:
    """The seconds that the training by gradients will take, from a rehearsal of a few iterations on a copy of the model.

    Args:
        recipe: the family.
        model: the untrained model; it stays as it is.
        samples: training samples.
        seed: the seed of the training.

    Returns:
        The seconds: 0 without such a training, ``None`` where a rehearsal would take as long as the training, would have to
        compile, or fails, or where the training goes on from a checkpoint.
    """
    bptt = recipe.bptt
    if bptt is None:
        return 0.0
    if bptt.iterations < 10 * _REHEARSED or bptt.compile or recipe.resumes():
        return None
    rehearsal = replace(bptt, iterations=_REHEARSED, validate_every=1, directory=None, resume=False, callbacks=())
    with suppress(DescentError), redirect_stderr(io.StringIO()):  # no progress of what is no training
        records = rehearsal.fit(deepcopy(model), samples, seed=seed).records
        pace: float = (records[-1]["seconds"] - records[0]["seconds"]) / (_REHEARSED - 1)
        return pace * bptt.iterations
    return None
