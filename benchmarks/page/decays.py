"""Exponential decays, one after the other by scipy and at once by the others."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from learned_descent import least_squares

from ..problems.from_scipy import PAIRS, T
from .peers import peer
from .races import Race, Turn, clocked

SIZES = 1, 1024, 10_000


def cosine(y: Any, x: Any) -> float:
    """The largest cosine between the residuals of a sample and their derivative along a
    parameter: zero where all are at their minimum."""
    x = np.asarray(x)
    wave = np.exp(-x[:, 1:] * T)
    residual = x[:, :1] * wave - y
    slopes = np.stack([wave, -x[:, :1] * T * wave], 1)
    lengths = np.linalg.norm(slopes, axis=2) * np.linalg.norm(residual, axis=1, keepdims=True)
    return float(np.abs(np.einsum("bpm,bm->bp", slopes, residual) / lengths).max())


def ours(y: Any) -> Turn:
    def decay(x: Any, y: Any) -> Any:
        return x[0] * torch.exp(-x[1] * times) - y

    times = torch.from_numpy(T)
    return clocked(lambda: least_squares(decay, [1, 1], y).x)


def scipy(y: Any) -> Turn:
    peer("scipy")
    return clocked(lambda: PAIRS["decay"].scipy(y)[0])


def jaxopt(y: Any) -> Turn:
    solver = peer("jaxopt").LevenbergMarquardt(_decay(), maxiter=200, tol=1e-10)
    return _compiled(lambda start, row: solver.run(start, row).params, y)


def optimistix(y: Any) -> Turn:
    optx, decay = peer("optimistix"), _decay()
    solver = optx.LevenbergMarquardt(rtol=1e-10, atol=1e-10)

    def solve(start: Any, row: Any) -> Any:
        found = optx.least_squares(decay, solver, start, args=row, max_steps=200, throw=False)
        return found.value

    return _compiled(solve, y)


def _decay() -> Any:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    times = jnp.asarray(T)
    return lambda x, y: x[0] * jnp.exp(-x[1] * times) - y


def _compiled(solve: Any, y: Any) -> Turn:
    """A function of a start and the values of a sample, compiled for all samples at once."""
    import jax
    import jax.numpy as jnp

    start, values = jnp.ones(2), jnp.asarray(y)
    whole = jax.jit(jax.vmap(solve, in_axes=(None, 0)))
    return clocked(lambda: whole(start, values).block_until_ready())


def races(seed: int) -> Iterator[Race]:
    for size in SIZES:
        y = PAIRS["decay"].data(np.random.default_rng(seed), size)
        makers = {"ours": ours, "scipy": scipy, "jaxopt": jaxopt, "optimistix": optimistix}
        yield Race(
            "Exponential decays in double precision",
            size,
            {
                name: partial(make, y)
                for name, make in makers.items()
                if size <= 1024 or name != "scipy"  # which gains nothing from a batch
            },
            metric="largest cosine",
            error=partial(cosine, y),
        )
