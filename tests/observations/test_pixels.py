from __future__ import annotations

import math

import pytest
import torch

from learned_descent import DescentError
from learned_descent.faces.synthetic import SyntheticFaces
from learned_descent.observations import NearbyPixels, PixelPool
from learned_descent.testing.checks import check_observation

TRIANGLE = torch.tensor([[8.0, 6.0], [16.0, 6.0], [12.0, 15.0]])


def as_points(x: torch.Tensor) -> torch.Tensor:
    return x.unflatten(1, (-1, 2))


def eyes(**options) -> NearbyPixels:
    return NearbyPixels(as_points, **({"num_points": 3, "count": 7, "spacing": 1.0} | options))


def ramp(side: int = 24) -> dict[str, torch.Tensor]:
    """Every pixel has a level of its own."""
    levels = torch.arange(side).expand(side, side)
    return {"image": torch.stack([levels, 10 * levels.T])[:, None].to(torch.uint8)}


def test_contract(device):
    problem = SyntheticFaces(4, 2, crop=64, box_side=36.0, schema="ibug49")
    seen = NearbyPixels(problem.points, num_points=49, count=7)
    assert not check_observation(seen, problem, device=device).failures


def test_levels_are_those_of_the_nearest_pixel_in_the_frame_of_the_points():
    seen, angle = eyes(radii=(0.2,)), math.pi / 2
    seen.refer_to(TRIANGLE)
    turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    middle = TRIANGLE.mean(0)
    turned = (TRIANGLE - middle) @ turn + middle
    batch = seen.prepare({"image": ramp()["image"][:1]})
    found = seen(turned.flatten()[None], batch).view(3, 7)
    places = turned[:, None] + (24 * seen.places[0]) @ turn
    assert torch.equal(found, places[..., 0].round())
    assert (seen.places[0].norm(dim=2) <= 0.2).all()


def test_without_a_reference_and_around_one_point_places_are_not_turned():
    batch = {"image": ramp()["image"][:1]}
    for seen in (eyes(), eyes(num_points=1)):
        shape = TRIANGLE[: seen.num_points]
        if seen.num_points == 1:
            seen.refer_to(shape)
        found = seen(shape.flatten()[None], seen.prepare(batch)).view(seen.num_points, 7)
        assert torch.equal(found, (shape[:, None] + 24 * seen.places[0])[..., 0].round())


@pytest.mark.parametrize("count", [1, 2])
def test_another_number_of_points_is_refused(count):
    seen = eyes(num_points=count)
    with pytest.raises(DescentError, match=rf"points \(num_points={count}\): expected shape"):
        seen(TRIANGLE.flatten()[None], seen.prepare({"image": ramp()["image"][:1]}))


def test_each_step_has_places_of_its_own_nearer_and_nearer():
    seen, x = eyes(radii=(0.3, 0.1)), TRIANGLE.flatten()[None]
    batch = seen.prepare({"image": ramp()["image"][:1]})
    first, second, third = (seen.observe(k, x, batch) for k in range(3))
    assert not torch.equal(first, second)
    assert torch.equal(second, third)
    assert seen.places[0].norm(dim=2).max() > 0.2 > 0.1 >= seen.places[1].norm(dim=2).max()


def test_levels_are_whole_numbers_of_all_colours():
    image = 255 * torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    levels = eyes(spacing=2.0).prepare({"image": image})["levels"]
    assert levels.shape == (2, 12, 12)
    assert torch.equal(levels, levels.round())


@pytest.mark.parametrize("options", [{"spacing": 0.5}, {"radii": ()}])
def test_wrong_settings_are_refused(options):
    with pytest.raises(DescentError, match="expected spacing >= 1 and one radius or more, got"):
        eyes(**options)


def pool(**options) -> PixelPool:
    """Two places beside the first point and one beside the last one."""
    seen = PixelPool(as_points, num_points=3, **({"count": 3, "stages": 2, "finer": 1.0} | options))
    seen.places[0] = torch.tensor([[0.0, 0.0], [3.0, 1.0], [-2.0, 1.0]])
    seen.beside[0] = torch.tensor([0, 0, 2])
    return seen


def test_the_pool_keeps_the_contract(device):
    problem = SyntheticFaces(4, 2, crop=64, box_side=36.0, schema="ibug49")
    seen = PixelPool(problem.points, num_points=49, count=7)
    torch.nn.init.normal_(seen.places, std=5.0, generator=torch.Generator().manual_seed(0))
    assert not check_observation(seen, problem, device=device).failures


@pytest.mark.parametrize(("finer", "near"), [(1.0, 0.0), (2.0, 3.0)])
def test_the_places_of_a_pool_turn_and_grow_with_the_points(finer, near):
    seen, batch = pool(finer=finer), {"image": ramp()["image"]}
    seen.refer_to(TRIANGLE)
    x = torch.stack([TRIANGLE, 2 * TRIANGLE - 10]).flatten(1)
    found = seen(x, seen.prepare(batch))
    wanted = torch.tensor([[8.0, 11.0, 10.0], [20.0, 40.0, 220.0]])
    torch.testing.assert_close(found, wanted, atol=near, rtol=0)
    assert not seen.observe(1, x, seen.prepare(batch)).equal(found)


def test_outside_of_the_image_a_pool_sees_nothing():
    seen = pool()
    x = torch.tensor([[-1.0, 5.0, 0.0, 0.0, 23.4, 23.6]])
    batch = seen.prepare({"image": torch.full((1, 1, 24, 24), 9, dtype=torch.uint8)})
    assert seen(x, batch).tolist() == [[0.0, 9.0, 0.0]]


def test_a_pool_does_not_shrink_the_image():
    with pytest.raises(DescentError, match=r"finer: expected 1 or more, got 0\.5"):
        pool(finer=0.5)
