"""What several fits of a face are worth at test time, and what they cost: ``python -m benchmarks.paper.views``.

``FaceAligner`` looks at a face more than once: it fits the crop and its mirror image, cuts one to four copies around what that
found, fits each of them and its mirror image, and takes the median. Here trained weights do so with the test faces of 300-W::

    python -m benchmarks.paper.views --data ../shared/300w --weights mdm sdm

Writes ``views.json`` and its figures. The one fit of all other experiments is the first row of each.
"""

from __future__ import annotations

import time

import torch

from learned_descent import Evaluation, evaluate
from learned_descent.faces.agreement import VIEWS, agree, fit_often
from learned_descent.faces.alignment import FaceAlignment
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
    parser.add_argument("--weights", nargs="+", default=["mdm", "sdm"], help="names, files, or FAMILY=FILE")
    arguments = parser.parse_args()
    models = loaded(weights_of(arguments.weights))
    problem = problem_like(arguments, models)
    results, fits = {}, {}
    for name, model in models.items():
        results[name], fits[name] = evaluate(model, problem.data("test"), batch_size=1), 1.0
        for views in range(1, len(VIEWS) + 1):
            row = f"{name}, {views} {'copy' if views == 1 else 'copies'}"
            results[row], fits[row] = fitted_often(model, problem, views), 2.0 + 2 * views
    columns = {"fits": fits, "ms/face": {name: 1000 * result.seconds_per_sample for name, result in results.items()}}
    report(problem, results, arguments, "views", columns=columns, splits=("test",))
    print(f"one face at a time; threads: {torch.get_num_threads()}")


if __name__ == "__main__":
    command(main)
