"""Small least-squares problems with a known answer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from learned_descent import LeastSquares, Observation
from learned_descent.data.samples import Batch, Split
from learned_descent.kernels import Kernel, Squares
from learned_descent.observations import Residual


class Formula(LeastSquares):
    """Residuals that are a formula of ``x`` and of the data: ``batch["start"]`` (B, p) and whatever
    the formula needs."""

    failure_above = 0.1

    def __init__(
        self, formula: Callable[[Tensor, Batch], Tensor], kernel: Kernel | None = None
    ) -> None:
        super().__init__()
        self.formula = formula
        self.kernel = Squares() if kernel is None else kernel

    def data(self, split: Split) -> dict[str, Tensor]:
        raise NotImplementedError("the tests make the data")

    def initial(self, batch: Batch, generator: Generator | None = None) -> Tensor:
        return batch["start"]

    def target(self, batch: Batch) -> Tensor:
        return batch["x"]

    def observation(self) -> Observation:
        return Residual(torch.sin, "y")

    def residual(self, x: Tensor, batch: Batch) -> Tensor:
        return self.formula(x, batch)


def centre(kernel: Kernel | None = None) -> Formula:
    """The centre ``(B, 2)`` of ``batch["points"] (B, N, 2)``."""
    return Formula(lambda x, batch: (x.unsqueeze(1) - batch["points"]).flatten(1), kernel)


def points(dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Four samples of eight points around (1, 2), two of which are far away."""
    draw = Generator().manual_seed(0)
    points = torch.tensor([1.0, 2.0]) + 0.1 * torch.randn(4, 8, 2, generator=draw)
    points[:, 6:] += 10
    batch = {
        "points": points,
        "start": torch.zeros(4, 2),
        "x": torch.tensor([1.0, 2.0]).repeat(4, 1),
    }
    return {name: value.to(dtype) for name, value in batch.items()}


def decay() -> Formula:
    """``y = a exp(-b t)``."""
    return Formula(lambda x, batch: x[:, :1] * (-x[:, 1:] * batch["t"]).exp() - batch["y"])


def decays(dtype: torch.dtype = torch.float64, noise: float = 0.0) -> dict[str, Tensor]:
    """Five samples of ten values, to be found from far starts."""
    draw = Generator().manual_seed(0)
    x = torch.rand(5, 2, generator=draw, dtype=torch.float64) + 0.5
    t = torch.linspace(0, 3, 10, dtype=torch.float64).repeat(5, 1)
    y = x[:, :1] * (-x[:, 1:] * t).exp() + noise * torch.randn(
        5, 10, generator=draw, dtype=torch.float64
    )
    batch = {
        "x": x,
        "t": t,
        "y": y,
        "start": torch.tensor([[4.0, 0.1]], dtype=torch.float64).repeat(5, 1),
    }
    return {name: value.to(dtype) for name, value in batch.items()}


def starts(*rows: list[float], dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """A batch of nothing but starts."""
    return {"start": torch.tensor(rows, dtype=dtype)}
