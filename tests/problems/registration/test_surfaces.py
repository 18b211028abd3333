from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Generator

from learned_descent import DescentError
from learned_descent.problems.registration.surfaces import blob_surface, read_surface


@pytest.fixture(scope="module")
def ball() -> np.ndarray:
    points = np.random.default_rng(0).normal(size=(600, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def test_normals_of_the_blob_are_those_of_its_surface():
    surface = blob_surface(3000)
    assert torch.linalg.vector_norm(surface.normals, dim=1).sub(1).abs().max() < 1e-5
    distances = torch.cdist(surface.points, surface.points).fill_diagonal_(torch.inf)
    nearest = surface.points[distances.argmin(1)] - surface.points
    across = (nearest * surface.normals).sum(1).abs() / distances.amin(1)
    assert across.median() < 0.05  # a neighbour lies in the tangent plane
    assert (surface.points.abs().max() - 1).abs() < 1e-6
    assert surface.points.mean(0).abs().max() < 1e-5


def test_the_blob_is_the_same_every_time_and_has_no_symmetry():
    surface = blob_surface(500)
    assert torch.equal(surface.points, blob_surface(500).points)
    inertia = torch.linalg.eigvalsh(surface.points.T @ surface.points)
    assert (inertia.diff() > 0.05 * inertia[-1]).all()


def test_spread_points_are_far_apart():
    surface = blob_surface(1000)
    chosen, first = surface.spread(50), surface.points[:50]
    closest = [
        torch.cdist(points, points).fill_diagonal_(torch.inf).min()
        for points in (chosen.points, first)
    ]
    assert closest[0] > 3 * closest[1]
    with pytest.raises(
        DescentError, match="num_model: expected at most the 1000 points of the surface, got 1001"
    ):
        surface.spread(1001)


def test_normals_are_estimated_where_there_are_none(tmp_path, ball):
    np.savez(tmp_path / "ball.npz", points=5 * ball + 3)
    surface = read_surface(tmp_path / "ball.npz")
    outwards = torch.nn.functional.normalize(surface.points, dim=1)
    assert (surface.normals * outwards).sum(1).abs().median() > 0.98
    assert surface.points.abs().max() == 1


def test_normals_of_a_file_are_kept(tmp_path, ball):
    np.savez(tmp_path / "ball.npz", points=ball, normals=2 * ball)
    torch.testing.assert_close(
        read_surface(tmp_path / "ball.npz").normals, torch.from_numpy(ball).float()
    )


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"cloud": np.zeros((20, 3))},
            r"expected finite points \(P, 3\), 16 or more, found {'cloud': \(20, 3\)}",
        ),
        ({"points": np.zeros((20, 2))}, r"found {'points': \(20, 2\)}"),
        ({"points": np.zeros((5, 3))}, r"found {'points': \(5, 3\)}"),
        ({"points": np.full((20, 3), np.nan)}, r"expected finite points"),
        (
            {"points": np.eye(20, 3), "normals": np.zeros((3, 3))},
            r"expected normals of the shape of the points \(20, 3\)",
        ),
    ],
)
def test_wrong_arrays(tmp_path, arrays, message):
    np.savez(tmp_path / "wrong.npz", **arrays)
    with pytest.raises(DescentError, match=message):
        read_surface(tmp_path / "wrong.npz")


def test_no_file_and_no_archive(tmp_path):
    (tmp_path / "text.npz").write_text("nothing of the kind")
    for name in ("absent.npz", "text.npz"):
        with pytest.raises(DescentError, match=f"expected an .npz file with points .*{name}"):
            read_surface(tmp_path / name)


def test_a_part_of_the_surface_is_missing_from_a_scan():
    surface, draw = blob_surface(1000), Generator().manual_seed(0)
    missing = {}
    for kept in (1.0, 0.5):
        scans, valid = surface.scans(8, 300, draw, kept=kept)
        away = torch.cdist(surface.points, scans)
        assert away.amin(1)[valid].max() < 1e-2
        missing[kept] = (away.where(valid.unsqueeze(1), torch.inf).amin(2) > 0.15).double().mean(1)
    assert (missing[1.0] < 0.1).all()
    assert ((missing[0.5] > 0.35) & (missing[0.5] < 0.5)).all()


def test_a_scan_has_noise_outliers_and_padding():
    surface, draw = blob_surface(1000), Generator().manual_seed(0)
    scans, valid = surface.scans(20, 200, draw, noise=0.02, outliers=0.3)
    assert 150 <= valid.sum(1).min() < valid.sum(1).max() <= 200
    away = torch.cdist(scans, surface.points).amin(2)
    inliers = torch.arange(200) < (0.69 * valid.sum(1, keepdim=True))
    assert 0.01 < away[inliers].mean() < 0.05
    outliers = valid & (torch.arange(200) > 0.71 * valid.sum(1, keepdim=True))
    assert away[outliers].median() > 0.3
    assert scans[outliers].abs().max() <= 1.5


def test_a_cloud_in_another_format_is_named_with_the_way_out(tmp_path):
    (tmp_path / "scan.ply").write_text("ply\nformat ascii 1.0\n")
    with pytest.raises(
        DescentError, match=r"got one of another kind, .*scan.ply: store its points by numpy.savez"
    ):
        read_surface(tmp_path / "scan.ply")
