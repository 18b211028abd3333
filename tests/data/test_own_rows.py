"""Ranks that share a batch draw what one would draw for it."""

from __future__ import annotations

import inspect

import pytest
import torch
import torch.nn.functional as F

from learned_descent.data.batches import index
from learned_descent.data.own_rows import OwnRows, change_some
from learned_descent.landmarks.augmentation import Augmentation, augment
from learned_descent.names import PROBLEMS
from learned_descent.registry import resolve_problem

from ..cli.test_every_problem import SMALL

TOTAL = 7
SHARES = [range(0, TOTAL, 2), range(1, TOTAL, 2), range(2, TOTAL, 3)]
WITHOUT_DATA = sorted(PROBLEMS.keys() - {"faces", "landmarks", "in-shape-model"})


def drawn(draw, rows):
    """What a rank draws for its rows, and another time after that."""
    generator = torch.Generator().manual_seed(7)
    torch.manual_seed(8)
    with OwnRows(rows, TOTAL):
        return [draw(torch.tensor(rows), generator) for _ in range(2)]


def agree(draw):
    torch.manual_seed(8)
    generator = torch.Generator().manual_seed(7)
    whole = [draw(torch.arange(TOTAL), generator) for _ in range(2)]
    for rows in SHARES:
        for own, of_all in zip(drawn(draw, rows), whole):
            torch.testing.assert_close(own, of_all[list(rows)], rtol=1e-5, atol=1e-4)


DRAWS = {
    "rand": lambda n, x, g: torch.rand(n, 3, generator=g),
    "rand of a tuple": lambda n, x, g: torch.rand((n, 3), generator=g),
    "randn": lambda n, x, g: torch.randn(size=x.shape, generator=g),
    "randint": lambda n, x, g: torch.randint(2, 9, (n,), generator=g),
    "normal": lambda n, x, g: torch.normal(x, 0.1, generator=g),
    "bernoulli": lambda n, x, g: torch.bernoulli(x / 10, generator=g),
    "multinomial": lambda n, x, g: torch.multinomial(x + 1, 2, generator=g),
    "rand_like": lambda n, x, g: torch.rand_like(x),
    "normal_": lambda n, x, g: x.clone().normal_(generator=g),
    "uniform_": lambda n, x, g: torch.empty(n, 2).uniform_(-1, 1, generator=g),
    "once for all": lambda n, x, g: torch.rand(5, generator=g).expand(n, 5),
    "dropout": lambda n, x, g: F.dropout(x),
    "dropout2d": lambda n, x, g: F.dropout2d(x[..., None, None].expand(n, 3, 2, 2)),
}


@pytest.mark.parametrize("name", DRAWS)
def test_a_rank_draws_its_rows_of_the_whole(name):
    samples = torch.arange(3.0 * TOTAL).view(TOTAL, 3) / 3 / TOTAL
    agree(lambda rows, generator: DRAWS[name](len(rows), samples[rows], generator))


@pytest.mark.parametrize("name", WITHOUT_DATA)
def test_problems_draw_by_rows(name):
    kind = resolve_problem(name)
    settings = {key: SMALL[key] for key in SMALL if key in inspect.signature(kind).parameters}
    problem = kind(**settings)
    batch = index(problem.data("train"), slice(0, TOTAL))

    def start(rows, generator):
        varied = problem.augment(index(batch, rows), generator)
        return problem.initial(varied, generator)

    agree(start)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_what_is_drawn_for_some_is_drawn_for_the_same(share):
    def changed(rows, generator):
        def noise(some):
            return some + torch.rand(len(some), 2, generator=generator)

        return change_some(torch.zeros(len(rows), 2), share, generator, noise)

    agree(changed)


def test_every_variant_of_a_picture_is_drawn_by_rows():
    amounts = {name: 0.3 for name in inspect.signature(Augmentation).parameters if name != "turn"}
    draw = torch.Generator().manual_seed(0)
    batch = {
        "image": torch.randint(256, (TOTAL, 3, 16, 16), generator=draw, dtype=torch.uint8),
        "points": 16 * torch.rand(TOTAL, 4, 2, generator=draw),
        "box": torch.tensor([3.0, 3.0, 12.0, 12.0]).expand(TOTAL, 4),
        "to_photo": torch.eye(2, 3).expand(TOTAL, 2, 3),
    }
    how = Augmentation(**{**amounts, "noise": 10.0, "channel_noise": 10.0})
    mirror = torch.tensor([1, 0, 3, 2])
    for part in ("image", "points"):
        agree(lambda rows, draws, part=part: augment(index(batch, rows), how, mirror, draws)[part])


def test_an_error_ends_it():
    def fails(_):
        raise ValueError("broken")

    with OwnRows([0, 2], TOTAL) as rows, pytest.raises(ValueError, match="broken"):
        change_some(torch.zeros(2), 1.0, torch.Generator(), fails)
    assert (rows.rows.tolist(), rows.total) == ([0, 2], TOTAL)
    assert len(torch.rand(2)) == 2
