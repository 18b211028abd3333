"""Recipes: what they build, in which order they train, and what they refuse."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from learned_descent import (
    BackpropThroughTime,
    Cascade,
    DescentError,
    DescentModel,
    History,
    MnemonicDescent,
    Problem,
    SequentialRidge,
    Trainer,
)
from learned_descent.data.samples import Samples
from learned_descent.families import (
    RECIPES,
    SOLVERS,
    Classical,
    Polish,
    Recipe,
    image_observation,
    learned_parts,
)
from learned_descent.observation import Frozen
from learned_descent.observations import DenseHOG, Patches
from learned_descent.problems import Analytic
from learned_descent.solvers import LevenbergMarquardt, Polished, ScipyLeastSquares, Solver
from tests.toys import Line

QUICK = BackpropThroughTime(iterations=4, batch_size=8, accelerator="cpu")


class Dots(Line):
    """Looks at an image through frozen eyes; its points are ``x`` itself."""

    def observation(self):
        return Frozen(Patches(lambda x: x.unflatten(1, (-1, 2)), "photo", size=2))


def test_sdm_is_the_closed_form_alone_and_joint_goes_on_from_there():
    problem = Line()
    sdm, first = replace(RECIPES["sdm"], trainers={"ridge": SequentialRidge(ridge=1e-4)}).train(
        problem
    )
    joint, second = replace(
        RECIPES["joint"], trainers={"ridge": SequentialRidge(ridge=1e-4), "bptt": QUICK}
    ).train(problem)
    mdm, third = replace(RECIPES["mdm"], options={"hidden": 4}, trainers={"bptt": QUICK}).train(
        problem
    )
    assert (list(first), list(second), list(third)) == (["ridge"], ["ridge", "bptt"], ["bptt"])
    assert (type(sdm), type(joint), type(mdm)) == (Cascade, Cascade, MnemonicDescent)
    batch = problem.data("test")
    assert problem.error(sdm(batch).final, batch).max() < 1e-3  # linear stages solve this problem


def test_weights_depend_on_the_seed_alone_and_leave_the_global_generator_alone():
    recipe, problem = RECIPES["mdm"], Analytic("sin")
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one = recipe.build(problem, seed=1).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    again, other = (
        recipe.build(problem, seed=1).state_dict(),
        recipe.build(problem, seed=2).state_dict(),
    )
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["cell.weight_ih"], other["cell.weight_ih"])


def test_an_image_observation_looks_where_the_problems_own_does():
    eyes = image_observation(DenseHOG, Dots(), {"cell": 2})
    assert isinstance(eyes, DenseHOG)
    assert eyes.image == "photo"
    assert eyes.points(torch.arange(4.0)[None]).tolist() == [[[0, 1], [2, 3]]]


def test_an_image_observation_needs_a_problem_with_points():
    with pytest.raises(
        DescentError,
        match=r"Patches looks at points in an image, and Analytic.observation\(\) does not say",
    ):
        Recipe(Cascade, observation=Patches, trainers={"ridge": SequentialRidge()}).build(
            Analytic("sin")
        )


def test_unknown_options_of_an_observation_are_named():
    with pytest.raises(
        DescentError, match=r"Patches: cannot be built with the options \{'colour': 3\}"
    ):
        image_observation(Patches, Dots(), {"colour": 3})


def test_a_recipe_needs_a_trainer_and_an_observation_for_its_options():
    with pytest.raises(DescentError, match="expected a trainer, such as"):
        Recipe(Cascade)
    with pytest.raises(
        DescentError, match="observation_options: expected none without an observation"
    ):
        Recipe(Cascade, observation_options={"size": 3}, trainers={"ridge": SequentialRidge()})


def test_resuming_leaves_the_closed_form_out(tmp_path: Path):
    problem: Problem = Line()
    recipe = Recipe(
        Cascade, {"num_steps": 1}, trainers={"ridge": SequentialRidge(ridge=0.1), "bptt": QUICK}
    )
    assert recipe.files() == recipe.checkpoints() == []
    model, first = recipe.within(tmp_path, resume=False).train(problem)
    again = recipe.within(tmp_path, resume=True)
    assert again.checkpoints() == [tmp_path / "checkpoint.safetensors"]
    assert all(file.exists() for file in again.files())
    resumed, second = again.train(problem)
    assert list(second) == ["bptt"]
    assert second["bptt"].records == first["bptt"].records
    assert all(
        torch.equal(value, resumed.state_dict()[name]) for name, value in model.state_dict().items()
    )


@pytest.mark.parametrize(
    ("other", "after"),
    [
        (RECIPES["sdm"], True),
        (RECIPES["joint"], False),
        (RECIPES["mdm"], False),
        (replace(RECIPES["sdm"], options={"num_steps": 5}), False),
        (replace(RECIPES["sdm"], trainers={"ridge": SequentialRidge(repeats=9)}), False),
    ],
)
def test_joint_follows_only_an_sdm_of_the_same_settings(other: Recipe, after: bool):
    rest = RECIPES["joint"].after(other)
    assert (rest is not None) == after
    if rest is not None:
        assert rest == RECIPES["joint"].begun()


@pytest.mark.parametrize("name", SOLVERS)
def test_a_solver_is_built_and_never_trained(name: str):
    problem = Line()
    solver, histories = SOLVERS[name].train(problem)
    assert isinstance(solver, Solver)
    assert histories == {}
    batch = problem.data("test")
    assert problem.error(solver(batch).final, batch).max() < 1e-4


def test_a_polished_family_trains_what_the_plain_one_trains():
    problem, plain = Line(), replace(RECIPES["sdm"], trainers={"ridge": SequentialRidge(ridge=0.5)})
    family = Polish(plain, SOLVERS["lm"].brief())
    alone, _ = plain.train(problem, seed=3)
    model, histories = family.train(problem, seed=3)
    assert isinstance(model, Polished)
    assert list(histories) == ["ridge"]
    assert model.num_steps == alone.num_steps + 10
    batch = problem.data("test")
    assert torch.equal(model(batch).xs[: alone.num_steps + 1], alone(batch).xs)
    assert (
        problem.error(model(batch).final, batch).max()
        < 1e-4
        < problem.error(alone(batch).final, batch).max()
    )


def test_brief_solvers_keep_their_other_options():
    assert Classical(LevenbergMarquardt, {"damping": 0.1, "num_steps": 70}).brief().options == {
        "damping": 0.1,
        "num_steps": 10,
    }
    assert SOLVERS["scipy"].brief() == Classical(ScipyLeastSquares)


def test_families_that_share_a_training_agree_on_it():
    mdm, lm = RECIPES["mdm"], SOLVERS["lm"]
    assert learned_parts({"mdm+lm": Polish(mdm, lm), "lm": lm, "sdm": RECIPES["sdm"]}) == {
        "mdm": mdm,
        "sdm": RECIPES["sdm"],
    }
    with pytest.raises(
        DescentError,
        match=r"family 'mdm\+lm': expected the training of 'mdm', which is shared, got another one",
    ):
        learned_parts({"mdm": mdm, "mdm+lm": Polish(replace(mdm, options={"hidden": 3}), lm)})


@dataclass(frozen=True)
class Nudge(Trainer):
    """A trainer of one's own that keeps a file, and goes on from it."""

    amount: float = 1.0
    folder: str | None = None
    resume: bool = False
    places: ClassVar[frozenset[str]] = frozenset({"folder", "resume"})

    def fit(
        self, model: DescentModel, train: Samples, val: Samples | None = None, *, seed: int = 0
    ) -> History:
        for file in self.files():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("done")
        return History([{"amount": self.amount}])

    def within(self, folder: Path, *, resume: bool) -> Nudge:
        return replace(self, folder=str(folder), resume=resume)

    def files(self) -> tuple[Path, ...]:
        return () if self.folder is None else (Path(self.folder, "nudge.txt"),)

    def resumes(self) -> bool:
        return self.resume and self.files()[0].exists()


def test_any_trainers_in_any_number_and_order(tmp_path: Path):
    problem: Problem = Line()
    recipe = Recipe(
        Cascade,
        trainers={"first": Nudge(), "ridge": SequentialRidge(ridge=0.1), "last": Nudge(2.0)},
    )
    placed = recipe.within(tmp_path, resume=True)
    assert placed.checkpoints() == [tmp_path / name / "nudge.txt" for name in ("first", "last")]
    assert list(placed.train(problem)[1]) == ["first", "ridge", "last"]
    assert list(placed.train(problem)[1]) == ["last"], "what comes before a checkpoint is done"
    assert recipe.forecast(recipe.build(problem), problem.data("train")) is None
    assert list(recipe.begun().trainers) == ["first", "last"]
    begun = replace(recipe, trainers={"first": Nudge()})
    assert list(recipe.after(begun).trainers) == ["ridge", "last"]
    assert placed.after(begun.within(tmp_path / "other", resume=False)) is not None, (
        "places are no part of a training"
    )
    assert recipe.after(replace(recipe, trainers={"first": Nudge(3.0)})) is None


class Bare(Trainer):
    def fit(
        self, model: DescentModel, train: Samples, val: Samples | None = None, *, seed: int = 0
    ) -> History:
        return History()


@pytest.mark.parametrize(
    ("trainers", "message"),
    [
        (
            {"model": SequentialRidge()},
            "trainers: expected names as in Python, and none of .*, got 'model'",
        ),
        ({"a-b": SequentialRidge()}, "trainers: expected names as in Python"),
        (
            {"bare": Bare()},
            "trainers: bare: expected a Trainer that is a frozen dataclass, got Bare",
        ),
        ({"ridge": 3}, "trainers: ridge: expected a Trainer that is a frozen dataclass, got int"),
    ],
)
def test_what_is_no_trainer_is_refused(trainers: dict[str, Trainer], message: str):
    with pytest.raises(DescentError, match=message):
        Recipe(Cascade, trainers=trainers)
