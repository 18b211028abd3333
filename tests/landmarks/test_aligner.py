"""From a photo to fits, by hand; the command line has its tests in cli/test_align."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from learned_descent import Cascade, DescentError, weights
from learned_descent.checkpoint.model import annotate, save_model
from learned_descent.data.pictures import read_picture
from learned_descent.landmarks import ensemble
from learned_descent.landmarks.aligner import Aligner
from learned_descent.landmarks.calibration import BoxOffset, Calibration, Confidence
from learned_descent.landmarks.detector import Boxes, DetectorWarning, FitWarning
from learned_descent.landmarks.geometry import apply_similarity
from learned_descent.problems import Analytic

from .aligners import SURE, Bright, small_model

BOX = (30.0, 20.0, 110.0, 90.0)


@pytest.fixture
def model() -> Cascade:
    return small_model()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A dark photo with a bright square from (40, 30) to (100, 90)."""
    pixels = np.random.default_rng(0).integers(0, 90, (120, 160, 3), dtype=np.uint8)
    pixels[30:90, 40:100] = 200
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_an_untrained_model_puts_the_mean_shape_into_the_box_of_the_photo(
    model: Cascade, photo: Path
):
    """And then into the box around it, in which a face has a mean shape that is a little
    smaller."""
    boxes = [BOX, (0.0, 10.0, 50.0, 60.0)]
    faces = Aligner(model, views=1)(photo, boxes)
    assert [face.box for face in faces] == boxes
    for face, (x0, y0, x1, y1) in zip(faces, boxes):
        wanted = (
            torch.tensor([(x0 + x1) / 2, (y0 + y1) / 2])
            + max(x1 - x0, y1 - y0) * model.problem.mean_shape
        )
        centre = (wanted.amin(0) + wanted.amax(0)) / 2
        torch.testing.assert_close(
            face.landmarks, centre + (wanted - centre) / 1.04, atol=1e-2, rtol=0
        )


def test_photos_come_as_files_pictures_and_pixels(model: Cascade, photo: Path):
    aligner = Aligner(model)
    with Image.open(photo) as picture:
        faces = [
            aligner(given, [BOX])[0] for given in (photo, str(photo), picture, read_picture(photo))
        ]
    assert all(torch.equal(face.landmarks, faces[0].landmarks) for face in faces)
    assert aligner(photo, []) == []


def test_a_face_does_not_depend_on_the_others(model: Cascade, photo: Path):
    torch.nn.init.normal_(
        model.stages[0].weight, std=1e-3, generator=torch.Generator().manual_seed(0)
    )
    aligner = Aligner(model)
    together = aligner(photo, [BOX, (0.0, 10.0, 50.0, 60.0)])
    torch.testing.assert_close(
        together[0].landmarks, aligner(photo, [BOX])[0].landmarks, atol=1e-3, rtol=0
    )


def test_the_detectors_boxes_are_moved_to_those_of_training(model: Cascade, photo: Path):
    offset = BoxOffset((0.0, 0.1), 0.2)
    aligner = Aligner(model, calibration=Calibration({"bright": offset}, SURE), detector=Bright())
    (face,) = aligner(photo)
    assert face.box == offset(Bright()(read_picture(photo))[0])
    torch.testing.assert_close(face.landmarks, aligner(photo, [face.box])[0].landmarks)
    assert aligner(np.zeros((50, 50, 3), np.uint8)) == []


def test_boxes_whose_offset_is_unknown_are_taken_as_they_are_with_a_warning(
    model: Cascade, photo: Path
):
    aligner = Aligner(model, detector=Bright())
    with pytest.warns(DetectorWarning, match="do not know how the boxes of bright lie on faces"):
        (face,) = aligner(photo)
    assert face.box == Bright()(read_picture(photo))[0]


def test_agreement_gives_confidence_and_disagreement_takes_it(model: Cascade, photo: Path):
    (wavering,) = Aligner(model, calibration=Calibration(confidence=SURE))(photo, [BOX])
    # Turned and enlarged copies of a small shape in the middle of the box lie closer together
    model.problem.mean_shape *= 0.1
    (sure,) = Aligner(model, calibration=Calibration(confidence=SURE))(photo, [BOX])
    assert 0 < wavering.confidence < sure.confidence <= 1
    assert (
        wavering.landmark_confidence <= sure.landmark_confidence
    ).all()  # alike in the middle, which stays in place
    (unknown,) = Aligner(model)(photo, [BOX])
    assert math.isnan(unknown.confidence)
    assert unknown.landmark_confidence.isnan().all()


def test_boxes_unlike_those_of_training_warn(model: Cascade, photo: Path):
    aligner = Aligner(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        aligner(photo, [BOX])
    with pytest.warns(
        FitWarning, match=r"face 1: the box \(30 20 110 50\) is 2.7 times as long as wide"
    ):
        aligner(photo, [BOX, (30, 20, 110, 50)])
    # Every landmark moves by four tenths of the side
    torch.nn.init.constant_(model.stages[0].bias, 0.4)
    unlike = r"lies on the face unlike those of the training faces \(\d+.\d standard deviations\)"
    with (
        pytest.warns(FitWarning, match="cut by the frame"),
        pytest.warns(FitWarning, match=unlike),
    ):
        Aligner(model, views=1)(photo, [BOX])


def test_a_face_that_the_frame_cuts_is_told(model: Cascade, photo: Path):
    told = (
        r"face 1 is cut by the frame: (\d+) of its 68 landmarks lie outside of the photo and are "
        r"guesses"
    )
    with pytest.warns(FitWarning, match=told):
        _, cut = Aligner(model)(photo, [BOX, (-35.0, 20.0, 45.0, 90.0)])
    assert cut.landmarks[:, 0].min() < -0.5
    assert torch.equal(cut.inside, cut.landmarks[:, 0] >= -0.5)


def test_a_single_fit_is_that_of_the_model_and_says_nothing_of_its_confidence(
    model: Cascade, photo: Path
):
    (fit,) = Aligner(model, calibration=Calibration(confidence=SURE), views=0)(photo, [BOX])
    wanted = torch.tensor([70.0, 55.0]) + 80 * model.problem.mean_shape
    torch.testing.assert_close(fit.landmarks, wanted, atol=1e-2, rtol=0)
    assert math.isnan(fit.confidence)
    assert fit.landmark_confidence.isnan().all()
    assert fit.inside.all()


def test_what_was_sought_anew_has_a_confidence_of_its_own(
    model: Cascade, photo: Path, monkeypatch: pytest.MonkeyPatch
):
    torch.nn.init.normal_(
        model.stages[0].weight, std=1e-3, generator=torch.Generator().manual_seed(0)
    )
    monkeypatch.setattr(ensemble, "fit_anew", lambda model, images, views: [])
    other = Confidence(whole=(-9.0, 0.0), landmark=(9.0, 0.0), threshold=0.08)
    (fit,) = Aligner(model, calibration=Calibration(confidence=replace(SURE, anew=other)))(
        photo, [BOX]
    )
    assert fit.confidence < 0.001
    assert (fit.landmark_confidence > 0.999).all()


def test_two_fits_of_one_face_are_told(model: Cascade, photo: Path):
    boxes = [BOX, (0.0, 10.0, 50.0, 60.0), (32.0, 21.0, 112.0, 91.0), (60.0, 20.0, 140.0, 90.0)]
    with pytest.warns(
        FitWarning, match="face 2 has the landmarks of face 0: one face, found twice"
    ) as told:
        Aligner(model)(photo, boxes)
    assert len(told) == 1


def test_a_box_of_the_detector_outside_of_the_photo_is_left_out_with_a_word(
    model: Cascade, photo: Path
):
    offset = BoxOffset((0.0, 5.0), 0.0)
    aligner = Aligner(model, calibration=Calibration({"bright": offset}), detector=Bright())
    with pytest.warns(
        FitWarning,
        match=r"a face at the border is left out: the box \(.*\) has its centre outside",
    ):
        assert aligner(photo) == []


@pytest.mark.parametrize(
    "given",
    [
        lambda: list(BOX),
        lambda: (list(box) for box in [BOX]),
        lambda: map(list, [BOX]),
        lambda: torch.tensor(BOX),
        lambda: torch.tensor([BOX], requires_grad=True),
        lambda: [torch.tensor(BOX)],
        lambda: np.array([BOX]),
        lambda: np.array(BOX).astype(np.int32),
    ],
)
def test_boxes_come_in_any_container_and_a_single_one_by_itself(
    model: Cascade, photo: Path, given: Callable[[], Boxes]
):
    """Seen before: no face in a generator of boxes, and a TypeError of a single one."""
    aligner = Aligner(model)
    (wanted,) = aligner(photo, [BOX])
    (found,) = aligner(photo, given())
    assert found.box == wanted.box
    assert torch.equal(found.landmarks, wanted.landmarks)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        (5, "got int"),
        ("1 2 30 40", "got str"),
        ({"a": BOX}, "got dict"),
        ([None], "could not use what came .*NoneType"),
        ([("1", "2", "30", "x")], "could not use what came .*'x'"),
        ([[BOX]], "could not use what came"),
        (torch.tensor([[BOX]]), "could not use what came"),
        (np.array([[1j, 2, 30, 40]]), "could not use what came .*complex"),
    ],
)
def test_what_holds_no_boxes_is_refused(model: Cascade, photo: Path, boxes: Boxes, message: str):
    with pytest.raises(
        DescentError, match=rf"photo.png: boxes: expected boxes x0 y0 x1 y1, .*{message}"
    ):
        Aligner(model)(photo, boxes)


def test_weights_that_are_not_finite_are_refused_by_name(model: Cascade, tmp_path: Path):
    """Seen before: NaN for every landmark, in valid files, and exit code 0."""
    model.stages[1].weight.data[3, 5] = math.nan
    with pytest.raises(
        DescentError,
        match=r"model: stages.1.weight holds NaN or infinity \(1 of \d+ tensors do\); train it",
    ):
        Aligner(model)
    save_model(model, tmp_path / "nan.safetensors")
    with pytest.raises(DescentError, match=r"nan.safetensors: model: stages.1.weight holds NaN"):
        Aligner.from_pretrained(tmp_path / "nan.safetensors")


def test_a_fit_that_is_not_finite_is_an_error(model: Cascade, photo: Path):
    model.stages[0].bias.data.fill_(3e38)
    with pytest.raises(
        DescentError, match=r"photo.png: face 0: the fit is not finite; train the model again"
    ):
        Aligner(model)(photo, [BOX])


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((math.nan, 0, 50, 50), "not a finite number"),
        ((50, 20, 10, 60), "is mirrored"),
        ((50, 50, 50, 50), "0 x 0 px"),
        ((500, 500, 600, 600), "outside of the image of 160 x 120 px"),
        ((10, 20, 30), "3 numbers"),
    ],
)
def test_a_box_that_holds_no_face_is_refused(
    model: Cascade, photo: Path, box: tuple[float, ...], message: str
):
    with pytest.raises(DescentError, match=rf"photo.png: .*{message}"):
        Aligner(model)(photo, [box])
    with pytest.raises(DescentError, match=rf"^the box.*{message}"):
        Aligner(model)(read_picture(photo), [box])


def test_what_cannot_be_aligned_is_refused(model: Cascade):
    with pytest.raises(DescentError, match="the image has 1 x 1 px, expected a photo of faces"):
        Aligner(model)(np.zeros((1, 1), np.uint8))
    with pytest.raises(DescentError, match="views: expected 0 to 4, got 5"):
        Aligner(model, views=5)
    with pytest.raises(DescentError, match=r"views: expected 0 to 4, got 2.5"):
        Aligner(model, views=2.5)  # type: ignore[arg-type]
    with pytest.raises(
        DescentError, match="detector: expected a Detector, got function; derive a class"
    ):
        Aligner(model, detector=lambda photo: [BOX])  # type: ignore[arg-type]
    with pytest.raises(
        DescentError, match=r"device: expected cpu, or cuda .*, could not use 'gpu'"
    ):
        Aligner(model, device="gpu")
    with pytest.raises(
        DescentError, match=r"expected one of landmarks, got one of the problem Analytic"
    ):
        Aligner(Cascade.for_problem(Analytic("sin")))
    model.problem.mean_shape.fill_(math.nan)
    with pytest.raises(DescentError, match="its mean shape is not known"):
        Aligner(model)


def test_pretrained_weights_go_by_name_or_path(
    model: Cascade, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    file = tmp_path / "tiny.safetensors"
    save_model(model, file)
    wanted = Aligner(model)(photo, [BOX])[0].landmarks
    for name in ("tiny", file, str(file)):
        assert torch.equal(Aligner.from_pretrained(name)(photo, [BOX])[0].landmarks, wanted)
    calibration = Calibration({"bright": BoxOffset((0.1, 0.2), 0.3)}, SURE)
    annotate(file, "calibration", calibration.to_json())
    assert Aligner.from_pretrained("tiny").calibration == calibration
    with pytest.raises(DescentError, match=r"weights 'tokens': there is no such file; .*: tiny$"):
        Aligner.from_pretrained()


def test_weights_of_half_precision_run_in_single(model: Cascade, photo: Path, tmp_path: Path):
    wanted = Aligner(model)(photo, [BOX])[0].landmarks
    save_model(model.half(), tmp_path / "half.safetensors")
    found = Aligner.from_pretrained(tmp_path / "half.safetensors")(photo, [BOX])[0].landmarks
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, atol=0.2, rtol=0)


def test_weights_of_other_problems_and_broken_calibrations_are_refused(
    model: Cascade, tmp_path: Path
):
    file = tmp_path / "sin.safetensors"
    save_model(Cascade.for_problem(Analytic("sin")), file)
    with pytest.raises(
        DescentError,
        match=r"sin.safetensors: expected weights of landmarks, got weights of the problem "
        "'analytic'",
    ):
        Aligner.from_pretrained(file)
    annotate(file, "problem", {"name": "custom:Dot", "settings": {}})
    with pytest.raises(
        DescentError,
        match=r"sin.safetensors: made for the problem Dot, which is not built in: give the problem",
    ):
        Aligner.from_pretrained(file)
    save_model(model, file)
    annotate(file, "calibration", {"boxes": 3})
    with pytest.raises(
        DescentError, match=r"sin.safetensors: expected a calibration of boxes and confidence"
    ):
        Aligner.from_pretrained(file)


def test_what_is_followed_is_sought_where_it_lay(model: Cascade):
    aligner = Aligner(model, views=1)
    mean = aligner.problem.mean_shape
    carried = apply_similarity(torch.tensor([[3.4, 0.3, 40.0, 35.0]]), mean - mean.mean(0))
    photo = np.zeros((80, 90, 3), np.uint8)
    (fit,) = aligner.follow(photo, carried)
    low, high = carried[0].amin(0), carried[0].amax(0)
    assert ((fit.landmarks - carried[0]).abs() < 0.04 * (high - low)).all()
    assert fit.box[2] - fit.box[0] == pytest.approx(math.exp(3.4), rel=1e-3)
    assert aligner.follow(photo, carried[:0]) == []
    with pytest.raises(DescentError, match="has its centre outside of the image of 90 x 80 px"):
        aligner.follow(photo, carried + 200)


def test_what_is_unsure_is_sought_anew_and_what_agrees_best_is_kept(
    model: Cascade, photo: Path, monkeypatch: pytest.MonkeyPatch
):
    calls = []

    def found(model, images, *, views):
        calls.append(len(images))
        fits = (23.5 + 28 * model.problem.mean_shape).expand(len(images), 2, 68, 2)
        return [fits + torch.tensor([0.0, 40.0])[:, None, None], fits]

    monkeypatch.setattr(ensemble, "fit_anew", found)
    calibrated = Calibration(confidence=SURE)
    (kept,) = Aligner(model, calibration=calibrated, anew=False)(photo, [BOX])
    assert calls == []
    (better,) = Aligner(model, calibration=calibrated)(photo, [BOX])
    assert calls == [1]
    assert better.confidence > 0.99 > kept.confidence
    wanted = torch.tensor([70.0, 55.0]) + 80 * model.problem.mean_shape
    torch.testing.assert_close(better.landmarks, wanted, atol=1e-2, rtol=0)
    Aligner(model)(photo, [BOX])  # not calibrated: nothing is known to be unsure
    assert calls == [1]
