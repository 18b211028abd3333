"""Twenty bounded problems of the literature: residuals of one sample, a start, and bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.problems.convergence import FAMILIES

INF = math.inf


class Bounded(NamedTuple):
    residual: Callable[[Tensor], Tensor]
    x0: list[float]
    low: list[float]
    high: list[float]


def of(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def rosenbrock(x: Tensor) -> Tensor:
    return torch.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]])


def beale(x: Tensor) -> Tensor:
    powers = torch.stack([x[1], x[1] ** 2, x[1] ** 3])
    return of(1.5, 2.25, 2.625) - x[0] * (1 - powers)


def powell(x: Tensor) -> Tensor:
    return torch.stack(
        [
            x[0] + 10 * x[1],
            math.sqrt(5) * (x[2] - x[3]),
            (x[1] - 2 * x[2]) ** 2,
            math.sqrt(10) * (x[0] - x[3]) ** 2,
        ]
    )


def wood(x: Tensor) -> Tensor:
    return torch.stack(
        [
            10 * (x[1] - x[0] ** 2),
            1 - x[0],
            math.sqrt(90) * (x[3] - x[2] ** 2),
            1 - x[2],
            math.sqrt(10) * (x[1] + x[3] - 2),
            (x[1] - x[3]) / math.sqrt(10),
        ]
    )


def kowalik(x: Tensor) -> Tensor:
    u = of(4, 2, 1, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625)
    y = of(0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246)
    return y - x[0] * (u**2 + u * x[1]) / (u**2 + u * x[2] + x[3])


def box(x: Tensor) -> Tensor:
    t = 0.1 * torch.arange(1, 11, dtype=torch.float64)
    return torch.exp(-t * x[0]) - torch.exp(-t * x[1]) - x[2] * (torch.exp(-t) - torch.exp(-10 * t))


def jennrich(x: Tensor) -> Tensor:
    i = torch.arange(1, 11, dtype=torch.float64)
    return 2 + 2 * i - torch.exp(i * x[0]) - torch.exp(i * x[1])


def helix(x: Tensor) -> Tensor:
    angle = torch.atan2(x[1], x[0]) / (2 * math.pi)
    return torch.stack([10 * (x[2] - 10 * angle), 10 * (x[:2].norm() - 1), x[2]])


def freudenstein(x: Tensor) -> Tensor:
    return torch.stack(
        [
            -13 + x[0] + ((5 - x[1]) * x[1] - 2) * x[1],
            -29 + x[0] + ((x[1] + 1) * x[1] - 14) * x[1],
        ]
    )


def linear(x: Tensor) -> Tensor:
    places = torch.arange(12 * 8, dtype=torch.float64).unflatten(0, (12, 8))
    return (places**2).sin() @ x - places[:, 0].cos()


def curve(name: str) -> Callable[[Tensor], Tensor]:
    family = FAMILIES[name]
    y = family.samples(1, 0)["y"][0]
    return lambda x: family.curve(x.split(1), family.t) - y


PROBLEMS: Mapping[str, Bounded] = {
    "Rosenbrock, an end": Bounded(rosenbrock, [-1.2, 0.5], [-2, -2], [0.8, 2]),
    "Rosenbrock, a side": Bounded(rosenbrock, [-2.0, 2.0], [-INF, 1.5], [INF, INF]),
    "Rosenbrock, both": Bounded(rosenbrock, [2.0, 2.0], [1.1, 1.5], [3, 3]),
    "Beale": Bounded(beale, [1.0, 1.0], [0.6, 0.5], [10, 10]),
    "Powell": Bounded(powell, [3.0, -1.0, 0.0, 1.0], [0.1, -20, -20, -20], [100, 20, 20, 20]),
    "Wood": Bounded(wood, [-3.0, -1.0, -3.0, -1.0], [-100] * 4, [0, 10, 100, 100]),
    "Kowalik": Bounded(kowalik, [0.25, 0.39, 0.415, 0.39], [0, -1, 0.13, 0.12], [10, 12, 13, 12]),
    "Box": Bounded(box, [0.0, 10.0, 20.0], [0, 5, 0], [2, 9.5, 20]),
    "power": Bounded(curve("power"), [1.0, 1.0], [0, 0], [3, 1.4]),
    "Jennrich": Bounded(jennrich, [0.26, 0.4], [0.26, 0], [10, 20]),
    "Helix": Bounded(helix, [-1.0, 0.5, 0.5], [-100, -1, -1], [0.8, 1, 1]),
    "Freudenstein": Bounded(freudenstein, [0.5, -1.0], [0, -20], [20, -0.9]),
    "linear": Bounded(linear, [0.0] * 8, [-0.1] * 8, [0.2] * 8),
    "linear, no less than 0": Bounded(linear, [1.0] * 8, [0] * 8, [INF] * 8),
    "growth": Bounded(curve("growth"), [0.3, 4.0], [0.1, 2.5], [2, 50]),
    "decay with offset": Bounded(
        curve("decay with offset"), [1.0, 1.0, 0.0], [0, 0, 0], [10, 5, 0.9]
    ),
    "peak": Bounded(curve("peak"), [1.0, 0.0, 1.0, 0.5], [0, -1, 1, -1], [5, 1, 3, 1]),
    "Hill": Bounded(curve("Hill"), [3.0, 1.0, 1.0], [0, 0.1, 0.5], [4.5, 10, 5]),
    "Bard": Bounded(curve("Bard"), [1.0, 1.0, 1.0], [0.1, 0, 0], [50, 100, 50]),
    "two decays": Bounded(
        curve("two decays"), [1.0, 1.0, 1.0, 2.0], [0, 0.5, 0, 1], [9, 9, 2.5, 9]
    ),
}
