"""The one reader of pictures: a file, a picture of Pillow or an array becomes colours of 8 bits."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFile, TiffImagePlugin
from PIL.Image import Transpose

from ..errors import DescentError

MOST_PIXELS = 2**26
"""The pixels of the largest picture that is read: some 67 million, 200 MB of colours."""

PICTURE_ENDINGS = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
"""The endings of picture files, in small letters."""

LONGEST_SIDE = 2**15 - 1
"""The longest side of a picture that is read, in px: OpenCV knows no longer one."""

DEPTHS = (8, 10, 12, 14, 16)
"""The bits that cameras and scanners have; a file of 16 bits may hold any of them."""

ANIMATED = frozenset({"GIF", "PNG", "WEBP", "AVIF"})
"""Formats whose further frames are another picture of the scene, no preview and no page."""

SPREAD = frozenset({"JPEG2000", "PPM"})
"""Formats whose deep pixels Pillow spreads over 16 bits, by the depth that the file states."""

_ORIENTATION, _BITS_PER_SAMPLE = 0x0112, 258

_TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
"""How a picture is turned upright, by the orientation that EXIF gives."""

_SIDEWAYS = (
    Transpose.TRANSPOSE,
    Transpose.ROTATE_270,
    Transpose.TRANSVERSE,
    Transpose.ROTATE_90,
)
"""The turns that change places of width and height."""

_LOWER_BYTE = {
    f"{mode};16{order}": f"{mode};16{other}"
    for mode in ("RGB", "RGBA")
    for order, other in ("BL", "LB", "NB")
}
"""Pillow decodes the higher byte of colours that have two: its name for the lower one."""


class PictureWarning(UserWarning):
    """A picture was read, but on an assumption about what its numbers mean."""


@dataclass(frozen=True)
class Picture:
    """What was read of a picture.

    Args:
        pixels: its colours, as it is displayed.
        turned: whether the file stores it otherwise than it is displayed, as EXIF says.
        note: the assumption that its pixels were read on; empty where none was needed.
    """

    pixels: UInt8[np.ndarray, "H W 3"]
    turned: bool = False
    note: str = ""


def read_picture(source: str | Path | Image.Image | np.ndarray) -> UInt8[np.ndarray, "H W 3"]:
    """The pixels of a picture; the note of :func:`open_picture` is a warning.

    Example:
        >>> read_picture(np.full((4, 6), 200, np.uint8)).shape
        (4, 6, 3)
    """
    picture = open_picture(source)
    if picture.note:
        name = f"{source}: " if isinstance(source, (str, Path)) else ""
        warnings.warn(f"{name}{picture.note}", PictureWarning, stacklevel=2)
    return picture.pixels


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width of a picture in px, as it is displayed; its pixels are not decoded where
    that can be told without.

    Raises:
        DescentError: as :func:`open_picture`.
    """
    try:
        with Image.open(path) as opened:
            width, height = opened.size
            if opened.format != "TIFF":  # which Pillow turns when it is loaded
                on_its_side = _TURNS.get(_orientation(opened), 0) in _SIDEWAYS
                return (width, height) if on_its_side else (height, width)
    except Exception:  # open_picture says it in words
        pass
    height, width, _ = read_picture(path).shape
    return height, width


def open_picture(source: str | Path | Image.Image | np.ndarray) -> Picture:
    """Reads a picture of any kind as colours of 8 bits.

    It is turned upright as EXIF says, grey becomes colour, and what is transparent is white. Of
    deeper pixels the highest 8 bits are kept, of the depth that the file states. A file that says
    16 bits may come from a camera of fewer: its depth is the least of 8, 10, 12, 14 and 16 bits
    that hold its largest value.

    Args:
        source: an image file, a picture, or pixels ``(H, W)``, ``(H, W, 3)`` or ``(H, W, 4)``:
            whole numbers of at most 16 bits, red before green before blue.

    Raises:
        DescentError: if there is no such file, if it does not decode, is animated or larger than
            :data:`MOST_PIXELS` or :data:`LONGEST_SIDE`, or if its pixels are not whole numbers of
            at most 16 bits; the message names the file.
    """
    if isinstance(source, np.ndarray):
        return _of_array(source)
    if isinstance(source, Image.Image):
        return _of_picture(source)
    if not isinstance(source, (str, Path)):
        raise DescentError(
            "picture: expected an image file, a picture of Pillow or an array (H, W, 3), got "
            f"{type(source).__name__}; of a tensor (3, H, W) give tensor.movedim(0, -1).numpy(), "
            "of bytes Image.open(io.BytesIO(data))"
        )
    try:
        return _of_file(Path(source))
    except DescentError as error:
        raise DescentError(f"{source}: {error}") from error


def shrunk(
    photo: UInt8[np.ndarray, "H W 3"], longest: int
) -> tuple[UInt8[np.ndarray, "h w 3"], float]:
    """The photo with no side longer than ``longest`` px, and the factor that it was shrunk by."""
    height, width = photo.shape[:2]
    zoom = min(1.0, longest / max(height, width))
    if zoom == 1:
        return photo, zoom
    size = (max(round(width * zoom), 1), max(round(height * zoom), 1))
    return np.asarray(
        Image.fromarray(photo).resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
    ), zoom


def _of_file(path: Path) -> Picture:
    if path.is_dir():
        raise DescentError("it is a folder; name the images in it")
    if not path.is_file():
        raise DescentError("there is no such image; check the path")
    try:
        with Image.open(path) as opened:
            _check_size(opened)
            return _of_picture(opened, _lower_bytes(opened, path))
    except DescentError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large("more px than Pillow reads") from error
    except Exception as error:  # every decoder fails in its own way
        raise DescentError(f"the image does not decode ({error}); replace the file") from error


def _of_picture(picture: Image.Image, lower: np.ndarray | None = None) -> Picture:
    """What Pillow has opened, with the lower bytes of its colours where they have two."""
    _check_size(picture)
    frames = getattr(picture, "n_frames", 1)
    if picture.format in ANIMATED and frames > 1:
        raise DescentError(
            f"the image is animated, with {frames} frames; save the one that is meant"
        )
    stored, depth = _orientation(picture), _stated_depth(picture)
    picture.load()
    turn = _TURNS.get(_orientation(picture))  # after loading: Pillow turns a TIFF by itself
    note = ""
    if lower is not None or picture.mode.startswith(("I", "F")):
        values = np.asarray(picture)
        values = values if lower is None else values.astype(np.uint16) << 8 | lower
        values, note = _shallow(values, depth)
        picture = Image.fromarray(values)
    upright = picture if turn is None else picture.transpose(turn)
    return Picture(_colours(upright), stored in _TURNS, note)


def _of_array(pixels: np.ndarray) -> Picture:
    if pixels.size == 0 or not (
        pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    ):
        raise DescentError(
            f"picture: expected pixels (H, W), (H, W, 3) or (H, W, 4), got {pixels.shape}"
        )
    note = ""
    if pixels.dtype == np.bool_:
        pixels = 255 * pixels.astype(np.uint8)
    if pixels.dtype != np.uint8:
        pixels, note = _shallow(pixels)
    return Picture(_colours(Image.fromarray(pixels)), note=note)


def _shallow(values: np.ndarray, depth: int | None = None) -> tuple[UInt8[np.ndarray, "..."], str]:
    """The highest 8 bits of pixels, and a note where their depth had to be guessed."""
    if values.dtype.kind not in "iu":
        raise DescentError(
            f"the image has pixels of type {values.dtype}, expected whole numbers of at most 16 "
            "bits; convert what lies in 0..1 by (255 * pixels).round().astype(np.uint8)"
        )
    least, largest = int(values.min()), int(values.max())
    if least < 0 or largest >= 2**16:
        raise DescentError(
            f"the image has pixels of {least} to {largest}, expected whole numbers of at most 16 "
            "bits; convert it"
        )
    most = int(values[..., :3].max()) if values.ndim == 3 else largest
    bits = depth or next(bits for bits in DEPTHS if most < 2**bits)
    shallow = (values >> (bits - 8)).clip(max=255).astype(np.uint8)  # transparency may be deeper
    if depth or bits == 16:
        return shallow, ""
    told = "the image has room for more bits, but no pixel is above"
    return shallow, f"{told} {most}: it is read as one of {bits} bits"


def _colours(picture: Image.Image) -> UInt8[np.ndarray, "H W 3"]:
    if picture.has_transparency_data:
        over = picture.convert("RGBA")
        picture = Image.new("RGB", over.size, "white")
        picture.paste(over, mask=over.getchannel("A"))
    return np.array(picture.convert("RGB"))


def _check_size(picture: Image.Image) -> None:
    """Refuses what would take too much memory, before it is decoded."""
    width, height = picture.size
    if width * height > MOST_PIXELS or max(width, height) > LONGEST_SIDE:
        raise _too_large(f"{width:,} x {height:,} px")


def _too_large(found: str) -> DescentError:
    return DescentError(
        f"the image has {found}, expected at most {MOST_PIXELS:,} in all and {LONGEST_SIDE:,} a "
        "side; shrink it, or cut out the part that is of interest"
    )


def _orientation(picture: Image.Image) -> int:
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # an EXIF that is broken says nothing
        return 1


def _stated_depth(picture: Image.Image) -> int | None:
    """The bits of a deep picture where its file states them; a file that says 16 may hold fewer."""
    if picture.format in SPREAD:
        return 16
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        bits = int(picture.tag_v2.get(_BITS_PER_SAMPLE, (16,))[0])
        return bits if 8 < bits < 16 else None
    return None


def _lower_bytes(picture: ImageFile.ImageFile, path: Path) -> np.ndarray | None:
    """The lower bytes of a file whose colours have 16 bits; None for any other."""
    deep = [layout for layout, _ in map(_layout, picture.tile) if ";16" in layout]
    if not deep or picture.mode.startswith("I"):
        return None
    if not all(layout in _LOWER_BYTE for layout in deep):
        raise DescentError(
            f"the image has 16 bits per channel in the layout {deep[0]}, expected grey, RGB or "
            "RGBA; convert it"
        )
    with Image.open(path) as again:
        again.tile = [_of_lower_byte(tile) for tile in again.tile]
        return np.asarray(again)


def _layout(tile: ImageFile._Tile) -> tuple[str, tuple[Any, ...]]:
    """How the pixels of a part of a file lie, and what else its decoder is told."""
    if isinstance(tile.args, str):
        return tile.args, ()
    layout, *rest = tile.args or ("",)
    return str(layout), tuple(rest)


def _of_lower_byte(tile: ImageFile._Tile) -> ImageFile._Tile:
    layout, rest = _layout(tile)
    return tile._replace(args=(_LOWER_BYTE[layout], *rest))
