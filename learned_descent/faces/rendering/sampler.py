"""Random numbers of a fixed number of faces, drawn on the CPU and alike on every device."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Generator, Tensor


class Dice:
    """Draws one number, or one row of numbers, for each face of a chunk.

    Args:
        generator: on the CPU.
        count: the number ``B`` of faces.
        device: where the numbers are wanted.

    Example:
        >>> dice = Dice(Generator().manual_seed(0), 4)
        >>> dice.uniform(2.0, 3.0).shape, dice.normal(1.0, 5).shape, dice.chance(1.0)
        (torch.Size([4]), torch.Size([4, 5]), tensor([True, True, True, True]))
    """

    def __init__(
        self, generator: Generator, count: int, device: torch.device | str = "cpu"
    ) -> None:
        self.generator, self.count, self.device = generator, count, device

    def uniform(self, low: float, high: float, *shape: int) -> Float[Tensor, "B ..."]:
        """Even between ``low`` and ``high``."""
        return (
            torch.empty(self.count, *shape)
            .uniform_(low, high, generator=self.generator)
            .to(self.device)
        )

    def normal(self, spread: float, *shape: int) -> Float[Tensor, "B ..."]:
        """Normal around 0, cut at three times the spread."""
        return (
            torch.randn(self.count, *shape, generator=self.generator)
            .clamp_(-3.0, 3.0)
            .mul_(spread)
            .to(self.device)
        )

    def chance(self, probability: float) -> Bool[Tensor, " B"]:
        """True with a probability."""
        return (torch.rand(self.count, generator=self.generator) < probability).to(self.device)

    def pick(self, *weights: float) -> Int64[Tensor, " B"]:
        """A number below ``len(weights)``, with probabilities in proportion to the weights."""
        drawn = torch.multinomial(
            torch.tensor(weights), self.count, replacement=True, generator=self.generator
        )
        return drawn.to(self.device)

    def colour(
        self, palette: Float[Tensor, "N 3"], spread: float, *weights: float
    ) -> Float[Tensor, "B 3"]:
        """A colour near one of a palette, in 0..1."""
        chosen = palette.to(self.device)[self.pick(*(weights or (1.0,) * len(palette)))]
        return (chosen + self.normal(spread, 1) + self.normal(spread / 3, 3)).clamp(0.0, 1.0)


def mixed(share: Float[Tensor, " B"], palette: Float[Tensor, "N 3"]) -> Float[Tensor, "B 3"]:
    """The colours at ``share`` (0 to 1) along the line through a palette.

    Example:
        >>> mixed(torch.tensor([0.25]), torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0,
        ...     0.0]]))
        tensor([[0.5000, 0.5000, 0.5000]])
    """
    place = share.clamp(0.0, 1.0) * (len(palette) - 1)
    steps = torch.arange(len(palette), device=share.device)
    weights = (1 - (place.unsqueeze(1) - steps).abs()).clamp(min=0.0)
    return weights @ palette.to(share)
