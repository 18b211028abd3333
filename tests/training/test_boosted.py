"""Regression trees: read from dlib's files, and fitting as dlib does where it is there."""

from __future__ import annotations

import struct
import sys
from importlib.util import find_spec

import pytest
import torch

from learned_descent import Cascade, DescentError, load_model, save_model
from learned_descent.cli.main import main
from learned_descent.faces.synthetic import SyntheticFaces
from learned_descent.models import LocalBinaryFeatures
from learned_descent.observations import PixelPool
from learned_descent.registry import recipes_for
from learned_descent.testing.checks import check_model
from learned_descent.training import BoostedTrees
from learned_descent.training.boosted import Forest

needs_dlib = pytest.mark.skipif(
    find_spec("dlib") is None, reason="needs dlib: pip install dlib-bin"
)


def packed(numbers: list[int]) -> bytes:
    """Whole numbers as dlib writes them."""
    parts = []
    for number in numbers:
        size = (abs(number).bit_length() + 7) // 8
        sign = 128 if number < 0 else 0
        parts.append(struct.pack("B", size | sign) + abs(number).to_bytes(size, "little"))
    return b"".join(parts)


def test_a_file_of_trees_is_read():
    """One point, one stage of one tree with one node, and two places."""
    start, tree = [-2, -1, 3, -2, 1, 0], [1, 1, 0, -5, -1]
    leaves = [2, -2, -1, 3, 0, 4, 0, -2, -1, -3, 1, 70000, -3]
    places = [300, 0, -1, -2, 0, 0, 7, 1]
    numbers = [1, *start, 1, 1, *tree, *leaves, 1, 2, 0, 0, 1, 2, *places]
    forest = Forest.of(packed(numbers))
    assert forest.initial.tolist() == [0.75, 1]
    assert forest.compared.tolist() == [[[[1, 0]]]]
    assert forest.thresholds.tolist() == [[[-2.5]]]
    assert forest.leaves.tolist() == [[[[3, 4], [-6, 8750]]]]
    assert forest.beside.tolist() == [[0, 0]]
    assert forest.places.tolist() == [[[300, -0.25], [0, 14]]]


@pytest.fixture(scope="module")
def problem() -> SyntheticFaces:
    return SyntheticFaces(12, 6, crop=48, box_side=28.0, schema="ibug49", val_fraction=0.25)


def untrained(problem, *, num_steps=3, **options) -> LocalBinaryFeatures:
    eyes = PixelPool(problem.points, num_points=49, **{"count": 20, "stages": 3} | options)
    return LocalBinaryFeatures.for_problem(
        problem, num_steps=num_steps, trees=6, depth=2, observation=eyes
    )


def trained(problem, batch=None, **settings) -> LocalBinaryFeatures:
    model = untrained(problem)
    BoostedTrees(repeats=3, **settings).fit(model, batch or problem.data("train"))
    return model


@needs_dlib
@pytest.mark.parametrize("finer", [1.0, 2.0])
def test_the_fits_are_those_of_dlib(problem, finer, monkeypatch):
    """But for its rounding of the points that it gives back to whole levels."""
    import dlib

    grown, told = [], []

    def grow(images, truths, options):
        told.extend(truth[0].rect for truth in truths)
        grown.append(train_shape_predictor(images, truths, options))
        return grown[0]

    train_shape_predictor = dlib.train_shape_predictor
    monkeypatch.setattr(dlib, "train_shape_predictor", grow)
    model, batch = untrained(problem, finer=finer), problem.data("test")
    history = BoostedTrees(repeats=3).fit(model, problem.data("train"), problem.data("val"))
    assert history.records[2]["loss"] < history.records[0]["loss"]
    assert history.records[0]["held_out_loss"][1] == history.records[1]["held_out_loss"][0]
    levels = model.observation.prepare(batch)["levels"].byte().numpy()
    with torch.no_grad():
        own = (problem.points(model(batch).final) + 0.5) * finer - 0.5
    theirs = [[(at.x, at.y) for at in grown[0](image, told[0]).parts()] for image in levels]
    assert (own - torch.tensor(theirs)).abs().max() <= 0.5 + 1e-3


@needs_dlib
def test_a_trained_model_needs_no_dlib(problem, tmp_path, monkeypatch):
    model, batch = trained(problem), problem.data("test")
    assert not check_model(model).failures
    monkeypatch.setitem(sys.modules, "dlib", None)
    save_model(model, tmp_path / "ert.safetensors")
    with torch.no_grad():
        assert torch.equal(
            load_model(tmp_path / "ert.safetensors")(batch).final, model(batch).final
        )


@needs_dlib
def test_one_seed_gives_one_model(problem):
    first, again = trained(problem), trained(problem)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    other = untrained(problem)
    BoostedTrees(repeats=3).fit(other, problem.data("train"), seed=1)
    assert not torch.equal(first.rows, other.rows)


@needs_dlib
def test_where_a_missing_landmark_is_said_to_be_does_not_matter(problem):
    batch, models = dict(problem.data("train")), []
    batch["weights"] = torch.ones_like(batch["points"][..., 0])
    batch["weights"][::2, 3] = 0
    for place in (0.0, 30.0):
        points = batch["points"].clone()
        points[::2, 3] = place
        models.append(trained(problem, {**batch, "points": points}))
    assert torch.equal(models[0].rows, models[1].rows)


def test_without_dlib_it_is_refused_before_anything_is_done(problem, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(DescentError, match="dlib, which is not installed: pip install dlib-bin"):
        trained(problem)
    for command in (["train", "--family"], ["compare", "--families", "sdm"]):
        words = [command[0], "synthetic-faces", *command[1:], "ert", "--out", str(tmp_path / "out")]
        assert main(words) == 2
        assert "which is not installed: pip install dlib-bin" in capsys.readouterr().err
        assert not list(tmp_path.glob("out/*.yaml"))


def test_what_cannot_hold_the_trees_is_refused(problem):
    pytest.importorskip("dlib")
    for model in (Cascade.for_problem(problem), LocalBinaryFeatures.for_problem(problem)):
        with pytest.raises(DescentError, match="LocalBinaryFeatures that see a PixelPool, got"):
            BoostedTrees().fit(model, problem.data("train"))


@needs_dlib
def test_what_the_trees_cannot_be_trained_on_is_refused(problem):
    with pytest.raises(DescentError, match="at most the 3 stages of the PixelPool, got 4"):
        BoostedTrees().fit(untrained(problem, num_steps=4), problem.data("train"))

    class Halved(SyntheticFaces):
        """Its parameters are the points in units of two px."""

        def points(self, x):
            return 2 * super().points(x)

    other = Halved(4, 2, crop=48, box_side=28.0, schema="ibug49")
    with pytest.raises(DescentError, match="parameters are its points in px, got Halved with 98"):
        BoostedTrees().fit(untrained(other), other.data("train"))


@pytest.mark.parametrize("settings", [{"rate": 0.0}, {"nearness": 0.0}, {"tried": 0}])
def test_wrong_settings_are_refused(settings):
    with pytest.raises(DescentError, match=f"{next(iter(settings))}: expected"):
        BoostedTrees(**settings)


def test_faces_have_the_ensemble_of_the_paper():
    recipe = recipes_for(SyntheticFaces)["ert"]
    assert recipe.options == {"num_steps": 10, "trees": 500, "depth": 4}
    assert (recipe.model, recipe.observation) == (LocalBinaryFeatures, PixelPool)
