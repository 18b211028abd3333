from __future__ import annotations

import pytest
import torch

from learned_descent import DescentError, ShapeError
from learned_descent.problems.photometric.warps import Warps, project, velocities

KINDS = ["affine", "homography"]


@pytest.fixture
def moves(request) -> torch.Tensor:
    return 0.4 * torch.randn(64, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_the_logarithm_undoes_the_exponential(kind, moves):
    warps = Warps(kind)
    delta = moves[:, : 2 * len(warps.controls)]
    assert torch.allclose(warps.logarithm(warps.exponential(delta)), delta, atol=1e-12)
    assert torch.allclose(warps.logarithm(7 * warps.exponential(delta)), delta, atol=1e-12), (
        "a warp has no scale"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_exponential_of_a_sum_along_one_line_is_a_product(kind, moves):
    warps = Warps(kind)
    delta = moves[:, : 2 * len(warps.controls)]
    half = warps.exponential(delta / 2)
    twice = half @ half
    assert torch.allclose(twice / twice[:, 2:, 2:], warps.exponential(delta))


@pytest.mark.parametrize("kind", KINDS)
def test_a_coordinate_is_the_velocity_of_a_control_point(kind):
    warps = Warps(kind)
    size = 2 * len(warps.controls)
    unit = torch.eye(size, dtype=torch.float64)
    assert torch.allclose(velocities(warps.generators, warps.controls).flatten(1), unit, atol=1e-15)
    moved = project(warps.exponential(1e-6 * unit), warps.controls) - warps.controls
    assert torch.allclose(moved.flatten(1), 1e-6 * unit, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_affine_warps_are_a_subgroup(kind, moves):
    warps = Warps("affine")
    reached = warps.exponential(moves[:, :6]) @ warps.exponential(moves[:, 2:])
    assert torch.allclose(reached[:, 2], reached.new_tensor([0, 0, 1]).expand(len(reached), 3))
    assert torch.allclose(
        torch.linalg.det(torch.matrix_exp(warps.generators)), torch.ones(6, dtype=torch.float64)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_warp_through_points(kind, moves):
    warps = Warps(kind)
    points = warps.controls + moves[:, : 2 * len(warps.controls)].unflatten(1, (-1, 2)) / 4
    warp = warps.through(points)
    assert torch.allclose(project(warp, warps.controls), points)
    assert (warp[:, 2, 2] == 1).all()
    assert (warps.depth(warp) > 0).all()


def test_a_folded_quadrilateral_has_the_horizon_within_it():
    warps = Warps("homography")
    points = warps.controls.clone()[None]
    points[0, 2] = torch.tensor([-0.5, -0.5])
    assert warps.depth(warps.through(points)) <= 0


def test_points_beyond_the_horizon_stay_finite():
    warp = torch.tensor([[[1.0, 0, 0], [0, 1, 0], [2, 0, 1]]])
    assert project(warp, torch.tensor([[-0.5, 0.0], [-1.0, 1.0]])).isfinite().all()


def test_a_reflection_has_no_logarithm():
    assert (
        not Warps("affine").logarithm(torch.diag(torch.tensor([-1.0, 1, 1]))[None]).isfinite().all()
    )


def test_messages():
    with pytest.raises(DescentError, match="warp: expected one of affine, homography, got 'rigid'"):
        Warps("rigid")
    with pytest.raises(ShapeError, match=r"points: expected shape \(B, 3, 2\), got \(1, 4, 2\)"):
        Warps("affine").through(torch.zeros(1, 4, 2))
