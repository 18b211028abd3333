from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from learned_descent import DescentError
from learned_descent.evaluation.plots import plot_samples
from learned_descent.evaluation.plots.samples import sight_of
from learned_descent.problems import Analytic
from learned_descent.problems.photometric.problems import FixedTemplate

from .test_plots import Blobs


class Boxed(Blobs):
    """Blobs with a box each, of which the second point of the first sample is missing."""

    def data(self, split: str) -> dict[str, Tensor]:
        batch = super().data(split)
        count = len(batch["points"])
        weights = torch.ones(count, 10)
        weights[0, 2:4] = 0
        boxes = torch.tensor([[4.0, 5.0, 60.0, 40.0]]).expand(count, 4)
        return {**batch, "weights": weights, "box": boxes}

    def target_weights(self, batch: dict[str, Tensor]) -> Tensor:
        return batch["weights"]


def test_every_panel_has_truth_start_and_numbers():
    problem = Blobs()
    samples = problem.data("train")
    figure = plot_samples(problem, samples, count=3)
    assert len(figure.axes) == 4
    first, _, last = figure.axes[:3]
    start, truth = (part for part in first.collections if len(part.get_offsets()) == 5)
    np.testing.assert_allclose(truth.get_offsets(), samples["points"][0], atol=1e-5)
    wanted = problem.initial({name: value[:1] for name, value in samples.items()})
    np.testing.assert_allclose(start.get_offsets(), wanted[0].view(5, 2), atol=1e-5)
    assert [text.get_text() for text in first.texts] == list("01234")
    assert last.get_title() == f"sample {len(samples['points']) - 1}"
    assert not first.patches


def test_a_missing_point_is_not_drawn_and_what_lies_outside_is():
    problem = Boxed()
    names = [f"a/{'long' * 12}/{number}.png" for number in range(24)]
    axes, *_ = plot_samples(problem, problem.data("train"), count=1, names=names).axes
    assert [text.get_text() for text in axes.texts] == ["0", "2", "3", "4"]
    assert axes.get_xlim() == (-0.5, 60.0)
    assert axes.get_ylim() == (47.5, -0.5)  # rows go down
    assert axes.patches[0].get_xy() == (4, 5)
    assert axes.get_title().startswith("...")
    assert axes.get_title().endswith("/0.png")


def test_there_are_no_more_panels_than_samples():
    problem = Blobs(count=2)
    samples = {name: value[:2] for name, value in problem.data("train").items()}
    assert len(plot_samples(problem, samples).axes) == 2


def test_a_template_shows_its_corners():
    problem = FixedTemplate(num_train=4, num_test=4)
    image, marks = sight_of(problem)
    assert image == "image"
    batch = problem.data("test")
    torch.testing.assert_close(marks(batch["truth"]), problem.corners(batch["truth"]))


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(DescentError, match="the samples of Analytic are no pictures"):
        plot_samples(Analytic("sin"), Analytic("sin").data("train"))
    problem = Blobs()
    for count, message in ((0, "1 or more, got 0"), (61, "at most 60, got 61"), (1.5, "whole")):
        with pytest.raises(DescentError, match=f"count: expected .*{message}"):
            plot_samples(problem, problem.data("train"), count=count)  # type: ignore[arg-type]
    with pytest.raises(DescentError, match="Analytic: its samples have no points in a picture"):
        Analytic("sin").marks(torch.zeros(1, 1))
