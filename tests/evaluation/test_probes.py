"""What is in a memory: probes and maps of made-up states whose content is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from learned_descent import Cascade, DescentError, MnemonicDescent, ShapeError
from learned_descent.evaluation.probes import (
    embed_memory,
    equal_bins,
    plot_memory,
    probe_memory,
    remember,
)
from learned_descent.problems import Analytic
from learned_descent.solvers import LevenbergMarquardt

COUNT = 120


@pytest.fixture
def labels() -> Tensor:
    return torch.arange(COUNT) % 3


@pytest.fixture
def noise() -> Tensor:
    return torch.randn(3, COUNT, 4, generator=torch.Generator().manual_seed(0))


def shown(labels: Tensor) -> Tensor:
    """A code of the classes in four numbers."""
    return torch.eye(4)[labels]


def test_a_probe_finds_what_is_there_and_nothing_else(labels: Tensor, noise: Tensor):
    states = noise[1:].clone()
    states[1] += 20 * shown(labels)
    found = probe_memory(states, noise, labels)
    assert found.state[1] == 1
    assert max(found.state[0], *found.x) < 0.55
    assert found.chance == pytest.approx(1 / 3)
    assert (found.num_tested, len(found.state), len(found.x)) == (COUNT // 2, 2, 3)


def test_a_probe_does_not_depend_on_units(labels: Tensor, noise: Tensor):
    states = noise[1:] + shown(labels)
    scale = torch.tensor([1e-6, 1.0, 1e4, 1e2])
    assert (
        probe_memory(scale * states, noise, labels).state
        == probe_memory(states, noise, labels).state
    )


def test_a_probe_is_linear(noise: Tensor):
    corners = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]]).repeat(
        COUNT // 4, 1
    )
    crossed = (corners.prod(1) > 0).long()
    states = torch.stack([corners, torch.stack([corners.prod(1), corners[:, 0]], 1)])
    found = probe_memory(states + 0.1 * noise[1:, :, :2], noise, crossed)
    assert (found.state[0] < 0.7, found.state[1]) == (True, 1.0)


def test_a_start_that_all_samples_share_tells_nothing(labels: Tensor, noise: Tensor):
    xs = noise.clone()
    xs[0] = 3.0
    assert probe_memory(noise[1:], xs, labels).x[0] == pytest.approx(1 / 3)


def test_the_halves_follow_the_seed(labels: Tensor, noise: Tensor):
    states = noise[1:] + shown(labels)
    first, again, other = (probe_memory(states, noise, labels, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            torch.zeros(COUNT, dtype=torch.long),
            r"expected two classes or more .* got classes of \[120\] samples",
        ),
        ((torch.arange(COUNT) < 5).long(), r"got classes of \[115, 5\] samples; give more samples"),
    ],
)
def test_too_few_to_learn_from(labels: Tensor, noise: Tensor, message: str):
    with pytest.raises(DescentError, match=message):
        probe_memory(noise[1:], noise, labels)


def test_states_and_iterates_must_belong_together(labels: Tensor, noise: Tensor):
    with pytest.raises(ShapeError, match="xs: expected shape"):
        probe_memory(noise, noise, labels)
    with pytest.raises(ShapeError, match="labels: expected shape"):
        probe_memory(noise[1:], noise, labels[1:])


def test_bins_hold_equally_many():
    values = torch.randn(100, generator=torch.Generator().manual_seed(0)) ** 3
    labels, edges = equal_bins(values, 5)
    assert labels.bincount().tolist() == [20] * 5
    assert edges.tolist() == sorted(edges.tolist())
    assert values[labels == 4].min() > values[labels == 3].max()


def test_the_map_keeps_clusters_apart():
    draw = torch.Generator().manual_seed(0)
    groups = torch.arange(40) % 2
    states = torch.randn(2, 40, 6, generator=draw) + 50 * groups[:, None]
    places = embed_memory(states, seed=1)
    assert places.shape == (2, 40, 2)
    for step in places:
        nearest = torch.cdist(step, step).fill_diagonal_(torch.inf).argmin(1)
        assert torch.equal(groups[nearest], groups)
    assert torch.equal(places, embed_memory(states, seed=1))


def test_a_map_needs_samples():
    with pytest.raises(DescentError, match="states: expected 6 samples or more, got 3"):
        embed_memory(torch.zeros(1, 3, 2))


def test_one_panel_per_step():
    places = torch.arange(60.0).view(6, 5, 2)
    yaw = torch.tensor([-40.0, -1.0, 0.0, 2.0, 30.0])
    figure = plot_memory(places, yaw, "yaw (degrees)", [f"note {step}" for step in range(1, 7)])
    panels = [axes for axes in figure.axes if axes.collections and axes.get_title()]
    assert [axes.get_title() for axes in panels] == [
        f"after step {step}\nnote {step}" for step in range(1, 7)
    ]
    marks = panels[3].collections[0]
    assert marks.get_offsets().tolist() == places[3].tolist()
    assert marks.get_array().tolist() == yaw.tolist()
    # Facing the camera has the colour in the middle
    assert marks.get_clim() == pytest.approx((-38, 38))
    assert figure.axes[-1].get_ylabel() == "yaw (degrees)"
    with pytest.raises(DescentError, match="notes: expected one for each of the 6 steps, got 1"):
        plot_memory(places, yaw, "yaw", ["one"])


def test_memories_of_all_samples():
    problem = Analytic("sin")
    samples = problem.data("test")
    model = MnemonicDescent.for_problem(problem, num_steps=3, hidden=5)
    states, xs = remember(model, samples, batch_size=16)
    whole = model(samples, keep_states=True)
    torch.testing.assert_close(states, whole.states)
    torch.testing.assert_close(xs, whole.xs)
    with pytest.raises(DescentError, match="Cascade has no memory to look into"):
        remember(Cascade.for_problem(problem), samples)


def test_a_memory_of_several_tensors_is_looked_into_side_by_side():
    problem = Analytic("sin")
    samples = problem.data("test")
    solver = LevenbergMarquardt(problem, num_steps=2)
    states, _ = remember(solver, samples, batch_size=16)
    whole = solver(samples, keep_states=True).states
    assert torch.equal(states[..., -1], whole.status.double())
    assert torch.equal(states[..., 0], whole.scale[..., 0])


def test_memories_that_do_not_differ_or_are_not_finite_are_refused():
    states = torch.zeros(2, 12, 3)
    states[0] = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(
        DescentError,
        match="states: after step 2 all samples have the same one: train the model first",
    ):
        embed_memory(states)
    model = MnemonicDescent.for_problem(Analytic("sin"), hidden=4)
    model.cell.weight_ih.data.fill_(torch.nan)
    with pytest.raises(
        DescentError, match="the memory of the model is not finite on these samples"
    ):
        remember(model, model.problem.data("test"))
