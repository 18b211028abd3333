from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from learned_descent import DescentError
from learned_descent.landmarks import crops
from learned_descent.landmarks.crops import (
    apply_affine,
    check_box,
    crop_face,
    crop_turned,
    invert_affine,
)

CROP, SIDE = 64, 40


def grid(size: int) -> Tensor:
    """The pixels ``(size * size, 2)`` of a crop as (column, row)."""
    row, column = torch.meshgrid(
        torch.arange(float(size)), torch.arange(float(size)), indexing="ij"
    )
    return torch.stack([column, row], -1).flatten(0, 1)


@pytest.mark.parametrize("size", [30, 100, 640, 3000])
def test_a_dot_lands_where_the_map_says(size: int) -> None:
    """From enlarging (30 px) to a photo so large that it is reduced before it is filtered."""
    width, height = size, size * 3 // 4
    half = size * 0.2037
    box = [width * 0.47 - half, height * 0.53 - half, width * 0.47 + half, height * 0.53 + half]
    column, row = width * 0.41, height * 0.61
    spread = 2 * max(2 * half / SIDE, 0.5)
    falls = [
        np.exp(-((np.arange(n) - at) ** 2) / (2 * spread**2))
        for n, at in ((width, column), (height, row))
    ]
    dot = (
        np.round(255 * falls[1][:, None, None] * falls[0][None, :, None])
        .astype(np.uint8)
        .repeat(3, 2)
    )
    pixels, to_photo = crop_face(dot, box, CROP, SIDE)
    mass = pixels[0].double().flatten()
    centre = (mass[:, None] * grid(CROP)).sum(0) / mass.sum()
    expected = apply_affine(invert_affine(to_photo), torch.tensor([[column, row]]))[0]
    torch.testing.assert_close(centre, expected.double(), atol=0.03, rtol=0)


@pytest.mark.parametrize(("size", "slope"), [(100, 2.0), (3000, 0.08)])
def test_a_ramp_keeps_its_values(size: int, slope: float) -> None:
    ramp = np.zeros((size, size, 3), np.uint8)
    ramp[..., 0] = np.round(np.arange(size) * slope)[None, :]
    ramp[..., 1] = np.round(np.arange(size) * slope)[:, None]
    pixels, to_photo = crop_face(
        ramp, [size * 0.31, size * 0.33, size * 0.77, size * 0.69], CROP, SIDE
    )
    photo = apply_affine(to_photo, grid(CROP)).view(CROP, CROP, 2).movedim(-1, 0)
    difference = pixels[:2].float() - slope * photo
    inside = ((photo > 0.03 * size) & (photo < 0.97 * size)).all(0)
    assert inside.sum() > CROP * CROP / 2
    assert difference[:, inside].abs().max() < 1.5  # rounded twice
    assert difference[:, inside].mean().abs() < 0.05


def test_the_box_is_centred_and_its_longer_side_has_the_side_asked_for() -> None:
    box = torch.tensor([[20.0, 35.0], [95.0, 85.0]])
    _, to_photo = crop_face(np.zeros((120, 140, 3), np.uint8), box.flatten().tolist(), CROP, SIDE)
    inside = apply_affine(invert_affine(to_photo), box)
    torch.testing.assert_close(inside.mean(0), torch.full((2,), (CROP - 1) / 2))
    torch.testing.assert_close(inside[1] - inside[0], torch.tensor([SIDE, SIDE * 50 / 75]))


def test_without_scaling_pixels_are_copied_and_the_outside_is_black() -> None:
    image = np.arange(1, 1 + 20 * 30 * 3, dtype=np.uint16).reshape(20, 30, 3).astype(np.uint8) | 1
    # Centre 4.5: whole pixels fall on whole pixels
    pixels, to_photo = crop_face(image, [0, 0, 9, 9], 20, 9)
    assert to_photo.tolist() == [[1, 0, -5], [0, 1, -5]]
    expected = np.zeros((20, 20, 3), np.uint8)
    expected[5:, 5:] = image[:15, :15]
    assert np.array_equal(pixels.movedim(0, -1).numpy(), expected)


def test_the_filter_averages_where_the_photo_shrinks() -> None:
    board = np.indices((800, 800)).sum(0) % 2 * 255
    pixels, _ = crop_face(
        board[..., None].repeat(3, 2).astype(np.uint8), [300, 300, 500, 500], CROP, SIDE
    )
    assert (pixels.float() - 127.5).abs().max() <= 2


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([1, 2, 3], r"the box has 3 numbers \(1 2 3\), expected x0 y0 x1 y1"),
        ([10, float("nan"), 50, 50], "a side that is not a finite number"),
        ([10, 10, float("inf"), 50], "a side that is not a finite number"),
        ([50, 10, 10, 50], r"the box \(50 10 10 50\) is mirrored"),
        ([10, 50, 50, 10], "is mirrored"),
        ([10, 10, 11, 50], "is 1 x 40 px, expected 2 px or more"),
        ([10, 10, 10, 10], "is 0 x 0 px"),
        ([-500, -500, 600, 600], "more than 2 times as large as the image of 140 x 120 px"),
        ([200, 10, 260, 70], "has its centre outside of the image of 140 x 120 px"),
        ([10, -80, 70, 20], "has its centre outside"),
    ],
)
def test_boxes_that_hold_no_face_are_refused(box: list[float], message: str) -> None:
    with pytest.raises(DescentError, match=message):
        crop_face(np.zeros((120, 140, 3), np.uint8), box, CROP, SIDE)


def test_a_box_may_stick_out_of_the_photo() -> None:
    assert check_box([-30, -30, 50, 50], height=120, width=140) == (-30, -30, 50, 50)


@pytest.mark.usefixtures("as_installed")
def test_wrong_images_and_sizes() -> None:
    with pytest.raises(
        DescentError, match=r"image: expected uint8 pixels \(H, W, 3\), got float64 \(9, 9, 3\)"
    ):
        crop_face(np.zeros((9, 9, 3)), [1, 1, 8, 8], CROP, SIDE)
    with pytest.raises(
        DescentError, match=r"image: expected uint8 pixels \(H, W, 3\), got uint8 \(9, 9\)"
    ):
        crop_face(np.zeros((9, 9), np.uint8), [1, 1, 8, 8], CROP, SIDE)
    for side in (0, CROP + 1):
        with pytest.raises(
            DescentError,
            match=f"expected 0 < box_side <= crop, got box_side = {side} and crop = 64 px",
        ):
            crop_face(np.zeros((9, 9, 3), np.uint8), [1, 1, 8, 8], CROP, side)


def test_a_crop_of_a_large_part_of_a_photo_is_cut_out_of_a_shrunk_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows, columns = np.mgrid[:900, :1000]
    photo = np.stack([rows / 4, columns / 5, 128 + 100 * np.sin(rows / 90)], -1).astype(np.uint8)
    box = (100, 50, 950, 880)
    wanted, way = crop_face(photo, box, 64, 40)
    monkeypatch.setattr(crops, "LARGEST_CUT", 300)
    found, shrunk_way = crop_face(photo, box, 64, 40)
    assert torch.equal(way, shrunk_way)
    inside = wanted.sum(0) > 0
    assert (found.float() - wanted.float())[:, inside].abs().mean() < 1


@pytest.mark.parametrize(
    ("size", "box"),
    [((2, 30_000), (0, -9000, 29_999, 9000)), ((6000, 6000), (-999, 0, 6999, 5999))],
)
def test_no_box_takes_gigabytes(size: tuple[int, int], box: tuple[int, ...]) -> None:
    """Seen before: a DecompressionBombError, of the crop that was cut out before it was shrunk."""
    pixels, _ = crop_face(np.full((*size, 3), 200, np.uint8), box, 192, 100)
    assert pixels.max() > 0
    assert pixels[:, 0, 0].tolist() == [0, 0, 0]


def test_a_turned_crop_shows_the_box_upright():
    photo = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    photo = np.asarray(Image.fromarray(photo).resize((480, 360), Image.Resampling.BICUBIC))
    box = [150.0, 100.0, 250.0, 200.0]
    straight, way = crop_face(photo, box, 64, 40.0)
    still, same = crop_turned(photo, box, 0.0, 64, 40.0)
    torch.testing.assert_close(same, way)
    assert (still.int() - straight.int()).abs().max() <= 1
    quarter, turned = crop_turned(photo, box, math.pi / 2, 64, 40.0)
    assert (quarter.int() - straight.int().rot90(1, (1, 2))).abs().max() <= 1
    corners = torch.tensor([[0.0, 0.0], [63.0, 0.0], [31.5, 31.5]])
    torch.testing.assert_close(
        apply_affine(turned, corners),
        apply_affine(way, torch.tensor([[63.0, 0.0], [63.0, 63.0], [31.5, 31.5]])),
    )
