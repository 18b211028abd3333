"""Poses of clean points by ten iterations of Levenberg-Marquardt, from the same starts, 45 degrees
and 0.4 object sizes away."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from types import MethodType
from typing import Any, TypeAlias

import numpy as np
import torch
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation
from torch import Tensor

from learned_descent import LeastSquares
from learned_descent.data.samples import Batch
from learned_descent.problems import Pose
from learned_descent.solvers import LevenbergMarquardt

from .peers import peer
from .races import Race, Turn, clocked

STEPS = 10

Solve: TypeAlias = Callable[[], Tensor]
"""Solves all problems of a batch: poses ``(B, 12)``."""


def analytic(problem: Pose, batch: Batch) -> Solve:
    solver = LevenbergMarquardt(problem, num_steps=STEPS, tolerance=0)
    return lambda: solver(batch).final


def autodiff(problem: Pose, batch: Batch) -> Solve:
    own = Pose(**problem.settings())
    for name in ("jacobian", "linearized", "normal_equations"):
        setattr(own, name, MethodType(getattr(LeastSquares, name), own))
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
    th = peer("theseus-ai")
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
    pp = peer("pypose")
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
    "ours": analytic,
    "ours, autodiff": autodiff,
    "scipy": scipy_lm,
    "theseus-ai": theseus_lm,
    "pypose": pypose_lm,
}

SIZES = 1, 64, 1024

SMALL = "scipy", "pypose"
"""scipy gains nothing from a batch, and pypose solves all problems of a batch as one."""


def _turn(make: Callable[[Pose, Batch], Solve], problem: Pose, batch: Batch) -> Turn:
    solve = make(problem, batch)
    with torch.no_grad():
        return clocked(torch.no_grad()(solve))


def races(seed: int) -> Iterator[Race]:
    problem = Pose("varying", num_points=20, outliers=0.0, robust=0.0)
    for size in SIZES:
        levels = torch.full((size,), 0.5)
        batch = problem.simulate(size, torch.Generator().manual_seed(seed), levels)

        def error(found: Tensor, batch: Batch = batch) -> float:
            return problem.error(found.to(batch["pose"]), batch).median().item()

        yield Race(
            "Poses of 20 points",
            size,
            {
                name: functools.partial(_turn, make, problem, batch)
                for name, make in METHODS.items()
                if size <= 64 or name not in SMALL
            },
            metric="median error (degrees)",
            error=error,
        )
