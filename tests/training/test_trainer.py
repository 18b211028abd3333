"""What the trainers have in common."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from learned_descent import BackpropThroughTime, Cascade, DescentError, SequentialRidge
from learned_descent.models import CoarseToFineSearch
from learned_descent.training import SearchRidge
from learned_descent.training.trainer import History

from ..toys import Turn


def torch_fails(batch):
    torch.linalg.cholesky(torch.zeros(2, 2))


def numpy_fails(batch):
    np.linalg.inv(np.zeros((2, 2)))


@pytest.mark.parametrize("decompose", [torch_fails, numpy_fails])
@pytest.mark.parametrize("place", ["augment", "initial"])
@pytest.mark.parametrize(
    ("trainer", "family"),
    [
        (BackpropThroughTime(iterations=3, batch_size=6, accelerator="cpu"), Cascade),
        (SequentialRidge(ridge=1.0, batch_size=6), Cascade),
        (SearchRidge(ridge=1.0, batch_size=6), CoarseToFineSearch),
    ],
)
def test_a_sample_that_no_matrix_can_be_made_of_is_named(decompose, place, trainer, family):
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
        trainer.fit(family.for_problem(problem), batch)


def test_a_table_has_the_columns_of_all_records(tmp_path):
    path = tmp_path / "log.csv"
    History([{"stage": 0}, {"stage": 1, "residual": 0.5}]).write_csv(path)
    assert path.read_text().split() == ["stage,residual", "0,", "1,0.5"]
