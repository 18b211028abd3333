"""A solver from several starts: the usual cure for a cost with many minima."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from learned_descent.data.samples import Batch
from learned_descent.problem import LeastSquares
from learned_descent.solvers import External, Solver

Draw = Callable[[Tensor, Batch, Generator], Tensor]


def restarted(solver: Solver, count: int, draw: Draw, *, seed: int = 0) -> External:
    """The answer of the least cost among those from the given start and from ``count - 1`` random
    ones, all in one batch.

    Args:
        solver: solves from one start.
        count: the number of starts.
        draw: a random start for every sample, given the start ``(B, p)``, the batch and a
            generator.
        seed: the seed of the starts.
    """
    problem = solver.problem
    if not isinstance(problem, LeastSquares):
        raise TypeError(
            f"solver: expected one of a LeastSquares problem, got one of {type(problem).__name__}"
        )

    def solve(x0: Tensor, batch: Batch) -> Tensor:
        generator = Generator(x0.device).manual_seed(seed)
        starts = torch.cat([x0, *(draw(x0, batch, generator) for _ in range(count - 1))])
        many = {name: torch.cat([value] * count) for name, value in batch.items()}
        reached = solver(many, starts).final
        cost = (
            problem.cost(reached, problem.prepare(many))
            .nan_to_num(torch.inf)
            .unflatten(0, (count, -1))
        )
        return reached.unflatten(0, (count, -1))[cost.argmin(0), torch.arange(len(x0))]

    return External(problem, solve)
