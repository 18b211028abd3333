"""What the commands share: folders, samples, stored problems and models."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import torch

from ..checkpoint import StoredModel, read_stored
from ..checkpoint.model import load_model, problem_class, stored_problem
from ..data.batches import first_samples, num_samples
from ..data.samples import Samples, Split, as_samples
from ..errors import DescentError, about, calling, check_choice
from ..evaluation.evaluation import Evaluation
from ..files import atomic_write
from ..model import DescentModel
from ..problem import Problem
from ..registry import resolve_model, resolve_problem

WAY_OUT = "give another --output, or --overwrite to replace it"
"""What to do where a result is there already."""


def prepare_folder(folder: Path, result: Path | None = None, way_out: str = "") -> None:
    """Makes a folder and tries to write in it, so that nothing is found out after hours of
    training.

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
        raise DescentError(
            f"{folder}: expected a folder that can be written to: {error}; choose another one"
        ) from error
    if result is not None and result.exists():
        raise DescentError(f"{result}: is there already: {way_out}")


def check_measurement(batch_size: int, device: str, split: Split = "test") -> None:
    """Refuses a batch without samples, a device that this machine does not have, and a split that
    there is not.
    """
    check_choice(device, Literal["cpu", "cuda"], name="--device")
    check_choice(split, Split, name="--split")
    if batch_size < 1:
        raise DescentError(f"--batch-size: expected 1 or more samples, got {batch_size}")
    if device == "cuda" and not torch.cuda.is_available():
        raise DescentError(
            "--device cuda: PyTorch finds no CUDA device on this machine; use --device cpu"
        )


def samples_of(problem: Problem, split: Split) -> Samples:
    """The samples of a split, of which there must be one at least."""
    name = f"{type(problem).__name__}.data({split!r})"
    with calling(name):
        given: object = problem.data(split)
    samples = as_samples(given, name)
    with about(f"the {split} data of {type(problem).__name__}"):
        num_samples(samples)
    return samples


def names_of(problem: Problem, split: Split, samples: Samples) -> tuple[str, ...]:
    """What the samples of a split are called; nothing where they have no names.

    Raises:
        DescentError: if there is not a name for each of them.
    """
    name = f"{type(problem).__name__}.names({split!r})"
    with calling(name):
        names = tuple(map(str, problem.names(split)))
    if names and len(names) != num_samples(samples):
        raise DescentError(
            f"{name}: expected a name for each of the {num_samples(samples)} samples, got "
            f"{len(names)}"
        )
    return names


def write_errors(path: Path, evaluations: Mapping[str, Evaluation], names: Sequence[str]) -> None:
    """Writes a table of the final error of every sample by its name, of several trainings the
    mean, with a column for each family; nothing where the samples have no names.

    Args:
        path: the file, a ``.csv``.
        evaluations: what each family reached.
        names: what the samples are called.
    """
    if not names:
        return
    columns = [result.by_training().mean(0).tolist() for result in evaluations.values()]

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["name", *evaluations])
            table.writerows(zip(names, *columns))

    atomic_write(path, write)


def stored_settings(description: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the problem of a stored model.

    A problem of one's own that says nothing about them has those of its training, if that was a
    command.
    """
    own = description["problem"]
    typed = (description.get("training") or {}).get("settings") or {}
    if not own["settings"] and own["name"].startswith("custom:") and isinstance(typed, Mapping):
        return dict(typed.get("problem") or {})
    return dict(own["settings"])


def problem_of(
    weights: str | Path | StoredModel,
    problem_file: str | None,
    changes: Mapping[str, Any] | None = None,
) -> Problem:
    """The problem of a stored model: the class that the user names or, if it is built in, the one
    that the file names.

    Args:
        weights: the file, or what was read of it, which gives the settings.
        problem_file: the name of the problem, or of one of the same kind.
        changes: settings to replace; a mapping replaces entries of a mapping.
    """
    stored = read_stored(weights)
    cls = (
        problem_class(stored.description, path=stored.path)
        if problem_file is None
        else resolve_problem(problem_file)
    )
    known = signature(
        cls
    ).parameters  # settings that only problems of the same kind have are left out
    settings = {
        name: value for name, value in stored_settings(stored.description).items() if name in known
    }
    for name, value in (changes or {}).items():
        settings[name] = (
            {**settings.get(name, {}), **value} if isinstance(value, Mapping) else value
        )
    return stored_problem(stored.path, cls, settings)


def loaded_model(
    stored: StoredModel, problem: Problem | None, problem_file: str | None, model: str | None
) -> DescentModel:
    """A stored model, on a problem that is given or is made as the file says, see
    :func:`problem_of`.

    Args:
        stored: what was read of the file.
        problem: the problem; ``None`` for that of the file.
        problem_file: the name of the problem, or of one of the same kind.
        model: the name of the class of the model, where it is not a built-in one.
    """
    cls = None if model is None else resolve_model(model)
    return load_model(stored, problem=problem or problem_of(stored, problem_file), model=cls)


def load_for(
    weights: Path | StoredModel,
    problem: Problem,
    samples: Samples,
    model: type[DescentModel] | None,
) -> DescentModel:
    """A stored model to be compared on ``samples`` of ``problem``: it must start where the others
    start.

    Args:
        weights: the file, or what was read of it.
        problem: the problem.
        samples: what the models are compared on.
        model: the class of the model, where it is not a built-in one.

    Raises:
        DescentError: if its problem has other starts, or its updates another scale.
    """
    stored = read_stored(weights)
    file, settings = stored.path, stored_settings(stored.description)
    made = stored_problem(file, type(problem), settings)
    loaded = load_model(stored, problem=made, model=model)
    batch = first_samples(samples, 64)
    start, theirs = problem.initial(batch), loaded.problem.initial(batch)
    update = torch.ones_like(problem.local(start, start))
    if start.shape != theirs.shape or not torch.allclose(start, theirs, rtol=1e-4, atol=1e-4):
        raise DescentError(
            f"{file}: starts elsewhere than this problem does: it was trained on other data, "
            "train it on these"
        )
    if not torch.allclose(
        problem.retract(start, update), loaded.problem.retract(start, update), rtol=1e-4, atol=1e-4
    ):
        raise DescentError(
            f"{file}: moves in other units than this problem: give the settings {settings} as "
            "--problem.NAME"
        )
    loaded.problem.load_state_dict(problem.state_dict())
    return loaded
