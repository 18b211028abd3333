"""What several fits of a face are worth at test time, and what they cost: ``python -m
benchmarks.paper.views``.

``FaceAligner`` looks at a face more than once: it fits the crop and its mirror image, cuts one to
four copies around what that found, fits each of them and its mirror image, and takes the median.
Here trained weights do so with the test faces of 300-W::

    python -m benchmarks.paper.views --data ../shared/300w --weights mdm sdm

Writes ``views.json`` and ``views.png``. The one fit of all other experiments is the first row of
each.
"""

from __future__ import annotations

import time

import torch

from learned_descent import Evaluation, evaluate
from learned_descent.evaluation.plots.frames import frame, legend_above, styles
from learned_descent.faces.alignment import FaceAlignment
from learned_descent.files import save_figure
from learned_descent.landmarks.ensemble import VIEWS, agree, fit_often
from learned_descent.model import DescentModel

from .. import command
from ._common import fitted, options, report
from ._weights import loaded, problem_like, weights_of


def fitted_often(model: DescentModel, problem: FaceAlignment, views: int) -> Evaluation:
    """The evaluation of the median of the fits of one face after the other, in so many copies."""
    images = problem.data("test")["image"]
    fit_often(model, images[:1], views=views)
    began = time.perf_counter()
    points, _ = agree(fit_often(model, images, views=views, batch_size=1))
    return fitted(points, problem, time.perf_counter() - began)


def main() -> None:
    """Measures, prints and draws."""
    parser = options(__doc__, "views", trains=False)
    parser.add_argument(
        "--weights",
        nargs="+",
        default=["tokens", "mdm", "sdm"],
        help="names, files, or FAMILY=FILE",
    )
    arguments = parser.parse_args()
    models = loaded(weights_of(arguments.weights))
    problem = problem_like(arguments, models)
    results, fits = {}, {}
    figure, axes = frame(5.2, 3.6)
    for name, (color, dashes, _) in styles(models).items():
        results[name], fits[name] = evaluate(models[name], problem.data("test"), batch_size=1), 1.0
        rows = [name]
        for views in range(1, len(VIEWS) + 1):
            rows.append(f"{name}, {views} {'copy' if views == 1 else 'copies'}")
            results[rows[-1]], fits[rows[-1]] = (
                fitted_often(models[name], problem, views),
                2.0 + 2 * views,
            )
        counts, errors = [fits[row] for row in rows], [results[row].mean() for row in rows]
        axes.plot(
            counts, errors, marker="o", markersize=4, color=color, linestyle=dashes, label=name
        )
    columns = {
        "fits": fits,
        "ms/face": {name: 1000 * result.seconds_per_sample for name, result in results.items()},
    }
    report(problem, results, arguments, "views", columns=columns, splits=("test",), figures=False)
    axes.set(
        xlabel="fits of a face", ylabel=f"mean error ({next(iter(results.values())).metrics[0]})"
    )
    legend_above(figure, len(models))
    save_figure(arguments.out / "views.png", figure)
    print(f"one face at a time; threads: {torch.get_num_threads()}")


if __name__ == "__main__":
    command(main)
