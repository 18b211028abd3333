from __future__ import annotations

import pytest
import torch

from learned_descent import DescentError
from learned_descent.models import Tokens
from learned_descent.observations import ConvolutionalMap, Patches
from learned_descent.testing.checks import check_model

from ..observations.test_convolutional import Photo, points
from ..toys import Line, Turn


def tokens(**settings) -> Tokens:
    """Two points, of each nine features, and weights that move them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        eyes = Patches(points, size=3)
        model = Tokens.for_problem(Photo(), hidden=8, observation=eyes, **settings)
        torch.nn.init.normal_(model.update.weight)
    return model.eval()


@pytest.fixture
def features(generator):
    return torch.rand(3, 18, generator=generator)


@pytest.mark.parametrize("problem", [Photo, Turn, Line])
def test_untrained_returns_its_start(problem, device):
    model = Tokens.for_problem(problem(), hidden=8, heads=2)
    assert not check_model(model, untrained=True, device=device).warnings


def test_moves_and_keeps_the_contract(device):
    assert not check_model(tokens(), device=device).warnings


@pytest.mark.parametrize("memory", [True, False])
def test_landmarks_in_another_order_get_the_same_updates(features, memory):
    model = tokens(memory=memory)
    first, state = model.step(0, features, model.init_state(features))
    second, _ = model.step(1, features, state)

    def other(value):  # the two points change places
        return value.unflatten(1, (2, -1)).flip(1).flatten(1)

    for own in (model.embed, model.update):
        for weight in own.parameters():
            weight.data = weight.data.flip(0)
    swapped, after = model.step(0, other(features), model.init_state(features))
    torch.testing.assert_close(swapped, other(first))
    torch.testing.assert_close(after, other(state))
    torch.testing.assert_close(model.step(1, other(features), after)[0], other(second))


def test_only_their_own_maps_tell_landmarks_apart(features):
    model = tokens()
    same = features[:, :9].repeat(1, 2)
    apart, _ = model.step(0, same, None)
    assert not torch.allclose(apart[:, :2], apart[:, 2:])
    for own in (model.embed, model.update):
        for weight in own.parameters():
            weight.data[1] = weight.data[0]
    alike, _ = model.step(0, same, None)
    torch.testing.assert_close(alike[:, :2], alike[:, 2:])


def test_a_landmark_moves_by_what_others_see(features):
    model = tokens()
    before, _ = model.step(0, features, None)
    features[:, 9:] += 1
    after, _ = model.step(0, features, None)
    assert ((after - before)[:, :2].abs() > 1e-4).all()


@pytest.mark.parametrize("memory", [True, False])
def test_memory_is_what_tells_a_step_from_the_one_before(features, memory):
    model = tokens(memory=memory)
    first, state = model.step(0, features, model.init_state(features))
    second, _ = model.step(1, features, state)
    assert torch.equal(first, second) != memory


def test_features_that_belong_to_no_point_go_to_every_token(generator):
    model = Tokens.for_problem(Line(), hidden=8)
    assert model.embed.weight.shape == (2, model.num_features, 8)


def test_the_look_narrows_from_step_to_step():
    problem = Photo()
    eyes = ConvolutionalMap(
        points, num_points=2, filters=(4, 6), size=3, embedding=5, channels=1, shrinking=True
    )
    model = Tokens.for_problem(problem, hidden=8, observation=eyes)
    batch = model.observation.prepare(problem.data("test"))
    x = problem.initial(batch)
    seen = [model.observation.observe(k, x, batch) for k in range(3)]
    batch["map1"] = torch.zeros_like(batch["map1"])
    hidden = [model.observation.observe(k, x, batch) for k in range(3)]
    same = [torch.equal(one, other) for one, other in zip(seen, hidden)]
    assert same == [False, True, True]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((18, 4, 3), "expected as many updates for each of the 3 points .* got 4"),
        ((18, 5, 5), "expected as many features for each of the 5 points .* got 18"),
        ((18, 4, 0), "num_tokens: expected 1 or more, got 0"),
    ],
)
def test_sizes_that_do_not_belong_together(sizes, message):
    problem = Photo()
    with pytest.raises(DescentError, match=message):
        Tokens(problem, problem.observation(), *sizes)


def test_heads_that_do_not_divide_a_token():
    with pytest.raises(DescentError, match="hidden: expected a multiple of the 3 heads"):
        tokens(heads=3)


def test_settings():
    model = tokens(num_steps=2, layers=1, heads=2, memory=False)
    assert model.settings() == {
        "num_features": 18,
        "num_updates": 4,
        "num_tokens": 2,
        "num_steps": 2,
        "hidden": 8,
        "layers": 1,
        "heads": 2,
        "memory": False,
        "split": True,
    }
