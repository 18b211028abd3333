from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch

from examples.new_problem import Blobs
from learned_descent import BackpropThroughTime, Cascade, MnemonicDescent, SequentialRidge

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def blobs() -> Blobs:
    problem = Blobs()
    problem.data = functools.cache(problem.data)
    return problem


@torch.no_grad()
def errors(model, split: str = "test") -> list[float]:
    """The mean error at the start and after each step, in px."""
    batch = model.problem.data(split)
    return [model.problem.error(x, batch).mean().item() for x in model(batch).xs]


def test_a_new_problem_takes_less_than_forty_lines():
    assert len((EXAMPLES / "new_problem.py").read_text().splitlines()) < 40


def test_samples_differ_between_the_splits(blobs):
    sets = [
        {tuple(row) for row in blobs.data(split)["points"].flatten(1).tolist()}
        for split in ("train", "val", "test")
    ]
    assert [len(rows) for rows in sets] == [1000, 200, 300]
    assert not sets[0] & sets[1] | sets[1] & sets[2] | sets[0] & sets[2]


def test_sdm_then_joint(blobs):
    model = Cascade.for_problem(blobs)
    SequentialRidge().fit(model, blobs.data("train"), blobs.data("val"))
    found = errors(model)
    assert 3 < found[0] < 4
    assert found[-1] < 0.7
    before = errors(model, "val")
    joint = BackpropThroughTime(iterations=60, lr=1e-4, accelerator="cpu")
    joint.fit(model, blobs.data("train"), blobs.data("val"))
    assert errors(model, "val")[-1] < before[-1]


def test_mdm(blobs):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MnemonicDescent.for_problem(blobs, hidden=64)
    BackpropThroughTime(iterations=200, lr=3e-3, accelerator="cpu").fit(
        model, blobs.data("train"), blobs.data("val")
    )
    found = errors(model)
    assert found[-1] < 0.45 * found[0]
    assert found == sorted(found, reverse=True), "every step helps"
