"""The command ``compare``: several families on the same samples, from the same starts."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from ..checkpoint import StoredModel, read_stored
from ..checkpoint.description import describe, described_problem
from ..checkpoint.model import check_storable, save_model
from ..data.batches import fingerprint, first_samples, num_samples
from ..data.samples import Samples, Split, floating_type
from ..errors import DescentError, about, check_choice
from ..evaluation.comparison import FIGURES, Comparison
from ..evaluation.evaluation import evaluate
from ..families import (
    Classical,
    Family,
    Polish,
    Recipe,
    held_out_of,
    learned_part,
    learned_parts,
)
from ..files import plain, save_figure, write_json, write_text
from ..look import look
from ..model import DescentModel
from ..problem import Problem
from ..provenance import provenance
from ..system.lock import locked, main_rank
from ..training import History
from ..training.trainer import CHECKPOINT, LOG
from .going_on import begin, check_data, check_replaces, check_settings, telling
from .runs import (
    check_measurement,
    load_for,
    names_of,
    prepare_folder,
    samples_of,
    write_errors,
)
from .sizes import sized

_SIZES = ("num_features", "num_updates")
"""Settings of a model that follow from the problem and the observation."""

_PARTS = ("problem", "model", "observation")
"""Sections of settings that are no trainer's."""


def compare(
    problem: Problem,
    families: Mapping[str, Family],
    *,
    out: Path = Path("runs/compare"),
    seed: int = 0,
    seeds: Sequence[int] | None = None,
    weights: Mapping[str, Path] | None = None,
    split: Split = "test",
    batch_size: int = 64,
    device: Literal["cpu", "cuda"] = "cpu",
    figures: Literal["png", "pdf"] = "png",
    latex: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> Comparison | None:
    """Trains or loads several families, and measures all of them on the same samples from the same
    starts.

    Args:
        problem: the problem.
        families: recipes by name; one that goes on where another one before it ended starts from
            its weights, and ``NAME+SOLVER`` shares the training of ``NAME``.
        out: the folder for ``report.html``, ``results.json``, ``settings.yaml``, the figures,
            ``NAME.safetensors`` of each learned family, and ``errors.csv`` where samples have
            names.
        seed: the seed of weights, batches, starts and augmentation.
        seeds: two or more in place of one: each learned family is trained once from each of them,
            in the folder seed-N, and has a mean and a spread.
        weights: learned families that are loaded, not trained: name and file.
        split: the part of the data to compare on: train, val or test.
        batch_size: samples that are fitted at once.
        device: cpu or cuda, for the evaluation.
        figures: png, or pdf for figures of a paper beside them.
        latex: a .tex file for the table, with the package booktabs.
        resume: go on from the checkpoints in the folder, with the settings that the comparison was
            started with.
        overwrite: replace the results, the weights and the checkpoints that are in the folder.
        settings: the resolved settings, for ``results.json`` and the weights files.

    Returns:
        The comparison, whose text is the table and where the report is; ``None`` on every rank but
        the first of a distributed training, for that one alone measures.

    Raises:
        DescentError: as ``train`` does, for each family that is trained, or if both ``seed`` and
            ``seeds`` are given.
    """
    check_measurement(batch_size, device, split)
    check_choice(figures, Literal["png", "pdf"], name="--figures")
    if seeds and seed != 0:
        raise DescentError(
            f"--seed {seed}: expected none beside --seeds, which names all of them; leave one out"
        )
    results = [out / "results.json"]
    if latex is not None:
        if latex.suffix != ".tex":
            raise DescentError(f"--latex {latex}: expected a file that ends in .tex")
        prepare_folder(latex.parent)
        results.append(latex)
    each = _Each(problem, dict(weights or {}), split, batch_size, device, resume, overwrite)
    with locked(out):
        check_replaces(dict.fromkeys(results, ()), resume=resume, overwrite=overwrite)
        if seeds:
            comparison = _over_seeds(each, families, out, seeds, settings)
        else:
            comparison = each.compared(families, out, seed, settings)
        if comparison is not None:
            if overwrite:  # this run may write fewer
                _remove(problem, out)
            _write(comparison, problem, out, figures)
            if latex is not None:
                write_text(latex, comparison.latex())
        return comparison


@dataclass(frozen=True)
class _Each:
    """What all seeds of a comparison share: see :func:`compare`."""

    problem: Problem
    files: Mapping[str, Path]
    split: Split
    batch_size: int
    device: str
    resume: bool
    overwrite: bool

    def compared(
        self,
        families: Mapping[str, Family],
        out: Path,
        seed: int,
        settings: Mapping[str, Any] | None,
    ) -> Comparison | None:
        """The comparison of one seed."""
        trained = {
            name: recipe.within(out / name, resume=self.resume)
            for name, recipe in _to_train(families, self.files).items()
        }
        for recipe in trained.values():
            recipe.check_installed()
        products = {
            out / f"{name}.safetensors": recipe.checkpoints() for name, recipe in trained.items()
        }
        check_replaces(products, resume=self.resume, overwrite=self.overwrite)
        stored = {name: read_stored(file) for name, file in self.files.items()}
        samples = samples_of(self.problem, "train")
        trained, settings = sized(trained, samples, settings)
        work = _prepared(
            self.problem, samples, families, stored, split=self.split, seed=seed, settings=settings
        )
        if self.resume:
            _check_resumes(trained, work, out, seed=seed, settings=settings)
        begin(out / "settings.yaml", settings, _kept(trained, out) if self.overwrite else ())
        with telling([*products, *(file for files in products.values() for file in files)]):
            histories = _train(
                trained, work.models, work.samples, work.held, out, work.origin, seed=seed
            )
        if not main_rank():
            return None
        tqdm.write(
            f"measuring {', '.join(families)} on {num_samples(work.tested):,} samples",
            file=sys.stderr,
        )
        measured = Comparison.measured(
            work.whole, work.tested, batch_size=self.batch_size, device=self.device
        )
        origins = {name: _Origin.of_file(kept) for name, kept in stored.items()}
        for name, recipe in trained.items():
            file = out / f"{name}.safetensors"
            origins[name] = _Origin.of_training(file, recipe, histories[name])
        return _with_origins(measured, work, origins, split=self.split, folder=out)


def _over_seeds(
    each: _Each,
    families: Mapping[str, Family],
    out: Path,
    seeds: Sequence[int],
    settings: Mapping[str, Any] | None,
) -> Comparison | None:
    """The comparison of several trainings of each family: those of a seed are in a folder of their
    own. Classical solvers and loaded models, which have no seed, are measured once.
    """
    if len(set(seeds)) < max(2, len(seeds)):
        raise DescentError(
            "--seeds: expected two different ones or more, which have a spread, got "
            f"{' '.join(map(str, seeds))}; give one by --seed"
        )
    again = {
        name: family
        for name, family in families.items()
        if not isinstance(family, Classical) and learned_part(name) not in each.files
    }
    if not again:
        raise DescentError(
            f"--seeds: expected a family that is trained, got {', '.join(families)}: what is not "
            "trained has no seed"
        )
    folders = {seed: out / f"seed-{seed}" for seed in seeds}
    if not each.resume:
        products = [
            folder / f"{learned_part(name)}.safetensors"
            for folder in folders.values()
            for name in again
        ]
        check_replaces(dict.fromkeys(products, ()), resume=False, overwrite=each.overwrite)
    found: list[Comparison | None] = []
    for seed, folder in folders.items():
        tqdm.write(f"seed {seed} ({len(found) + 1} of {len(seeds)})", file=sys.stderr)
        own = None if settings is None else {**settings, "seed": seed, "seeds": None}
        run, chosen = (replace(each, files={}), again) if found else (each, families)
        with locked(folder):
            found.append(run.compared(chosen, folder, seed, own))
    measured = [comparison for comparison in found if comparison is not None]
    if not measured:
        return None
    begin(out / "settings.yaml", settings)
    origin = {"seeds": list(seeds), "settings": plain(settings)}
    return replace(Comparison.pooled(measured, origin), folder=out)


def _to_train(families: Mapping[str, Family], files: Mapping[str, Path]) -> dict[str, Recipe]:
    """The learned parts of families that are not loaded from ``files``."""
    recipes = learned_parts(families)
    if unknown := sorted(set(files) - set(recipes)):
        learned = ", ".join(recipes) or "learned ones, and there are none"
        raise DescentError(
            f"--weights: expected families among {learned}, got {', '.join(unknown)}"
        )
    return {name: recipe for name, recipe in recipes.items() if name not in files}


@dataclass(frozen=True)
class _Work:
    """What is compared on what, when nothing can refuse it any more.

    Attributes:
        models: the learned part of each family, loaded or untrained.
        whole: what each family is measured by; it shares the weights of the learned part.
        samples: those of the training.
        held: those of the validation, if there are any.
        tested: those that all are measured on.
        names: what these are called; nothing where they have no names.
        origin: where the results come from, for the weights files too.
        described: the problem and the number of its samples.
    """

    models: Mapping[str, DescentModel]
    whole: Mapping[str, DescentModel]
    samples: Samples
    held: Samples | None
    tested: Samples
    names: Sequence[str]
    origin: Mapping[str, Any]
    described: Mapping[str, Any]


def _prepared(
    problem: Problem,
    samples: Samples,
    families: Mapping[str, Family],
    stored: Mapping[str, StoredModel],
    *,
    split: Split,
    seed: int,
    settings: Mapping[str, Any] | None,
) -> _Work:
    """Reads the other samples, takes over the ``stored`` models and builds the others; refuses
    what cannot be measured.
    """
    held, tested = held_out_of(problem), samples_of(problem, split)
    names = names_of(problem, split, tested)
    with about(f"the {split} samples"):
        look(problem, tested, dtype=floating_type(problem.buffers()))
    recipes = learned_parts(families)
    models: dict[str, DescentModel] = {
        name: load_for(kept, problem, tested, recipes[name].model) for name, kept in stored.items()
    }
    untrained = {name: recipe for name, recipe in recipes.items() if name not in stored}
    models |= {name: recipe.build(problem, seed=seed) for name, recipe in untrained.items()}
    for name in untrained:
        check_storable(models[name])
    whole = {name: _whole(name, family, models, problem) for name, family in families.items()}
    for model in whole.values():  # what cannot be measured is found out before the training
        evaluate(model, first_samples(tested, 1))
    described = {
        "problem": described_problem(problem),
        "samples": {"train": num_samples(samples), split: num_samples(tested)},
    }
    origin = {
        **provenance(seed, settings),
        "data": {"train": fingerprint(samples), split: fingerprint(tested)},
    }
    return _Work(models, whole, samples, held, tested, names, origin, described)


def _whole(
    name: str, family: Family, models: Mapping[str, DescentModel], problem: Problem
) -> DescentModel:
    """What a family is measured by: its learned model, with a solver behind it, or a solver
    alone.
    """
    if isinstance(family, Classical):
        return family.build(problem)
    model = models[learned_part(name)]
    return family.finish(model) if isinstance(family, Polish) else model


def _check_resumes(
    trained: Mapping[str, Recipe],
    work: _Work,
    out: Path,
    *,
    seed: int,
    settings: Mapping[str, Any] | None,
) -> None:
    """Refuses to go on with a comparison of other settings, of other data, or from checkpoints of
    another training.
    """
    check_settings(out / "settings.yaml", settings)
    for name, recipe in trained.items():
        check_data(out / f"{name}.safetensors", work.origin["data"]["train"])
        recipe.check_checkpoint(work.models[name], work.samples, seed=seed)


def _kept(trained: Mapping[str, Recipe], out: Path) -> list[Path]:
    """The checkpoints and logs of earlier trainings in the folder."""
    usual = [out / name / file for name in trained for file in (CHECKPOINT, LOG)]
    return [*usual, *(file for recipe in trained.values() for file in recipe.files())]


def _train(
    recipes: Mapping[str, Recipe],
    models: Mapping[str, DescentModel],
    samples: Samples,
    held: Samples | None,
    out: Path,
    origin: Mapping[str, Any],
    *,
    seed: int,
) -> dict[str, dict[str, History]]:
    """Trains the families one after the other, and stores each as soon as it is done; says how long
    the rest will take.
    """
    left = {
        name: recipe.forecast(models[name], samples, seed=seed) for name, recipe in recipes.items()
    }
    histories: dict[str, dict[str, History]] = {}
    for place, (name, recipe) in enumerate(recipes.items(), 1):
        begun = next((other for other in histories if recipe.after(recipes[other])), None)
        rest = (recipe.after(recipes[begun]) if begun else None) or recipe
        tqdm.write(
            f"training {name}{f', from {begun}' if begun else ''} ({place} of "
            f"{len(recipes)}{_left(left, rest)})",
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
    return f"; about {left} left" + (" after the closed form" if current.begun() != current else "")


def _seconds(histories: Mapping[str, History]) -> float:
    return sum(history.seconds for history in histories.values())


@dataclass(frozen=True)
class _Origin:
    """Where the weights of a family come from; a solver alone has none.

    Attributes:
        weights: the file.
        seconds: of the training, where they are known.
        trainers: their settings by name.
        histories: what they told, if the training was now.
    """

    weights: Path | None = None
    seconds: float | None = None
    trainers: Mapping[str, Any] = field(default_factory=dict)
    histories: Mapping[str, History] = field(default_factory=dict)

    @classmethod
    def of_file(cls, stored: StoredModel) -> _Origin:
        """Of weights that were loaded, with what their file says of the training."""
        training = stored.training
        return cls(stored.path, training.get("seconds"), _stored_trainers(training))

    @classmethod
    def of_training(
        cls, weights: Path, recipe: Recipe, histories: Mapping[str, History]
    ) -> _Origin:
        """Of weights that were trained now."""
        return cls(weights, _seconds(histories), _trainers(recipe), histories)

    def note(self, model: DescentModel) -> dict[str, Any]:
        """What ``results.json`` says of a family beside what it reached."""
        return {
            "weights": None if self.weights is None else str(self.weights),
            "settings": _settings(model, self.trainers),
            "trainers": {name: asdict(history) for name, history in self.histories.items()},
        }


def _with_origins(
    measured: Comparison,
    work: _Work,
    origins: Mapping[str, _Origin],
    *,
    split: Split,
    folder: Path,
) -> Comparison:
    """The comparison that also tells where it and its families come from."""
    found = {name: origins.get(learned_part(name), _Origin()) for name in work.whole}
    return replace(
        measured,
        seconds={
            name: origin.seconds for name, origin in found.items() if origin.seconds is not None
        },
        origin={**work.origin, **work.described, "split": split},
        notes={name: origin.note(work.whole[name]) for name, origin in found.items()},
        names=work.names,
        folder=folder,
    )


def _settings(model: DescentModel, trainers: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader wants to know of a family: model, observation, trainers and solver, as they
    were.
    """
    settings: dict[str, Any] = {}
    learned, solver = model.learned_model(), model.classical_solver()
    if learned is not None:
        described = describe(learned)
        model_settings = {
            key: value for key, value in described["model"]["settings"].items() if key not in _SIZES
        }
        observation = {
            key: value for key, value in described["observation"].items() if key != "settings"
        }
        settings |= {
            "model": {"name": described["model"]["name"], **model_settings},
            "observation": {**observation, **described["observation"].get("settings", {})},
            **trainers,
        }
    if solver is not None:
        settings["solver"] = {"name": type(solver).__name__, **solver.settings()}
    return settings


def _trainers(recipe: Recipe) -> dict[str, Any]:
    return {name: plain(trainer.settings()) for name, trainer in recipe.trainers.items()}


def _stored_trainers(training: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the trainers of a stored model, written by ``train`` or by ``compare``."""
    settings = training.get("settings") or {}
    own = settings.get(str(training.get("family")).replace("-", "_"), settings)
    return {
        name: part for name, part in own.items() if isinstance(part, dict) and name not in _PARTS
    }


def _figure_file(name: str, problem: Problem) -> str:
    return problem.pictured if name == "fits" else name


def _remove(problem: Problem, out: Path) -> None:
    """Removes the figures and the errors of an earlier run."""
    files = [f"{_figure_file(name, problem)}.{kind}" for name in FIGURES for kind in ("png", "pdf")]
    for file in ("errors.csv", *files):
        (out / file).unlink(missing_ok=True)


def _write(comparison: Comparison, problem: Problem, out: Path, kind: str) -> None:
    """Writes the results, the figures, and the report that holds them all."""
    from .report import report  # waits for Jinja

    content = comparison.to_json()
    write_json(out / "results.json", content)
    write_errors(out / "errors.csv", comparison.evaluations, comparison.names)
    images = {}
    for name, figure in comparison.figures().items():
        file = out / f"{_figure_file(name, problem)}.png"
        save_figure(file, figure)
        images[name] = file.read_bytes()
        if kind == "pdf":
            save_figure(file.with_suffix(".pdf"), figure)
    steps = comparison.descents()
    page = report(content, images, folder=out, steps=steps, other=problem.other_data)
    write_text(out / "report.html", page)
