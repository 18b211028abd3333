"""What users give as samples: it becomes tensors, or one message names it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from learned_descent import DescentError
from learned_descent.data.batches import RandomBatches, batches, num_samples, training_batches
from learned_descent.data.samples import as_samples, collated

from ..toys import Rows

READ_ONLY = np.ones((3, 2), np.float32)
READ_ONLY.flags.writeable = False


class NoLength(Dataset[Any]):
    def __getitem__(self, row):
        return {}


class Broken(Rows):
    def __getitem__(self, row):
        return 1 / (row - 2)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (np.ones((3, 2), np.float32), torch.float32),
        (np.ones((3, 4))[:, ::-2], torch.float64),
        (READ_ONLY, torch.float32),
        ([[1.0, 1.0]] * 3, torch.float32),
        ((torch.ones(2),) * 3, torch.float32),
        ([np.ones(2, np.int64)] * 3, torch.int64),
    ],
    ids=["array", "reversed", "read-only", "lists", "tensors", "arrays"],
)
def test_a_batch_becomes_one_of_tensors(value: Any, dtype: torch.dtype):
    made = as_samples({"y": value})["y"]
    assert made.dtype == dtype
    assert torch.equal(made, torch.ones(3, 2, dtype=dtype))
    assert num_samples({"y": value}) == 3
    assert [batch["y"].shape for batch in batches({"y": value}, 2)] == [(2, 2), (1, 2)]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (
            {"y": 3},
            r"samples: 'y': expected \(N, ...\), an entry per sample, got the single number 3",
        ),
        ({"y": ["a", "b"]}, r"samples: 'y': expected a tensor, or numbers that make one, got list"),
        (
            {"y": np.array([None])},
            r"samples: 'y': expected a tensor, or numbers that make one, got ndarray \(1,\)",
        ),
        (
            {"y": [[1.0], [1.0, 2.0]]},
            r"samples: 'y': expected a tensor, or numbers that make one, got list",
        ),
        (
            DataLoader(Rows({"y": torch.ones(3)})),
            r"samples: expected .*, got a DataLoader: give .*loader.dataset",
        ),
        (
            torch.ones(3),
            r"samples: expected a batch .* or a data set of dicts with a length, got Tensor \(3,\)",
        ),
        ((torch.ones(3), torch.ones(3)), r"or a data set of dicts with a length, got tuple"),
        (NoLength(), r"or a data set of dicts with a length, got NoLength"),
        (iter([{}]), r"or a data set of dicts with a length, got list_iterator"),
        (None, r"or a data set of dicts with a length, got NoneType"),
    ],
    ids=[
        "number",
        "text",
        "objects",
        "ragged",
        "loader",
        "tensor",
        "tuple",
        "endless",
        "iterator",
        "none",
    ],
)
def test_what_is_no_batch_and_no_data_set_is_named(samples: Any, message: str):
    with pytest.raises(DescentError, match=message):
        num_samples(samples)


def test_rows_of_arrays_and_numbers_become_batches_of_tensors():
    rows = [{"y": np.full(2, k, np.float32), "k": k, "share": 0.5} for k in range(5)]
    (batch,) = batches(rows, 5)
    assert {name: value.dtype for name, value in batch.items()} == {
        "y": torch.float32,
        "k": torch.int64,
        "share": torch.float32,
    }
    drawn = training_batches(
        rows, RandomBatches(5, 2, seed=0, start=0, stop=3), torch.device("cpu")
    )
    for indices, batch in drawn:
        assert batch["k"].tolist() == indices
        assert batch["y"][:, 0].tolist() == indices


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [{"y": torch.ones(8, 8)}, {"y": torch.ones(9, 8)}],
            r"samples 7 and 8: .*'y' of one shape, got \(8, 8\) and",
        ),
        (
            [{"y": 1}, {"y": 1, "z": 2}],
            r"samples 7 and 8: expected the same names, got \['y'\] and \['y', 'z'\]",
        ),
        ([{"y": "a.png"}], r"sample 7: 'y': expected a tensor, or numbers that make one, got str"),
        ([(torch.zeros(2), 1)], r"sample 7: expected tensors by name \(a dict\), got tuple"),
        ([None], r"sample 7: expected tensors by name \(a dict\), got NoneType"),
    ],
    ids=["sizes", "names", "text", "tuple", "none"],
)
def test_rows_that_make_no_batch_are_named(rows: list[Any], message: str):
    with pytest.raises(DescentError, match=message):
        collated(rows, [7, 8])


@pytest.mark.parametrize("workers", ["one by one", "drawn"])
def test_a_row_that_cannot_be_read_is_named(workers: str):
    rows = Broken({"y": torch.ones(4)})
    sampler = RandomBatches(4, 4, seed=0, start=0, stop=1)
    found = (
        batches(rows, 4)
        if workers == "one by one"
        else training_batches(rows, sampler, torch.device("cpu"))
    )
    with pytest.raises(
        DescentError,
        match=r"sample 2: reading it failed with ZeroDivisionError: .*test_samples.py:\d+",
    ):
        list(found)
    with pytest.raises(DescentError, match="sample 0: expected tensors by name"):
        list(batches(TensorDataset(torch.ones(3)), 3))


def test_batches_take_the_precision_that_is_asked_for():
    (batch,) = batches(
        {"y": np.ones(3), "image": torch.ones(3, dtype=torch.uint8)}, 3, dtype=torch.float32
    )
    assert (batch["y"].dtype, batch["image"].dtype) == (torch.float32, torch.uint8)
