"""Throughput of Levenberg-Marquardt: problems solved a second on one thread, against scipy,
theseus-ai and pypose.

Every method takes ten iterations on the same clean poses (20 points, which differ from sample to
sample), from the same starts. The row ``scipy`` of a comparison is set beside scipy on the same
residuals in numpy, with scipy's defaults. theseus-ai and pypose are measured where they are
installed.
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
from learned_descent.data.samples import Batch
from learned_descent.problems import Pose
from learned_descent.problems.curves import TwoExponentials
from learned_descent.solvers import LevenbergMarquardt, ScipyLeastSquares

# Of theseus-ai, under today's numpy
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

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
    """MINPACK with its own differences, as many evaluations as ten iterations need, on residuals in
    numpy."""
    known, seen, start = (
        value.double().numpy()
        for value in (batch["points"], batch["projections"], problem.initial(batch))
    )

    def residual(delta: Any, first: Any, points: Any, pixels: Any) -> Any:
        turn = Rotation.from_rotvec(delta[:3]).as_matrix() @ first[:9].reshape(3, 3)
        placed = points @ turn.T + (first[9:] + delta[3:])
        return (placed[:, :2] / placed[:, 2:] - pixels).ravel()

    def solve() -> Tensor:
        found = []
        for first, points, pixels in zip(start, known, seen):
            limit = STEPS * 7
            delta = least_squares(
                residual, np.zeros(6), method="lm", max_nfev=limit, args=(first, points, pixels)
            ).x
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
    objective.add(
        th.AutoDiffCostFunction(
            [pose], error, 2 * known.shape[1], aux_vars=fixed, autograd_mode="vmap"
        )
    )
    tolerances = {"abs_err_tolerance": 0.0, "rel_err_tolerance": 0.0}
    dense = th.CholeskyDenseSolver
    layer = th.TheseusLayer(
        th.LevenbergMarquardt(
            objective, linear_solver_cls=dense, max_iterations=STEPS, **tolerances
        )
    )
    first = torch.cat([start[:, :9].unflatten(1, (3, 3)), start[:, 9:, None]], 2)

    def solve() -> Tensor:
        inputs = {"pose": first, "points": known, "pixels": seen}
        found = layer.forward(inputs, optimizer_kwargs={"damping": 1e-3, "adaptive_damping": True})[
            0
        ]["pose"]
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
        solver = pp.optim.LM(
            camera, solver=pp.optim.solver.Cholesky(), strategy=pp.optim.strategy.TrustRegion()
        )
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
def without_gradients(one_thread: None) -> Iterator[None]:
    with torch.no_grad():
        yield


def poses(problem: Pose, count: int) -> Batch:
    return problem.simulate(count, torch.Generator().manual_seed(0), torch.full((count,), LEVEL))


@pytest.mark.parametrize(
    ("method", "size"),
    [(method, size) for method in METHODS for size in SIZES.get(method, (1, 64, 1024))],
)
def test_throughput(
    benchmark: BenchmarkFixture, facts: dict[str, Any], problem: Pose, method: str, size: int
) -> None:
    batch = poses(problem, size)
    solve = METHODS[method](problem, batch)
    found = benchmark.pedantic(solve, rounds=5, warmup_rounds=1)
    error = problem.error(found.to(batch["pose"]), batch).median().item()
    per_second = size / benchmark.stats.stats.median
    benchmark.extra_info.update(
        facts, batch=size, steps=STEPS, degrees=error, problems_per_second=per_second
    )
    print(
        f"\n{method}, batch of {size}: {per_second:,.0f} problems a second, median error "
        f"{error:.2f} degrees"
    )
    assert error < 2


@pytest.mark.parametrize(("other", "times"), [("theseus-ai", 5), ("scipy lm", 20)])
def test_ours_is_faster(
    benchmark: BenchmarkFixture, facts: dict[str, Any], problem: Pose, other: str, times: float
) -> None:
    """In one run, in turns: a ratio survives a noisy machine."""
    sizes = {"ours, analytic": 1024, other: max(SIZES.get(other, (1024,)))}
    solves = {
        method: METHODS[method](problem, poses(problem, size)) for method, size in sizes.items()
    }
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
