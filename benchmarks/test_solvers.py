"""Throughput of Levenberg-Marquardt: problems solved a second on one thread, against scipy, theseus-ai and pypose.

Every method takes ten iterations on the same clean poses (20 points, which differ from sample to sample), from the same starts.
theseus-ai and pypose are measured where they are installed.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation
from torch import Tensor

from learned_descent import LeastSquares
from learned_descent.problem import Batch
from learned_descent.problems import Pose
from learned_descent.solvers import LevenbergMarquardt

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of theseus-ai, under today's numpy

STEPS = 10
LEVEL = 0.5
"""The starts: 45 degrees and 0.4 object sizes away."""

Solve = Callable[[], Tensor]
"""Solves all problems of a batch: poses ``(B, 12)``."""


def analytic(problem: Pose, batch: Batch) -> Solve:
    solver = LevenbergMarquardt(problem, num_steps=STEPS, tolerance=0)
    return lambda: solver(batch).final


def autodiff(problem: Pose, batch: Batch) -> Solve:
    own = Pose(**problem.settings())
    own.jacobian = functools.partial(LeastSquares.jacobian, own)  # type: ignore[method-assign]
    own.normal_equations = functools.partial(LeastSquares.normal_equations, own)  # type: ignore[method-assign]
    return analytic(own, batch)


def scipy_lm(problem: Pose, batch: Batch) -> Solve:
    """MINPACK with its own differences, as many evaluations as ten iterations need, on residuals in numpy."""
    known, seen, start = (value.double().numpy() for value in (batch["points"], batch["projections"], problem.initial(batch)))

    def residual(delta: Any, first: Any, points: Any, pixels: Any) -> Any:
        turn = Rotation.from_rotvec(delta[:3]).as_matrix() @ first[:9].reshape(3, 3)
        placed = points @ turn.T + (first[9:] + delta[3:])
        return (placed[:, :2] / placed[:, 2:] - pixels).ravel()

    def solve() -> Tensor:
        found = []
        for first, points, pixels in zip(start, known, seen):
            limit = STEPS * 7
            delta = least_squares(residual, np.zeros(6), method="lm", max_nfev=limit, args=(first, points, pixels)).x
            turn = Rotation.from_rotvec(delta[:3]).as_matrix() @ first[:9].reshape(3, 3)
            found.append(np.concatenate([turn.ravel(), first[9:] + delta[3:]]))
        return torch.from_numpy(np.stack(found))

    return solve


def theseus_lm(problem: Pose, batch: Batch) -> Solve:
    th = pytest.importorskip("theseus", reason="theseus-ai is not installed", exc_type=ImportError)
    known, seen, start = batch["points"], batch["projections"], problem.initial(batch)

    def error(optim_vars: Any, aux_vars: Any) -> Tensor:
        (pose,), (points, pixels) = optim_vars, aux_vars
        placed = pose.tensor[:, :, :3] @ points.tensor.mT + pose.tensor[:, :, 3:]
        return ((placed[:, :2] / placed[:, 2:]).mT - pixels.tensor).flatten(1)

    pose = th.SE3(name="pose", dtype=start.dtype)
    fixed = [th.Variable(known, name="points"), th.Variable(seen, name="pixels")]
    objective = th.Objective(dtype=start.dtype)
    objective.add(th.AutoDiffCostFunction([pose], error, 2 * known.shape[1], aux_vars=fixed, autograd_mode="vmap"))
    tolerances = {"abs_err_tolerance": 0.0, "rel_err_tolerance": 0.0}
    dense = th.CholeskyDenseSolver
    layer = th.TheseusLayer(th.LevenbergMarquardt(objective, linear_solver_cls=dense, max_iterations=STEPS, **tolerances))
    first = torch.cat([start[:, :9].unflatten(1, (3, 3)), start[:, 9:, None]], 2)

    def solve() -> Tensor:
        inputs = {"pose": first, "points": known, "pixels": seen}
        found = layer.forward(inputs, optimizer_kwargs={"damping": 1e-3, "adaptive_damping": True})[0]["pose"]
        return torch.cat([found[:, :, :3].flatten(1), found[:, :, 3]], 1)

    return solve


def pypose_lm(problem: Pose, batch: Batch) -> Solve:
    pp = pytest.importorskip("pypose", reason="pypose is not installed", exc_type=ImportError)
    known, seen, start = batch["points"], batch["projections"], problem.initial(batch)
    first = pp.mat2SE3(torch.cat([start[:, :9].unflatten(1, (3, 3)), start[:, 9:, None]], 2))

    class Camera(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pose = pp.Parameter(first.clone())

        def forward(self, points: Tensor, pixels: Tensor) -> Tensor:
            placed = self.pose.unsqueeze(1).Act(points)
            return placed[..., :2] / placed[..., 2:] - pixels

    def solve() -> Tensor:
        camera = Camera()
        solver = pp.optim.LM(camera, solver=pp.optim.solver.Cholesky(), strategy=pp.optim.strategy.TrustRegion())
        with torch.enable_grad():
            for _ in range(STEPS):
                solver.step(input=(known, seen))
        found = camera.pose.detach().matrix()
        return torch.cat([found[:, :3, :3].flatten(1), found[:, :3, 3]], 1)

    return solve


METHODS: Mapping[str, Callable[[Pose, Batch], Solve]] = {
    "ours, analytic": analytic,
    "ours, autodiff": autodiff,
    "scipy lm": scipy_lm,
    "theseus-ai": theseus_lm,
    "pypose": pypose_lm,
}

SIZES = {"scipy lm": (1, 64), "pypose": (1, 64)}
"""scipy gains nothing from a batch, and pypose solves all problems of a batch as one."""


@pytest.fixture
def problem() -> Pose:
    return Pose("varying", num_points=20, outliers=0.0, robust=0.0)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(threads)


def poses(problem: Pose, count: int) -> Batch:
    return problem.simulate(count, torch.Generator().manual_seed(0), torch.full((count,), LEVEL))


@pytest.mark.parametrize(
    ("method", "size"), [(method, size) for method in METHODS for size in SIZES.get(method, (1, 64, 1024))]
)
def test_throughput(benchmark: BenchmarkFixture, facts: dict[str, Any], problem: Pose, method: str, size: int) -> None:
    batch = poses(problem, size)
    solve = METHODS[method](problem, batch)
    found = benchmark.pedantic(solve, rounds=5, warmup_rounds=1)
    error = problem.error(found.to(batch["pose"]), batch).median().item()
    per_second = size / benchmark.stats.stats.median
    benchmark.extra_info.update(facts, batch=size, steps=STEPS, degrees=error, problems_per_second=per_second)
    print(f"\n{method}, batch of {size}: {per_second:,.0f} problems a second, median error {error:.2f} degrees")
    assert error < 2


@pytest.mark.parametrize(("other", "times"), [("theseus-ai", 5), ("scipy lm", 20)])
def test_ours_is_faster(benchmark: BenchmarkFixture, facts: dict[str, Any], problem: Pose, other: str, times: float) -> None:
    """In one run, in turns: a ratio survives a noisy machine."""
    sizes = {"ours, analytic": 1024, other: max(SIZES.get(other, (1024,)))}
    solves = {method: METHODS[method](problem, poses(problem, size)) for method, size in sizes.items()}
    seconds: dict[str, list[float]] = {method: [] for method in solves}

    def both() -> None:
        for method, solve in solves.items():
            began = time.perf_counter()
            solve()
            seconds[method].append((time.perf_counter() - began) / sizes[method])

    benchmark.pedantic(both, rounds=5, warmup_rounds=1)
    ours, theirs = (statistics.median(values[1:]) for values in seconds.values())
    benchmark.extra_info.update(facts, times_faster=theirs / ours, other=other)
    print(f"\nours, analytic: {theirs / ours:.1f} times as many problems a second as {other}")
    assert theirs >= times * ours
