from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from learned_descent import DescentError
from learned_descent.landmarks.augmentation import Augmentation, augment, mirrored
from learned_descent.landmarks.crops import apply_affine

SIDE = 64
STILL = {field.name: 0.0 for field in fields(Augmentation)}
"""No amount of anything."""
MIRROR = torch.tensor([1, 0, 2, 4, 3])
SHARES = ["roll", "texture", "low_resolution", "hue", "channel_order", "duotone", "grey", "jpeg"]


@pytest.fixture
def batch(device):
    """Grey images, in each channel of which one of five landmarks is a bright round dot."""
    points = torch.tensor(
        [[24.0, 22.3], [40.5, 20.0], [31.0, 31.5], [25.1, 41.0], [39.4, 44.0]], device=device
    )
    points = torch.stack([points + shift for shift in torch.linspace(-3, 3, 12).tolist()])
    to_photo = torch.tensor([[2.0, 0.1, 30.0], [-0.1, 2.0, 50.0]], device=device)
    return {
        "image": dots(points),
        "points": points,
        "box": torch.tensor([14.0, 12.0, 50.0, 46.0], device=device).expand(12, 4),
        "to_photo": to_photo * torch.linspace(0.5, 2, 12, device=device)[:, None, None],
    }


def dots(points):
    pixels = torch.arange(float(SIDE), device=points.device)
    along, down = ((pixels - at[..., None]).square() for at in points.unbind(-1))
    return 30 + 220 * (-(down[..., :, None] + along[..., None, :]) / 4).exp()


def brightest(images):
    """The middle of the brightest spot of each channel, ``(B, C, 2)``."""
    pixels = torch.arange(float(SIDE), device=images.device)
    mass = (images - images.flatten(2).amax(2)[..., None, None] / 2).clamp(min=0)
    mass = mass / mass.sum((2, 3), keepdim=True)
    return torch.stack([(mass.sum(2) * pixels).sum(2), (mass.sum(3) * pixels).sum(2)], 2)


def make(batch, generator, **amounts):
    return augment(
        batch, Augmentation(**{**STILL, **amounts}), MIRROR.to(batch["points"].device), generator
    )


MOVES = [
    {"rotation": 30.0},
    {"roll": 1.0},
    {"scale": 0.3},
    {"shift": 0.1},
    {"mirror": 1.0},
    {"mirror": 0.5, "rotation": 20.0, "scale": 0.2, "shift": 0.05},
]


@pytest.mark.parametrize("amounts", MOVES)
def test_the_points_move_with_the_image(batch, generator, amounts):
    found = make(batch, generator, **amounts)
    change = (found["points"] - batch["points"]).norm(dim=2).amax(1)
    assert (change > 0.05).float().mean() > 0.8
    seen = brightest(found["image"])
    flipped = (seen - found["points"]).norm(dim=2).amax(
        1
    ) > 1  # the dots keep their channels, the landmarks swap
    seen[flipped] = seen[flipped][:, MIRROR]
    torch.testing.assert_close(seen, found["points"], atol=0.15, rtol=0)
    assert flipped.any() == ("mirror" in amounts)
    assert flipped.all() == (amounts.get("mirror") == 1)


@pytest.mark.parametrize("amounts", MOVES)
def test_points_on_the_photo_stay_where_they_are(batch, generator, amounts):
    found = make(batch, generator, **amounts)
    on_photo = apply_affine(batch["to_photo"], batch["points"])
    after = apply_affine(found["to_photo"], found["points"])
    flipped = torch.linalg.det(found["to_photo"][..., :2]) < 0
    assert flipped.any() == ("mirror" in amounts)
    wanted = torch.where(flipped[:, None, None], on_photo[:, MIRROR], on_photo)
    torch.testing.assert_close(after, wanted, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("amounts", MOVES)
def test_the_box_follows(batch, generator, amounts):
    """Its centre stays on the same place of the photo and its sides keep their length there."""
    found = make(batch, generator, **amounts)
    for corners in (batch["box"].unflatten(1, (2, 2)), found["box"].unflatten(1, (2, 2))):
        assert (corners[:, 1] > corners[:, 0]).all()

    def on_photo(sample):
        corners, scale = (
            sample["box"].unflatten(1, (2, 2)),
            torch.linalg.det(sample["to_photo"][..., :2]).abs().sqrt(),
        )
        centre = apply_affine(sample["to_photo"], corners.mean(1, keepdim=True))
        return torch.cat([centre[:, 0], (corners[:, 1] - corners[:, 0]) * scale[:, None]], 1)

    torch.testing.assert_close(on_photo(found), on_photo(batch), atol=1e-3, rtol=1e-5)


def test_a_mirrored_face(batch, generator):
    found = make(batch, generator, mirror=1.0)
    torch.testing.assert_close(found["image"], batch["image"].flip(3), atol=1e-2, rtol=0)
    wanted = batch["points"][:, MIRROR]
    torch.testing.assert_close(
        found["points"], torch.stack([SIDE - 1 - wanted[..., 0], wanted[..., 1]], 2)
    )
    box = batch["box"]
    torch.testing.assert_close(
        found["box"],
        torch.stack([SIDE - 1 - box[:, 2], box[:, 1], SIDE - 1 - box[:, 0], box[:, 3]], 1),
    )


def test_the_mirror_image_is_a_variant(batch, generator):
    found, wanted = (
        mirrored(batch, MIRROR.to(batch["points"].device)),
        make(batch, generator, mirror=1.0),
    )
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, atol=1e-2, rtol=1e-5)


def test_a_mirror_image_of_a_mirror_image(batch):
    mirror = MIRROR.to(batch["points"].device)
    before = {name: value.clone() for name, value in batch.items()}
    again = mirrored(mirrored(batch, mirror), mirror)
    assert torch.equal(again["image"], batch["image"])
    for name, value in batch.items():
        torch.testing.assert_close(again[name], value)
        assert torch.equal(value, before[name])


def test_without_amounts_nothing_changes(batch, generator):
    found = make(batch, generator)
    assert found.keys() == batch.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, batch[name], atol=1e-2, rtol=1e-5)


def test_bytes_become_numbers_in_0_to_255(batch, generator):
    batch = {**batch, "image": batch["image"].to(torch.uint8)}
    found = augment(
        batch, Augmentation(noise=60, brightness=100), MIRROR.to(batch["image"].device), generator
    )
    assert found["image"].dtype == torch.float32
    assert found["image"].min() == 0
    assert found["image"].max() == 255


def test_the_generator_decides(batch, device):
    def variant(seed):
        return augment(
            batch,
            Augmentation(occlusion=0.5),
            MIRROR.to(device),
            torch.Generator(device).manual_seed(seed),
        )

    first, second, other = variant(1), variant(1), variant(2)
    before = torch.random.get_rng_state()
    for name in batch:
        assert torch.equal(first[name], second[name])
        assert not torch.equal(first[name], other[name])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_batch_is_left_as_it_came(batch, generator):
    before = {name: value.clone() for name, value in batch.items()}
    augment(batch, Augmentation(occlusion=1.0), MIRROR.to(batch["image"].device), generator)
    for name, value in batch.items():
        assert torch.equal(value, before[name])


def test_further_tensors_stay(batch, generator, device):
    found = make({**batch, "weight": torch.arange(12, device=device)}, generator, rotation=10.0)
    assert found["weight"].tolist() == list(range(12))


def test_every_face_has_its_own_variant(batch, generator):
    moved = make(batch, generator, rotation=15.0)["points"] - batch["points"]
    assert torch.pdist(moved.flatten(1)).min() > 1e-3


def test_amounts_are_kept(batch, device):
    """The rotation of a thousand faces fills the span that was asked for, and no more."""
    many = {name: value[:1].expand(1000, *value.shape[1:]) for name, value in batch.items()}
    many["image"] = torch.zeros(1000, 1, 4, 4, device=device)
    found = make(many, torch.Generator(device).manual_seed(0), rotation=20.0)
    change = torch.linalg.solve(found["to_photo"][..., :2], many["to_photo"][..., :2])
    angle = torch.atan2(change[:, 1, 0], change[:, 0, 0]).rad2deg()
    assert 19 < angle.max() <= 20.001
    assert -20.001 <= angle.min() < -19
    assert angle.mean().abs() < 1.5


def test_a_share_of_the_faces_lies_at_any_angle(batch, device):
    many = {name: value[:1].expand(1000, *value.shape[1:]) for name, value in batch.items()}
    many["image"] = torch.zeros(1000, 1, 4, 4, device=device)
    found = make(many, torch.Generator(device).manual_seed(0), roll=0.3)
    change = torch.linalg.solve(found["to_photo"][..., :2], many["to_photo"][..., :2])
    angle = torch.atan2(change[:, 1, 0], change[:, 0, 0]).rad2deg()
    assert 0.25 < (angle.abs() > 1e-3).float().mean() < 0.35
    assert angle.max() > 170
    assert angle.min() < -170


@pytest.mark.parametrize("name", ["hue", "jpeg"])
def test_what_needs_colours_says_so(batch, generator, name):
    with pytest.raises(DescentError, match=r"expected images \(B, 3, S, S\) for hue and jpeg, got"):
        make(batch, generator, **{name: 0.5})


def test_contrast_keeps_the_mean(batch, generator):
    image = 100 + 0.1 * batch["image"]
    found = make({**batch, "image": image}, generator, contrast=0.5)["image"]
    torch.testing.assert_close(found.mean((1, 2, 3)), image.mean((1, 2, 3)), atol=1e-2, rtol=0)
    factor = found.std((1, 2, 3)) / image.std((1, 2, 3))
    assert factor.log().abs().max() < 0.501
    assert factor.std() > 0.1


def test_brightness_moves_every_pixel_alike(batch, generator):
    image = 100 + 0.1 * batch["image"]
    change = make({**batch, "image": image}, generator, brightness=30.0)["image"] - image
    assert change.flatten(1).std(1).max() < 1e-2
    assert 1 < change.mean((1, 2, 3)).abs().max() <= 30


def test_colour_differs_between_channels(batch, generator):
    image = 100 + 0.1 * batch["image"]
    found = make({**batch, "image": image}, generator, colour=0.4)["image"]
    factor = found.std((2, 3)) / image.std((2, 3))
    assert factor.std(1).min() > 1e-3
    assert factor.log().abs().max() < 0.401


def test_noise_is_grey(batch, generator):
    image = torch.full_like(batch["image"], 128)
    change = make({**batch, "image": image}, generator, noise=10.0)["image"] - image
    assert (change - change[:, :1]).abs().max() < 1e-3
    spread = change[:, 0].flatten(1).std(1)
    assert spread.max() < 10.5
    assert spread.std() > 1


def test_every_second_face_is_blurred(batch, generator):
    """A dot under a Gaussian keeps its mass and its place, and is lower and wider; the others stay
    as they are."""
    many = {name: value.repeat(10, *[1] * (value.dim() - 1)) for name, value in batch.items()}
    found = make(many, generator, blur=2.0)["image"]
    torch.testing.assert_close(found.mean((2, 3)), many["image"].mean((2, 3)), atol=0.05, rtol=0)
    torch.testing.assert_close(brightest(found), many["points"], atol=0.6, rtol=0)
    lost = (many["image"] - found).amax((1, 2, 3))
    assert 0.4 < (lost < 1e-2).float().mean() < 0.6
    assert lost.max() > 100


@pytest.mark.parametrize(
    ("amounts", "message"),
    [
        ({"rotation": -1.0}, "expected rotation 0 or more, got -1.0"),
        ({"noise": float("nan")}, "expected noise 0 or more, got nan"),
        ({"scale": float("inf")}, "expected scale 0 or more, got inf"),
        ({"occlusion": 1.5}, "expected occlusion from 0 to 1, got 1.5"),
        ({"turn": 500.0}, "expected turn from 0 to 45, got 500.0"),
        *(({name: 1.5}, f"expected {name} from 0 to 1, got 1.5") for name in SHARES),
        ({"gamma": -0.5}, "expected gamma 0 or more, got -0.5"),
    ],
)
def test_amounts_that_make_no_sense(amounts, message):
    with pytest.raises(DescentError, match=message):
        Augmentation(**amounts)


@pytest.mark.parametrize(("share", "expected"), [(1.0, 1.0), (0.5, 0.5)])
def test_an_occlusion_is_one_rectangle_of_its_mean_colour(batch, generator, share, expected):
    image = 50 + 150 * torch.rand(120, 3, SIDE, SIDE, generator=generator, device=generator.device)
    many = {name: value.repeat(10, *[1] * (value.dim() - 1)) for name, value in batch.items()}
    found = make({**many, "image": image}, generator, occlusion=share)["image"]
    changed = ((found - image).abs() > 0.05).any(1)
    hit = changed.flatten(1).any(1)
    # A few rectangles are smaller than a pixel
    assert abs(hit.float().mean() - 0.9 * expected) < 0.2
    for before, after, where in zip(image[hit], found[hit], changed[hit]):
        rows, columns = where.any(1).nonzero().flatten(), where.any(0).nonzero().flatten()
        top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        assert max(bottom - top, right - left) <= 0.4 * SIDE + 1
        inside = after[:, top:bottom, left:right]
        torch.testing.assert_close(inside, inside[:, :1, :1].expand_as(inside), atol=0.1, rtol=0)
        torch.testing.assert_close(before.mean((1, 2)), after.mean((1, 2)), atol=0.01, rtol=0)
