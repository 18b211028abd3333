"""The command ``compare``: several families on the same samples, from the same starts."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from ..checkpoint.description import describe, described_problem
from ..checkpoint.model import check_storable, read_description, save_model
from ..data.batches import batches, fingerprint, num_samples
from ..data.samples import Samples, Split, floating_type
from ..errors import DescentError, about
from ..evaluation.basin import basin
from ..evaluation.evaluation import evaluate
from ..evaluation.tables import columns, main_metrics, size, table, unusable
from ..families import (
    Classical,
    Family,
    Polish,
    Recipe,
    held_out_of,
    learned_part,
    learned_parts,
)
from ..files import atomic_write, save_figure, write_json
from ..look import look
from ..model import DescentModel
from ..names import PROBLEMS
from ..problem import Problem
from ..provenance import provenance
from ..registry import name_of
from ..solvers import Polished
from ..system.lock import locked, main_rank
from ..training import History
from ..training.bptt import CHECKPOINT
from .forecast import forecast
from .going_on import begin, check_data, check_replaces, check_settings, telling
from .runs import check_measurement, load_for, logged, samples_of

_SIZES = ("num_features", "num_updates")
"""Settings of a model that follow from the problem and the observation."""

_OWN = ("directory", "resume")
"""Settings of a trainer that follow from those of the command."""


def compare(
    problem: Problem,
    families: Mapping[str, Family],
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
        families: recipes by name; one that goes on where another one before it ended starts from its weights, and
            ``NAME+SOLVER`` shares the training of ``NAME``.
        out: the folder for ``report.html``, ``results.json``, ``settings.yaml``, the figures, and ``NAME.safetensors`` of each
            learned family.
        seed: the seed of weights, batches, starts and augmentation.
        weights: learned families that are loaded, not trained: name and file.
        split: the part of the data to compare on: train, val or test.
        batch_size: samples that are fitted at once.
        device: cpu or cuda, for the evaluation.
        resume: go on from the checkpoints in the folder, with the settings that the comparison was started with.
        overwrite: replace the results, the weights and the checkpoints that are in the folder.
        settings: the resolved settings, for ``results.json`` and the weights files.

    Returns:
        The tables, and where the report is.

    Raises:
        DescentError: as ``train`` does, for each family that is trained.
    """
    check_measurement(batch_size, device)
    files, recipes = dict(weights or {}), learned_parts(families)
    if unknown := sorted(set(files) - set(recipes)):
        learned = ", ".join(recipes) or "learned ones, and there are none"
        raise DescentError(f"--weights: expected families among {learned}, got {', '.join(unknown)}")
    trained = {name: recipe for name, recipe in recipes.items() if name not in files}
    products = {out / f"{name}.safetensors": out / name if recipe.bptt else None for name, recipe in trained.items()}
    with locked(out):
        check_replaces({out / "results.json": None, **products}, resume=resume, overwrite=overwrite)
        samples, held, tested = samples_of(problem, "train"), held_out_of(problem), samples_of(problem, split)
        with about(f"the {split} samples"):
            look(problem, tested, dtype=floating_type(problem.buffers()))
        models: dict[str, DescentModel] = {name: load_for(file, problem, tested) for name, file in files.items()}
        models |= {name: recipe.build(problem, seed=seed) for name, recipe in recipes.items() if name not in models}
        for name in trained:
            check_storable(models[name])
        whole = {name: _whole(name, family, models, problem) for name, family in families.items()}
        for model in whole.values():  # what cannot be measured is found out before the training
            evaluate(model, next(batches(tested, 1)))
        problem_described = described_problem(problem)
        origin = {**provenance(seed, settings), "data": {"train": fingerprint(samples), split: fingerprint(tested)}}
        if resume:
            check_settings(out / "settings.yaml", settings)
            for name, recipe in trained.items():
                check_data(out / f"{name}.safetensors", origin["data"]["train"])
                logged(recipe, out / name, resume=True).check_checkpoint(models[name], samples, seed=seed)
        begin(out / "settings.yaml", settings, [out / name for name in trained] if overwrite else ())
        stored = {name: read_description(file).get("training") or {} for name, file in files.items()}
        with telling([*products, *(out / name / CHECKPOINT for name in trained)]):
            histories = _train(trained, models, samples, held, out, origin, seed=seed, resume=resume)
        if not main_rank():
            return ""
        known = {name: training["seconds"] for name, training in stored.items() if "seconds" in training}
        known |= {name: _seconds(steps) for name, steps in histories.items()}
        seconds = {name: known[learned_part(name)] for name in families if learned_part(name) in known}
        tqdm.write(f"measuring {', '.join(families)} on {num_samples(tested):,} samples", file=sys.stderr)
        measured = {
            name: (model, evaluate(model, tested, batch_size=batch_size, device=device)) for name, model in whole.items()
        }
        evaluations = {name: result for name, (_, result) in measured.items()}
        shown = table(evaluations, columns(measured, seconds), metrics=main_metrics(next(iter(evaluations.values()))))
        starts = basin(evaluations)
        trainers = {name: _trainers(recipe) for name, recipe in trained.items()}
        trainers |= {name: _stored_trainers(training) for name, training in stored.items()}
        content = {
            **origin,
            "problem": problem_described,
            "samples": {"train": num_samples(samples), split: num_samples(tested)},
            "split": split,
            "basin": None if starts is None else starts.to_json(),
            "families": {
                name: {
                    "weights": str(files.get(part, out / f"{part}.safetensors")) if part in models else None,
                    "settings": _settings(families[name], whole[name], models.get(part), trainers.get(part, {})),
                    "parameters": size(whole[name]),
                    "training_seconds": seconds.get(name),
                    "trainers": {key: asdict(history) for key, history in histories.get(part, {}).items()},
                    **result.to_json(),
                }
                for name, result in evaluations.items()
                for part in [learned_part(name)]
            },
        }
        write_json(out / "results.json", content)
        # Only what draws waits for Matplotlib and Jinja.
        from ..evaluation.plots import plot_basin, plot_ced, plot_fits, plot_steps, plot_time
        from .report import report

        faces = any(name_of(base, PROBLEMS) in ("faces", "synthetic-faces") for base in type(problem).__mro__)
        figures = {
            "ced": ("ced.png", plot_ced(evaluations)),
            "steps": ("steps.png", plot_steps(evaluations)),
            "basin": ("basin.png", plot_basin(evaluations)),
            "time": ("time.png", plot_time(evaluations)),
            "fits": ("faces.png" if faces else "fits.png", plot_fits(measured, tested)),
        }
        drawn = {name: (out / file, figure) for name, (file, figure) in figures.items() if figure is not None}
        for file, figure in drawn.values():
            save_figure(file, figure)
        page = report(content, {name: file.read_bytes() for name, (file, _) in drawn.items()}, folder=out, faces=faces)
        atomic_write(out / "report.html", lambda path: path.write_text(page, encoding="utf-8"))
        shown = "\n".join([shown, *unusable(evaluations)])
        tables = [shown] if starts is None else [shown, f"\n{starts.table()}\n"]
        return "\n".join([*tables, f"results: {out}", f"report: {out / 'report.html'}"])


def _whole(name: str, family: Family, models: Mapping[str, DescentModel], problem: Problem) -> DescentModel:
    """What a family is measured by: its learned model, with a solver behind it, or a solver alone."""
    if isinstance(family, Classical):
        return family.build(problem)
    model = models[learned_part(name)]
    return family.finish(model) if isinstance(family, Polish) else model


def _train(
    recipes: Mapping[str, Recipe],
    models: Mapping[str, DescentModel],
    samples: Samples,
    held: Samples | None,
    out: Path,
    origin: Mapping[str, Any],
    *,
    seed: int,
    resume: bool,
) -> dict[str, dict[str, History]]:
    """Trains the families one after the other, and stores each as soon as it is done; says how long the rest will take."""
    recipes = {name: logged(recipe, out / name, resume=resume) for name, recipe in recipes.items()}
    left = {name: forecast(recipe, models[name], samples, seed=seed) for name, recipe in recipes.items()}
    histories: dict[str, dict[str, History]] = {}
    for place, (name, recipe) in enumerate(recipes.items(), 1):
        begun = next((other for other in histories if recipe.after(recipes[other])), None)
        rest = (recipe.after(recipes[begun]) if begun else None) or recipe
        tqdm.write(
            f"training {name}{f', from {begun}' if begun else ''} ({place} of {len(recipes)}{_left(left, rest)})",
            file=sys.stderr,
        )
        if begun:
            models[name].load_state_dict(models[begun].state_dict())
        fitted = rest.fit(models[name], samples, held, seed=seed)
        histories[name] = {**(histories[begun] if begun else {}), **fitted}
        if main_rank():
            training = {**origin, "family": name, "seconds": _seconds(histories[name])}
            save_model(models[name], out / f"{name}.safetensors", training=training)
        del left[name]
    return histories


def _left(seconds: Mapping[str, float | None], current: Recipe) -> str:
    """The time left for the families of which ``current`` is the first, where it can be told."""
    known = [value for value in seconds.values() if value is not None]
    if len(known) < len(seconds) or not sum(known):
        return ""
    left = f"{sum(known):.0f} s" if sum(known) < 90 else f"{sum(known) / 60:.0f} min"
    return f"; about {left} left" + (" after the closed form" if current.ridge else "")


def _seconds(histories: Mapping[str, History]) -> float:
    return sum(history.seconds for history in histories.values())


def _settings(family: Family, whole: DescentModel, learned: DescentModel | None, trainers: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader wants to know of a family: model, eyes, trainers and solver, as they were."""
    settings: dict[str, Any] = {}
    if learned is not None:
        described = describe(learned)
        model_settings = {key: value for key, value in described["model"]["settings"].items() if key not in _SIZES}
        eyes = {key: value for key, value in described["observation"].items() if key != "settings"}
        settings |= {
            "model": {"name": described["model"]["name"], **model_settings},
            "observation": {**eyes, **described["observation"].get("settings", {})},
            **trainers,
        }
    if not isinstance(family, Recipe):
        solver = whole.solver if isinstance(whole, Polished) else whole
        settings["solver"] = {"name": type(solver).__name__, **solver.settings()}
    return settings


def _trainers(recipe: Recipe) -> dict[str, Any]:
    trainers = {"ridge": recipe.ridge, "bptt": recipe.bptt}
    return {
        name: {key: value for key, value in asdict(trainer).items() if key not in _OWN}
        for name, trainer in trainers.items()
        if trainer is not None
    }


def _stored_trainers(training: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the trainers of a stored model, written by ``train`` or by ``compare``."""
    settings = training.get("settings", {})
    own = settings.get(str(training.get("family")).replace("-", "_"), settings)
    return {name: own[name] for name in ("ridge", "bptt") if own.get(name)}
