"""What the command line does with videos: track."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tqdm import tqdm

from ..data.video import Frame, Frames, open_frames
from ..errors import DescentError
from ..signals import unbroken
from ..system.progress import progress_bar
from .align import aligner_of
from .runs import WAY_OUT, check_measurement, prepare_folder

if TYPE_CHECKING:
    from ..landmarks.recording import TrackFormat
    from ..landmarks.tracker import Tracked, Tracker

KINDS = ("video", "frames", "json", "csv")
"""What ``track`` can write."""


def track(
    video: Path,
    *,
    weights: str = "tokens",
    views: int = 1,
    detector: str | None = None,
    problem_file: str | None = None,
    model: str | None = None,
    smooth: bool = True,
    least: float = 0.9,
    every: int = 30,
    patience: int = 30,
    rate: float | None = None,
    output: Path = Path("tracked"),
    format: Sequence[TrackFormat] | None = None,  # noqa: A002 - the name of the option
    device: Literal["cpu", "cuda"] = "cpu",
    overwrite: bool = False,
) -> tuple[str, bool]:
    """Follows faces or other objects through a video, and their landmarks.

    What is done of a video that breaks off, or when the command is asked to end, is kept.

    Args:
        video: a video file, or a folder of frames in the order of their names.
        weights: the name of weights that come with the package, or a weights file.
        views: how many copies of each object are fitted in each frame, from 1 to 4.
        detector: centerface, lbp, picture (the whole picture is the box), or file.py:Class; by
            default that of the weights: faces have a detector, others the whole picture.
        problem_file: the problem of the weights, file.py:Class, where it is not a built-in one.
        model: the class of the model, file.py:Class, where it is not a built-in one.
        smooth: whether the landmarks are smoothed.
        least: the least confidence of a fit that is not checked by the detector.
        every: the detector looks at one frame in so many, and wherever the confidence is low.
        patience: for so many frames an object may be out of sight without losing its number.
        rate: the frames a second of a folder, 30 by default; a video has its own.
        output: the folder for STEM.mp4, the folder STEM of frames, STEM.json and STEM.csv.
        format: what is written; by default a video of a video and frames of a folder, and json and
            csv.
        device: cpu or cuda.
        overwrite: replace what is there.

    Returns:
        A line about the video, and whether all went well.
    """
    check_measurement(1, device)
    frames = open_frames(video, rate=rate)
    kinds = format or ["frames" if video.is_dir() else "video", "json", "csv"]
    stem = video.resolve().name if video.is_dir() else video.stem
    files = _free(video, output, stem, kinds, overwrite)
    from ..landmarks.recording import recording
    from ..landmarks.smoothing import Smoothing
    from ..landmarks.tracker import Tracker

    aligner = aligner_of(weights, problem_file, model, detector, views, device)
    smoothing = Smoothing() if smooth else None
    tracker = Tracker(aligner, smoothing=smoothing, least=least, every=every, patience=patience)
    problem = aligner.problem
    begun = time.monotonic()
    with (
        recording(
            output, stem, kinds, rate=frames.rate, edges=problem.edges, noun=problem.noun
        ) as record,
        _told(),
    ):
        seen, stopped = _follow(tracker, frames, record)
    if isinstance(stopped, KeyboardInterrupt):
        raise type(stopped)(f"kept: the {len(seen)} frames that were done, in {files}")
    if stopped is not None:
        text = f"learned-descent: {stopped}; kept: the {len(seen)} frames before, in {files}"
        tqdm.write(text, file=sys.stderr)
    known = {identity for identities in seen for identity in identities}
    if not known:
        tqdm.write(
            f"learned-descent: {video}: no {problem.noun} found in any of its {len(seen)} frames; "
            f"written: {files}",
            file=sys.stderr,
        )
        return "", False
    pace = len(seen) / max(time.monotonic() - begun, 1e-9)
    text = (
        f"{video}: {len(seen)} frames, {len(known)} {problem.noun}{'s' * (len(known) > 1)} in "
        f"{sum(map(bool, seen))} of them, {pace:.1f} frames a second; {files}"
    )
    return text, stopped is None


def _follow(
    tracker: Tracker, frames: Frames, record: Callable[[Frame, Sequence[Tracked]], None]
) -> tuple[list[list[int]], DescentError | KeyboardInterrupt | None]:
    """The identities in each frame that is done, and what stopped it; raised if none was done."""
    seen: list[list[int]] = []
    try:
        for frame in progress_bar(frames, "tracking", total=frames.count, unit="frame"):
            objects = tracker(frame.pixels, frame.seconds)
            with unbroken():
                record(frame, objects)
                seen.append([one.identity for one in objects])
    except (DescentError, KeyboardInterrupt) as stop:
        if not seen:
            raise
        return seen, stop
    return seen, None


def _free(
    video: Path, output: Path, stem: str, kinds: Sequence[TrackFormat], overwrite: bool
) -> str:
    """The files that will be written, named; refused where one is there, or is what is read."""
    from ..landmarks.recording import file_of

    files = [file_of(output, stem, kind) for kind in kinds]
    for file in files:
        if file.resolve() == video.resolve():
            raise DescentError(f"{file} is what is to be read: give another --output")
        prepare_folder(output, None if overwrite else file, WAY_OUT)
    return ", ".join(map(str, files))


@contextmanager
def _told() -> Iterator[None]:
    """Warnings go to the error stream, each once."""
    with warnings.catch_warnings():
        warnings.simplefilter("once")
        warnings.showwarning = lambda message, *_: tqdm.write(
            f"learned-descent: warning: {message}", file=sys.stderr
        )
        yield
