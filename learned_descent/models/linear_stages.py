"""Models whose every step ends in a linear map: what a closed form can fill."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from jaxtyping import Float
from torch import Tensor, nn

from ..model import DescentModel


class Moments(NamedTuple):
    """The first moments of the features of a stage and of its updates, over all training samples
    and starts.

    Attributes:
        mean: ``(F,)``.
        covariance: ``(F, F)``.
        cross: the covariance of the features with the missing updates, ``(F, d)``.
    """

    mean: Float[Tensor, " F"]
    covariance: Float[Tensor, "F F"]
    cross: Float[Tensor, "F d"]


Measure: TypeAlias = Callable[[], Moments]
"""Goes through the samples for the moments: a pass that is made only where it is called."""


class LinearStages(DescentModel):
    """A model without memory whose update in step ``k`` is ``linear(k)(lifted(k, features))``: what
    :class:`~learned_descent.SequentialRidge` trains.

    It fills the layers one after the other. What else a stage needs to know of its features, such
    as where to part them, :meth:`begin` finds out before.

    Example:
        >>> from learned_descent import Cascade
        >>> from learned_descent.problems import Analytic
        >>> Cascade.for_problem(Analytic("sin")).linear(0)
        Linear(in_features=1, out_features=1, bias=True)
    """

    @abstractmethod
    def linear(self, k: int) -> nn.Linear | None:
        """The layer of step ``k``; ``None`` where it must be trained by gradients."""

    def lifted(self, k: int, features: Float[Tensor, "B F"]) -> Float[Tensor, "B G"]:
        """What the layer of step ``k`` takes; the features themselves by default."""
        return features

    def begin(self, k: int, measure: Measure) -> None:
        """Prepares stage ``k``, when those before it are filled; does nothing by default."""
