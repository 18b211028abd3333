from __future__ import annotations

import json
import math

import pytest
import torch
import torch.nn.functional as F

from learned_descent import DescentError
from learned_descent.observations import DenseHOG, DenseSIFT
from learned_descent.observations.descriptors import gradients, orientation_maps, pool_cells
from learned_descent.observations.patches import shrink

BOTH = pytest.mark.parametrize("kind", [DenseHOG, DenseSIFT])


def points(x):
    return x.unflatten(1, (-1, 2))


def smooth(generator, size, batch=2, channels=1):
    """Smooth random images in 0..255, float64."""
    coarse = torch.rand(
        batch,
        channels,
        size // 4,
        size // 4,
        generator=generator,
        dtype=torch.float64,
        device=generator.device,
    )
    return F.interpolate(coarse, (size, size), mode="bicubic", align_corners=True).clamp(0, 1) * 255


def see(eyes, image, x):
    return eyes(x, eyes.prepare({"image": image}))


def wave(angle, size=41):
    """An image whose brightness grows along ``angle`` (rad, from columns to rows), and nowhere
    else."""
    row, column = torch.meshgrid(
        torch.arange(size).double(), torch.arange(size).double(), indexing="ij"
    )
    along = (column - size // 2) * math.cos(angle) + (row - size // 2) * math.sin(angle)
    return (127 + 3 * along).expand(1, 1, size, size)


@pytest.mark.parametrize(
    "settings",
    [{}, {"cell": 4, "cells": 2, "orientations": 6}, {"cell": 5, "cells": 1, "orientations": 3}],
)
@BOTH
def test_sizes_are_as_documented(device, dtype, kind, settings):
    eyes = kind(points, **settings)
    seen = see(
        eyes,
        torch.zeros(2, 3, 48, 40, dtype=dtype, device=device),
        torch.full((2, 14), 20.0, device=device, dtype=dtype),
    )
    per_cell = 3 * eyes.orientations + 4 if kind is DenseHOG else eyes.orientations
    assert seen.shape == (2, 7 * eyes.cells**2 * per_cell)
    assert seen.dtype == dtype
    assert torch.equal(seen, torch.zeros_like(seen))  # nothing to see


def test_gradients_of_a_plane():
    row, column = torch.meshgrid(torch.arange(6.0), torch.arange(8.0), indexing="ij")
    dx, dy = gradients((2 * column - 3 * row).expand(1, 3, 6, 8))
    assert torch.equal(dx[..., 1:-1], torch.full((1, 1, 6, 6), 2.0))
    assert torch.equal(dy[..., 1:-1, :], torch.full((1, 1, 4, 8), -3.0))


@pytest.mark.parametrize("orientations", [4, 5, 8])
def test_each_direction_has_its_map(orientations):
    for direction in range(orientations):
        angle = 2 * math.pi * direction / orientations
        found = orientation_maps(wave(angle), orientations)[0, :, 20, 20]
        wanted = torch.zeros(orientations, dtype=torch.float64)
        wanted[direction] = 3
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)


def test_a_direction_between_two_is_shared():
    found = orientation_maps(wave(math.pi / 8), 8)[0, :, 20, 20]
    torch.testing.assert_close(found[0], found[1])
    assert found[0] > 1
    assert not found[2:].any()


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_cells_are_triangular_means(generator, stride):
    maps = torch.rand(
        1, 2, 13, 16, generator=generator, dtype=torch.float64, device=generator.device
    )
    found = pool_cells(maps, 3, stride)
    assert found.shape == (1, 2, len(range(0, 13, stride)), len(range(0, 16, stride)))
    kernel = (
        torch.tensor([1.0, 2.0, 3.0, 2.0, 1.0], dtype=torch.float64, device=generator.device) / 9
    )
    wanted = F.conv2d(maps.transpose(0, 1), (kernel[:, None] * kernel)[None, None]).transpose(0, 1)
    inside = found[..., torch.arange(0, 13, stride).ge(2) & torch.arange(0, 13, stride).lt(11), :]
    inside = inside[..., torch.arange(0, 16, stride).ge(2) & torch.arange(0, 16, stride).lt(14)]
    first = -2 % stride
    torch.testing.assert_close(inside, wanted[..., first::stride, first::stride])
    # Up to the border
    torch.testing.assert_close(pool_cells(torch.ones_like(maps), 3, stride), torch.ones_like(found))


@pytest.mark.parametrize(
    "settings",
    [{"cell": 4, "cells": 3}, {"cell": 4, "cells": 2, "stride": 1}, {"cell": 3, "cells": 2}],
)
@BOTH
def test_turning_the_image_turns_cells_and_directions(generator, kind, settings):
    """A quarter turn of image and points moves every cell to its new place and every direction by a
    quarter circle."""
    eyes = kind(points, orientations=8, **settings)
    image = smooth(generator, 37)
    x = torch.tensor([[15.3, 22.8], [18.0, 11.4]], dtype=torch.float64, device=generator.device)
    turned = torch.rot90(image, 1, (2, 3))  # the first row becomes the first column
    seen, seen_turned = (
        see(eyes, image, x),
        see(eyes, turned, torch.stack([x[:, 1], 36 - x[:, 0]], 1)),
    )
    cells = eyes.cells
    wanted = torch.rot90(seen.view(2, cells, cells, -1), 1, (1, 2))
    signed = 16 if kind is DenseHOG else 8
    parts = [wanted[..., :signed].roll(-signed // 4, -1)]  # from columns to rows counts as positive
    if kind is DenseHOG:
        parts += [wanted[..., 16:24].roll(-4, -1), wanted[..., 24:].sort(-1).values]
    found = seen_turned.view(2, cells, cells, -1)
    if kind is DenseHOG:  # which block is which is no promise
        found = torch.cat([found[..., :24], found[..., 24:].sort(-1).values], -1)
    torch.testing.assert_close(found, torch.cat(parts, -1))


@BOTH
def test_brightness_makes_no_difference_and_contrast_little(generator, kind):
    eyes, image = kind(points), smooth(generator, 48)
    x = torch.tensor(
        [[20.0, 22.0, 25.5, 28.1], [24.0, 24.0, 17.2, 30.0]],
        dtype=torch.float64,
        device=generator.device,
    )
    seen = see(eyes, image, x)
    assert seen.std() > 0.01
    torch.testing.assert_close(see(eyes, image + 40, x), seen)
    for contrast in (0.3, 3.0):
        assert (see(eyes, contrast * image, x) - seen).abs().max() < 0.02 * seen.max()


@BOTH
def test_image_and_points_may_move_together(generator, kind):
    eyes = kind(points, cell=4, cells=2)
    image = smooth(generator, 64)
    x = torch.tensor([[24.3, 30.0], [30.7, 26.1]], dtype=torch.float64, device=generator.device)
    seen = see(eyes, image[..., :48, :48], x)
    for down, along in ((0, 4), (6, 2), (8, 8)):  # whole steps of the dense map
        shift = torch.tensor([along, down], dtype=torch.float64, device=generator.device)
        torch.testing.assert_close(
            see(eyes, image[..., down : down + 48, along : along + 48], x - shift), seen
        )


@BOTH
def test_gradients_reach_x(generator, kind):
    eyes = kind(points, cell=4, cells=2, orientations=4)
    batch = eyes.prepare({"image": smooth(generator, 24)})
    x = torch.tensor(
        [[10.3, 12.6, 9.1, 15.3], [13.7, 8.9, 11.4, 10.6]],
        dtype=torch.float64,
        device=generator.device,
    )
    assert torch.autograd.gradcheck(lambda x: eyes(x, batch), x.requires_grad_())
    (gradient,) = torch.autograd.grad(eyes(x, batch).square().sum(), x)
    assert gradient.any(1).all()


@BOTH
def test_gradients_reach_the_image(generator, kind):
    eyes = kind(points, cell=4, cells=1, orientations=4)
    image = smooth(generator, 12, batch=1)
    x = torch.tensor([[5.3, 6.6]], dtype=torch.float64, device=generator.device)
    assert torch.autograd.gradcheck(
        lambda image: see(eyes, image, x), image.requires_grad_(), eps=1e-4, nondet_tol=1e-9
    )


@BOTH
def test_gradients_are_finite_where_there_is_nothing_to_see(device, kind):
    image = torch.zeros(1, 1, 32, 32, device=device, requires_grad=True)
    x = torch.full((1, 2), 15.2, device=device, requires_grad=True)
    see(kind(points), image, x).sum().backward()
    assert x.grad.isfinite().all()
    assert image.grad.isfinite().all()


@BOTH
def test_each_image_is_seen_alone(generator, kind):
    eyes, image = kind(points), smooth(generator, 40, batch=3, channels=3)
    x = 40 * torch.rand(3, 6, generator=generator, dtype=torch.float64, device=generator.device)
    together = see(eyes, image, x)
    for row in range(3):
        torch.testing.assert_close(
            see(eyes, image[row : row + 1], x[row : row + 1])[0], together[row]
        )


@BOTH
def test_a_coarser_map_shows_the_same_at_its_own_places(generator, kind):
    """Cells that fall on samples of both maps: the stride saves time and changes nothing."""
    image = smooth(generator, 40)
    x = torch.tensor(
        [[18.0, 20.0, 22.0, 14.0], [16.0, 24.0, 20.0, 20.0]],
        dtype=torch.float64,
        device=generator.device,
    )
    for cells in (2, 3):
        fine, coarse = (kind(points, cell=4, cells=cells, stride=stride) for stride in (1, 2))
        torch.testing.assert_close(see(coarse, image, x), see(fine, image, x))


@BOTH
def test_far_outside_the_image(generator, kind):
    x = torch.tensor([[-1e4, 1e9], [-30.0, 80.0]], dtype=torch.float64, device=generator.device)
    assert see(kind(points), smooth(generator, 40), x).isfinite().all()


def test_a_sift_descriptor_has_unit_length(generator):
    x = torch.tensor(
        [[20.0, 20.0, 16.5, 21.2], [18.3, 25.1, 24.4, 19.0]],
        dtype=torch.float64,
        device=generator.device,
    )
    seen = see(DenseSIFT(points), smooth(generator, 44), x).view(2, 2, -1)
    torch.testing.assert_close(seen.norm(dim=2), torch.ones_like(seen[..., 0]), atol=1e-3, rtol=0)
    assert seen.min() >= 0


def test_a_hog_descriptor_is_bounded(generator):
    x = torch.tensor(
        [[20.0, 20.0, 16.5, 21.2], [18.3, 25.1, 24.4, 19.0]],
        dtype=torch.float64,
        device=generator.device,
    )
    eyes = DenseHOG(points)
    seen = see(eyes, smooth(generator, 44), x).view(-1, 3 * eyes.orientations + 4)
    assert seen.min() >= 0
    assert seen[:, : 3 * eyes.orientations].max() <= 0.4 + 1e-9  # twice the clipped value, averaged


@BOTH
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_colours_are_averaged_and_bytes_will_do(generator, kind, dtype):
    grey = (20 + smooth(generator, 40) * (215 / 255)).round()
    offset = torch.tensor([-20.0, 0.0, 20.0], device=generator.device).view(3, 1, 1)
    x = torch.tensor([[18.3, 20.1], [21.0, 17.7]], device=generator.device)
    seen = see(kind(points), (grey + offset).to(dtype), x)
    torch.testing.assert_close(seen, see(kind(points), grey.to(dtype), x), atol=1e-4, rtol=0)


@BOTH
@pytest.mark.parametrize("settings", [{}, {"cell": 6, "cells": 2, "orientations": 5, "stride": 3}])
def test_settings_build_the_same_descriptor(generator, kind, settings):
    eyes = kind(points, **settings)
    again = kind(points, **eyes.settings())
    assert settings.items() <= eyes.settings().items() == again.settings().items()
    image, x = (
        smooth(generator, 40),
        torch.full((2, 2), 18.3, dtype=torch.float64, device=generator.device),
    )
    assert torch.equal(see(again, image, x), see(eyes, image, x))


@BOTH
def test_the_stride_divides_the_cell_unless_told(kind):
    assert kind(points, cell=6).settings()["stride"] == 2
    assert kind(points, cell=5).settings()["stride"] == 1


@BOTH
@pytest.mark.parametrize(
    "settings",
    [{"cell": 0}, {"cells": 0}, {"orientations": 1}, {"cell": 8, "stride": 3}, {"stride": -1}],
)
def test_settings_that_make_no_sense(kind, settings):
    (name, value), *_ = reversed(settings.items())
    with pytest.raises(
        DescentError,
        match=rf"stride that divides cell, and 2 or more orientations, got .*\b{name}={value}",
    ):
        kind(points, **settings)


@BOTH
def test_images_that_are_too_small(kind):
    with pytest.raises(DescentError, match="image: expected at least 4 x 4 pixels, got 3 x 3"):
        kind(points).prepare({"image": torch.zeros(1, 3, 3, 3)})


@BOTH
@pytest.mark.parametrize("spacing", [2, 1.5])
def test_spacing_is_a_smaller_image(generator, kind, spacing):
    image = smooth(generator, 72)
    x = torch.tensor([[33.0, 38.4], [40.1, 35.7]], dtype=torch.float64, device=generator.device)
    seen = see(kind(points, cell=4, cells=3, spacing=spacing), image, x)
    wanted = see(kind(points, cell=4, cells=3), shrink(image, spacing), (x + 0.5) / spacing - 0.5)
    torch.testing.assert_close(seen, wanted)
    assert not torch.allclose(seen, see(kind(points, cell=4, cells=3), image, x), atol=0.01)


@BOTH
def test_steps_go_from_coarse_to_fine(generator, kind):
    """The last spacing serves all further steps."""
    eyes = kind(points, cell=4, cells=2, spacing=(3.0, 1.0, 2.0))
    batch = {"image": smooth(generator, 60)}
    x = torch.tensor([[28.0, 33.3], [30.1, 25.7]], dtype=torch.float64, device=generator.device)
    prepared = eyes.prepare(batch)
    for step, spacing in enumerate((3.0, 1.0, 2.0, 2.0, 2.0)):
        wanted = see(kind(points, cell=4, cells=2, spacing=spacing), batch["image"], x)
        torch.testing.assert_close(eyes.observe(step, x, prepared), wanted)
    assert torch.equal(eyes(x, prepared), eyes.observe(0, x, prepared))


@BOTH
@pytest.mark.parametrize("spacing", [1.5, (4.0, 2.0, 1.0)])
def test_spacings_come_back_from_json(generator, kind, spacing):
    eyes = kind(points, spacing=spacing)
    again = kind(points, **json.loads(json.dumps(eyes.settings())))
    assert again.settings() == eyes.settings()
    assert again.spacings == eyes.spacings


@BOTH
@pytest.mark.parametrize("spacing", [0.5, (2.0, 0.9), ()])
def test_spacings_that_make_no_sense(kind, spacing):
    with pytest.raises(
        DescentError, match=r"expected cell, cells, stride, spacing >= 1, .*\bspacing="
    ):
        kind(points, spacing=spacing)
