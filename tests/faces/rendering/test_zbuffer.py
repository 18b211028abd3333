"""Rotation, projection and the z-buffer."""

from __future__ import annotations

import math

import pytest
import torch

from learned_descent.faces.rendering.zbuffer import (
    LARGEST_GRID,
    ZBuffer,
    in_perspective,
    normals,
    rotation,
)

SIDE, SIZE = 40, 32
FIRST = torch.zeros(1, dtype=torch.long)


def plane(depth: float = 0.0, tilt: float = 0.0) -> torch.Tensor:
    """A plane over the picture as a grid ``(1, 3, G, G)``: column, row, depth."""
    line = torch.linspace(-4.0, SIZE + 3.0, SIDE)
    row, column = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([column, row, depth + tilt * column])[None]


def solid(grid: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(grid[:, 0], dtype=torch.bool)


@pytest.mark.parametrize(
    ("pose", "nose"),
    [((0.3, 0, 0), (1, 0)), ((-0.3, 0, 0), (-1, 0)), ((0, 0.3, 0), (0, -1)), ((0, 0, 0.3), (0, 0))],
)
def test_signs_of_the_pose(pose, nose):
    """A positive yaw turns the nose to the right of the picture, a positive pitch lifts it."""
    found = rotation(torch.tensor([pose], dtype=torch.float32))[0] @ torch.tensor([0.0, 0.0, 1.0])
    torch.testing.assert_close(
        found[:2].sign() * (found[:2].abs() > 1e-6), torch.tensor(nose, dtype=torch.float32)
    )


def test_a_positive_roll_is_clockwise():
    found = rotation(torch.tensor([[0.0, 0.0, math.pi / 2]]))[0] @ torch.tensor([1.0, 0.0, 0.0])
    torch.testing.assert_close(found, torch.tensor([0.0, 1.0, 0.0]))


def test_rotations_keep_lengths():
    turn = rotation(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(turn @ turn.mT, torch.eye(3).expand(5, 3, 3))
    torch.testing.assert_close(torch.linalg.det(turn), torch.ones(5))


def test_what_is_nearer_looks_larger():
    points = torch.tensor([[[10.0, 10.0], [4.0, 4.0], [0.0, 100.0]]])
    torch.testing.assert_close(
        in_perspective(points, torch.tensor([200.0])),
        torch.tensor([[[10.0, 20.0], [4.0, 8.0], [0.0, 100.0]]]),
    )


def test_normals_point_to_the_camera():
    torch.testing.assert_close(normals(plane())[0, :, 5, 5], torch.tensor([0.0, 0.0, 1.0]))
    tilted = normals(plane(tilt=1.0))[0, :, 5, 5]
    torch.testing.assert_close(tilted, torch.tensor([-1.0, 0.0, 1.0]) / math.sqrt(2))


def test_pixels_see_the_exact_place():
    """The column and the row of the surface, looked up in every pixel, are those of the pixel."""
    grid = plane()
    seen = ZBuffer(grid, solid(grid), SIZE)
    assert seen.covered.all()
    found = seen.look_up(grid[:, :2])[0]
    line = torch.arange(SIZE, dtype=torch.float32)
    torch.testing.assert_close(
        found, torch.stack(torch.meshgrid(line, line, indexing="xy")), atol=1e-3, rtol=0
    )


def test_a_coarse_grid_has_no_holes():
    grid = plane()[..., ::2, ::2]
    seen = ZBuffer(grid, solid(grid), SIZE)
    assert seen.covered[0, 2:-2, 2:-2].all()
    found = seen.look_up(grid[:, :2])[0, 0, 2:-2, 2:-2]
    torch.testing.assert_close(
        found, torch.arange(2.0, SIZE - 2).expand_as(found), atol=0.3, rtol=0
    )


def test_the_nearer_surface_is_seen():
    """The left half of the grid folds over the right one, 20 mm nearer."""
    grid = plane()
    grid[:, 0, :, : SIDE // 2] = grid[:, 0, :, SIDE // 2 :]
    grid[:, 2, :, : SIDE // 2] = 20.0
    seen = ZBuffer(grid, solid(grid), SIZE)
    right = seen.covered[0, 4:-4, SIZE // 2 + 2 : -4]
    assert right.all()
    assert (seen.depth(FIRST)[0, 4:-4, SIZE // 2 + 2 : -4] > 15).all()


def test_what_is_hidden():
    grid = plane(depth=10.0)
    seen = ZBuffer(grid, solid(grid), SIZE)
    points = torch.tensor([[[8.0, 8.0, -40.0], [8.0, 8.0, 8.0], [11.0, -11.0, -11.0]]])
    assert seen.in_front(points, margin=5.0).tolist() == [[True, False, False]]
    gone = ZBuffer(grid, ~solid(grid), SIZE)
    assert gone.in_front(points, margin=5.0).all()
    assert not gone.covered.any()


def test_the_largest_grid_fits_its_keys():
    line = torch.linspace(0.0, SIZE - 1.0, LARGEST_GRID)
    row, column = torch.meshgrid(line, line, indexing="ij")
    grid = torch.stack([column, row, torch.full_like(row, -480.0)])[None]
    seen = ZBuffer(grid, solid(grid), SIZE)
    assert seen.covered.all()
    torch.testing.assert_close(seen.depth(FIRST), torch.full((1, SIZE, SIZE), -480.0))
