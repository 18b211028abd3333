from __future__ import annotations

import math

import pytest
import torch

from learned_descent.landmarks.geometry import (
    apply_similarity,
    boxes_around,
    completed,
    fit_similarity,
    mean_shape,
)


def shapes(generator, count=5, size=9):
    """A shape around the origin, and unlike ones somewhere else; float64."""
    source = torch.randn(size, 2, generator=generator, dtype=torch.float64, device=generator.device)
    target = torch.randn(
        count, size, 2, generator=generator, dtype=torch.float64, device=generator.device
    )
    return source - source.mean(0), target + 0.8 * source + 3


def test_what_was_applied_is_found_again(generator, device):
    source, _ = shapes(generator)
    similarity = torch.tensor(
        [[0.3, 0.5, 2.0, -7.0], [-1.2, 3.1, 0.0, 100.0], [0.0, -1.6, 0.0, 0.0]], device=device
    ).double()
    torch.testing.assert_close(
        fit_similarity(source, apply_similarity(similarity, source)), similarity
    )


def test_nothing_to_do(generator):
    source, _ = shapes(generator)
    similarity = fit_similarity(source, source[None])
    torch.testing.assert_close(similarity, torch.zeros_like(similarity))
    torch.testing.assert_close(apply_similarity(similarity, source)[0], source)


def test_the_parts_of_a_similarity():
    corner = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    grown, turned, moved = apply_similarity(
        torch.tensor(
            [[math.log(3), 0.0, 0.0, 0.0], [0.0, math.pi / 2, 0.0, 0.0], [0.0, 0.0, 5.0, -4.0]]
        ),
        corner,
    )
    torch.testing.assert_close(grown, 3 * corner)
    # From columns to rows
    torch.testing.assert_close(turned, torch.tensor([[0.0, 1.0], [-2.0, 0.0]]))
    torch.testing.assert_close(moved, corner + torch.tensor([5.0, -4.0]))


def test_the_fit_is_the_best_one(generator):
    """Least squares: no similarity nearby is nearer, and the derivative vanishes."""
    source, target = shapes(generator)
    found = fit_similarity(source, target).requires_grad_()
    distance = (apply_similarity(found, source) - target).square().sum((1, 2))
    (slope,) = torch.autograd.grad(distance.sum(), found)
    torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-9, rtol=0)
    for _ in range(20):
        other = found + 0.3 * torch.randn(
            found.shape, generator=generator, dtype=found.dtype, device=found.device
        )
        assert ((apply_similarity(other, source) - target).square().sum((1, 2)) > distance).all()


def test_the_fit_is_that_of_linear_least_squares(generator):
    """A similarity is linear in ``scale cos``, ``scale sin`` and the shift."""
    source, target = shapes(generator)
    (column, row), one = source.T, torch.ones(len(source), 2).to(source)
    design = torch.stack(
        [torch.stack([column, row], 1), torch.stack([-row, column], 1), one, one], 2
    )
    design[:, 0, 3] = design[:, 1, 2] = 0
    a, b, *shift = torch.linalg.lstsq(design.flatten(0, 1), target.flatten(1).T).solution
    wanted = torch.stack([(a.square() + b.square()).sqrt().log(), torch.atan2(b, a), *shift], 1)
    torch.testing.assert_close(fit_similarity(source, target), wanted)


@pytest.mark.parametrize("angle", [-3.0, -1.5, 0.0, 1.5, 3.0])
def test_a_single_precision_will_do(generator, angle):
    source, _ = shapes(generator)
    similarity = torch.tensor([[4.7, angle, 96.0, 80.0]], device=source.device)
    found = fit_similarity(source.float(), apply_similarity(similarity, source.float()))
    torch.testing.assert_close(found, similarity, atol=1e-4, rtol=1e-5)


def test_by_weights_of_one_the_fit_is_the_same(generator):
    source, target = shapes(generator)
    weights = torch.ones_like(target[..., 0])
    torch.testing.assert_close(
        fit_similarity(source, target, weights), fit_similarity(source, target)
    )


def test_a_fit_by_weights_is_that_of_the_points_that_count(generator):
    """A weight of 2 is a point that is there twice, and one of 0 a point that is not."""
    source, target = shapes(generator)
    weights = torch.ones_like(target[..., 0])
    weights[:, 3], weights[:, 5] = 0, 2
    kept = [0, 1, 2, 4, 5, 5, 6, 7, 8]
    middle = source[kept].mean(0)
    found = fit_similarity(source - middle, target, weights)
    torch.testing.assert_close(found, fit_similarity(source[kept] - middle, target[:, kept]))
    target[:, 3] = 1e6
    torch.testing.assert_close(fit_similarity(source - middle, target, weights), found)


def turned(generator, count=40):
    """One shape in many places, sizes and turns, and which of its points are known: four in
    five."""
    source, _ = shapes(generator)
    similarity = 0.3 * torch.randn(
        count, 4, generator=generator, dtype=source.dtype, device=source.device
    )
    found = apply_similarity(similarity, source)
    lot = torch.rand(found.shape[:2], generator=generator, device=source.device)
    return source, found, (lot > 0.2).to(found)


def test_missing_points_come_from_the_mean_shape(generator):
    source, found, weights = turned(generator)
    spoilt = torch.where(weights.unsqueeze(2) > 0, found, 1e6)
    filled = completed(spoilt, weights, source)
    assert torch.equal(filled[weights > 0], found[weights > 0])
    torch.testing.assert_close(filled, found, atol=0.05, rtol=0)
    nothing = torch.zeros_like(weights)  # then a shape is the mean shape
    torch.testing.assert_close(completed(spoilt, nothing, source), source.expand_as(found))


def test_one_known_point_moves_a_shape_and_neither_turns_nor_scales_it(generator):
    source, _ = shapes(generator)
    weights = torch.zeros(1, len(source), dtype=source.dtype, device=source.device)
    weights[0, 4] = 1
    filled = completed(source[None] + 2, weights, source)
    torch.testing.assert_close(filled, source[None] + 2, atol=0.05, rtol=0)


def test_the_mean_shape_is_that_of_all_points(generator):
    _, found, weights = turned(generator, count=200)
    spoilt = torch.where(weights.unsqueeze(2) > 0, found, 1e6)
    whole, known = mean_shape(found), weights.unsqueeze(2)
    torch.testing.assert_close(mean_shape(spoilt, weights), whole, atol=0.02, rtol=0)
    of_known = (known * spoilt).sum(0) / known.sum(0)  # places and sizes differ by who has a point
    assert (of_known - whole).abs().max() > 3 * (mean_shape(spoilt, weights) - whole).abs().max()
    assert torch.equal(mean_shape(found), found.mean(0))
    torch.testing.assert_close(mean_shape(found, torch.ones_like(weights)), whole)


def test_the_box_comes_along_with_the_mean_shape(generator):
    mean = 0.3 * torch.randn(9, 2, generator=generator, device=generator.device).cpu() + 0.1
    similarity = torch.tensor([[3.0, 0.4, 100.0, 80.0]])
    corners = apply_similarity(
        similarity, torch.tensor([[-0.5, -0.5], [0.5, 0.5], [0.0, 0.0]]) - mean.mean(0)
    )[0]
    boxes, angles = boxes_around(apply_similarity(similarity, mean - mean.mean(0)), mean)
    assert angles.item() == pytest.approx(0.4, abs=1e-5)
    torch.testing.assert_close((boxes[0, :2] + boxes[0, 2:]) / 2, corners[2])
    side = (corners[1] - corners[0]).norm() / math.sqrt(2)
    torch.testing.assert_close(boxes[0, 2:] - boxes[0, :2], side.expand(2))
