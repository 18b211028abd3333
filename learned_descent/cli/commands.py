"""What the command line does, as plain functions: train, evaluate, align and check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from ..checkpoint import StoredModel, find_stored
from ..checkpoint.description import described_problem
from ..checkpoint.model import (
    check_storable,
    load_weights,
    save_model,
)
from ..data.batches import fingerprint, num_samples
from ..data.samples import Split
from ..errors import DescentError, about
from ..evaluation.evaluation import evaluate
from ..evaluation.tables import columns, eyes, main_metrics, size, steps, table, worst_lines
from ..families import Family, Recipe, held_out_of
from ..files import write_json
from ..look import eyes_of
from ..problem import Problem
from ..provenance import provenance
from ..registry import recipes_for
from ..system.lock import locked, main_rank
from ..testing.checks import ContractError, check_model, check_observation, check_problem
from ..training.parallel import BEFORE, SUMS, ParallelRidge
from ..training.trainer import CHECKPOINT, LOG
from ..weights import beside
from .going_on import begin, check_output, check_replaces, check_settings, telling
from .runs import (
    check_measurement,
    loaded_model,
    names_of,
    prepare_folder,
    samples_of,
    stored_settings,
    write_errors,
)
from .sizes import sized


def train(
    problem: Problem,
    recipe: Recipe,
    *,
    out: Path,
    seed: int = 0,
    init: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> str:
    """Trains one family on a problem and writes its weights, settings and history.

    Args:
        problem: the problem.
        recipe: the family.
        out: the folder for ``model.safetensors``, ``settings.yaml``, ``history.json``, the log and
            the checkpoint.
        seed: the seed of weights, batches, starts and augmentation.
        init: start from the weights of this file, or from those that come with the package by their
            name; the closed form is then left out, and what the file says of its own training is
            kept as a part of the new one's.
        resume: go on from the checkpoint in the folder, with the settings that the training was
            started with.
        overwrite: replace the model and the checkpoint that are in the folder.
        settings: the resolved settings, for ``settings.yaml`` and for the weights file.

    Returns:
        The validation error after every step, and where the weights are.

    Raises:
        DescentError: before anything is written, if another run uses the folder, if it holds a
            model or a checkpoint that would be replaced, or one to go on from that belongs to
            another training.
    """
    with locked(out):
        weights = out / "model.safetensors"
        recipe.check_installed()
        recipe, begun = _started(recipe.within(out, resume=resume), init)
        before = {} if begun is None else begun.training
        others = [out / CHECKPOINT, out / LOG]  # of another family, maybe
        check_replaces(
            {weights: recipe.checkpoints() or others[:1]}, resume=resume, overwrite=overwrite
        )
        samples, held = samples_of(problem, "train"), held_out_of(problem)
        chosen, settings = sized({"": recipe}, samples, settings)
        recipe = chosen[""]
        model = recipe.build(problem, seed=seed)
        check_storable(model)
        if begun is not None:
            load_weights(model, begun)
        if resume:
            check_settings(out / "settings.yaml", settings)
            recipe.check_checkpoint(model, samples, seed=seed)
        begin(out / "settings.yaml", settings, [*recipe.files(), *others] if overwrite else ())
        with telling(recipe.checkpoints()):
            histories = recipe.fit(model, samples, held, seed=seed)
        if not main_rank():
            return ""
        seconds = before.get("seconds", 0) + sum(history.seconds for history in histories.values())
        origin = {
            **provenance(seed, settings),
            "data": {"train": fingerprint(samples)},
            **({"init": before} if before else {}),
        }
        save_model(model, weights, training={**origin, "seconds": seconds})
        device = next(model.parameters()).device
        result = evaluate(model, samples if held is None else held, device=device)
        errors = [result.mean(step=step) for step in range(result.num_steps + 1)]
        write_json(
            out / "history.json",
            {
                **origin,
                "seconds": seconds,
                "train_error" if held is None else "val_error": {
                    "metric": result.metrics[0],
                    "after_step": errors,
                },
                "trainers": {name: asdict(history) for name, history in histories.items()},
            },
        )
        return f"{steps(result, 'training' if held is None else 'validation')}\nweights: {weights}"


def _started(recipe: Recipe, init: str | None) -> tuple[Recipe, StoredModel | None]:
    """The training that is left to do from given weights, and the weights."""
    if init is None:
        return recipe, None
    if (left := recipe.begun()) is None:
        raise DescentError(
            "--init: this family is trained in closed form, which forgets its start; leave --init "
            "out"
        )
    return left, find_stored(init)


def update(
    weights: StoredModel,
    *,
    problem: Problem,
    out: Path,
    problem_file: str | None = None,
    model: str | None = None,
    sums: Path | None = None,
    overwrite: bool = False,
) -> str:
    """Goes on training a model of the family incremental, with new samples alone: the result is
    that of a training on all samples.

    Args:
        weights: what ``train`` or ``compare`` wrote.
        problem: the problem, whose training samples are the new ones.
        out: the folder for the new ``model.safetensors`` and its sums.
        problem_file: the problem, file.py:Class, where it is not a built-in one.
        model: the class of the model, file.py:Class, where it is not a built-in one.
        sums: the folder of ``sums.safetensors``; by default the one that training made.
        overwrite: replace the model and the sums that are in the folder.

    Raises:
        DescentError: if there are no sums, they are of other weights, or they have the samples.
    """
    target = out / "model.safetensors"
    # compare keeps the files of each family in a folder of its name
    own = weights.path.with_suffix("")
    found = sums or (own if own.is_dir() else weights.path.parent)
    with locked(out):
        for file in (target, out / SUMS):
            prepare_folder(
                out,
                None if overwrite else file,
                "give another --out, or --overwrite to replace it",
            )
        trainer = ParallelRidge.of_sums(found, directory=out)
        loaded = loaded_model(weights, problem, problem_file, model)
        samples = samples_of(loaded.problem, "train")
        history = trainer.partial_fit(loaded, samples, sums=found)
        if not main_rank():
            return ""
        training = {
            **provenance(None, None),
            "data": {"train": fingerprint(samples)},
            "seconds": weights.training.get("seconds", 0) + history.seconds,
            "init": weights.training,
        }
        save_model(loaded, target, training=training)
        (out / BEFORE).unlink(missing_ok=True)
    written = (out / SUMS).stat().st_size / 1e6
    return (
        f"added {num_samples(samples)} samples in {history.seconds:.1f} s\nweights: {target}\n"
        f"sums: {out / SUMS} ({written:.1f} MB)"
    )


def evaluate_weights(
    weights: str | Path | StoredModel,
    *,
    problem: Problem | None = None,
    problem_file: str | None = None,
    model: str | None = None,
    split: Split = "test",
    batch_size: int = 64,
    device: Literal["cpu", "cuda"] = "cpu",
    output: Path | None = None,
    overwrite: bool = False,
) -> str:
    """Measures a trained model on one part of the data, and writes the errors of every sample after
    every step.

    Args:
        weights: the file that ``train`` or ``compare`` wrote, or the name of weights that come with
            the package.
        problem: the problem; by default it is made as the file says.
        problem_file: the problem, file.py:Class, where it is not a built-in one, or another of its
            kind, such as faces.
        model: the class of the model, file.py:Class, where it is not a built-in one.
        split: the part of the data: train, val or test.
        batch_size: samples that are fitted at once.
        device: cpu or cuda.
        output: the JSON file; by default WEIGHTS with the ending .SPLIT.json: for a name, in the
            current folder. Where samples have names, a table of their errors is beside it, with
            the ending .errors.csv.
        overwrite: replace a file of another kind that is there.

    Returns:
        The table.
    """
    check_measurement(batch_size, device, split)
    stored = find_stored(weights)
    file = stored.path
    output = output or beside(file, f".{split}.json")
    listed = output.with_suffix(".errors.csv")
    if listed.exists() and not output.exists() and not overwrite:
        raise DescentError(
            f"{listed}: is there already: give another --output, or --overwrite to replace it"
        )
    check_output(output, ("weights", "split", "errors"), source=file, overwrite=overwrite)
    loaded = loaded_model(stored, problem, problem_file, model)
    prepare_folder(output.parent)
    samples = samples_of(loaded.problem, split)
    with _about_settings(stored, loaded.problem):
        result = evaluate(loaded, samples, batch_size=batch_size, device=device)
    names = names_of(loaded.problem, split, samples)
    write_json(
        output,
        {
            **provenance(None, None),
            "weights": str(file),
            "split": split,
            "data": fingerprint(samples),
            **({"names": list(names)} if names else {}),
            **result.to_json(),
        },
    )
    shown = table(
        {file.stem: result},
        columns({file.stem: result}, {}, {file.stem: size(loaded)}, {file.stem: eyes(loaded)}),
        metrics=main_metrics(result),
    )
    lines = [shown, steps(result, split), *worst_lines({file.stem: result}, names)]
    write_errors(listed, {file.stem: result}, names)
    files = [output, listed] if names else [output]
    return "\n".join([*lines, f"errors: {', '.join(map(str, files))}"])


def _about_settings(weights: StoredModel, problem: Problem) -> AbstractContextManager[None]:
    """Puts before a message in which settings the problem differs from the one that the weights
    were trained on.
    """
    trained, own = (
        stored_settings(weights.description),
        described_problem(problem)["settings"],
    )
    other = {name: value for name, value in trained.items() if name in own and own[name] != value}
    now = {name: own[name] for name in other}
    return (
        about(f"{weights.path}, trained with {other}, on a problem with {now}")
        if other
        else nullcontext()
    )


def check(problem: Problem, families: Mapping[str, Family] | None = None) -> tuple[str, bool]:
    """Runs the public contract on a problem, its observation, and the model of every family.

    Args:
        problem: the problem.
        families: the families; the usual ones of the problem by default.

    Returns:
        A list of what passes and what fails, and whether all that is required passes.
    """
    checks: dict[str, Callable[[], object]] = {
        "problem": lambda: check_problem(problem),
        "observation": lambda: check_observation(eyes_of(problem), problem),
    }
    for name, recipe in (families or recipes_for(type(problem))).items():
        checks[f"family {name}"] = lambda recipe=recipe: check_model(  # type: ignore[misc]
            recipe.build(problem), untrained=isinstance(recipe, Recipe)
        )
    lines, passed = [], True
    for name, run in checks.items():
        try:
            report = str(run())
        except ContractError as error:
            report, passed = str(error.report), False
        except DescentError as error:
            report, passed = f"  FAIL  {error}", False
        lines.append(f"{name}: {report}")
    return "\n".join([*lines, "the contract holds" if passed else "the contract is broken"]), passed
