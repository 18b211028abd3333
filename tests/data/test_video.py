"""Videos and folders of frames: what is read and written, and what they say to what is none."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from learned_descent import DescentError
from learned_descent.data.video import (
    VIDEO_EXTRA,
    FrameFolder,
    VideoFile,
    VideoWriter,
    open_frames,
)

COUNT = 45


def picture(number: int, width: int = 64, height: int = 48) -> np.ndarray:
    """A red square that moves to the right."""
    pixels = np.full((height, width, 3), 30, np.uint8)
    pixels[8:40, number : number + 16] = (220, 30, 30)
    return pixels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "frames"
    path.mkdir()
    for number in range(12):
        Image.fromarray(picture(number)).save(path / f"frame{number}.png")
    (path / "notes.txt").write_text("no frame")
    return path


@pytest.fixture
def video(tmp_path: Path) -> Path:
    pytest.importorskip("av", reason="the extra video is not installed")
    path = tmp_path / "video.mp4"
    with VideoWriter(path, rate=25) as writer:
        for number in range(COUNT):
            writer.write(picture(number), number / 25)
    return path


def test_the_frames_of_a_folder_come_by_number(folder: Path):
    frames = open_frames(folder, rate=10)
    assert isinstance(frames, FrameFolder)
    assert (frames.rate, frames.count) == (10, 12)
    found = list(frames)
    assert [frame.name for frame in found] == [f"frame{number}" for number in range(12)]
    assert [frame.seconds for frame in found] == [number / 10 for number in range(12)]
    assert all((frame.pixels == picture(frame.number)).all() for frame in found)
    assert len(list(frames)) == 12, "it begins anew"


def test_digits_that_are_no_numbers_are_letters(tmp_path: Path):
    for name in ("²1", "²0"):
        Image.fromarray(picture(0)).save(tmp_path / f"{name}.png")
    assert [frame.name for frame in FrameFolder(tmp_path)] == ["²0", "²1"]


def test_a_folder_needs_no_pyav(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "av", None)
    assert len(list(open_frames(folder))) == 12


def test_a_missing_pyav_is_one_message_that_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "video.mp4").write_bytes(b"any")
    for use in (VideoFile, VideoWriter):
        with pytest.raises(DescentError, match="PyAV, which is not installed") as caught:
            use(tmp_path / "video.mp4")
        assert VIDEO_EXTRA in str(caught.value)
        assert "a folder of frames needs none" in str(caught.value)


def test_a_video_is_read_as_it_was_written(video: Path):
    frames = open_frames(video)
    assert isinstance(frames, VideoFile)
    assert (frames.rate, frames.count) == (25, COUNT)
    found = list(frames)
    assert [frame.number for frame in found] == list(range(COUNT))
    assert [frame.seconds for frame in found] == pytest.approx([n / 25 for n in range(COUNT)])
    for frame in found[::11]:
        assert np.abs(frame.pixels.astype(int) - picture(frame.number)).mean() < 4
    assert len(list(frames)) == COUNT, "it begins anew"


def test_odd_sides_and_dates_that_are_not_even(tmp_path: Path):
    pytest.importorskip("av", reason="the extra video is not installed")
    dates = [0.0, 0.01, 0.2, 0.2, 0.5]
    with VideoWriter(tmp_path / "odd.mp4", rate=10) as writer:
        for number, date in enumerate(dates):
            writer.write(picture(number, 63, 47), date)
    found = list(VideoFile(tmp_path / "odd.mp4"))
    assert [frame.seconds for frame in found] == pytest.approx(dates, abs=1e-3)
    assert found[0].pixels.shape == (48, 64, 3)


def test_a_video_that_is_shown_turned_is_read_turned(tmp_path: Path):
    av = pytest.importorskip("av", reason="the extra video is not installed")
    with av.open(str(tmp_path / "turned.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(picture(0), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    data = (tmp_path / "turned.mp4").read_bytes()
    # The matrix of the track, in the header of MP4: a quarter turn clockwise
    still = b"".join(n.to_bytes(4, "big") for n in (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30))
    turn = b"".join(
        n.to_bytes(4, "big", signed=True)
        for n in (0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    )
    place = data.rindex(still)
    (tmp_path / "turned.mp4").write_bytes(data[:place] + turn + data[place + len(still) :])
    found = next(iter(VideoFile(tmp_path / "turned.mp4"))).pixels
    assert found.shape == (64, 48, 3)
    assert np.abs(found.astype(int) - np.rot90(picture(0), -1)).mean() < 4


def test_a_video_that_breaks_off_gives_what_is_there_and_then_says_so(tmp_path: Path):
    pytest.importorskip("av", reason="the extra video is not installed")
    noise = np.random.default_rng(0)
    with VideoWriter(tmp_path / "whole.mkv", rate=10) as writer:
        for number in range(40):
            writer.write(noise.integers(0, 255, (48, 64, 3), dtype=np.uint8), number / 10)
    data = (tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    found = []
    with pytest.raises(
        DescentError, match=r"cut.mkv: (breaks off|frame \d+ does not).*; use a whole copy"
    ):
        found.extend(VideoFile(tmp_path / "cut.mkv"))
    assert 5 < len(found) < 40


def test_a_video_of_few_frames_does_not_break_off(tmp_path: Path):
    pytest.importorskip("av", reason="the extra video is not installed")
    with VideoWriter(tmp_path / "slow.mp4", rate=0.25) as writer:
        for number in range(3):
            writer.write(picture(number), 4 * number)
    assert [frame.seconds for frame in VideoFile(tmp_path / "slow.mp4")] == [0, 4, 8]


def test_what_is_no_video(tmp_path: Path):
    pytest.importorskip("av", reason="the extra video is not installed")
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(DescentError, match=r"text.mp4: does not decode as a video"):
        VideoFile(tmp_path / "text.mp4")
    with pytest.raises(DescentError, match=r"none.mp4: there is no such video; check the path"):
        open_frames(tmp_path / "none.mp4")
    with pytest.raises(DescentError, match="cannot be written as a video"):
        VideoWriter(tmp_path / "a.txt")
    with pytest.raises(DescentError, match=r"rate: .* is no folder"):
        open_frames(tmp_path / "text.mp4", rate=3)


def test_frames_of_another_size_are_refused(tmp_path: Path):
    pytest.importorskip("av", reason="the extra video is not installed")
    with VideoWriter(tmp_path / "a.mp4") as writer:
        writer.write(picture(0), 0.0)
        with pytest.raises(DescentError, match=r"expected frames of 64 x 48 px .*, got 32 x 48 px"):
            writer.write(picture(0, 32), 0.1)


def test_what_is_no_folder_of_frames(tmp_path: Path, folder: Path):
    with pytest.raises(DescentError, match="found no picture in it"):
        FrameFolder(tmp_path / "frames" / "..")
    with pytest.raises(DescentError, match="there is no such folder"):
        FrameFolder(tmp_path / "other")
    with pytest.raises(DescentError, match=r"rate: expected a positive number, got 0"):
        FrameFolder(folder, rate=0)
    Image.fromarray(picture(3)).save(folder / "frame3.jpg")
    with pytest.raises(DescentError, match=r"frame3.jpg and frame3.png are one frame by their na"):
        FrameFolder(folder)
    (folder / "frame3.jpg").unlink()
    (folder / "frame3.png").write_text("no picture")
    with pytest.raises(DescentError, match=r"frame3.png: the image does not decode"):
        list(FrameFolder(folder))
