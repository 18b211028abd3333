"""The command ``show``: samples as they go into a training, before any."""

from __future__ import annotations

from pathlib import Path

from ..data.batches import num_samples
from ..data.samples import Split
from ..errors import DescentError
from ..files import save_figure
from ..look import look
from ..problem import Problem
from .runs import WAY_OUT, check_measurement, prepare_folder, samples_of


def show(
    problem: Problem,
    *,
    split: Split = "train",
    count: int = 12,
    output: Path = Path("show.png"),
    overwrite: bool = False,
) -> str:
    """Draws samples with truth, start, box and the numbers of their points, before any training.

    Args:
        problem: the problem.
        split: the part of the data: train, val or test.
        count: how many samples are drawn, spread evenly over the data; at most 60.
        output: the picture.
        overwrite: replace the picture that is there.

    Returns:
        What is drawn, and where it is.

    Raises:
        DescentError: if the samples are no pictures, or are not what they have to be.
    """
    from ..evaluation.plots.samples import plot_samples, sight_of

    check_measurement(1, "cpu", split)
    if output.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise DescentError(f"--output {output}: expected a name that ends with .png, .pdf or .svg")
    sight_of(problem)  # before anything is read
    prepare_folder(output.parent, None if overwrite else output, WAY_OUT)
    samples = samples_of(problem, split)
    look(problem, samples)
    figure = plot_samples(problem, samples, count=count, names=problem.names(split))
    save_figure(output, figure)
    there = num_samples(samples)
    return f"{min(count, there)} of {there} {split} samples of {type(problem).__name__}: {output}"
