"""The command ``export``: trained weights as a file that needs no Python, or not this library."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from .. import __version__
from ..checkpoint import StoredModel, find_stored
from ..errors import DescentError
from ..export.files import ENDINGS, GraphFormat, check_packages, write_graph
from ..export.graphs import Part, graph_of
from ..problem import Problem
from ..weights import beside, terms_of
from .runs import WAY_OUT, loaded_model, prepare_folder


def export(
    weights: str | Path | StoredModel,
    *,
    problem: Problem | None = None,
    problem_file: str | None = None,
    model: str | None = None,
    format: GraphFormat = "onnx",  # noqa: A002 - the name of the option
    graph: Part = "descent",
    step: int | None = None,
    num_steps: int | None = None,
    terms: str | None = None,
    output: Path | None = None,
    overwrite: bool = False,
) -> str:
    """Writes trained weights as an ONNX file, or one of torch.export, for batches of any size.

    Args:
        weights: the file that ``train`` or ``compare`` wrote, or the name of weights that come with
            the package.
        problem: the problem; by default it is made as the file says.
        problem_file: the problem, file.py:Class, where it is not a built-in one, or another of its
            kind, such as faces.
        model: the class of the model, file.py:Class, where it is not a built-in one.
        format: onnx, or torch for a program of torch.export.
        graph: descent, all steps from a given start; prepare, what is computed once per image; or
            step, a single step on what was prepared, for a tracker or a loop of one's own.
        step: which step, from 0, where the steps differ, as in a cascade.
        num_steps: the number of steps of the descent; by default that of the model.
        terms: the terms of use that the file is to state; by default those of the card beside the
            weights, which those that come with the package have.
        output: the file; by default STEM.onnx or STEM.pt2 of the weights, in the current folder for
            a name.
        overwrite: replace the file that is there.

    Returns:
        Where the file is, its inputs and outputs, and how far its outputs are from the model's.
    """
    stored = find_stored(weights)
    output = output or beside(stored.path, ENDINGS[format])
    if output.resolve() == stored.path.resolve():
        raise DescentError(f"--output {output}: expected another file than the one that is read")
    if format == "onnx":
        check_packages()
    prepare_folder(output.parent, None if overwrite else output, WAY_OUT)
    loaded = loaded_model(stored, problem, problem_file, model)
    written = write_graph(
        graph_of(loaded, graph, step=step, num_steps=num_steps),
        output,
        format=format,
        metadata={
            **_origin(stored, terms),
            "graph": graph,
            **loaded.problem.export_notes(),
        },
    )
    facts = written.metadata
    return "\n".join(
        [
            *(f"{part}: {_listed(facts[part])}" for part in ("inputs", "outputs")),
            f"terms: {facts['terms']}",
            f"difference to PyTorch: at most {written.difference:.1e}",
            f"{format}: {written.path}",
        ]
    )


def _origin(weights: StoredModel, terms: str | None) -> dict[str, Any]:
    """What an exported file says of where it comes from."""
    description, path = weights.description, weights.path
    return {
        "learned_descent": __version__,
        "problem": description["problem"]["name"],
        "model": description["model"]["name"],
        "terms": terms or terms_of(path) or "not stated: ask whoever trained the weights",
        "weights": hashlib.sha256(path.read_bytes()).hexdigest(),
        "data": weights.training.get("data") or {},
    }


def _listed(kinds: dict[str, dict[str, Any]]) -> str:
    return ", ".join(
        f"{name} {kind['type']} ({', '.join(map(str, kind['shape']))})"
        for name, kind in kinds.items()
    )
