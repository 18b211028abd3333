"""Graphs as files: ONNX for other programs, and PyTorch's own format."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch.export import ExportedProgram

from ..errors import DescentError, check_choice
from ..files import growing
from .graphs import Graph

GraphFormat: TypeAlias = Literal["onnx", "torch"]
"""How a graph is written: ONNX, or the format of ``torch.export``."""

ENDINGS: Mapping[str, str] = {"onnx": ".onnx", "torch": ".pt2"}
"""The ending of a file of each format."""

BATCHES = (1, 3, 17)
"""Numbers of samples on which a file is compared with the model before it is kept."""

FARTHEST = 1e-3
"""A file whose outputs lie farther than this from those of the model is not kept; in units of the
output, or of its largest number where that is above 100, divided by 100."""

_NEEDED = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        path: the file.
        metadata: what it says about itself.
        difference: the largest difference of an output from the model's, on batches of 1, 3 and 17
            samples, in units of the output.
    """

    path: Path
    metadata: Mapping[str, Any]
    difference: float


def write_graph(
    graph: Graph,
    path: str | Path,
    *,
    format: GraphFormat = "onnx",  # noqa: A002 - the name of the option
    metadata: Mapping[str, Any] | None = None,
) -> Written:
    """Writes a graph for batches of any size, atomically, once it is known to do what the model
    does.

    Args:
        graph: the graph.
        path: the file, which ends in ``.onnx`` or ``.pt2``.
        format: the format.
        metadata: what the file is to say about itself beside the names, types and shapes of inputs
            and outputs, as JSON.

    Raises:
        DescentError: if the ending is another one; if the packages of the extra ``export`` are
            missing; if the graph depends on the values in a tensor or on the number of samples, or
            has an operation that ONNX has not; if what was written differs from the model.

    Example:
        >>> from learned_descent import Cascade
        >>> from learned_descent.export import graph_of
        >>> from learned_descent.problems import Analytic
        >>> graph = graph_of(Cascade.for_problem(Analytic("sin")))
        >>> write_graph(graph, "sin.onnx", format="torch")
        Traceback (most recent call last):
        learned_descent.errors.DescentError: sin.onnx: expected a file that ends in .pt2 for the
        format torch
    """
    check_choice(format, GraphFormat, name="format")
    path = Path(path)
    if path.suffix != ENDINGS[format]:
        raise DescentError(
            f"{path}: expected a file that ends in {ENDINGS[format]} for the format {format}"
        )
    if format == "onnx":
        check_packages()
    program = _exported(graph)
    with torch.no_grad():
        outputs = dict(zip(graph.outputs, graph.module(*graph.inputs.values())))
    facts = {**(metadata or {}), **graph.notes}
    facts |= {"inputs": _kinds(graph.inputs), "outputs": _kinds(outputs)}
    with growing(path) as temporary:
        if format == "onnx":
            _write_onnx(program, graph, temporary, facts)
            run = _onnx_runner(temporary)
        else:
            with _quiet():
                texts = {"metadata.json": json.dumps(facts)}
                torch.export.save(program, temporary, extra_files=texts)
                run = torch.export.load(temporary).module()
        difference = _difference(graph, run)
    return Written(path, facts, difference)


def check_packages() -> None:
    """Refuses to write ONNX where a package for it is missing.

    Raises:
        DescentError: with the command that installs them.
    """
    for name in _NEEDED:
        try:
            __import__(name)
        except ImportError as error:
            raise DescentError(
                f"--format onnx needs the package {name}, which cannot be imported ({error}): "
                "pip install 'learned-descent[export]', or --format torch"
            ) from error


def _kinds(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    """The types and shapes of tensors, whose first axis is the batch."""
    return {
        name: {
            "type": str(value.dtype).removeprefix("torch."),
            "shape": ["batch", *value.shape[1:]],
        }
        for name, value in tensors.items()
    }


def _exported(graph: Graph) -> ExportedProgram:
    """The graph as PyTorch traces it, for any number of samples."""
    batch = torch.export.Dim("batch", min=1)
    name = type(graph.module.model).__name__
    try:
        with torch.no_grad(), _quiet():
            return torch.export.export(
                graph.module,
                tuple(graph.inputs.values()),
                dynamic_shapes=(tuple({0: batch} for _ in graph.inputs),),
            )
    except DescentError:
        raise
    except Exception as error:  # torch raises many kinds
        if "specialized" in str(error):
            raise DescentError(
                f"{name}: it can only be exported for batches of one size: somewhere its number of "
                "samples becomes a constant: ask for it by x.shape[0], not by len(x), and do not "
                "split a batch"
            ) from error
        raise DescentError(
            f"{name}: it cannot be exported, for what it does depends on the numbers in a tensor: "
            "write it without if, .item(), numpy or a mask as an index (torch.where for an if). "
            f"torch says: {_brief(error)}"
        ) from error


def _write_onnx(
    program: ExportedProgram, graph: Graph, path: Path, facts: Mapping[str, Any]
) -> None:
    import onnx

    try:
        with _quiet():
            made = torch.onnx.export(
                program,
                dynamo=True,
                input_names=list(graph.inputs),
                output_names=list(graph.outputs),
                verbose=False,
            )
    except Exception as error:  # an operation that is not there, or a part of it
        raise DescentError(
            f"{type(graph.module.model).__name__}: ONNX cannot express it: {_brief(error)}: "
            "--format torch can"
        ) from error
    if made is None:
        raise DescentError("torch.onnx.export made nothing: expected a program")
    proto = made.model_proto
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del proto.graph.value_info[:]  # it calls the batch by another name
    proto.producer_name = "learned_descent"
    onnx.helper.set_model_props(proto, {name: json.dumps(fact) for name, fact in facts.items()})
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)


def _onnx_runner(path: Path) -> Callable[..., tuple[Tensor, ...]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run(*tensors: Tensor) -> tuple[Tensor, ...]:
        given = {name: value.numpy() for name, value in zip(names, tensors)}
        return tuple(map(torch.from_numpy, session.run(None, given)))

    return run


def _difference(graph: Graph, run: Callable[..., tuple[Tensor, ...]]) -> float:
    """The largest difference of a file's outputs from the model's, on batches of several sizes.

    Raises:
        DescentError: if it is too large.
    """
    worst = 0.0
    for count in BATCHES:
        values = graph.draw(count).values()
        with torch.no_grad():
            pairs = list(zip(graph.outputs, run(*values), graph.module(*values)))
        for name, found, wanted in pairs:
            away = float((found - wanted).abs().max())
            # Not the other way round: NaN is far too
            if not away <= FARTHEST * max(1.0, float(wanted.abs().max()) / 100):
                raise DescentError(
                    f"the output {name!r} of the file differs from the model's by {away:.3g} for "
                    f"{count} samples: it is not kept; report it, with the versions of torch and "
                    "onnxruntime"
                )
            worst = max(worst, away)
    return worst


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter of PyTorch says about itself."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)


def _brief(error: Exception) -> str:
    """The beginning of a message, on one line."""
    words = " ".join(str(error).split())
    return words if len(words) <= 200 else f"{words[:200]}..."
