"""The moving average of the weights that a training validates and keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingAverage:
    """An exponential moving average of parameters, whose decay begins small so that early weights
    are soon forgotten.

    Args:
        parameters: the parameters to follow.
        decay: the share of the average that an update keeps, in the long run; 0 follows the
            parameters themselves.

    Attributes:
        values: the average of each parameter.

    References:
        B. Polyak and A. Juditsky. Acceleration of stochastic approximation by averaging. SIAM J.
        Control Optim. 1992.

    Example:
        >>> weight = nn.Parameter(torch.zeros(1))
        >>> average = MovingAverage([weight], decay=0.9)
        >>> weight.data += 1
        >>> average.update(0)
        >>> average.values[0]
        tensor([0.9000])
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self.parameters, self.decay = list(parameters), decay
        self.values: list[Tensor] = [parameter.detach().clone() for parameter in parameters]

    def update(self, iteration: int) -> None:
        """Moves the average towards the parameters after ``iteration``."""
        decay = min(self.decay, (1 + iteration) / (10 + iteration))
        torch._foreach_lerp_(
            self.values, [parameter.detach() for parameter in self.parameters], 1 - decay
        )

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The parameters hold the average inside the block."""
        kept = [parameter.data for parameter in self.parameters]
        for parameter, value in zip(self.parameters, self.values):
            parameter.data = value
        try:
            yield
        finally:
            for parameter, data in zip(self.parameters, kept):
                parameter.data = data
