"""The five problems of ``from_scipy`` by jaxopt, optimistix, theseus and Ceres, as one writes them
there; each is imported by the function that uses it.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch

Solve: TypeAlias = Callable[[Any], Any]
"""Answers ``(B, p)`` to data ``(B, ...)``."""

T = np.linspace(0, 4, 40)


def jaxopt_decay() -> Solve:
    jnp = in_double()

    def decay(x: Any, y: Any) -> Any:
        return x[0] * jnp.exp(-x[1] * T) - y

    return jaxopt_solve(decay, [1, 1])


def jaxopt_ragged() -> Solve:
    jnp = in_double()

    def peak(x: Any, y: Any) -> Any:
        left = x[0] * jnp.exp(-((T - x[1]) ** 2) / (2 * x[2] ** 2)) - y
        return jnp.where(jnp.isnan(y), 0, left)

    return jaxopt_solve(peak, [1, 2, 1])


def jaxopt_circle() -> Solve:
    jnp = in_double()

    def circle(x: Any, points: Any) -> Any:
        return jnp.linalg.norm(points - x[:2], axis=1) - x[2]

    return jaxopt_solve(circle, [0, 0, 1])


def optimistix_decay() -> Solve:
    jnp = in_double()

    def decay(x: Any, y: Any) -> Any:
        return x[0] * jnp.exp(-x[1] * T) - y

    return optimistix_solve(decay, [1, 1])


def optimistix_ragged() -> Solve:
    jnp = in_double()

    def peak(x: Any, y: Any) -> Any:
        left = x[0] * jnp.exp(-((T - x[1]) ** 2) / (2 * x[2] ** 2)) - y
        return jnp.where(jnp.isnan(y), 0, left)

    return optimistix_solve(peak, [1, 2, 1])


def optimistix_circle() -> Solve:
    jnp = in_double()

    def circle(x: Any, points: Any) -> Any:
        return jnp.linalg.norm(points - x[:2], axis=1) - x[2]

    return optimistix_solve(circle, [0, 0, 1])


def theseus_decay() -> Solve:
    def decay(optim_vars: Any, aux_vars: Any) -> Any:
        x, y = optim_vars[0].tensor, aux_vars[0].tensor
        return x[:, :1] * torch.exp(-x[:, 1:] * torch.from_numpy(T)) - y

    return theseus_solve(decay, [1, 1])


def theseus_outliers() -> Solve:
    def line(optim_vars: Any, aux_vars: Any) -> Any:
        x, y = optim_vars[0].tensor, aux_vars[0].tensor
        return x[:, :1] + x[:, 1:] * torch.from_numpy(T) - y

    return theseus_solve(line, [0, 0], huber=0.1)


def theseus_ragged() -> Solve:
    def peak(optim_vars: Any, aux_vars: Any) -> Any:
        x, y = optim_vars[0].tensor, aux_vars[0].tensor
        away = torch.from_numpy(T) - x[:, 1:2]
        left = x[:, :1] * torch.exp(-(away**2) / (2 * x[:, 2:] ** 2)) - y
        return torch.where(y.isnan(), 0, left)

    return theseus_solve(peak, [1, 2, 1])


def theseus_circle() -> Solve:
    def circle(optim_vars: Any, aux_vars: Any) -> Any:
        x, points = optim_vars[0].tensor, aux_vars[0].tensor
        return torch.linalg.norm(points - x[:, None, :2], dim=2) - x[:, 2:]

    return theseus_solve(circle, [0, 0, 1])


def ceres_decay() -> Solve:
    def decay(x: Any, y: Any) -> Any:
        wave = np.exp(-x[1] * T)
        return x[0] * wave - y, [wave, -x[0] * T * wave]

    return ceres_solve(decay, [1, 1])


def ceres_bounds() -> Solve:
    def hill(x: Any, y: Any) -> Any:
        power, half = T ** x[2], x[1] ** x[2]
        logs = np.log(np.maximum(T, 1e-300))
        below = half + power
        slope = x[0] * power * half / below**2
        return x[0] * power / below - y, [
            power / below,
            -slope * x[2] / x[1],
            slope * (logs - np.log(x[1])),
        ]

    return ceres_solve(hill, [1, 1, 1.5], bounds=([0, 0.1, 1], [10, 10, 2]))


def ceres_outliers() -> Solve:
    def line(x: Any, y: Any) -> Any:
        return x[0] + x[1] * T - y, [np.ones(40), T]

    return ceres_solve(line, [0, 0], huber=0.1)


def ceres_ragged() -> Solve:
    def peak(x: Any, y: Any) -> Any:
        away = T - x[1]
        wave = np.exp(-(away**2) / (2 * x[2] ** 2))
        wave = np.where(np.isnan(y), 0, wave)
        slopes = [wave, x[0] * wave * away / x[2] ** 2, x[0] * wave * away**2 / x[2] ** 3]
        return np.where(np.isnan(y), 0, x[0] * wave - y), slopes

    return ceres_solve(peak, [1, 2, 1])


def ceres_circle() -> Solve:
    def circle(x: Any, points: Any) -> Any:
        away = points - x[:2]
        far = np.linalg.norm(away, axis=1)
        return far - x[2], [-away[:, 0] / far, -away[:, 1] / far, -np.ones(40)]

    return ceres_solve(circle, [0, 0, 1])


def in_double() -> Any:
    quietly("jax").config.update("jax_enable_x64", True)
    return quietly("jax.numpy")


def jaxopt_solve(residual: Any, start: list[float]) -> Solve:
    solver = quietly("jaxopt").LevenbergMarquardt(residual, maxiter=200, tol=1e-10)
    return compiled(lambda x, row: solver.run(x, row).params, start)


def optimistix_solve(residual: Any, start: list[float]) -> Solve:
    optx = quietly("optimistix")
    solver = optx.LevenbergMarquardt(rtol=1e-10, atol=1e-10)

    def solve(x: Any, row: Any) -> Any:
        found = optx.least_squares(residual, solver, x, row, max_steps=200, throw=False)
        return found.value

    return compiled(solve, start)


def compiled(solve: Any, start: list[float]) -> Solve:
    jax, x = quietly("jax"), np.array(start, dtype=float)
    whole = jax.jit(jax.vmap(solve, in_axes=(None, 0)))
    return lambda y: np.asarray(whole(x, y))


def theseus_solve(residual: Any, start: list[float], *, huber: float | None = None) -> Solve:
    logging.getLogger("theseus").setLevel(logging.ERROR)
    th, one = quietly("theseus"), torch.ones(1, 1, dtype=torch.float64)

    def solve(y: Any) -> Any:
        starts = torch.tensor(start, dtype=one.dtype).repeat(len(y), 1)
        x, values = th.Vector(tensor=starts, name="x"), th.Variable(torch.from_numpy(y), name="y")
        weight = th.ScaleCostWeight(one)
        cost = th.AutoDiffCostFunction([x], residual, 40, cost_weight=weight, aux_vars=[values])
        if huber:
            radius = th.Variable(2 * np.log(huber) * one, name="radius")
            cost = th.RobustCostFunction(cost, th.HuberLoss, radius, flatten_dims=True)
        objective = th.Objective(dtype=one.dtype)
        objective.add(cost)
        layer = th.TheseusLayer(th.LevenbergMarquardt(objective, max_iterations=200))
        with torch.no_grad():
            found, _ = layer.forward({"x": starts}, {"damping": 0.1})
        return found["x"].numpy()

    return solve


def ceres_solve(
    residual: Any, start: list[float], *, bounds: Any = None, huber: float | None = None
) -> Solve:
    ceres = quietly("pyceres")

    class Cost(ceres.CostFunction):  # type: ignore[misc, name-defined]
        def __init__(self, row: Any, places: list[int]) -> None:
            super().__init__()
            self.row, self.places = row, places
            self.set_num_residuals(len(places))
            self.set_parameter_block_sizes([len(start)])

        def Evaluate(self, parameters: Any, residuals: Any, jacobians: Any) -> bool:  # noqa: N802
            left, slopes = residual(parameters[0], self.row)
            residuals[:] = left[self.places]
            if jacobians is not None:
                jacobians[0][:] = np.stack(slopes, 1)[self.places].ravel()
            return True

    options = ceres.SolverOptions()
    options.max_num_iterations, options.num_threads, options.function_tolerance = 200, 1, 1e-10
    # A loss is one of a block: where there is one, each residual is a block of its own
    blocks = [[place] for place in range(40)] if huber else [list(range(40))]

    def solve_one(row: Any) -> Any:
        x, problem = np.array(start, dtype=float), ceres.Problem()
        for places in blocks:
            loss = ceres.HuberLoss(huber) if huber else ceres.TrivialLoss()
            problem.add_residual_block(Cost(row, places), loss, [x])
        for place, (low, high) in enumerate(zip(*bounds) if bounds else ()):
            problem.set_parameter_lower_bound(x, place, low)
            problem.set_parameter_upper_bound(x, place, high)
        ceres.solve(options, problem, ceres.SolverSummary())
        return x

    return lambda y: np.stack([solve_one(row) for row in y])


def quietly(module: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(module)


MODULES: Mapping[str, str] = {
    "theseus": "theseus",
    "Ceres": "pyceres",
    "jaxopt": "jaxopt",
    "optimistix": "optimistix",
}
"""What is imported for each."""

SOLVED: Mapping[str, Mapping[str, Callable[[], Solve]]] = {
    "decay": {
        "theseus": theseus_decay,
        "Ceres": ceres_decay,
        "jaxopt": jaxopt_decay,
        "optimistix": optimistix_decay,
    },
    "Hill curve in bounds": {"Ceres": ceres_bounds},
    "line with outliers": {"theseus": theseus_outliers, "Ceres": ceres_outliers},
    "peak, ragged": {
        "theseus": theseus_ragged,
        "Ceres": ceres_ragged,
        "jaxopt": jaxopt_ragged,
        "optimistix": optimistix_ragged,
    },
    "circle": {
        "theseus": theseus_circle,
        "Ceres": ceres_circle,
        "jaxopt": jaxopt_circle,
        "optimistix": optimistix_circle,
    },
}
"""What makes a solver, by problem and library; where one is missing, it has no such thing."""
