"""What the records of a training give reason to doubt, in one line each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_log = logging.getLogger(__name__)

_WORTH = 0.01
"""The share of a loss that is worth a word."""

_ARRIVED = 1e-3
"""The share of the first error below which a descent has arrived, and ups and downs are
rounding."""

Records = Sequence[Mapping[str, Any]]


def say(doubts: Sequence[str]) -> None:
    """Logs each doubt as a warning, which Python writes to the error stream unless told
    otherwise.
    """
    for doubt in doubts:
        _log.warning(doubt)


def doubts_of_ridge(
    records: Records,
    candidates: Sequence[float],
    trainer: str = "SequentialRidge",
    *,
    unsolved_for: str = "what is known differs from coordinate to coordinate",
) -> list[str]:
    """Stages that make a held-out loss worse or are not solved, and a choice that ends at an edge
    of what was compared.

    Args:
        records: those of :class:`SequentialRidge`, or of another trainer of stages.
        candidates: the values of ``ridge`` that were compared.
        trainer: what the lines call the trainer.
        unsolved_for: why its equations may not be solved.

    Example:
        >>> stages = [{"stage": 0, "held_out_loss": [3.0, 1.0]}, {"stage": 1,
        ...     "held_out_loss": [1.0, 1.5]}]
        >>> doubts_of_ridge(stages, [0.1])
        ['SequentialRidge: the held-out loss rises in stage 1, from 1 to 1.5: raise ridge or
        repeats, or take fewer stages']
    """
    doubts = []
    least = _ARRIVED**2 * records[0].get("held_out_loss", [0.0])[0]
    seen = [record for record in records if "held_out_loss" in record]
    risen = [
        record
        for record in seen
        if _rises(record["held_out_loss"][0], record["held_out_loss"][1], least)
    ]
    if risen:
        before, after = risen[0]["held_out_loss"]
        doubts.append(
            f"{trainer}: the held-out loss rises in {_stages(risen)}, from {before:.3g} to "
            f"{after:.3g}: raise ridge or repeats, or take fewer stages"
        )
    unsolved = [record for record in records if "residual" in record]
    if unsolved:
        worst = max(record["residual"] for record in unsolved)
        doubts.append(
            f"{trainer}: the equations of {_stages(unsolved)} are solved to a residual of "
            f"{worst:.2g} only, for {unsolved_for}: raise ridge"
        )
    for edge, name, more in ((max, "largest", "larger"), (min, "smallest", "smaller")):
        ends = [record for record in records if _ends_at(edge, record, candidates, least)]
        if ends:
            doubts.append(
                f"{trainer}: the best ridge of {_stages(ends)} is {edge(candidates):g}, the "
                f"{name} one that was compared: give {more} ones too"
            )
    return doubts


def doubts_of_bptt(records: Records) -> list[str]:
    """A validation error that rises at the end.

    Args:
        records: those of :class:`BackpropThroughTime`.

    Example:
        >>> doubts_of_bptt([{"iteration": 9, "val_error": [3.0, 1.0]}, {"iteration": 18,
        ...     "val_error": [3.0, 1.5]}])[0][:88]
        'BackpropThroughTime: the validation error rises from 1 after 9 iterations to 1.5 after 1'
    """
    errors = {
        record["iteration"]: record["val_error"][-1] for record in records if "val_error" in record
    }
    if not errors:
        return []
    best, last = min(errors, key=errors.__getitem__), max(errors)
    first = next(record["val_error"][0] for record in records if "val_error" in record)
    if not _rises(errors[best], errors[last], _ARRIVED * first):
        return []
    doubt = (
        f"BackpropThroughTime: the validation error rises from {errors[best]:.3g} after {best} "
        f"iterations to {errors[last]:.3g} after {last}, and the weights of then are kept: take "
        "fewer iterations, a lower lr, more samples or a larger weight_decay"
    )
    return [doubt]


def _rises(before: float, after: float, least: float) -> bool:
    """Whether there is more than a trifle more, and so much at all."""
    return after > max((1 + _WORTH) * before, least)


def _ends_at(
    edge: Callable[[Sequence[float]], float],
    record: Mapping[str, Any],
    candidates: Sequence[float],
    least: float,
) -> bool:
    """Whether the best value is the one at an edge, and better than its neighbour by more than a
    trifle.
    """
    held_out: Mapping[float, float] = record.get("held_out", {})
    others = [ridge for ridge in held_out if ridge != record["ridge"]]
    if not others or record["ridge"] != edge(candidates):
        return False
    loss = record["held_out_loss"][1]
    return _rises(loss, loss * held_out[edge(others)], least)


def _stages(records: Records) -> str:
    numbers = [str(record["stage"]) for record in records]
    return f"stage {numbers[0]}" if len(numbers) == 1 else f"stages {', '.join(numbers)}"
