from __future__ import annotations

import pytest
import torch

from learned_descent import DescentError
from learned_descent.fitting.arguments import as_arguments
from learned_descent.fitting.problem import FunctionProblem


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda problem: problem.data("train"), "data: a plain function has no samples"),
        (lambda problem: problem.target({}), "target: a plain function knows no truth"),
        (lambda problem: problem.augment({"(truth)": torch.ones(1, 1)}, torch.Generator()), "data"),
    ],
)
def test_a_plain_function_has_nothing_to_learn_from(ask, message):
    problem = FunctionProblem(lambda x: x, as_arguments(None), 1)
    with pytest.raises(DescentError, match=message):
        ask(problem)


def test_an_update_stays_within_the_bounds():
    problem = FunctionProblem(lambda x: x, as_arguments(None), 2, bounds=(0, [1, torch.inf]))
    x, delta = torch.tensor([[0.5, 0.5]]), torch.tensor([[2.0, -2.0]])
    assert problem.retract(x, delta).tolist() == [[1, 0]]
    down, up = problem.room(x, {})
    assert (down.tolist(), up.tolist()) == ([[-0.5, -0.5]], [[0.5, torch.inf]])
