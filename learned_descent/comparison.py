"""The command ``compare``: several families on the same samples, from the same starts."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from ._check import DescentError
from ._files import write_json
from ._runs import (
    check_measurement,
    columns,
    load_for,
    logged,
    main_metrics,
    main_rank,
    prepare_folder,
    provenance,
    samples_of,
    save_figure,
    size,
)
from .checkpoint import read_description, save_model
from .data import fingerprint
from .evaluation import evaluate, table
from .model import DescentModel
from .plots import plot_ced, plot_fits, plot_steps
from .problem import Problem, Split
from .recipe import Recipe, held_out_of
from .registry import PROBLEMS, name_of
from .training import History


def compare(
    problem: Problem,
    recipes: Mapping[str, Recipe],
    *,
    out: Path = Path("runs/compare"),
    seed: int = 0,
    weights: Mapping[str, Path] | None = None,
    split: Split = "test",
    batch_size: int = 64,
    device: Literal["cpu", "cuda"] = "cpu",
    resume: bool = False,
    overwrite: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> str:
    """Trains or loads several families, and measures all of them on the same samples from the same starts.

    Args:
        problem: the problem.
        recipes: the families by name; one that goes on where another one before it ended starts from its weights.
        out: the folder for ``results.json``, ``ced.png``, ``steps.png``, the fits, and ``FAMILY.safetensors``.
        seed: the seed of weights, batches, starts and augmentation.
        weights: families that are loaded, not trained: name and file.
        split: the part of the data to compare on: train, val or test.
        batch_size: samples that are fitted at once.
        device: cpu or cuda, for the evaluation.
        resume: go on from the checkpoints in the folder.
        overwrite: replace the results that are in the folder.
        settings: the resolved settings, for ``results.json`` and the weights files.

    Returns:
        The table.
    """
    check_measurement(batch_size, device)
    results = out / "results.json"
    prepare_folder(out, None if resume or overwrite else results)
    files = dict(weights or {})
    if unknown := sorted(set(files) - set(recipes)):
        raise DescentError(f"--weights: expected families among {', '.join(recipes)}, got {', '.join(unknown)}")
    samples, held, tested = samples_of(problem, "train"), held_out_of(problem), samples_of(problem, split)
    models: dict[str, DescentModel] = {name: load_for(file, problem, tested) for name, file in files.items()}
    models |= {name: recipe.build(problem, seed=seed) for name, recipe in recipes.items() if name not in models}
    origin = {**provenance(seed, settings), "data": {"train": fingerprint(samples), split: fingerprint(tested)}}
    histories: dict[str, dict[str, History]] = {}
    seconds: dict[str, float] = {}
    for name, recipe in recipes.items():
        if name in files:
            stored = read_description(files[name]).get("training") or {}
            seconds |= {name: stored["seconds"]} if "seconds" in stored else {}
            continue
        begun = next((other for other in histories if recipe.after(recipes[other])), None)
        rest = recipe.after(recipes[begun]) if begun else recipe
        tqdm.write(f"training {name}" + (f", from {begun}" if begun else ""), file=sys.stderr)
        if begun:
            models[name].load_state_dict(models[begun].state_dict())
        fitted = logged(rest or recipe, out / name, resume=resume).fit(models[name], samples, held, seed=seed)
        histories[name] = {**(histories[begun] if begun else {}), **fitted}
        seconds[name] = sum(history.seconds for history in histories[name].values())
        if main_rank():
            trained = {**origin, "family": name, "seconds": seconds[name]}
            save_model(models[name], out / f"{name}.safetensors", training=trained)
    if not main_rank():
        return ""
    measured = {name: (models[name], evaluate(models[name], tested, batch_size=batch_size, device=device)) for name in recipes}
    evaluations = {name: result for name, (_, result) in measured.items()}
    shown = table(evaluations, columns(measured, seconds), metrics=main_metrics(next(iter(evaluations.values()))))
    write_json(
        results,
        {
            **origin,
            "split": split,
            "families": {
                name: {
                    "weights": str(files.get(name, out / f"{name}.safetensors")),
                    "parameters": size(models[name]),
                    "training_seconds": seconds.get(name),
                    "trainers": {key: asdict(history) for key, history in histories.get(name, {}).items()},
                    **result.to_json(),
                }
                for name, result in evaluations.items()
            },
        },
    )
    save_figure(out / "ced.png", plot_ced(evaluations))
    save_figure(out / "steps.png", plot_steps(evaluations))
    fits = plot_fits(measured, tested)
    if fits is not None:
        faces = any(name_of(base, PROBLEMS) == "faces" for base in type(problem).__mro__)
        save_figure(out / ("faces.png" if faces else "fits.png"), fits)
    return f"{shown}\nresults: {out}"
