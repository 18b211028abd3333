"""The problem that a plain function of one sample makes."""

from __future__ import annotations

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from ..data.samples import Batch, Split
from ..errors import DescentError, ShapeError, calling
from ..kernels import Kernel, Squares
from ..observation import Observation
from ..problem import LeastSquares
from .arguments import Arguments, Array, ResidualFunction, as_tensor

START_KEY = "(start)"
"""The start in a batch, ``(B, p)``; brackets, for these are names that no caller gives."""

ROOTS_KEY = "(weights)"
"""The roots of the weights in a batch, ``(B, m)``, unless all are 1; a residual of weight 0 does
not count, whatever it is."""


@final
class FunctionProblem(LeastSquares):
    """The least squares of a function of one sample, which ``torch.vmap`` runs over the batch.

    Args:
        function: the residuals of one sample.
        arguments: what the samples differ in; only names and structure are kept.
        size: the number ``p`` of parameters.
        bounds: the least and the largest ``x``, each one number or ``(p,)``; infinity where there
            is none; the same for all samples.
        kernel: what a residual costs, once it is multiplied by the root of its weight; ``None`` for
            squares.

    Raises:
        DescentError: if the bounds are none, or the kernel is not a
            :class:`~learned_descent.kernels.Kernel`.

    Example:
        >>> from learned_descent.fitting.arguments import as_arguments
        >>> data = as_arguments(torch.tensor([[4.0], [9.0]]))
        >>> problem = FunctionProblem(lambda x, y: x**2 - y, data, 1)
        >>> problem.residual(torch.ones(2, 1), data.batch)
        tensor([[-3.],
                [-8.]])
    """

    failure_above = 1.0
    low: Tensor
    high: Tensor

    def __init__(
        self,
        function: ResidualFunction,
        arguments: Arguments,
        size: int,
        *,
        bounds: tuple[Array, Array] | None = None,
        kernel: Kernel | None = None,
    ) -> None:
        super().__init__()
        given: object = kernel
        if given is not None and not isinstance(given, Kernel):
            raise DescentError(
                "kernel: expected one of learned_descent.kernels, such as Huber(scale=1.0), got "
                f"{given!r}"
            )
        self.function, self.given, self.keys = function, arguments.given, tuple(arguments.batch)
        self.kernel = Squares() if kernel is None else kernel
        self.bounded = bounds is not None
        low, high = _checked(bounds, size)
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("high", high, persistent=False)

    def residual(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B m"]:
        """The residuals at ``x``, times the roots of their weights.

        Raises:
            DescentError: if the function does what ``torch.vmap`` cannot follow.
        """
        try:
            found: Tensor = torch.vmap(self.residual_of_one)(x, dict(batch))
        except (DescentError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # torch raises many kinds
            raise DescentError(
                "residual: torch.vmap cannot run it over a batch: write it for one sample with "
                "torch operations alone (torch.exp for numpy.exp, torch.where for an if, "
                f"torch.stack for writing in place, no .item()); torch says: {error}"
            ) from error
        return found

    def residual_of_one(self, x: Float[Tensor, " p"], sample: Batch) -> Float[Tensor, " m"]:
        own = {name: sample[name] for name in self.keys}
        found = self.function(x, *self.given(own)).reshape(-1)
        roots = sample.get(ROOTS_KEY)
        return found if roots is None else torch.where(roots > 0, roots * found, 0)

    def count(self, x: Float[Tensor, " p"], batch: Batch) -> int:
        """The number ``m`` of residuals, found by calling the function for the first sample.

        Raises:
            DescentError: if it fails, or gives no residuals.
        """
        sample = {name: batch[name][0] for name in self.keys}
        told = "".join(f", {name} {tuple(value.shape)}" for name, value in sample.items())
        wanted = f"it is called for one sample, with x {tuple(x.shape)}{told}"
        try:
            with calling("residual"):
                found: object = self.function(x, *self.given(sample))
        except DescentError as error:
            raise DescentError(f"{error}; {wanted}") from error
        if not isinstance(found, Tensor) or not found.is_floating_point():
            kind = found.dtype if isinstance(found, Tensor) else type(found).__name__
            raise DescentError(
                f"residual: expected a tensor of floating-point numbers, got {kind}: write it with "
                f"torch operations; {wanted}"
            )
        if not found.numel():
            raise ShapeError(f"residual: expected one number or more, got none; {wanted}")
        return found.numel()

    def room(
        self, x: Float[Tensor, "B p"], batch: Batch
    ) -> tuple[Float[Tensor, "B p"], Float[Tensor, "B p"]] | None:
        return (self.low.to(x) - x, self.high.to(x) - x) if self.bounded else None

    def retract(self, x: Float[Tensor, "B p"], delta: Float[Tensor, "B p"]) -> Float[Tensor, "B p"]:
        return self.within(x + delta)

    def within(self, x: Float[Tensor, "B p"]) -> Float[Tensor, "B p"]:
        """The nearest point within the bounds."""
        return x.clamp(self.low.to(x), self.high.to(x)) if self.bounded else x

    def initial(self, batch: Batch, generator: Generator | None = None) -> Float[Tensor, "B p"]:
        return self.within(batch[START_KEY])

    def target(self, batch: Batch) -> Float[Tensor, "B p"]:
        raise DescentError("target: a plain function knows no truth")

    def observation(self) -> Observation:
        raise DescentError("observation: a plain function has nothing to learn from")

    def data(self, split: Split) -> Batch:
        raise DescentError("data: a plain function has no samples of its own")


def _checked(
    bounds: tuple[Array, Array] | None, size: int
) -> tuple[Float[Tensor, " p"], Float[Tensor, " p"]]:
    """Both ends of the bounds, in float64."""
    if bounds is None:
        bounds = (-torch.inf, torch.inf)
    given: Any = bounds
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise DescentError(
            f"bounds: expected a pair (low, high), each one number or ({size},), got {given!r}"
        )
    ends = [as_tensor(end, "bounds").double() for end in given]
    for end in ends:
        if end.shape not in [(), (size,)] or end.isnan().any():
            raise DescentError(
                f"bounds: expected one number or ({size},) for each end, none of them NaN, got "
                f"shape {tuple(end.shape)}: {end.tolist()}"
            )
    low, high = (end.expand(size).clone() for end in ends)
    for place in (low > high).nonzero().flatten().tolist():
        raise DescentError(
            f"bounds: expected low <= high, got {low[place]:g} > {high[place]:g} for x[{place}]"
        )
    return low, high
