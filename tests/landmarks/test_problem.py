from __future__ import annotations

import pytest
import torch

from learned_descent import DescentError, ShapeError
from learned_descent.families import held_out_of
from learned_descent.landmarks.augmentation import mirrored
from learned_descent.testing import check_problem

from .dots import KITE, Dots

SHARE = 0.2


@pytest.fixture
def problem() -> Dots:
    return Dots(SHARE)


def test_what_is_missing_has_the_weight_0_and_a_place(problem):
    whole, batch = Dots().data("train"), problem.data("train")
    assert "weights" not in whole
    weights, points = batch["weights"], batch["points"]
    assert set(weights.unique().tolist()) == {0, 1}
    assert (weights == 0).float().mean() == pytest.approx(SHARE, abs=0.06)
    known = weights > 0
    assert torch.equal(points[known], whole["points"][known])
    # Where the kite is, and not at zero
    assert (points - whole["points"])[~known].norm(dim=-1).max() < 4


def test_weights_say_it_as_nan_does(problem):
    batch = problem.data("train")
    for filler in (0.0, 1e4, -torch.inf):
        other = Dots(SHARE, filler).data("train")
        assert batch.keys() == other.keys()
        for name, value in batch.items():
            assert torch.equal(value, other[name])


def test_the_mean_shape_and_the_starts_are_those_of_whole_labels(problem):
    whole = Dots()
    for one in (whole, problem):
        one.data("train")
    torch.testing.assert_close(problem.mean_shape, whole.mean_shape, atol=0.01, rtol=0)
    spreads = [
        (one.start_factor @ one.start_factor.T).diagonal().sqrt() for one in (problem, whole)
    ]
    torch.testing.assert_close(*spreads, atol=0.02, rtol=0.2)


def test_where_a_missing_point_lies_changes_no_loss_and_no_error(problem):
    batch = problem.data("test")
    x, missing = problem.initial(batch), (batch["weights"] == 0).unsqueeze(2)
    assert missing[:, [0, 3]].any(), "the distance that normalises lacks an end, too"
    other = {**batch, "points": torch.where(missing, -50.0, batch["points"])}
    before, after = problem.metrics(x, batch), problem.metrics(x, other)
    assert list(before) == [
        "7 points / inter_ocular",
        "eyes points / inter_ocular",
        "7 points / inter_pupil",
        "7 points / box",
    ]
    for name, value in before.items():
        assert value.isfinite().all()
        assert torch.equal(value, after[name]), name
    assert torch.equal(problem.loss(x, batch), problem.loss(x, other))


def test_a_missing_point_of_one_face_changes_no_other(problem):
    whole = Dots()
    batch = whole.data("test")
    x = whole.initial(batch)
    weights = torch.ones(12, len(KITE))
    weights[4, 5] = 0
    less = {**batch, "weights": weights}
    rest = [face for face in range(12) if face != 4]
    for measure in (whole.loss, whole.error):
        one, other = measure(x, batch), measure(x, less)
        torch.testing.assert_close(one[rest], other[rest], rtol=1e-6, atol=0)
        assert one[4] != other[4]


def test_the_error_of_a_face_is_that_of_its_known_points():
    whole = Dots(normaliser="box")
    batch = whole.data("test")
    x = whole.initial(batch)
    weights = torch.ones(12, len(KITE))
    weights[:, 4:] = 0
    lengths = (whole.points(x) - batch["points"]).norm(dim=2)
    found = whole.error(x, {**batch, "weights": weights})
    torch.testing.assert_close(found, lengths[:, :4].mean(1) / 28)


def test_weights_are_mirrored_with_the_points(problem):
    batch = problem.data("train")
    opposite = problem.schema.opposites
    twice = Dots(SHARE, mirror=True).data("train")
    count = len(batch["weights"])
    assert torch.equal(twice["weights"][:count], batch["weights"])
    assert torch.equal(twice["weights"][count:], batch["weights"][:, opposite])
    back = mirrored(mirrored(batch, problem.mirror_points), problem.mirror_points)
    assert torch.equal(back["weights"], batch["weights"])
    variants = problem.augment(batch, torch.Generator().manual_seed(0))
    assert torch.equal(variants["weights"], batch["weights"])


def test_the_coordinates_of_a_point_weigh_what_it_weighs(problem):
    batch = problem.data("test")
    weights = problem.target_weights(batch)
    assert weights.shape == problem.target(batch).shape
    assert torch.equal(
        weights.unflatten(1, (-1, 2)).mT, batch["weights"][:, None].expand(-1, 2, -1)
    )
    assert problem.target_weights(Dots().data("test")) is None


def test_a_distance_that_the_labels_do_not_have_is_said(problem, caplog):
    lacking = (problem.data("test")["weights"][:, [0, 3]] == 0).any(1).sum()
    said = f"{lacking} of 12 test kites lack a landmark that the inter_ocular distance is measured"
    assert caplog.messages[-1].startswith(said)
    caplog.clear()
    Dots(SHARE, normaliser="box").data("test")
    assert not caplog.messages


class Odd(Dots):
    """Weights as they must not be."""

    def __init__(self, weights, **settings) -> None:
        super().__init__(**settings)
        self.weights = weights

    def _read(self, split):
        batch = super()._read(split)
        return {**batch, "weights": self.weights.expand(len(batch["image"]), -1)}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0] * 6 + [1.5], "weights of the train kites: expected numbers from 0 .* got 1 to 1.5"),
        ([1.0] * 6 + [-1.0], "expected numbers from 0 .missing. to 1, got -1 to 1"),
        ([1.0] * 6 + [torch.nan], "expected numbers from 0 .missing. to 1, got nan to nan"),
        ([0.0] * 7, r"train kites \[0, 1, .*\]: none of their landmarks is known; leave them out"),
        ([1.0] * 6 + [0.0], r"none has landmark 6 \(from 0; 1 of 7 landmarks\): add some"),
    ],
)
def test_weights_that_make_no_sense(weights, message):
    with pytest.raises(DescentError, match=message):
        Odd(torch.tensor(weights)).data("train")


def test_weights_of_another_number_of_points():
    with pytest.raises(ShapeError, match="weights: expected shape"):
        Odd(torch.ones(6)).data("train")


def test_the_contract():
    check_problem(Dots(SHARE))


def test_variants_are_held_out_with_the_pictures_that_they_are_made_of():
    plain, varied = Dots(), Dots(val_variants=2)
    first, whole, again = plain.held_out(), varied.held_out(), Dots(val_variants=2).held_out()
    count = len(first["image"])
    assert len(first["image"]) == len(varied.data("val")["image"]) == len(plain.data("val")["box"])
    for name, value in first.items():
        assert whole[name].dtype == value.dtype
        assert whole[name].shape == (3 * count, *value.shape[1:])
        torch.testing.assert_close(whole[name][:count], value, rtol=0, atol=0)
        torch.testing.assert_close(whole[name], again[name], rtol=0, atol=0)
    variants = whole["points"][count:].view(2, *first["points"].shape)
    assert ((variants - first["points"]).abs().amax((2, 3)) > 0.5).all(), "each face is moved"
    assert ((variants[0] - variants[1]).abs().amax((1, 2)) > 0.1).all(), "in two ways"


def test_variants_are_a_number_of_them():
    with pytest.raises(DescentError, match="val_variants: expected 0 or more, got -1"):
        Dots(val_variants=-1)


def test_a_training_is_validated_on_the_variants():
    problem = Dots(val_variants=3)
    held_out = held_out_of(problem)
    assert len(held_out["points"]) == 4 * len(problem.data("val")["points"])
