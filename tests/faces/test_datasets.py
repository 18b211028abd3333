from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from learned_descent.faces.datasets import read_faces
from learned_descent.landmarks.crops import apply_affine
from learned_descent.landmarks.point_files import quiet_menpo, read_landmarks
from learned_descent.landmarks.schema import IBUG49, IBUG68

from .fake300w import read_fake_300w, write_fake_300w

REAL = Path(__file__).parents[3] / "shared" / "300w"
FACE = "afw/face_0001"


def test_batch_names_and_report(root: Path) -> None:
    faces = read_fake_300w(root, ("helen/testset", "afw"))
    batch = faces.batch
    assert {name: (tuple(value.shape), value.dtype) for name, value in batch.items()} == {
        "image": ((6, 3, 96, 96), torch.uint8),
        "points": ((6, 68, 2), torch.float32),
        "box": ((6, 4), torch.float32),
        "to_photo": ((6, 2, 3), torch.float32),
    }
    assert faces.names == (
        "helen/testset/face_0000",
        "helen/testset/face_0001",
        *(f"afw/face_000{i}" for i in range(4)),
    )
    assert [str(part) for part in faces.report] == [
        "helen/testset: 2 faces of the 330 in 300-W, 0 unusable",
        "afw: 4 faces of the 337 in 300-W, 0 unusable",
    ]
    torch.testing.assert_close(
        batch["box"], torch.tensor([[19.5, 19.5, 75.5, 75.5]]).expand(6, 4), atol=1e-3, rtol=0
    )


def test_landmarks_return_to_the_photo(root: Path) -> None:
    faces = read_fake_300w(root)
    for name, points in zip(
        faces.names, apply_affine(faces.batch["to_photo"], faces.batch["points"])
    ):
        rows = (root / f"{name}.pts").read_text().splitlines()[3:-1]
        counted_from_one = torch.tensor([[float(value) for value in row.split()] for row in rows])
        torch.testing.assert_close(points, counted_from_one - 1, atol=1e-3, rtol=0)


def test_pixels_lie_where_the_landmarks_say(root: Path) -> None:
    """A photo that is white on one landmark only: the crop is brightest there."""
    with quiet_menpo():
        column, row = read_landmarks(root / f"{FACE}.pts")[30].round()
    photo = np.zeros_like(np.asarray(Image.open(root / f"{FACE}.jpg")))
    photo[int(row), int(column)] = 255
    (root / f"{FACE}.jpg").unlink()
    Image.fromarray(photo).save(root / f"{FACE}.png")
    faces = read_fake_300w(root)
    index = faces.names.index(FACE)
    image, point = faces.batch["image"][index, 0], faces.batch["points"][index, 30]
    brightest = torch.tensor([int(image.argmax()) % 96, int(image.argmax()) // 96])
    assert image.max() > 50
    assert (brightest - point).abs().max() <= 1.0


@pytest.mark.parametrize("orientation", [2, 3, 6])
def test_landmarks_are_of_the_photo_as_it_is_displayed(
    root: Path, orientation: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Faces of a camera that was held otherwise: training took their pixels as they are stored, and
    the error was .33."""
    with Image.open(root / f"{FACE}.jpg") as opened:
        upright = opened.copy()
    (root / f"{FACE}.jpg").unlink()
    upright.save(root / f"{FACE}.png")
    wanted = read_fake_300w(root).batch
    exif = Image.Exif()
    exif[0x0112] = orientation
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        6: Image.Transpose.ROTATE_90,
    }
    upright.transpose(back[orientation]).save(root / f"{FACE}.png", exif=exif)
    found = read_fake_300w(root).batch
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert "Photos that are read on an assumption (1)" in caplog.text
    assert (
        f"{FACE}.png: EXIF turns it; its landmarks and box are taken to be of the photo as it is "
        "displayed" in caplog.text
    )


def test_deep_photos_are_read_as_the_others_and_noted(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grey = np.asarray(Image.open(root / "afw/face_0003.png"))
    wanted = read_fake_300w(root).batch["image"]
    Image.fromarray((grey.astype(np.uint16) << 4) + 15).save(root / "afw/face_0003.png")
    assert torch.equal(read_fake_300w(root).batch["image"], wanted)
    assert "face_0003.png: the image has room for more bits" in caplog.text


def test_grey_photos_have_three_equal_channels(root: Path) -> None:
    faces = read_fake_300w(root)
    grey = faces.batch["image"][faces.names.index("afw/face_0003")]
    assert grey.float().std() > 5
    assert torch.equal(grey[0], grey[1])
    assert torch.equal(grey[0], grey[2])


def test_a_smaller_markup_is_picked_from_the_68_points(root: Path) -> None:
    every, inner = read_fake_300w(root), read_fake_300w(root, schema=IBUG49)
    assert torch.equal(inner.batch["points"], every.batch["points"][:, list(IBUG49.within(68))])
    assert torch.equal(inner.batch["image"], every.batch["image"])


@pytest.mark.parametrize("version", [2, 3])
def test_ljson_counts_from_zero(root: Path, version: int) -> None:
    expected = read_fake_300w(root)
    with quiet_menpo():
        points = read_landmarks(root / f"{FACE}.pts")[:, ::-1].tolist()
    every = list(range(len(points)))
    group = {
        "landmarks": {"points": points, "connectivity": [[0, 1]]},
        "labels": [{"label": "all", "mask": every}],
    }
    text = json.dumps(
        {"version": 3, "groups": {"LJSON": group}} if version == 3 else {"version": 2, **group}
    )
    (root / f"{FACE}.pts").unlink()
    (root / f"{FACE}.ljson").write_text(text)
    torch.testing.assert_close(
        read_fake_300w(root).batch["points"], expected.batch["points"], atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("kind", ["csv", "titled.csv", "json"])
def test_boxes_of_the_user(root: Path, kind: str) -> None:
    expected = read_fake_300w(root)
    with quiet_menpo():
        corners = {
            name: read_landmarks(root / f"bounding_boxes/{name}.pts") for name in expected.names
        }
    table = {
        f"{name}{'.png' if name.endswith('3') else '.jpg'}": [*points.min(0), *points.max(0)]
        for name, points in corners.items()
    }
    for name in expected.names:
        (root / f"bounding_boxes/{name}.pts").unlink()
    path = root / f"boxes.{kind}"
    rows = [",".join([image, *map(str, box)]) for image, box in table.items()]
    titles = ["image,x0,y0,x1,y1"] if kind.startswith("titled") else []
    path.write_text(json.dumps(table) if kind == "json" else "\n".join(titles + rows))
    faces = read_fake_300w(root, boxes=path)
    assert torch.equal(faces.batch["image"], expected.batch["image"])
    torch.testing.assert_close(faces.batch["points"], expected.batch["points"])


def test_boxes_of_the_user_go_before_those_of_the_data(root: Path) -> None:
    (root / "boxes.csv").write_text(f"{FACE}.jpg,20,21,80,71\n")
    default, faces = (
        read_fake_300w(root, crop=128),
        read_fake_300w(root, crop=128, boxes=root / "boxes.csv"),
    )
    changed = (default.batch["to_photo"] != faces.batch["to_photo"]).flatten(1).any(1)
    assert [name for name, other in zip(faces.names, changed) if other] == [FACE]
    corners = apply_affine(faces.batch["to_photo"], faces.batch["box"].view(-1, 2, 2))[
        faces.names.index(FACE)
    ]
    torch.testing.assert_close(corners, torch.tensor([[20.0, 21.0], [80.0, 71.0]]))


def test_subfolders_belong_to_a_part_and_hidden_files_do_not(tmp_path: Path) -> None:
    write_fake_300w(tmp_path, {"300w/01_Indoor": 2, "300w/02_Outdoor": 1}, size=96)
    (tmp_path / "300w" / "01_Indoor" / "._face_0000.jpg").write_text("left by an archiver")
    (tmp_path / "300w" / "readme.txt").write_text("no face")
    faces = read_fake_300w(tmp_path, ("300w",))
    assert [str(part) for part in faces.report] == ["300w: 3 faces of the 600 in 300-W, 0 unusable"]
    assert len(read_fake_300w(tmp_path, (".",)).names) == 3


def test_unknown_parts_have_no_known_count(tmp_path: Path) -> None:
    write_fake_300w(tmp_path, {"mine": 1}, size=96)
    assert str(read_fake_300w(tmp_path, ("mine",)).report[0]) == "mine: 1 faces, 0 unusable"


def test_progress_is_shown(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read_faces(root, ["afw"], schema=IBUG68, crop=96, box_side=56)
    assert "reading faces: 100%" in capsys.readouterr().err


@pytest.mark.shared
@pytest.mark.skipif(not REAL.is_dir(), reason="the faces of ../shared/300w are not here")
def test_real_faces() -> None:
    faces = read_faces(REAL, ["afw"], schema=IBUG68, crop=192, box_side=112, progress=False)
    assert [str(part) for part in faces.report] == [
        "afw: 337 faces of the 337 in 300-W, 0 unusable"
    ]
    points = faces.batch["points"]
    assert points.min() >= 0
    assert points.max() <= 191
    torch.testing.assert_close(
        (faces.batch["box"][:, :2] + faces.batch["box"][:, 2:]) / 2, torch.full((337, 2), 95.5)
    )
    # faces look out of their photos upright: eyes above the mouth, left eye on the left
    left, right = (points[:, list(eye)].mean(1) for eye in (IBUG68.left_eye, IBUG68.right_eye))
    mouth = points[:, 48:].mean(1)
    assert (left[:, 0] < right[:, 0]).all()
    assert ((left + right)[:, 1] / 2 < mouth[:, 1]).all()
