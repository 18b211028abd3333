"""What is drawn for a sample does not depend on the others of its batch."""

from __future__ import annotations

import inspect

import pytest
import torch

from learned_descent.data.batches import index
from learned_descent.names import PROBLEMS
from learned_descent.problems import Pose
from learned_descent.registry import resolve_problem
from learned_descent.training.draws import BLOCK, Draws

from ..cli.test_every_problem import SMALL

WITHOUT_DATA = sorted(PROBLEMS.keys() - {"faces", "landmarks", "in-shape-model"})


@pytest.mark.parametrize("name", WITHOUT_DATA)
def test_a_row_is_drawn_whatever_is_beside_it(name):
    kind = resolve_problem(name)
    settings = {key: SMALL[key] for key in SMALL if key in inspect.signature(kind).parameters}
    problem = kind(**settings)
    batch = index(problem.data("train"), slice(0, BLOCK + 4))
    count = len(next(iter(batch.values())))
    first = BLOCK - 3
    found = []
    for rows in (slice(0, count), slice(2, 5), slice(count - 2, count)):
        draws = Draws([7], range(first, first + count)[rows], "cpu")
        own = draws(problem.augment, index(batch, rows))
        for _ in range(2):  # the second start comes after the first one
            own["start"] = draws(lambda ones, draw: {"x": problem.initial(ones, draw)}, own)["x"]
        found.append((rows, own))
    (_, whole), *parts = found
    for rows, part in parts:
        for key, value in part.items():
            torch.testing.assert_close(value, whole[key][rows], rtol=1e-5, atol=1e-4)


def test_no_two_samples_are_drawn_alike():
    problem, count = Pose(num_train=40), 2 * BLOCK + 5
    same = index(problem.data("train"), torch.zeros(count, dtype=torch.long))
    draws = Draws([0], range(count), "cpu")
    starts = draws(lambda ones, draw: {"x": problem.initial(ones, draw)}, same)["x"]
    assert len(starts.unique(dim=0)) == count
