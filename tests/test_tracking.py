"""The measure of tracking: what it says of landmarks of which everything is known."""

from __future__ import annotations

import math

import pytest
import torch

from benchmarks.paper import tracking
from benchmarks.paper.tracking import jitter, lag, motion, smoothed, talking, video
from learned_descent.landmarks.smoothing import Smoothing
from learned_descent.landmarks.tracker import Tracker

from .landmarks.test_tracker import Scene, walk

COUNT = 90
MEAN = torch.tensor([[-0.3, -0.2], [0.3, -0.2], [0.0, 0.4]])


@pytest.fixture
def truth(generator: torch.Generator) -> torch.Tensor:
    seconds = torch.arange(COUNT) / 30
    way = torch.stack([100 + 30 * (3 * seconds).sin(), 80 + 20 * (2 * seconds).cos()], 1)
    return way[:, None] + 100 * MEAN


def test_jitter_is_the_noise_over_the_size(truth: torch.Tensor):
    noise = 0.5 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    size = torch.full((COUNT,), 50.0)
    expected = 0.5 / 50 * math.sqrt(1 - 1 / tracking.WINDOW)
    assert jitter(truth + noise, truth, size) == pytest.approx(expected, rel=0.1)
    assert jitter(truth + 7, truth, size) == pytest.approx(0, abs=1e-6), "an offset is no jitter"


@pytest.mark.parametrize("frames", [0.0, 0.5, 1.0, 2.5])
def test_lag_is_found_between_frames(frames: float):
    seconds = (torch.arange(COUNT, dtype=torch.float64) - torch.tensor([[0.0], [frames]])) / 30
    true, late = ((3 * row).sin()[:, None, None].expand(-1, 3, 2) for row in seconds)
    assert lag(late, true) == pytest.approx(frames, abs=0.05)


def test_smoothing_of_a_still_face_is_quiet_and_a_talking_mouth_lags(truth: torch.Tensor):
    noise = 0.3 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))
    size = torch.full((COUNT,), 60.0)
    still = truth[:1].expand_as(truth)
    quiet = smoothed(still + noise, Smoothing(), MEAN)
    assert jitter(quiet, still, size) < 0.8 * jitter(still + noise, still, size)
    moved, low = talking(truth, MEAN, size)
    assert low.tolist() == [False, False, True]
    assert moved.amax() == pytest.approx(6.0, rel=0.02)
    assert lag(smoothed(truth, Smoothing(), MEAN), truth) < 0.5


def test_the_measure_smooths_as_the_tracker_does():
    scene = Scene([{"a": place} for place in walk((40.0, 40.0), (2.0, 1.0), 20)])
    raw, quiet = (
        torch.stack([tracker(frame)[0].fit.landmarks for frame in scene.frames()])
        for tracker in (Tracker(scene, smoothing=None), Tracker(scene))
    )
    mean_shape = scene.problem.mean_shape
    torch.testing.assert_close(smoothed(raw, Smoothing(), mean_shape), quiet, atol=1e-3, rtol=0)


def test_the_photo_moves_with_its_landmarks():
    generator = torch.Generator().manual_seed(0)
    image = torch.zeros(3, 448, 448)
    image[:, 200:205, 260:265] = 255
    moves = motion(5, 1.0, generator)
    frames, found = video(image, torch.tensor([[262.0, 202.0]]), moves, generator)
    for frame, point in zip(frames, found[:, 0]):
        pixels = torch.from_numpy(frame).float().mean(2)
        rows, columns = (pixels > 100).nonzero().float().mean(0).tolist()
        assert [columns, rows] == pytest.approx(point.tolist(), abs=0.5)


def test_motion_is_smooth_and_faster_where_it_is_to_be():
    slow, fast = (motion(600, speed, torch.Generator().manual_seed(0)) for speed in (0.3, 2.0))
    change, faster = ((way[1:] - way[:-1]).square().mean(0).sqrt() for way in (slow, fast))
    assert (faster > 4 * change).all()


def test_too_few_frames_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.argv", ["tracking", "--data", "none", "--frames", "5"])
    with pytest.raises(tracking.DescentError, match="expected 1 and 40 or more, got 3 and 5"):
        tracking.main()
