from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from learned_descent import Cascade, DescentError, DescentModel, MnemonicDescent
from learned_descent.export import Graph, graph_of
from learned_descent.problems import Analytic, Pose
from learned_descent.solvers import LevenbergMarquardt, Polished

from .models import cascade, mnemonic


def ran(graph: Graph, *values: torch.Tensor) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        return dict(zip(graph.outputs, graph.module(*values)))


def test_what_a_descent_does_not_read_is_no_input():
    model = MnemonicDescent.for_problem(Pose(num_train=8, num_test=4), hidden=4)
    assert {"pose", "simulated"} <= set(model.problem.data("test"))
    assert list(graph_of(model).inputs) == ["projections", "x0"]


@pytest.mark.parametrize("made", [mnemonic, cascade])
def test_prepared_once_the_steps_are_the_descent(made):
    model: DescentModel = made()
    whole, once = graph_of(model), graph_of(model, "prepare")
    assert list(whole.inputs) == ["image", "x0"]
    values = whole.draw(4)
    prepared = ran(once, values["image"])
    x, state = values["x0"], model.init_state(values["x0"])
    for k in range(model.num_steps):
        step = graph_of(model, "step", step=k)
        given = {**prepared, "x": x, "state": state}
        found = ran(step, *(given[name] for name in step.inputs))
        x, state = found["x_next"], found.get("state_next")
    wanted = ran(whole, *values.values())["x"]
    assert (wanted - values["x0"]).abs().max() > 0.01
    torch.testing.assert_close(x, wanted)


def test_a_recurrent_model_has_one_step_for_all():
    notes = graph_of(mnemonic(), "step").notes
    assert notes == {"step": None, "state_start": "zeros"}


def test_the_number_of_steps_of_a_descent():
    model, graph = mnemonic(), graph_of(mnemonic(), num_steps=3)
    batch = {name: value for name, value in graph.inputs.items() if name != "x0"}
    with torch.no_grad():
        wanted = model(batch, graph.inputs["x0"], num_steps=3).final
    torch.testing.assert_close(ran(graph, *graph.inputs.values())["x"], wanted)


@pytest.mark.parametrize(
    ("part", "options", "message"),
    [
        ("all", {}, "graph: expected one of descent, prepare, step, got 'all'"),
        ("step", {}, "step: the 2 steps of this Cascade differ: expected one of 0 to 1"),
        ("step", {"step": 2}, "step: expected at most 1, got 2"),
        ("step", {"num_steps": 2}, "num_steps: expected none for the graph 'step', got 2"),
        ("descent", {"step": 0}, "step: expected none for the graph 'descent', got 0"),
        ("descent", {"num_steps": 0}, "num_steps: expected 1 or more, got 0"),
    ],
)
def test_what_cannot_be_a_graph_is_one_message(part, options, message: str):
    with pytest.raises(DescentError, match=message):
        graph_of(cascade(), part, **options)


def test_a_classical_solver_is_refused():
    problem = Pose(num_train=8, num_test=4)
    solver = LevenbergMarquardt(problem)
    with pytest.raises(DescentError, match=r"LevenbergMarquardt: a classical solver .* a learned"):
        graph_of(solver)
    learned = MnemonicDescent.for_problem(problem, hidden=4)
    with pytest.raises(DescentError, match=r"Polished: .* export its learned part alone"):
        graph_of(Polished(learned, solver))


def test_where_nothing_is_prepared_the_step_is_all():
    with pytest.raises(DescentError, match="Residual has nothing to prepare"):
        graph_of(Cascade.for_problem(Analytic("sin")), "prepare")


class Memory(NamedTuple):
    slow: Tensor
    fast: Tensor


class TwoMemories(DescentModel):
    def init_state(self, x: Tensor) -> Memory:
        return Memory(x, x)

    def step(self, k: int, features: Tensor, state: Memory) -> tuple[Tensor, Memory]:
        return features[:, :1], state


def test_a_memory_of_several_tensors_is_for_the_whole_descent():
    problem = Analytic("sin")
    model = TwoMemories(problem, problem.observation(), 2)
    assert list(graph_of(model).inputs) == ["y", "x0"]
    for part in ("step", "prepare"):
        with pytest.raises(DescentError, match="TwoMemories is more than one tensor"):
            graph_of(model, part)
