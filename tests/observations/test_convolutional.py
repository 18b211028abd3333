from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from learned_descent import Cascade, DescentError, MnemonicDescent, ShapeError
from learned_descent.checkpoint.model import load_model, save_model
from learned_descent.faces.alignment import FaceAlignment
from learned_descent.observations import ConvolutionalMap, ConvolutionalPatches, Patches
from learned_descent.observations.patches import sample_patches
from tests.toys import Line

LEVELS = 2
POINTS = 2


def points(x):
    return x.unflatten(1, (-1, 2))


class Photo(Line):
    """Four parameters: two points in an image."""

    def __init__(self):
        super().__init__()
        self.true = 14 + 4 * torch.rand(24, 4, generator=torch.Generator().manual_seed(1))

    def data(self, split):
        image = torch.randint(
            256, (24, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(2)
        )
        return {"image": image, "x": self.true}

    def initial(self, batch, generator=None):
        return torch.full_like(batch["x"], 16.0)

    def target(self, batch):
        return batch["x"]

    def observation(self):
        return Patches(points)


@pytest.fixture(params=["patches", "map"])
def make(request, generator, device):
    """Builds one of the networks with weights from a generator."""

    def build(**settings):
        if request.param == "patches":
            eyes = ConvolutionalPatches(
                points, **{"size": 14, "filters": 4, "channels": 1, **settings}
            )
        else:
            own = {
                "num_points": POINTS,
                "filters": (4, 6),
                "size": 3,
                "embedding": 5,
                "channels": 1,
            }
            eyes = ConvolutionalMap(points, **{**own, **settings})
        eyes.to(device)
        for parameter in eyes.parameters():
            parameter.data.copy_(
                torch.randn(parameter.shape, generator=generator, device=device) / 3
            )
        return eyes

    return build


@pytest.fixture
def batch(generator, device):
    return {
        "image": torch.randint(
            256, (3, 1, 32, 32), dtype=torch.uint8, generator=generator, device=device
        )
    }


@pytest.fixture
def x(generator, device):
    return 10 + 12 * torch.rand(3, 2 * POINTS, generator=generator, device=device)


def see(eyes, batch, x):
    return eyes(x, eyes.prepare(batch))


def test_the_paper_has_6_x_6_x_64_features_per_point(device):
    eyes = ConvolutionalPatches(points, size=30).to(device)
    seen = see(
        eyes,
        {"image": torch.zeros(1, 3, 64, 64, device=device)},
        torch.full((1, 6), 30.0, device=device),
    )
    assert seen.shape == (1, 3 * 6 * 6 * 64)


def test_the_paper_has_80_million_weights():
    problem = FaceAlignment()
    count = problem.schema.num_points
    with torch.device("meta"):
        eyes = ConvolutionalPatches(problem.points, size=30)
        model = MnemonicDescent(
            problem, eyes, count * 6 * 6 * 64, 2 * count, hidden=512, cell="tanh"
        )
    convolutions = 32 * (3 * 9 + 1) + 32 * (32 * 9 + 1)
    recurrence = 512 * (count * 6 * 6 * 64 + 512 + 2)
    total = sum(parameter.numel() for parameter in model.parameters())
    assert total == convolutions + recurrence + (512 + 1) * 2 * count
    assert round(total / 1e6, 1) == 80.6


@pytest.mark.parametrize("size", [11, 14, 19, 30])
def test_the_crop_is_the_centre_of_the_first_convolution(size, device):
    """Where the difference of the sides is even; the first convolution is made to pass the image
    on."""
    eyes = ConvolutionalPatches(points, size=size, filters=1, channels=1).to(device)
    eyes.first.weight.data.zero_()[0, 0, 1, 1] = 1
    ramp = torch.arange(64.0, device=device)
    side = ((size - 2) // 2 - 2) // 2
    for image, axis in ((ramp.expand(64, 64), 1), (ramp[:, None].expand(64, 64), 0)):
        image = (image + 190).expand(1, 1, 64, 64)  # above the mean, so that no ReLU cuts it
        crop = see(eyes, {"image": image}, torch.full((1, 2), 31.5, device=device)).view(
            2, side, side
        )[0]
        places = (crop + 1) / 2 * 255 - 190
        assert crop.min() > 0
        torch.testing.assert_close(
            places.mean(), torch.tensor(31.5, device=device), atol=1e-3, rtol=0
        )
        torch.testing.assert_close(
            places.diff(dim=axis), torch.ones_like(places.diff(dim=axis)), atol=1e-3, rtol=0
        )


def test_patches_are_two_convolutions(device, batch):
    """Against the layers applied to a patch that is cut out by hand."""
    eyes = ConvolutionalPatches(points, size=15, filters=3, channels=1).to(device)
    image = batch["image"] / 255 * 2 - 1
    first = eyes.first(image[:, :, 8:23, 5:20]).relu()  # around column 12 and row 15
    second = F.max_pool2d(eyes.second(F.max_pool2d(first, 2)).relu(), 2)
    seen = see(eyes, batch, torch.tensor([[12.0, 15.0]], device=device).expand(3, 2))
    torch.testing.assert_close(
        seen, torch.cat([first[..., 5:7, 5:7], second], 1).flatten(1), atol=1e-5, rtol=1e-5
    )


def test_patches_of_a_shrunk_image(device):
    """Twice the spacing on an image of twice the size, smooth as it is, shows the same."""
    eyes, wide = (
        ConvolutionalPatches(points, size=10, spacing=spacing, channels=1).to(device)
        for spacing in (1, 2)
    )
    wide.load_state_dict(eyes.state_dict())
    ramp = torch.arange(120.0, device=device).expand(1, 1, 120, 120)
    x = torch.tensor([[31.0, 28.0]], device=device)
    seen = see(eyes, {"image": (2 * ramp[..., :60, :60] + 0.5)}, x)
    torch.testing.assert_close(see(wide, {"image": ramp}, 2 * x + 0.5), seen, atol=1e-3, rtol=0)


@pytest.mark.parametrize("scales", [1, 2])
def test_the_map_is_a_network_sampled_around_the_points(generator, device, batch, scales):
    """Against strided convolutions of the image, cut out at whole positions of the levels, and
    linear layers."""
    sizes = {"filters": (4, 6), "sampled": 3, "size": 3, "embedding": 5}
    eyes = ConvolutionalMap(points, num_points=POINTS, scales=scales, channels=1, **sizes)
    eyes.to(device).point_vectors.data.copy_(
        torch.randn(POINTS, 5, generator=generator, device=device)
    )
    places = [(12, 16), (20, 8)]  # column, row: multiples of the stride of the last level
    maps, total = batch["image"] / 255 * 2 - 1, eyes.point_vectors.expand(3, -1, -1)
    for level, (first, _, second, _) in enumerate(eyes.levels):
        maps = F.conv2d(maps, first.weight, first.bias, stride=2, padding=1).relu()
        maps = F.conv2d(maps, second.weight, second.bias, padding=1).relu()
        if level >= LEVELS - scales:
            at = [(column >> level + 1, row >> level + 1) for column, row in places]
            lateral = eyes.lateral[level - LEVELS + scales]
            narrow = (
                torch.einsum("bihw,oi->bohw", maps, lateral.weight[..., 0, 0])
                + lateral.bias[:, None, None]
            )
            cut = torch.stack(
                [narrow[:, :, row - 1 : row + 2, column - 1 : column + 2] for column, row in at], 1
            )
            total = total + eyes.embed[level - LEVELS + scales](cut.movedim(2, -1).flatten(2))
    x = torch.tensor(places, dtype=torch.float32, device=device).flatten().expand(3, -1)
    torch.testing.assert_close(see(eyes, batch, x), total.relu().flatten(1), atol=1e-5, rtol=1e-5)


def test_the_map_is_sampled_between_its_pixels(device, batch):
    """The embedding is linear before its ReLU, so halfway between two pixels of the level it is
    their mean."""
    eyes = ConvolutionalMap(
        points, num_points=1, filters=(4, 6), scales=1, size=3, embedding=5, channels=1
    ).to(device)
    eyes.point_vectors.data += 100
    prepared = eyes.prepare(batch)
    left, middle, right = (
        eyes(torch.tensor([[column, 12.0]], device=device).expand(3, 2), prepared)
        for column in (12, 14, 16)
    )
    torch.testing.assert_close(middle, (left + right) / 2)
    assert not torch.equal(left, right)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_grids_are_embedded_before_they_are_sampled(generator, device, size):
    """Sampled and then embedded, they are the same, also where a grid lies on the border or far
    outside."""
    eyes = ConvolutionalMap(
        points, num_points=6, filters=(4,), scales=1, sampled=3, size=size, embedding=5, channels=1
    )
    eyes.to(device).point_vectors.data += 100  # no ReLU cuts them
    image = torch.rand(2, 1, 32, 32, generator=generator, device=device) * 255
    x = torch.rand(2, 12, generator=generator, device=device) * 120 - 44
    narrow = eyes.lateral[0](eyes.levels[0](image / 255 * 2 - 1))
    wanted = eyes.embed[0](sample_patches(narrow, points(x) / 2, size).flatten(2)) + 100
    torch.testing.assert_close(see(eyes, {"image": image}, x), wanted.flatten(1), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("down", "along"), [(0, 4), (4, 0), (8, 12)])
def test_features_move_with_the_image(make, device, down, along):
    """By whole pixels of the coarsest level: the eyes cannot tell."""
    eyes = make()
    image = torch.zeros(1, 1, 64, 64, device=device)
    moved = image.clone()
    image[..., 21, 23] = 255
    moved[..., 21 + down, 23 + along] = 255
    x = torch.tensor([[22.0, 22.5, 25.0, 19.0]], device=device)
    seen = see(eyes, {"image": image}, x)
    assert not torch.allclose(seen, see(eyes, {"image": torch.zeros_like(image)}, x))
    shift = torch.tensor([along, down, along, down], device=device)
    torch.testing.assert_close(see(eyes, {"image": moved}, x + shift), seen)
    assert not torch.allclose(see(eyes, {"image": moved}, x), seen)


def test_gradients_reach_the_weights_and_x(make, batch, x):
    eyes = make()
    x.requires_grad_()
    see(eyes, batch, x).square().sum().backward()
    assert x.grad.any(1).all()
    for name, parameter in eyes.named_parameters():
        assert parameter.grad.any(), name


def test_gradients_are_those_of_finite_differences(make, generator, batch, x):
    eyes = make().double()
    prepared = eyes.prepare({"image": batch["image"].double()})
    x = (x.double() + 0.03).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: eyes(x, prepared), x, eps=1e-7, atol=1e-4)


def test_each_image_is_seen_alone(make, batch, x):
    eyes = make()
    together = see(eyes, batch, x)
    for row in range(3):
        alone = see(eyes, {"image": batch["image"][row : row + 1]}, x[row : row + 1])
        torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=1e-5)


def test_half_the_precision_is_close(make, device, batch, x):
    eyes = make()
    exact = see(eyes, batch, x)
    with torch.autocast(device.type, torch.bfloat16):
        rough = see(eyes, batch, x)
    assert (rough - exact).abs().max() < 0.05 * exact.abs().max()
    assert not torch.equal(rough.float(), exact)


@pytest.mark.parametrize("family", [Cascade, MnemonicDescent])
def test_a_stored_model_comes_back(make, tmp_path, family):
    problem = Photo()
    model = family.for_problem(problem, observation=make().cpu(), num_steps=2, hidden=4)
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        parameter.data += torch.randn(parameter.shape, generator=generator) / 10
    save_model(model, tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors", problem=Photo())
    assert loaded.observation.settings() == model.observation.settings()
    with torch.no_grad():
        assert torch.equal(loaded(problem.data("test")).xs, model(problem.data("test")).xs)


@pytest.mark.parametrize("settings", [{"size": 9}, {"spacing": 0.5}])
def test_patches_too_small_for_two_convolutions(settings):
    with pytest.raises(
        DescentError, match=r"expected size >= 10 and spacing >= 1, got size=.* and spacing="
    ):
        ConvolutionalPatches(points, **settings)


@pytest.mark.parametrize("scales", [0, 3])
def test_scales_that_there_are_not(scales):
    with pytest.raises(
        DescentError, match=f"scales: expected 1 to 2, the number of levels, got {scales}"
    ):
        ConvolutionalMap(points, num_points=5, scales=scales)


@pytest.mark.parametrize("count", [1, 3])
def test_another_number_of_points_than_the_map_was_made_for(batch, device, count):
    eyes = ConvolutionalMap(points, num_points=count, channels=1).to(device)
    with pytest.raises(
        ShapeError,
        match=rf"points \(num_points={count}\): expected shape \(B, {count}, 2\), got \(3, 2, 2\)",
    ):
        see(eyes, batch, torch.full((3, 4), 16.0, device=device))


def test_images_of_another_number_of_channels(make, x, device):
    with pytest.raises(
        ShapeError,
        match=r"image \(channels=1\): expected shape \(B, 1, H, W\), got \(3, 3, 32, 32\)",
    ):
        see(make(), {"image": torch.zeros(3, 3, 32, 32, device=device)}, x)
