"""Robust kernels: what a residual costs, and what it weighs in iteratively re-weighted least
squares.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import DescentError, ShapeError, check_real


class Kernel(ABC):
    """What a residual costs: ``scale^2 / 2 rho(|r|^2 / scale^2)``, where ``rho(u) ~ u`` for small
    ``u``.

    Args:
        scale: the size of a residual, in its unit, at which the kernel sets in.
        block: how many consecutive residuals are the components of one vector and share a weight,
            such as 2 for pixels.

    Raises:
        DescentError: if the scale is not a positive number, or the block is smaller than 1.

    References:
        B. Triggs, P. McLauchlan, R. Hartley and A. Fitzgibbon. Bundle adjustment: a modern
        synthesis. 1999, section 3.
    """

    def __init__(self, scale: float = 1.0, block: int = 1) -> None:
        check_real(scale, name="scale", positive=True)
        if block < 1:
            raise DescentError(f"block: expected 1 or more residuals, got {block}")
        self.scale = scale
        self.block = block

    @abstractmethod
    def rho(self, u: Tensor) -> Tensor:
        """The cost of a squared residual ``u`` in units of the squared scale, element by
        element.
        """

    @abstractmethod
    def slope(self, u: Tensor) -> Tensor:
        """The derivative of :meth:`rho`, element by element."""

    @final
    def cost(self, residual: Float[Tensor, "B R"]) -> Float[Tensor, " B"]:
        """The cost of every sample."""
        return self.scale**2 / 2 * self.rho(self._squares(residual)).sum(1)

    @final
    def weights(self, residual: Float[Tensor, "B R"]) -> Float[Tensor, "B R"]:
        """The weights with which the squares have the gradient of the cost."""
        weights = self.slope(self._squares(residual))
        return weights if self.block == 1 else weights.repeat_interleave(self.block, 1)

    @final
    def rooted(self, residual: Float[Tensor, "B R"]) -> Float[Tensor, "B R"]:
        """Residuals whose plain squares cost what the kernel makes of these: for methods that know
        no kernel.

        Example:
            >>> kernel = Huber(scale=2.0)
            >>> residual = torch.tensor([[1.0, 4.0]])
            >>> kernel.cost(residual), Squares().cost(kernel.rooted(residual))
            (tensor([6.5000]), tensor([6.5000]))
        """
        squares = self._squares(residual).clamp(min=torch.finfo(residual.dtype).eps ** 2)
        factor = (self.rho(squares) / squares).sqrt()
        return residual * (factor if self.block == 1 else factor.repeat_interleave(self.block, 1))

    def _squares(self, residual: Tensor) -> Tensor:
        if residual.shape[1] % self.block:
            raise ShapeError(
                f"residual: expected a multiple of {self.block} residuals, one block after the "
                f"other, got {residual.shape[1]}"
            )
        squares = (residual / self.scale).square()
        return squares if self.block == 1 else squares.unflatten(1, (-1, self.block)).sum(2)


@final
class Squares(Kernel):
    """No robustness: half the sum of squares.

    Example:
        >>> Squares().cost(torch.tensor([[3.0, 4.0]]))
        tensor([12.5000])
    """

    def rho(self, u: Tensor) -> Tensor:
        return u

    def slope(self, u: Tensor) -> Tensor:
        return torch.ones_like(u)


@final
class Huber(Kernel):
    """Squares up to the scale, then linear: convex.

    References:
        P. Huber. Robust estimation of a location parameter. Annals of Mathematical Statistics 35,
        1964.

    Example:
        >>> Huber(scale=2.0).weights(torch.tensor([[1.0, 4.0]]))
        tensor([[1.0000, 0.5000]])
    """

    def rho(self, u: Tensor) -> Tensor:
        return torch.where(u <= 1, u, 2 * u.clamp(min=1).sqrt() - 1)

    def slope(self, u: Tensor) -> Tensor:
        return u.clamp(min=1).rsqrt()


@final
class Cauchy(Kernel):
    """Logarithmic far away: an outlier is all but ignored.

    Example:
        >>> Cauchy(scale=2.0).weights(torch.tensor([[0.0, 2.0]]))
        tensor([[1.0000, 0.5000]])
    """

    def rho(self, u: Tensor) -> Tensor:
        return u.log1p()

    def slope(self, u: Tensor) -> Tensor:
        return (1 + u).reciprocal()


@final
class Tukey(Kernel):
    """Constant beyond the scale: an outlier weighs nothing.

    References:
        A. Beaton and J. Tukey. The fitting of power series, meaning polynomials, illustrated on
        band-spectroscopic data. Technometrics 16, 1974.

    Example:
        >>> Tukey(scale=2.0).weights(torch.tensor([[0.0, 3.0]]))
        tensor([[1., 0.]])
    """

    def rho(self, u: Tensor) -> Tensor:
        u = u.clamp(max=1)
        return u - u**2 + u**3 / 3  # no difference of large numbers where u is small

    def slope(self, u: Tensor) -> Tensor:
        return (1 - u).clamp(min=0).square()
