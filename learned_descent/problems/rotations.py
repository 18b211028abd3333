"""Rotations, by roma: it brings the whole of PyTorch's compiler along, so it is imported when it is
first used.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def rotvec_to_rotmat(vector: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 3 3"]:
    """The rotation about ``vector``, by its length in rad."""
    import roma

    matrix: Tensor = roma.rotvec_to_rotmat(vector)
    return matrix


def rotmat_to_rotvec(matrix: Float[Tensor, "*B 3 3"]) -> Float[Tensor, "*B 3"]:
    """The axis of a rotation, as long as its angle in rad."""
    import roma

    vector: Tensor = roma.rotmat_to_rotvec(matrix)
    return vector


def rotmat_geodesic_distance(
    first: Float[Tensor, "*B 3 3"], second: Float[Tensor, "*B 3 3"]
) -> Float[Tensor, "*B"]:
    """The angle between two rotations, in rad."""
    import roma

    angle: Tensor = roma.rotmat_geodesic_distance(first, second)
    return angle


def at_rest(count: int, like: Tensor) -> Float[Tensor, "B 12"]:
    """Motions without a rotation, row by row, and without a shift; numbers in a list would stall a
    GPU.
    """
    motions = like.new_zeros(count, 12)
    motions[:, :9:4] = 1
    return motions
