"""The picture that README and documentation open with: ``python -m benchmarks.front_page``.

Three descents from their start to their end: the landmarks of a rendered face, of a drawn wing,
and the pose of a house of which half of the points are found in a wrong place. Nothing in it is a
photo. Over each panel is the error that is left. The same seeds give the same picture.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patheffects import withStroke
from PIL import Image
from torch import Tensor

from learned_descent import DescentModel, load_model
from learned_descent.data.batches import index
from learned_descent.data.samples import Batch
from learned_descent.evaluation.plots.frames import GREY, START, canvas, color_of, grey
from learned_descent.faces.synthetic import SyntheticFaces
from learned_descent.files import atomic_write
from learned_descent.landmarks.labelled import LabelledLandmarks
from learned_descent.problems import Pose
from learned_descent.weights import find_weights

from . import command
from .landmarks.wings import VEINS, draw_wings
from .problems._common import trained

FACE, WING, VIEW = 12, 3, 2
"""Which of the test samples are shown: neither the easiest nor the hardest."""

CORNERS = (
    (-0.8, 0.7, -0.6), (0.8, 0.7, -0.6), (0.8, 0.7, 0.6), (-0.8, 0.7, 0.6),
    (-0.8, -0.3, -0.6), (0.8, -0.3, -0.6), (0.8, -0.3, 0.6), (-0.8, -0.3, 0.6),
    (-0.8, -0.9, 0.0), (0.8, -0.9, 0.0),
)  # fmt: skip
"""The corners of a house, ``(right, down, ahead)``."""

BEAMS = (
    (0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7),
    (4, 8), (7, 8), (5, 9), (6, 9), (8, 9),
)  # fmt: skip
"""What joins them."""


class Row(NamedTuple):
    """One sample of a problem, and the family that fits it.

    Attributes:
        name: what it is.
        family: the name of the family.
        model: the family, trained.
        batch: the sample.
        error: writes an error.
        points: the points of parameters ``(T + 1, p)``, as ``(T + 1, L, 2)``.
        edges: the points that lines join.
        ground: draws what was given.
    """

    name: str
    family: str
    model: DescentModel
    batch: Batch
    error: Callable[[float], str]
    points: Callable[[Tensor], Tensor]
    edges: Sequence[tuple[int, int]]
    ground: Callable[[Axes], None]


def face() -> Row:
    """A rendered face, by weights that come with the package and saw rendered faces alone."""
    model = load_model(find_weights("mdm-synthetic"))
    faces = SyntheticFaces(test_count=FACE + 1)
    return _pictured("68 landmarks", "mdm", model, faces, faces.data("test"), FACE, faces.edges)


def wing(folder: Path) -> Row:
    """A drawn wing, after a training on others."""
    problem = LabelledLandmarks(str(draw_wings(folder, 60)))
    edges = [(start, end) for start, end, _ in VEINS]
    model = trained(problem, ["sdm"])["sdm"]
    return _pictured("a wing", "sdm", model, problem, problem.data("test"), WING, edges)


def _pictured(
    name: str,
    family: str,
    model: DescentModel,
    problem: SyntheticFaces | LabelledLandmarks,
    samples: Batch,
    number: int,
    edges: Sequence[tuple[int, int]],
) -> Row:
    image = grey(samples["image"][number])

    def ground(axes: Axes) -> None:
        axes.imshow(image, cmap="gray", vmin=0, vmax=255)

    batch = index(samples, slice(number, number + 1))
    return Row(name, family, model, batch, "{:.3f}".format, problem.points, edges, ground)


def pose() -> Row:
    """A house whose beams are seen at 44 points, half of them in a wrong place."""
    corners = torch.tensor(CORNERS)
    ends = corners[torch.tensor(BEAMS)]
    between = (0.65 * ends[:, 0] + 0.35 * ends[:, 1], 0.3 * ends[:, 0] + 0.7 * ends[:, 1])
    problem = Pose(points=torch.cat([corners, *between]), num_train=2048, num_test=VIEW + 1)
    model = trained(problem, ["sdm"])["sdm"]
    batch = index(problem.data("test"), slice(VIEW, VIEW + 1))
    seen = batch["projections"][0]

    def points(x: Tensor) -> Tensor:
        return problem.project(x, batch)[:, : len(corners)]

    def ground(axes: Axes) -> None:
        axes.scatter(*seen.T.tolist(), s=5, color=GREY, linewidths=0)
        axes.set(xlim=(-0.42, 0.42), ylim=(0.42, -0.42), aspect="equal")

    return Row("a pose", "sdm", model, batch, "{:.1f} deg".format, points, BEAMS, ground)


def drawn(rows: Sequence[Row]) -> Image.Image:
    """The rows from start to end, in few colours."""
    figure = canvas(5.4, 1.45 * len(rows) + 0.2)
    for panels, row in zip(figure.subplots(len(rows), 4, squeeze=False), rows):
        with torch.inference_mode():
            xs = row.model.eval()(row.batch).xs[:, 0]
            errors = [row.model.problem.error(x[None], row.batch).item() for x in xs]
            paths = row.points(xs)
        last = len(xs) - 1
        for axes, step in zip(panels, (0, 1, 2, last)):
            title = "start" if step == 0 else f"step {step}"
            row.ground(axes)
            _draw(axes, paths[step], row.edges, START if step == 0 else color_of(row.family))
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"{title}: {row.error(errors[step])}", fontsize=7, pad=3)
        panels[0].set_ylabel(f"{row.name} ({row.family})", fontsize=7)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=180)
    return Image.open(file).convert("RGB").quantize(128, dither=Image.Dither.NONE)


def _draw(axes: Axes, points: Tensor, edges: Sequence[tuple[int, int]], color: str) -> None:
    outline = [withStroke(linewidth=1.7, foreground="black", alpha=0.7)]
    lines = [points[list(edge)].tolist() for edge in edges]
    axes.add_collection(
        LineCollection(lines, colors=color, linewidths=0.8, path_effects=outline), autolim=False
    )
    size = 40 / len(points) ** 0.5
    axes.scatter(
        *points.T.tolist(), s=size, color=color, edgecolors="black", linewidths=0.3, zorder=3
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/_static/front.png"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        picture = drawn([face(), wing(Path(folder)), pose()])
    atomic_write(arguments.out, lambda path: picture.save(path, format="PNG", optimize=True))
    print(f"{arguments.out}: {arguments.out.stat().st_size // 1000} kB")


if __name__ == "__main__":
    command(main)
