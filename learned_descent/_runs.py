"""What the commands share: folders, samples, stored models, provenance, the columns of the table."""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml

from . import __version__
from ._check import DescentError, about, calling
from ._files import atomic_write
from ._lock import main_rank
from ._samples import as_samples
from .checkpoint import load_model, problem_class, read_description, stored_problem
from .data import Samples, batches, num_samples
from .evaluation import Evaluation
from .model import DescentModel
from .observation import Concat, Frozen, Observation
from .problem import Problem, Split
from .recipe import Recipe
from .registry import resolve_problem
from .solvers import Polished, Solver

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def prepare_folder(
    folder: Path,
    result: Path | None = None,
    way_out: str = "give another --out, --resume to go on, or --overwrite to replace it",
) -> None:
    """Makes a folder and tries to write in it, so that nothing is found out after hours of training.

    Args:
        folder: the folder.
        result: the file that marks finished work, which is not to be replaced.
        way_out: what the user can do about it.

    Raises:
        DescentError: if the folder cannot be written to, or holds finished work.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DescentError(f"{folder}: expected a folder that can be written to: {error}; choose another one") from error
    if result is not None and result.exists():
        raise DescentError(f"{result}: is there already: {way_out}")


def check_measurement(batch_size: int, device: str) -> None:
    """Refuses a batch without samples, and a device that this machine does not have."""
    if batch_size < 1:
        raise DescentError(f"--batch-size: expected 1 or more samples, got {batch_size}")
    if device == "cuda" and not torch.cuda.is_available():
        raise DescentError("--device cuda: PyTorch finds no CUDA device on this machine; use --device cpu")


def samples_of(problem: Problem, split: Split) -> Samples:
    """The samples of a split, of which there must be one at least."""
    name = f"{type(problem).__name__}.data({split!r})"
    with calling(name):
        given: object = problem.data(split)
    samples = as_samples(given, name)
    with about(f"the {split} data of {type(problem).__name__}"):
        num_samples(samples)
    return samples


def stored_settings(description: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the problem of a stored model.

    A problem of one's own that says nothing about them has those of its training, if that was a command.
    """
    own = description["problem"]
    typed = (description.get("training") or {}).get("settings") or {}
    if not own["settings"] and own["name"].startswith("custom:") and isinstance(typed, Mapping):
        return dict(typed.get("problem") or {})
    return dict(own["settings"])


def problem_of(weights: Path, problem_file: str | None, changes: Mapping[str, Any] | None = None) -> Problem:
    """The problem of a stored model: the class that the user names or, if it is built in, the one that the file names.

    Args:
        weights: the file, which gives the settings.
        problem_file: the name of the problem, or of one of the same kind.
        changes: settings to replace; a mapping replaces entries of a mapping.
    """
    description = read_description(weights)
    cls = problem_class(description, path=weights) if problem_file is None else resolve_problem(problem_file)
    known = signature(cls).parameters  # settings that only problems of the same kind have are left out
    settings = {name: value for name, value in stored_settings(description).items() if name in known}
    for name, value in (changes or {}).items():
        settings[name] = {**settings.get(name, {}), **value} if isinstance(value, Mapping) else value
    return stored_problem(weights, cls, settings)


def load_for(weights: Path, problem: Problem, samples: Samples) -> DescentModel:
    """A stored model to be compared on ``samples`` of ``problem``: it must start where the others start.

    Raises:
        DescentError: if its problem has other starts, or its updates another scale.
    """
    settings = stored_settings(read_description(weights))
    model = load_model(weights, problem=stored_problem(weights, type(problem), settings))
    batch = next(batches(samples, 64))
    start, theirs = problem.initial(batch), model.problem.initial(batch)
    update = torch.ones_like(problem.local(start, start))
    if start.shape != theirs.shape or not torch.allclose(start, theirs, rtol=1e-4, atol=1e-4):
        raise DescentError(
            f"{weights}: starts elsewhere than this problem does: it was trained on other data, train it on these"
        )
    if not torch.allclose(problem.retract(start, update), model.problem.retract(start, update), rtol=1e-4, atol=1e-4):
        raise DescentError(f"{weights}: moves in other units than this problem: give the settings {settings} as --problem.NAME")
    model.problem.load_state_dict(problem.state_dict())
    return model


def logged(recipe: Recipe, folder: Path, *, resume: bool) -> Recipe:
    if recipe.bptt is None:
        return recipe
    return replace(recipe, bptt=replace(recipe.bptt, directory=str(folder), resume=resume))


def write_settings(path: Path, settings: Mapping[str, Any] | None) -> None:
    """Writes resolved settings as YAML, which ``--config`` reads, by the main rank alone."""
    if main_rank():
        text = yaml.safe_dump(json.loads(json.dumps(settings or {}, default=str)), sort_keys=False)
        atomic_write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def provenance(seed: int | None, settings: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "seed": seed,
        "settings": json.loads(json.dumps(settings or {}, default=str)),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "learned_descent": __version__,
        },
        "machine": {
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(),
        },
    }


def columns(
    measured: Mapping[str, tuple[DescentModel, Evaluation]], seconds: Mapping[str, float]
) -> dict[str, dict[str, float | str]]:
    columns: dict[str, dict[str, float | str]] = {}
    if seconds:
        columns["training s"] = dict(seconds)
    if any(result.status is not None for _, result in measured.values()):
        columns["converged %"] = {name: text for name, (_, result) in measured.items() if (text := converged(result))}
    columns["ms/sample"] = {name: 1000 * result.seconds_per_sample for name, (_, result) in measured.items()}
    columns["parameters"] = {name: size(model) for name, (model, _) in measured.items()}
    if seen := {name: text for name, (model, _) in measured.items() if (text := eyes(model))}:
        columns["observation"] = dict(seen)
    return columns


def converged(result: Evaluation) -> str:
    """The share of samples in percent that a classical solver left converged; nothing for a learned descent."""
    return "" if result.status is None else f"{100 * result.ended.get('converged', 0) / result.num_samples:.1f}"


def eyes(model: DescentModel) -> str:
    """The classes of what a learned model sees through; nothing for a classical solver."""
    if isinstance(model, Solver):
        return ""
    return _classes(model.model.observation if isinstance(model, Polished) else model.observation)


def _classes(observation: Observation) -> str:
    if isinstance(observation, Frozen):
        return f"frozen {_classes(observation.inner)}"
    if isinstance(observation, Concat):
        return " + ".join(dict.fromkeys(_classes(part) for part in observation.parts))  # type: ignore[arg-type]
    return type(observation).__name__


def unusable(evaluations: Mapping[str, Evaluation]) -> list[str]:
    """A line for each family with samples that its classical solver could make nothing of: how all of them ended, and why."""
    return [f"{name}: {result.endings}" for name, result in evaluations.items() if result.invalid]


def size(model: DescentModel) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def main_metrics(result: Evaluation) -> list[str]:
    """The metrics under the normaliser of the main one, such as those of all landmarks and of a part of them."""
    normaliser = result.metrics[0].rpartition(" / ")[2]
    return [name for name in result.metrics if name == result.metrics[0] or name.endswith(f" / {normaliser}")]


def steps(result: Evaluation, split: str) -> str:
    errors = "  ".join(f"{result.mean(step=step):.4g}" for step in range(result.num_steps + 1))
    return f"{split} error after step 0 (the start) to {result.num_steps}: {errors}  ({result.metrics[0]}, mean)"


def save_figure(path: Path, figure: Figure) -> None:
    atomic_write(path, lambda temporary: figure.savefig(temporary, dpi=150))
