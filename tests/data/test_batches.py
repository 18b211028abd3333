from __future__ import annotations

import pytest
import torch

from learned_descent import DescentError
from learned_descent.data.batches import (
    RandomBatches,
    batches,
    check_finite,
    fingerprint,
    index,
    mix,
    num_samples,
    to_device,
    training_batches,
)

from ..toys import Rows

BATCH = {"y": torch.arange(7), "z": torch.arange(14.0).view(7, 2)}


@pytest.mark.parametrize("samples", [BATCH, Rows(BATCH)], ids=["batch", "data set"])
def test_batches_come_in_order(samples, device):
    assert num_samples(samples) == 7
    found = list(batches(samples, 3, device=device))
    assert [batch["y"].tolist() for batch in found] == [[0, 1, 2], [3, 4, 5], [6]]
    assert all(batch["z"].device.type == device.type for batch in found)


@pytest.mark.parametrize("samples", [BATCH, Rows(BATCH)], ids=["batch", "data set"])
def test_ranks_take_turns(samples):
    found = [
        [batch["y"].tolist() for batch in batches(samples, 2, rank=rank, world=3)]
        for rank in range(3)
    ]
    assert found == [[[0, 1], [6]], [[2, 3]], [[4, 5]]]


def test_index_and_device(device):
    moved = to_device(BATCH, device)
    assert moved["z"].device.type == device.type
    assert index(moved, torch.tensor([5, 0]))["y"].tolist() == [5, 0]
    assert index(moved, slice(1, 3))["y"].tolist() == [1, 2]
    rows = Rows(BATCH)
    assert to_device(rows, device) is rows


def test_samples_that_cannot_be_counted():
    with pytest.raises(DescentError, match="samples: expected at least one sample, got none"):
        num_samples({})
    with pytest.raises(
        DescentError, match=r"same number of samples in every tensor, got \{'y': 7, 'z': 3\}"
    ):
        num_samples({**BATCH, "z": torch.zeros(3)})


def test_fingerprint_sees_content_dtype_and_shape_but_not_the_kind_of_set():
    other = [
        {**BATCH, "y": BATCH["y"] + 1},
        {**BATCH, "y": BATCH["y"].int()},
        {**BATCH, "z": BATCH["z"].view(7, 2, 1)},
        {"y": BATCH["y"], "w": BATCH["z"]},
    ]
    assert (
        fingerprint(BATCH) == fingerprint(Rows(BATCH)) == fingerprint(dict(reversed(BATCH.items())))
    )
    assert len({fingerprint(samples) for samples in [BATCH, *other]}) == 5


def test_random_batches_visit_every_sample_once_in_an_epoch():
    drawn = list(RandomBatches(10, 5, seed=1, start=0, stop=6))
    for epoch in range(3):
        assert sorted(drawn[2 * epoch] + drawn[2 * epoch + 1]) == list(range(10))
    assert drawn[:2] != drawn[2:4]
    assert drawn != list(RandomBatches(10, 5, seed=2, start=0, stop=6))


def test_random_batches_of_a_resumed_training_are_those_of_an_uninterrupted_one():
    whole = RandomBatches(10, 4, seed=1, start=0, stop=9)
    assert len(whole) == 9
    for start in range(9):
        assert list(RandomBatches(10, 4, seed=1, start=start, stop=9)) == list(whole)[start:]


def test_random_batches_of_the_ranks_are_those_of_one():
    whole = list(RandomBatches(10, 4, seed=1, start=0, stop=5))
    parts = zip(
        *(RandomBatches(10, 4, seed=1, start=0, stop=5, rank=rank, world=2) for rank in range(2))
    )
    assert [sorted(batch) for batch in whole] == [sorted(one + other) for one, other in parts]
    with pytest.raises(
        DescentError,
        match="batch_size: expected at least one sample for each of the 2 ranks, got 1",
    ):
        RandomBatches(10, 1, seed=1, start=0, stop=5, world=2)


def test_a_batch_is_no_larger_than_the_set():
    assert [sorted(batch) for batch in RandomBatches(3, 100, seed=0, start=0, stop=2)] == [
        [0, 1, 2]
    ] * 2


@pytest.mark.parametrize("samples", [BATCH, Rows(BATCH)], ids=["batch", "data set"])
def test_training_batches_are_the_samples_of_their_indices(samples, device):
    sampler = RandomBatches(7, 3, seed=0, start=0, stop=4)
    found = list(training_batches(samples, sampler, device))
    assert [indices for indices, _ in found] == list(sampler)
    for indices, batch in found:
        assert batch["y"].tolist() == indices
        assert torch.equal(batch["z"].cpu(), BATCH["z"][indices])


def test_mix_gives_seeds_far_apart():
    seeds = {mix(a, b) for a in range(30) for b in range(30)}
    assert len(seeds) == 900
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert mix(1, 23) != mix(12, 3)


def test_samples_that_are_not_finite_are_named():
    check_finite(BATCH, list(range(7)))
    bad = BATCH["z"].index_fill(0, torch.tensor([2, 4]), torch.nan)
    with pytest.raises(
        DescentError,
        match=r"samples \[12, 14\]: expected finite numbers in 'z', got NaN or infinity",
    ):
        check_finite({"z": bad}, list(range(10, 17)))
    with pytest.raises(DescentError, match=r"samples \[1\]: expected finite numbers in 'time'"):
        check_finite({"time": torch.tensor([0.5, torch.nan])}, [0, 1])
