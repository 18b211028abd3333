"""How the learning rate falls after the warm-up."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import final

from ..errors import DescentError


class Schedule(ABC):
    """The share of the largest learning rate in each iteration after the warm-up.

    Its attributes are its settings: two of one class with equal ones are equal, and a training that
    goes on from a checkpoint compares them.
    """

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

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({settings})"

    def __str__(self) -> str:
        """The name of a built-in schedule, and else class and settings: what is stored of it."""
        return next((name for name, own in SCHEDULES.items() if own == self), repr(self))

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(repr(self))


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

    def factor(self, iteration: float, iterations: float) -> float:
        return 0.5 * (1 + math.cos(math.pi * iteration / iterations))


@final
class Linear(Schedule):
    """A straight line from one to zero.

    Example:
        >>> [Linear().factor(iteration, 4) for iteration in range(4)]
        [1.0, 0.75, 0.5, 0.25]
    """

    def factor(self, iteration: float, iterations: float) -> float:
        return 1 - iteration / iterations


@final
class Constant(Schedule):
    """The largest learning rate from the warm-up to the end.

    Example:
        >>> Constant().factor(3, 4)
        1.0
    """

    def factor(self, iteration: float, iterations: float) -> float:
        return 1.0


SCHEDULES: Mapping[str, Schedule] = {"cosine": Cosine(), "linear": Linear(), "constant": Constant()}
"""The schedules that the command line and a file of settings may name."""


def schedule_of(name: object) -> Schedule:
    """The built-in schedule of a name: all that a word, typed or in a file, can mean.

    Raises:
        DescentError: if there is none of that name.

    Example:
        >>> schedule_of("constant")
        Constant()
    """
    if not isinstance(name, str) or name not in SCHEDULES:
        raise DescentError(
            f"expected one of {', '.join(SCHEDULES)}, or in Python any Schedule, got {name!r}"
        )
    return SCHEDULES[name]
