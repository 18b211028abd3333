"""What a training by gradients makes small."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import final

from jaxtyping import Float
from torch import Tensor

from ..data.samples import Batch
from ..problem import Problem
from .choices import Choice


class Loss(Choice):
    """How far a sample is from its truth, in place of the loss that its problem has.

    A point that is missing of a sample has a weight of 0 in :meth:`.Problem.target_weights`, which
    a loss of one's own should heed where the problem has any.
    """

    @abstractmethod
    def __call__(
        self, problem: Problem, x: Float[Tensor, "B p"], batch: Batch
    ) -> Float[Tensor, " B"]:
        """The loss of each sample at ``x``, differentiable in ``x``.

        Args:
            problem: the geometry and the truth: ``problem.local(x, problem.target(batch))`` is the
                update ``(B, d)`` that is left.
            x: the parameters after a step.
            batch: the samples.
        """


@final
class ProblemLoss(Loss):
    """The loss of the problem itself.

    Example:
        >>> from learned_descent.problems import Analytic
        >>> problem = Analytic("sin")
        >>> batch = problem.data("test")
        >>> bool((ProblemLoss()(problem, problem.target(batch), batch) == 0).all())
        True
    """

    name = "problem"

    def __call__(
        self, problem: Problem, x: Float[Tensor, "B p"], batch: Batch
    ) -> Float[Tensor, " B"]:
        return problem.loss(x, batch)


LOSSES: Mapping[str, Loss] = {"problem": ProblemLoss()}
"""The losses that the command line and a file of settings may name."""
