"""The row ``scipy`` of a comparison beside scipy on the same residuals in numpy, with scipy's
defaults: in turns, on one thread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation
from torch import Tensor

from learned_descent import LeastSquares
from learned_descent.data.samples import Batch
from learned_descent.problems import Pose
from learned_descent.problems.curves import TwoExponentials
from learned_descent.solvers import ScipyLeastSquares

Solve = Callable[[], Tensor]
"""Solves all problems of a batch: poses ``(B, 12)``."""


def robust_poses(problem: Pose, batch: Batch) -> Solve:
    """scipy's defaults on residuals in numpy, each block of which costs what the kernel of the
    problem makes of it."""
    first, seen = (
        value.double().numpy() for value in (problem.initial(batch), batch["projections"])
    )
    known, unit = problem.object.double().numpy(), problem.unit.double().numpy()

    def placed(delta: Any, start: Any) -> tuple[Any, Any]:
        update = delta * unit
        turn = Rotation.from_rotvec(update[:3]).as_matrix() @ start[:9].reshape(3, 3)
        return turn, start[9:] + update[3:]

    def residual(delta: Any, start: Any, pixels: Any) -> Any:
        turn, shift = placed(delta, start)
        points = known @ turn.T + shift
        left = points[:, :2] / np.maximum(points[:, 2:], 0.1 * problem.size) - pixels
        squares = np.maximum((left**2).sum(1) / problem.robust**2, 1e-30)
        return (left * np.sqrt(np.log1p(squares) / squares)[:, None]).ravel()

    def solve() -> Tensor:
        found = []
        for start, pixels in zip(first, seen):
            turn, shift = placed(
                least_squares(residual, np.zeros(6), args=(start, pixels)).x, start
            )
            found.append(np.concatenate([turn.ravel(), shift]))
        return torch.from_numpy(np.stack(found))

    return solve


def two_exponentials(problem: TwoExponentials, batch: Batch) -> Solve:
    """scipy's defaults on the curve in numpy."""
    seen, first, scale = (
        value.double().numpy() for value in (batch["y"], batch["start"], problem.scale)
    )
    times = problem.times.double().numpy()

    def residual(delta: Any, start: Any, values: Any) -> Any:
        x = start + delta * scale
        return np.exp(-times[:, None] * np.exp(-x[:2])) @ x[2:] - values

    def solve() -> Tensor:
        pairs = zip(first, seen)
        deltas = [
            least_squares(residual, np.zeros(4), args=(start, values)).x for start, values in pairs
        ]
        return torch.from_numpy(first + np.stack(deltas) * scale)

    return solve


@pytest.mark.parametrize("name", ["pose", "exponentials"])
def test_the_row_scipy_costs_what_scipy_costs(
    benchmark: BenchmarkFixture, facts: dict[str, Any], name: str
) -> None:
    """Against the same residuals in numpy, in turns within one run; both are right equally
    often."""
    pose, curves = Pose(num_test=32), TwoExponentials(num_test=32)
    problem: LeastSquares = pose if name == "pose" else curves
    batch = problem.data("test")
    assert isinstance(batch, Mapping)
    row = ScipyLeastSquares(problem)
    theirs = robust_poses(pose, batch) if name == "pose" else two_exponentials(curves, batch)
    solves: dict[str, Solve] = {"row": lambda: row(batch).final, "numpy": theirs}
    seconds: dict[str, list[float]] = {method: [] for method in solves}
    failures: dict[str, float] = {}

    def both() -> None:
        for method, solve in solves.items():
            began = time.process_time()
            found = solve()
            seconds[method].append(time.process_time() - began)
            errors = problem.error(found.to(problem.target(batch)), batch)
            failures[method] = (errors > problem.failure_above).double().mean().item()

    benchmark.pedantic(both, rounds=5, warmup_rounds=1)
    times = {method: statistics.median(values[1:]) for method, values in seconds.items()}
    benchmark.extra_info.update(
        facts, times_slower=times["row"] / times["numpy"], failures=failures
    )
    shown = ", ".join(
        f"{method}: {1000 * times[method] / 32:.1f} ms, {failures[method]:.0%} failures"
        for method in solves
    )
    print(f"\n{name}: {shown}; {times['row'] / times['numpy']:.2f} times as slow")
    assert abs(failures["row"] - failures["numpy"]) < 0.05
    assert times["row"] <= 1.5 * times["numpy"]
