"""The parametric head: landmarks on its surface, symmetric, and moved by modes as their names
say."""

from __future__ import annotations

import pytest
import torch

from learned_descent.faces.rendering.deformations import EXPRESSION, IDENTITY
from learned_descent.faces.rendering.head import Head, spline_weights, to_map
from learned_descent.faces.rendering.regions import LIPS
from learned_descent.landmarks.schema import IBUG68

NAMES = [*IDENTITY, *EXPRESSION]
OTHER_SIDE = torch.tensor([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def head() -> Head:
    return Head(48)


def landmarks(head: Head, **coefficients: float) -> torch.Tensor:
    """The landmarks of one head ``(L, 3)`` under modes given by name, with ``_`` for a space."""
    values = torch.zeros(1, len(NAMES))
    for name, value in coefficients.items():
        values[0, NAMES.index(name.replace("_", " "))] = value
    return head.controls(values, torch.zeros(1, head.num_controls, 3))[0, : head.num_landmarks]


def height(points: torch.Tensor, eye: tuple[int, ...] = IBUG68.left_eye) -> float:
    """How far the lids are open, in mm."""
    return float((points[[eye[4], eye[5]], 1] - points[[eye[2], eye[1]], 1]).mean())


def gap(points: torch.Tensor) -> float:
    """How far the mouth is open, in mm."""
    inner = LIPS[1]
    return float(points[inner[6], 1] - points[inner[2], 1])


def test_the_mean_head_is_its_own_mirror_image(head):
    points = landmarks(head)
    torch.testing.assert_close(points[list(IBUG68.mirror)] * OTHER_SIDE, points)
    surface = head.surface(head.template.unsqueeze(0))[0]
    torch.testing.assert_close(
        surface.flip(2) * OTHER_SIDE[:, None, None], surface, atol=1e-2, rtol=0
    )


def test_every_mode_keeps_the_symmetry(head):
    opposite = head.modes[:, list(IBUG68.mirror)] * OTHER_SIDE
    torch.testing.assert_close(opposite, head.modes[:, : head.num_landmarks], atol=1e-5, rtol=0)


def test_landmarks_lie_on_the_surface(head):
    """A spline through the controls gives them back, so that every landmark is a point of the
    surface."""
    weights = spline_weights(head.control_places, head.control_places)
    torch.testing.assert_close(weights, torch.eye(head.num_controls), atol=1e-3, rtol=0)
    surface = head.surface(head.template.unsqueeze(0))[0].flatten(1).T
    nearest = torch.cdist(landmarks(head), surface).amin(1)
    assert nearest.max() < 8  # mm: about the distance between the points of this coarse grid


def test_a_spline_gives_back_what_is_linear():
    controls = torch.randn(12, 2, generator=torch.Generator().manual_seed(0))
    places = torch.tensor([[0.3, -0.2], [2.0, 1.0]])
    torch.testing.assert_close(
        spline_weights(places, controls) @ controls, places, atol=1e-4, rtol=1e-4
    )


def test_the_map_keeps_distances_from_its_middle():
    """The point straight ahead is the middle; one straight to the side is a quarter of a circle
    away."""
    ahead, aside = to_map(torch.tensor([[0.0, 12.0, 50.0], [70.0, 12.0, -92.0]]))
    assert ahead.abs().max() < 1e-6
    torch.testing.assert_close(aside, torch.tensor([92 * torch.pi / 2, 0.0], dtype=torch.float64))


def test_the_mean_face_has_the_proportions_of_an_adult(head):
    points = landmarks(head)
    left, right = IBUG68.outer_eye_corners
    assert points[right, 0] - points[left, 0] == pytest.approx(90, abs=4)
    assert points[:, 0].max() - points[:, 0].min() == pytest.approx(150, abs=8)
    assert gap(points) == pytest.approx(0, abs=0.5)
    assert height(points) == pytest.approx(9, abs=1.5)
    assert points[:, 2].argmax() == 30  # the tip of the nose is nearest to the camera


def test_expressions_do_what_their_names_say(head):
    still = landmarks(head)
    assert gap(landmarks(head, open=20.0)) == pytest.approx(20, abs=2)
    assert height(landmarks(head, blink=1.0)) < 2
    corners = [LIPS[0][0], LIPS[0][6]]
    smile = landmarks(head, smile=1.0)
    assert (smile[corners, 1] < still[corners, 1] - 2).all()
    assert (
        smile[corners[1], 0] - smile[corners[0], 0]
        > still[corners[1], 0] - still[corners[0], 0] + 5
    )
    assert (landmarks(head, **{"raise": 1.0})[18:26, 1] < still[18:26, 1] - 2).all()


def test_lids_and_lips_never_cross(head):
    squeezed = landmarks(head, blink=1.5, squint=1.0, open=-5.0)
    assert height(squeezed) == gap(squeezed) == 0


def test_wandering_is_smooth_and_about_a_millimetre(head):
    noise = torch.randn(200, head.num_controls, 3, generator=torch.Generator().manual_seed(0))
    moved = head.controls(torch.zeros(200, len(NAMES)), noise) - head.template
    assert moved.std() == pytest.approx(1.0, abs=0.15)
    eye = list(IBUG68.left_eye)
    assert (moved[:, eye[0]] - moved[:, eye[1]]).std() < 0.6


def test_the_contour_of_a_turned_head_moves_over_the_far_cheek(head):
    controls = head.template.unsqueeze(0)
    points, lines = controls[:, : head.num_landmarks].mT, head.contours(controls)
    angle = torch.tensor(0.7)
    turn = torch.tensor([[angle.cos(), 0, angle.sin()], [0, 1, 0], [-angle.sin(), 0, angle.cos()]])
    seen = head.with_contour(turn @ points, turn @ lines, torch.zeros(1))[0]
    plain = (turn @ points)[0]
    assert (
        seen[0, 11:16] > plain[0, 11:16] + 2
    ).all()  # the nose points to the right: the right cheek is the far one
    torch.testing.assert_close(seen[:, :4], plain[:, :4], atol=0.5, rtol=0)
    torch.testing.assert_close(seen[:, 17:], plain[:, 17:])
    assert (seen[0, 8:17] <= (turn @ head.surface(controls).flatten(2))[0, 0].max() + 1).all()
    upright = head.with_contour(points, lines, torch.zeros(1))
    torch.testing.assert_close(upright, points, atol=4.0, rtol=0)
