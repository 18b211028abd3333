from __future__ import annotations

import dataclasses
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from learned_descent import (
    Cascade,
    DescentError,
    DescentModel,
    MnemonicDescent,
    Observation,
    ShapeError,
    Trajectory,
)
from learned_descent.look import probe
from learned_descent.model import stacked, tensors_of
from learned_descent.problems.curves import Sinusoid
from learned_descent.solvers import LevenbergMarquardt

from .toys import Compass, Line, Rows, Turn

FAMILIES = {
    "linear": lambda problem, **eyes: Cascade.for_problem(problem, num_steps=3, **eyes),
    "mlp": lambda problem, **eyes: Cascade.for_problem(problem, num_steps=3, hidden=5, **eyes),
    "tanh": lambda problem, **eyes: MnemonicDescent.for_problem(
        problem, num_steps=3, hidden=5, **eyes
    ),
    "gru": lambda problem, **eyes: MnemonicDescent.for_problem(
        problem, num_steps=3, hidden=5, cell="gru", **eyes
    ),
    "lstm": lambda problem, **eyes: MnemonicDescent.for_problem(
        problem, num_steps=3, hidden=5, cell="lstm", **eyes
    ),
}


def trained(family: str, problem, dtype=torch.float64) -> DescentModel:
    """A model with random weights, small enough to stay near the start."""
    model = FAMILIES[family](problem).to(dtype)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(0.2 * torch.randn(weight.shape, generator=draw, dtype=dtype))
    return model


def turns() -> dict[str, Tensor]:
    return {name: value.double() for name, value in Turn().data("test").items()}


@pytest.fixture(params=list(FAMILIES))
def family(request) -> str:
    return request.param


def test_iterates_are_retractions_of_the_updates(family):
    model, batch = trained(family, Turn()), turns()
    trajectory = model(batch, keep_states=True)
    prepared, state = model.observation.prepare(batch), model.init_state(trajectory.xs[0])
    for k in range(3):
        delta, state = model.step(k, model.observation(trajectory.xs[k], prepared), state)
        assert torch.equal(trajectory.xs[k + 1], model.problem.retract(trajectory.xs[k], delta))
        for kept, one in zip(tensors_of(trajectory.states), tensors_of(state), strict=True):
            assert torch.equal(kept[k], one)
    assert (trajectory.states is None) == (state is None)
    assert torch.equal(trajectory.final, trajectory.xs[3])


def test_one_preparation_serves_several_starts(family):
    model, batch = trained(family, Turn()), turns()
    prepared = model.observation.prepare(batch)
    for seed in range(2):
        x0 = model.problem.initial(batch, torch.Generator().manual_seed(seed))
        assert torch.equal(model.descend(prepared, x0).xs, model(batch, x0).xs)


def test_the_batch_is_prepared_once():
    class Counting(Observation):
        calls = 0

        def prepare(self, batch):
            self.calls += 1
            return batch

        def forward(self, x, batch):
            return batch["compass"].to(x)

    model = Cascade.for_problem(Turn(), observation=Counting(), num_steps=4)
    model.observation.calls = 0
    model(Turn().data("test"))
    assert model.observation.calls == 1


def test_start_is_the_deterministic_one_the_given_one_or_a_random_one(family):
    model, batch = trained(family, Turn()), turns()
    random = model.problem.initial(batch, torch.Generator().manual_seed(3))
    assert torch.equal(model(batch).xs[0], model.problem.initial(batch))
    assert torch.equal(model(batch, random).xs[0], random)
    assert torch.equal(
        model(batch, generator=torch.Generator().manual_seed(3)).xs, model(batch, random).xs
    )


@pytest.mark.parametrize("detach", ["state", "observation"])
def test_detach_leaves_the_values_as_they_are(family, detach):
    model, batch = trained(family, Turn()), turns()
    assert torch.equal(model(batch, detach=detach).xs, model(batch).xs)


def gradient(model, batch, detach) -> Tensor:
    """The gradient of the sum of the last iterate with respect to the start."""
    x0 = model.problem.initial(batch).requires_grad_()
    return torch.autograd.grad(
        model(batch, x0, detach=detach).final.sum(), x0, materialize_grads=True
    )[0]


def test_detach_cuts_what_it_names():
    model, batch = trained("linear", Line(torch.float64)), Line(torch.float64).data("test")
    ones = torch.ones_like(batch["x"])
    assert torch.equal(gradient(model, batch, "state"), 0 * ones), "x is cut between the steps"
    assert torch.equal(gradient(model, batch, "observation"), ones), (
        "only the additive path is left"
    )
    through = ones
    for stage in reversed(model.stages):  # d x_{k+1} / d x_k = 1 + W M
        through = through + through @ stage.weight @ model.problem.matrix
    torch.testing.assert_close(gradient(model, batch, "none"), through)


def test_memory_carries_gradient_when_the_state_is_cut():
    model, batch = trained("tanh", Turn()), turns()
    weight = model.cell.weight_hh
    cut, full = (
        torch.autograd.grad(model(batch, detach=how).final.sum(), weight)[0]
        for how in ("state", "none")
    )
    assert cut.abs().max() > 0
    assert not torch.allclose(cut, full)


def test_gradient_of_the_unrolled_loop(family):
    model, batch = trained(family, Turn()), turns()
    x0 = model.problem.initial(batch).requires_grad_()
    names, weights = zip(*model.named_parameters())

    def descend(x0, *values):
        return torch.func.functional_call(model, dict(zip(names, values)), (batch, x0)).xs[-1]

    assert torch.autograd.gradcheck(descend, (x0, *weights), fast_mode=True)


def test_any_number_of_steps_of_a_recurrent_model():
    model, batch = trained("gru", Turn()), turns()
    xs = model(batch, num_steps=7).xs
    assert xs.shape == (8, 11, 2)
    assert torch.equal(xs[:4], model(batch).xs)
    assert torch.equal(model(batch, num_steps=0).xs, model.problem.initial(batch)[None])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"num_steps": -1}, "num_steps: expected 0 or more, got -1"),
        ({"num_steps": 2.0}, "num_steps: expected a whole number, 0 or more, got 2.0"),
        ({"num_steps": 10**9}, "num_steps: expected at most 10,000, got 1,000,000,000"),
        ({"detach": "sate"}, "detach: expected one of none, state, observation, got 'sate'"),
    ],
)
def test_steps_and_cuts_that_there_are_not_are_refused(asked, message):
    with pytest.raises(DescentError, match=message):
        trained("tanh", Turn(), torch.float32)(Turn().data("train"), **asked)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_that_would_run_for_ever_is_refused(family):
    with pytest.raises(DescentError, match="num_steps: expected at most 10,000, got 1,000,000,000"):
        type(FAMILIES[family](Turn())).for_problem(Turn(), num_steps=10**9)


def test_a_cascade_has_no_more_steps_than_stages():
    model, batch = trained("linear", Turn()), turns()
    assert torch.equal(model(batch, num_steps=2).xs, model(batch).xs[:3])
    with pytest.raises(
        DescentError,
        match="Cascade runs at most the 3 steps that it was made with, asked for step 4",
    ):
        model(batch, num_steps=4)


def test_a_row_does_not_depend_on_its_batch(family):
    model, batch = trained(family, Turn()), turns()
    together = model(batch).xs
    for row in range(11):
        alone = model({name: value[row : row + 1] for name, value in batch.items()}).xs
        torch.testing.assert_close(alone, together[:, row : row + 1])


def test_dtype_and_device_are_kept(family, device, dtype):
    model = trained(family, Line(dtype), dtype).to(device)
    batch = {name: value.to(device) for name, value in Line(dtype).data("test").items()}
    xs = model(batch).xs
    assert xs.dtype == dtype
    assert xs.device.type == device.type


def test_inference_mode_gives_the_same(family):
    model, batch = trained(family, Turn()), turns()
    with torch.inference_mode():
        inferred = model(batch).xs
    assert torch.equal(inferred, model(batch).xs)


@pytest.mark.parametrize("batch", [{}, {"compass": torch.zeros(0, 2), "x": torch.zeros(0, 2)}])
def test_an_empty_batch_is_refused(batch):
    with pytest.raises(
        DescentError, match="batch: expected at least one sample, got an empty batch"
    ):
        Cascade.for_problem(Turn())(batch)


def test_a_ragged_batch_is_refused():
    with pytest.raises(
        DescentError,
        match=r"same number of samples in every tensor, got the shapes .*'x': \(3, 2\)",
    ):
        Cascade.for_problem(Turn())({"compass": torch.zeros(4, 2), "x": torch.zeros(3, 2)})


@pytest.mark.parametrize(
    ("size", "got"),
    [((10, 2), r"got \(10, 2\)"), ((11,), r"got \(11,\)"), ((11, 3), r"got \(11, 3\)")],
)
def test_a_start_of_another_shape_is_refused(size, got):
    with pytest.raises(ShapeError, match=rf"x0: expected shape \(B, p\) with B = 11, p = 2, {got}"):
        Cascade.for_problem(Turn())(Turn().data("test"), torch.ones(size))


def test_a_start_may_take_the_place_of_what_it_is_made_of():
    problem = Sinusoid(num_train=4, num_test=4)
    batch, solver = problem.data("test"), LevenbergMarquardt(problem, num_steps=2)
    seen = {"y": batch["y"]}
    with pytest.raises(
        DescentError, match="batch: expected a tensor 'start' to start from, it has"
    ):
        solver(seen)
    assert torch.equal(solver(seen, batch["start"]).final, solver(batch).final)


def test_features_that_change_their_size_are_named(family):
    class Growing(Observation):
        size = 1

        def forward(self, x, batch):
            self.size += 1
            return torch.ones(len(x), self.size)

    model = FAMILIES[family](Turn(), observation=Growing())
    model.observation.size = 1
    with pytest.raises(
        ShapeError, match=r"features of step 1: expected shape \(B, F\) with F = 2, got \(11, 3\)"
    ):
        model(Turn().data("test"))


class Count(NamedTuple):
    steps: Tensor
    nothing: None


class Both(NamedTuple):
    features: Tensor
    count: Count


def test_a_memory_of_named_tensors_is_kept_name_by_name():
    class Remembering(DescentModel):
        def init_state(self, x):
            return Both(torch.zeros(len(x), 1), Count(torch.zeros(len(x), dtype=torch.long), None))

        def step(self, k, features, state):
            return 0.1 * features[:, :1], Both(features[:, :1], Count(state.count.steps + 1, None))

    batch = Turn().data("test")
    states = Remembering(Turn(), Compass(), 3)(batch, keep_states=True).states
    assert states.count.steps.T.tolist() == [[1, 2, 3]] * 11
    assert states.count.nothing is None
    assert [tensor.shape for tensor in tensors_of(states)] == [(3, 11, 1), (3, 11)]
    assert (states.features[0] != states.features[1]).all()


def test_memories_are_stacked_as_they_are():
    one = torch.ones(2, 3)
    assert torch.equal(stacked([one, 2 * one]), torch.stack([one, 2 * one]))
    assert stacked([None, None]) is None
    assert tensors_of(None) == []


def test_an_update_of_another_size_is_named():
    class Wide(DescentModel):
        def init_state(self, x):
            return None

        def step(self, k, features, state):
            return torch.zeros(len(features), 3), None

    with pytest.raises(
        ShapeError, match=r"x after step 0: expected shape \(B, p\) with B = 11, p = 2, got"
    ):
        Wide(Turn(), Compass(), 4)(Turn().data("test"))


def test_at_least_one_step():
    with pytest.raises(DescentError, match="num_steps: expected 1 or more, got 0"):
        Cascade.for_problem(Turn(), num_steps=0)


def test_the_loop_is_final():
    assert DescentModel.forward.__final__
    assert DescentModel.descend.__final__


def test_trajectory_is_frozen():
    trajectory = Trajectory(torch.zeros(2, 1, 1))
    with pytest.raises(dataclasses.FrozenInstanceError):
        trajectory.xs = torch.ones(2, 1, 1)


def test_probe_reads_batches_and_data_sets():
    problem = Turn()
    assert probe(problem, Compass()) == (2, 1)
    problem.data = lambda split: Rows(Turn().data(split))
    assert probe(problem, Compass()) == (2, 1)


def test_probe_names_what_has_the_wrong_shape():
    class Flat(Observation):
        def forward(self, x, batch):
            return x[:, 0]

    with pytest.raises(ShapeError, match="features of Flat of one sample"):
        probe(Turn(), Flat())


def test_weights_are_those_of_the_steps_and_the_eyes(family):
    model = FAMILIES[family](Turn())
    assert isinstance(model, nn.Module)
    assert not list(model.problem.parameters())
    assert all(
        name.split(".")[0] in ("stages", "cell", "update") for name, _ in model.named_parameters()
    )
