"""The One-Euro filter, on points and on the place and shape of an object."""

from __future__ import annotations

import math

import pytest
import torch

from learned_descent import DescentError, ShapeError
from learned_descent.landmarks.geometry import apply_similarity
from learned_descent.landmarks.smoothing import OneEuro, Smoothed, Smoothing

MEAN = torch.tensor([[-0.5, -0.4], [0.5, -0.4], [0.3, 0.5], [-0.3, 0.5]])


def filtered(smooth: OneEuro, values: torch.Tensor, rate: float = 30.0) -> torch.Tensor:
    """A signal ``(T, L, 2)`` frame by frame."""
    before, found = None, []
    for value in values:
        before = smooth(value, passed=1 / rate, before=before)
        found.append(before.points)
    return torch.stack(found)


def tracked(smooth: Smoothing, points: torch.Tensor, rate: float = 30.0) -> torch.Tensor:
    before: Smoothed | None = None
    found = []
    for number, value in enumerate(points):
        before = smooth(value, seconds=number / rate, mean_shape=MEAN, before=before)
        found.append(before.points)
    return torch.stack(found)


def test_without_a_gain_it_is_an_exponential_mean():
    values = torch.randn(20, 3, 2, generator=torch.Generator().manual_seed(0))
    turn = 2 * math.pi * 2.0 / 30
    expected = [values[0]]
    for value in values[1:]:
        expected.append(expected[-1] + turn / (turn + 1) * (value - expected[-1]))
    torch.testing.assert_close(
        filtered(OneEuro(least=2.0, gain=0.0), values), torch.stack(expected)
    )


def test_golden_values_of_the_published_algorithm():
    """By hand, from algorithm 1: least 1 Hz, gain 0.5, 10 frames a second."""
    values = torch.tensor([[[0.0, 0.0]], [[1.0, 0.0]], [[1.0, 0.0]]])
    found = filtered(OneEuro(least=1.0, gain=0.5, velocity=1.0), values, rate=10.0)[:, 0, 0]
    steady = 2 * math.pi * 0.1 / (2 * math.pi * 0.1 + 1)
    speed = steady * 10.0
    first = 2 * math.pi * (1 + 0.5 * speed) * 0.1
    first /= first + 1
    speed += steady * ((1 - first) * 10.0 - speed)
    second = 2 * math.pi * (1 + 0.5 * abs(speed)) * 0.1
    second /= second + 1
    expected = torch.tensor([0.0, first, first + second * (1 - first)])
    torch.testing.assert_close(found, expected)


def test_a_point_at_rest_is_quiet_and_one_that_moves_keeps_up():
    noise = 0.01 * torch.randn(200, 1, 2, generator=torch.Generator().manual_seed(1))
    smooth = OneEuro(least=1.0, gain=5.0)
    assert filtered(smooth, noise)[50:].std() < 0.5 * noise.std()
    moving = noise + torch.arange(200.0)[:, None, None] / 30 * 3
    lag = (moving - filtered(smooth, moving))[50:].mean() * 30 / 3
    slow = (moving - filtered(OneEuro(least=1.0, gain=0.0), moving))[50:].mean() * 30 / 3
    assert lag < 0.5 < 4 < slow


def test_the_unit_of_speed_makes_it_blind_to_size():
    values = torch.randn(20, 3, 2, generator=torch.Generator().manual_seed(2))
    smooth = OneEuro(gain=2.0)
    before = larger = None
    for value in values:
        before = smooth(value, passed=0.1, before=before)
        larger = smooth(value * 50, passed=0.1, before=larger, unit=50.0)
    torch.testing.assert_close(larger.points, before.points * 50)


def test_the_same_moment_changes_nothing():
    smooth = OneEuro()
    before = smooth(torch.zeros(2, 2), passed=0.0)
    assert smooth(torch.ones(2, 2), passed=0.0, before=before) is before


def test_an_object_that_moves_as_a_whole_does_not_lag():
    time = torch.arange(60) / 30
    places = torch.stack(
        [0.2 * time.sin() + 4, 0.3 * time, 200 + 90 * time, 100 + 30 * time], dim=1
    )
    points = apply_similarity(places, MEAN - MEAN.mean(0))
    away = (tracked(Smoothing(), points) - points)[20:].norm(dim=-1).mean(1)
    frame = (points[1:] - points[:-1])[19:].norm(dim=-1).mean(1)
    assert (away < 0.5 * frame).all(), "less than half a frame"


def test_its_shape_is_quieter_than_one_filter_of_points_can_be():
    generator = torch.Generator().manual_seed(3)
    time = torch.arange(120) / 30
    places = torch.stack(
        [torch.full_like(time, 4.0), 0.3 * time.sin(), 200 + 60 * (2 * time).sin(), 100 + 0 * time],
        dim=1,
    )
    truth = apply_similarity(places, MEAN - MEAN.mean(0))
    noise = 0.3 * torch.randn(truth.shape, generator=generator)
    found = (tracked(Smoothing(), truth + noise) - truth)[20:].std()
    assert found < 0.8 * noise.std()


def test_what_was_found_first_stays():
    points = apply_similarity(torch.tensor([[3.0, 0.1, 50.0, 60.0]]), MEAN - MEAN.mean(0))[0]
    first = Smoothing()(points, seconds=2.0, mean_shape=MEAN)
    torch.testing.assert_close(first.points, points)
    assert first.seconds == 2.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"least": 0.0}, "least: expected a positive number, got 0.0"),
        ({"gain": -1.0}, "gain: expected a number >= 0, got -1.0"),
        ({"velocity": math.nan}, "velocity: expected a positive number, got nan"),
    ],
)
def test_settings_that_are_none(settings, message):
    with pytest.raises(DescentError, match=message):
        OneEuro(**settings)


def test_what_is_no_frame_of_the_same_video():
    smooth = Smoothing()
    before = smooth(MEAN * 50, seconds=1.0, mean_shape=MEAN)
    with pytest.raises(DescentError, match="passed, the seconds since the last frame,: expected"):
        smooth(MEAN * 50, seconds=0.5, mean_shape=MEAN, before=before)
    with pytest.raises(ShapeError, match="points: expected shape"):
        smooth(torch.zeros(3, 2), seconds=2.0, mean_shape=MEAN, before=before)
    with pytest.raises(ShapeError, match="before: expected shape"):
        OneEuro()(torch.zeros(3, 2), passed=1.0, before=before.place)
    with pytest.raises(DescentError, match="unit: expected a positive number"):
        OneEuro()(MEAN, passed=1.0, before=before.place, unit=0.0)
