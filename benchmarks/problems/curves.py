"""Curve fits with bad minima: learned descent against Levenberg-Marquardt, with restarts and with a
start in closed form.

``python -m benchmarks.problems.curves``: a sinusoid of unknown frequency, and two exponential
decays, from random starts.
"""

from __future__ import annotations

from argparse import Namespace

import torch
from torch import Generator, Tensor

from learned_descent import DescentModel
from learned_descent.data.samples import Batch
from learned_descent.problems.curves import Curve, Sinusoid, TwoExponentials
from learned_descent.solvers import External, LevenbergMarquardt, Polished, ScipyLeastSquares

from .. import command
from ._common import options, run, trained
from ._restarts import restarted

STEPS, FEW = 60, 10
"""Steps of Levenberg-Marquardt alone, and of its polish."""

CUT = 2.0
"""The error of ``log tau`` at which the root mean square cuts: one fit that ran away would be all
of it."""

_FINER = 8  # steps of the spectrum in a cycle per window


def spectral_peak(problem: Sinusoid) -> External:
    """The start in closed form: the peak of the zero-padded spectrum, and the amplitudes that fit
    best there."""

    def peak(x0: Tensor, batch: Batch) -> Tensor:
        y = batch["y"]
        spectrum = torch.fft.rfft(y, n=_FINER * y.shape[1]).abs()
        frequency = (spectrum[:, _FINER:].argmax(1, keepdim=True) + _FINER) / _FINER
        waves = problem.jacobian(torch.cat([frequency, torch.zeros_like(x0[:, 1:])], 1), batch)[
            :, :, 1:
        ]
        return torch.cat(
            [
                frequency,
                torch.linalg.solve(waves.mT @ waves, (waves.mT @ y.unsqueeze(2)).squeeze(2)),
            ],
            1,
        )

    return External(problem, peak)


def methods(problem: Curve, seed: int) -> dict[str, DescentModel]:
    """The methods of a table by name."""

    def draw(x0: Tensor, batch: Batch, generator: Generator) -> Tensor:
        return problem.initial(batch, generator)

    found = trained(problem, ["sdm", "mlp", "mdm"], seed=seed)
    few, lm = (
        LevenbergMarquardt(problem, num_steps=FEW),
        LevenbergMarquardt(problem, num_steps=STEPS),
    )
    found |= {f"{name}+lm{FEW}": Polished(found[name], few) for name in ("mlp", "mdm")}
    found |= {
        f"lm{STEPS}": lm,
        "lm, 10 starts": restarted(lm, 10, draw),
        "scipy": ScipyLeastSquares(problem),
    }
    if isinstance(problem, Sinusoid):
        found[f"FFT+lm{FEW}"] = Polished(spectral_peak(problem), few)
    return found


def main(arguments: Namespace) -> None:
    """Prints a table per problem."""
    for title, problem in (("sinusoid", Sinusoid()), ("exponentials", TwoExponentials())):
        evaluations, _ = run(
            problem,
            methods(problem, arguments.seed),
            title=title,
            out=arguments.out,
            level="cycles off at the start" if title == "sinusoid" else "error at the start",
            batch_size=1024,
            rounds=arguments.rounds,
            seed=arguments.seed,
        )
        if title == "exponentials":
            print(f"root mean square of the errors of log tau, cut at {CUT:g}:")
            for name, result in evaluations.items():
                print(
                    f"  {name:14} "
                    f"{result.error().nan_to_num(CUT).clamp(max=CUT).square().mean().sqrt():.3f}"
                )


if __name__ == "__main__":
    command(lambda: main(options(__doc__)))
