"""Plain functions from one start for all samples, by ``least_squares`` and by what ``learn`` makes.

``python -m benchmarks.problems.learning [--family sdm]`` prints for each the processor seconds of
the training, the share of new samples that either solves, with a cost at most 1 % above that from
the true parameters, and how often a sample asked for its residuals.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from learned_descent import learn, least_squares
from learned_descent.errors import check_whole
from learned_descent.files import write_json
from learned_descent.provenance import provenance
from learned_descent.system.text import lay_out

from .. import command

T = torch.linspace(0, 4, 40, dtype=torch.float64)
_NOISE = 0.02


class Curve(NamedTuple):
    """A curve to fit, and what its parameters are between.

    Attributes:
        of: the values at :data:`T`, of one ``x (p,)``.
        low: the least parameters.
        high: the largest ones.
    """

    of: Callable[[Tensor], Tensor]
    low: list[float]
    high: list[float]

    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        """What is left of one sample."""
        return self.of(x) - y

    def sampler(self, generator: Generator, count: int) -> tuple[Tensor, Tensor]:
        """Parameters and noisy values."""
        low, high = (torch.tensor(end, dtype=torch.float64) for end in (self.low, self.high))
        x = low + (high - low) * torch.rand(count, len(low), generator=generator, dtype=low.dtype)
        y = torch.vmap(self.of)(x)
        return x, y + _NOISE * torch.randn(y.shape, generator=generator, dtype=y.dtype)


def decay(x: Tensor) -> Tensor:
    return x[0] * torch.exp(-x[1].exp() * T)


def peak(x: Tensor) -> Tensor:
    return x[0] * torch.exp(-(((T - x[1]) / x[2]) ** 2))


def wave(x: Tensor) -> Tensor:
    return x[0] * torch.sin(x[1] * T + x[2])


CURVES: Mapping[str, Curve] = {
    "decay": Curve(decay, [1, -3], [3, 3]),
    "peak": Curve(peak, [0.5, 0, 0.1], [2.5, 4, 0.6]),
    "wave": Curve(wave, [1, 2, -1], [3, 5, 1]),
}


def measured(
    curve: Curve, family: str, count: int, seed: int, *, training: int = 4096
) -> dict[str, float]:
    """Seconds of the training, shares that are solved, and evaluations of a sample."""
    began = time.process_time()
    learned = learn(curve.residual, curve.sampler, family=family, count=training, seed=seed)
    seconds = time.process_time() - began
    x, y = curve.sampler(Generator().manual_seed(seed + 1), count)
    enough = 1.01 * least_squares(curve.residual, x, y).cost
    found = {
        "": least_squares(curve.residual, learned.problem.start, y),
        "learned, ": learned.fit(y),
    }
    row = {"training s": seconds}
    for name, one in found.items():
        row[f"{name}solved"] = float((one.cost <= enough).double().mean())
        row[f"{name}evaluations"] = float(one.evaluations.double().mean())
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--seed", type=int, default=0, help="draws the samples")
    parser.add_argument("--count", type=int, default=1000, help="new samples of each curve")
    parser.add_argument("--family", default="sdm", help="what is trained")
    arguments = parser.parse_args()
    check_whole(arguments.count, name="--count")
    torch.set_num_threads(1)
    found = {
        name: measured(curve, arguments.family, arguments.count, arguments.seed)
        for name, curve in CURVES.items()
    }
    names = list(next(iter(found.values())))
    columns = [[name, *(f"{row[name]:.3g}" for row in found.values())] for name in names]
    print(f"\n{lay_out([[['', *found]], columns], ['', ''])}\n")
    print(f"{arguments.count} new samples each; {arguments.family}, torch {torch.__version__}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    settings = {"count": arguments.count, "family": arguments.family}
    write_json(
        arguments.out / "learning.json",
        {**provenance(arguments.seed, settings), "problems": found},
    )


if __name__ == "__main__":
    command(main)
