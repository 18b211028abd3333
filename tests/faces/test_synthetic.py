"""Synthetic faces as a problem: deterministic, labelled exactly, and boxed as a detector would."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest
import torch

from learned_descent import DescentError
from learned_descent.faces.recipes import RECIPES
from learned_descent.faces.rendering.generator import BOX_LOG_SPREAD, CHUNK, MAX_YAW, FaceGenerator
from learned_descent.faces.rendering.regions import LIPS
from learned_descent.faces.synthetic import SyntheticFaces
from learned_descent.landmarks.augmentation import Augmentation
from learned_descent.landmarks.problem import Landmarks
from learned_descent.landmarks.schema import IBUG68
from learned_descent.registry import configured, recipes_for, resolve_problem
from learned_descent.testing.checks import check_problem

SMALL = {"crop": 64, "box_side": 38.0}


def make(**settings) -> SyntheticFaces:
    return SyntheticFaces(
        **{"count": 20, "test_count": 4, "val_fraction": 0.2, "mirror": False, **SMALL, **settings}
    )


@pytest.fixture(scope="module")
def faces() -> dict[str, torch.Tensor]:
    """Eight chunks of faces."""
    generator = FaceGenerator(**SMALL)
    chunks = [generator(seed=1, chunk=chunk) for chunk in range(8)]
    return {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}


def equal(first, second) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def test_what_a_batch_holds(device):
    problem = make().to(device)
    for split, size in (("train", 16), ("val", 4), ("test", 4)):
        batch = problem.data(split)
        assert {name: (tuple(value.shape), value.dtype) for name, value in batch.items()} == {
            "image": ((size, 3, 64, 64), torch.uint8),
            "points": ((size, problem.schema.num_points, 2), torch.float32),
            "box": ((size, 4), torch.float32),
            "to_photo": ((size, 2, 3), torch.float32),
            "visible": ((size, problem.schema.num_points), torch.bool),
            "pose": ((size, 3), torch.float32),
        }


def test_several_processes_make_the_same_faces():
    """And neither they nor one alone touch the global random numbers or the number of threads."""
    threads, found = torch.get_num_threads(), {}
    torch.manual_seed(0)
    after = torch.random.get_rng_state()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found[count] = make(test_count=8 * CHUNK - 3, crop=32, box_side=19.0).data("test")
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert len(found[2]["image"]) == 8 * CHUNK - 3
    assert equal(found[1], found[2])
    assert torch.equal(torch.random.get_rng_state(), after)


def test_the_contract(device):
    assert not check_problem(make(), device=device).failures


def test_the_name_and_the_families():
    assert resolve_problem("synthetic-faces") is SyntheticFaces
    assert recipes_for(SyntheticFaces) == dict(RECIPES)
    assert issubclass(SyntheticFaces, Landmarks)


def test_the_same_seed_gives_the_same_faces():
    assert equal(make().data("train"), make().data("train"))
    assert not torch.equal(make().data("train")["image"], make(seed=1).data("train")["image"])


def test_a_larger_set_begins_with_a_smaller_one():
    """Whatever the size of the last chunk."""
    few, many = (
        make(count=CHUNK + 2, val_fraction=0.0).data("train"),
        make(count=2 * CHUNK + 1, val_fraction=0.0).data("train"),
    )
    assert equal(few, {name: value[: CHUNK + 2] for name, value in many.items()})


def test_a_chunk_depends_on_its_number_alone():
    generator = FaceGenerator(**SMALL)
    alone = FaceGenerator(**SMALL)(seed=3, chunk=1)
    assert not equal(generator(seed=3, chunk=0), alone)
    assert equal(generator(seed=3, chunk=1), alone)


def test_the_global_random_state_is_left_alone():
    state = torch.get_rng_state()
    make().data("test")
    assert torch.equal(torch.get_rng_state(), state)


def test_splits_share_no_face():
    problem = make()
    images = [
        {image.numpy().tobytes() for image in problem.data(split)["image"]}
        for split in ("train", "val", "test")
    ]
    assert sum(map(len, images)) == len(set.union(*images)) == 24


def test_without_a_share_nothing_is_held_out():
    problem = make(val_fraction=0.0)
    assert problem.data("val").keys() == problem.data("train").keys()
    assert {len(value) for value in problem.data("val").values()} == {0}


def test_pose_and_points_are_in_range(faces):
    yaw, pitch, roll = faces["pose"].T
    assert yaw.abs().max() <= MAX_YAW
    assert 0.3 < (yaw.abs() > math.radians(15)).float().mean() < 0.7
    assert pitch.abs().max() < 0.6
    assert roll.abs().max() < 0.8
    assert faces["points"].isfinite().all()
    assert ((faces["points"] > 0) & (faces["points"] < 63)).all()


def test_the_nose_turns_with_the_head(faces):
    """A positive yaw moves the tip of the nose to the right of the middle between the ears."""
    points, yaw = faces["points"], faces["pose"][:, 0]
    width = points[:, 16, 0] - points[:, 0, 0]
    aside = (points[:, 30, 0] - (points[:, 0, 0] + points[:, 16, 0]) / 2) / width
    turned = yaw.abs() > 0.35
    assert (aside[turned].sign() == yaw[turned].sign()).all()
    assert torch.corrcoef(torch.stack([aside, yaw]))[0, 1] > 0.9


def test_the_eyes_tilt_with_the_head(faces):
    """A positive roll turns the line through the eyes clockwise."""
    left, right = (faces["points"][:, corner] for corner in IBUG68.outer_eye_corners)
    angle = torch.atan2((right - left)[:, 1], (right - left)[:, 0])
    assert torch.corrcoef(torch.stack([angle, faces["pose"][:, 2]]))[0, 1] > 0.9


def test_the_parts_of_a_face_are_in_order(faces):
    """In the frame of the head, from top to bottom: brows, eyes, tip of the nose, lips, chin."""
    points = faces["points"]
    left, right = (points[:, list(eye)].mean(1) for eye in (IBUG68.left_eye, IBUG68.right_eye))
    across = right - left
    down = torch.stack([-across[:, 1], across[:, 0]], 1)

    def level(numbers) -> torch.Tensor:
        return (points[:, list(numbers)].mean(1) * down).sum(1)

    order = [
        level(part)
        for part in (range(17, 27), IBUG68.left_eye + IBUG68.right_eye, [33], LIPS[0], [8])
    ]
    assert all((above < below).all() for above, below in pairwise(order))


def test_boxes_lie_around_the_landmarks_as_a_detector_draws_them(faces):
    points, box = faces["points"], faces["box"]
    sides = box[:, 2:] - box[:, :2]
    torch.testing.assert_close(sides.amax(1), torch.full_like(sides[:, 0], 38.0))
    torch.testing.assert_close(
        (box[:, :2] + box[:, 2:]) / 2, torch.full_like(sides, 31.5), atol=1e-4, rtol=0
    )
    low, high = points.amin(1), points.amax(1)
    ratio = (sides / (high - low)).log()
    torch.testing.assert_close(ratio.mean(0), torch.zeros(2), atol=0.05, rtol=0)
    torch.testing.assert_close(ratio.std(0), torch.tensor(BOX_LOG_SPREAD), atol=0.02, rtol=0)
    off = ((low + high) / 2 - 31.5) / (high - low)
    assert (off.std(0) < 0.06).all()
    assert (off.std(0) > 0.01).all()


def test_turned_heads_hide_their_far_side(faces):
    visible, yaw = faces["visible"].float(), faces["pose"][:, 0]
    brow = list(range(17, 22)), list(range(22, 27))
    left, right = (visible[:, part].mean(1) for part in brow)
    assert (
        left[yaw < -0.6].mean() < right[yaw < -0.6].mean()
        or right[yaw > 0.6].mean() < left[yaw > 0.6].mean()
    )
    assert visible[yaw.abs() < 0.2].mean() > 0.85
    assert 0.8 < visible.mean() < 0.99


def test_dark_pupils_lie_between_the_lids():
    """The picture agrees with its labels: an open eye is darker inside of its outline than the
    cheek below it."""
    generator = FaceGenerator(crop=128, box_side=75.0)
    chunk = generator(seed=5, chunk=0)
    frontal = (chunk["pose"][:, 0].abs() < 0.4) & chunk["visible"][:, list(IBUG68.left_eye)].all(1)
    points, image = chunk["points"][frontal], chunk["image"][frontal].float().mean(1)
    eye = points[:, list(IBUG68.left_eye)].mean(1)
    cheek = (points[:, 31] + points[:, 3]) / 2

    def darkest(place: torch.Tensor) -> torch.Tensor:
        column, row = place.round().long().T
        around = [
            image[range(len(image)), row + down, column + right]
            for down in (-1, 0, 1)
            for right in (-2, -1, 0, 1, 2)
        ]
        return torch.stack(around).amin(0)

    assert len(eye) >= 6
    assert (darkest(eye) < darkest(cheek)).float().mean() > 0.8


def test_mirror_images(faces):
    problem, plain = make(mirror=True), make()
    train, original = problem.data("train"), plain.data("train")
    half = len(original["image"])
    assert len(train["image"]) == 2 * half
    mirror = list(IBUG68.mirror)
    assert torch.equal(train["image"][half:], original["image"].flip(-1))
    assert torch.equal(train["visible"][half:], original["visible"][:, mirror])
    assert torch.equal(train["pose"][half:], original["pose"] * torch.tensor([-1.0, 1.0, -1.0]))
    torch.testing.assert_close(train["points"][half:, :, 0], 63 - original["points"][:, mirror, 0])


def test_variants_carry_visibility_and_pose_along(device):
    problem = make(augmentation=Augmentation(mirror=0.5, rotation=20.0)).to(device)
    batch = {name: value.to(device) for name, value in problem.data("train").items()}
    found = problem.augment(batch, torch.Generator(device).manual_seed(0))
    flipped = found["pose"][:, 0] != batch["pose"][:, 0]
    assert flipped.any()
    assert not flipped.all()
    mirror = list(IBUG68.mirror)
    wanted = torch.where(flipped[:, None], batch["visible"][:, mirror], batch["visible"])
    assert torch.equal(found["visible"], wanted)
    left, right = IBUG68.outer_eye_corners
    before, after = (
        points[:, right] - points[:, left] for points in (batch["points"], found["points"])
    )
    sign = 1 - 2 * flipped.float()
    turned = torch.atan2(after[:, 1], after[:, 0]) - sign * torch.atan2(before[:, 1], before[:, 0])
    torch.testing.assert_close(
        found["pose"][:, 2] - sign * batch["pose"][:, 2], turned, atol=1e-3, rtol=0
    )


def test_a_smaller_markup():
    small, whole = make(schema="ibug51").data("test"), make().data("test")
    assert torch.equal(small["points"], whole["points"][:, 17:])
    assert torch.equal(small["visible"], whole["visible"][:, 17:])


def test_settings_build_the_same_faces():
    problem = make(seed=4, augmentation=Augmentation(noise=2.0))
    again = configured(SyntheticFaces, json.loads(json.dumps(problem.settings())))
    assert again.settings() == problem.settings()
    assert equal(again.data("test"), problem.data("test"))


def test_progress_is_shown(capsys):
    make().data("test")
    assert "making test faces: 100%" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 0}, "count and test_count: expected 1 face or more, got 0 and 4"),
        ({"crop": 60}, "crop: expected a multiple of 8 px, 32 or more, got 60"),
        ({"crop": 24, "box_side": 12.0}, "crop: expected a multiple of 8 px, 32 or more, got 24"),
        ({"box_side": 90.0}, "expected 0 < box_side <= crop, got box_side = 90.0 and crop = 64 px"),
        ({"val_fraction": 1.0}, r"val_fraction: expected a share in \[0, 1\), got 1.0"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(DescentError, match=message):
        make(**settings)
