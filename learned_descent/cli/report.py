"""The report of a comparison: one page that needs nothing but a browser."""

from __future__ import annotations

import math
import shlex
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..evaluation.evaluation import Evaluation
from ..evaluation.intervals import PairedTest, against_best
from ..evaluation.plots.frames import color_of
from ..evaluation.tables import Entry, chance, converged, entries, legend, main_metrics, worst
from ..families import learned_part
from ..problem import OtherData
from ..registry import names_code
from ..system.text import number

_NONE = "–"  # noqa: RUF001 - a dash in a table


def report(
    results: Mapping[str, Any],
    images: Mapping[str, bytes],
    *,
    folder: Path,
    steps: Mapping[str, Any] | None = None,
    other: OtherData | None = None,
) -> str:
    """A comparison as one HTML page, with everything inside: no network, and no script but the one
    that shows ``steps``. The same results give the same page.

    Args:
        results: what ``compare`` writes as ``results.json``.
        images: PNG images by name: ``"ced"``, ``"steps"``, ``"time"``; ``"basin"`` where the
            starts differ, and ``"fits"`` for problems of images.
        folder: where ``settings.yaml`` is, which repeats the comparison.
        steps: the descents of some samples, see
            :meth:`~learned_descent.Comparison.descents`, for the section with a slider.
        other: the known data that the problem can be compared on too.

    Raises:
        DescentError: if the evaluations in ``results`` cannot be read.
    """
    families = results["families"]
    evaluations = {name: Evaluation.from_json(family) for name, family in families.items()}
    first = next(iter(evaluations.values()))
    main = main_metrics(first)
    test = against_best(evaluations)
    name = results["problem"]["name"].removeprefix("custom:")
    environment = Environment(
        loader=PackageLoader("learned_descent.cli"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        title=f"{_listed(list(families))} on {name}",
        lead=_lead(evaluations),
        facts=_facts(results, first),
        split=results["split"],
        main=_table(evaluations, results, main, test),
        others=_table(
            evaluations, results, [name for name in first.metrics if name not in main], None
        ),
        colors={name: color_of(name) for name in evaluations},
        certainty=legend(evaluations, test),
        trainings=max(result.trainings for result in evaluations.values()),
        endings={
            family: result.endings for family, result in evaluations.items() if result.endings
        },
        worst=worst(evaluations, results.get("names", ())),
        samples=first.num_samples,
        above=f"{first.failure_above:g}",
        figures={name: _figure(image, name, evaluations) for name, image in images.items()},
        settings=_settings(families),
        problem=dict(_flat(results["problem"])),
        steps=steps,
        commands=_commands(results, folder),
        other=other and other._replace(command=other.command.format(options=_common(results))),
    )


def _lead(evaluations: Mapping[str, Evaluation]) -> str:
    """One sentence: who is best at what."""
    metric = next(iter(evaluations.values())).metrics[0]
    mean, lowest = _lowest({name: evaluation.mean() for name, evaluation in evaluations.items()})
    failures, fewest = _lowest(
        {name: evaluation.failure_rate() for name, evaluation in evaluations.items()}
    )
    return (
        f"Smallest mean error ({metric}): {mean}, {lowest:.3g}. Fewest failures: {failures}, "
        f"{100 * fewest:.2f} %."
    )


def _lowest(values: Mapping[str, float]) -> tuple[str, float]:
    """The names of the smallest value, and the value."""
    lowest = min(values.values())
    return _listed([name for name, value in values.items() if value == lowest]), lowest


def _facts(results: Mapping[str, Any], first: Evaluation) -> dict[str, str]:
    """What one must know to get the same numbers again."""
    versions, machine = results["versions"], results["machine"]
    return {
        "Problem": str(results["settings"].get("task", results["problem"]["name"])),
        "Seed": ", ".join(map(str, _seeds(results))),
        **{
            f"{split.capitalize()} data": f"{mark}, {results['samples'][split]:,} samples"
            for split, mark in results["data"].items()
        },
        "Device": f"{machine['device']}, {machine['threads']} threads; measured on {first.device}, "
        f"{first.batch_size} at once",
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }


def _table(
    evaluations: Mapping[str, Evaluation],
    results: Mapping[str, Any],
    metrics: Sequence[str],
    test: PairedTest | None,
) -> dict[str, Any]:
    """The head and the rows of the table, an entry for each family and column."""
    columns = [row for name in metrics for row in entries(evaluations, name).values()]
    if test and test.p:
        columns.append([Entry(chance(test.p.get(name))) for name in evaluations])
    rows, stored = list(evaluations.values()), list(results["families"].values())
    seconds = [family["training_seconds"] for family in stored]
    columns.append([Entry(_NONE if value is None else number(value)) for value in seconds])
    columns.append([Entry(number(1000 * row.seconds_per_sample)) for row in rows])
    columns.append([Entry(number(family["parameters"])) for family in stored])
    solvers = any(row.status is not None for row in rows)
    if solvers:
        columns.append([Entry(converged(row) or _NONE) for row in rows])
    return {
        "metrics": list(metrics),
        "rows": dict(zip(evaluations, zip(*columns))),
        "solvers": solvers,
        "tested": bool(test and test.p),
    }


def _figure(image: bytes, name: str, evaluations: Mapping[str, Evaluation]) -> dict[str, str]:
    """The source of an image, and what it shows for those who do not see it."""
    first = next(iter(evaluations.values()))
    last = "; ".join(f"{family}: {100 * e.auc():.1f} % AUC" for family, e in evaluations.items())
    steps = "; ".join(
        f"{family}: {', '.join(f'{e.mean(step=step):.3g}' for step in range(e.num_steps + 1))}"
        for family, e in evaluations.items()
    )
    times = "; ".join(
        f"{family}: {e.median():.3g} in {1000 * e.seconds_per_sample:.3g} ms"
        for family, e in evaluations.items()
    )
    alt = {
        "ced": f"Cumulative distribution of the error ({first.metrics[0]}) of each family. {last}.",
        "steps": f"Mean and median error ({first.metrics[0]}) at the start and after each step. "
        f"Means: {steps}.",
        "basin": f"Share of samples that end with an error of at most {first.failure_above:g}, by "
        "their error at the start.",
        "time": f"Median error after each step against the time per sample. {times}.",
        "fits": "The best, the median and the worst sample, fitted by each family: truth, start, "
        "path and end of every point.",
    }
    return {"alt": alt[name], "source": f"data:image/png;base64,{b64encode(image).decode()}"}


def _settings(families: Mapping[str, Any]) -> dict[str, dict[str, list[str]]]:
    """The settings as a table: for each part, for each setting, a text per family."""
    flat = {name: dict(_flat(family["settings"])) for name, family in families.items()}
    table: dict[str, dict[str, list[str]]] = {}
    for key in dict.fromkeys(key for values in flat.values() for key in values):
        part, _, setting = key.partition(".")
        table.setdefault(part, {})[setting] = [values.get(key, _NONE) for values in flat.values()]
    return table


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as pairs of a dotted name and a text."""
    for name, item in value.items():
        if isinstance(item, Mapping):
            yield from _flat(item, f"{prefix}{name}.")
        elif isinstance(item, (list, tuple)):
            yield f"{prefix}{name}", ", ".join(map(str, item)) or "none"
        elif isinstance(item, float) and math.isfinite(item):
            yield f"{prefix}{name}", f"{item:g}"
        else:
            yield (
                f"{prefix}{name}",
                "none"
                if item is None
                else str(item).lower()
                if isinstance(item, bool)
                else str(item),
            )


def _commands(results: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """What to type to get the same again, and on other data."""
    loaded = {
        learned_part(name): family["weights"]
        for name, family in results["families"].items()
        if family["weights"] is not None and not family["trainers"]
    }
    weights = (
        " --weights " + " ".join(shlex.quote(f"{name}={file}") for name, file in loaded.items())
        if loaded
        else ""
    )
    task = str(results["settings"].get("task", ""))
    # A file of settings may not name code
    named = f"{shlex.quote(task)} " if names_code(task) else ""
    if any(map(names_code, typed := _typed(results))):
        named += f"--families {' '.join(map(shlex.quote, typed))} "
    settings = shlex.quote(str(folder / "settings.yaml"))
    return {
        "again": f"learned-descent compare {named}--config {settings}{weights} --out runs/again",
        "own": "learned-descent compare my_problem.py:MyProblem "
        f"{_common(results)} --out runs/mine",
    }


def _common(results: Mapping[str, Any]) -> str:
    """The options that make a comparison of other data one of the same families."""
    seeds = _seeds(results)
    option = f"--seed{'s' * (len(seeds) > 1)} {' '.join(map(str, seeds))}"
    return f"--families {' '.join(map(shlex.quote, _typed(results)))} {option}"


def _seeds(results: Mapping[str, Any]) -> list[int]:
    """The seeds of the trainings."""
    return list(results.get("seeds") or [results["seed"]])


def _typed(results: Mapping[str, Any]) -> list[str]:
    """The families as they were typed."""
    return list(results["settings"].get("families") or results["families"])


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
