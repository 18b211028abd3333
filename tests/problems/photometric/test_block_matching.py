from __future__ import annotations

import pytest
import torch

from learned_descent import DescentError
from learned_descent.problems.photometric.block_matching import BlockMatches
from learned_descent.problems.photometric.problems import AnyTemplate, FixedTemplate

PROBLEM = AnyTemplate(num_test=64, noise=1.0)
BATCH = PROBLEM.data("test")


def looked(problem, batch, x, **settings):
    """The three updates ``(B, 3, d)`` and how many blocks agree with each ``(B, 3, 1)``."""
    eyes = BlockMatches(problem, **settings)
    features = eyes(x, eyes.prepare(batch))
    length = len(problem.local(x[:1], x[:1])[0])
    steps, agreement = features[:, : 3 * length], features[:, 3 * length : 3 * length + 3]
    return steps.unflatten(1, (3, length)), agreement


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_blocks_are_found_where_they_are(dtype):
    batch = {
        name: value.to(dtype) if name in ("start", "truth") else value
        for name, value in BATCH.items()
    }
    moves = torch.tensor([0.4, -0.3] * 4, dtype=dtype).expand(64, -1)
    x = PROBLEM.retract(batch["truth"], -moves)
    steps, agreement = looked(PROBLEM, batch, x)
    assert steps.dtype == dtype
    share = (steps.atanh() * moves[:, None]).sum(2) / moves.square().sum(1, keepdim=True)
    assert share.median(0).values.tolist() == pytest.approx([0.8, 0.5, 0.7], abs=0.2), (
        "damped, not misled"
    )
    assert agreement[:, 2].median() > 0.8


def test_nothing_moves_at_the_target():
    steps, agreement = looked(PROBLEM, BATCH, BATCH["truth"])
    assert steps.abs().median() < 0.02
    assert agreement.median() > 0.9


def test_updates_lead_towards_the_target_from_far_away():
    start = PROBLEM.initial(BATCH)
    steps, _ = looked(PROBLEM, BATCH, start)
    before, after = (PROBLEM.error(x, BATCH) for x in (start, PROBLEM.retract(start, steps[:, 1])))
    far = slice(2, None, 4)  # three tenths of a side, root mean square
    assert (after < before)[far].float().mean() > 0.8
    assert (after / before)[far].median() < 0.9


def test_blocks_that_disagree_have_no_say():
    eyes = BlockMatches(PROBLEM)
    found = torch.tensor([0.3, -0.2]).repeat(2, 9, 1)
    found[1, [0, 5]] = torch.tensor([[-0.9, 0.7], [1.1, 0.9]])
    steps, agreement = eyes._agreed(found, torch.ones(2, 9))
    assert (steps[0] - steps[1]).abs().max() < 0.1
    assert agreement[1].squeeze().tolist() == pytest.approx([7 / 9] * 3, abs=0.1)


@pytest.mark.parametrize("name", ["image", "template"])
def test_a_flat_image_or_template_moves_nothing(name):
    batch = {**BATCH, name: torch.full_like(BATCH[name], 90)}
    steps, agreement = looked(PROBLEM, batch, PROBLEM.initial(batch))
    assert steps.abs().max() < 1e-6
    assert agreement.abs().max() < 1e-6


def test_a_guess_that_is_not_known_moves_nothing():
    steps, agreement = looked(PROBLEM, BATCH, torch.full_like(BATCH["start"], torch.nan))
    assert steps.abs().max() < 1e-6
    assert agreement.abs().max() < 1e-6


def test_a_fixed_template_has_blocks_as_well():
    problem = FixedTemplate(warp="affine", num_test=16, elsewhere=0.0)
    batch = problem.data("test")
    steps, agreement = looked(problem, batch, batch["truth"])
    assert steps.shape == (16, 3, 6)
    assert steps.abs().median() < 0.02
    assert agreement.median() > 0.9


@pytest.mark.parametrize("cells", [4, 5, 7, 11, 16])
def test_a_template_has_nine_blocks_whatever_its_grid(cells):
    eyes = BlockMatches(PROBLEM, cells=cells, reach=1.0)
    assert eyes(BATCH["truth"], eyes.prepare(BATCH)).shape == (64, 3 * (2 * 8 + 1))
    assert BlockMatches(PROBLEM, **eyes.settings()).settings() == {"cells": cells, "reach": 1.0}


def test_a_guess_that_is_not_known_harms_no_other():
    start = PROBLEM.initial(BATCH)
    broken = start.clone()
    broken[3] = torch.nan
    steps, _ = looked(PROBLEM, BATCH, start)
    others, _ = looked(PROBLEM, BATCH, broken)
    rest = torch.arange(64) != 3
    assert torch.equal(steps[rest], others[rest])


@pytest.mark.parametrize("settings", [{"cells": 3}, {"cells": 65}, {"reach": 0.5}, {"reach": 5.0}])
def test_blocks_that_cannot_be_are_refused(settings):
    with pytest.raises(DescentError, match=next(iter(settings))):
        BlockMatches(PROBLEM, **settings)
