"""What is left to explain: residuals as features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, final

from jaxtyping import Float
from torch import Tensor

from ..data.samples import Batch
from ..errors import DescentError, check_shape
from ..observation import Observation


@final
class Residual(Observation):
    """The residual features ``h(x) - y`` of a problem with a forward model ``h``, optionally
    squashed.

    Raw residuals with outliers make linear stages diverge; squashing bounds what one of them can
    do. A squashed residual is in units of ``scale`` and lies in -1..1.

    Args:
        h: the forward model, from parameters ``(B, p)`` to predictions ``(B, R)``.
        y: the name of the measurements ``(B, R)`` in the batch.
        squash: ``"tanh"`` (smooth), ``"clamp"`` (exact for small residuals, without gradient beyond
            ``scale``), or ``None``.
        scale: the size of the residual, in the unit of ``y``, at which squashing sets in.

    References:
        X. Xiong and F. De la Torre. Supervised descent method and its applications to face
        alignment. CVPR 2013, eq. 7.

    Example:
        >>> import torch
        >>> x, batch = torch.tensor([[2.0]]), {"y": torch.tensor([[5.0]])}
        >>> Residual(torch.square, "y")(x, batch)
        tensor([[-1.]])
        >>> Residual(torch.square, "y", squash="clamp", scale=0.5)(10 * x, batch)
        tensor([[1.]])
    """

    def __init__(
        self,
        h: Callable[[Tensor], Tensor],
        y: str,
        squash: Literal["tanh", "clamp"] | None = None,
        *,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if squash not in (None, "tanh", "clamp"):
            raise DescentError(f'squash: expected "tanh", "clamp" or None, got {squash!r}')
        if not 0 < scale < float("inf"):
            raise DescentError(f"scale: expected a positive number, got {scale}")
        self.h = h
        self.y = y
        self.squash = squash
        self.scale = scale

    def forward(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B R"]:
        """The features at ``x``.

        Raises:
            DescentError: if the batch holds no measurements under the name ``y``.
            ShapeError: if ``h(x)`` and the measurements have different shapes.
        """
        if self.y not in batch:
            raise DescentError(f"y: the batch has no tensor {self.y!r}; it has {sorted(batch)}")
        predicted, measured = self.h(x), batch[self.y]
        check_shape(predicted, "B R", check_shape(measured, "B R", name=self.y), name="h(x)")
        residual = predicted - measured
        if self.squash == "tanh":
            return (residual / self.scale).tanh()
        if self.squash == "clamp":
            return (residual / self.scale).clamp(-1, 1)
        return residual

    def settings(self) -> dict[str, Any]:
        return {"y": self.y, "squash": self.squash, "scale": self.scale}
