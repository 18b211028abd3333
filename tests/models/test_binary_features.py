from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor

from learned_descent import DescentError
from learned_descent.faces.synthetic import SyntheticFaces
from learned_descent.models import LocalBinaryFeatures
from learned_descent.observations import NearbyPixels, PixelPool
from learned_descent.problems import Analytic
from learned_descent.testing.checks import check_model
from learned_descent.training.forests import complete_tree

from ..toys import Turn


@pytest.mark.parametrize(("trees", "depth"), [(1, 1), (3, 4)])
def test_untrained_returns_its_start(trees, depth, device):
    model = LocalBinaryFeatures.for_problem(Turn(), trees=trees, depth=depth)
    assert not check_model(model, untrained=True, device=device).warnings


@pytest.mark.parametrize("kind", [ExtraTreesRegressor, RandomForestRegressor])
@pytest.mark.parametrize("least", [1, 60])
def test_the_leaves_are_those_of_the_trees_that_were_grown(kind, least, device):
    """Of rows that training never saw too, and of rows that lie on a threshold."""
    draw = np.random.default_rng(0)
    features = draw.normal(size=(300, 4)).astype(np.float32)
    other = draw.normal(size=(200, 4)).astype(np.float32)
    forest = kind(5, max_depth=4, min_samples_leaf=least, random_state=1)
    forest.fit(features, features[:, :2] * features[:, 2:])
    model = LocalBinaryFeatures.for_problem(Turn(), num_steps=1, trees=5, depth=4)
    model = LocalBinaryFeatures(
        model.problem, model.observation, 4, 1, 1, num_steps=1, trees=5, depth=4
    )
    limits = []
    for tree, grown in enumerate(forest.estimators_):
        tested, thresholds = complete_tree(grown.tree_, 4)
        model.compared[0, tree, :, 0] = torch.where(tested < 0, 4, tested)
        model.compared[0, tree, :, 1] = 4
        model.thresholds[0, tree] = thresholds
        limits.append(grown.tree_.threshold.astype(np.float32))
    edges = np.repeat(np.concatenate(limits)[:, None], 4, 1)
    model = model.to(device)
    for rows in (features, other, edges):
        own = model.leaves(0, torch.from_numpy(rows).to(device)).cpu().numpy()
        for tree, grown in enumerate(forest.estimators_):
            pairs = set(zip(own[:, tree], grown.apply(rows)))
            leaves, theirs = zip(*pairs)
            assert len(pairs) == len(set(leaves)) == len(set(theirs))


def test_the_update_is_the_sum_of_the_rows_of_its_leaves():
    model = LocalBinaryFeatures.for_problem(Analytic("sin"), num_steps=2, trees=3, depth=2)
    torch.nn.init.normal_(model.rows, generator=torch.Generator().manual_seed(0))
    torch.nn.init.constant_(model.offsets, 0.5)
    model.compared[:, :, :, 1] = 1  # each feature with the zero behind it
    features = torch.tensor([[-1.0], [2.0]])
    assert model.leaves(1, features).tolist() == [[0, 0, 0], [3, 3, 3]]
    binary = torch.zeros(2, 12)
    for row, places in zip(binary, model.places(1, features)):
        row[places] = 1
    torch.testing.assert_close(model.step(1, features, None)[0], binary @ model.rows[1] + 0.5)


def test_a_pool_is_one_group_for_all_points():
    problem = SyntheticFaces(4, 2, crop=64, box_side=36.0, schema="ibug49")
    for eyes, groups in ((NearbyPixels, 49), (PixelPool, 1)):
        model = LocalBinaryFeatures.for_problem(
            problem, observation=eyes(problem.points, num_points=49, count=3)
        )
        assert model.num_groups == groups
        assert model.observation.reference.any()


def test_wrong_sizes_are_refused():
    problem = Analytic("sin")
    with pytest.raises(DescentError, match="expected a multiple of the 2 groups, got 5"):
        LocalBinaryFeatures(problem, problem.observation(), 5, 2, 1)
    with pytest.raises(DescentError, match="depth: expected at most 12, got 13"):
        LocalBinaryFeatures.for_problem(problem, depth=13)
    model = LocalBinaryFeatures.for_problem(problem, num_steps=1)
    with pytest.raises(DescentError, match="at most the 1 steps that it was made with"):
        model(problem.data("test"), num_steps=2)
