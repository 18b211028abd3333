from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import map_coordinates

from learned_descent import DescentError, ShapeError
from learned_descent.observations import Patches
from learned_descent.observations.patches import as_float, sample_patches, shrink


def points(x):
    return x.unflatten(1, (-1, 2))


def scene(generator, dtype=torch.float64, batch=2, channels=3, height=13, width=17):
    """Random maps and centres, a few of them outside."""
    maps = torch.rand(
        batch,
        channels,
        height,
        width,
        generator=generator,
        dtype=torch.float64,
        device=generator.device,
    )
    unit = torch.rand(
        batch, 6, 2, generator=generator, dtype=torch.float64, device=generator.device
    )
    centres = (unit * 1.6 - 0.3) * torch.tensor([width, height], device=generator.device)
    return maps.to(dtype), centres.to(dtype)


def grid(size, spacing):
    return (torch.arange(size, dtype=torch.float64) - (size - 1) / 2) * spacing


def by_scipy(maps, centres, size, spacing):
    """The same samples, one by one."""
    along = grid(size, spacing).numpy()
    samples = np.empty((*centres.shape[:2], size, size, maps.shape[1]))
    for row, (image, places) in enumerate(zip(maps.numpy(), centres.numpy())):
        for place, (column, line) in enumerate(places):
            at = np.meshgrid(line + along, column + along, indexing="ij")
            for channel, pixels in enumerate(image):
                samples[row, place, ..., channel] = map_coordinates(
                    pixels, at, order=1, mode="nearest"
                )
    return torch.from_numpy(samples)


@pytest.mark.parametrize("spacing", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_samples_are_those_of_scipy(generator, device, dtype, size, spacing):
    maps, centres = scene(generator, dtype)
    found = sample_patches(maps, centres, size, spacing)
    assert found.dtype == dtype
    assert found.device == device
    wanted = by_scipy(maps.cpu().double(), centres.cpu().double(), size, spacing)
    torch.testing.assert_close(found.cpu().double(), wanted, atol=1e-5, rtol=0)


def test_samples_and_gradients_are_those_of_grid_sample(generator, device):
    maps, centres = scene(generator)
    maps, centres = maps.requires_grad_(), centres.requires_grad_()
    offsets = torch.cartesian_prod(grid(4, 1), grid(4, 1)).flip(1).to(device)
    at = centres[:, :, None] + offsets
    unit = at / (torch.tensor([17.0, 13.0], device=device) - 1) * 2 - 1
    wanted = (
        F.grid_sample(maps, unit, padding_mode="border", align_corners=True)
        .permute(0, 2, 3, 1)
        .unflatten(2, (4, 4))
    )
    found = sample_patches(maps, centres, 4)
    torch.testing.assert_close(found, wanted)
    cotangent = torch.rand(found.shape, generator=generator, dtype=found.dtype, device=device)
    for ours, theirs in zip(
        torch.autograd.grad(found, (maps, centres), cotangent),
        torch.autograd.grad(wanted, (maps, centres), cotangent),
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("size", "spacing"), [(3, 1), (4, 1), (3, 2)])
def test_gradients_are_those_of_finite_differences(generator, size, spacing):
    maps, _ = scene(generator, channels=2, height=5, width=6)
    centres = torch.tensor(
        [[[2.3, 1.6], [0.8, 3.4]], [[4.3, 4.1], [-0.7, 2.2]]],
        dtype=torch.float64,
        device=maps.device,
    )
    inputs = maps.requires_grad_(), centres.requires_grad_()
    rounding = 1e-9  # a GPU adds what several samples take from a pixel in any order
    assert torch.autograd.gradcheck(
        lambda maps, at: sample_patches(maps, at, size, spacing), inputs, nondet_tol=rounding
    )


@pytest.mark.parametrize("spacing", [1, 4])
@pytest.mark.parametrize("far", [30.0, 1e5, 1e30, torch.inf])
def test_the_border_is_repeated_however_far_away(generator, device, dtype, far, spacing):
    maps, _ = scene(generator, dtype)
    centres = torch.tensor(
        [[-far, 6.0], [far, 6.0], [8.0, -far], [8.0, far]], device=device, dtype=dtype
    ).expand(2, 4, 2)
    left, right, above, below = sample_patches(maps, centres, 3, spacing).unbind(1)
    rows = maps[..., 6 - spacing : 7 + spacing : spacing, :].permute(0, 2, 3, 1)
    columns = maps[..., 8 - spacing : 9 + spacing : spacing].permute(0, 2, 3, 1)
    torch.testing.assert_close(left, rows[:, :, :1].expand_as(left))
    torch.testing.assert_close(right, rows[:, :, -1:].expand_as(right))
    torch.testing.assert_close(above, columns[:, :1].expand_as(above))
    torch.testing.assert_close(below, columns[:, -1:].expand_as(below))


def test_centres_that_are_no_numbers_do_no_harm(generator, device):
    maps, centres = scene(generator)
    usual = sample_patches(maps, centres, 4)
    centres[1, 2] = torch.nan
    centres.requires_grad_()
    found = sample_patches(maps, centres, 4)
    found.sum().backward()
    assert found.isfinite().all()
    assert centres.grad.isfinite().all()
    others = torch.ones(2, 6, dtype=torch.bool, device=device)
    others[1, 2] = False
    assert torch.equal(found[others], usual[others])


@pytest.mark.parametrize("spacing", [1, 2])
def test_the_memory_format_makes_no_difference(generator, dtype, spacing):
    maps, centres = scene(generator, dtype)
    usual = sample_patches(maps, centres, 5, spacing)
    assert torch.equal(
        usual,
        sample_patches(maps.contiguous(memory_format=torch.channels_last), centres, 5, spacing),
    )


@pytest.mark.parametrize("spacing", [1, 2])
def test_each_image_is_seen_alone(generator, dtype, spacing):
    maps, centres = scene(generator, dtype, batch=3)
    together = sample_patches(maps, centres, 4, spacing)
    for row in range(3):
        assert torch.equal(
            sample_patches(maps[row : row + 1], centres[row : row + 1], 4, spacing)[0],
            together[row],
        )


@pytest.mark.parametrize(
    ("maps", "centres", "message"),
    [
        ((3, 8, 8), (2, 5, 2), r"maps: expected shape \(B, C, H, W\), got \(3, 8, 8\)"),
        (
            (2, 3, 8, 8),
            (2, 5, 3),
            r"centres: expected shape \(B, L, 2\) with B = 2, got \(2, 5, 3\)",
        ),
        (
            (2, 3, 8, 8),
            (3, 5, 2),
            r"centres: expected shape \(B, L, 2\) with B = 2, got \(3, 5, 2\)",
        ),
        ((2, 3, 8, 8), (2, 2), r"centres: expected shape \(B, L, 2\) with B = 2, got \(2, 2\)"),
    ],
)
def test_shapes_that_do_not_fit(maps, centres, message):
    with pytest.raises(ShapeError, match=message):
        sample_patches(torch.zeros(maps), torch.zeros(centres), 3)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_images_become_numbers_in_0_to_1(dtype):
    image = torch.tensor([0, 51, 255, 102]).to(dtype).expand(2, 1, 4, 4)
    wanted = torch.tensor(
        [0.0, 0.2, 1.0, 0.4], dtype=torch.float64 if dtype == torch.float64 else torch.float32
    )
    torch.testing.assert_close(as_float(image), wanted.expand(2, 1, 4, 4))


def test_images_that_are_too_small_or_have_another_shape():
    with pytest.raises(DescentError, match="image: expected at least 4 x 4 pixels, got 9 x 3"):
        as_float(torch.zeros(1, 1, 9, 3))
    with pytest.raises(ShapeError, match=r"image: expected shape \(B, C, H, W\), got \(3, 9, 9\)"):
        as_float(torch.zeros(3, 9, 9))
    with pytest.raises(DescentError, match="image: expected at least 4 x 4 pixels, got 3 x 3"):
        Patches(points).prepare({"image": torch.zeros(1, 3, 3, 3)})


@pytest.mark.parametrize("factor", [1.5, 2, 3.0])
def test_shrinking_keeps_every_place(factor):
    """A ramp: pixel ``u`` of the small image shows what lies at ``(u + 0.5) factor - 0.5`` of the
    large one."""
    ramp = torch.arange(48.0, dtype=torch.float64).expand(1, 1, 30, 48)
    small = shrink(ramp, factor)
    assert small.shape[-2:] == (int(30 / factor), int(48 / factor))
    wanted = (torch.arange(small.shape[-1], dtype=torch.float64) + 0.5) * factor - 0.5
    inside = slice(2, -2)  # the filter is cut at the border
    # A filter of few pixels is not quite symmetric between them
    tolerance = 0.03 if factor % 1 else 1e-6
    torch.testing.assert_close(small[0, 0, 5, inside], wanted[inside], atol=tolerance, rtol=0)


def test_shrinking_averages():
    board = (
        (torch.arange(24)[:, None] + torch.arange(24)).remainder(2).double().expand(1, 1, 24, 24)
    )
    assert (shrink(board, 4)[..., 1:-1, 1:-1] - 0.5).abs().max() < 0.02


@pytest.mark.parametrize("spacing", [1, 1.5, 2.0, 3])
@pytest.mark.parametrize("size", [1, 4, 5])
def test_patches_show_what_lies_around_the_points(device, dtype, size, spacing):
    """Ramps along columns and along rows tell where each sample was taken."""
    ramp = torch.arange(96.0, dtype=dtype, device=device)
    image = torch.stack([ramp.expand(96, 96), ramp[:, None].expand(96, 96)])[None]
    x = torch.tensor([[40.3, 51.6, 33.0, 47.5]], dtype=dtype, device=device)
    eyes = Patches(points, size=size, spacing=spacing)
    seen = eyes(x, eyes.prepare({"image": image})).view(2, size, size, 2) * 255
    offsets = grid(size, spacing).to(device, dtype)
    tolerance = 0.03 if spacing % 1 else 1e-3
    for (column, row), patch in zip(x.view(2, 2), seen):
        torch.testing.assert_close(
            patch[..., 0], (column + offsets).expand(size, size), atol=tolerance, rtol=0
        )
        torch.testing.assert_close(
            patch[..., 1], (row + offsets)[:, None].expand(size, size), atol=tolerance, rtol=0
        )


@pytest.mark.parametrize("spacing", [1.0, 2.0])
def test_patches_are_differentiable_in_x(generator, spacing):
    eyes = Patches(points, size=3, spacing=spacing)
    image = (
        torch.rand(2, 2, 12, 12, generator=generator, dtype=torch.float64, device=generator.device)
        * 255
    )
    batch = eyes.prepare({"image": image})
    x = torch.tensor(
        [[4.3, 5.4], [6.2, 3.7]], dtype=torch.float64, device=generator.device
    ).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: eyes(x, batch), x)


def test_the_name_of_the_images_and_the_rest_of_the_batch():
    eyes = Patches(points, "left", size=2)
    batch = {"left": torch.full((1, 1, 6, 6), 51, dtype=torch.uint8), "other": torch.ones(1)}
    prepared = eyes.prepare(batch)
    assert prepared.keys() > batch.keys()
    torch.testing.assert_close(eyes(torch.zeros(1, 2), prepared), torch.full((1, 4), 0.2))


def test_settings_build_the_same_patches(generator):
    eyes = Patches(points, size=7, spacing=1.5)
    again = Patches(points, **eyes.settings())
    batch = {"image": torch.rand(1, 1, 20, 20, generator=generator, device=generator.device) * 255}
    x = torch.full((1, 4), 9.0, device=generator.device)
    assert torch.equal(again(x, again.prepare(batch)), eyes(x, eyes.prepare(batch)))


@pytest.mark.parametrize("settings", [{"size": 0}, {"spacing": 0.5}])
def test_settings_that_make_no_sense(settings):
    with pytest.raises(
        DescentError, match=r"expected size >= 1 and spacing >= 1, got size=.* and spacing="
    ):
        Patches(points, **settings)


def test_spacing_wider_than_the_image():
    with pytest.raises(
        DescentError,
        match="spacing: an image of 8 x 12 pixels is too small for spacing=9; lower it",
    ):
        Patches(points, spacing=9.0).prepare({"image": torch.zeros(1, 1, 8, 12)})
