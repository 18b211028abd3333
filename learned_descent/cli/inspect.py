"""The command ``inspect``: how much of the pose of a head is in the memory of a recurrent model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..checkpoint.model import load_model
from ..data.batches import fingerprint
from ..data.samples import Batch
from ..errors import DescentError
from ..files import save_figure, write_json
from ..model import DescentModel
from ..provenance import provenance
from ..registry import resolve_model
from ..system.lock import locked
from ..system.text import lay_out
from ..weights import find_weights
from .runs import check_measurement, prepare_folder

if TYPE_CHECKING:
    from ..landmarks.problem import Landmarks

CLASSES = 5
"""Classes of yaw, with equally many faces in each."""

_WAY_OUT = "give another --out, or --overwrite to replace it"


def inspect(
    weights: str | Path,
    *,
    model: str | None = None,
    out: Path = Path("runs/inspect"),
    faces: int = 2000,
    seed: int = 0,
    batch_size: int = 64,
    device: Literal["cpu", "cuda"] = "cpu",
    overwrite: bool = False,
) -> str:
    """Draws the memory of a recurrent model of faces after each step, coloured by head pose, and
    probes it for the yaw.

    Args:
        weights: the file that ``train`` or ``compare`` wrote, or the name of weights that come with
            the package, of a recurrent model of faces.
        model: the class of the model, file.py:Class, where it is not a built-in one.
        out: the folder for ``inspect.png`` and ``inspect.json``.
        faces: the number of synthetic faces to look at, whose pose is known.
        seed: the seed of the faces, of the halves that the probes learn from and are tested on, and
            of the map.
        batch_size: faces that are fitted at once.
        device: cpu or cuda, for the descent.
        overwrite: replace the files that are in the folder.

    Returns:
        The accuracy of the probes after each step, and where the files are.
    """
    from ..evaluation.probes import embed_memory, equal_bins, plot_memory, probe_memory, remember

    check_measurement(batch_size, device)
    if faces < (least := 6 * CLASSES):
        raise DescentError(
            f"--faces: expected {least} or more, for {CLASSES} classes of yaw, got {faces}"
        )
    weights = find_weights(weights)
    loaded = load_model(weights, model=None if model is None else resolve_model(model))
    problem = _check_memory(loaded, weights)
    files = out / "inspect.png", out / "inspect.json"
    with locked(out):
        for file in files:
            prepare_folder(out, None if overwrite else file, _WAY_OUT)
        samples, made_as = _faces_like(problem, faces, seed)
        yaw = samples["pose"][:, 0].rad2deg()
        labels, edges = equal_bins(yaw, CLASSES)
        states, xs = remember(loaded, samples, batch_size=batch_size, device=device)
        probes = probe_memory(states, xs, labels, seed=seed)
        places = embed_memory(states, seed=seed)
        notes = [
            f"probe: state {100 * state:.0f} %, x {100 * x:.0f} %"
            for state, x in zip(probes.state, probes.x[1:])
        ]
        save_figure(files[0], plot_memory(places, yaw, "yaw of the head (degrees)", notes))
        write_json(
            files[1],
            {
                **provenance(seed, {"faces": faces, "batch_size": batch_size, **made_as}),
                "weights": str(weights),
                "data": fingerprint(samples),
                "classes": {
                    "of": "yaw in degrees, equally many faces in each",
                    "edges": edges.tolist(),
                },
                "accuracy": asdict(probes),
            },
        )
    between = ", ".join(f"{edge:.0f}" for edge in edges.tolist())
    summary = (
        f"{CLASSES} classes of yaw with equally many faces, between {between} degrees; chance "
        f"{100 * probes.chance:.1f} %, standard error at most "
        f"{50 / math.sqrt(probes.num_tested):.1f} %"
    )
    return (
        f"{_table(probes.state, probes.x, probes.num_tested)}\n{summary}\nfigure: "
        f"{files[0]}\nnumbers: {files[1]}"
    )


def _check_memory(model: DescentModel, weights: str | Path) -> Landmarks:
    """The problem of a recurrent model of faces; anything else is refused."""
    from ..landmarks.problem import Landmarks

    problem = model.problem
    if not isinstance(problem, Landmarks):
        raise DescentError(
            f"{weights}: expected a model of faces, got one of {type(problem).__name__}"
        )
    if model.init_state(problem.mean_shape.flatten()[None]) is None:
        raise DescentError(
            f"{weights}: a {type(model).__name__} has no memory: give a recurrent model, such as "
            "mdm"
        )
    return problem


def _faces_like(problem: Landmarks, count: int, seed: int) -> tuple[Batch, dict[str, Any]]:
    """Synthetic faces, cropped and marked as those of a problem, and the settings of both."""
    from ..faces.synthetic import SyntheticFaces
    from ..landmarks.schema_file import described_schema

    schema, crop, side = described_schema(problem.schema), problem.crop, problem.box_side
    made = SyntheticFaces(
        1,
        count,
        seed=seed,
        schema=schema,
        normaliser=problem.normaliser,
        crop=crop,
        box_side=side,
    )
    return made.data("test"), {"schema": schema, "crop": crop, "box_side": side}


def _table(state: Sequence[float], x: Sequence[float], num_tested: int) -> str:
    states = ["-", *(f"{100 * share:.1f}" for share in state)]
    xs = [f"{100 * share:.1f}" for share in x]
    steps = ["0 (start)", *map(str, range(1, len(xs)))]
    groups = [[["step", *steps]], [["state", *states], ["x", *xs]]]
    return lay_out(groups, ["", f"yaw told right, % of {num_tested} faces"])
