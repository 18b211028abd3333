"""Small problems and observations that several tests use."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset

from learned_descent import LeastSquares, Observation
from learned_descent.data.samples import Batch, Split
from learned_descent.observations import Residual


class Line(LeastSquares):
    """Two numbers seen through a fixed matrix: one linear stage solves it exactly. ``x``: (B,
    2)."""

    failure_above = 0.1

    def __init__(self, dtype: torch.dtype = torch.float32, count: int = 24) -> None:
        super().__init__()
        self.count = count
        self.register_buffer(
            "matrix", torch.tensor([[2.0, 1.0], [0.0, 1.0], [1.0, -1.0]], dtype=dtype)
        )

    matrix: Tensor

    def data(self, split: Split) -> dict[str, Tensor]:
        draw = Generator().manual_seed({"train": 0, "val": 1, "test": 2}[split])
        x = torch.randn(self.count, 2, generator=draw, dtype=torch.float64).to(self.matrix)
        return {"x": x, "y": x @ self.matrix.T}

    def initial(self, batch: Batch, generator: Generator | None = None) -> Tensor:
        start = torch.zeros_like(batch["x"])
        if generator is None:
            return start
        return start + 0.1 * torch.randn(
            start.shape, generator=generator, dtype=start.dtype, device=start.device
        )

    def target(self, batch: Batch) -> Tensor:
        return batch["x"]

    def observation(self) -> Observation:
        return Residual(lambda x: x @ self.matrix.T, "y")

    def residual(self, x: Tensor, batch: Batch) -> Tensor:
        return x @ self.matrix.T - batch["y"]


class Bent(Observation):
    """Six features of a line problem, none of them linear, their means far from zero."""

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        residual = batch["y"] - 0.1 * x.sum(1, keepdim=True)
        return torch.cat([3 + residual.tanh(), (residual - 1).sin()], 1)


class Turn(LeastSquares):
    """A direction in the plane, seen by a compass. ``x``: (B, 2) of length 1, updates: (B, 1) in
    rad."""

    failure_above = 0.05

    def data(self, split: Split) -> dict[str, Tensor]:
        angle = torch.linspace(-1.2, 1.1, {"train": 24, "val": 7, "test": 11}[split])
        x = torch.stack([angle.cos(), angle.sin()], 1)
        return {"compass": x * torch.linspace(0.5, 2, len(x))[:, None], "x": x}

    def initial(self, batch: Batch, generator: Generator | None = None) -> Tensor:
        east = torch.zeros_like(batch["x"])
        east[:, 0] = 1
        if generator is None:
            return east
        angle = torch.randn(len(east), 1, generator=generator, dtype=east.dtype, device=east.device)
        return self.retract(east, 0.1 * angle)

    def target(self, batch: Batch) -> Tensor:
        return batch["x"]

    def retract(self, x: Tensor, delta: Tensor) -> Tensor:
        cos, sin = delta.cos(), delta.sin()
        return torch.cat([cos * x[:, :1] - sin * x[:, 1:], sin * x[:, :1] + cos * x[:, 1:]], 1)

    def local(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.atan2(x[:, :1] * y[:, 1:] - x[:, 1:] * y[:, :1], (x * y).sum(1, keepdim=True))

    def observation(self) -> Observation:
        return Compass()

    def residual(self, x: Tensor, batch: Batch) -> Tensor:
        return x - batch["compass"] / torch.linalg.vector_norm(
            batch["compass"], dim=1, keepdim=True
        )


class Compass(Observation):
    """The sine and cosine of the angle that is left, ``(B, 2)``."""

    def prepare(self, batch: Batch) -> Batch:
        seen = batch["compass"]
        return {**batch, "north": seen / torch.linalg.vector_norm(seen, dim=1, keepdim=True)}

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        north = batch["north"]
        return torch.stack([x[:, 0] * north[:, 1] - x[:, 1] * north[:, 0], (x * north).sum(1)], 1)


class Rows(Dataset[dict[str, Tensor]]):
    """The samples of a batch one by one."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return len(next(iter(self.batch.values())))

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        return {name: value[row] for name, value in self.batch.items()}


class Gaps(Line):
    """The line problem where the truth of some numbers is not known: ``weights`` ``(N, 2)`` of 0,
    and of what lies between."""

    optional = ("weights",)

    def data(self, split: Split) -> dict[str, Tensor]:
        batch = super().data(split)
        draw = Generator().manual_seed(len(split))
        weights = torch.rand(batch["x"].shape, generator=draw).to(batch["x"])
        return {**batch, "weights": weights.where(weights > 0.4, 0)}

    def target_weights(self, batch: Batch) -> Tensor | None:
        return batch.get("weights")
