"""Local forests: on numbers alone, and on points in pictures through a weights file."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from learned_descent import Cascade, DescentError, evaluate, load_model, save_model
from learned_descent.data.batches import mix
from learned_descent.faces.synthetic import SyntheticFaces
from learned_descent.models import LocalBinaryFeatures
from learned_descent.problems import Analytic
from learned_descent.registry import recipes_for
from learned_descent.testing.checks import check_model
from learned_descent.training import LocalForests

from ..toys import Bent, Line


def fitted(problem, *, train=None, seed=0, num_steps=2, trees=6, **settings):
    model = LocalBinaryFeatures.for_problem(problem, num_steps=num_steps, trees=trees, depth=3)
    train = problem.data("train") if train is None else train
    return model, LocalForests(**{"ridge": 0.01} | settings).fit(model, train, seed=seed)


@pytest.mark.parametrize("trees", [1, 8])
def test_stages_learn_any_problem(trees):
    problem = Analytic("sin")
    model, history = fitted(problem, trees=trees)
    assert [record["stage"] for record in history.records] == [0, 1]
    assert history.records[1]["loss"] <= history.records[0]["loss"] < 0.1
    assert not check_model(model).failures


def test_one_seed_gives_one_model_and_another_gives_another():
    problem = Analytic("sin")
    first, again, other = (fitted(problem, seed=seed)[0] for seed in (0, 0, 1))
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert not torch.equal(first.rows, other.rows)


def test_the_rows_solve_the_ridge_regression_on_the_leaves():
    """Against the closed form, on the leaves of the training samples."""
    problem, ridge = Line(), 0.3
    model, history = fitted(problem, num_steps=1, repeats=1, ridge=ridge, augment=False)
    batch = problem.data("train")
    x = problem.initial(batch, torch.Generator().manual_seed(mix(0, 0, 0, 0)))
    features = model.observation(x, model.observation.prepare(batch))
    updates = problem.local(x, batch["x"])
    binary = torch.zeros(len(features), model.rows.shape[1])
    binary.scatter_(1, model.places(0, features), 1.0)
    share = binary.mean(0)
    penalty = len(binary) * (ridge * (share * (1 - share)).mean() + 1e-6)
    missing = (updates - updates.mean(0)).double()
    matrix = (binary.T @ binary + penalty * torch.eye(binary.shape[1])).double()
    wanted = torch.linalg.solve(matrix, binary.double().T @ missing)
    torch.testing.assert_close(model.rows[0].double(), wanted, rtol=1e-3, atol=1e-4)
    left = (missing - binary.double() @ wanted).square().mean().item()
    assert history.records[0]["loss"] == pytest.approx(left, rel=1e-3)


class Partly(Line):
    """The second coordinate of a third of the samples is not known."""

    def target_weights(self, batch):
        return batch["weights"]


def partly(lie: float) -> dict[str, torch.Tensor]:
    batch = Line().data("train")
    weights = torch.ones(len(batch["x"]), 2)
    weights[::3, 1] = 0
    return {**batch, "x": torch.where(weights > 0, batch["x"], lie), "weights": weights}


def test_what_is_not_known_of_a_sample_teaches_nothing():
    problem = Partly()
    problem.data = lambda split: partly(0.0)
    one, other = (fitted(problem, train=partly(lie), augment=False)[0] for lie in (0.0, 50.0))
    assert torch.allclose(one.rows[0], other.rows[0], atol=1e-5)
    assert torch.equal(one.thresholds[0], other.thresholds[0])


def test_a_coordinate_of_which_nothing_is_known_stays():
    problem = Partly()
    batch = partly(0.0)
    batch["weights"][:, 1] = 0
    problem.data = lambda split: batch
    model = LocalBinaryFeatures(problem, Bent(), 6, 2, 2, num_steps=1, trees=2, depth=2)
    LocalForests().fit(model, batch)
    assert model.rows[0, :, 0].any()
    assert not model.rows[..., 1].any()
    assert not model.offsets[..., 1].any()


def test_held_out_samples_of_which_nothing_is_known_are_refused():
    problem, train, val = Partly(), partly(0.0), partly(0.0)
    val["weights"] = torch.zeros_like(val["weights"])
    problem.data = lambda split: train
    model = LocalBinaryFeatures.for_problem(problem, num_steps=1)
    with pytest.raises(DescentError, match="target_weights: all are 0 for the held-out samples"):
        LocalForests().fit(model, train, val)


def test_equations_that_are_not_solved_are_said(monkeypatch):
    monkeypatch.setattr("learned_descent.training.uneven.MOST_PASSES", 1)
    _, history = fitted(Line(), num_steps=1)
    assert history.records[0]["residual"] > 1e-6
    assert any("LocalForests: the equations of stage 0 are solved" in d for d in history.doubts)


def test_each_pass_sees_every_sample_again(monkeypatch):
    seen, regress = [], LocalForests._regress

    def counted(self, model, stage, rows):
        seen.append(len(rows.features))
        return regress(self, model, stage, rows)

    monkeypatch.setattr(LocalForests, "_regress", counted)
    problem = Line()
    fitted(problem, num_steps=1, repeats=2, passes=3)
    assert seen == [6 * len(problem.data("train")["x"])]


def test_it_can_be_made_to_augment():
    assert LocalForests(augment=False).augmenting() == LocalForests()


def test_held_out_samples_tell_of_a_stage_that_makes_it_worse():
    problem = Analytic("sin")
    model = LocalBinaryFeatures.for_problem(problem, num_steps=1, trees=6, depth=6)
    train = {name: value[:6] for name, value in problem.data("train").items()}
    val = {name: value[-6:] for name, value in problem.data("train").items()}
    history = LocalForests(ridge=1e-6, least=1).fit(model, train, val)
    before, after = history.records[0]["held_out_loss"]
    assert (after > before) == any("LocalForests: the held-out" in d for d in history.doubts)


@pytest.fixture(scope="module")
def faces():
    problem = SyntheticFaces(10, 3, crop=64, box_side=36.0, schema="ibug49")
    recipe = recipes_for(SyntheticFaces)["lbf"]
    model = LocalBinaryFeatures.for_problem(
        problem, num_steps=2, trees=2, depth=2, observation=recipe.build(problem).observation
    )
    LocalForests(repeats=2, augment=False).fit(model, problem.data("train"))
    return problem, model.eval()


def test_a_stored_model_is_the_same_model(faces, tmp_path):
    problem, model = faces
    save_model(model, tmp_path / "lbf.safetensors")
    loaded, batch = load_model(tmp_path / "lbf.safetensors"), problem.data("test")
    assert model.num_groups == 49
    assert loaded.settings() == model.settings()
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    errors = [evaluate(each, batch).error() for each in (model, loaded)]
    assert np.array_equal(*errors)


def test_points_share_no_trees(faces):
    """Each tree compares places around its own point, or nothing."""
    _, model = faces
    group = torch.arange(49).repeat_interleave(2)[None, :, None, None]
    own = model.compared // (model.num_features // 49) == group
    assert (own | (model.compared == model.num_features)).all()


def test_only_models_with_forests_are_trained():
    problem = Analytic("sin")
    with pytest.raises(DescentError, match="LocalForests trains the forests of LocalBinaryFeat"):
        LocalForests().fit(Cascade.for_problem(problem), problem.data("train"))
