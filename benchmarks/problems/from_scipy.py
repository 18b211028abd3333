"""Five problems by ``least_squares`` in one call, by scipy in a loop, and by the peers that are
installed, side by side.

``python -m benchmarks.problems.from_scipy [--count 500]`` prints for each problem and library the
lines of code, the processor seconds, and the share of samples whose cost is no higher than the
lowest of all, to one part in a million. A first call, which compiles, is not timed.
"""

from __future__ import annotations

import argparse
import inspect
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize
import torch

from learned_descent import least_squares
from learned_descent.errors import check_whole
from learned_descent.files import write_json
from learned_descent.kernels import Huber
from learned_descent.provenance import provenance
from learned_descent.system.text import lay_out

from .. import command
from .five_by_peers import MODULES, SOLVED

T = np.linspace(0, 4, 40)


def scipy_decay(y: Any) -> Any:
    def decay(x: Any, y: Any) -> Any:
        return x[0] * np.exp(-x[1] * T) - y

    found = [scipy.optimize.least_squares(decay, [1, 1], args=(row,)) for row in y]
    return [one.x for one in found], [one.cost for one in found]


def our_decay(y: Any) -> Any:
    def decay(x: Any, y: Any) -> Any:
        return x[0] * torch.exp(-x[1] * torch.from_numpy(T)) - y

    found = least_squares(decay, [1, 1], y)
    return found.x, found.cost


def scipy_bounds(y: Any) -> Any:
    def hill(x: Any, y: Any) -> Any:
        return x[0] * T ** x[2] / (x[1] ** x[2] + T ** x[2]) - y

    bounds = ([0, 0.1, 1], [10, 10, 2])
    found = [
        scipy.optimize.least_squares(hill, [1, 1, 1.5], bounds=bounds, args=(row,)) for row in y
    ]
    return [one.x for one in found], [one.cost for one in found]


def our_bounds(y: Any) -> Any:
    def hill(x: Any, y: Any) -> Any:
        t = torch.from_numpy(T)
        return x[0] * t ** x[2] / (x[1] ** x[2] + t ** x[2]) - y

    found = least_squares(hill, [1, 1, 1.5], y, bounds=([0, 0.1, 1], [10, 10, 2]))
    return found.x, found.cost


def scipy_outliers(y: Any) -> Any:
    def line(x: Any, y: Any) -> Any:
        return x[0] + x[1] * T - y

    found = [
        scipy.optimize.least_squares(line, [0, 0], loss="huber", f_scale=0.1, args=(row,))
        for row in y
    ]
    return [one.x for one in found], [one.cost for one in found]


def our_outliers(y: Any) -> Any:
    def line(x: Any, y: Any) -> Any:
        return x[0] + x[1] * torch.from_numpy(T) - y

    found = least_squares(line, [0, 0], y, kernel=Huber(0.1))
    return found.x, found.cost


def scipy_ragged(y: Any) -> Any:
    def peak(x: Any, t: Any, y: Any) -> Any:
        return x[0] * np.exp(-((t - x[1]) ** 2) / (2 * x[2] ** 2)) - y

    kept = [(T[~np.isnan(row)], row[~np.isnan(row)]) for row in y]
    found = [scipy.optimize.least_squares(peak, [1, 2, 1], args=pair) for pair in kept]
    return [one.x for one in found], [one.cost for one in found]


def our_ragged(y: Any) -> Any:
    def peak(x: Any, y: Any) -> Any:
        return x[0] * torch.exp(-((torch.from_numpy(T) - x[1]) ** 2) / (2 * x[2] ** 2)) - y

    found = least_squares(peak, [1, 2, 1], y, mask=~np.isnan(y))
    return found.x, found.cost


def scipy_circle(y: Any) -> Any:
    def circle(x: Any, points: Any) -> Any:
        return np.linalg.norm(points - x[:2], axis=1) - x[2]

    found = [scipy.optimize.least_squares(circle, [0, 0, 1], args=(row,)) for row in y]
    return [one.x for one in found], [one.cost for one in found]


def our_circle(y: Any) -> Any:
    def circle(x: Any, points: Any) -> Any:
        return torch.linalg.norm(points - x[:2], dim=1) - x[2]

    found = least_squares(circle, [0, 0, 1], y)
    return found.x, found.cost


class Pair(NamedTuple):
    """One problem in both libraries, and its data: what a generator and a number of samples make.

    Attributes:
        scipy: answers and costs by scipy.
        ours: the same by this library.
        data: the samples ``(B, ...)``.
    """

    scipy: Callable[[Any], Any]
    ours: Callable[[Any], Any]
    data: Callable[[np.random.Generator, int], Any]


def _column(draw: np.random.Generator, count: int, low: float, high: float) -> Any:
    return draw.uniform(low, high, (count, 1))


def _noisy(draw: np.random.Generator, y: Any) -> Any:
    return y + 0.05 * draw.normal(size=y.shape)


def _decays(draw: np.random.Generator, count: int) -> Any:
    rate = _column(draw, count, 0.3, 2)
    return _noisy(draw, _column(draw, count, 1, 3) * np.exp(-rate * T))


def _hills(draw: np.random.Generator, count: int) -> Any:
    half, power = _column(draw, count, 0.5, 2), _column(draw, count, 1, 3)
    return _noisy(draw, 3 * T**power / (half**power + T**power))


def _lines(draw: np.random.Generator, count: int) -> Any:
    y = _noisy(draw, _column(draw, count, -1, 1) + _column(draw, count, -1, 1) * T)
    return y + 5 * (draw.uniform(size=y.shape) < 0.1)


def _peaks(draw: np.random.Generator, count: int) -> Any:
    centre, width = _column(draw, count, 1.5, 2.5), _column(draw, count, 0.4, 1)
    y = _noisy(draw, 2 * np.exp(-((T - centre) ** 2) / (2 * width**2)))
    return np.where(np.arange(40) < draw.integers(30, 41, (count, 1)), y, np.nan)


def _circles(draw: np.random.Generator, count: int) -> Any:
    angle = draw.uniform(0, 2 * np.pi, (count, 40))
    points = np.stack([np.cos(angle), np.sin(angle)], 2) * _column(draw, count, 1, 3)[..., None]
    return _noisy(draw, points + draw.uniform(-1, 1, (count, 1, 2)))


PAIRS: Mapping[str, Pair] = {
    "decay": Pair(scipy_decay, our_decay, _decays),
    "Hill curve in bounds": Pair(scipy_bounds, our_bounds, _hills),
    "line with outliers": Pair(scipy_outliers, our_outliers, _lines),
    "peak, ragged": Pair(scipy_ragged, our_ragged, _peaks),
    "circle": Pair(scipy_circle, our_circle, _circles),
}


def _half(left: Any) -> Any:
    return (np.nan_to_num(left) ** 2).sum(1) / 2


def _huber(left: Any) -> Any:
    far = np.abs(left)
    return np.where(far <= 0.1, far**2 / 2, 0.1 * (far - 0.05)).sum(1)


def _hill(x: Any) -> Any:
    return x[:, :1] * T ** x[:, 2:] / (x[:, 1:2] ** x[:, 2:] + T ** x[:, 2:])


def _peak(x: Any) -> Any:
    return x[:, :1] * np.exp(-((T - x[:, 1:2]) ** 2) / (2 * x[:, 2:] ** 2))


COSTS: Mapping[str, Callable[[Any, Any], Any]] = {
    "decay": lambda x, y: _half(x[:, :1] * np.exp(-x[:, 1:] * T) - y),
    "Hill curve in bounds": lambda x, y: _half(_hill(x) - y),
    "line with outliers": lambda x, y: _huber(x[:, :1] + x[:, 1:] * T - y),
    "peak, ragged": lambda x, y: _half(_peak(x) - y),
    "circle": lambda x, y: _half(np.linalg.norm(y - x[:, None, :2], axis=2) - x[:, 2:]),
}
"""The costs ``(B,)`` of answers ``(B, p)`` to data."""


def lines_of(function: Callable[..., Any]) -> int:
    """The lines of code of a function that are not blank."""
    return sum(bool(line.strip()) for line in inspect.getsource(function).splitlines())


class Way(NamedTuple):
    """How a library solves a problem.

    Attributes:
        source: the function whose lines count.
        solve: gives ``x (B, p)`` for the data ``(B, ...)``.
    """

    source: Callable[..., Any]
    solve: Callable[[Any], Any]


def ways(name: str) -> dict[str, Way]:
    """The libraries that solve a problem here: those that are installed, and have what it needs."""
    pair = PAIRS[name]
    found = {
        "ours": Way(pair.ours, lambda y: pair.ours(y)[0]),
        "scipy": Way(pair.scipy, lambda y: np.stack(pair.scipy(y)[0])),
    }
    for library, make in SOLVED[name].items():
        if find_spec(MODULES[library]):
            found[library] = Way(make, make())
    return found


def measured(name: str, count: int, seed: int) -> dict[str, dict[str, float]]:
    """Lines, processor seconds, and the share of costs no higher than the lowest, by library."""
    data = PAIRS[name].data(np.random.default_rng(seed), count)
    found, costs = {}, {}
    for library, way in ways(name).items():
        way.solve(data)
        began = time.process_time()
        x = way.solve(data)
        seconds = time.process_time() - began
        found[library] = {"lines": lines_of(way.source), "seconds": seconds}
        costs[library] = np.nan_to_num(COSTS[name](np.asarray(x), data), nan=np.inf)
    least = np.min(list(costs.values()), 0) * (1 + 1e-6)
    for library, cost in costs.items():
        found[library]["as low"] = float((cost <= least).mean())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--seed", type=int, default=0, help="draws the samples")
    parser.add_argument("--count", type=int, default=500, help="samples of each problem")
    arguments = parser.parse_args()
    check_whole(arguments.count, name="--count", least=2)
    torch.set_num_threads(1)
    found = {name: measured(name, arguments.count, arguments.seed) for name in PAIRS}
    for name, rows in found.items():
        figures = [
            [what, *(f"{row[what]:.3g}" for row in rows.values())]
            for what in ("lines", "seconds", "as low")
        ]
        print(lay_out([[[name, *rows]], figures], ["", ""]))
    missing = [library for library, module in MODULES.items() if not find_spec(module)]
    print(f"\n{arguments.count} samples each; scipy {scipy.__version__}, torch {torch.__version__}")
    if missing:
        print(f"not installed: {', '.join(missing)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_json(
        arguments.out / "from_scipy.json",
        {**provenance(arguments.seed, {"count": arguments.count}), "problems": found},
    )


if __name__ == "__main__":
    command(main)
