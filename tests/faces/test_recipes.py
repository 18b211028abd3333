from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from learned_descent import Recipe, ShapeError
from learned_descent.faces.alignment import FaceAlignment
from learned_descent.faces.recipes import RECIPES
from learned_descent.observations import Patches
from learned_descent.observations.around import Around
from learned_descent.registry import recipes_for

from .fake300w import write_fake_300w


@pytest.fixture(scope="module")
def problem(tmp_path_factory) -> FaceAlignment:
    root = write_fake_300w(
        tmp_path_factory.mktemp("faces"), {"afw": 8, "helen/testset": 2}, size=96
    )
    return FaceAlignment(
        str(root), train=["afw"], test=["helen/testset"], crop=96, box_side=56.0, val_fraction=0.0
    )


def small(recipe: Recipe) -> Recipe:
    """The recipe with a small memory, if it has one."""
    return (
        replace(recipe, options={**recipe.options, "hidden": 4})
        if "hidden" in recipe.options
        else recipe
    )


def test_faces_have_recipes_of_their_own():
    assert recipes_for(FaceAlignment) == RECIPES
    assert {"sdm", "joint", "mdm", "mdm-paper"} <= RECIPES.keys()


class Mine(FaceAlignment):
    """Eyes and variants of its own."""

    def observation(self):
        return Patches(self.points, size=4)

    def augment(self, batch, generator):
        return batch


@pytest.mark.parametrize("name", RECIPES)
def test_what_a_problem_overrides_wins_over_what_a_recipe_brings(problem, name):
    recipe = recipes_for(Mine)[name]
    own = Mine(
        problem.root,
        train=["afw"],
        test=["helen/testset"],
        crop=96,
        box_side=56.0,
        val_fraction=0.0,
    )
    eyes = small(recipe).build(own).observation
    eyes = eyes.inner if isinstance(eyes, Around) else eyes
    assert (type(eyes), eyes.size) == (Patches, 4)
    assert "ridge" not in recipe.trainers or recipe.trainers["ridge"].augment
    assert recipe.trainers.get("bptt") == RECIPES[name].trainers.get("bptt")


def test_what_a_problem_inherits_is_the_recipes():
    class Renamed(FaceAlignment):
        """Nothing of its own."""

    assert recipes_for(Renamed) == RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_an_untrained_model_stays_at_its_start(problem, name):
    model = small(RECIPES[name]).build(problem)
    batch = problem.data("test")
    with torch.no_grad():
        xs = model(batch).xs
    assert xs.shape == (model.num_steps + 1, 2, 2 * problem.schema.num_points)
    assert torch.equal(xs, problem.initial(batch).expand_as(xs))


@pytest.mark.parametrize("name", ["mdm", "mdm-paper"])
def test_the_seed_decides_the_weights(problem, name):
    first, second, other = (
        small(RECIPES[name]).build(problem, seed=seed).state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_joint_training_begins_where_the_cascade_ends():
    rest = RECIPES["joint"].after(RECIPES["sdm"])
    assert rest == RECIPES["joint"].begun()


def test_the_number_of_points_is_that_of_the_markup(problem):
    inner = FaceAlignment(
        problem.root, train=["afw"], test=["helen/testset"], schema="ibug51", crop=96, box_side=56.0
    )
    assert small(RECIPES["mdm"]).build(inner).observation.num_points == inner.schema.num_points
    with pytest.raises(
        ShapeError,
        match=r"points \(num_points=\d+\): expected shape \(B, \d+, 2\), got \(1, 51, 2\)",
    ):
        replace(
            RECIPES["mdm"], observation_options={"num_points": problem.schema.num_points}
        ).build(inner)
