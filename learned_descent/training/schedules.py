"""How the learning rate falls after the warm-up."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import final

from .choices import Choice


class Schedule(Choice):
    """The share of the largest learning rate in each iteration after the warm-up."""

    @abstractmethod
    def factor(self, iteration: float, iterations: float) -> float:
        """The factor of the learning rate.

        Args:
            iteration: how many iterations were done since the warm-up; no whole number where the
                warm-up is none.
            iterations: how many there are after the warm-up.

        Returns:
            A number, usually in [0, 1].
        """


@final
class Cosine(Schedule):
    """Half a period of the cosine, from one to zero.

    References:
        I. Loshchilov and F. Hutter. SGDR: stochastic gradient descent with warm restarts. ICLR
        2017, equation 5.

    Example:
        >>> [round(Cosine().factor(iteration, 4), 2) for iteration in range(4)]
        [1.0, 0.85, 0.5, 0.15]
    """

    name = "cosine"

    def factor(self, iteration: float, iterations: float) -> float:
        return 0.5 * (1 + math.cos(math.pi * iteration / iterations))


@final
class Linear(Schedule):
    """A straight line from one to zero.

    Example:
        >>> [Linear().factor(iteration, 4) for iteration in range(4)]
        [1.0, 0.75, 0.5, 0.25]
    """

    name = "linear"

    def factor(self, iteration: float, iterations: float) -> float:
        return 1 - iteration / iterations


@final
class Constant(Schedule):
    """The largest learning rate from the warm-up to the end.

    Example:
        >>> Constant().factor(3, 4)
        1.0
    """

    name = "constant"

    def factor(self, iteration: float, iterations: float) -> float:
        return 1.0


SCHEDULES: Mapping[str, Schedule] = {"cosine": Cosine(), "linear": Linear(), "constant": Constant()}
"""The schedules that the command line and a file of settings may name."""
