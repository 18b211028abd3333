"""Errors that say what came, what was expected and what to do; the one shape check."""

from __future__ import annotations

from torch import Tensor


class DescentError(ValueError):
    """A mistake that the caller can mend: the message says what came, what was expected and what to do."""


class ShapeError(DescentError):
    """A tensor of another shape than the one the interface asks for."""


def check_shape(value: Tensor, shape: str, sizes: dict[str, int] | None = None, *, name: str = "tensor") -> dict[str, int]:
    """The sizes of the named axes of ``value``, or an error.

    Args:
        value: any tensor.
        shape: names of the axes, separated by blanks; a number stands for itself, ``...`` for any axes.
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
        raise ShapeError(f"{name}: expected a tensor of shape ({shape}), got {type(value).__name__}")
    found = dict(sizes or {})
    axes, actual = shape.split(), list(value.shape)
    if "..." in axes:
        at = axes.index("...")
        after = len(axes) - at - 1
        if len(actual) >= len(axes) - 1:
            axes = axes[:at] + axes[at + 1 :]
            actual = actual[:at] + actual[len(actual) - after :]
    wanted = [int(axis) if axis.isdigit() else found.get(axis) for axis in axes]
    if len(axes) != len(actual) or any(want not in (None, size) for want, size in zip(wanted, actual)):
        known = ", ".join(f"{axis} = {size}" for axis, size in found.items() if axis in axes)
        raise ShapeError(
            f"{name}: expected shape ({', '.join(shape.split())}){f' with {known}' if known else ''}, got {tuple(value.shape)}"
        )
    found.update({axis: size for axis, size in zip(axes, actual) if not axis.isdigit()})
    return found
