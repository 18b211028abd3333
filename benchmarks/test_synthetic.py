"""What synthetic faces cost: faces per second on two threads, at the size of the examples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from learned_descent.data.samples import Batch
from learned_descent.faces.synthetic import SyntheticFaces

COUNT = 960


@pytest.fixture
def two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def test_faces_per_second(
    benchmark: BenchmarkFixture, facts: dict[str, Any], device: torch.device, two_threads: None
) -> None:
    SyntheticFaces(test_count=64).to(device).data("test")  # computes what all chunks share

    def make() -> Batch:
        return SyntheticFaces(test_count=COUNT).to(device).data("test")

    faces = benchmark.pedantic(make, rounds=5, warmup_rounds=1)
    rate = COUNT / benchmark.stats.stats.median
    benchmark.extra_info.update(facts, threads=2, faces_per_second=rate)
    print(f"\n{COUNT} faces of 128 px on 2 threads: {rate:.0f} faces/s")
    assert faces["image"].float().std() > 10
    assert faces["points"].isfinite().all()
