"""The command ``table``: the results of several comparisons as one table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DescentError
from ..evaluation.evaluation import Evaluation
from ..evaluation.publish import csv_table, latex_table
from ..evaluation.tables import columns, main_metrics, table
from ..files import write_text
from .runs import WAY_OUT, prepare_folder

_WRITERS: Mapping[str, Callable[..., str]] = {
    ".txt": table,
    ".csv": csv_table,
    ".tex": latex_table,
}
"""How a table is written, by the ending of the file."""


def join(runs: Sequence[Path], *, output: Path | None = None, overwrite: bool = False) -> str:
    """Joins the results of several comparisons, measured on the same samples, into one table.

    A family that was trained with the same settings in several of them, from a seed of its own in
    each, is one row, with mean and spread over its trainings; families of the same name that differ
    otherwise are named by their run too.

    Args:
        runs: the folders that ``compare`` wrote, or their results.json.
        output: a file for the table: .txt, .csv or .tex, for LaTeX with the package booktabs.
        overwrite: replace the file that is there.

    Returns:
        The table as text.

    Raises:
        DescentError: if a file is not what ``compare`` wrote, or the runs are of different problems
            or samples.
    """
    if output is not None:
        if output.suffix not in _WRITERS:
            raise DescentError(
                f"--output {output}: expected a file that ends in {', '.join(_WRITERS)}"
            )
        prepare_folder(output.parent, None if overwrite else output, WAY_OUT)
    found = [_read(run) for run in runs]
    _check_alike(found)
    rows = _rows(found)
    evaluations = {name: row.evaluation for name, row in rows.items()}
    metrics = main_metrics(next(iter(evaluations.values())))
    seconds = {name: row.seconds for name, row in rows.items() if row.seconds is not None}
    further = columns(evaluations, seconds, {name: row.size for name, row in rows.items()}, {})
    shown = table(evaluations, further, metrics=metrics)
    if output is None:
        return shown
    write_text(output, _WRITERS[output.suffix](evaluations, further, metrics=metrics))
    return f"{shown}\n\ntable: {output}"


@dataclass(frozen=True)
class _Run:
    """What one comparison has found, and on what.

    Attributes:
        name: how the user names it.
        file: where it was read.
        measured: the problem, the split, and the fingerprint of its samples.
        rows: its families.
    """

    name: str
    file: Path
    measured: Mapping[str, Any]
    rows: Mapping[str, _Row]


@dataclass(frozen=True)
class _Row:
    """One family of a run.

    Attributes:
        evaluation: what it reached.
        made: what it is: its settings, and the training data or the weights; without the seed.
        seeds: of its trainings; nothing for one that was not trained there.
        seconds: of its training, if it is known.
        size: how many weights it has.
    """

    evaluation: Evaluation
    made: Mapping[str, Any]
    seeds: tuple[int, ...]
    seconds: float | None
    size: int


def _read(run: Path) -> _Run:
    file = run / "results.json" if run.is_dir() else run
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
        split = results["split"]
        measured = {
            "problem": results["problem"]["name"],
            "split": split,
            "samples": results["data"][split],
        }
        seeds = tuple(results.get("seeds") or [results["seed"]])
        rows = {
            str(name): _row(family, seeds, results["data"]["train"])
            for name, family in results["families"].items()
        }
    except DescentError as error:
        raise DescentError(f"{file}: {error}") from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DescentError(
            f"{file}: expected the results.json of a comparison, or its folder, could not read it "
            f"({error!r})"
        ) from error
    if not rows:
        raise DescentError(f"{file}: expected a family, got none")
    return _Run(str(run), file, measured, rows)


def _row(family: Mapping[str, Any], seeds: tuple[int, ...], data: str) -> _Row:
    trained = bool(family["trainers"])
    return _Row(
        Evaluation.from_json(family),
        {
            "settings": family["settings"],
            "origin": data if trained else family["weights"],
        },
        seeds if trained else (),
        family["training_seconds"],
        int(family["parameters"]),
    )


def _check_alike(runs: Sequence[_Run]) -> None:
    """Refuses runs of different problems or samples."""
    first = runs[0]
    for run in runs[1:]:
        for what, value in run.measured.items():
            if value != first.measured[what]:
                raise DescentError(
                    f"{run.file}: cannot be joined to {first.file}: the {what} differ, {value} and "
                    f"{first.measured[what]}; join what was measured on the same samples"
                )


def _rows(runs: Sequence[_Run]) -> dict[str, _Row]:
    """The rows of the table by the name of the family, and of the run where that does not tell."""
    joined: dict[str, _Row] = {}
    for family in dict.fromkeys(name for run in runs for name in run.rows):
        rows = {run.name: run.rows[family] for run in runs if family in run.rows}
        one = _as_one(list(rows.values()))
        if one is not None:
            joined[family] = one
        else:
            joined |= {f"{family} ({run})": row for run, row in rows.items()}
    return joined


def _as_one(rows: Sequence[_Row]) -> _Row | None:
    """The trainings of one family as one row; ``None`` if they are not of one family."""
    first = rows[0]
    seeds = [seed for row in rows for seed in row.seeds]
    if any(row.made != first.made for row in rows) or len(set(seeds)) < len(seeds):
        return first if len(rows) == 1 else None
    if not seeds:  # not trained: measured again
        return first
    known = [row.seconds for row in rows if row.seconds is not None]
    return _Row(
        Evaluation.pooled([row.evaluation for row in rows]),
        first.made,
        tuple(seeds),
        sum(known) / len(known) if known else None,
        first.size,
    )
