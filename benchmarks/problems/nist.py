"""Certified digits of Levenberg-Marquardt on the 27 non-linear regression problems of NIST's StRD.

``python -m benchmarks.problems.nist [--data ../shared/nlls]`` solves each problem in float64 from
both of its starts, by our solver and by scipy's with the same Jacobian, and prints how many digits
of the worst parameter agree with the certified ones.

Reference: J. Rogers, J. Filliben, L. Gill, W. Guthrie, E. Lagergren and M. Vangel. StRD:
Statistical reference datasets for testing the numerical accuracy of statistical software. NIST,
1998.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Generator, Tensor

from benchmarks.problems._common import options
from learned_descent import LeastSquares, Observation
from learned_descent.data.samples import Batch, Split
from learned_descent.files import write_json
from learned_descent.provenance import provenance
from learned_descent.solvers import (
    LevenbergMarquardt,
    ScipyLeastSquares,
    Solver,
    SolverState,
    Status,
)
from learned_descent.solvers.external import Method
from learned_descent.system.text import lay_out

from .. import command

ENOUGH = 6.0
"""Digits from which a run counts as right."""

STEPS = 1000
"""The largest number of steps of a run, and the number of evaluations that scipy may use."""

MISPRINTS = {"1.20196866396E-0": "2.0196866396E-01"}
"""What a file says, and what it means: Roszman1's residual sum of squares is reached at the second
value of ``b1`` only."""


def _hill(x: Tensor, centre: Tensor, width: Tensor) -> Tensor:
    return torch.exp(-((x - centre) ** 2) / width**2)


def _wave(x: Tensor, cosine: Tensor, sine: Tensor, period: Tensor | float) -> Tensor:
    phase = 2 * math.pi * x / period
    return cosine * phase.cos() + sine * phase.sin()


def _gauss(b: tuple[Tensor, ...], x: Tensor) -> Tensor:
    return b[0] * torch.exp(-b[1] * x) + b[2] * _hill(x, b[3], b[4]) + b[5] * _hill(x, b[6], b[7])


def _lanczos(b: tuple[Tensor, ...], x: Tensor) -> Tensor:
    return b[0] * torch.exp(-b[1] * x) + b[2] * torch.exp(-b[3] * x) + b[4] * torch.exp(-b[5] * x)


def _cubics(b: tuple[Tensor, ...], x: Tensor) -> Tensor:
    return (b[0] + b[1] * x + b[2] * x**2 + b[3] * x**3) / (
        1 + b[4] * x + b[5] * x**2 + b[6] * x**3
    )


def _chwirut(b: tuple[Tensor, ...], x: Tensor) -> Tensor:
    return torch.exp(-b[0] * x) / (b[1] + b[2] * x)


def _enso(b: tuple[Tensor, ...], x: Tensor) -> Tensor:
    return (
        b[0] + _wave(x, b[1], b[2], 12.0) + _wave(x, b[4], b[5], b[3]) + _wave(x, b[7], b[8], b[6])
    )


MODELS: dict[str, Callable[[tuple[Tensor, ...], Tensor], Tensor]] = {
    "Bennett5": lambda b, x: b[0] * (b[1] + x) ** (-1 / b[2]),
    "BoxBOD": lambda b, x: b[0] * (1 - torch.exp(-b[1] * x)),
    "Chwirut1": _chwirut,
    "Chwirut2": _chwirut,
    "DanWood": lambda b, x: b[0] * x ** b[1],
    "ENSO": _enso,
    "Eckerle4": lambda b, x: b[0] / b[1] * torch.exp(-((x - b[2]) ** 2) / b[1] ** 2 / 2),
    "Gauss1": _gauss,
    "Gauss2": _gauss,
    "Gauss3": _gauss,
    "Hahn1": _cubics,
    "Kirby2": lambda b, x: (b[0] + b[1] * x + b[2] * x**2) / (1 + b[3] * x + b[4] * x**2),
    "Lanczos1": _lanczos,
    "Lanczos2": _lanczos,
    "Lanczos3": _lanczos,
    "MGH09": lambda b, x: b[0] * (x**2 + x * b[1]) / (x**2 + x * b[2] + b[3]),
    "MGH10": lambda b, x: b[0] * torch.exp(b[1] / (x + b[2])),
    "MGH17": lambda b, x: b[0] + b[1] * torch.exp(-x * b[3]) + b[2] * torch.exp(-x * b[4]),
    "Misra1a": lambda b, x: b[0] * (1 - torch.exp(-b[1] * x)),
    "Misra1b": lambda b, x: b[0] * (1 - (1 + b[1] * x / 2) ** -2),
    "Misra1c": lambda b, x: b[0] * (1 - (1 + 2 * b[1] * x) ** -0.5),
    "Misra1d": lambda b, x: b[0] * b[1] * x / (1 + b[1] * x),
    "Nelson": lambda b, x: b[0] - b[1] * x[..., 0] * torch.exp(-b[2] * x[..., 1]),  # of log y
    "Rat42": lambda b, x: b[0] / (1 + torch.exp(b[1] - b[2] * x)),
    "Rat43": lambda b, x: b[0] / (1 + torch.exp(b[1] - b[2] * x)) ** (1 / b[3]),
    "Roszman1": lambda b, x: b[0] - b[1] * x - torch.atan(b[2] / (x - b[3])) / math.pi,
    "Thurber": _cubics,
}
"""The response at ``x (B, N)`` (or ``(B, N, 2)``) by the name of the problem, given each parameter
as a column ``(B, 1)``."""


class Regression(LeastSquares):
    """A problem of the StRD, ``x (B, p)`` in float64; its two samples are the two starts.

    Args:
        name: one of :data:`MODELS`.
        text: the file.
    """

    failure_above = 10.0**-ENOUGH

    def __init__(self, name: str, text: str) -> None:
        super().__init__()
        self.name = name
        parameters = re.findall(r"^ +b\d+ = +(\S+) +(\S+) +(\S+) +\S+ *$", text, re.MULTILINE)
        observed = [row.split() for row in text.split("Data:")[-1].splitlines()[1:] if row.strip()]
        numbers = [[float(MISPRINTS.get(value, value)) for value in row] for row in parameters]
        starts = torch.tensor(numbers, dtype=torch.float64).T
        table = torch.tensor(
            [[float(value) for value in row] for row in observed], dtype=torch.float64
        )
        y = table[:, 0].log() if name == "Nelson" else table[:, 0]
        x = table[:, 1] if table.shape[1] == 2 else table[:, 1:]
        self.sum_of_squares = float(re.findall(r"Residual Sum of Squares: +(\S+)", text)[0])
        self.samples = {
            "start": starts[:2].contiguous(),
            "certified": starts[2].repeat(2, 1),
            "x": torch.stack([x, x]),
            "y": torch.stack([y, y]),
        }

    def data(self, split: Split) -> dict[str, Tensor]:
        return self.samples

    def initial(self, batch: Batch, generator: Generator | None = None) -> Tensor:
        return batch["start"]

    def target(self, batch: Batch) -> Tensor:
        return batch["certified"]

    def observation(self) -> Observation:
        raise NotImplementedError("a regression problem has one sample: there is nothing to learn")

    def residual(self, x: Tensor, batch: Batch) -> Tensor:
        return MODELS[self.name](x.split(1, 1), batch["x"]) - batch["y"]

    def error(self, x: Tensor, batch: Batch) -> Tensor:
        """The largest relative error of a parameter."""
        return ((x - batch["certified"]) / batch["certified"]).abs().amax(1)


def digits(problem: Regression, x: Tensor) -> list[float]:
    """How many digits of the worst parameter are right, from each start; the certified values have
    11."""
    return [
        max(0.0, min(11.0, -math.log10(max(error, 1e-11)))) if error < math.inf else 0.0
        for error in problem.error(x, problem.samples).tolist()
    ]


def main() -> None:
    arguments = options(__doc__, data=True)
    folder = arguments.data / "nist"
    if not folder.is_dir():
        print(f"left out: the files of the StRD are not in {folder}; name their parent with --data")
        return
    torch.set_num_threads(1)
    found: dict[str, dict[str, list[Any]]] = {}
    for name in MODELS:
        problem = Regression(name, (folder / f"{name}.dat").read_text())
        trajectory = LevenbergMarquardt(problem, num_steps=STEPS)(
            problem.data("test"), keep_states=True
        )
        states = cast(SolverState, trajectory.states)
        found[name] = {
            "ours": digits(problem, trajectory.final),
            "steps": (states.status == Status.RUNNING).sum(0).tolist(),
            "status": [Status(value).name.lower() for value in Solver.status(trajectory).tolist()],
            "scipy lm": digits(problem, _scipy(problem, "lm")),
            "scipy trf": digits(problem, _scipy(problem, "trf")),
        }
    groups = [[["", *found, f"{ENOUGH:g} or more"]]]
    for key in ("ours", "scipy lm", "scipy trf"):
        right = sum(value >= ENOUGH for row in found.values() for value in row[key])
        pairs = [[f"{row[key][start]:.1f}" for row in found.values()] for start in (0, 1)]
        groups.append(
            [["start 1", *pairs[0], f"{right} of"], ["start 2", *pairs[1], str(2 * len(found))]]
        )
    words = [
        [f"{row['steps'][start]} {row['status'][start]}" for row in found.values()]
        for start in (0, 1)
    ]
    groups.append([["start 1", *words[0], ""], ["start 2", *words[1], ""]])
    print(f"\n{lay_out(groups, ['', 'ours', 'scipy lm', 'scipy trf', 'our steps'])}\n")
    for printed, meant in MISPRINTS.items():
        print(
            f"{printed} was read as {meant}, at which the residual sum of squares is the one that "
            "its file certifies"
        )
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_json(arguments.out / "nist.json", {**provenance(arguments.seed, None), "problems": found})


def _scipy(problem: Regression, method: Method) -> Tensor:
    solver = ScipyLeastSquares(problem, method=method, max_evaluations=STEPS, tolerance=1e-15)
    return solver(problem.data("test")).final


if __name__ == "__main__":
    command(main)
