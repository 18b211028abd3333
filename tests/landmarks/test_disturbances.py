from __future__ import annotations

import io
import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from PIL import Image

from learned_descent.landmarks.augmentation import Augmentation, augment
from learned_descent.landmarks.disturbances import DISTURBANCES, compress, hue_turns

COUNT, SIDE = 60, 44
AMOUNTS = {"channel_noise": 20.0, "gamma": 0.7}
"""Others are shares."""


@pytest.fixture
def images(generator):
    """Smooth pictures, in each of which the channels differ."""
    coarse = torch.rand(COUNT, 3, 5, 5, generator=generator, device=generator.device)
    spread = torch.nn.functional.interpolate(coarse, size=SIDE, mode="bilinear")
    return 30 + 190 * spread


@pytest.fixture
def disturbed(images, generator):
    def run(name, amount=1.0):
        return DISTURBANCES[name](images, amount, generator).clamp(0, 255)

    return run


def test_each_is_a_setting_that_is_off():
    plain = {field.name: field.default for field in fields(Augmentation)}
    assert {name: plain[name] for name in DISTURBANCES} == dict.fromkeys(DISTURBANCES, 0.0)


@pytest.mark.parametrize("name", sorted(set(DISTURBANCES) - set(AMOUNTS)))
def test_a_share_is_the_share_of_the_pictures(images, disturbed, name):
    before = images.clone()
    hit = ((disturbed(name, 0.5) - images).abs() > 1e-3).flatten(1).any(1)
    assert 0.2 < hit.float().mean() < 0.7  # order and texture may leave a picture as it was
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", DISTURBANCES)
def test_it_is_part_of_the_augmentation(images, generator, name):
    """And alone: what is off draws nothing, and the others stay as they are."""
    still = {field.name: 0.0 for field in fields(Augmentation)}
    batch = {
        "image": images,
        "points": torch.zeros(COUNT, 1, 2, device=images.device),
        "box": torch.zeros(COUNT, 4, device=images.device),
        "to_photo": torch.eye(2, 3, device=images.device).repeat(COUNT, 1, 1),
    }
    mirror = torch.zeros(1, dtype=torch.long, device=images.device)

    def made(**amounts):
        generator.manual_seed(0)
        return augment(batch, Augmentation(**{**still, **amounts}), mirror, generator)["image"]

    amount = AMOUNTS.get(name, 1.0)
    found, plain = made(**{name: amount}), made()
    assert (found - plain).abs().max() > 5
    assert found.min() >= 0
    assert found.max() <= 255
    torch.testing.assert_close(plain, images, atol=1e-2, rtol=0)


def test_grey_pictures_are_grey(images, disturbed):
    found = disturbed("grey")
    assert torch.equal(found[:, 0], found[:, 2])
    torch.testing.assert_close(found.mean(1), images.mean(1))


def test_reordered_channels_hold_the_same_levels(images, disturbed):
    found = disturbed("channel_order")
    assert torch.equal(found.sort(1).values, images.sort(1).values)
    orders = {tuple(torch.cdist(a.flatten(1), b.flatten(1)).argmin(1).tolist())
              for a, b in zip(found, images)}  # fmt: skip
    assert len(orders) == 6


def test_a_turned_hue_keeps_the_greys(images, disturbed):
    turns = hue_turns(torch.linspace(0, 6, 7))
    torch.testing.assert_close(turns @ turns.mT, torch.eye(3).expand(7, 3, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(turns.sum(2), torch.ones(7, 3), atol=1e-6, rtol=0)
    found = disturbed("hue")
    inside = ((found > 0) & (found < 255)).all(1)
    torch.testing.assert_close(found.mean(1)[inside], images.mean(1)[inside])
    third = hue_turns(torch.tensor([2 * math.pi / 3]))[0]
    torch.testing.assert_close(
        third @ torch.tensor([1.0, 0, 0]), torch.tensor([0, 1.0, 0]), atol=1e-6, rtol=0
    )


def test_a_duotone_has_the_colours_of_a_line(disturbed):
    found = disturbed("duotone").flatten(2)
    spread = torch.linalg.svdvals(found - found.mean(2, keepdim=True))
    assert (spread[:, 1] < 1e-3 * spread[:, 0]).all()
    assert found.mean(1).std(1).min() > 3  # the picture is still seen


def test_gamma_keeps_black_white_and_order(generator):
    ramp = torch.linspace(0, 255, 64, device=generator.device).reshape(1, 1, 8, 8)
    found = DISTURBANCES["gamma"](ramp.expand(50, 3, 8, 8), 0.7, generator)
    flat = found.flatten(2)
    assert (flat.diff(dim=2) >= 0).all()
    torch.testing.assert_close(flat[..., 0], torch.zeros_like(flat[..., 0]))
    torch.testing.assert_close(flat[..., -1], torch.full_like(flat[..., 0], 255.0))
    power = (flat[:, 0, 32] / 255).log() / (ramp.flatten()[32] / 255).log()
    assert power.log().abs().max() < 0.701
    assert power.log().std() > 0.2


def test_every_second_picture_has_noise_that_differs_between_channels(images, disturbed):
    change = disturbed("channel_noise", 20.0) - images
    spread = change.flatten(2).std(2)
    noisy = spread.mean(1) > 1e-3
    assert 0.3 < noisy.float().mean() < 0.7
    assert spread.max() < 21
    red, green = change[noisy][:, 0].flatten(), change[noisy][:, 1].flatten()
    assert torch.corrcoef(torch.stack([red, green]))[0, 1].abs() < 0.05


def test_few_pixels_lose_what_is_fine(images, disturbed, generator):
    fine = 60 * torch.randn(images.shape, generator=generator, device=images.device)
    found = DISTURBANCES["low_resolution"](fine, 1.0, generator)
    assert (found.flatten(1).std(1) < 0.7 * fine.flatten(1).std(1)).all()
    assert (disturbed("low_resolution") - images).abs().mean() < 8  # and keep what is smooth


def test_a_texture_hides_one_part(images, disturbed):
    changed = ((disturbed("texture") - images).abs() > 1e-3).any(1)
    share = changed.flatten(1).float().mean(1)
    assert share.max() < 0.25
    assert share.mean() > 0.02


@pytest.mark.parametrize("quality", [10, 50, 85])
def test_compression_is_that_of_a_jpeg_file(images, quality):
    """Of Pillow, told to keep all pixels of the colours: but for its whole numbers."""
    pixels = images[:4].round().cpu()
    found = compress(pixels, torch.full((4,), float(quality)))
    for picture, ours in zip(pixels, found):
        file = io.BytesIO()
        Image.fromarray(picture.to(torch.uint8).movedim(0, -1).numpy()).save(
            file, "JPEG", quality=quality, subsampling=0
        )
        theirs = torch.from_numpy(np.array(Image.open(file))).movedim(-1, 0).float()
        assert (ours - theirs).abs().mean() < 1.3
