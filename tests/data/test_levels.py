"""Images are in 0..255: those in 0..1, in which nothing would be seen, are refused wherever they
come in."""

from __future__ import annotations

import pytest
import torch

from learned_descent import (
    BackpropThroughTime,
    Cascade,
    Concat,
    DescentError,
    Frozen,
    SequentialRidge,
    evaluate,
)
from learned_descent.errors import check_levels
from learned_descent.observations import (
    ConvolutionalMap,
    ConvolutionalPatches,
    DenseHOG,
    DenseSIFT,
    Patches,
)
from learned_descent.observations.patches import as_float
from learned_descent.problem import Problem
from learned_descent.problems.photometric.problems import AnyTemplate, FixedTemplate
from learned_descent.solvers import LevenbergMarquardt

from ..toys import Rows

WRONG = (
    r"image: expected grey levels or colours in 0..255, got floating point of at most .*: multiply "
    r"images in 0..1 by 255"
)


def points(x: torch.Tensor) -> torch.Tensor:
    return x.unflatten(1, (-1, 2))


class Dots(Problem):
    """Two points in images, in 0..``top``."""

    failure_above = 1.0

    def __init__(self, top: float = 255.0) -> None:
        super().__init__()
        self.top = top

    def data(self, split):
        draw = torch.Generator().manual_seed(0)
        images = self.top * torch.rand(12, 1, 32, 32, generator=draw)
        return {"photo": images, "points": 8 + 16 * torch.rand(12, 4, generator=draw)}

    def initial(self, batch, generator=None):
        return torch.full_like(batch["points"], 16.0)

    def target(self, batch):
        return batch["points"]

    def observation(self):
        return Concat(Frozen(Patches(points, "photo", size=4)))


EYES = [
    Patches(points),
    DenseHOG(points),
    DenseSIFT(points),
    ConvolutionalPatches(points),
    ConvolutionalMap(points, num_points=2),
]


@pytest.mark.parametrize("eyes", EYES, ids=lambda eyes: type(eyes).__name__)
def test_every_observation_of_images_refuses_them(eyes):
    images = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    with pytest.raises(DescentError, match=WRONG):
        eyes.prepare({"image": images})
    for fine in (255 * images, 0 * images, images.byte(), (images > 0.5).byte()):
        assert eyes.prepare({"image": fine})


def test_images_in_minus_1_to_1_are_refused_and_those_that_are_not_finite_are_left_to_others():
    with pytest.raises(DescentError, match=WRONG):
        check_levels(2 * torch.rand(1, 1, 4, 4) - 1, "image", wait=False)
    check_levels(torch.full((1, 1, 4, 4), torch.nan), "image", wait=True)
    check_levels(torch.zeros(0, 1, 4, 4), "image", wait=True)


def test_no_device_is_waited_for_within_a_descent():
    """A tensor without values cannot be asked for any: what asks raises."""
    elsewhere = torch.rand(1, 1, 8, 8, device="meta")
    assert as_float(elsewhere).shape == (1, 1, 8, 8)
    with pytest.raises(RuntimeError, match="meta"):
        check_levels(elsewhere, "image", wait=True)


def test_a_compiled_observation_stays_one_graph():
    compiled = torch.compile(as_float, backend="eager", fullgraph=True)
    assert compiled(torch.ones(1, 1, 8, 8)).max() == 1 / 255


@pytest.mark.parametrize("kind", [dict, Rows])
def test_training_and_evaluation_look_where_samples_come_in(kind):
    model = Cascade.for_problem(Dots(), num_steps=1)
    good, bad = (kind(Dots(top).data("train")) for top in (255.0, 1.0))
    assert evaluate(model, good).num_samples == 12
    calls = (
        lambda: evaluate(model, bad),
        lambda: SequentialRidge(ridge=1.0).fit(model, bad),
        lambda: SequentialRidge(ridge=1.0).fit(model, good, bad),
        lambda: BackpropThroughTime(iterations=1, detach="state", accelerator="cpu").fit(
            model, good, bad
        ),
    )
    for call in calls:
        with pytest.raises(DescentError, match=WRONG.replace("image:", "photo:")):
            call()


def test_a_model_is_not_made_for_them():
    with pytest.raises(DescentError, match=WRONG):
        Cascade.for_problem(Dots(1.0), num_steps=1)


@pytest.mark.parametrize("kind", [FixedTemplate, AnyTemplate])
def test_nor_are_images_and_templates_aligned_in_them(kind):
    problem = kind(grid=8, num_test=4)
    batch = problem.data("test")
    solver = LevenbergMarquardt(problem, num_steps=1)
    for name in problem.images:
        assert name in solver.images
        bad = {**batch, name: batch[name] / 255}
        for call in (lambda bad=bad: solver(bad), lambda bad=bad: evaluate(solver, bad)):
            with pytest.raises(DescentError, match=WRONG.replace("image:", f"{name}:")):
                call()
