"""Landmarks of a video that are quiet at rest and keep up when they move: the One-Euro filter, on
the place of an object and on its shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, TypeVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import check_real, check_shape
from .geometry import apply_similarity, fit_similarity

_TURN = torch.tensor([1.0, 1.0, 0.0, 0.0])
"""What a similarity does without its shift."""

_Cutoff = TypeVar("_Cutoff", float, Tensor)


class Filtered(NamedTuple):
    """Points as a filter gives them, and what it remembers for the next frame.

    Args:
        points: ``(column, row)``, in any unit.
        velocity: that unit a second, smoothed.
    """

    points: Float[Tensor, "L 2"]
    velocity: Float[Tensor, "L 2"]


@final
@dataclass(frozen=True)
class OneEuro:
    """A low-pass filter of the first order, whose cutoff rises with the speed of each point.

    The cutoff is ``least + gain * speed`` Hz: a point at rest hardly trembles, and one that moves
    hardly lags.

    Args:
        least: the cutoff of a point at rest, in Hz.
        gain: by how many Hz it rises for a speed of one unit a second.
        velocity: the cutoff of the speed, in Hz.

    Raises:
        DescentError: if one of them is no positive number; ``gain`` may be 0.

    References:
        G. Casiez, N. Roussel and D. Vogel. 1 euro filter: a simple speed-based low-pass filter for
        noisy input in interactive systems. CHI 2012, algorithm 1.

    Example:
        >>> smooth = OneEuro(least=1.0, gain=0.0)
        >>> first = smooth(torch.zeros(1, 2), passed=0.0)
        >>> smooth(torch.ones(1, 2), passed=1 / (2 * math.pi), before=first).points
        tensor([[0.5000, 0.5000]])
    """

    least: float = 1.0
    gain: float = 1.0
    velocity: float = 1.0

    def __post_init__(self) -> None:
        check_real(self.least, name="least", positive=True)
        check_real(self.gain, name="gain")
        check_real(self.velocity, name="velocity", positive=True)

    def __call__(
        self,
        points: Float[Tensor, "L 2"],
        *,
        passed: float,
        before: Filtered | None = None,
        unit: float = 1.0,
    ) -> Filtered:
        """The points of one frame, smoothed.

        Args:
            points: the points as they were found.
            passed: the seconds since the last frame.
            before: what was given for that; None to begin.
            unit: the length that speeds are measured in.

        Raises:
            ShapeError: if these are no points, or others than before.
            DescentError: if time runs backwards, or the unit is not positive.
        """
        sizes = check_shape(points, "L 2", name="points")
        check_real(passed, name="passed, the seconds since the last frame,")
        check_real(unit, name="unit", positive=True)
        if before is None:
            return Filtered(points, torch.zeros_like(points))
        check_shape(before.points, "L 2", sizes, name="before")
        if passed == 0:
            return before
        change = (points - before.points) / passed
        velocity = before.velocity.lerp(change, _share(self.velocity, passed))
        speed = torch.linalg.vector_norm(velocity, dim=1, keepdim=True) / unit
        share = _share(self.least + self.gain * speed, passed)
        return Filtered(before.points.lerp(points, share), velocity)


class Smoothed(NamedTuple):
    """Landmarks as :class:`Smoothing` gives them, and what it remembers for the next frame.

    Args:
        points: ``(column, row)`` in px.
        place: the mean shape where the object is, in px.
        shape: the landmarks in the frame of the mean shape.
        seconds: when they were seen.
    """

    points: Float[Tensor, "L 2"]
    place: Filtered
    shape: Filtered
    seconds: float


@final
@dataclass(frozen=True)
class Smoothing:
    """Two filters: of where an object is, and of its shape there.

    All landmarks together tell where the object is, how large and how turned: that trembles little,
    and must not lag. What is left, the shape in a frame that moves along, has most of the
    trembling and changes slowly. Speeds are in sides of the training box a second, so that the same
    settings serve an object of any size.

    Args:
        place: the filter of the similarity that carries the mean shape onto the landmarks.
        shape: the filter of the landmarks in the frame of the mean shape.

    Example:
        >>> mean = torch.tensor([[-0.5, -0.5], [0.5, -0.5], [0.0, 0.5]])
        >>> smooth = Smoothing()
        >>> first = smooth(100 * mean, seconds=0.0, mean_shape=mean)
        >>> second = smooth(100 * mean + 0.1, seconds=0.04, mean_shape=mean, before=first)
        >>> bool(((second.points - first.points) < 0.1).all())
        True
    """

    place: OneEuro = OneEuro(least=3.0, gain=400.0, velocity=10.0)
    shape: OneEuro = OneEuro(least=0.2, gain=20.0, velocity=1.0)

    def __call__(
        self,
        points: Float[Tensor, "L 2"],
        *,
        seconds: float,
        mean_shape: Float[Tensor, "L 2"],
        before: Smoothed | None = None,
    ) -> Smoothed:
        """The landmarks of one frame, smoothed.

        Args:
            points: the landmarks as they were found, in px.
            seconds: when; not before those of the last frame.
            mean_shape: the mean shape, over the side of the training box.
            before: what was given for the last frame; None to begin.

        Raises:
            ShapeError: if these are no landmarks, or others than before.
            DescentError: if time runs backwards.
        """
        check_shape(points, "L 2", check_shape(mean_shape, "L 2", name="mean_shape"), name="points")
        centred = mean_shape - mean_shape.mean(0)
        where = fit_similarity(centred, points.unsqueeze(0))
        side = float(where[0, 0].exp())
        there = apply_similarity(where, centred)[0]
        shape = apply_similarity(-where * _TURN, points - where[0, 2:])[0]
        passed = 0.0 if before is None else seconds - before.seconds
        place, shape_before = (None, None) if before is None else (before.place, before.shape)
        placed = self.place(there, passed=passed, before=place, unit=side)
        shaped = self.shape(shape, passed=passed, before=shape_before)
        back = fit_similarity(centred, placed.points.unsqueeze(0))
        return Smoothed(apply_similarity(back, shaped.points)[0], placed, shaped, seconds)


def _share(cutoff: _Cutoff, passed: float) -> _Cutoff:
    """How much of what is new a filter of the first order takes over, after ``passed`` seconds."""
    turn = 2 * math.pi * cutoff * passed
    return turn / (turn + 1)
