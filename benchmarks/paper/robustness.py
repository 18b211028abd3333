"""How much each family suffers from what a detector, a camera and a scene do: ``python -m
benchmarks.paper.robustness``.

The test faces of 300-W under boxes that are shifted and scaled, blur, noise, other brightness and
occlusion, and synthetic faces by the yaw of the head, for weights of any number of families::

    python -m benchmarks.paper.robustness --data ../shared/300w --weights mdm sdm
    joint=runs/joint/model.safetensors

It writes ``robustness.png`` and ``robustness.json``. Every family sees the same pictures; nothing
is chosen by these figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from torch import Generator, Tensor

from learned_descent import DescentModel, evaluate
from learned_descent.data.batches import fingerprint, index
from learned_descent.data.samples import Batch
from learned_descent.evaluation.plots.frames import canvas, styles
from learned_descent.faces.alignment import FaceAlignment
from learned_descent.faces.synthetic import SyntheticFaces
from learned_descent.files import save_figure, write_json
from learned_descent.landmarks.crops import apply_affine, invert_affine, sampling_grid
from learned_descent.landmarks.filters import blurred
from learned_descent.landmarks.problem import Landmarks
from learned_descent.landmarks.schema_file import described_schema
from learned_descent.provenance import provenance
from learned_descent.system.progress import progress_bar
from learned_descent.system.text import lay_out

from .. import command
from ._common import options
from ._weights import first_problem, loaded, weights_of

MARGIN = 1.7
"""How much larger the faces are cropped first, so that a moved box still finds pixels of the
photo."""

TICKS = (0.03, 0.05, 0.1, 0.2, 0.4)
"""The errors that the axis names."""

YAWS = (0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0)
SYNTHETIC = 4096


def recropped(batch: Batch, side: int, shift: Tensor, factor: Tensor) -> Batch:
    """The faces as they look when the detector's box is elsewhere: crops of ``side`` px around
    boxes that were moved.

    Args:
        batch: faces in larger crops, with the box in the middle.
        side: the side of the new crops, in px.
        shift: of each box, ``(B, 2)``, in px.
        factor: by which each box is larger, ``(B,)``.
    """
    wide = batch["image"].shape[-1]
    linear = factor[:, None, None] * torch.eye(2)
    offset = (wide - 1) / 2 + shift - factor.unsqueeze(1) * (side - 1) / 2
    back = torch.cat([linear, offset.unsqueeze(2)], 2)  # from the new crop to the wide one, in px
    grid = sampling_grid(back, side, wide)
    image = F.grid_sample(batch["image"].float(), grid, align_corners=True)
    # The box is where the model believes it: in the middle, of the size that it always has.
    box = batch["box"] - (wide - side) / 2
    return {
        **batch,
        "image": image,
        "points": apply_affine(invert_affine(back), batch["points"]),
        "box": box,
    }


def _directions(count: int, generator: Generator) -> Tensor:
    angle = 2 * torch.pi * torch.rand(count, generator=generator)
    return torch.stack([angle.cos(), angle.sin()], 1)


def _signs(count: int, generator: Generator) -> Tensor:
    return (torch.rand(count, generator=generator) < 0.5).float() * 2 - 1


def covered(image: Tensor, share: float, box_side: float, generator: Generator) -> Tensor:
    """Pictures in which a grey square with ``share`` of the box's side hides a random part of the
    box."""
    count, side = len(image), image.shape[-1]
    half = share * box_side / 2
    centre = (side - 1) / 2 + (box_side / 2 - half) * (
        2 * torch.rand(count, 2, 1, generator=generator) - 1
    )
    pixels = torch.arange(float(side))
    column, row = ((pixels - centre[:, axis]).abs() < half for axis in (0, 1))
    return torch.where((row.unsqueeze(2) & column.unsqueeze(1)).unsqueeze(1), 128.0, image)


Change = Callable[[Batch, float, Generator], Batch]


def changes(problem: Landmarks) -> dict[str, tuple[Sequence[float], Change]]:
    """What is done to the faces, by the label of its axis: the amounts, and what makes the
    pictures."""
    side, box_side = problem.crop, problem.box_side

    def plain(batch: Batch) -> Batch:
        return recropped(
            batch, side, torch.zeros(len(batch["image"]), 2), torch.ones(len(batch["image"]))
        )

    def pixels(change: Callable[[Tensor, float, Generator], Tensor]) -> Change:
        def changed(batch: Batch, amount: float, generator: Generator) -> Batch:
            found = plain(batch)
            return {**found, "image": change(found["image"], amount, generator).clamp(0, 255)}

        return changed

    def shifted(batch: Batch, amount: float, generator: Generator) -> Batch:
        count = len(batch["image"])
        return recropped(
            batch, side, amount / 100 * box_side * _directions(count, generator), torch.ones(count)
        )

    def scaled(batch: Batch, amount: float, generator: Generator) -> Batch:
        count = len(batch["image"])
        return recropped(
            batch, side, torch.zeros(count, 2), (1 + amount / 100) ** _signs(count, generator)
        )

    def noisy(image: Tensor, amount: float, generator: Generator) -> Tensor:
        return image + amount * torch.randn(image.shape, generator=generator)

    def softer(image: Tensor, amount: float, _: Generator) -> Tensor:
        return (
            blurred(image, torch.full((len(image),), amount), reach=math.ceil(3 * amount))
            if amount
            else image
        )

    def brighter(image: Tensor, amount: float, generator: Generator) -> Tensor:
        return image + amount * _signs(len(image), generator)[:, None, None, None]

    return {
        "shift of the box (% of its side)": ((0, 5, 10, 15, 20, 25, 30), shifted),
        "scale of the box, up or down (%)": ((0, 5, 10, 15, 20, 25, 30), scaled),
        "blur (sigma, px of the crop)": ((0, 1, 2, 3, 4, 5), pixels(softer)),
        "noise (standard deviation, of 255)": ((0, 10, 20, 30, 40, 60), pixels(noisy)),
        "brightness, up or down (of 255)": ((0, 30, 60, 90, 120), pixels(brighter)),
        "occluding square (% of the box's side)": (
            (0, 15, 30, 45, 60),
            pixels(
                lambda image, amount, generator: covered(image, amount / 100, box_side, generator)
            ),
        ),
    }


def measured(model: DescentModel, batch: Batch) -> dict[str, float]:
    """The mean error and the failures of a family."""
    result = evaluate(model, batch)
    return {"mean": result.mean(), "failures": 100 * result.failure_rate()}


def main() -> None:
    """Measures, prints, draws."""
    parser = options(__doc__, "robustness", trains=False)
    parser.add_argument(
        "--weights", nargs="+", default=["mdm", "sdm"], help="names, files, or FAMILY=FILE"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="the seed of the changes and of the synthetic faces"
    )
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    models = loaded(weights_of(arguments.weights))
    first = first_problem(models)
    like = {"schema": described_schema(first.schema), "box_side": first.box_side}
    # even, as the crop: the middles then differ by whole pixels
    wide = 2 * round(MARGIN * first.crop / 2)
    faces = FaceAlignment(arguments.data, test=arguments.test, crop=wide, **like).data("test")
    studies = {}
    for label, (amounts, change) in changes(first).items():
        rows = []
        for amount in progress_bar(amounts, label, unit="amount"):
            batch = change(faces, float(amount), Generator().manual_seed(arguments.seed))
            rows.append({name: measured(model, batch) for name, model in models.items()})
        studies[label] = (list(map(float, amounts)), rows)
    rendered = SyntheticFaces(1, SYNTHETIC, seed=arguments.seed, crop=first.crop, **like).data(
        "test"
    )
    yaw = rendered["pose"][:, 0].abs().rad2deg()
    rows = []
    for low, high in pairwise(YAWS):
        batch = index(rendered, ((yaw >= low) & (yaw < high)).nonzero().flatten())
        rows.append({name: measured(model, batch) for name, model in models.items()})
    studies["yaw of synthetic heads (degrees)"] = (
        [(low + high) / 2 for low, high in pairwise(YAWS)],
        rows,
    )

    for label, (amounts, rows) in studies.items():
        groups = [[[label, *(f"{amount:g}" for amount in amounts)]]]
        for name in models:
            errors = ["error", *(f"{row[name]['mean']:.4f}" for row in rows)]
            groups.append([errors, ["fail. %", *(f"{row[name]['failures']:.2f}" for row in rows)]])
        print(f"{lay_out(groups, ['', *models])}\n")
    write_json(
        arguments.out / "robustness.json",
        {
            **provenance(arguments.seed, {"weights": arguments.weights}),
            "data": {"test": fingerprint(faces), "synthetic": fingerprint(rendered)},
            "failure_above": first.failure_above,
            "studies": {
                label: {"amounts": amounts, "families": rows}
                for label, (amounts, rows) in studies.items()
            },
        },
    )
    save_figure(arguments.out / "robustness.png", drawn(studies, list(models)))
    print(
        f"error: {first.normaliser}, mean; failures above {first.failure_above:g}; "
        f"{arguments.out / 'robustness.png'}"
    )


def drawn(
    studies: Mapping[str, tuple[list[float], list[dict[str, dict[str, float]]]]],
    families: list[str],
) -> Figure:
    """One column per study: the mean error above, the failures below."""
    figure = canvas(2.2 * len(studies), 4.2)
    grid = figure.subplots(2, len(studies), sharey="row", sharex="col", squeeze=False)
    looks = styles(families)
    for column, (label, (amounts, rows)) in zip(grid.T, studies.items()):
        for axes, key in zip(column, ("mean", "failures")):
            for name, (color, dashes, _) in looks.items():
                values = [row[name][key] for row in rows]
                axes.plot(
                    amounts,
                    values,
                    color=color,
                    linestyle=dashes,
                    label=name,
                    marker="o",
                    markersize=3,
                )
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(color="#dddddd", linewidth=0.6)
            axes.tick_params(labelsize=8)
        column[1].set_xlabel(label.replace(" (", "\n("), fontsize=8)
    grid[0, 0].set_yscale("log")  # for all, as they share the axis
    grid[0, 0].set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
    grid[0, 0].yaxis.set_minor_locator(NullLocator())
    grid[0, 0].tick_params(which="both", labelsize=8)
    grid[0, 0].set_ylabel("mean error", fontsize=8)
    grid[1, 0].set_ylabel("failures (%)", fontsize=8)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=len(families), frameon=False, fontsize=8
    )
    return figure


if __name__ == "__main__":
    command(main)
