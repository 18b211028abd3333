"""What fitting costs: milliseconds per face of every family, by the size of the batch, on one
thread."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from learned_descent.faces.alignment import FaceAlignment
from learned_descent.faces.recipes import RECIPES

from .page.faces import random_faces


@pytest.mark.parametrize("batch_size", [1, 64])
@pytest.mark.parametrize("family", ["sdm", "mdm", "mdm-paper"])
def test_fit(
    benchmark: BenchmarkFixture,
    facts: dict[str, Any],
    faces: FaceAlignment,
    device: torch.device,
    one_thread: None,
    family: str,
    batch_size: int,
) -> None:
    torch.manual_seed(0)
    batch = random_faces(faces, batch_size, device)
    faces.data = lambda split: batch  # type: ignore[method-assign]
    model = RECIPES[family].build(faces).to(device).eval()

    @torch.inference_mode()
    def fit() -> torch.Tensor:
        final = model(batch).final
        if device.type == "cuda":
            torch.cuda.synchronize()
        return final

    found = benchmark.pedantic(fit, rounds=5, warmup_rounds=1)
    per_face = 1e3 * benchmark.stats.stats.median / batch_size
    benchmark.extra_info.update(
        facts, batch=batch_size, steps=model.num_steps, milliseconds_per_face=per_face
    )
    print(f"\n{family}, batch of {batch_size}: {per_face:.2f} ms per face")
    assert found.isfinite().all()
