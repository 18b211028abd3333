"""The one reader of pictures: every kind of file gives the pixels that are displayed, or one
message that names it."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image
from tifffile import imwrite

from learned_descent import DescentError
from learned_descent.data.pictures import (
    DEPTHS,
    PictureWarning,
    open_picture,
    picture_size,
    read_picture,
)
from learned_descent.problems.photometric.photos import photo_of

SCENE = np.add.outer(4 * np.arange(12), 9 * np.arange(16)).clip(0, 250).astype(np.uint8)


def deep(bits: int) -> np.ndarray:
    """The scene as a sensor of so many bits gives it, in a number of 16."""
    return (SCENE.astype(np.uint16) << (bits - 8)) + 1


def write_png(path: Path, values: np.ndarray, colour: int) -> None:
    """Writes colours of 16 bits, which Pillow cannot: 2 is RGB, 4 grey with transparency, 6
    RGBA."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_photos_of_every_kind_become_colours(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("photo.jpg" if mode in ("CMYK", "YCbCr") else "photo.png")
    Image.new("RGB", (7, 5), (255, 255, 255)).convert(mode).save(path)
    pixels = read_picture(path)
    assert pixels.shape == (5, 7, 3)
    assert pixels.dtype == np.uint8
    assert pixels.min() >= 253


@pytest.mark.parametrize("bits", DEPTHS)
@pytest.mark.parametrize("name", ["deep.png", "deep.tif", "array"])
def test_a_file_of_16_bits_is_read_by_the_bits_that_it_holds(
    tmp_path: Path, bits: int, name: str
) -> None:
    """Seen before: all but 16 bits nearly black in `align`, and 16 bits all white in a template."""
    path = tmp_path / name
    if name != "array":
        Image.fromarray(deep(bits)).save(path)
    found = open_picture(deep(bits) if name == "array" else path)
    assert np.array_equal(found.pixels[..., 1], deep(bits) >> (bits - 8))
    most = deep(bits).max()
    told = (
        f"the image has room for more bits, but no pixel is above {most}: it is read as one of "
        f"{bits} bits"
    )
    assert found.note == ("" if bits == 16 else told)


def test_what_is_assumed_of_a_file_is_a_warning_that_names_it(tmp_path: Path) -> None:
    Image.fromarray(deep(12)).save(tmp_path / "deep.png")
    with pytest.warns(
        PictureWarning, match=r"deep.png: the image has room for more bits.*as one of 12 bits"
    ):
        grey = photo_of(str(tmp_path / "deep.png"))
    assert np.array_equal(grey.numpy(), SCENE)


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (6, 4)])
@pytest.mark.parametrize("bits", [12, 16])
def test_colours_of_16_bits(tmp_path: Path, bits: int, colour: int, channels: int) -> None:
    values = np.stack(
        [deep(bits), deep(bits)[::-1], deep(bits)[:, ::-1], np.full_like(deep(bits), 65535)], -1
    )[..., :channels]
    write_png(tmp_path / "deep.png", values, colour)
    for found in (open_picture(tmp_path / "deep.png"), open_picture(values)):
        assert np.array_equal(found.pixels, values[..., :3] >> (bits - 8))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_tiff_of_colours_of_16_bits(
    tmp_path: Path, order: Literal["<", ">"], compression: str | None
) -> None:
    values = np.stack([deep(12), deep(12)[::-1], deep(12)[:, ::-1]], -1)
    imwrite(
        tmp_path / "deep.tif", values, photometric="rgb", byteorder=order, compression=compression
    )
    assert np.array_equal(open_picture(tmp_path / "deep.tif").pixels, values >> 4)


def test_a_stated_depth_goes_before_the_largest_value(tmp_path: Path) -> None:
    """A dark photo stays dark where the file says how bright it could be."""
    dark = 2 * SCENE.astype(np.uint16)
    (tmp_path / "dark.pgm").write_bytes(b"P5 16 12 4095\n" + dark.astype(">u2").tobytes())
    found = open_picture(tmp_path / "dark.pgm")
    assert found.note == ""
    assert np.abs(found.pixels[..., 0].astype(int) - dark / 4095 * 255).max() < 1.1


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    pixels = np.full((4, 4, 4), 60, np.uint8)
    pixels[..., 3] = [0, 255, 255, 0]
    Image.fromarray(pixels).save(tmp_path / "clear.png")
    Image.fromarray(pixels).quantize(4).save(tmp_path / "palette.png")
    for source in (tmp_path / "clear.png", pixels, tmp_path / "palette.png"):
        assert read_picture(source)[0, :, 0].tolist() == [255, 60, 60, 255]


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_upright(tmp_path: Path, kind: str, orientation: int) -> None:
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
    found = open_picture(path)
    assert np.abs(found.pixels.astype(int) - shown).mean() < 10
    assert found.turned == (orientation > 1)
    with Image.open(path) as picture:
        assert np.array_equal(read_picture(picture), found.pixels)


def test_a_deep_photo_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(deep(16)).transpose(Image.Transpose.ROTATE_90).save(
        tmp_path / "deep.png", exif=exif
    )
    assert np.array_equal(read_picture(tmp_path / "deep.png")[..., 0], deep(16) >> 8)


def test_an_animation_is_refused_and_a_second_page_or_preview_is_not(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(
        DescentError,
        match=r"two.gif: the image is animated, with 2 frames; save the one that is meant",
    ):
        read_picture(tmp_path / "two.gif")
    frames[0].save(tmp_path / "pages.tif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=frames[1:])
    for name in ("pages.tif", "phone.jpg"):
        assert read_picture(tmp_path / name)[0, 0, 0] > 250


@pytest.mark.parametrize(("width", "height"), [(8193, 8192), (200_000, 2), (13_000, 13_000)])
def test_a_picture_that_takes_too_much_memory_is_refused_before_it_is_decoded(
    tmp_path: Path, width: int, height: int
) -> None:
    """The file is small, and holds no pixels at all: only a reader that decodes it would find that
    out."""
    write_png(tmp_path / "large.png", np.zeros((1, 1, 3)), 2)
    data = bytearray((tmp_path / "large.png").read_bytes())
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    (tmp_path / "large.png").write_bytes(data)
    with pytest.raises(
        DescentError,
        match=r"large.png: the image has .* px.*, expected at most 67,108,864 in all and 32,767 a",
    ):
        read_picture(tmp_path / "large.png")


def test_pictures_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DescentError, match=r"none.jpg: there is no such image"):
        read_picture(tmp_path / "none.jpg")
    with pytest.raises(DescentError, match=r"it is a folder; name the images in it"):
        read_picture(tmp_path)
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty.png").write_bytes(b"")
    write_png(tmp_path / "pair.png", np.zeros((4, 4, 2)), 4)
    Image.fromarray(np.zeros((5, 5), np.float32)).save(tmp_path / "real.tif")
    Image.fromarray(np.full((5, 5), 2**16, np.int32)).save(tmp_path / "long.tif")
    for name, message in (
        ("text.jpg", "the image does not decode .*replace the file"),
        ("empty.png", "the image does not decode"),
        (
            "pair.png",
            (
                "the image has 16 bits per channel in the layout LA;16B, expected grey, RGB or "
                "RGBA; convert it"
            ),
        ),
        (
            "real.tif",
            (
                "the image has pixels of type float32, expected whole numbers of at most 16 bits; "
                "convert what lies"
            ),
        ),
        (
            "long.tif",
            "the image has pixels of 65536 to 65536, expected whole numbers of at most 16 bits",
        ),
    ):
        with pytest.raises(DescentError, match=f"{name}: {message}"):
            read_picture(tmp_path / name)


def test_arrays_of_other_kinds(tmp_path: Path) -> None:
    assert read_picture(np.array([[True, False]]))[0, :, 0].tolist() == [255, 0]
    for pixels, message in (
        (
            np.zeros((4, 4)),
            "pixels of type float64, expected whole numbers .*; convert what lies in 0..1 by",
        ),
        (np.full((4, 4), -1), "pixels of -1 to -1, expected whole numbers"),
        (
            np.zeros((3, 4, 4), np.uint8)[:, :, :2],
            r"expected pixels \(H, W\), \(H, W, 3\) or \(H, W, 4\), got \(3, 4, 2\)",
        ),
        (np.zeros((0, 4), np.uint8), r"got \(0, 4\)"),
    ):
        with pytest.raises(DescentError, match=message):
            read_picture(pixels)


@pytest.mark.parametrize("source", [b"\xff\xd8", torch.zeros(3, 4, 4), None, 3])
def test_what_is_no_picture_at_all(source: object) -> None:
    with pytest.raises(
        DescentError,
        match=f"picture: expected an image file, .* got {type(source).__name__}; of a tensor",
    ):
        read_picture(source)  # type: ignore[arg-type]


def outcome(path: Path) -> str:
    """What is said of a file; nothing where it is read."""
    try:
        return "" if open_picture(path).pixels.dtype == np.uint8 else "not colours"
    except DescentError as error:
        return str(error)


@pytest.mark.parametrize(
    "name",
    ["whole.jpg", "whole.png", "whole.gif", "whole.tif", "whole.webp", "deep.png", "deep.tif"],
)
def test_a_broken_file_is_read_or_named(tmp_path: Path, name: str) -> None:
    """Forty damages of a kind: cut off, or with bytes replaced."""
    path = tmp_path / name
    Image.fromarray(deep(16) if "deep" in name else SCENE).save(path)
    whole, draw = path.read_bytes(), np.random.default_rng(0)
    found = []
    for number in range(40):
        data = bytearray(whole[: draw.integers(1, len(whole))] if number % 2 else whole)
        for at in draw.integers(len(data), size=number % 4):
            data[at] = draw.integers(256)
        path.write_bytes(data)
        found.append(outcome(path))
    assert all(text == "" or text.startswith(f"{path}: the image ") for text in found)
    assert "" in found
    assert any(found)


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_size_is_that_of_the_picture_as_it_is_displayed(
    tmp_path: Path, ending: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"a.{ending}"
    Image.new("RGB", (8, 6)).save(file, exif=exif)
    assert picture_size(file) == read_picture(file).shape[:2]


def test_the_size_of_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(DescentError, match=r"a.png: the image does not decode"):
        picture_size(tmp_path / "a.png")
