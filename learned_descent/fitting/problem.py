"""The problem that a plain function of one sample makes."""

from __future__ import annotations

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from ..data.samples import Batch, Split
from ..errors import DescentError, ShapeError, calling
from ..kernels import Kernel, Squares
from ..observation import Beside, Observation
from ..observations import GaussNewtonSteps
from ..problem import LeastSquares
from .arguments import (
    ROOTS_KEY,
    START_KEY,
    TRUTH_KEY,
    Arguments,
    Array,
    ResidualFunction,
    as_given,
    as_tensor,
)
from .sampling import Drawn, Sampling

LEARNT_IN = torch.float32
"""The precision of what is learnt."""

_FIRST_KEY = "(first)"
"""What the function leaves at the usual start, ``(B, m)``."""


@final
class FunctionProblem(LeastSquares):
    """The least squares of a function of one sample, which ``torch.vmap`` runs over the batch.

    Args:
        function: the residuals of one sample.
        arguments: what the samples differ in; only names, shapes and structure are kept.
        size: the number ``p`` of parameters.
        bounds: the least and the largest ``x``, each one number or ``(p,)``; infinity where there
            is none; the same for all samples.
        kernel: what a residual costs, once it is multiplied by the root of its weight; ``None`` for
            squares.
        kind: the precision in which the function computes where it is learnt, whatever that of
            ``x``; ``None`` for that of ``x`` and the data, and updates in the unit of ``x``.
        sampling: where samples to learn from come from.

    Raises:
        DescentError: if the bounds are none, or the kernel is not a
            :class:`~learned_descent.kernels.Kernel`.

    Attributes:
        start: where a descent starts, unless the batch says so, ``(p,)``.
        scale: the unit of an update and of the error, ``(p,)``; ones at first.
        reach: the size of a residual, in its unit, at which it is squashed, ``()``.
        num_residuals: the number ``m``; 0 where nobody counted.

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
    start: Tensor
    scale: Tensor
    reach: Tensor

    def __init__(
        self,
        function: ResidualFunction,
        arguments: Arguments,
        size: int,
        *,
        bounds: tuple[Array, Array] | None = None,
        kernel: Kernel | None = None,
        kind: torch.dtype | None = None,
        sampling: Sampling | None = None,
    ) -> None:
        super().__init__()
        given: object = kernel
        if given is not None and not isinstance(given, Kernel):
            raise DescentError(
                "kernel: expected one of learned_descent.kernels, such as Huber(scale=1.0), got "
                f"{given!r}"
            )
        self.function, self.form, self.kind = function, arguments.form, kind
        self.kernel = Squares() if kernel is None else kernel
        self.bounded = bounds is not None
        self.sampling, self.num_residuals = sampling, 0
        self.shapes = {
            name: " ".join(["B", *map(str, value.shape[1:])])
            for name, value in arguments.batch.items()
        }
        low, high = _checked(bounds, size)
        self.register_buffer("low", low)
        self.register_buffer("high", high)
        self.register_buffer("start", torch.zeros_like(low))
        self.register_buffer("scale", torch.ones_like(low))
        self.register_buffer("reach", torch.ones_like(low[0]))

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
        own = {name: self._raised(sample[name]) for name in self.shapes}
        found = self.function(self._raised(x), *as_given(own, self.form)).reshape(-1)
        found = found if self.kind is None else found.to(x)
        roots = sample.get(ROOTS_KEY)
        return found if roots is None else torch.where(roots > 0, roots * found, 0)

    def _raised(self, value: Tensor) -> Tensor:
        """In the precision of the function, whose own variables are not converted."""
        return value.to(self.kind) if self.kind and value.is_floating_point() else value

    def count(self, x: Float[Tensor, " p"], batch: Batch) -> int:
        """The number ``m`` of residuals, found by calling the function for the first sample.

        Raises:
            DescentError: if it fails, or gives no residuals.
        """
        sample = {name: self._raised(batch[name][0]) for name in self.shapes}
        told = "".join(f", {name} {tuple(value.shape)}" for name, value in sample.items())
        wanted = f"it is called for one sample, with x {tuple(x.shape)}{told}"
        try:
            with calling("residual"):
                found: object = self.function(self._raised(x), *as_given(sample, self.form))
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

    @property
    def additive(self) -> bool:
        return self.kind is None  # within the bounds, where x always is; else in other units

    def room(
        self, x: Float[Tensor, "B p"], batch: Batch
    ) -> tuple[Float[Tensor, "B p"], Float[Tensor, "B p"]] | None:
        if not self.bounded:
            return None
        scale = self.scale.to(x)
        return (self.low.to(x) - x) / scale, (self.high.to(x) - x) / scale

    def retract(self, x: Float[Tensor, "B p"], delta: Float[Tensor, "B p"]) -> Float[Tensor, "B p"]:
        return self.within(x + (delta if self.kind is None else delta * self.scale.to(x)))

    def local(self, x: Float[Tensor, "B p"], y: Float[Tensor, "B p"]) -> Float[Tensor, "B p"]:
        return (y - x) / self.scale.to(x)

    def within(self, x: Float[Tensor, "B p"]) -> Float[Tensor, "B p"]:
        """The nearest point within the bounds."""
        return x.clamp(self.low.to(x), self.high.to(x)) if self.bounded else x

    def initial(self, batch: Batch, generator: Generator | None = None) -> Float[Tensor, "B p"]:
        """The start of the batch, or the usual one; with a generator one near it, most of them less
        than a unit of an update away.
        """
        if START_KEY in batch:
            return self.within(batch[START_KEY])
        data = batch[next(iter(self.shapes))]
        x = self.start.to(data.device, LEARNT_IN).repeat(len(data), 1)
        if generator is not None:
            away, far = (
                torch.randn(size, generator=generator, device=generator.device).to(x)
                for size in (x.shape, (len(x), 1))
            )
            x = self.retract(x, away * far / 2)
        return self.within(x)

    def target(self, batch: Batch) -> Float[Tensor, "B p"]:
        if TRUTH_KEY not in batch:
            raise DescentError("target: a plain function knows no truth: give a sampler to learn()")
        return batch[TRUTH_KEY]

    def observation(self) -> Observation:
        """What is left at the usual start, which stands for the data, what is left at ``x``, and
        the steps of Gauss-Newton.
        """
        return _Told(self)

    def data(self, split: Split) -> Batch:
        """Samples of the sampler with their truth, always the same ones."""
        return self._learnable(self._sampling().split(split))

    def augment(self, batch: Batch, generator: Generator) -> Batch:
        """Other samples of the sampler, as many."""
        seed = torch.randint(2**62, (), generator=generator, device=generator.device)
        count = len(batch[TRUTH_KEY])
        found = self._learnable(self._sampling().drawn(int(seed), count))
        return {name: value.to(batch[TRUTH_KEY].device) for name, value in found.items()}

    def _sampling(self) -> Sampling:
        if self.sampling is None:
            raise DescentError(
                "data: a plain function has no samples of its own: give a sampler to learn()"
            )
        return self.sampling

    def _learnable(self, drawn: Drawn) -> dict[str, Tensor]:
        return {
            name: value.to(LEARNT_IN) if value.is_floating_point() or name == TRUTH_KEY else value
            for name, value in drawn.batch.items()
        }

    def settings(self) -> dict[str, Any]:
        return {
            "size": len(self.low),
            "num_residuals": self.num_residuals,
            "form": self.form,
            "shapes": self.shapes,
            "bounded": self.bounded,
            "kernel": kernel_in_words(self.kernel),
            "kind": str(self.kind),
        }


def kernel_in_words(kernel: Kernel) -> str:
    """A kernel as it is made.

    Example:
        >>> kernel_in_words(Squares())
        'Squares(scale=1, block=1)'
    """
    return f"{type(kernel).__name__}(scale={kernel.scale:g}, block={kernel.block})"


@final
class _Told(Observation):
    """What the function tells at ``x``: the residuals there and at the usual start, squashed, and
    the steps of Gauss-Newton; 0 for what is not finite.

    No gradient passes: where a function overflows, its derivatives would not be finite.
    """

    differentiable = False

    def __init__(self, problem: FunctionProblem) -> None:
        super().__init__()
        self._problem = Beside(problem)
        self.steps = GaussNewtonSteps(problem)

    def prepare(self, batch: Batch) -> Batch:
        usual = {name: value for name, value in batch.items() if name != START_KEY}
        return {**batch, _FIRST_KEY: self._left(self._problem.module.initial(usual), batch)}

    @torch.no_grad()
    def forward(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        told = [batch[_FIRST_KEY].to(x), self._left(x, batch), self.steps(x, batch)]
        return torch.cat(told, 1).nan_to_num(0, 0, 0).clamp(-1, 1)

    def _left(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B m"]:
        problem = self._problem.module
        return (problem.residual(x, batch) / problem.reach.to(x)).tanh()


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
    low, high = (end + torch.zeros(size, dtype=end.dtype, device=end.device) for end in ends)
    for place in (low > high).nonzero().flatten().tolist():
        raise DescentError(
            f"bounds: expected low <= high, got {low[place]:g} > {high[place]:g} for x[{place}]"
        )
    return low, high
