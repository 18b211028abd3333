"""Settings that follow from the size of the data: decided, told in a line, and kept with the
others.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

from ..data.batches import num_samples
from ..data.samples import Samples
from ..families import Recipe
from ..system.lock import main_rank


def sized(
    recipes: Mapping[str, Recipe], samples: Samples, settings: Mapping[str, Any] | None
) -> tuple[dict[str, Recipe], dict[str, Any] | None]:
    """Recipes whose settings that were left to the number of samples are decided, and the settings
    of the command with them.

    Args:
        recipes: what is to be trained, by family; ``""`` for the one family of a command.
        samples: the training samples.
        settings: those of the command, of each family by its name.

    Example:
        >>> from learned_descent import Cascade, SequentialRidge
        >>> recipe = Recipe(Cascade, trainers={"ridge": SequentialRidge(repeats=None)})
        >>> typed = {"sdm": {"ridge": {"repeats": None, "passes": 1}}}
        >>> recipes, kept = sized({"sdm": recipe}, {"y": [[1.0]] * 500}, typed)
        >>> recipes["sdm"].trainers["ridge"].repeats, kept
        (4, {'sdm': {'ridge': {'repeats': 4, 'passes': 1}}})
    """
    count = num_samples(samples)
    found = {name: recipe.sized(count) for name, recipe in recipes.items()}
    chosen = {
        (*filter(None, [name]), trainer, setting): value
        for name, recipe in found.items()
        for trainer, own in recipe.trainers.items()
        for setting, value in own.settings().items()
        if value != recipes[name].trainers[trainer].settings()[setting]
    }
    if chosen and main_rank():
        listed = ", ".join(f"{'.'.join(path)} {value}" for path, value in chosen.items())
        tqdm.write(f"chosen for {count:,} training samples: {listed}", file=sys.stderr)
    for path, value in chosen.items():
        settings = None if settings is None else _with(settings, path, value)
    return found, None if settings is None else dict(settings)


def _with(settings: Mapping[str, Any], path: tuple[str, ...], value: object) -> dict[str, Any]:
    """Nested settings with another value in one place."""
    name, *rest = path
    key = name.replace("-", "_")
    inner = _with(settings.get(key) or {}, tuple(rest), value) if rest else value
    return {**settings, key: inner}
