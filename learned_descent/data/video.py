"""Videos, and folders of frames: pictures one after another, read and written."""

from __future__ import annotations

import importlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ..errors import DescentError, check_real
from .pictures import read_picture

RATE = 30.0
"""The frames a second of a folder, which does not say any."""

VIDEO_EXTRA = "pip install 'learned-descent[video]'"
"""What installs the reader and writer of videos."""

CODECS = ("libx264", "mpeg4")
"""What videos are written with: the first one that FFmpeg was built with."""

_SLACK = 1.0
"""A video whose last frame ends so many seconds before it says has been cut off."""

_TICKS = 90_000
"""Frames are dated in so many parts of a second, as in MPEG."""


class Frame(NamedTuple):
    """One picture of a video.

    Args:
        number: its place, from 0.
        seconds: when it is shown, from the start of the video.
        name: what messages and files call it: the name of its file without the suffix, or its
            number.
        pixels: its colours, as displayed.
    """

    number: int
    seconds: float
    name: str
    pixels: UInt8[np.ndarray, "H W 3"]


class Frames(ABC):
    """The frames of a video, one after another; iterating again begins anew.

    Attributes:
        path: where they come from.
        rate: frames a second, on the mean.
        count: how many there are, as far as it is known beforehand.
    """

    path: Path
    rate: float
    count: int | None

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """The frames in their order.

        Raises:
            DescentError: at the first one that does not decode; the message says which it is.
        """


@final
class FrameFolder(Frames):
    """The pictures in a folder, in the order of their names, where 10 comes after 9.

    Args:
        path: the folder; what is no picture by its ending is left out.
        rate: frames a second.

    Raises:
        DescentError: if it is no folder, holds no picture, or two of one name.

    Example:
        >>> FrameFolder("frames", rate=25)  # doctest: +SKIP
    """

    def __init__(self, path: str | Path, *, rate: float = RATE) -> None:
        check_real(rate, name="rate", positive=True)
        self.path, self.rate = Path(path), rate
        if not self.path.is_dir():
            raise DescentError(f"{path}: expected a folder of frames, and there is no such folder")
        known = Image.registered_extensions()
        self.files = sorted(
            (file for file in self.path.iterdir() if file.suffix.lower() in known),
            key=lambda file: (_by_number(file.name), file.name),
        )
        named: dict[str, Path] = {}
        for file in self.files:
            other = named.setdefault(file.stem, file)
            if other != file:
                raise DescentError(
                    f"{self.path}: {other.name} and {file.name} are one frame by their names: "
                    "leave one of them out"
                )
        self.count = len(self.files)
        if not self.files:
            raise DescentError(
                f"{path}: expected a folder of frames such as 0001.png, found no picture in it"
            )

    def __iter__(self) -> Iterator[Frame]:
        for number, file in enumerate(self.files):
            yield Frame(number, number / self.rate, file.stem, read_picture(file))


@final
class VideoFile(Frames):
    """A video that FFmpeg can read, by PyAV: the extra ``video``.

    Args:
        path: the file.

    Raises:
        DescentError: if PyAV is not installed, or the file is missing or no video.

    Example:
        >>> VideoFile("video.mp4").rate  # doctest: +SKIP
        29.97
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with self._opened() as (_, stream):
            self.rate = float(stream.average_rate or stream.guessed_rate or RATE)
            self._duration = _duration(stream)
            lasting = None if self._duration is None else round(self._duration * self.rate)
            self.count = stream.frames or lasting

    def __iter__(self) -> Iterator[Frame]:
        number, dated = 0, 0.0
        with self._opened() as (container, stream):
            stream.thread_type = "AUTO"
            start = float((stream.start_time or 0) * stream.time_base)
            for found in self._decoded(container):
                dated = number / self.rate if found.time is None else float(found.time) - start
                # FFmpeg turns counterclockwise, as NumPy does
                pixels = np.rot90(found.to_ndarray(format="rgb24"), round(found.rotation / 90))
                yield Frame(number, dated, f"{number:06d}", np.ascontiguousarray(pixels))
                number += 1
        if not number:
            raise DescentError(f"{self.path}: expected a video, got one without a frame")
        if self._duration is not None and dated + 1 / self.rate + _SLACK < self._duration:
            raise DescentError(
                f"{self.path}: breaks off after {dated:.1f} of its {self._duration:.1f} seconds; "
                "use a whole copy"
            )

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        av = _pyav()
        if not self.path.is_file():
            raise DescentError(f"{self.path}: there is no such video; check the path")
        try:
            container = av.open(str(self.path))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise DescentError(
                f"{self.path}: does not decode as a video ({_reason(error)}); give a video such as "
                "an .mp4, or a folder of frames"
            ) from error
        with container:
            if not container.streams.video:
                raise DescentError(f"{self.path}: expected a video, got a file without pictures")
            yield container, container.streams.video[0]

    def _decoded(self, container: Any) -> Iterator[Any]:
        """The frames as PyAV gives them."""
        av = _pyav()
        number = 0
        try:
            for found in container.decode(video=0):
                yield found
                number += 1
        except (av.error.FFmpegError, OSError) as error:
            raise DescentError(
                f"{self.path}: frame {number} does not decode ({_reason(error)}); use a whole copy"
            ) from error


def open_frames(path: str | Path, *, rate: float | None = None) -> Frames:
    """The frames of a video or of a folder.

    Args:
        path: a video file or a folder of pictures.
        rate: the frames a second of a folder; 30 by default. A video has its own.

    Raises:
        DescentError: if there is neither, PyAV is needed and not installed, or a video is given a
            rate.

    Example:
        >>> open_frames("video.mp4").count  # doctest: +SKIP
        417
    """
    if Path(path).is_dir():
        return FrameFolder(path, rate=RATE if rate is None else rate)
    if rate is not None:
        raise DescentError(
            f"rate: {path} is no folder; a video has a rate of its own: leave it out"
        )
    return VideoFile(path)


@final
class VideoWriter:
    """A video that is being written, in H.264 where FFmpeg can; frames are dated as they come.

    Args:
        path: the file; its ending is that of the container, such as ``.mp4``.
        rate: frames a second, on the mean.

    Raises:
        DescentError: if PyAV is not installed, or FFmpeg cannot write such a file.

    Example:
        >>> with VideoWriter("out.mp4", rate=30) as video:  # doctest: +SKIP
        ...     video.write(pixels, seconds=0.0)
    """

    def __init__(self, path: str | Path, *, rate: float = RATE) -> None:
        check_real(rate, name="rate", positive=True)
        self._av = _pyav()
        self.path, self.rate = Path(path), rate
        try:
            self._container = self._av.open(str(path), "w")
            codec = next(name for name in CODECS if name in self._av.codecs_available)
            exact = Fraction(rate).limit_denominator(1001)
            self._stream = self._container.add_stream(codec, rate=exact)
        except (self._av.error.FFmpegError, OSError, ValueError) as error:
            raise DescentError(
                f"{path}: cannot be written as a video ({_reason(error)}); give a name that ends "
                "with .mp4"
            ) from error
        self._stream.pix_fmt = "yuv420p"
        self._size: tuple[int, int] | None = None
        self._last = -1

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, pixels: UInt8[np.ndarray, "H W 3"], seconds: float) -> None:
        """Appends a frame; an odd last row or column is repeated, for H.264 has even sides.

        Args:
            pixels: its colours, of the same size as those of the others.
            seconds: when it is shown.

        Raises:
            DescentError: if it has another size than the first one.
        """
        height, width = pixels.shape[:2]
        if self._size is None:
            self._size = (width, height)
            self._stream.width, self._stream.height = width + width % 2, height + height % 2
            self._stream.codec_context.time_base = Fraction(1, _TICKS)
        if self._size != (width, height):
            raise DescentError(
                f"{self.path}: expected frames of {self._size[0]} x {self._size[1]} px as the "
                f"first one, got {width} x {height} px; write frames as files of their own"
            )
        even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = self._av.VideoFrame.from_ndarray(even, format="rgb24")
        # Two frames of one date are none to a container
        self._last = max(round(seconds * _TICKS), self._last + 1)
        frame.pts, frame.time_base = self._last, Fraction(1, _TICKS)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Writes what is still held back, and the index; an empty video is none."""
        if self._size is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()


def _pyav() -> Any:
    """PyAV.

    Raises:
        DescentError: if it is not installed; the message names the extra.
    """
    try:
        return importlib.import_module("av")
    except ImportError as error:  # also where the system lacks a library
        raise DescentError(
            f"videos are read and written by PyAV, which is not installed ({error}): "
            f"{VIDEO_EXTRA}; a folder of frames needs none"
        ) from error


def _duration(stream: Any) -> float | None:
    """The seconds that a stream lasts, as far as the file says so."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    alone = len(stream.container.streams) == 1  # else the sound may be what lasts
    microseconds = stream.container.duration if alone else None
    return None if microseconds is None else microseconds * 1e-6


def _reason(error: BaseException) -> str:
    """What FFmpeg says, without the name of the file, which the message has."""
    return str(getattr(error, "strerror", None) or error)


def _by_number(name: str) -> list[tuple[int, str]]:
    """The parts of a name, by which frame 10 comes after frame 9."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part)
        for part in re.split(r"(\d+)", name.lower())
        if part
    ]
