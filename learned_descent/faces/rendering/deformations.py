"""How heads differ and how they move: smooth fields of displacement over the mean head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

Field: TypeAlias = Callable[[Tensor, Tensor, Tensor], Sequence[Tensor | float]]
"""The displacement ``(dx, dy, dz)`` at ``(x, y, z)``, all in mm, of the right half of the image:
``x >= 0``."""


def _bump(
    x: Tensor, y: Tensor, at: tuple[float, float], width: float, height: float | None = None
) -> Tensor:
    """One at ``at``, and falling off smoothly within ``width`` and ``height`` (mm)."""
    return (-(((x - at[0]) / width) ** 2) - ((y - at[1]) / (height or width)) ** 2).exp()


def _below(y: Tensor, at: float, soft: float) -> Tensor:
    """From 0 above ``at`` to 1 below it, within ``soft`` mm."""
    return ((y - at) / soft).sigmoid()


def _jaw_drop(x: Tensor, y: Tensor, z: Tensor) -> Sequence[Tensor | float]:
    """The jaw turns about its joint; 1 mm at the lower lip."""
    moved = _below(y, 72.2, 0.7) + 0.3 * _bump(x, y, (25.0, 70.0), 5.0, 3.0)
    fade = ((200.0 - y) / 60.0).clamp(0.0, 1.0)
    return (
        0.0,
        moved * fade * ((z + 86.0) / 92.0).clamp(min=0.0),
        -moved * fade * (y - 15.0) / 120.0,
    )


IDENTITY: Mapping[str, tuple[float, Field]] = {
    "face width": (0.045, lambda x, y, z: (x, 0.0, 0.0)),
    "face length": (0.04, lambda x, y, z: (0.0, y.clamp(min=0.0), 0.0)),
    "depth": (0.05, lambda x, y, z: (0.0, 0.0, z)),
    "forehead": (0.06, lambda x, y, z: (0.0, (y + 25.0).clamp(max=0.0), 0.0)),
    "forehead slope": (3.0, lambda x, y, z: (0.0, 0.0, _below(-y, 35.0, 15.0))),
    "jaw width": (
        4.0,
        lambda x, y, z: (_below(y, 60.0, 12.0) * (x / 50.0).clamp(max=1.2), 0.0, 0.0),
    ),
    "chin length": (
        3.5,
        lambda x, y, z: (0.0, _below(y, 98.0, 5.0) * (-((x / 45.0) ** 2)).exp(), 0.0),
    ),
    "chin depth": (3.0, lambda x, y, z: (0.0, 0.0, _bump(x, y, (0.0, 110.0), 30.0, 16.0))),
    "chin width": (3.0, lambda x, y, z: (_bump(x, y, (22.0, 112.0), 18.0, 12.0), 0.0, 0.0)),
    "fullness": (
        5.0,
        lambda x, y, z: (
            _bump(x, y, (62.0, 66.0), 26.0, 34.0),
            0.0,
            _bump(x, y, (46.0, 66.0), 20.0, 30.0),
        ),
    ),
    "cheekbones": (
        2.5,
        lambda x, y, z: (_bump(x, y, (64.0, 20.0), 20.0), 0.0, _bump(x, y, (50.0, 22.0), 20.0)),
    ),
    "nose length": (3.0, lambda x, y, z: (0.0, _bump(x, y, (0.0, 46.0), 22.0, 16.0), 0.0)),
    "nose width": (2.2, lambda x, y, z: (_bump(x, y, (14.0, 44.0), 8.0, 9.0), 0.0, 0.0)),
    "nose tip": (2.5, lambda x, y, z: (0.0, 0.0, _bump(x, y, (0.0, 38.0), 11.0, 12.0))),
    "nose bridge": (2.2, lambda x, y, z: (0.0, 0.0, _bump(x, y, (0.0, 12.0), 11.0, 16.0))),
    "nose tilt": (1.8, lambda x, y, z: (0.0, -_bump(x, y, (0.0, 36.0), 10.0, 8.0), 0.0)),
    "eye distance": (1.8, lambda x, y, z: (_bump(x, y, (32.0, 0.0), 24.0, 12.0), 0.0, 0.0)),
    "eye length": (
        1.4,
        lambda x, y, z: ((x - 32.5) / 13.0 * _bump(x, y, (32.5, 0.0), 18.0, 9.0), 0.0, 0.0),
    ),
    "eye height": (0.8, lambda x, y, z: (0.0, y / 5.0 * _bump(x, y, (32.5, 0.0), 16.0, 8.0), 0.0)),
    "eye slant": (
        1.4,
        lambda x, y, z: (0.0, (32.5 - x) / 13.0 * _bump(x, y, (32.5, 0.0), 18.0, 10.0), 0.0),
    ),
    "eye depth": (2.0, lambda x, y, z: (0.0, 0.0, _bump(x, y, (32.0, 0.0), 18.0, 11.0))),
    "eye level": (1.8, lambda x, y, z: (0.0, _bump(x, y, (32.0, -5.0), 30.0, 18.0), 0.0)),
    "brow level": (2.6, lambda x, y, z: (0.0, _bump(x, y, (36.0, -22.0), 34.0, 9.0), 0.0)),
    "brow slope": (
        2.2,
        lambda x, y, z: (0.0, (x - 36.0) / 22.0 * _bump(x, y, (36.0, -20.0), 34.0, 9.0), 0.0),
    ),
    "brow arch": (1.8, lambda x, y, z: (0.0, -_bump(x, y, (42.0, -22.0), 11.0, 9.0), 0.0)),
    "brow length": (
        2.0,
        lambda x, y, z: ((x - 36.0) / 22.0 * _bump(x, y, (36.0, -20.0), 34.0, 9.0), 0.0, 0.0),
    ),
    "brow ridge": (2.0, lambda x, y, z: (0.0, 0.0, _bump(x, y, (30.0, -17.0), 34.0, 8.0))),
    "mouth level": (2.4, lambda x, y, z: (0.0, _bump(x, y, (0.0, 74.0), 38.0, 16.0), 0.0)),
    "mouth width": (
        2.4,
        lambda x, y, z: (x / 26.0 * _bump(x, y, (0.0, 72.0), 36.0, 14.0), 0.0, 0.0),
    ),
    "upper lip": (
        1.2,
        lambda x, y, z: (
            0.0,
            -_bump(x, y, (0.0, 63.0), 20.0, 3.4),
            0.4 * _bump(x, y, (0.0, 65.0), 18.0, 6.0),
        ),
    ),
    "lower lip": (
        1.4,
        lambda x, y, z: (
            0.0,
            _bump(x, y, (0.0, 85.0), 20.0, 5.0),
            0.4 * _bump(x, y, (0.0, 80.0), 18.0, 6.0),
        ),
    ),
    "mouth depth": (2.4, lambda x, y, z: (0.0, 0.0, _bump(x, y, (0.0, 72.0), 34.0, 22.0))),
    "neck": (5.0, lambda x, y, z: (_below(y, 130.0, 6.0) * x / 50.0, 0.0, 0.0)),
}
"""How heads differ: the standard deviation of each mode, and its field."""

EXPRESSION: Mapping[str, Field] = {
    "open": _jaw_drop,
    "blink": lambda x, y, z: (
        0.0,
        8.4 * _bump(x, y, (32.8, -5.0), 15.0, 3.4) + 3.0 * _bump(x, y, (32.8, -11.0), 15.0, 4.0),
        -1.2 * _bump(x, y, (32.8, -5.0), 15.0, 3.0),
    ),
    "squint": lambda x, y, z: (0.0, -2.4 * _bump(x, y, (32.8, 5.0), 15.0, 3.2), 0.0),
    "smile": lambda x, y, z: (
        5.5 * _bump(x, y, (27.0, 70.0), 15.0, 12.0) + 3.0 * _bump(x, y, (44.0, 52.0), 18.0),
        -5.0 * _bump(x, y, (27.0, 70.0), 13.0, 12.0) - 3.0 * _bump(x, y, (36.0, 40.0), 18.0, 16.0),
        -5.0 * _bump(x, y, (27.0, 70.0), 13.0, 12.0) + 4.0 * _bump(x, y, (38.0, 42.0), 15.0, 14.0),
    ),
    "grin": lambda x, y, z: (
        0.0,
        -3.6 * _bump(x, y, (0.0, 66.0), 20.0, 6.0)
        + _below(y, 72.2, 0.7) * _bump(x, y, (0.0, 78.0), 26.0, 9.0),
        0.0,
    ),
    "pout": lambda x, y, z: (
        -6.0 * x / 27.0 * _bump(x, y, (0.0, 72.0), 34.0, 14.0),
        0.0,
        5.0 * _bump(x, y, (0.0, 73.0), 17.0, 11.0),
    ),
    "sulk": lambda x, y, z: (0.0, 4.0 * _bump(x, y, (27.0, 70.0), 11.0, 9.0), 0.0),
    "raise": lambda x, y, z: (0.0, -6.0 * _bump(x, y, (36.0, -22.0), 32.0, 11.0), 0.0),
    "frown": lambda x, y, z: (
        -2.5 * _bump(x, y, (14.0, -18.0), 13.0),
        5.0 * _bump(x, y, (13.0, -18.0), 14.0, 11.0),
        0.0,
    ),
}
"""How one head moves: each field is of full strength."""


def closing(template: Float[Tensor, "K 3"]) -> Float[Tensor, "K 3"]:
    """The displacement in mm that closes the mouth of the mean head, by its lower lip."""
    x, y, _ = template.T
    shift = torch.zeros_like(template)
    shift[:, 1] = -6.0 * _below(y, 72.2, 0.7) * _bump(x, y, (0.0, 75.0), 30.0, 13.0)
    return shift


def modes(template: Float[Tensor, "K 3"]) -> Float[Tensor, "M K 3"]:
    """The displacements, in mm, of points of the mean head by one unit of each mode: of identity,
    then of expression.
    """
    x, y, z = template.T
    fields = []
    for spread, field in [*IDENTITY.values(), *((1.0, field) for field in EXPRESSION.values())]:
        columns = [torch.as_tensor(part).expand_as(x) for part in field(x.abs(), y, z)]
        fields.append(spread * torch.stack([columns[0] * x.sign(), *columns[1:]], 1))
    return torch.stack(fields)
