from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from learned_descent import DescentError
from learned_descent.faces.crops import apply_affine, check_box, crop_face, invert_affine, read_photo

CROP, SIDE = 64, 40


def grid(size: int) -> Tensor:
    """The pixels ``(size * size, 2)`` of a crop as (column, row)."""
    row, column = torch.meshgrid(torch.arange(float(size)), torch.arange(float(size)), indexing="ij")
    return torch.stack([column, row], -1).flatten(0, 1)


@pytest.mark.parametrize("size", [30, 100, 640, 3000])
def test_a_dot_lands_where_the_map_says(size: int) -> None:
    """From enlarging (30 px) to a photo so large that it is reduced before it is filtered."""
    width, height = size, size * 3 // 4
    half = size * 0.2037
    box = [width * 0.47 - half, height * 0.53 - half, width * 0.47 + half, height * 0.53 + half]
    column, row = width * 0.41, height * 0.61
    spread = 2 * max(2 * half / SIDE, 0.5)
    falls = [np.exp(-((np.arange(n) - at) ** 2) / (2 * spread**2)) for n, at in ((width, column), (height, row))]
    dot = np.round(255 * falls[1][:, None, None] * falls[0][None, :, None]).astype(np.uint8).repeat(3, 2)
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
    pixels, to_photo = crop_face(ramp, [size * 0.31, size * 0.33, size * 0.77, size * 0.69], CROP, SIDE)
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
    pixels, to_photo = crop_face(image, [0, 0, 9, 9], 20, 9)  # centre 4.5: whole pixels fall on whole pixels
    assert to_photo.tolist() == [[1, 0, -5], [0, 1, -5]]
    expected = np.zeros((20, 20, 3), np.uint8)
    expected[5:, 5:] = image[:15, :15]
    assert np.array_equal(pixels.movedim(0, -1).numpy(), expected)


def test_the_filter_averages_where_the_photo_shrinks() -> None:
    board = np.indices((800, 800)).sum(0) % 2 * 255
    pixels, _ = crop_face(board[..., None].repeat(3, 2).astype(np.uint8), [300, 300, 500, 500], CROP, SIDE)
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
    with pytest.raises(DescentError, match=r"image: expected uint8 pixels \(H, W, 3\), got float64 \(9, 9, 3\)"):
        crop_face(np.zeros((9, 9, 3)), [1, 1, 8, 8], CROP, SIDE)
    with pytest.raises(DescentError, match=r"image: expected uint8 pixels \(H, W, 3\), got uint8 \(9, 9\)"):
        crop_face(np.zeros((9, 9), np.uint8), [1, 1, 8, 8], CROP, SIDE)
    for side in (0, CROP + 1):
        with pytest.raises(DescentError, match=f"expected 0 < box_side <= crop, got box_side = {side} and crop = 64 px"):
            crop_face(np.zeros((9, 9, 3), np.uint8), [1, 1, 8, 8], CROP, side)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_photos_of_every_kind_become_colours(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("photo.jpg" if mode == "CMYK" else "photo.png")
    Image.new("RGB", (7, 5), (255, 255, 255)).convert(mode).save(path)
    pixels = read_photo(path)
    assert pixels.shape == (5, 7, 3)
    assert pixels.dtype == np.uint8
    assert pixels.min() >= 253


def test_photos_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DescentError, match=r"none.jpg: there is no such image"):
        read_photo(tmp_path / "none.jpg")
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(DescentError, match=r"text.jpg: the image does not decode .*replace the file"):
        read_photo(tmp_path / "text.jpg")
    noise = torch.randint(0, 256, (64, 64, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    Image.fromarray(noise.numpy()).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:1500])
    with pytest.raises(DescentError, match=r"cut.jpg: the image does not decode"):
        read_photo(tmp_path / "cut.jpg")
    with pytest.raises(DescentError, match=r"there is no such image|it is a folder; name the images in it"):
        read_photo(tmp_path)
    Image.fromarray(np.zeros((5, 5), np.float32)).save(tmp_path / "real.tif")
    with pytest.raises(DescentError, match=r"real.tif: the image has pixels of mode F, expected at most 16 bits per channel"):
        read_photo(tmp_path / "real.tif")
    Image.fromarray(np.full((5, 5), 2**16, np.int32)).save(tmp_path / "long.tif")
    with pytest.raises(DescentError, match=r"long.tif: the image has pixels of mode I, expected at most 16 bits per channel"):
        read_photo(tmp_path / "long.tif")


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_of_16_bits_the_highest_8_are_kept(tmp_path: Path, name: str) -> None:
    deep = np.arange(0, 2**16, 2**10, dtype=np.uint16).reshape(8, 8)
    Image.fromarray(deep).save(tmp_path / name)
    assert np.array_equal(read_photo(tmp_path / name)[..., 1], deep >> 8)
    assert np.array_equal(read_photo(deep)[..., 1], deep >> 8)


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    pixels = np.full((4, 4, 4), 60, np.uint8)
    pixels[..., 3] = [0, 255, 255, 0]
    Image.fromarray(pixels).save(tmp_path / "clear.png")
    Image.fromarray(pixels).quantize(4).save(tmp_path / "palette.png")
    for found in (read_photo(tmp_path / "clear.png"), read_photo(pixels), read_photo(tmp_path / "palette.png")):
        assert found[0, :, 0].tolist() == [255, 60, 60, 255]


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_upright_on_request(tmp_path: Path, kind: str, orientation: int) -> None:
    """The bright corner is the first one of the photo as it is displayed, however it is stored."""
    shown = np.zeros((16, 24, 3), np.uint8)
    shown[:8, :8] = 255
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = Image.fromarray(shown)
    stored = stored.transpose(turns[orientation]) if orientation > 1 else stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo.{kind}"
    stored.save(path, exif=exif)
    found = read_photo(path, displayed=True)
    assert np.abs(found.astype(int) - shown).mean() < 10
    if kind != "tif":  # Pillow turns these by itself
        assert read_photo(path).shape == np.asarray(stored).shape
    with Image.open(path) as picture:
        assert np.array_equal(read_photo(picture, displayed=True), found)


def test_an_animation_is_refused_and_a_second_page_or_preview_is_not(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(DescentError, match=r"two.gif: the image is animated, with 2 frames; save the one that is meant"):
        read_photo(tmp_path / "two.gif")
    frames[0].save(tmp_path / "pages.tif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=frames[1:])
    for name in ("pages.tif", "phone.jpg"):
        assert read_photo(tmp_path / name)[0, 0, 0] > 250


def test_pixels_of_other_kinds_are_refused() -> None:
    with pytest.raises(DescentError, match=r"photo: expected pixels .* of 8 bits, got uint16 \(4, 4, 3\)"):
        read_photo(np.zeros((4, 4, 3), np.uint16))
    with pytest.raises(DescentError, match="expected at most 16 bits per channel"):
        read_photo(np.zeros((4, 4), np.float32))
