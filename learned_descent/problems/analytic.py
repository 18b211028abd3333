"""Inverting known functions: the analytic problems of the paper that introduced supervised
descent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from ..data.samples import Batch, Split
from ..errors import DescentError, check_choice
from ..observations import Residual
from ..problem import LeastSquares
from ..system.precision import floating_like

Function: TypeAlias = Literal["sin", "cube", "erf", "exp", "sin_erf"]

Grid: TypeAlias = tuple[float, float, int]
"""Start, step and number of the values of ``y``."""


@final
class Analytic(LeastSquares):
    """The inversion of a known function: find ``x`` with ``h(x) = y``, started at one ``x`` for all
    ``y``.

    Training and test values of ``y`` lie on the paper's grids, which are built by repeated addition
    in float32, as in the C++ library whose golden values pin the method; the solutions ``x*`` are
    then computed in ``dtype``. The validation values lie between those of training. ``x`` is a
    plain number (radians for ``sin``).

    Args:
        function: ``"sin"``, ``"cube"`` (``x^3``), ``"erf"``, ``"exp"``, or ``"sin_erf"``: the first
            two-dimensional one, ``h(x) = (sin x_1, erf x_2)``.
        start: where testing starts; 0.5 is the start of the paper, and from far away Newton's
            method fails.
        spread: the standard deviation of the random starts of training around ``start``; 0 in the
            paper.
        num_test: test values of ``y``, evenly spaced over the range of the paper's grid; ``None``
            for that grid itself.
        dtype: the precision of the data.

    References:
        X. Xiong and F. De la Torre. Supervised descent method and its applications to face
        alignment. CVPR 2013, section 3.3.
        P. Huber, Z.-H. Feng, W. Christmas, J. Kittler and M. Rätsch. Fitting 3D morphable face
        models using local features. ICIP 2015 (the library superviseddescent).

    Example:
        >>> problem = Analytic("sin")
        >>> batch = problem.data("test")
        >>> problem.error(problem.target(batch), batch).max()
        tensor(0.)
    """

    failure_above = 0.1

    def __init__(
        self,
        function: Function = "sin",
        *,
        start: float = 0.5,
        spread: float = 0.1,
        num_test: int | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        check_choice(function, Function, name="function")
        if not abs(start) < float("inf"):
            raise DescentError(f"start: expected a finite number, got {start}")
        if not 0 <= spread < float("inf"):
            raise DescentError(f"spread: expected a number >= 0, got {spread}")
        if num_test is not None and num_test < 2:
            raise DescentError(f"num_test: expected 2 or more values, or None, got {num_test}")
        self.function = function
        self.start = start
        self.spread = spread
        self.num_test = num_test
        self.dtype = dtype
        self.shapes = {"y": f"B {_FUNCTIONS[function].size}"}

    def initial(self, batch: Batch, generator: Generator | None = None) -> Float[Tensor, "B p"]:
        x = torch.full_like(floating_like(batch["y"], batch), self.start)
        if generator is None:
            return x
        return x + self.spread * torch.randn(
            x.shape, generator=generator, dtype=x.dtype, device=x.device
        )

    def target(self, batch: Batch) -> Float[Tensor, "B p"]:
        return batch["x"]

    def observation(self) -> Residual:
        return Residual(_FUNCTIONS[self.function].h, "y")

    def data(self, split: Split) -> dict[str, Tensor]:
        """The samples of ``split``: ``y`` and the solution ``x``, both ``(N, p)``."""
        check_choice(split, Split, name="split")
        chosen = _FUNCTIONS[self.function]
        start, step, count = chosen.test if split == "test" else chosen.train
        if split == "val":
            start, count = start + 0.4 * step, count - 1
        grid = _grid(start, step, count)
        if split == "test" and self.num_test is not None:
            grid = torch.linspace(
                start, start + (count - 1) * step, self.num_test, dtype=torch.float64
            )
        y = grid[:, None].repeat(1, chosen.size).to(self.dtype)
        return {"y": y, "x": chosen.inverse(y)}

    def residual(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B p"]:
        return _FUNCTIONS[self.function].h(x) - batch["y"]

    def settings(self) -> dict[str, Any]:
        return {
            "function": self.function,
            "start": self.start,
            "spread": self.spread,
            "num_test": self.num_test,
        }


@dataclass(frozen=True)
class _Function:
    """A function with its inverse on the grids of training and testing, all element by element."""

    h: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]
    train: Grid
    test: Grid
    size: int = 1


def _cube(x: Tensor) -> Tensor:
    return x**3


def _cube_root(y: Tensor) -> Tensor:
    return y.sign() * y.abs() ** (1 / 3)


def _arc_sine(y: Tensor) -> Tensor:
    return y.clamp(-1, 1).asin()  # float32 addition ends slightly above 1


def _sin_erf(x: Tensor) -> Tensor:
    return torch.stack([x[:, 0].sin(), x[:, 1].erf()], 1)


def _sin_erf_inverse(y: Tensor) -> Tensor:
    return torch.stack([y[:, 0].asin(), y[:, 1].erfinv()], 1)


_FUNCTIONS = {
    "sin": _Function(torch.sin, _arc_sine, (-1, 0.2, 11), (-1, 0.05, 41)),
    "cube": _Function(_cube, _cube_root, (-27, 3, 19), (-27, 0.5, 109)),
    "erf": _Function(torch.erf, torch.erfinv, (-0.99, 0.11, 19), (-0.99, 0.03, 67)),
    "exp": _Function(torch.exp, torch.log, (1, 3, 10), (1, 0.5, 55)),
    "sin_erf": _Function(_sin_erf, _sin_erf_inverse, (-0.99, 0.11, 19), (-0.99, 0.03, 67), size=2),
}


def _grid(start: float, step: float, count: int) -> Float[Tensor, " N"]:
    """``count`` values from ``start`` on, by repeated float32 addition: the rounding of the golden
    values.
    """
    values = [torch.tensor(start, dtype=torch.float32)]
    for _ in range(count - 1):
        values.append(values[-1] + step)
    return torch.stack(values)
