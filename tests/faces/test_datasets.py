from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from learned_descent import DescentError
from learned_descent.faces.crops import apply_affine
from learned_descent.faces.datasets import FaceData, read_faces
from learned_descent.faces.files import quiet_menpo, read_boxes, read_landmarks
from learned_descent.faces.schema import IBUG49, IBUG68, LandmarkSchema

from .fake300w import write_fake_300w, write_pts

REAL = Path(__file__).parents[3] / "shared" / "300w"
FACE = "afw/face_0001"


def read(
    root: Path,
    parts: tuple[str, ...] = ("afw",),
    schema: LandmarkSchema = IBUG68,
    *,
    crop: int = 96,
    boxes: Path | None = None,
    skip_bad: bool = False,
) -> FaceData:
    return read_faces(root, parts, schema=schema, crop=crop, box_side=56, boxes=boxes, skip_bad=skip_bad, progress=False)


def move(root: Path, name: str, suffix: str = ".pts") -> Path:
    """Takes a file out of the data; gives the path where it lay."""
    path = root / f"{name}{suffix}"
    path.unlink()
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_fake_300w(tmp_path / "faces", {"afw": 4, "helen/testset": 2}, size=96)


def test_batch_names_and_report(root: Path) -> None:
    faces = read(root, ("helen/testset", "afw"))
    batch = faces.batch
    assert {name: (tuple(value.shape), value.dtype) for name, value in batch.items()} == {
        "image": ((6, 3, 96, 96), torch.uint8),
        "points": ((6, 68, 2), torch.float32),
        "box": ((6, 4), torch.float32),
        "to_photo": ((6, 2, 3), torch.float32),
    }
    assert faces.names == ("helen/testset/face_0000", "helen/testset/face_0001", *(f"afw/face_000{i}" for i in range(4)))
    assert [str(part) for part in faces.report] == [
        "helen/testset: 2 faces of the 330 in 300-W, 0 unusable",
        "afw: 4 faces of the 337 in 300-W, 0 unusable",
    ]
    torch.testing.assert_close(batch["box"], torch.tensor([[19.5, 19.5, 75.5, 75.5]]).expand(6, 4), atol=1e-3, rtol=0)


def test_landmarks_return_to_the_photo(root: Path) -> None:
    faces = read(root)
    for name, points in zip(faces.names, apply_affine(faces.batch["to_photo"], faces.batch["points"])):
        rows = (root / f"{name}.pts").read_text().splitlines()[3:-1]
        counted_from_one = torch.tensor([[float(value) for value in row.split()] for row in rows])
        torch.testing.assert_close(points, counted_from_one - 1, atol=1e-3, rtol=0)


def test_pixels_lie_where_the_landmarks_say(root: Path) -> None:
    """A photo that is white on one landmark only: the crop is brightest there."""
    with quiet_menpo():
        column, row = read_landmarks(root / f"{FACE}.pts")[30].round()
    photo = np.zeros_like(np.asarray(Image.open(root / f"{FACE}.jpg")))
    photo[int(row), int(column)] = 255
    move(root, FACE, ".jpg")
    Image.fromarray(photo).save(root / f"{FACE}.png")
    faces = read(root)
    index = faces.names.index(FACE)
    image, point = faces.batch["image"][index, 0], faces.batch["points"][index, 30]
    brightest = torch.tensor([int(image.argmax()) % 96, int(image.argmax()) // 96])
    assert image.max() > 50
    assert (brightest - point).abs().max() <= 1.0


def test_grey_photos_have_three_equal_channels(root: Path) -> None:
    faces = read(root)
    grey = faces.batch["image"][faces.names.index("afw/face_0003")]
    assert grey.float().std() > 5
    assert torch.equal(grey[0], grey[1])
    assert torch.equal(grey[0], grey[2])


def test_a_smaller_markup_is_picked_from_the_68_points(root: Path) -> None:
    every, inner = read(root), read(root, schema=IBUG49)
    assert torch.equal(inner.batch["points"], every.batch["points"][:, list(IBUG49.within(68))])
    assert torch.equal(inner.batch["image"], every.batch["image"])


@pytest.mark.parametrize("version", [2, 3])
def test_ljson_counts_from_zero(root: Path, version: int) -> None:
    expected = read(root)
    with quiet_menpo():
        points = read_landmarks(root / f"{FACE}.pts")[:, ::-1].tolist()
    every = list(range(len(points)))
    group = {"landmarks": {"points": points, "connectivity": [[0, 1]]}, "labels": [{"label": "all", "mask": every}]}
    text = json.dumps({"version": 3, "groups": {"LJSON": group}} if version == 3 else {"version": 2, **group})
    move(root, FACE).with_suffix(".ljson").write_text(text)
    torch.testing.assert_close(read(root).batch["points"], expected.batch["points"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["csv", "titled.csv", "json"])
def test_boxes_of_the_user(root: Path, kind: str) -> None:
    expected = read(root)
    with quiet_menpo():
        corners = {name: read_landmarks(root / f"bounding_boxes/{name}.pts") for name in expected.names}
    table = {
        f"{name}{'.png' if name.endswith('3') else '.jpg'}": [*points.min(0), *points.max(0)]
        for name, points in corners.items()
    }
    for name in expected.names:
        move(root, f"bounding_boxes/{name}")
    path = root / f"boxes.{kind}"
    rows = [",".join([image, *map(str, box)]) for image, box in table.items()]
    titles = ["image,x0,y0,x1,y1"] if kind.startswith("titled") else []
    path.write_text(json.dumps(table) if kind == "json" else "\n".join(titles + rows))
    faces = read(root, boxes=path)
    assert torch.equal(faces.batch["image"], expected.batch["image"])
    torch.testing.assert_close(faces.batch["points"], expected.batch["points"])


def test_boxes_of_the_user_go_before_those_of_the_data(root: Path) -> None:
    (root / "boxes.csv").write_text(f"{FACE}.jpg,20,21,80,71\n")
    default, faces = read(root, crop=128), read(root, crop=128, boxes=root / "boxes.csv")
    changed = (default.batch["to_photo"] != faces.batch["to_photo"]).flatten(1).any(1)
    assert [name for name, other in zip(faces.names, changed) if other] == [FACE]
    corners = apply_affine(faces.batch["to_photo"], faces.batch["box"].view(-1, 2, 2))[faces.names.index(FACE)]
    torch.testing.assert_close(corners, torch.tensor([[20.0, 21.0], [80.0, 71.0]]))


def test_subfolders_belong_to_a_part_and_hidden_files_do_not(tmp_path: Path) -> None:
    write_fake_300w(tmp_path, {"300w/01_Indoor": 2, "300w/02_Outdoor": 1}, size=96)
    (tmp_path / "300w" / "01_Indoor" / "._face_0000.jpg").write_text("left by an archiver")
    (tmp_path / "300w" / "readme.txt").write_text("no face")
    faces = read(tmp_path, ("300w",))
    assert [str(part) for part in faces.report] == ["300w: 3 faces of the 600 in 300-W, 0 unusable"]
    assert len(read(tmp_path, (".",)).names) == 3


def test_unknown_parts_have_no_known_count(tmp_path: Path) -> None:
    write_fake_300w(tmp_path, {"mine": 1}, size=96)
    assert str(read(tmp_path, ("mine",)).report[0]) == "mine: 1 faces, 0 unusable"


def test_progress_is_shown(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read_faces(root, ["afw"], schema=IBUG68, crop=96, box_side=56)
    assert "reading faces: 100%" in capsys.readouterr().err


def points_of(path: Path) -> torch.Tensor:
    with quiet_menpo():
        return torch.from_numpy(read_landmarks(path))


def spoil(root: Path, how: str) -> Path | None:
    """Spoils the face ``FACE`` in one way; gives the file of boxes to read with, if there is one."""
    landmarks, box, image = root / f"{FACE}.pts", root / f"bounding_boxes/{FACE}.pts", root / f"{FACE}.jpg"
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
    elif how == "nan point":
        points[7, 1] = torch.nan
        write_pts(landmarks, points)
    elif how == "broken landmarks":
        landmarks.write_text("version: 1\nn_points: 68\n{\n1.0 2.0\n3.0 x\n}\n")
    elif how == "empty landmarks":
        landmarks.write_text("")
    elif how == "two groups":
        group = {"landmarks": {"points": [[1.0, 2.0]], "connectivity": [[0, 0]]}, "labels": []}
        landmarks.unlink()
        landmarks.with_suffix(".ljson").write_text(json.dumps({"version": 3, "groups": {"a": group, "b": group}}))
    elif how == "far landmark":
        points[3] = torch.tensor([-400.0, 20.0])
        write_pts(landmarks, points)
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
    "nan point": "face_0001.pts: point 7 (from 0) is not finite (1 of 68 points)",
    "broken landmarks": "face_0001.pts: not readable as landmarks (ValueError: could not convert",
    "empty landmarks": "face_0001.pts: not readable as landmarks",
    "two groups": "face_0001.ljson: expected one group of landmarks, got 2",
    "far landmark": "face_0001.pts: landmark 3 (from 0) falls on (-",
    "no box": "face_0001.jpg: no box; add ",
    "nan box": "bounding_boxes/afw/face_0001.pts: point 0 (from 0) is not finite",
    "box of two corners": "bounding_boxes/afw/face_0001.pts: 2 points, expected the 4 corners of a box",
    "box outside": "face_0001.jpg: the box (500 10 560 50) has its centre outside of the image",
    "1-pixel box": "face_0001.jpg: the box (50 50 51 51) is 1 x 1 px",
    "mirrored box": "face_0001.jpg: the box (80 20 20 80) is mirrored",
    "nan box of the user": "face_0001.jpg: the box (nan 20 80 80) has a side that is not a finite number",
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_face_that_cannot_be_used_is_named(root: Path, how: str, caplog: pytest.LogCaptureFixture) -> None:
    boxes = spoil(root, how)
    with pytest.raises(DescentError) as error:
        read(root, boxes=boxes)
    assert SPOILT[how] in str(error.value)
    assert "1 of the 4 faces" in str(error.value)
    assert "--skip-bad" in str(error.value)
    with caplog.at_level(logging.WARNING):
        faces = read(root, boxes=boxes, skip_bad=True)
    assert faces.names == ("afw/face_0000", "afw/face_0002", "afw/face_0003")
    assert all(len(value) == 3 for value in faces.batch.values())
    (reason,) = faces.report[0].unusable
    assert SPOILT[how] in reason
    assert reason in caplog.text
    assert str(faces.report[0]) == "afw: 4 faces of the 337 in 300-W, 1 unusable"


def test_one_bad_face_in_twenty_is_put_up_with(tmp_path: Path) -> None:
    write_fake_300w(tmp_path, {"afw": 20}, size=48)
    move(tmp_path, FACE)
    faces = read(tmp_path)
    assert (len(faces.names), len(faces.report[0].unusable)) == (19, 1)
    move(tmp_path, "afw/face_0002")
    with pytest.raises(DescentError, match=r"2 of the 20 faces in .* cannot be used \(10.0%; 5% are put up with\)"):
        read(tmp_path)


def test_without_a_usable_face_nothing_helps(root: Path) -> None:
    for path in (root / "bounding_boxes" / "afw").iterdir():
        path.unlink()
    with pytest.raises(DescentError, match=r"4 of the 4 faces(.|\n)*no box(.|\n)*Mend these files\.$"):
        read(root, skip_bad=True)


def test_a_long_list_of_bad_faces_is_cut(tmp_path: Path) -> None:
    write_fake_300w(tmp_path, {"afw": 12}, size=48)
    for path in (tmp_path / "bounding_boxes" / "afw").iterdir():
        path.unlink()
    with pytest.raises(DescentError) as error:
        read(tmp_path)
    assert str(error.value).count("no box") == 10
    assert "and 2 more" in str(error.value)


def test_missing_and_empty_folders(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DescentError, match=r"root: there is no folder .*nowhere; give the folder that holds the parts"):
        read(tmp_path / "nowhere")
    with pytest.raises(DescentError, match=r"parts: there is no folder .*ibug; .*faces holds: afw, helen$"):
        read(root, ("afw", "ibug"))
    (tmp_path / "empty" / "afw").mkdir(parents=True)
    with pytest.raises(DescentError, match=r"parts: there is no image \(\.jpg, \.png, \.\.\.\) in .*afw; unpack the faces"):
        read(tmp_path / "empty")
    with pytest.raises(DescentError, match=r"parts: there is no folder .*x; .*afw holds: no folder"):
        read(tmp_path / "empty" / "afw", ("x",))


def test_wrong_parts_and_sizes(root: Path) -> None:
    for parts in ((), "afw"):
        with pytest.raises(DescentError, match="parts: expected a sequence of folders"):
            read(root, parts)  # type: ignore[arg-type]
    for overlapping in (("afw", "afw"), ("helen", "helen/testset")):
        with pytest.raises(DescentError, match="parts: expected folders of which none contains another, got"):
            read(root, overlapping)
    for elsewhere in (str(root / "afw"), "../afw"):
        with pytest.raises(DescentError, match=r"parts: expected folders below .*, relative to it, got"):
            read(root, (elsewhere,))
    with pytest.raises(DescentError, match="expected 0 < box_side <= crop, got box_side = 56 and crop = 50 px"):
        read(root, crop=50)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("boxes.txt", "", r"expected a .csv or .json file of boxes, but .*boxes.txt is none"),
        ("boxes.json", "{", r"boxes.json cannot be read \(Expecting"),
        ("boxes.json", "[1]", r"boxes.json cannot be read \(it holds a list, not an object\)"),
        ("boxes.json", '{"a.jpg": 3}', r"gives 3 for 'a.jpg', expected the four numbers"),
        ("boxes.json", '{"a.jpg": [1, 2, 3, null]}', r"gives \[1, 2, 3, None\] for 'a.jpg'"),
        ("boxes.csv", "b.jpg,1,2,3,4\na.jpg,1,2,3\n", r"gives \['1', '2', '3'\] for 'a.jpg', expected the four numbers"),
        ("boxes.csv", "b.jpg,1,2,3,4\na.jpg,1,2,3,x\n", r"for 'a.jpg', expected the four numbers x0 y0 x1 y1"),
        ("boxes.csv", "a.jpg,1,2,3,4\n./a.jpg,1,2,3,5\n", r"names 'a.jpg' twice; keep one box"),
    ],
)
def test_wrong_files_of_boxes(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DescentError, match=f"boxes: .*{message}"):
        read_boxes(tmp_path / name)


def test_missing_file_of_boxes(root: Path) -> None:
    with pytest.raises(DescentError, match=r"boxes: expected a .csv or .json file of boxes, but .*none.csv is none"):
        read(root, boxes=root / "none.csv")


@pytest.mark.shared
@pytest.mark.skipif(not REAL.is_dir(), reason="the faces of ../shared/300w are not here")
def test_real_faces() -> None:
    faces = read_faces(REAL, ["afw"], schema=IBUG68, crop=192, box_side=112, progress=False)
    assert [str(part) for part in faces.report] == ["afw: 337 faces of the 337 in 300-W, 0 unusable"]
    points = faces.batch["points"]
    assert points.min() >= 0
    assert points.max() <= 191
    torch.testing.assert_close((faces.batch["box"][:, :2] + faces.batch["box"][:, 2:]) / 2, torch.full((337, 2), 95.5))
    # faces look out of their photos upright: eyes above the mouth, left eye on the left
    left, right = (points[:, list(eye)].mean(1) for eye in (IBUG68.left_eye, IBUG68.right_eye))
    mouth = points[:, 48:].mean(1)
    assert (left[:, 0] < right[:, 0]).all()
    assert ((left + right)[:, 1] / 2 < mouth[:, 1]).all()
