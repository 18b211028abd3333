"""Every way in which the data on disk can be wrong, and what is said about it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from learned_descent import DescentError
from learned_descent.landmarks.boxes import read_all_boxes, read_boxes
from learned_descent.landmarks.point_files import quiet_menpo, read_landmarks

from .fake300w import read_fake_300w, write_fake_300w, write_pts

FACE = "afw/face_0001"


def points_of(path: Path) -> torch.Tensor:
    with quiet_menpo():
        return torch.from_numpy(read_landmarks(path))


def spoil(root: Path, how: str) -> Path | None:  # noqa: C901 - a table of mistakes
    """Spoils the face ``FACE`` in one way; gives the file of boxes to read with, if there is
    one."""
    landmarks, box, image = (
        root / f"{FACE}.pts",
        root / f"bounding_boxes/{FACE}.pts",
        root / f"{FACE}.jpg",
    )
    table = root / "boxes.csv"
    points = points_of(landmarks)
    if how == "image that does not decode":
        image.write_bytes(b"no image")
    elif how == "image cut off":
        image.write_bytes(image.read_bytes()[:700])
    elif how == "no image":
        image.unlink()
    elif how == "two images":
        Image.new("RGB", (9, 9)).save(image.with_suffix(".png"))
    elif how == "no landmarks":
        landmarks.unlink()
    elif how == "other number of points":
        write_pts(landmarks, points[:29])
    elif how in ("half a point", "endless point"):
        points[7, 1] = torch.nan if how == "half a point" else torch.inf
        write_pts(landmarks, points)
    elif how == "no point":
        write_pts(landmarks, points * torch.nan)
    elif how == "broken landmarks":
        landmarks.write_text("version: 1\nn_points: 68\n{\n1.0 2.0\n3.0 x\n}\n")
    elif how == "empty landmarks":
        landmarks.write_text("")
    elif how == "two groups":
        group = {"landmarks": {"points": [[1.0, 2.0]], "connectivity": [[0, 0]]}, "labels": []}
        landmarks.unlink()
        landmarks.with_suffix(".ljson").write_text(
            json.dumps({"version": 3, "groups": {"a": group, "b": group}})
        )
    elif how == "far landmark":
        points[3] = torch.tensor([-400.0, 20.0])
        write_pts(landmarks, points)
    elif how == "landmarks in one place":
        write_pts(landmarks, points.mean(0).expand_as(points))
    elif how == "landmarks on a line":
        points[:, 1] = 40 + 0.2 * points[:, 0]
        write_pts(landmarks, points)
    elif how == "eyes in one place":
        points[36:42] = points[42:48].flip(0)
        points[36] = points[45]
        write_pts(landmarks, points)
    elif how == "numbered points":
        rows = "".join(
            f"{number} {column} {row}\n" for number, (column, row) in enumerate(points.tolist(), 1)
        )
        landmarks.write_text(f"version: 1\nn_points: 68\n{{\n{rows}}}\n")
    elif how == "other number than it says":
        landmarks.write_text(landmarks.read_text().replace("n_points: 68", "n_points: 67"))
    elif how == "cut off":
        landmarks.write_text("\n".join(landmarks.read_text().splitlines()[:60]))
    elif how == "points in space":
        group = {
            "landmarks": {"points": [[1.0, 2.0, 3.0]] * 68, "connectivity": [[0, 0]]},
            "labels": [],
        }
        landmarks.unlink()
        landmarks.with_suffix(".ljson").write_text(
            json.dumps({"version": 3, "groups": {"a": group}})
        )
    elif how == "no box":
        box.unlink()
    elif how == "nan box":
        box.write_text("version: 1\nn_points: 4\n{\nnan 1\n1 50\n50 50\n50 1\n}\n")
    elif how == "box of two corners":
        write_pts(box, torch.tensor([[10.0, 10.0], [50.0, 50.0]]))
    elif how == "box outside":
        write_pts(box, torch.tensor([[500.0, 10.0], [500.0, 50.0], [560.0, 50.0], [560.0, 10.0]]))
    elif how == "1-pixel box":
        write_pts(box, torch.tensor([[50.0, 50.0], [50.0, 51.0], [51.0, 51.0], [51.0, 50.0]]))
    elif how == "mirrored box":
        table.write_text(f"{FACE}.jpg,80,20,20,80\n")
    elif how == "nan box of the user":
        table.write_text(f"{FACE}.jpg,nan,20,80,80\n")
    return table if table.exists() else None


SPOILT = {
    "image that does not decode": "face_0001.jpg: the image does not decode",
    "image cut off": "face_0001.jpg: the image does not decode",
    "no image": "face_0001: expected one image of this name, got 0",
    "two images": "face_0001: expected one image of this name, got 2",
    "no landmarks": "face_0001: expected one .pts or .ljson of this name, got 0",
    "other number of points": "face_0001.pts: 29 points, but ibug68 is read from 68",
    "half a point": "face_0001.pts: point 7 (from 0) is not finite (1 of 68 points); mend it, or "
    "write nan nan where it is missing",
    "endless point": "face_0001.pts: point 7 (from 0) is not finite (1 of 68 points)",
    "no point": "face_0001.pts: no landmark is known (all are nan): label some, or remove the file",
    "broken landmarks": "face_0001.pts: not readable as landmarks (ValueError: could not convert",
    "empty landmarks": "face_0001.pts: not readable as landmarks",
    "two groups": "face_0001.ljson: expected one group of landmarks, got 2",
    "far landmark": "face_0001.pts: landmark 3 (from 0) falls on (-",
    "landmarks in one place": "face_0001.pts: the landmarks are all in one place: expected those "
    "of a face; mend the file",
    "landmarks on a line": "face_0001.pts: the landmarks lie on a line: expected those of a face",
    "eyes in one place": "face_0001.pts: the landmarks have both eyes in one place",
    "numbered points": "face_0001.pts: expected a column and a row in each line of points, got 3 "
    "values (1 ",
    "other number than it says": "face_0001.pts: n_points is 67, but there are 68 points",
    "cut off": "face_0001.pts: n_points is 68, but there are 57 points",
    "points in space": "face_0001.ljson: expected a row and a column for each point, got an array "
    "(68, 3)",
    "no box": "face_0001.jpg: no box; add ",
    "nan box": "bounding_boxes/afw/face_0001.pts: point 0 (from 0) is not finite",
    "box of two corners": "bounding_boxes/afw/face_0001.pts: 2 points, expected the 4 corners of a "
    "box",
    "box outside": "face_0001.jpg: the box (500 10 560 50) has its centre outside of the image",
    "1-pixel box": "face_0001.jpg: the box (50 50 51 51) is 1 x 1 px",
    "mirrored box": "face_0001.jpg: the box (80 20 20 80) is mirrored",
    "nan box of the user": "face_0001.jpg: the box (nan 20 80 80) has a side that is not a finite "
    "number",
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_face_that_cannot_be_used_is_named(
    root: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    boxes = spoil(root, how)
    with pytest.raises(DescentError) as error:
        read_fake_300w(root, boxes=boxes)
    assert SPOILT[how] in str(error.value)
    assert "1 of the 4 faces" in str(error.value)
    assert "--skip-bad" in str(error.value)
    with caplog.at_level(logging.WARNING):
        faces = read_fake_300w(root, boxes=boxes, skip_bad=True)
    assert faces.names == ("afw/face_0000", "afw/face_0002", "afw/face_0003")
    assert all(len(value) == 3 for value in faces.batch.values())
    (reason,) = faces.report[0].unusable
    assert SPOILT[how] in reason
    assert reason in caplog.text
    assert str(faces.report[0]) == "afw: 4 faces of the 337 in 300-W, 1 unusable"


def test_one_bad_face_in_twenty_is_put_up_with(tmp_path: Path) -> None:
    write_fake_300w(tmp_path, {"afw": 20}, size=48)
    (tmp_path / f"{FACE}.pts").unlink()
    faces = read_fake_300w(tmp_path)
    assert (len(faces.names), len(faces.report[0].unusable)) == (19, 1)
    (tmp_path / "afw/face_0002.pts").unlink()
    with pytest.raises(
        DescentError, match=r"2 of the 20 faces in .* cannot be used \(10.0%; 5% are put up with\)"
    ):
        read_fake_300w(tmp_path)


def test_without_a_usable_face_nothing_helps(root: Path) -> None:
    for path in (root / "bounding_boxes" / "afw").iterdir():
        path.unlink()
    with pytest.raises(
        DescentError, match=r"4 of the 4 faces(.|\n)*no box(.|\n)*Mend these files\.$"
    ):
        read_fake_300w(root, skip_bad=True)


def test_a_long_list_of_bad_faces_is_cut(tmp_path: Path) -> None:
    write_fake_300w(tmp_path, {"afw": 12}, size=48)
    for path in (tmp_path / "bounding_boxes" / "afw").iterdir():
        path.unlink()
    with pytest.raises(DescentError) as error:
        read_fake_300w(tmp_path)
    assert str(error.value).count("no box") == 10
    assert "and 2 more" in str(error.value)


def test_missing_and_empty_folders(root: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DescentError,
        match=r"root: there is no folder .*nowhere; give the folder that holds the parts",
    ):
        read_fake_300w(tmp_path / "nowhere")
    with pytest.raises(
        DescentError,
        match=r"parts: there is no folder .*ibug; .*faces holds: afw, helen \(faces in another",
    ):
        read_fake_300w(root, ("afw", "ibug"))
    (tmp_path / "empty" / "afw").mkdir(parents=True)
    with pytest.raises(
        DescentError,
        match=r"parts: there is no image \(\.jpg, \.png, \.\.\.\) in .*afw; unpack the faces",
    ):
        read_fake_300w(tmp_path / "empty")
    with pytest.raises(
        DescentError, match=r"parts: there is no folder .*x; .*afw holds: no folder \(faces"
    ):
        read_fake_300w(tmp_path / "empty" / "afw", ("x",))


def test_wrong_parts_and_sizes(root: Path) -> None:
    for parts in ((), "afw"):
        with pytest.raises(DescentError, match="parts: expected a sequence of folders"):
            read_fake_300w(root, parts)  # type: ignore[arg-type]
    for overlapping in (("afw", "afw"), ("helen", "helen/testset")):
        with pytest.raises(
            DescentError, match="parts: expected folders of which none contains another, got"
        ):
            read_fake_300w(root, overlapping)
    for elsewhere in (str(root / "afw"), "../afw"):
        with pytest.raises(
            DescentError, match=r"parts: expected folders below .*, relative to it, got"
        ):
            read_fake_300w(root, (elsewhere,))
    with pytest.raises(
        DescentError, match="expected 0 < box_side <= crop, got box_side = 56 and crop = 50 px"
    ):
        read_fake_300w(root, crop=50)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("boxes.txt", "", r"expected a .csv or .json file of boxes, but .*boxes.txt is none"),
        ("boxes.json", "{", r"boxes.json cannot be read \(Expecting"),
        ("boxes.json", "[" * 100_000, r"boxes.json cannot be read \(maximum recursion depth"),
        ("boxes.json", "[1]", r"boxes.json cannot be read \(it holds a list, not an object\)"),
        ("boxes.json", '{"a.jpg": 3}', r"gives 3 for 'a.jpg', expected the four numbers"),
        ("boxes.json", '{"a.jpg": [1, 2, 3, null]}', r"gives \[1, 2, 3, None\] for 'a.jpg'"),
        (
            "boxes.csv",
            "b.jpg,1,2,3,4\na.jpg,1,2,3\n",
            r"gives \['1', '2', '3'\] for 'a.jpg', expected the four numbers",
        ),
        (
            "boxes.csv",
            "b.jpg,1,2,3,4\na.jpg,1,2,3,x\n",
            r"for 'a.jpg', expected the four numbers x0 y0 x1 y1",
        ),
        ("boxes.csv", "a.jpg,1,2,3,4\n./a.jpg,1,2,3,5\n", r"names 'a.jpg' twice; keep one box"),
        (
            "boxes.csv",
            "image,cx,cy,w,h\na.jpg,1,2,3,4\n",
            r"its titles are image,cx,cy,w,h, not image,x0,y0,x1,y1 or image,x",
        ),
        (
            "boxes.csv",
            "image,x0,y0,x1,y1,score\na.jpg,1,2,3,4,5\n",
            "its titles are image,x0,y0,x1,y1,score, not",
        ),
        ("boxes.csv", "box,x0,y0,x1,y1\na.jpg,1,2,3,4\n", "its titles are box,x0,y0,x1,y1, not"),
        (
            "boxes.csv",
            "image,x,y,w,h\na.jpg,1,2,3\n",
            r"gives \['1', '2', '3'\] for 'a.jpg', expected the four numbers",
        ),
        ("boxes.csv", "image,x,y,w,h\na.jpg,1,2,,4\n", "for 'a.jpg', expected the four numbers"),
    ],
)
def test_wrong_files_of_boxes(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DescentError, match=f"boxes: .*{message}"):
        read_boxes(tmp_path / name)


def test_boxes_that_name_no_image_are_refused_and_a_part_of_them_is_noted(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = root / "boxes.csv"
    for text, told in (
        ("face_0000.jpg,20,20,80,80\n", "its first entry is 'face_0000.jpg'"),
        ("", "it is empty"),
    ):
        table.write_text(text)
        with pytest.raises(
            DescentError,
            match=rf"boxes: .* names no image in .*: {told}; expected paths .* 'afw/face_0000.jpg'",
        ):
            read_fake_300w(root, boxes=table)
    table.write_text("afw/face_0000.jpg,20,20,80,80\nafw/nobody.jpg,20,20,80,80\n")
    read_fake_300w(root, boxes=table)
    assert "images that are not in" in caplog.text
    assert "(1):\n  afw/nobody.jpg" in caplog.text
    assert "has none for 3 of 4 images; those in bounding_boxes serve" in caplog.text
    caplog.clear()
    read_fake_300w(root, ("helen/testset",), boxes=table)
    assert "has none for 2 of 2 images" in caplog.text


def outcome(path: Path) -> str:
    """What is said of a file of landmarks or boxes; nothing where it is read."""
    try:
        if path.suffix in (".csv", ".json"):
            return "" if read_all_boxes(path) else "none"
        with quiet_menpo():
            return "" if len(read_landmarks(path)) else "none"
    except DescentError as error:
        return str(error)


@pytest.mark.parametrize("name", ["face.pts", "face.ljson", "boxes.csv", "boxes.json"])
def test_a_broken_file_is_read_or_named(tmp_path: Path, name: str) -> None:
    """Sixty damages of a kind: cut off, or with bytes replaced."""
    group = {"landmarks": {"points": [[1.5, 2.0]] * 4, "connectivity": [[0, 1]]}, "labels": []}
    whole = {
        "face.pts": "version: 1\nn_points: 4\n{\n1 2\n3 4\n5 6.5\n7 8\n}\n",
        "face.ljson": json.dumps({"version": 3, "groups": {"a": group}}),
        "boxes.csv": "image,x,y,w,h\na.jpg,1,2,3,4\nb.jpg,1,2,3,4.5\n",
        "boxes.json": '{"a.jpg": [1, 2, 3, 4], "b.jpg": [[1, 2, 3, 4.5]]}',
    }[name].encode()
    path, draw = tmp_path / name, np.random.default_rng(0)
    found = []
    for number in range(60):
        data = bytearray(whole[: draw.integers(len(whole))] if number % 3 == 0 else whole)
        for at in draw.integers(max(1, len(data)), size=number % 4 if data else 0):
            data[at] = draw.integers(256)
        path.write_bytes(data)
        found.append(outcome(path))
    assert all(text in ("", "none") or str(path) in text for text in found)
    assert "" in found
    assert any(found)


def test_missing_file_of_boxes(root: Path) -> None:
    with pytest.raises(
        DescentError, match=r"boxes: expected a .csv or .json file of boxes, but .*none.csv is none"
    ):
        read_fake_300w(root, boxes=root / "none.csv")
