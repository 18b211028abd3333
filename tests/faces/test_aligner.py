"""From a photo and a box to landmarks on the photo, by hand and on the command line."""

from __future__ import annotations

import math
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from learned_descent import Cascade, DescentError
from learned_descent.checkpoint import load_model, save_model
from learned_descent.cli import main
from learned_descent.faces.aligner import Aligner, draw, write_landmarks
from learned_descent.faces.alignment import FaceAlignment
from learned_descent.faces.crops import read_photo
from learned_descent.faces.files import quiet_menpo, read_landmarks
from learned_descent.observations import Patches
from learned_descent.problems import Analytic

from .fake300w import neutral_face

BOX = (30.0, 20.0, 110.0, 90.0)


@pytest.fixture
def problem() -> FaceAlignment:
    problem = FaceAlignment(crop=48, box_side=28.0)
    problem.mean_shape.copy_(0.4 * neutral_face())
    return problem


@pytest.fixture
def model(problem: FaceAlignment) -> Cascade:
    eyes = Patches(problem.points, size=1)
    return Cascade(problem, eyes, 3 * problem.schema.num_points, 2 * problem.schema.num_points, num_steps=2)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_an_untrained_model_puts_the_mean_shape_into_the_box_of_the_photo(model: Cascade, photo: Path):
    boxes = [BOX, (0.0, 10.0, 50.0, 60.0)]
    points = Aligner(model)(photo, boxes)
    for found, (x0, y0, x1, y1) in zip(points, boxes):
        wanted = torch.tensor([(x0 + x1) / 2, (y0 + y1) / 2]) + max(x1 - x0, y1 - y0) * model.problem.mean_shape
        torch.testing.assert_close(found, wanted, atol=1e-3, rtol=0)
    assert torch.equal(Aligner(model)(read_photo(photo), boxes), points)


def test_a_face_does_not_depend_on_the_others(model: Cascade, photo: Path):
    torch.nn.init.normal_(model.stages[0].weight, std=1e-3, generator=torch.Generator().manual_seed(0))
    aligner = Aligner(model)
    together = aligner(photo, [BOX, (0.0, 10.0, 50.0, 60.0)])
    torch.testing.assert_close(together[:1], aligner(photo, [BOX]), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((math.nan, 0, 50, 50), "not a finite number"),
        ((50, 20, 10, 60), "is mirrored"),
        ((50, 50, 51, 51), "1 x 1 px"),
        ((500, 500, 600, 600), "outside of the image of 160 x 120 px"),
        ((10, 20, 30), "3 numbers"),
    ],
)
def test_a_box_that_holds_no_face_is_refused(model: Cascade, photo: Path, box: tuple[float, ...], message: str):
    with pytest.raises(DescentError, match=rf"photo.png: .*{message}"):
        Aligner(model)(photo, [box])


def test_models_of_other_problems_and_unlearnt_shapes_are_refused(model: Cascade, photo: Path):
    with pytest.raises(DescentError, match=r"expected one of faces, got one of the problem Analytic"):
        Aligner(Cascade.for_problem(Analytic("sin")))
    with pytest.raises(DescentError, match="boxes: expected at least one box"):
        Aligner(model)(photo, [])
    model.problem.mean_shape.fill_(math.nan)
    with pytest.raises(DescentError, match="its mean shape is not known"):
        Aligner(model)


def test_the_drawing_has_the_shape_of_the_photo(model: Cascade, photo: Path):
    points = Aligner(model)(photo, [BOX])
    figure = draw(photo, points, model.problem.edges, [BOX])
    assert figure.get_size_inches().tolist() == [6.0, 4.5]
    axes = figure.axes[0]
    assert len(axes.collections[0].get_segments()) == len(model.problem.edges)
    np.testing.assert_allclose(axes.collections[1].get_offsets(), points[0].numpy())


def test_landmarks_are_written_from_1_and_read_back(tmp_path: Path):
    points = torch.tensor([[0.0, 5.5], [10.25, 0.0]])
    write_landmarks(tmp_path / "a.pts", points)
    numbers = [line.split() for line in (tmp_path / "a.pts").read_text().splitlines() if line[:1].isdigit()]
    assert [[float(number) for number in row] for row in numbers] == [[1.0, 6.5], [11.25, 1.0]]
    np.testing.assert_allclose(_read(tmp_path / "a.pts"), points)
    with pytest.raises(DescentError, match=r"ends with .pts"):
        write_landmarks(tmp_path / "a.txt", points)
    with pytest.raises(DescentError, match="expected finite landmarks"):
        write_landmarks(tmp_path / "b.pts", points * math.nan)
    assert not (tmp_path / "b.pts").exists()


@pytest.fixture
def weights(model: Cascade, tmp_path: Path) -> Path:
    save_model(model, tmp_path / "face.safetensors")
    return tmp_path / "face.safetensors"


def align(line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(["align", *shlex.split(line)])
    return code, *capsys.readouterr()


def test_align_writes_the_picture_and_the_landmarks(weights: Path, photo: Path, capsys: pytest.CaptureFixture[str]):
    code, out, err = align(f"{weights} {photo} --box 30 20 110 90", capsys)
    assert code == 0, err
    assert f"landmarks: {photo.with_name('photo.aligned.pts')}" in out
    with Image.open(photo.with_name("photo.aligned.png")) as drawn:
        assert drawn.size == (600, 450)
    wanted = Aligner(load_model(weights))(photo, [BOX])[0]
    np.testing.assert_allclose(_read(photo.with_name("photo.aligned.pts")), wanted, atol=1e-3)
    code, _, err = align(f"{weights} {photo} --box 30 20 110 90", capsys)
    assert (code, "is there already: give another --output" in err) == (2, True)
    assert align(f"{weights} {photo} --box 30 20 110 90 --overwrite", capsys)[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("PHOTO --box nan 0 50 50", "\"box\" element 1:\n  Expected a <class 'float'>. Got value: nan"),
        ("PHOTO --box 50 20 10 60", "photo.png: the box (50 20 10 60) is mirrored"),
        ("PHOTO --box 50 50 51 51", "photo.png: the box (50 50 51 51) is 1 x 1 px"),
        ("PHOTO --box -400 -400 -300 -300", "has its centre outside of the image"),
        ("PHOTO --box 1 2 3", "--box"),
        ("PHOTO", "box"),
        ("WEIGHTS --box 30 20 110 90", "face.safetensors: the image does not decode"),
        ("gone.jpg --box 30 20 110 90", "gone.jpg: there is no such image"),
        ("PHOTO --box 30 20 110 90 --output out.txt", "--output out.txt: expected a name that ends with .png"),
        ("PHOTO --box 30 20 110 90 --output PHOTO", "photo.png: is there already"),
    ],
)
def test_align_refuses(weights: Path, photo: Path, capsys: pytest.CaptureFixture[str], words: str, message: str):
    before = sorted(path.name for path in photo.parent.iterdir())
    code, _, err = align(f"{weights} {words.replace('PHOTO', str(photo)).replace('WEIGHTS', str(weights))}", capsys)
    assert code == 2
    assert "Traceback" not in err
    assert message in err
    assert sorted(path.name for path in photo.parent.iterdir()) == before


def _read(path: Path) -> np.ndarray:
    with quiet_menpo():
        return read_landmarks(path)
