"""Whether the confidence of a fit is true, on faces as the world has them: ``python -m
benchmarks.paper.confidence``.

The test faces of 300-W as they are, and made into each of the kinds of pictures that a confidence
is fitted on: varied, bad, at any angle, turned, cut, and of nothing; and the pictures of all kinds
together. Weights that are calibrated are put onto them as ``align`` does::

    python -m benchmarks.paper.confidence --data ../shared/300w --weights mdm

``--every 4`` takes every fourth face. For each kind it prints how many fits are right, what the
confidence says, the largest difference of the two in a fifth of the fits, from the least to the
most sure, and the area under the ROC curve of the failures; it writes ``confidence.png``,
reliability diagrams, and ``confidence.json``. ``--anew false`` leaves unsure faces as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.stats import rankdata
from torch import Generator, Tensor

from learned_descent import DescentError
from learned_descent.data.batches import fingerprint, index
from learned_descent.data.samples import Batch
from learned_descent.errors import check_whole
from learned_descent.evaluation.plots.frames import canvas
from learned_descent.faces.alignment import FaceAlignment
from learned_descent.files import save_figure, write_json
from learned_descent.landmarks.aligner import Aligner
from learned_descent.landmarks.schema_file import described_schema
from learned_descent.landmarks.trials import trials_of
from learned_descent.provenance import provenance
from learned_descent.system.progress import progress_bar
from learned_descent.system.text import lay_out

from .. import command
from ._common import options

BANDS = 5
"""So many bands of confidence, each with as many fits, hold what is said against what is right."""

CHUNK = 16
"""Faces at once."""


class Judged(NamedTuple):
    """Fits of pictures of one kind: the confidence of each, and whether it is right."""

    said: Tensor
    right: Tensor

    def bands(self) -> list[tuple[float, float]]:
        """The mean confidence and the share that is right, from the least to the most sure."""
        order = self.said.argsort()
        return [
            (self.said[part].mean().item(), self.right[part].float().mean().item())
            for part in order.tensor_split(BANDS)
            if len(part)
        ]

    def worst(self) -> float:
        """The largest difference of the two over the bands."""
        return max(abs(said - right) for said, right in self.bands())

    def area(self) -> float:
        """The area under the ROC curve of the failures: the probability that a failure is less sure
        than what is right; NaN where there are none, or nothing else."""
        right = self.right.numpy()
        many, few = right.sum(), (~right).sum()
        if not many * few:
            return float("nan")
        ranks = rankdata(self.said.numpy())[right].sum()
        return float((ranks - many * (many + 1) / 2) / (many * few))


def judged(aligner: Aligner, batch: Batch, *, anew: bool, name: str) -> Judged:
    """What the confidence says of the fits in pictures, and whether they are right."""
    problem, said, right = aligner.problem, [], []
    there = batch.get("there", torch.ones(len(batch["image"]), dtype=torch.bool))
    for part in progress_bar(torch.arange(len(there)).split(CHUNK), name, unit=f"{CHUNK} pictures"):
        few = index({**batch, "there": there}, part)
        points, confidence, _ = aligner.fit_crops(few["image"], anew=anew)
        good = problem.error(points.flatten(1), few) <= problem.failure_above
        said.append(confidence)
        right.append(good & few["there"])
    return Judged(torch.cat(said), torch.cat(right))


def main() -> None:
    """Measures, prints, draws."""
    parser = options(__doc__, "confidence", trains=False)
    parser.add_argument("--weights", default="tokens", help="a name or a file")
    parser.add_argument("--every", type=int, default=1, help="take one face of so many")
    parser.add_argument("--seed", type=int, default=0, help="the seed of the pictures")
    parser.add_argument("--anew", choices=["true", "false"], default="true")
    arguments = parser.parse_args()
    check_whole(arguments.every, name="--every")
    aligner = Aligner.from_pretrained(arguments.weights)
    if aligner.calibration.confidence is None:
        raise DescentError(f"--weights {arguments.weights}: are not calibrated")
    like = aligner.problem
    problem = FaceAlignment(
        arguments.data,
        test=arguments.test,
        schema=described_schema(like.schema),
        crop=like.crop,
        box_side=like.box_side,
    )
    faces = problem.data("test")
    faces = index(faces, torch.arange(0, len(faces["image"]), arguments.every))
    found: dict[str, Judged] = {}
    for name, kind in {"as they are": None, **trials_of(problem)}.items():
        generator = Generator().manual_seed(arguments.seed)
        batch = faces if kind is None else kind(like, faces, generator)
        found[name] = judged(aligner, batch, anew=arguments.anew == "true", name=name)
    found["all together"] = Judged(*(torch.cat(parts) for parts in zip(*found.values())))
    report(found, arguments.out)
    write_json(
        arguments.out / "confidence.json",
        {
            **provenance(
                arguments.seed,
                {name: getattr(arguments, name) for name in ("weights", "every", "anew")},
            ),
            "data": fingerprint(faces),
            "kinds": {
                name: {"bands": kind.bands(), "area": kind.area()} for name, kind in found.items()
            },
        },
    )


def report(found: Mapping[str, Judged], out: Path) -> None:
    """Prints the table and draws the diagrams."""
    kinds = found.values()
    columns = [
        ["kind", *found],
        ["right %", *(f"{100 * kind.right.float().mean():.1f}" for kind in kinds)],
        ["said %", *(f"{100 * kind.said.mean():.1f}" for kind in kinds)],
        ["worst band", *(f"{100 * kind.worst():.1f}" for kind in kinds)],
        ["AUROC", *(f"{kind.area():.3f}" for kind in kinds)],
    ]
    print(lay_out([columns], [""]))
    save_figure(out / "confidence.png", drawn(found))
    print(f"{len(next(iter(found.values())).said)} pictures of each kind; {out / 'confidence.png'}")


def drawn(found: Mapping[str, Judged]) -> Figure:
    """A reliability diagram for each kind: what is right against what is said."""
    figure = canvas(2.1 * 4, 2.3 * 2)
    for axes, (name, kind) in zip(
        figure.subplots(2, 4, sharex=True, sharey=True).flat, found.items()
    ):
        said, right = np.array(kind.bands()).T
        axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
        axes.plot(said, right, marker="o", markersize=4, color="#0072B2")
        axes.set_title(name, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    figure.supxlabel("what the confidence says", fontsize=9)
    figure.supylabel("the share that is right", fontsize=9)
    return figure


if __name__ == "__main__":
    command(main)
