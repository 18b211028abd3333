"""What the trainers have in common."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from learned_descent import BackpropThroughTime, Cascade, DescentError, SequentialRidge

from ..toys import Turn


def torch_fails(batch):
    torch.linalg.cholesky(torch.zeros(2, 2))


def numpy_fails(batch):
    np.linalg.inv(np.zeros((2, 2)))


@pytest.mark.parametrize("decompose", [torch_fails, numpy_fails])
@pytest.mark.parametrize("place", ["augment", "initial"])
@pytest.mark.parametrize(
    "trainer",
    [
        BackpropThroughTime(iterations=3, batch_size=6, accelerator="cpu"),
        SequentialRidge(ridge=1.0, batch_size=6),
    ],
)
def test_a_sample_that_no_matrix_can_be_made_of_is_named(decompose, place, trainer):
    problem = Turn()
    batch = problem.data("train")
    degenerate = batch["x"][13].clone()
    usual = getattr(problem, place)

    def fails(rows, generator=None):
        if generator is not None and (rows["x"] == degenerate).all(1).any():
            decompose(rows)
        return usual(rows, generator)

    setattr(problem, place, fails)
    with pytest.raises(
        DescentError,
        match=r"samples \[.*\b13\b.*\]: one of them makes a matrix that cannot be decomposed",
    ):
        trainer.fit(Cascade.for_problem(problem), batch)
