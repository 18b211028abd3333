"""Descents of some samples as data, which a page shows step by step."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...data.batches import num_samples, to_device
from ...data.samples import Batch, Samples
from ...errors import DescentError
from ...files import or_null
from ...look import device_of
from ...model import DescentModel
from ..evaluation import Evaluation, check_comparable
from .fits import NDArray, first_sight, known_target, points_of, stored_xs, window_of
from .frames import grey, single_sample, styles

_MOST = 24
"""The samples of a page, at most."""

_SHOWN = 12
"""The parameters of a sample without a picture that are shown, at most."""

_NUMBERS = 400_000
"""Of all descents of a page, at most: its size."""

_SIDE, _UNITS = 192, 1000
"""The side of a picture in px, and in the units of the points on it."""


def descents(
    families: Mapping[str, tuple[DescentModel, Evaluation]],
    samples: Samples,
    *,
    names: Sequence[str] = (),
    most: int = _MOST,
) -> dict[str, Any]:
    """What some samples looked like after every step of each family; of several trainings the
    first.

    The samples are spread evenly from the best to the worst of the first family. They are fewer
    than ``most`` where their points and steps are very many.

    Args:
        families: model and evaluation by the name of the family, on the same problem and samples.
        samples: the samples of the evaluations.
        names: what the samples are called; by default their numbers.
        most: how many there are at most.

    Returns:
        What JSON can hold: ``metric``; ``failure_above``; ``total``, the number of samples that
        these were taken from; ``edges``; for each of the ``families`` its ``name``, ``color`` and
        ``dashes``; for each of the ``samples`` its ``name``, its ``picture`` (the address of a
        square JPEG, or ``None``), its ``truth``, and for each family the ``errors`` and the ``x``
        at the start and after every step. With a picture, ``truth`` and ``x`` are points, column
        after row, in thousandths of its side; without one the first 12 parameters.

    Raises:
        DescentError: if the evaluations were not measured alike or on other samples, or if one was
            restored without ``xs``.

    Example:
        >>> from learned_descent import Cascade, evaluate
        >>> from learned_descent.problems import Analytic
        >>> problem = Analytic("erf")
        >>> model, samples = Cascade.for_problem(problem, num_steps=2), problem.data("test")
        >>> shown = descents({"sdm": (model, evaluate(model, samples))}, samples, most=3)
        >>> shown["total"], [sample["name"] for sample in shown["samples"]]
        (67, ['sample 50', 'sample 29', 'sample 0'])
        >>> len(shown["samples"][0]["descents"][0]["errors"])
        3
    """
    evaluations = {family: evaluation for family, (_, evaluation) in families.items()}
    check_comparable(evaluations)
    first = next(iter(evaluations.values()))
    if num_samples(samples) != first.num_samples:
        raise DescentError(
            f"samples: expected the {first.num_samples} samples of the evaluations, got "
            f"{num_samples(samples)}; show the samples that were evaluated"
        )
    metric, models = first.metrics[0], [model for model, _ in families.values()]
    xs = [stored_xs(family, evaluation) for family, evaluation in evaluations.items()]
    found: dict[str, Any] = {
        "metric": metric,
        "failure_above": first.failure_above,
        "total": first.num_samples,
        "edges": [list(edge) for edge in models[0].problem.edges],
        "families": [
            {"name": family, "color": style.color, "dashes": style.dashes}
            for family, style in styles(families).items()
        ],
        "samples": [],
    }
    width = len(_seen(models, single_sample(samples, 0), [x[:1, 0] for x in xs])["truth"])
    room = max(1, _NUMBERS // (width * sum(len(x) for x in xs)))
    for number in _spread(first.by_training()[0], min(most, room)):
        seen = _seen(models, single_sample(samples, number), [x[:, number] for x in xs])
        found["samples"].append(
            {
                "name": names[number] if names else f"sample {number}",
                "picture": seen["picture"],
                "truth": seen["truth"],
                "descents": [
                    {"errors": _short(evaluation.errors[metric][:, number]), "x": path}
                    for evaluation, path in zip(evaluations.values(), seen["x"])
                ],
            }
        )
    shown: dict[str, Any] = or_null(found)
    return shown


def _spread(errors: Tensor, most: int) -> list[int]:
    """The numbers of so many samples, evenly from the best to the worst, each once."""
    order = errors.nan_to_num(nan=torch.inf).argsort(stable=True)
    places = torch.linspace(0, len(order) - 1, min(most, len(order))).round().long()
    return order[places].tolist()


def _seen(models: Sequence[DescentModel], sample: Batch, xs: Sequence[Tensor]) -> dict[str, Any]:
    """One sample with the parameters ``(T + 1, p)`` of each family: ``picture``, ``truth``,
    ``x``.
    """
    sight = first_sight(models)
    problem = models[0].problem if sight is None else sight[1].problem
    batch = cast(Batch, to_device(sample, device_of(problem)))
    truth = known_target(problem, batch)
    if sight is None:
        paths = [[_short(x[:_SHOWN]) for x in path] for path in xs]
        return {"picture": None, "truth": _short(truth[0, :_SHOWN]), "x": paths}
    eyes, image = sight[0], grey(batch[sight[0].image][0])
    points = [points_of(x.to(device_of(problem)), eyes) for x in (truth, *xs)]
    left, right, bottom, top = window_of(points, image.shape)

    def placed(where: NDArray) -> list[int | None]:
        units = _UNITS * (where - (left, top)) / (right - left)
        flat = units.ravel().clip(-_UNITS, 2 * _UNITS).tolist()
        return [None if value != value else round(value) for value in flat]

    return {
        "picture": _jpeg(image, (left + 0.5, top + 0.5, right + 0.5, bottom + 0.5)),
        "truth": placed(points[0][0]),
        "x": [[placed(where) for where in path] for path in points[1:]],
    }


def _short(values: Tensor) -> list[float]:
    """Numbers of four digits, which is what a page shows."""
    return [float(f"{value:.4g}") for value in values.double().tolist()]


def _jpeg(image: NDArray, window: tuple[float, float, float, float]) -> str:
    """The address of a part of a picture ``(H, W)`` that holds all of it; none is enlarged."""
    side = min(_SIDE, round(window[2] - window[0]))
    picture = Image.fromarray(image.clip(0, 255).astype(np.uint8))
    file = io.BytesIO()
    smaller = picture.resize((side, side), Image.Resampling.BILINEAR, box=window)
    smaller.save(file, "JPEG", quality=75)
    return f"data:image/jpeg;base64,{b64encode(file.getvalue()).decode()}"
