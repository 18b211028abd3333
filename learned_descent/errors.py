"""Errors that say what came, what was expected and what to do; the one shape check."""

from __future__ import annotations

import math
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

_NOT_OURS = (
    str(Path(os.__file__).parent),
    str(Path(torch.__file__).parents[1]),
    str(Path(__file__).parent),
    "<",
)
"""Where the files lie that no user wrote: of Python and what is installed beside it, of PyTorch,
and of this package."""


class DescentError(ValueError):
    """A mistake that the caller can mend: the message says what came, what was expected and what to
    do.
    """


class ShapeError(DescentError):
    """A tensor of another shape than the one the interface asks for."""


def check_shape(
    value: Tensor, shape: str, sizes: dict[str, int] | None = None, *, name: str = "tensor"
) -> dict[str, int]:
    """The sizes of the named axes of ``value``, or an error.

    Args:
        value: any tensor.
        shape: names of the axes, separated by blanks; a number stands for itself, ``...`` for any
            axes.
        sizes: sizes that are known already, by axis name.
        name: what the message calls the tensor.

    Returns:
        ``sizes`` extended by the axes that ``shape`` names.

    Raises:
        ShapeError: if the number of axes or the size of one differs.

    Example:
        >>> import torch
        >>> check_shape(torch.zeros(3, 2), "B p", {"B": 3})
        {'B': 3, 'p': 2}
    """
    if not isinstance(value, Tensor):
        raise ShapeError(
            f"{name}: expected a tensor of shape ({shape}), got {type(value).__name__}"
        )
    found = dict(sizes or {})
    axes, actual = shape.split(), list(value.shape)
    if "..." in axes:
        at = axes.index("...")
        after = len(axes) - at - 1
        if len(actual) >= len(axes) - 1:
            axes = axes[:at] + axes[at + 1 :]
            actual = actual[:at] + actual[len(actual) - after :]
    wanted = [int(axis) if axis.isdigit() else found.get(axis) for axis in axes]
    if len(axes) != len(actual) or any(
        want not in (None, size) for want, size in zip(wanted, actual)
    ):
        known = ", ".join(f"{axis} = {size}" for axis, size in found.items() if axis in axes)
        raise ShapeError(
            f"{name}: expected shape "
            f"({', '.join(shape.split())}){f' with {known}' if known else ''}, got "
            f"{tuple(value.shape)}"
        )
    found.update({axis: size for axis, size in zip(axes, actual) if not axis.isdigit()})
    return found


def check_choice(value: object, choices: Any, *, name: str) -> None:
    """Refuses a word that is none of those of a ``Literal``.

    Args:
        value: what came.
        choices: the ``Literal``.
        name: what the message calls it.

    Raises:
        DescentError: if it is another word.

    Example:
        >>> from typing import Literal
        >>> check_choice("gru", Literal["tanh", "gru"], name="cell")
    """
    known = get_args(choices)
    if value not in known:
        raise DescentError(f"{name}: expected one of {', '.join(map(str, known))}, got {value!r}")


def check_whole(value: object, *, name: str, least: int = 1, most: int | None = None) -> None:
    """Refuses what is no whole number, or lies outside a range.

    Args:
        value: what came.
        name: what the message calls it.
        least: the smallest number that is taken.
        most: the largest one; ``None`` for any.

    Raises:
        DescentError: if it is no such number.

    Example:
        >>> check_whole(4, name="num_steps")
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise DescentError(f"{name}: expected a whole number, {least} or more, got {value!r}")
    if int(value) < least:
        raise DescentError(f"{name}: expected {least} or more, got {value}")
    if most is not None and int(value) > most:
        raise DescentError(f"{name}: expected at most {most:,}, got {int(value):,}")


def check_real(
    value: object, *, name: str, positive: bool = False, below: float = math.inf
) -> None:
    """Refuses what is no finite number, is negative, or is too large.

    Args:
        value: what came.
        name: what the message calls it.
        positive: whether 0 is refused too.
        below: the first number that is too large.

    Raises:
        DescentError: if it is no such number.

    Example:
        >>> check_real(0.5, name="dropout", below=1)
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not 0 <= value < below or (positive and value == 0):  # type: ignore[operator]
        if below == math.inf:
            wanted = "a positive number" if positive else "a number >= 0"
        else:
            wanted = f"a share in {'(' if positive else '['}0, {below:g})"
        raise DescentError(f"{name}: expected {wanted}, got {value!r}")


def check_levels(images: Tensor, name: str, *, wait: bool) -> None:
    """Refuses images in 0..1, where grey levels and colours in 0..255 are meant: nothing would be
    seen in them.

    Whole numbers are taken as they are, and so are images that are black all over.

    Args:
        images: images of any shape.
        name: what the message calls them.
        wait: whether a device may be waited for; else only images on the CPU are looked at, and not
            in a graph.

    Raises:
        DescentError: if they are of floating point, none of them above 1, and not all of them 0.

    Example:
        >>> check_levels(torch.full((1, 1, 4, 4), 200.0), "image", wait=False)
    """
    idle = images.device.type != "cpu" or torch.compiler.is_compiling()
    if not images.is_floating_point() or images.numel() == 0 or (idle and not wait):
        return
    most = images.max()
    if most <= 1 and images.any():
        raise DescentError(
            f"{name}: expected grey levels or colours in 0..255, got floating point of at most "
            f"{most.item():.3g}: multiply images in 0..1 by 255"
        )


@contextmanager
def calling(what: str) -> Iterator[None]:
    """Runs code of the user: whatever it raises becomes one message that names it; errors of ours
    and of files stay.

    Args:
        what: what is called, such as ``"Blobs.initial"``.

    Raises:
        DescentError: if the body raises anything; it says where.

    Example:
        >>> with calling("Blobs.target"):
        ...     {}["points"]
        Traceback (most recent call last):
        learned_descent.errors.DescentError: Blobs.target failed with KeyError: 'points'
    """
    try:
        yield
    except (DescentError, OSError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever a user's code raises
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if not frame.filename.startswith(_NOT_OURS)
        ]
        where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
        raise DescentError(f"{what} failed with {type(error).__name__}: {error}{where}") from error


@contextmanager
def about(what: str) -> Iterator[None]:
    """Puts before a message what it is about, such as ``"the val samples"``.

    Example:
        >>> with about("the val samples"):
        ...     raise DescentError("expected one or more, got none")
        Traceback (most recent call last):
        learned_descent.errors.DescentError: the val samples: expected one or more, got none
    """
    try:
        yield
    except DescentError as error:
        raise DescentError(f"{what}: {error}") from error
