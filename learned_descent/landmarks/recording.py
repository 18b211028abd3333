"""What becomes of the objects in a video: annotated frames, and files of landmarks that grow."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from ..data.video import Frame, VideoWriter
from ..errors import check_choice
from ..files import atomic_write, growing, or_null
from .tracker import Tracked

TrackFormat: TypeAlias = Literal["video", "frames", "json", "csv"]
"""An annotated video, or a folder of annotated frames; JSON and a table of all objects in all
frames."""

COLOURS = ("#E8601C", "#56B4E9", "#F0E442", "#009E73", "#CC79A7", "#D55E00", "#0072B2")
"""Those of the objects by their identities, over and over; told apart by the colour-blind."""

_MARK = ("Software", "learned-descent track")
"""What an annotated frame says in itself of who wrote it."""

_Sink: TypeAlias = Callable[[Frame, Sequence[Tracked]], None]


def file_of(folder: Path, stem: str, kind: TrackFormat) -> Path:
    """The file, or the folder of frames, that :func:`recording` writes.

    Example:
        >>> file_of(Path("out"), "street", "video").name, file_of(Path("out"), "street", "csv").name
        ('street.mp4', 'street.csv')
    """
    return folder / {"video": f"{stem}.mp4", "frames": stem}.get(kind, f"{stem}.{kind}")


@contextmanager
def recording(
    folder: Path,
    stem: str,
    kinds: Sequence[TrackFormat],
    *,
    rate: float,
    edges: Sequence[tuple[int, int]],
    noun: str = "object",
) -> Iterator[_Sink]:
    """Writes the objects of a video, frame by frame; the files are there when the block ends.

    Where it ends by an error no file is: frames that are done each have their own.

    Args:
        folder: where; it is made if it is missing.
        stem: the name of the video without its suffix.
        kinds: what is written.
        rate: frames a second, on the mean.
        edges: pairs of landmarks to join in the picture.
        noun: what an object is called in JSON and in the table.

    Returns:
        What takes each frame and the objects in it.

    Raises:
        DescentError: if PyAV is missing for a video, or a file cannot be written.

    Example:
        >>> import tempfile
        >>> out = Path(tempfile.mkdtemp())
        >>> with recording(out, "a", ["csv"], rate=30, edges=[]) as record:
        ...     record(Frame(0, 0.0, "0", np.zeros((8, 8, 3), np.uint8)), [])
        >>> (out / "a.csv").read_text().splitlines()
        ['frame,seconds,object,landmark,x,y,confidence,object_confidence']
    """
    makers: Mapping[str, Callable[[ExitStack, Path], _Sink]] = {
        "csv": lambda stack, path: _table(stack, path, noun),
        "json": lambda stack, path: _json(stack, path, noun, rate),
        "video": lambda stack, path: _video(stack, path, edges, rate),
        "frames": lambda stack, path: _frames(stack, path, edges),
    }
    for kind in kinds:
        check_choice(kind, TrackFormat, name="kinds")
    with ExitStack() as stack:
        sinks = [makers[kind](stack, file_of(folder, stem, kind)) for kind in kinds]

        def record(frame: Frame, objects: Sequence[Tracked]) -> None:
            for sink in sinks:
                sink(frame, objects)

        yield record


def _table(stack: ExitStack, path: Path, noun: str) -> _Sink:
    temporary = stack.enter_context(growing(path))
    file = stack.enter_context(temporary.open("w", encoding="utf-8", newline=""))
    table = csv.writer(file, lineterminator="\n")
    table.writerow(
        ["frame", "seconds", noun, "landmark", "x", "y", "confidence", f"{noun}_confidence"]
    )

    def write(frame: Frame, objects: Sequence[Tracked]) -> None:
        for one in objects:
            found = or_null(one.to_json())
            for number, ((x, y), sure) in enumerate(
                zip(found["landmarks"], found["landmark_confidence"])
            ):
                begin = [frame.name, f"{frame.seconds:.4f}", one.identity, number]
                table.writerow([*begin, x, y, sure, found["confidence"]])

    return write


def _json(stack: ExitStack, path: Path, noun: str, rate: float) -> _Sink:
    """A frame a line, so that a long video need not be held in memory."""
    temporary = stack.enter_context(growing(path))
    file = stack.enter_context(temporary.open("w", encoding="utf-8"))
    file.write(f'{{"rate": {rate:g}, "frames": [')
    stack.callback(file.write, "\n]}\n")
    between = iter([""])

    def write(frame: Frame, objects: Sequence[Tracked]) -> None:
        line = {
            "frame": frame.name,
            "seconds": round(frame.seconds, 4),
            f"{noun}s": [or_null(one.to_json()) for one in objects],
        }
        file.write(f"{next(between, ',')}\n{json.dumps(line, allow_nan=False)}")

    return write


def _video(stack: ExitStack, path: Path, edges: Sequence[tuple[int, int]], rate: float) -> _Sink:
    video = stack.enter_context(VideoWriter(stack.enter_context(growing(path)), rate=rate))

    def write(frame: Frame, objects: Sequence[Tracked]) -> None:
        video.write(annotated(frame.pixels, objects, edges), frame.seconds)

    return write


def _frames(stack: ExitStack, folder: Path, edges: Sequence[tuple[int, int]]) -> _Sink:
    """Frames that bear a mark: those of an earlier and longer run go when this one has ended."""
    written: set[Path] = set()
    mark = PngInfo()
    mark.add_text(*_MARK)

    def write(frame: Frame, objects: Sequence[Tracked]) -> None:
        picture = Image.fromarray(annotated(frame.pixels, objects, edges))
        path = folder / f"{frame.name}.png"
        atomic_write(path, lambda temporary: picture.save(temporary, pnginfo=mark))
        written.add(path)

    def leave(error: type[BaseException] | None, *_: object) -> None:
        for path in {*folder.glob("*.png")} - written if error is None else ():
            if _is_marked(path):
                path.unlink()

    stack.push(leave)
    return write


def _is_marked(path: Path) -> bool:
    try:
        with Image.open(path) as picture:
            return picture.info.get(_MARK[0]) == _MARK[1]
    except OSError:
        return False


def annotated(
    pixels: UInt8[np.ndarray, "H W 3"],
    objects: Sequence[Tracked],
    edges: Sequence[tuple[int, int]],
) -> UInt8[np.ndarray, "H W 3"]:
    """A frame with the landmarks of its objects, joined by the lines of the markup, and the number
    of each; quicker than :func:`~learned_descent.landmarks.output.draw`.

    Args:
        pixels: the frame, which stays as it is.
        objects: the objects.
        edges: pairs of landmarks to join.
    """
    picture = Image.fromarray(pixels)
    pen = ImageDraw.Draw(picture)
    for one in objects:
        points = one.fit.landmarks.numpy()
        # Of a dot, by the size of the object
        size = float(np.clip(np.ptp(points, 0).max() / 150, 0.5, 4.0))
        colour = COLOURS[one.identity % len(COLOURS)]
        for start, stop in edges:
            line = [*points[start].tolist(), *points[stop].tolist()]
            pen.line(line, fill="white", width=max(round(size), 1))
        for x, y in points.tolist():
            pen.ellipse((x - 1.5 * size, y - 1.5 * size, x + 1.5 * size, y + 1.5 * size), colour)
        letters = float(np.clip(14 * size, 12, 40))
        left, top = (points.min(0) - 3 * size).tolist()
        pen.text(
            (max(left, 0), max(top, 0)),
            str(one.identity),
            fill=colour,
            font=ImageFont.load_default(size=letters),
            anchor="lb" if top > letters else "lt",
            stroke_width=1,
            stroke_fill="black",
        )
    return np.asarray(picture)
