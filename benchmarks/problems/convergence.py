"""Whether CONVERGED is true: eleven families of curves, 200 random starts each, in every precision.

``python -m benchmarks.problems.convergence [--count 200]`` solves each family from the same starts
by Levenberg-Marquardt in float32, in float64 and with ``double=True`` on data in float32, and by
scipy's ``lm`` with a scaled Jacobian in float64. A sample counts as

* *right*, when its cost is within a thousandth of the lowest one that any of them, or scipy from
  the truth, found;
* *false*, when it says CONVERGED while a lower cost is known, and the cosine between its residuals
  and what a step can change, by a QR decomposition in float64, is above .1.

References:
    Y. Bard. Comparison of gradient methods for the solution of nonlinear parameter estimation
    problems. SIAM J. Numer. Anal. 7, 1970.

    R. Meyer. Theoretical and computational aspects of nonlinear regression. Nonlinear Programming,
    1970.

    M. Osborne. Some aspects of nonlinear least squares calculations. Numerical Methods for
    Nonlinear Optimization, 1972.

    J. Moré, B. Garbow and K. Hillstrom. Testing unconstrained optimization software. ACM TOMS 7,
    1981 (their data).

    D. Bates and D. Watts. A relative offset orthogonality convergence criterion for nonlinear least
    squares. Technometrics 23, 1981 (the cosine).
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import least_squares
from torch import Generator, Tensor

from learned_descent import DescentError, LeastSquares, Observation
from learned_descent.data.samples import Batch, Split
from learned_descent.files import write_json
from learned_descent.provenance import provenance
from learned_descent.solvers import LevenbergMarquardt, Solver, Status
from learned_descent.system.text import lay_out

from .. import command

STEPS = 500
"""The largest number of steps, and the number of evaluations that scipy may use."""

RIGHT = 1e-3
"""How far above the lowest known cost, relative to it, a cost may be to count as right."""

COSINE = 0.1
"""The cosine above which a sample has not converged."""

Curve = Callable[[Sequence[Tensor], Tensor], Tensor]
"""The response at ``t (N,)`` given each parameter as a column ``(B, 1)``."""


@dataclass(frozen=True)
class Family:
    """Curves of one kind, and where their fits start.

    Attributes:
        curve: the response.
        t: where it is observed, ``(N,)`` or what the curve makes of it.
        truth: the parameters of the curve, or the best ones that are published.
        low: the lower ends of the starts.
        high: the upper ends of the starts; between ends above zero whose ratio is 100 or more
            starts are drawn evenly in the logarithm.
        noise: its standard deviation, relative to the response; ``None`` where ``y`` is given.
        y: the observations that were published.
    """

    curve: Curve
    t: Tensor
    truth: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    noise: float | None = 0.01
    y: Sequence[float] | None = None

    def samples(self, count: int, seed: int) -> dict[str, Tensor]:
        """``count`` starts ``(B, p)`` and observations ``(B, N)``, in float64."""
        draw = Generator().manual_seed(seed)
        low, high = (torch.tensor(ends, dtype=torch.float64) for ends in (self.low, self.high))
        share = torch.rand(count, len(low), generator=draw, dtype=torch.float64)
        even = low + share * (high - low)
        wide = (low > 0) & (high >= 100 * low)
        spread = low.clamp(min=1e-300) * (high / low.where(wide, 1)).clamp(min=1) ** share
        truth = torch.tensor(self.truth, dtype=torch.float64).expand(count, -1)
        clean = self.curve(truth.split(1, 1), self.t)
        if self.y is not None:
            y = torch.tensor(self.y, dtype=torch.float64).expand(count, -1)
        else:
            y = clean * (
                1
                + (self.noise or 0.0)
                * torch.randn(clean.shape, generator=draw, dtype=torch.float64)
            )
        return {"start": torch.where(wide, spread, even), "truth": truth.clone(), "y": y.clone()}


def _bard(b: Sequence[Tensor], u: Tensor) -> Tensor:
    v = 16 - u
    return b[0] + u / (v * b[1] + torch.minimum(u, v) * b[2])


def _osborne2(b: Sequence[Tensor], t: Tensor) -> Tensor:
    bumps = [b[1 + i] * torch.exp(-((t - b[7 + i + 1]) ** 2) * b[4 + i + 1]) for i in range(3)]
    return b[0] * torch.exp(-t * b[4]) + sum(bumps)


_BARD = [0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39]
_MEYER = [
    34780, 28610, 23650, 19630, 16370, 13720, 11540, 9744,
    8261, 7030, 6005, 5147, 4427, 3820, 3307, 2872,
]  # fmt: skip
_OSBORNE1 = [
    0.844, 0.908, 0.932, 0.936, 0.925, 0.908, 0.881, 0.850, 0.818, 0.784, 0.751,
    0.718, 0.685, 0.658, 0.628, 0.603, 0.580, 0.558, 0.538, 0.522, 0.506, 0.490,
    0.478, 0.467, 0.457, 0.448, 0.438, 0.431, 0.424, 0.420, 0.414, 0.411, 0.406,
]  # fmt: skip


def _line(start: float, stop: float, count: int) -> Tensor:
    return torch.linspace(start, stop, count, dtype=torch.float64)


FAMILIES: Mapping[str, Family] = {
    "growth": Family(
        lambda b, t: b[1] * torch.exp(b[0] * t), _line(0, 10, 40), [0.5, 2], [0.1, 0.01], [3.1, 100]
    ),
    "decay with offset": Family(
        lambda b, t: b[0] * torch.exp(-b[1] * t) + b[2],
        _line(0, 10, 40), [3, 0.7, 1], [0.01, 0.01, -5], [100, 10, 5],
    ),
    "power": Family(
        lambda b, t: b[0] * t ** b[1], _line(0.5, 20, 40), [2, 1.5], [0.01, -2], [100, 5]
    ),
    "peak": Family(
        lambda b, t: b[0] * torch.exp(-((t - b[1]) ** 2) / (2 * b[2] ** 2)) + b[3],
        _line(-5, 5, 50), [2, 0.5, 0.8, 0.3], [0.1, -3, 0.1, -1], [10, 3, 5, 1],
    ),
    "logistic": Family(
        lambda b, t: b[0] / (1 + torch.exp(b[1] - b[2] * t)),
        _line(0, 10, 40), [10, 5, 1.2], [0.1, -5, 0.01], [100, 10, 5],
    ),
    "Hill": Family(
        lambda b, t: b[0] * t ** b[2] / (b[1] ** b[2] + t ** b[2]),
        _line(0.2, 10, 40), [5, 2, 3], [0.1, 0.1, 0.1], [50, 20, 10],
    ),
    "rational": Family(
        lambda b, t: (b[0] + b[1] * t) / (1 + b[2] * t + b[3] * t**2),
        _line(0, 5, 40), [1, 2, 0.5, 0.3], [-5, -5, 0, 0], [5, 5, 3, 3],
    ),
    "Bard": Family(
        _bard, _line(1, 15, 15), [0.08241, 1.1330, 2.3437], [0.01] * 3, [100] * 3, None, _BARD
    ),
    "Meyer": Family(
        lambda b, t: b[0] * torch.exp(b[1] / (t + b[2])),
        45 + 5 * _line(1, 16, 16), [0.0056096, 6181.3464, 345.22363],
        [0.001, 2000, 150], [0.1, 9000, 500], None, _MEYER,
    ),
    "Osborne": Family(
        lambda b, t: b[0] + b[1] * torch.exp(-t * b[3]) + b[2] * torch.exp(-t * b[4]),
        10 * _line(0, 32, 33), [0.37541, 1.93585, -1.46469, 0.0128675, 0.0221227],
        [0, 0, -3, 0.001, 0.001], [1, 3, 0, 0.05, 0.1], None, _OSBORNE1,
    ),
    "two decays": Family(
        lambda b, t: b[0] * torch.exp(-b[1] * t) + b[2] * torch.exp(-b[3] * t),
        _line(0, 8, 60), [2, 0.4, 3, 2.5], [0.1, 0.01, 0.1, 0.01], [10, 10, 10, 10],
    ),
}  # fmt: skip


class Fit(LeastSquares):
    """The fit of one family of curves, ``x (B, p)``; the error is the excess of the cost over that
    of the truth."""

    failure_above = RIGHT

    def __init__(self, family: Family) -> None:
        super().__init__()
        self.family = family
        self.register_buffer("t", family.t)

    def data(self, split: Split) -> dict[str, Tensor]:
        return self.family.samples(200, 0)

    def initial(self, batch: Batch, generator: Generator | None = None) -> Tensor:
        return batch["start"]

    def target(self, batch: Batch) -> Tensor:
        return batch["truth"]

    def observation(self) -> Observation:
        raise DescentError(
            "a fit from random starts is for classical solvers: there is nothing to learn"
        )

    def residual(self, x: Tensor, batch: Batch) -> Tensor:
        return self.family.curve(x.split(1, 1), self.t) - batch["y"]


SETUPS: Mapping[str, tuple[torch.dtype, bool]] = {
    "float32": (torch.float32, False),
    "double": (torch.float32, True),
    "float64": (torch.float64, False),
}
"""The precision of the data, and whether the solver computes in float64."""


def ours(
    family: Family, samples: Batch, dtype: torch.dtype, double: bool, damping: float
) -> tuple[Tensor, Tensor]:
    """The answers ``(B, p)`` in float64 and the status of each ``(B,)``."""
    problem = Fit(family).to(dtype)
    batch = {name: value.to(dtype) for name, value in samples.items()}
    solver = LevenbergMarquardt(problem, num_steps=STEPS, double=double, damping=damping)
    trajectory = solver(batch, keep_states=True)
    return trajectory.final.double(), Solver.status(trajectory)


def scipys(family: Family, samples: Batch, starts: Tensor) -> tuple[Tensor, Tensor]:
    """The same by scipy, one sample after the other in float64, with the same Jacobian."""
    problem = Fit(family)
    found, status = [], []
    for row, start in enumerate(starts):
        sample = {name: value[row : row + 1] for name, value in samples.items()}

        def residual(x: Any, sample: Batch = sample) -> Any:
            return problem.residual(torch.from_numpy(x)[None], sample)[0].numpy()

        def jacobian(x: Any, sample: Batch = sample) -> Any:
            value = problem.jacobian(torch.from_numpy(x)[None], sample)[0].numpy()
            return np.nan_to_num(value, posinf=1e300, neginf=-1e300)

        try:
            with warnings.catch_warnings(action="ignore"):
                result = least_squares(
                    residual, start.numpy(), jacobian, method="lm", x_scale="jac", max_nfev=STEPS
                )
        except ValueError:  # what is not finite at the start
            found.append(start)
            status.append(Status.INVALID)
            continue
        found.append(torch.from_numpy(result.x))
        status.append(Status.CONVERGED if result.status > 0 else Status.RUNNING)
    return torch.stack(found), torch.tensor(status)


def costs(family: Family, samples: Batch, x: Tensor) -> Tensor:
    """The cost ``(B,)`` in float64."""
    return Fit(family).cost(x, samples).nan_to_num(nan=torch.inf)


def cosines(family: Family, samples: Batch, x: Tensor) -> Tensor:
    """The cosine between the residuals and the tangent space, by QR of the scaled Jacobian in
    float64."""
    problem = Fit(family)
    residual, jacobian = problem.residual(x, samples), problem.jacobian(x, samples).nan_to_num()
    norms = torch.linalg.vector_norm(jacobian, dim=1, keepdim=True)
    basis, factor = torch.linalg.qr(jacobian / norms.where(norms > 0, 1))
    along = (basis.mT @ residual.unsqueeze(2)).squeeze(2)
    along = along.where(factor.diagonal(dim1=1, dim2=2).abs() > 1e-14, 0)  # no direction at all
    return torch.linalg.vector_norm(along, dim=1) / torch.linalg.vector_norm(residual, dim=1)


def measured(
    family: Family,
    count: int,
    seed: int,
    setups: Iterable[str] = tuple(SETUPS),
    damping: float = 1e-2,
) -> dict[str, dict[str, int]]:
    """How many of ``count`` samples are right, false and of each status, by the name of the
    set-up."""
    samples = family.samples(count, seed)
    runs = {name: ours(family, samples, *SETUPS[name], damping) for name in setups}
    runs["scipy lm"] = scipys(family, samples, samples["start"])
    reached = {name: costs(family, samples, x) for name, (x, _) in runs.items()}
    best = costs(family, samples, scipys(family, samples, samples["truth"])[0])
    best = torch.stack([best, *reached.values()]).amin(0)
    found = {}
    for name, (x, status) in runs.items():
        above = reached[name] > (1 + RIGHT) * best
        false = (status == Status.CONVERGED) & above & (cosines(family, samples, x) > COSINE)
        ended = {end.name.lower(): int((status == end).sum()) for end in Status}
        found[name] = {"right": int((~above).sum()), "false": int(false.sum()), **ended}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--seed", type=int, default=0, help="draws starts and noise")
    parser.add_argument("--count", type=int, default=200, help="starts of each family")
    parser.add_argument("--damping", type=float, default=1e-2, help="the first damping of ours")
    parser.add_argument("--families", nargs="*", default=list(FAMILIES), choices=list(FAMILIES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for name in arguments.families:
        print(f"solving {name}", flush=True)
        found[name] = measured(
            FAMILIES[name], arguments.count, arguments.seed, damping=arguments.damping
        )
    print(f"\n{_table(found)}\n")
    arguments.out.mkdir(parents=True, exist_ok=True)
    content = {
        **provenance(arguments.seed, {"count": arguments.count, "damping": arguments.damping}),
        "families": found,
    }
    write_json(arguments.out / "convergence.json", content)


def _table(found: Mapping[str, Mapping[str, Mapping[str, int]]]) -> str:
    """How many samples are right, false and CONVERGED: a row a family, a group of columns a
    set-up."""
    groups = [[["", *found, "all"]]]
    for setup in [*SETUPS, "scipy lm"]:
        columns = []
        for key in ("right", "false", "converged"):
            counts = [row[setup][key] for row in found.values()]
            columns.append([key, *map(str, counts), str(sum(counts))])
        groups.append(columns)
    return lay_out(groups, ["", *SETUPS, "scipy lm"])


if __name__ == "__main__":
    command(main)
