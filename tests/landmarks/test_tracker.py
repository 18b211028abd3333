"""Following objects through a video: identities, births and deaths, and what is smoothed.

The scene is one of points: what an aligner finds in it is known, frame by frame.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from learned_descent import DescentError
from learned_descent.landmarks.aligner import Aligner, Fit
from learned_descent.landmarks.tracker import TRUST, Tracker, overlaps

MEAN = torch.tensor([[-0.4, -0.3], [0.4, -0.3], [0.0, 0.4]])
SIDE = 20.0
Place = tuple[float, float]


class Scene(Aligner):  # type: ignore[misc] - a double, for types are checked
    """An aligner of a video of which everything is known.

    Args:
        places: where each object is in each frame; a missing one is out of sight.
        undetected: frames in which the detector is blind.
        doubtful: the confidence of fits in some frames; it is 1 in others.
        ghosts: whether a fit where nothing is stays there, and is sure.
    """

    def __init__(
        self,
        places: list[Mapping[str, Place]],
        *,
        undetected: range = range(0),
        doubtful: Mapping[int, float] | None = None,
        ghosts: bool = False,
    ) -> None:
        self.problem = SimpleNamespace(mean_shape=MEAN)
        self.places, self.undetected, self.doubtful = places, undetected, doubtful or {}
        self.ghosts = ghosts
        self.looked: list[int] = []
        self.calls = 0

    def frames(self) -> list[np.ndarray]:
        return [np.full((100, 200, 3), number, np.uint8) for number in range(len(self.places))]

    def detect(self, photo: np.ndarray) -> list[tuple[float, float, float, float]]:
        number = int(photo[0, 0, 0])
        self.looked.append(number)
        if number in self.undetected:
            return []
        half = SIDE / 2
        return [(x - half, y - half, x + half, y + half) for x, y in self.places[number].values()]

    def __call__(self, photo: np.ndarray, boxes: list[Any]) -> list[Fit]:
        self.calls += 1
        return [self._fit(photo, [(x0 + x1) / 2, (y0 + y1) / 2]) for x0, y0, x1, y1 in boxes]

    def follow(self, photo: np.ndarray, landmarks: torch.Tensor) -> list[Fit]:
        return [
            self._fit(photo, (points.mean(0) - SIDE * MEAN.mean(0)).tolist())
            for points in landmarks
        ]

    def _fit(self, photo: np.ndarray, around: list[float]) -> Fit:
        number = int(photo[0, 0, 0])
        near = [
            place for place in self.places[number].values() if math.dist(place, around) < SIDE / 2
        ]
        confidence = self.doubtful.get(number, 1.0) if near or self.ghosts else 0.1
        place = torch.tensor(near[0] if near else around)
        points = place + SIDE * MEAN
        return Fit(
            (0.0, 0.0, 1.0, 1.0),
            points,
            confidence,
            torch.full((3,), confidence),
            torch.ones(3).bool(),
        )


def followed(scene: Scene, **settings: Any) -> list[dict[int, Place]]:
    """The middle of each object by its identity, frame by frame."""
    tracker = Tracker(scene, **{"smoothing": None, **settings})
    found = []
    for frame in scene.frames():
        places = {
            one.identity: (one.fit.landmarks[0] - SIDE * MEAN[0]).tolist() for one in tracker(frame)
        }
        found.append({name: (round(x, 3), round(y, 3)) for name, (x, y) in places.items()})
    return found


def walk(start: Place, step: Place, count: int) -> list[Place]:
    return [(start[0] + step[0] * n, start[1] + step[1] * n) for n in range(count)]


def test_identities_stay_and_the_detector_rests():
    first, second = walk((30, 30), (3, 0), 40), walk((160, 60), (-2, 0.5), 40)
    scene = Scene([{"a": a, "b": b} for a, b in zip(first, second)])
    found = followed(scene, every=15)
    assert [frame[0] for frame in found] == [pytest.approx(place) for place in first]
    assert [frame[1] for frame in found] == [pytest.approx(place) for place in second]
    assert scene.looked == [0, 15, 30]
    assert scene.calls == 1, "all boxes of a frame at once, and none of those that are sure"


def test_births_and_deaths():
    places: list[dict[str, Place]] = [{"a": (50.0, 50.0)} for _ in range(30)]
    for number in range(12, 30):
        places[number]["b"] = (120.0, 50.0)
    for number in range(20, 30):
        del places[number]["a"]
    found = followed(Scene(places), every=5, patience=4)
    assert [sorted(frame) for frame in found] == [[0]] * 15 + [[0, 1]] * 5 + [[1]] * 10
    places += [{"a": (50.0, 50.0), "b": (120.0, 50.0)}] * 6
    assert sorted(followed(Scene(places), every=5, patience=4)[-1]) == [1, 2], "gone is gone"


def test_an_object_that_was_out_of_sight_is_known_again():
    seen: dict[str, Place] = {"a": (50.0, 50.0)}
    places = [seen] * 5 + [{}] * 6 + [{"a": (55.0, 50.0)}] * 4
    scene = Scene(places)
    found = followed(scene, patience=6)
    assert [list(frame) for frame in found] == [[0]] * 5 + [[]] * 6 + [[0]] * 4
    assert scene.looked == [0, *range(5, 12)], "the detector looks for it until it is found"
    again = followed(Scene(places), patience=3)
    assert list(again[-1]) == [1]


def test_a_low_confidence_asks_the_detector():
    scene = Scene([{"a": (50.0, 50.0)}] * 8, doubtful={3: 0.4, 4: 0.4})
    found = followed(scene)
    assert scene.looked == [0, 3, 4]
    assert [list(frame) for frame in found] == [[0]] * 8
    blind = Scene([{"a": (50.0, 50.0)}] * 8, doubtful={3: 0.4, 4: 0.4}, undetected=range(3, 5))
    assert [list(frame) for frame in followed(blind)] == [[0]] * 3 + [[]] * 2 + [[0]] * 3


def test_a_fit_that_is_sure_outlives_a_detector_that_misses_it():
    scene = Scene([{"a": (50.0, 50.0)}] * 16, undetected=range(4, 9))
    assert [list(frame) for frame in followed(scene, every=4)] == [[0]] * 16


def test_confidence_alone_is_not_believed_for_ever():
    """Weights may be sure of what is no such object: the detector has the last word."""
    scene = Scene([{"a": (50.0, 50.0)}] * 2 + [{}] * 30, ghosts=True)
    found = [list(frame) for frame in followed(scene, every=4)]
    assert found == [[0]] * (1 + 4 * TRUST) + [[]] * (31 - 4 * TRUST)


def test_without_a_calibration_the_detector_has_the_last_word():
    nothing = dict.fromkeys(range(20), math.nan)
    places = [{"a": (50.0, 50.0)}] * 6 + [{}] * 6
    scene = Scene(places, doubtful=nothing, ghosts=True)
    found = [list(frame) for frame in followed(scene, every=4)]
    assert scene.looked[:2] == [0, 4]
    assert found == [[0]] * 8 + [[]] * 4


def test_two_that_fall_together_are_one():
    first, second = walk((40, 50), (3, 0), 20), walk((100, 50), (-3, 0), 20)
    places = [
        {"a": a, "b": b} if n < 10 else {"a": a} for n, (a, b) in enumerate(zip(first, second))
    ]
    found = followed(Scene(places), every=100, patience=0)
    assert sorted(found[0]) == [0, 1]
    assert sorted(found[-1]) == [0]


def test_an_object_that_leaves_the_frame_is_gone():
    places = [{"a": place} for place in walk((150, 50), (6, 0), 9)] + [{}] * 3
    found = followed(Scene(places), patience=1)
    assert [list(frame) for frame in found] == [[0]] * 9 + [[]] * 3


def test_landmarks_are_smoothed_each_object_by_itself():
    generator = np.random.default_rng(0)
    noise = 0.2 * generator.standard_normal((40, 2, 2))
    places = [
        {"a": (50 + a[0], 50 + a[1]), "b": (120 + b[0], 50 + b[1])} for a, b in noise.tolist()
    ]
    rough = followed(Scene(places))
    tracker = Tracker(Scene(places))
    quiet = [
        {one.identity: one.fit.landmarks[0].tolist() for one in tracker(frame)}
        for frame in Scene(places).frames()
    ]
    for name in (0, 1):
        before, after = (
            np.std([frame[name] for frame in kind][10:], axis=0).mean() for kind in (rough, quiet)
        )
        assert after < before


def test_a_video_begins_anew_after_reset():
    scene = Scene([{"a": (50.0, 50.0)}] * 3)
    tracker = Tracker(scene)
    frames = scene.frames()
    assert [one.identity for one in tracker(frames[0], 5.0)] == [0]
    with pytest.raises(DescentError, match=r"seconds: expected 5 or more, .*, got 1; call reset"):
        tracker(frames[1], 1.0)
    tracker.reset()
    assert [one.identity for one in tracker(frames[1], 1.0)] == [0]


def test_json_has_the_identity():
    scene = Scene([{"a": (50.0, 50.0)}])
    (one,) = Tracker(scene)(scene.frames()[0])
    assert list(one.to_json()) == [
        "identity", "box", "landmarks", "confidence", "landmark_confidence", "inside",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"least": 1.0}, r"least: expected a share in \[0, 1\), got 1.0"),
        ({"every": 0}, "every: expected 1 or more, got 0"),
        ({"patience": -1}, "patience: expected 0 or more, got -1"),
    ],
)
def test_settings_that_are_none(settings, message):
    with pytest.raises(DescentError, match=message):
        Tracker(Scene([]), **settings)


def test_overlaps():
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [5.0, 5.0, 6.0, 6.0]])
    torch.testing.assert_close(overlaps(boxes, boxes), torch.eye(2))
