"""Curve fits with bad minima: a sinusoid of unknown frequency, and two decays with rates far
apart.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from ..data.samples import Batch, Split
from ..errors import DescentError, check_choice, check_whole
from ..families import SOLVERS, Family, Polish, Recipe
from ..models import Cascade, MnemonicDescent
from ..observation import Concat
from ..observations import Residual
from ..problem import LeastSquares
from ..training import BackpropThroughTime, SequentialRidge

# Modulo 3 they differ, so that no seed shares samples
_SEEDS: Mapping[Split, int] = {
    "train": 0,
    "val": 1,
    "test": 302,
}


class Curve(LeastSquares, ABC):
    """A curve of a known kind through noisy values at fixed times: what :class:`Sinusoid` and
    :class:`TwoExponentials` share.

    A batch holds the values ``y (B, N)``, the parameters ``x (B, p)`` behind them, and a random
    ``start (B, p)``. An update is in units of ``scale``. No two training batches hold the same
    curves.

    Args:
        times: when the values are taken, from 0 to 1.
        scale: the unit of an update, per parameter.
        noise: the standard deviation of the noise, in the unit of ``y``.
        num_train: simulated curves for training.
        num_test: simulated curves for testing, and as many for validation.
        seed: the seed of all that is simulated.

    Raises:
        DescentError: if there are fewer than 8 values or no curves, or the noise is negative.
    """

    times: Tensor
    scale: Tensor

    def __init__(
        self,
        times: Float[Tensor, " N"],
        scale: Sequence[float],
        *,
        noise: float,
        num_train: int,
        num_test: int,
        seed: int,
    ) -> None:
        super().__init__()
        if len(times) < 8 or min(num_train, num_test) < 1:
            raise DescentError(
                "expected num_values >= 8, num_train >= 1 and num_test >= 1, got "
                f"num_values={len(times)}, num_train={num_train}, num_test={num_test}"
            )
        if not 0 <= noise < float("inf"):
            raise DescentError(f"noise: expected a number >= 0, got {noise}")
        self.register_buffer("times", times, persistent=False)
        self.register_buffer("scale", torch.tensor(scale), persistent=False)
        self.shapes = {"y": f"B {len(times)}"}
        self.noise, self.num_train, self.num_test, self.seed = noise, num_train, num_test, seed

    @abstractmethod
    def curve(self, x: Float[Tensor, "B p"]) -> Float[Tensor, "B N"]:
        """The values without noise."""

    @abstractmethod
    def draw(self, count: int, generator: Generator) -> Float[Tensor, "B p"]:
        """Random parameters: those that are simulated, and, drawn once more, the starts, which know
        nothing of the curve.
        """

    def data(self, split: Split) -> dict[str, Tensor]:
        """The samples of ``split``: ``y (N, num_values)``, ``x`` and ``start``, both ``(N, p)``,
        and ``simulated (N,)``.
        """
        check_choice(split, Split, name="split")
        generator = Generator().manual_seed(3 * self.seed + _SEEDS[split])
        count = self.num_train if split == "train" else self.num_test
        return self.simulate(count, generator)

    def simulate(self, count: int, generator: Generator) -> dict[str, Tensor]:
        """Random samples, on the device of the generator."""
        x, start = self.draw(count, generator), self.draw(count, generator)
        y = self.curve(x)
        y = y + self.noise * torch.randn(y.shape, generator=generator, device=y.device)
        return {
            "y": y,
            "x": x,
            "start": start,
            "simulated": torch.ones(count, dtype=torch.bool, device=y.device),
        }

    def augment(self, batch: Batch, generator: Generator) -> Batch:
        """Other simulated samples, as many; a batch without ``simulated``, which comes from
        elsewhere, is left as it is.
        """
        if "simulated" not in batch:
            return batch
        return {
            name: value.to(batch[name])
            for name, value in self.simulate(len(batch["x"]), generator).items()
        }

    def initial(self, batch: Batch, generator: Generator | None = None) -> Float[Tensor, "B p"]:
        start = batch["start"]
        return start if generator is None else self.draw(len(start), generator).to(start)

    def target(self, batch: Batch) -> Float[Tensor, "B p"]:
        return batch["x"]

    def observation(self) -> Concat:
        """The values themselves, and what ``x`` leaves of them, all squashed: ``(B, 2 N)``."""
        return Concat(Residual(self._flat, "y", "tanh"), Residual(self.curve, "y", "tanh"))

    def _flat(self, x: Tensor) -> Tensor:
        return x.new_zeros(x.shape[0], len(self.times))

    def retract(self, x: Float[Tensor, "B p"], delta: Float[Tensor, "B d"]) -> Float[Tensor, "B p"]:
        return x + delta * self.scale.to(x)

    def local(self, x: Float[Tensor, "B p"], y: Float[Tensor, "B p"]) -> Float[Tensor, "B d"]:
        return (y - x) / self.scale.to(x)

    def residual(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B N"]:
        return self.curve(x) - batch["y"]

    @classmethod
    def families(cls) -> Mapping[str, Family]:
        return RECIPES

    def settings(self) -> dict[str, Any]:
        return {"num_values": len(self.times), "noise": self.noise}


@final
class Sinusoid(Curve):
    """A sinusoid of unknown frequency, phase and amplitude: the cost has a minimum at every second
    side lobe.

    ``x (B, 3)`` is ``(f, a, b)`` of ``y(t) = a cos(2 pi f (t - 1/2)) + b sin(2 pi f (t - 1/2))``:
    the frequency in cycles per window, and two amplitudes, which unlike amplitude and phase never
    wrap. ``f`` is 1 to 16, the amplitude ``|(a, b)|`` 0.5 to 1.5. The error is that of the
    frequency, in cycles per window; nothing but a frequency less than one cycle off is in the basin
    of the least squares, so hardly any random start is.

    Args:
        num_values: values of a curve; 33 or more, so that no frequency is aliased.
        noise: the standard deviation of the noise, in the unit of ``y``.
        num_train: simulated curves for training.
        num_test: simulated curves for testing, and as many for validation.
        seed: the seed of all that is simulated.

    Raises:
        DescentError: if a number is out of its range.

    References:
        D. Rife and R. Boorstyn. Single-tone parameter estimation from discrete-time observations.
        IEEE Transactions on Information Theory 20, 1974 (the peak of the spectrum, then a local
        search: the classical winner).

    Example:
        >>> problem = Sinusoid(num_test=4)
        >>> batch = problem.data("test")
        >>> problem.error(problem.target(batch), batch)
        tensor([0., 0., 0., 0.])
    """

    failure_above = 0.1

    def __init__(
        self,
        *,
        num_values: int = 64,
        noise: float = 0.1,
        num_train: int = 8192,
        num_test: int = 1024,
        seed: int = 0,
    ) -> None:
        if num_values < 33:
            raise DescentError(
                f"num_values: expected 33 or more for frequencies up to 16 cycles, got {num_values}"
            )
        times = (torch.arange(num_values) + 0.5) / num_values
        super().__init__(
            times, (4.0, 1.0, 1.0), noise=noise, num_train=num_train, num_test=num_test, seed=seed
        )

    def curve(self, x: Float[Tensor, "B 3"]) -> Float[Tensor, "B N"]:
        cos, sin, _ = self._waves(x)
        return x[:, 1:2] * cos + x[:, 2:3] * sin

    def jacobian(self, x: Float[Tensor, "B 3"], batch: Batch) -> Float[Tensor, "B N 3"]:
        cos, sin, turn = self._waves(x)
        return torch.stack(
            [turn * (x[:, 2:3] * cos - x[:, 1:2] * sin), cos, sin], 2
        ) * self.scale.to(x)

    def _waves(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cosine and sine, ``(B, N)``, and the derivative of their angle along the frequency,
        ``(N,)``.
        """
        turn = 2 * math.pi * (self.times.to(x) - 0.5)
        angle = x[:, :1] * turn
        return angle.cos(), angle.sin(), turn

    def draw(self, count: int, generator: Generator) -> Float[Tensor, "B 3"]:
        unit = torch.rand(count, 3, generator=generator, device=generator.device)
        frequency, amplitude, phase = (
            1 + 15 * unit[:, 0],
            0.5 + unit[:, 1],
            2 * math.pi * unit[:, 2],
        )
        return torch.stack([frequency, amplitude * phase.cos(), amplitude * phase.sin()], 1)

    def error(self, x: Float[Tensor, "B 3"], batch: Batch) -> Float[Tensor, " B"]:
        return (x[:, 0] - batch["x"][:, 0]).abs()

    def metrics(self, x: Float[Tensor, "B 3"], batch: Batch) -> dict[str, Float[Tensor, " B"]]:
        curves = (self.curve(x) - self.curve(batch["x"])).square().mean(1).sqrt()
        return {"frequency": self.error(x, batch), "curve": curves}


@final
class TwoExponentials(Curve):
    """The sum of two exponential decays with rates far apart: ill-conditioned, and flat where one
    of them has vanished.

    ``x (B, 4)`` is ``(log tau_1, log tau_2, a_1, a_2)`` of ``y(t) = a_1 exp(-t / tau_1) + a_2
    exp(-t / tau_2)`` for ``t`` from 0 to 1. ``tau_1`` is 0.01 to 0.1, ``tau_2`` 0.2 to 2, the
    amplitudes are 0.2 to 1. The error is the root mean square of the errors of ``log tau``, where
    it does not matter which decay comes first.

    Args:
        num_values: values of a curve.
        noise: the standard deviation of the noise, in the unit of ``y``.
        num_train: simulated curves for training.
        num_test: simulated curves for testing, and as many for validation.
        seed: the seed of all that is simulated.

    Raises:
        DescentError: if a number is out of its range.

    References:
        C. Lanczos. Applied analysis, chapter 4 (the separation of exponentials). Prentice Hall
        1956.

    Example:
        >>> problem = TwoExponentials(num_test=4)
        >>> batch = problem.data("test")
        >>> problem.error(problem.target(batch)[:, [1, 0, 3, 2]], batch)  # the same curve
        tensor([0., 0., 0., 0.])
    """

    failure_above = 0.5
    bounds: Tensor

    def __init__(
        self,
        *,
        num_values: int = 64,
        noise: float = 0.02,
        num_train: int = 8192,
        num_test: int = 1024,
        seed: int = 0,
    ) -> None:
        check_whole(num_values, name="num_values", least=8)
        times = (torch.arange(num_values) + 0.5) / num_values
        super().__init__(
            times,
            (0.5, 0.5, 0.25, 0.25),
            noise=noise,
            num_train=num_train,
            num_test=num_test,
            seed=seed,
        )
        low = [math.log(0.01), math.log(0.2), 0.2, 0.2]
        high = [math.log(0.1), math.log(2.0), 1.0, 1.0]
        self.register_buffer("bounds", torch.tensor([low, high]), persistent=False)

    def curve(self, x: Float[Tensor, "B 4"]) -> Float[Tensor, "B N"]:
        decays, _ = self._decays(x)
        return torch.einsum("bk,bnk->bn", x[:, 2:], decays)

    def jacobian(self, x: Float[Tensor, "B 4"], batch: Batch) -> Float[Tensor, "B N 4"]:
        decays, ages = self._decays(x)
        return torch.cat([x[:, None, 2:] * ages * decays, decays], 2) * self.scale.to(x)

    def _decays(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both decays and their ages ``t / tau``, ``(B, N, 2)``."""
        ages = self.times.to(x)[:, None] * (-x[:, None, :2]).exp()
        return (-ages).exp(), ages

    def draw(self, count: int, generator: Generator) -> Float[Tensor, "B 4"]:
        unit = torch.rand(count, 4, generator=generator, device=generator.device)
        low, high = self.bounds.to(unit)
        drawn: Tensor = low + (high - low) * unit
        return drawn

    def error(self, x: Float[Tensor, "B 4"], batch: Batch) -> Float[Tensor, " B"]:
        left: Tensor = x[:, :2].sort(1).values - batch["x"][:, :2].sort(1).values
        return left.square().mean(1).sqrt()

    def metrics(self, x: Float[Tensor, "B 4"], batch: Batch) -> dict[str, Float[Tensor, " B"]]:
        curves = (self.curve(x) - self.curve(batch["x"])).square().mean(1).sqrt()
        return {"log_tau": self.error(x, batch), "curve": curves}


_MLP = Recipe(
    Cascade,
    {"num_steps": 4, "hidden": 256},
    trainers={"bptt": BackpropThroughTime(iterations=4000, batch_size=256, lr=3e-3, ema=0.99)},
)  # fmt: skip
_MDM = Recipe(
    MnemonicDescent, {"num_steps": 4, "hidden": 128, "cell": "gru"},
    trainers={"bptt": BackpropThroughTime(iterations=1500, batch_size=256, lr=3e-3, ema=0.99)},
)  # fmt: skip

RECIPES: Mapping[str, Family] = {
    "sdm": Recipe(
        Cascade, {"num_steps": 4}, trainers={"ridge": SequentialRidge(repeats=2, batch_size=256)}
    ),
    "mlp": _MLP,
    "mlp+lm": Polish(_MLP, SOLVERS["lm"].brief()),
    "mdm": _MDM,
}
"""The families on curves; ``mlp`` is a cascade of perceptrons, for a cost with many minima is
beyond linear maps."""
