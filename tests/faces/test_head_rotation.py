"""Heads that turn in their pictures: landmarks and pixels move as a solid head says, or not at
all."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from learned_descent.faces.head_rotation import Turning
from learned_descent.faces.rendering.head import Head
from learned_descent.faces.rendering.zbuffer import angles, in_perspective, rotation
from learned_descent.landmarks.augmentation import Augmentation, augment
from learned_descent.landmarks.schema import IBUG68, schema

SIDE = 96
SCALE = 0.36
"""px per mm of the heads."""


@pytest.fixture(scope="module")
def head() -> Head:
    return Head(8)


def seen(head: Head, yaw: float, pitch: float = 0.0, markup=IBUG68) -> torch.Tensor:
    """The landmarks of the mean head from far away, in px, around the middle of the picture, ``(1,
    L, 2)``."""
    pose = torch.tensor([[math.radians(yaw), math.radians(pitch), 0.0]])
    far = torch.tensor([1e7])
    points, lines = (
        in_perspective(rotation(pose) @ part, far)
        for part in (head.template[: head.num_landmarks].mT, head.contours(head.template[None]))
    )
    kept = list(markup.indices() if markup is IBUG68 else markup.within(IBUG68.num_points))
    flat = SCALE * head.with_contour(points, lines, pose[:, 2])[:, :2, kept].mT
    return flat - flat.mean(1, keepdim=True) + (SIDE - 1) / 2


def turn_by(yaw: float, pitch: float = 0.0) -> torch.Tensor:
    return torch.tensor([[math.radians(yaw), math.radians(pitch)]])


def dot(at: torch.Tensor) -> torch.Tensor:
    """A picture with a bright round dot at one place, ``(1, 1, S, S)``."""
    pixels = torch.arange(float(SIDE))
    along, down = ((pixels - place).square() for place in at)
    return 255 * (-(down[:, None] + along) / 4).exp()[None, None]


@pytest.mark.parametrize("name", ["ibug68", "ibug51", "ibug49"])
@pytest.mark.parametrize(
    ("start", "yaw", "pitch"), [(0, 15, 0), (-10, 20, 0), (25, -15, 0), (0, 0, 8)]
)
def test_the_mean_head_turns_as_a_solid_does(head, name, start, yaw, pitch):
    markup = schema(name)
    moved, _, turned = Turning(markup)(seen(head, start, markup=markup), turn_by(yaw, pitch), SIDE)
    torch.testing.assert_close(turned, turn_by(yaw, pitch))
    expected = seen(head, start + yaw, pitch, markup)
    assert (moved - expected).norm(
        dim=2
    ).max() < 0.6  # px: the smooth spline rounds what the contour does
    assert (seen(head, start, markup=markup) - expected).norm(dim=2).mean() > 3 * (
        moved - expected
    ).norm(dim=2).mean()


@pytest.mark.parametrize("landmark", [4, 8, 12, 30, 33])
def test_pixels_go_where_the_landmarks_go(head, landmark):
    points = seen(head, 0)
    moved, field, _ = Turning(IBUG68)(points, turn_by(14, 6), SIDE)
    still = F.affine_grid(torch.eye(2, 3)[None], [1, 1, SIDE, SIDE], align_corners=True)
    grid = still + F.grid_sample(field, still, align_corners=True).movedim(1, 3)
    mass = F.grid_sample(dot(points[0, landmark]), grid, align_corners=True)[0, 0]
    mass = torch.where(mass > 100, mass, 0) / torch.where(mass > 100, mass, 0).sum()
    pixels = torch.arange(float(SIDE))
    found = torch.stack([(mass.sum(0) * pixels).sum(), (mass.sum(1) * pixels).sum()])
    assert (found - moved[0, landmark]).norm() < min(
        0.6, 0.5 * float((points[0, landmark] - found).norm())
    )


def test_the_rim_of_the_picture_stays(head):
    _, field, _ = Turning(IBUG68)(seen(head, 0), turn_by(15), SIDE)
    corners = field[..., [0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.abs().max() < 0.02 < field.abs().max()


def test_no_turn_is_no_change(head):
    points = seen(head, 10)
    moved, field, _ = Turning(IBUG68)(points, turn_by(0), SIDE)
    torch.testing.assert_close(moved, points, atol=1e-3, rtol=0)
    assert field.abs().max() < 1e-4


def test_a_picture_that_would_fold_stays_and_its_neighbour_turns(head):
    points = seen(head, 0).expand(2, -1, -1)
    moved, field, turned = Turning(IBUG68)(points, torch.cat([turn_by(70), turn_by(10)]), SIDE)
    torch.testing.assert_close(moved[0], points[0])
    assert field[0].abs().max() == turned[0].abs().max() == 0
    assert turned[1, 0] == pytest.approx(math.radians(10))


def test_landmarks_in_one_place_do_no_harm():
    moved, field, _ = Turning(IBUG68)(
        torch.full((1, IBUG68.num_points, 2), 40.0), turn_by(10), SIDE
    )
    assert moved.isfinite().all()
    assert field.isfinite().all()


def test_variants_turn_landmarks_box_and_pose_together(head):
    still = Augmentation(**dict.fromkeys(Augmentation.__dataclass_fields__, 0.0))
    points = seen(head, 5).expand(8, -1, -1)
    tight = torch.cat([points.amin(1), points.amax(1)], 1)
    pose = torch.tensor([[math.radians(5), 0.0, 0.0]]).expand(8, 3)
    batch = {
        "image": torch.zeros(8, 3, SIDE, SIDE), "points": points, "box": tight + 1, "pose": pose,
        "to_photo": torch.eye(2, 3).repeat(8, 1, 1),
    }  # fmt: skip
    how = Augmentation(**{**still.__dict__, "turn": 15.0})
    found = augment(
        batch, how, torch.tensor(IBUG68.mirror), torch.Generator().manual_seed(0), Turning(IBUG68)
    )
    tight = torch.cat([found["points"].amin(1), found["points"].amax(1)], 1)
    torch.testing.assert_close(found["box"], tight + 1, atol=1e-4, rtol=0)
    turns = (found["pose"] - pose).rad2deg()
    assert turns[:, 0].abs().max() <= 15.001
    assert turns[:, 0].std() > 3
    assert turns[:, 1].abs().max() <= 7.6
    assert turns[:, 1].std() > 1
    for row in range(8):
        expected = seen(head, 5 + float(turns[row, 0]), float(turns[row, 1]))[0]
        apart = found["points"][row] - expected
        assert apart.sub(apart.mean(0)).norm(dim=1).max() < 0.6


def test_angles_undo_rotations():
    pose = torch.empty(20, 3).uniform_(-1.2, 1.2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(angles(rotation(pose)), pose, atol=1e-5, rtol=0)
