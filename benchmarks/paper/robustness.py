"""How much each family suffers from what a detector, a camera and a scene do: ``python -m
benchmarks.paper.robustness``.

The test faces of 300-W under boxes that are shifted and scaled, rolled, under blur, noise, other
brightness, other colours and occlusion, and synthetic faces by the yaw of the head, for weights of
any number of families::

    python -m benchmarks.paper.robustness --data ../shared/300w --weights mdm sdm
    joint=runs/joint/model.safetensors

``--every 4`` takes every fourth face. It writes ``robustness.png`` and ``robustness.json``. Every
family sees the same pictures; nothing is chosen by these figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from torch import Generator, Tensor

from learned_descent import DescentModel, evaluate
from learned_descent.data.batches import fingerprint, index
from learned_descent.data.samples import Batch
from learned_descent.errors import check_whole
from learned_descent.evaluation.plots.frames import canvas, styles
from learned_descent.faces.alignment import FaceAlignment
from learned_descent.faces.synthetic import SyntheticFaces
from learned_descent.files import save_figure, write_json
from learned_descent.landmarks.crops import apply_affine, invert_affine, sampling_grid
from learned_descent.landmarks.filters import blurred
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

TICKS = (0.03, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""The errors that the axis names."""

ACROSS = 5
"""So many studies stand side by side in the figure."""

YAWS = (0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0)
SYNTHETIC, FEWEST = 4096, 512


def recropped(
    batch: Batch, side: int, shift: Tensor, factor: Tensor, angle: Tensor | None = None
) -> Batch:
    """The faces as they look when the detector's box is elsewhere: crops of ``side`` px around
    boxes that were moved.

    Args:
        batch: faces in larger crops, with the box in the middle.
        side: the side of the new crops, in px.
        shift: of each box, ``(B, 2)``, in px.
        factor: by which each box is larger, ``(B,)``.
        angle: by which each crop is turned, in rad, ``(B,)``; upright if not given.
    """
    wide = batch["image"].shape[-1]
    cos, sin = (
        (factor, 0 * factor) if angle is None else (factor * angle.cos(), factor * angle.sin())
    )
    linear = torch.stack([cos, -sin, sin, cos], 1).unflatten(1, (2, 2))
    offset = (wide - 1) / 2 + shift - linear.sum(2) * (side - 1) / 2
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


def hued(image: Tensor, degrees: float) -> Tensor:
    """Pictures whose hue is turned; value and saturation stay."""
    colours = rgb_to_hsv(image.movedim(1, 3).numpy() / 255)
    colours[..., 0] = (colours[..., 0] + degrees / 360) % 1
    return torch.from_numpy(255 * hsv_to_rgb(colours)).movedim(3, 1).to(image.dtype)


def toned(image: Tensor, colour: tuple[float, float, float]) -> Tensor:
    """The mean of the channels between black and a colour."""
    return image.mean(1, keepdim=True) * torch.tensor(colour)[:, None, None]


COLOURS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "RGB": lambda image: image,
    "BGR": lambda image: image.flip(1),
    "grey": partial(toned, colour=(1, 1, 1)),
    "blue": partial(toned, colour=(0, 0, 1)),
    "green": partial(toned, colour=(0, 1, 0)),
    "yellow": partial(toned, colour=(1, 1, 0)),
    "hue 90": partial(hued, degrees=90),
    "hue 180": partial(hued, degrees=180),
}
"""What the colours become, by the name that the axis shows: blue is from black to blue."""

Change = Callable[[Batch, Generator], Batch]
Levels = Sequence[tuple[float | str, Change]]
"""What is done to the faces, from little to much, by its amount or name."""


def moves(side: int, box_side: float) -> dict[str, Levels]:
    """What happens to the box, by the label of its axis.

    Args:
        side: of the crops, in px.
        box_side: of the box in them.
    """

    def shifted(batch: Batch, generator: Generator, percent: float) -> Batch:
        count = len(batch["image"])
        shift = percent / 100 * box_side * _directions(count, generator)
        return recropped(batch, side, shift, torch.ones(count))

    def scaled(batch: Batch, generator: Generator, percent: float) -> Batch:
        count = len(batch["image"])
        factor = (1 + percent / 100) ** _signs(count, generator)
        return recropped(batch, side, torch.zeros(count, 2), factor)

    def rolled(batch: Batch, generator: Generator, degrees: float) -> Batch:
        count = len(batch["image"])
        angle = math.radians(degrees) * _signs(count, generator)
        return recropped(batch, side, torch.zeros(count, 2), torch.ones(count), angle)

    percents = (0, 5, 10, 15, 20, 25, 30)
    return {
        "shift of the box (% of its side)": [(a, partial(shifted, percent=a)) for a in percents],
        "scale of the box, up or down (%)": [(a, partial(scaled, percent=a)) for a in percents],
        "roll, to either side (degrees)": [
            (a, partial(rolled, degrees=a)) for a in (0, 15, 30, 45, 60, 90, 180)
        ],
    }


def pixels(side: int, box_side: float) -> dict[str, Levels]:
    """What happens to the pixels, by the label of its axis; see :func:`moves`."""

    def levels(
        amounts: Sequence[float], change: Callable[[Tensor, float, Generator], Tensor]
    ) -> Levels:
        def changed(batch: Batch, generator: Generator, amount: float) -> Batch:
            count = len(batch["image"])
            found = recropped(batch, side, torch.zeros(count, 2), torch.ones(count))
            return {**found, "image": change(found["image"], amount, generator).clamp(0, 255)}

        return [(amount, partial(changed, amount=float(amount))) for amount in amounts]

    def noisy(image: Tensor, amount: float, generator: Generator) -> Tensor:
        return image + amount * torch.randn(image.shape, generator=generator)

    def softer(image: Tensor, amount: float, _: Generator) -> Tensor:
        sigma = torch.full((len(image),), amount)
        return blurred(image, sigma, reach=math.ceil(3 * amount)) if amount else image

    def brighter(image: Tensor, amount: float, generator: Generator) -> Tensor:
        return image + amount * _signs(len(image), generator)[:, None, None, None]

    def hidden(image: Tensor, percent: float, generator: Generator) -> Tensor:
        return covered(image, percent / 100, box_side, generator)

    def coloured(image: Tensor, number: float, _: Generator) -> Tensor:
        return list(COLOURS.values())[int(number)](image)

    return {
        "blur (sigma, px of the crop)": levels((0, 1, 2, 3, 4, 5), softer),
        "noise (standard deviation, of 255)": levels((0, 10, 20, 30, 40, 60), noisy),
        "brightness, up or down (of 255)": levels((0, 30, 60, 90, 120), brighter),
        "colours": [
            (name, change)
            for name, (_, change) in zip(COLOURS, levels(range(len(COLOURS)), coloured))
        ],
        "occluding square (% of the box's side)": levels((0, 15, 30, 45, 60), hidden),
    }


Studies = dict[str, tuple[list[float | str], list[dict[str, dict[str, float]]]]]
"""Of each kind of harm the amounts, and what each family makes of them."""


def measured(model: DescentModel, batch: Batch) -> dict[str, float]:
    """The mean error and the failures of a family."""
    result = evaluate(model, batch)
    return {"mean": result.mean(), "failures": 100 * result.failure_rate()}


def main() -> None:
    """Measures, prints, draws."""
    parser = options(__doc__, "robustness", trains=False)
    parser.add_argument(
        "--weights",
        nargs="+",
        default=["tokens", "mdm", "sdm"],
        help="names, files, or FAMILY=FILE",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="the seed of the changes and of the synthetic faces"
    )
    parser.add_argument("--every", type=int, default=1, help="take one face of so many")
    arguments = parser.parse_args()
    check_whole(arguments.every, name="--every")
    arguments.out.mkdir(parents=True, exist_ok=True)
    models = loaded(weights_of(arguments.weights))
    first = first_problem(models)
    like = {"schema": described_schema(first.schema), "box_side": first.box_side}
    # even, as the crop: the middles then differ by whole pixels
    wide = 2 * round(MARGIN * first.crop / 2)
    faces = FaceAlignment(arguments.data, test=arguments.test, crop=wide, **like).data("test")
    faces = index(faces, torch.arange(0, len(faces["image"]), arguments.every))
    studies: Studies = {}
    harm = {**moves(first.crop, first.box_side), **pixels(first.crop, first.box_side)}
    for label, levels in harm.items():
        studies[label] = ([amount for amount, _ in levels], [])
        for _, change in progress_bar(levels, label, unit="amount"):
            batch = change(faces, Generator().manual_seed(arguments.seed))
            studies[label][1].append({n: measured(model, batch) for n, model in models.items()})
    rendered = SyntheticFaces(
        1, max(SYNTHETIC // arguments.every, FEWEST), seed=arguments.seed, crop=first.crop, **like
    ).data("test")
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
        groups = [[[label, *map(_named, amounts)]]]
        for name in models:
            errors = ["error", *(f"{row[name]['mean']:.4f}" for row in rows)]
            groups.append([errors, ["fail. %", *(f"{row[name]['failures']:.2f}" for row in rows)]])
        print(f"{lay_out(groups, ['', *models])}\n")
    write_json(
        arguments.out / "robustness.json",
        {
            **provenance(arguments.seed, {"weights": arguments.weights, "every": arguments.every}),
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


def _named(amount: float | str) -> str:
    return amount if isinstance(amount, str) else f"{amount:g}"


def drawn(studies: Studies, families: list[str]) -> Figure:
    """For each study the mean error above, the failures below; some studies a row."""
    bands = math.ceil(len(studies) / ACROSS)
    figure = canvas(2.2 * ACROSS, 4.4 * bands)
    grid = figure.subplots(2 * bands, ACROSS, squeeze=False)
    looks = styles(families)
    worst = max(row[name]["mean"] for _, rows in studies.values() for row in rows for name in row)
    for number in range(ACROSS * bands):
        band, column = divmod(number, ACROSS)
        pair = grid[2 * band : 2 * band + 2, column]
        if number >= len(studies):
            for axes in pair:
                axes.set_axis_off()
            continue
        label, (amounts, rows) = list(studies.items())[number]
        for axes, key in zip(pair, ("mean", "failures")):
            for name, (color, dashes, _) in looks.items():
                axes.plot(
                    amounts,
                    [row[name][key] for row in rows],
                    color=color,
                    linestyle=dashes,
                    label=name,
                    marker="o",
                    markersize=3,
                )
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(color="#dddddd", linewidth=0.6)
            axes.tick_params(which="both", labelsize=8)
        _scaled(pair, worst, column == 0)
        pair[0].tick_params(labelbottom=False)
        pair[1].set_xlabel(label.replace(" (", "\n("), fontsize=8)
        if isinstance(amounts[0], str):
            pair[1].tick_params(axis="x", rotation=60)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=len(families), frameon=False, fontsize=8
    )
    return figure


def _scaled(pair: Sequence[Axes], worst: float, first: bool) -> None:
    """The same axes for every study: those of the first one of a row are named."""
    error, failures = pair
    error.set_yscale("log")
    error.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
    error.set_ylim(0.9 * TICKS[0], 1.1 * worst)
    error.yaxis.set_minor_locator(NullLocator())
    failures.set_ylim(-3, 103)
    for axes, text in ((error, "mean error"), (failures, "failures (%)")):
        axes.tick_params(labelleft=first)
        if first:
            axes.set_ylabel(text, fontsize=8)


if __name__ == "__main__":
    command(main)
