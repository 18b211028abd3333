"""The closed form on as many samples as protocol A has: its time and its peak memory, which must
not grow with the starts."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

PROGRAM = """
import json, resource, sys, time
import torch
from dataclasses import replace
from benchmarks.conftest import random_faces
from learned_descent.faces.alignment import FaceAlignment
from learned_descent.faces.recipes import RECIPES

count, repeats = int(sys.argv[1]), int(sys.argv[2])
torch.manual_seed(0)
problem = FaceAlignment()
problem.mean_shape.copy_(torch.rand(problem.mean_shape.shape) - 0.5)
problem.start_factor.copy_(0.05 * torch.eye(4))
batch = random_faces(problem, count, torch.device("cpu"))
problem.data = lambda split: batch
model = RECIPES["sdm"].build(problem)
trainer = replace(RECIPES["sdm"].trainers["ridge"], repeats=repeats, passes=1, accelerator="cpu")
start, cpu = time.perf_counter(), time.process_time()
history = trainer.fit(model, batch)
print(json.dumps({
    "seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu,
    "peak_gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    "features": model.num_features, "loss": history.records[-1]["loss"],
}))
"""


@pytest.mark.parametrize(("count", "repeats"), [(300, 10), (1207, 10)])
def test_memory_does_not_grow_with_the_samples(
    benchmark: BenchmarkFixture, facts: dict[str, Any], count: int, repeats: int
) -> None:
    found: dict[str, Any] = {}

    def run() -> None:
        command = [sys.executable, "-c", PROGRAM, str(count), str(repeats)]
        found.update(
            json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        )

    benchmark.pedantic(run, rounds=1)
    benchmark.extra_info.update(facts, samples=count, starts=repeats, **found)
    print(f"\n{count} faces, {repeats} starts: {found}")
    assert found["peak_gigabytes"] < 3
