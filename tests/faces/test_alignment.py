from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from learned_descent import Cascade, DescentError
from learned_descent.checkpoint.model import load_model, save_model
from learned_descent.data.samples import Batch, Split
from learned_descent.faces.alignment import FaceAlignment
from learned_descent.landmarks.augmentation import Augmentation, augment, mirrored
from learned_descent.landmarks.crops import apply_affine
from learned_descent.landmarks.geometry import fit_similarity
from learned_descent.landmarks.metrics import landmark_errors
from learned_descent.landmarks.problem import Landmarks
from learned_descent.observations import Patches
from learned_descent.registry import configured

from .fake300w import write_fake_300w

PHOTOS = 16


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    """Sixteen photos with two faces each, named as in Helen and LFPW, and four faces for
    testing."""
    root = write_fake_300w(
        tmp_path_factory.mktemp("faces"), {"afw": 2 * PHOTOS, "helen/testset": 4}, size=96
    )
    for path in [*root.glob("afw/*"), *root.glob("bounding_boxes/afw/*")]:
        photo, face = divmod(int(path.stem.removeprefix("face_")), 2)
        path.rename(path.with_name(f"{1000 + 37 * photo}_{face + 1}{path.suffix}"))
    return root


@pytest.fixture
def make(faces, device):
    def build(root=faces, **settings) -> FaceAlignment:
        sizes = {"crop": 64, "box_side": 36.0, "val_fraction": 0.0, "mirror": False}
        defaults = {"train": ["afw"], "test": ["helen/testset"], **sizes}
        return FaceAlignment(None if root is None else str(root), **{**defaults, **settings}).to(
            device
        )

    return build


@pytest.fixture
def problem(make) -> FaceAlignment:
    return make()


def on(device, batch):
    return {name: value.to(device) for name, value in batch.items()}


def in_box(points, box):
    """Points as fractions of the box's longer side, from its centre."""
    centre, side = box.unflatten(1, (2, 2)).mean(1, keepdim=True), (box[:, 2:] - box[:, :2]).amax(1)
    return (points - centre) / side[:, None, None]


def test_samples(problem):
    count = problem.schema.num_points
    for split, size in (("train", 2 * PHOTOS), ("test", 4)):
        batch = problem.data(split)
        assert {name: tuple(value.shape) for name, value in batch.items()} == {
            "image": (size, 3, 64, 64),
            "points": (size, count, 2),
            "box": (size, 4),
            "to_photo": (size, 2, 3),
        }
        assert torch.equal(problem.target(batch), batch["points"].flatten(1))
        assert torch.equal(problem.points(problem.target(batch)), batch["points"])


def test_faces_are_read_once(problem, faces, tmp_path):
    root = Path(shutil.copytree(faces, tmp_path / "faces"))
    problem.root = str(root)
    first = problem.data("train")
    shutil.rmtree(root)
    assert torch.equal(problem.data("train")["image"], first["image"])


def test_what_was_read_is_reported(problem, capsys):
    problem.data("test")
    assert "helen/testset: 4 faces of the 330 in 300-W, 0 unusable" in capsys.readouterr().err


def test_without_a_share_nothing_is_held_out(problem):
    held_out = problem.data("val")
    assert held_out.keys() == problem.data("train").keys()
    assert {len(value) for value in held_out.values()} == {0}


def splits(problem):
    """The names of the training faces and of those held out, found by their pixels."""
    every = problem.faces("train")
    names = {
        image.numpy().tobytes(): name for name, image in zip(every.names, every.batch["image"])
    }
    return [
        {names[image.numpy().tobytes()] for image in problem.data(split)["image"]}
        for split in ("train", "val")
    ]


def test_faces_are_called_by_their_files(make):
    problem = make(val_fraction=0.4)
    for split, found in zip(("train", "val"), splits(problem)):
        names = problem.names(split)
        assert {name for name in names if not name.endswith("(mirrored)")} == found
        assert len(names) == len(problem.data(split)["image"])
    assert [*problem.names("test")] == [*problem.faces("test").names]


def photo(name):
    return name.rpartition("_")[0]


def test_the_faces_of_a_photo_stay_together(make):
    problem = make(val_fraction=0.4)
    train, held_out = splits(problem)
    assert len(train) + len(held_out) == 2 * PHOTOS
    assert {photo(name) for name in train} & {photo(name) for name in held_out} == set()
    assert 2 <= len(held_out) <= PHOTOS


def test_held_out_faces_stay_held_out(make, faces, tmp_path):
    """In another reading, with a larger share, and when other photos come or go."""
    train, held_out = splits(make(val_fraction=0.4))
    assert [train, held_out] == splits(make(val_fraction=0.4))
    assert held_out <= splits(make(val_fraction=0.6))[1]
    root = Path(shutil.copytree(faces, tmp_path / "fewer"))
    gone = sorted(train)[0]
    for path in [*root.glob(f"{gone}.*"), *root.glob(f"bounding_boxes/{gone}.*")]:
        path.unlink()
    assert splits(make(root, val_fraction=0.4)) == [train - {gone}, held_out]


def test_the_training_faces_come_with_their_mirror_images(make):
    """And no others: neither those held out nor those of testing."""
    problem, plain = make(mirror=True, val_fraction=0.4), make(val_fraction=0.4)
    train, original = problem.data("train"), plain.data("train")
    count = len(original["image"])
    images = mirrored(original, plain.mirror_points.cpu())
    for name, value in original.items():
        assert torch.equal(train[name], torch.cat([value, images[name]]))
        for split in ("val", "test"):
            assert torch.equal(problem.data(split)[name], plain.data(split)[name])
    on_photo = apply_affine(train["to_photo"], train["points"])
    again = on_photo[count:, list(problem.schema.mirror)]
    torch.testing.assert_close(again, on_photo[:count], atol=1e-3, rtol=1e-5)


def test_synthetic_faces_join_those_of_training(make):
    alone, joined = make(val_fraction=0.25), make(val_fraction=0.25, synthetic=3, mirror=True)
    real, both = alone.data("train"), joined.data("train")
    assert len(both["points"]) == 2 * (len(real["points"]) + 3)
    assert torch.equal(both["image"][: len(real["image"])], real["image"])
    assert joined.data("train") is both
    assert torch.equal(joined.data("val")["points"], alone.data("val")["points"])
    start = make(val_fraction=0.25, mirror=True)
    start.data("train")
    assert torch.equal(joined.mean_shape, start.mean_shape)


def test_a_number_of_synthetic_faces_that_makes_no_sense(make):
    with pytest.raises(
        DescentError, match="synthetic: expected a number of faces, 0 or more, got -1"
    ):
        make(synthetic=-1)


def test_with_mirror_images_the_mean_shape_is_symmetric(make):
    problem = make(mirror=True)
    problem.data("train")
    opposite = problem.mean_shape[list(problem.schema.mirror)] * torch.tensor(
        [-1.0, 1.0], device=problem.mean_shape.device
    )
    torch.testing.assert_close(problem.mean_shape, opposite, atol=1e-5, rtol=0)
    covariance = problem.start_factor @ problem.start_factor.T
    # Angle and shift along columns change sign in the mirror; scale and shift along rows do not
    turns, grows = (
        [1, 2],
        [0, 3],
    )
    assert covariance[turns][:, grows].abs().max() < 0.02 * covariance.diagonal().max()


def test_the_start_is_the_mean_shape_in_the_box(problem, device):
    train, test = on(device, problem.data("train")), on(device, problem.data("test"))
    mean = in_box(train["points"], train["box"]).mean(0)
    torch.testing.assert_close(problem.mean_shape, mean, atol=1e-6, rtol=0)
    start = problem.points(problem.initial(test))
    torch.testing.assert_close(
        in_box(start, test["box"]), mean.expand(4, -1, -1), atol=1e-5, rtol=0
    )
    assert torch.equal(problem.initial(test), problem.initial(test))


def test_the_start_moves_and_grows_with_the_box(problem, device):
    box = torch.tensor([[10.0, 12.0, 50.0, 42.0], [20.0, 32.0, 100.0, 92.0]], device=device)
    problem.data("train")
    small, large = problem.points(problem.initial({"box": box}))
    centres = box.unflatten(1, (2, 2)).mean(1)
    torch.testing.assert_close(large - centres[1], 2 * (small - centres[0]))


@pytest.mark.parametrize("start_noise", [1.0, 0.5])
def test_random_starts_are_spread_as_the_training_boxes(make, generator, device, start_noise):
    problem = make(start_noise=start_noise)
    train = on(device, problem.data("train"))
    mean = problem.mean_shape
    shape = mean - mean.mean(0)
    seen = fit_similarity(shape, in_box(train["points"], train["box"]))
    box = train["box"][:1].expand(4000, 4)
    starts = problem.points(problem.initial({"box": box}, generator))
    drawn = fit_similarity(shape, in_box(starts, box))
    wanted = start_noise * seen.std(0)
    assert wanted.min() > 0.005
    torch.testing.assert_close(drawn.std(0), wanted, atol=1e-3, rtol=0.05)
    torch.testing.assert_close(drawn.T.corrcoef(), seen.T.corrcoef(), atol=0.1, rtol=0)
    centre = torch.cat([torch.zeros(2, device=device), mean.mean(0)])
    assert ((drawn.mean(0) - centre).abs() < 4 * wanted / 4000**0.5 + 1e-4).all()


def test_random_starts_are_similar_to_the_mean_shape(problem, generator, device):
    batch = on(device, problem.data("train"))
    starts = problem.points(problem.initial(batch, generator))
    lengths = torch.linalg.vector_norm(starts.diff(dim=1), dim=2)
    wanted = torch.linalg.vector_norm(problem.mean_shape.diff(dim=0), dim=1)
    ratio = lengths / wanted
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), rtol=1e-3, atol=0)
    assert ratio[:, 0].std() > 0


def test_random_starts_come_from_the_generator(problem, device):
    batch = on(device, problem.data("test"))
    first, second, other = (
        problem.initial(batch, torch.Generator(device).manual_seed(seed)) for seed in (5, 5, 6)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert not torch.equal(first, problem.initial(batch))


def test_without_noise_random_starts_are_the_mean_shape(make, generator, device):
    problem = make(start_noise=0.0)
    batch = on(device, problem.data("test"))
    torch.testing.assert_close(
        problem.initial(batch, generator), problem.initial(batch), atol=1e-4, rtol=0
    )


def test_few_faces_have_no_spread(make, faces, tmp_path, generator):
    """The covariance of four similarities is not regular; the mean shape alone is used."""
    problem = make(write_fake_300w(tmp_path / "few", {"afw": 4, "helen/testset": 2}, size=96))
    batch = on(generator.device, problem.data("train"))
    torch.testing.assert_close(
        problem.initial(batch, generator), problem.initial(batch), atol=1e-4, rtol=0
    )


def test_the_start_reads_the_training_faces_itself(make, device):
    problem, other = make(), make()
    other.data("train")
    batch = on(device, problem.data("test"))
    assert torch.equal(problem.initial(batch), other.initial(batch))


def test_only_training_faces_make_the_start(make):
    """Neither those held out nor those of testing."""
    problem = make(val_fraction=0.4)
    held_out = problem.data("val")
    assert problem.mean_shape.isnan().all()
    train = problem.data("train")
    wanted = in_box(train["points"], train["box"]).mean(0)
    torch.testing.assert_close(problem.mean_shape.cpu(), wanted)
    assert not torch.allclose(
        in_box(held_out["points"], held_out["box"]).mean(0), wanted, atol=1e-3
    )


class OwnFaces(Landmarks):
    """Faces that come from somewhere else than a folder; those of number 3 have no extent."""

    def _read(self, split: Split) -> Batch:
        points = 30 + 30 * torch.rand(6, 68, 2, generator=torch.Generator().manual_seed(0))
        points[3] = 40.0
        return {"points": points, "box": torch.tensor([30.0, 30.0, 60.0, 60.0]).expand(6, 4)}


def test_a_training_face_without_extent_is_named_before_the_training(problem):
    """It ended in a LinAlgError that named no face."""
    settings = {
        "val_fraction": 0.0,
        "mirror": False,
        "start_noise": 1.0,
        "augmentation": Augmentation(),
    }
    own = OwnFaces(schema="ibug68", normaliser="inter_ocular", crop=96, box_side=30.0, **settings)
    with pytest.raises(
        DescentError,
        match=r"training objects \[3\]: expected landmarks in a box, got ones .* in one place",
    ):
        own.data("train")


def test_updates_are_in_units_of_the_box(problem, generator, device):
    x, delta = torch.randn(2, 5, 2 * problem.schema.num_points, generator=generator, device=device)
    moved = problem.retract(x, delta)
    torch.testing.assert_close(moved, x + 36 * delta)
    torch.testing.assert_close(problem.local(x, moved), delta, atol=1e-5, rtol=1e-5)


def test_the_loss_is_the_mean_distance_over_the_box(problem, device):
    batch = on(device, problem.data("test"))
    shift = torch.tensor([3.0, 4.0], device=device)
    x = (batch["points"] + shift).flatten(1)
    torch.testing.assert_close(
        problem.loss(x, batch), torch.full((4,), 5 / 36, device=device), atol=1e-5, rtol=0
    )
    half = batch["points"].clone()
    half[:, ::2] += shift
    torch.testing.assert_close(
        problem.loss(half.flatten(1), batch),
        torch.full((4,), 2.5 / 36, device=device),
        atol=1e-4,
        rtol=0,
    )


def test_the_loss_has_a_gradient_on_the_spot(problem, device):
    batch = on(device, problem.data("test"))
    x = problem.target(batch).requires_grad_()
    problem.loss(x, batch).sum().backward()
    assert x.grad.isfinite().all()
    assert problem.loss(x, batch).max() < 2e-4


@pytest.mark.parametrize("normaliser", ["inter_ocular", "inter_pupil", "box"])
def test_metrics_state_points_and_normaliser(make, device, normaliser):
    problem = make(normaliser=normaliser)
    batch = on(device, problem.data("test"))
    x = problem.initial(batch)
    found = problem.metrics(x, batch)
    first, *others = found
    every = str(problem.schema.num_points)
    assert first == f"{every} points / {normaliser}"
    assert set(others) == {f"51 points / {normaliser}", f"49 points / {normaliser}"} | {
        f"{every} points / {other}"
        for other in ("inter_ocular", "inter_pupil", "box")
        if other != normaliser
    }
    assert torch.equal(found[first], problem.error(x, batch))
    for name, errors in found.items():
        count, over = name.split(" points / ")
        subset = None if count == every else count
        wanted = landmark_errors(
            problem.points(x), batch["points"], problem.schema, over, batch["box"], subset
        )
        assert torch.equal(errors, wanted)
    assert {
        name: errors.max().item()
        for name, errors in problem.metrics(problem.target(batch), batch).items()
    } == dict.fromkeys(found, 0.0)


def test_the_error_is_a_fraction_of_the_distance_between_the_eyes(problem, device):
    batch = on(device, problem.data("test"))
    left, right = problem.schema.outer_eye_corners
    eyes = torch.linalg.vector_norm(batch["points"][:, left] - batch["points"][:, right], dim=1)
    x = (
        batch["points"] + (0.06 * eyes)[:, None, None] * torch.tensor([0.6, 0.8], device=device)
    ).flatten(1)
    torch.testing.assert_close(
        problem.error(x, batch), torch.full((4,), 0.06, device=device), atol=1e-5, rtol=0
    )


def test_a_smaller_markup(make):
    problem = make(schema="ibug51")
    batch = problem.data("train")
    count = problem.schema.num_points
    assert batch["points"].shape[1] == count
    assert problem.mean_shape.shape == (count, 2)
    assert (
        next(iter(problem.metrics(problem.target(batch), batch)))
        == f"{count} points / inter_ocular"
    )
    assert problem.edges == problem.schema.edges


def test_the_variants_of_training_are_those_of_the_settings(make, device):
    problem = make(augmentation=Augmentation(mirror=1.0, rotation=0.0, noise=0.0))
    batch = on(device, problem.data("train"))
    found = problem.augment(batch, torch.Generator(device).manual_seed(1))
    wanted = augment(
        batch, problem.augmentation, problem.mirror_points, torch.Generator(device).manual_seed(1)
    )
    assert all(torch.equal(found[name], wanted[name]) for name in batch)
    on_photo = apply_affine(found["to_photo"], found["points"])
    original = apply_affine(batch["to_photo"], batch["points"])[:, list(problem.schema.mirror)]
    torch.testing.assert_close(on_photo, original, atol=1e-2, rtol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"mirror": True},
        {
            "schema": "ibug49",
            "normaliser": "box",
            "val_fraction": 0.25,
            "augmentation": Augmentation(mirror=0.25, noise=3.0),
        },
    ],
)
def test_settings_build_the_same_problem(make, settings):
    problem = make(**settings)
    stored = json.loads(json.dumps(problem.settings()))
    again = configured(FaceAlignment, stored)
    assert again.settings() == problem.settings()
    assert again.augmentation == problem.augmentation
    assert again.schema is problem.schema
    assert again.root is None


@pytest.mark.parametrize("eyes", [None, Patches])
def test_a_stored_model_needs_no_faces(problem, tmp_path, eyes):
    observation = None if eyes is None else eyes(problem.points, size=2)
    model = Cascade.for_problem(problem.cpu(), num_steps=2, observation=observation)
    save_model(model, tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    assert loaded.problem.root is None
    batch = problem.data("test")
    assert torch.equal(loaded(batch).xs, model(batch).xs)
    first, second = (
        owner.initial(batch, torch.Generator().manual_seed(0))
        for owner in (problem, loaded.problem)
    )
    assert torch.equal(first, second)


def test_a_stored_model_keeps_its_mean_shape(make):
    problem = make()
    problem.mean_shape.fill_(0.25)
    problem.data("train")
    assert (problem.mean_shape == 0.25).all()


def test_reading_without_a_folder(make):
    with pytest.raises(
        DescentError,
        match=r"root: expected a folder in the layout of 300-W .*, got None; give --data DIR",
    ):
        make(None).data("train")


def test_a_start_without_a_mean_shape(make):
    with pytest.raises(
        DescentError,
        match=r"the mean shape is not known yet: read training faces .* or load a trained model",
    ):
        make(None).initial({"box": torch.tensor([[0.0, 0.0, 9.0, 9.0]])})


@pytest.mark.parametrize("val_fraction", [-0.1, 1.0])
def test_a_share_that_makes_no_sense(val_fraction):
    with pytest.raises(
        DescentError, match=rf"val_fraction: expected a share in \[0, 1\), got {val_fraction}"
    ):
        FaceAlignment(val_fraction=val_fraction)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("helen/testset", "helen/testset"),
        ("helen", "helen/testset"),
        ("helen/testset/a", "helen/testset/"),
    ],
)
def test_testing_on_training_faces(train, test):
    with pytest.raises(
        DescentError,
        match=rf"test: \['{test}'\] are training parts; test on faces that training never saw",
    ):
        FaceAlignment(train=["afw", train], test=["ibug", test])


def test_parts_with_similar_names_are_different():
    assert FaceAlignment(train=["helen/train"], test=["helen/trainset"]).test_parts == (
        "helen/trainset",
    )


@pytest.mark.parametrize("name", ["train", "test"])
def test_a_part_alone(name):
    with pytest.raises(
        DescentError, match=f"{name}: expected a sequence of folders such as .* got 'afw'"
    ):
        FaceAlignment(**{name: "afw"})


def test_a_markup_that_there_is_not():
    with pytest.raises(DescentError, match="schema: no landmark schema is called 'ibug70'"):
        FaceAlignment(schema="ibug70")


def test_a_face_that_lacks_landmarks_is_used_for_the_others(make, faces, tmp_path):
    root = Path(shutil.copytree(faces, tmp_path / "faces"))
    name = sorted(root.glob("afw/*.pts"))[3].stem
    path = root / f"afw/{name}.pts"
    rows = path.read_text().splitlines()
    for point in (36, 40):  # from 0, after three lines of head
        rows[3 + point] = "nan nan"
    path.write_text("\n".join(rows))
    whole, some = make(), make(root)
    train, less = whole.data("train"), some.data("train")
    assert len(less["image"]) == len(train["image"])
    face = some.faces("train").names.index(f"afw/{name}")
    missing = (less["weights"] == 0).nonzero().tolist()
    assert missing == [[face, 36], [face, 40]]
    known = less["weights"] > 0
    assert torch.equal(less["points"][known], train["points"][known])
    assert (less["points"] - train["points"]).norm(dim=-1).max() < 4
    torch.testing.assert_close(some.mean_shape, whole.mean_shape, atol=0.01, rtol=0)
    joined = make(root, synthetic=2, mirror=True).data("train")
    assert joined["weights"].sum() == joined["weights"].numel() - 4, "of both mirror images"
    assert "weights" not in some.data("test")
