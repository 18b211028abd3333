"""Project-out cascaded regression."""

from __future__ import annotations

from dataclasses import replace

import pytest
import scipy.linalg
import torch
from torch import Generator

from learned_descent import Cascade, DescentError, MnemonicDescent
from learned_descent.families import RECIPES
from learned_descent.problems import Analytic, Pose
from learned_descent.training import ProjectOut, ranks
from learned_descent.training.equations import Solution, lengths_left
from learned_descent.training.project_out import Averaged, MeanAppearance, in_shape_model, projected
from learned_descent.training.uneven import WeighedRows

from ..landmarks.dots import Dots
from ..toys import Bent, Gaps, Line

PLAIN = ProjectOut(appearance=0, damping=0.0)


class Dressed(Line):
    """The line problem where what is seen also depends on an appearance, which is ten times as
    strong as ``x``."""

    LOOK = torch.tensor([[10.0, -20.0, 10.0]])

    def data(self, split):
        batch = super().data(split)
        draw = Generator().manual_seed(len(split))
        look = torch.randn(self.count, 1, generator=draw).to(batch["y"])
        return {**batch, "y": batch["y"] + look @ self.LOOK.to(look)}


def cascade(problem, num_steps: int = 1, **settings) -> Cascade:
    return Cascade.for_problem(problem, num_steps=num_steps, **settings).double()


def error(model: Cascade, split: str = "test") -> float:
    batch = model.problem.data(split)
    return model.problem.error(model(batch).final, batch).max().item()


def test_noise_free_linear_data_are_solved_by_one_stage():
    model = cascade(Line(torch.float64))
    PLAIN.fit(model, model.problem.data("train"))
    assert error(model) < 1e-9


def test_an_update_does_not_see_the_appearance():
    problem = Dressed(torch.float64)
    model, blind = cascade(problem), cascade(problem)
    replace(PLAIN, appearance=1).fit(model, problem.data("train"))
    PLAIN.fit(blind, problem.data("train"))
    stage = model.stages[0]
    assert (stage.weight @ problem.LOOK.double().T).norm() < 1e-9 * stage.weight.norm()
    assert error(model) < 1e-9
    assert error(blind) > 0.1


def test_the_weight_is_orthogonal_to_the_appearance_and_inverts_the_jacobian():
    draw = Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(9, 4, generator=draw).double()).Q
    slopes = torch.randn(9, 2, generator=draw).double()
    weight, bias = projected(
        Averaged(torch.eye(2).double(), slopes),
        MeanAppearance(torch.ones(9).double(), basis),
        4,
        0.0,
    )
    assert (basis.T @ weight).abs().max() < 1e-12
    torch.testing.assert_close(slopes.T @ weight, torch.eye(2).double())
    torch.testing.assert_close(bias, -weight.sum(0))


def test_what_the_held_out_samples_like_best_is_taken():
    problem = Dressed(torch.float64)
    model = cascade(problem)
    history = ProjectOut(appearance=(0, 1), damping=(0.0, 1.0)).fit(
        model, problem.data("train"), problem.data("val")
    )
    (record,) = history.records
    assert (record["appearance"], record["damping"]) == (1, 0.0)
    before, after = record["held_out_loss"]
    assert after < 1e-12 < before
    ProjectOut(appearance=(0, 1), damping=(0.0, 1.0)).fit(model, problem.data("train"))
    assert error(model) < 1e-9


def test_a_sample_that_goes_astray_does_not_decide():
    zero = torch.zeros(1, 2)
    updates = torch.tensor([[3.0, 3.0], [3.0, 3.0], [3.0, 90.0]])
    weights = torch.tensor([[1.0, 1.0], [0.5, 0.5], [2.0, 0.0]])
    rows = WeighedRows(torch.ones(3, 1), updates, weights)
    solutions = [Solution(zero, torch.tensor([1.0, 1.0]), 0.0)]
    before, after = lengths_left(ranks.launch("cpu", 1), [rows], solutions)
    assert (before, after) == pytest.approx((3.0, 2.0))
    even = rows._replace(weights=None)
    before, _ = lengths_left(ranks.launch("cpu", 1), [even], solutions)
    assert before == pytest.approx((3 + 3 + ((9 + 8100) / 2) ** 0.5) / 3)


def test_as_many_features_are_left_as_there_are_unknowns():
    problem = Dressed(torch.float64)
    model = cascade(problem)
    (record,) = replace(PLAIN, appearance=50).fit(model, problem.data("train")).records
    assert record["appearance"] == 1


@pytest.mark.parametrize("batch_size", [1, 7])
def test_streamed_equals_batched(batch_size):
    class Still(Line):
        def initial(self, batch, generator=None):
            return super().initial(batch)

    models = [cascade(Still(torch.float64), 3, observation=Bent()) for _ in range(2)]
    for model, size in zip(models, (batch_size, 24)):
        ProjectOut(appearance=2, damping=0.1, batch_size=size).fit(
            model, model.problem.data("train")
        )
    for streamed, batched in zip(*(model.parameters() for model in models)):
        torch.testing.assert_close(streamed, batched, rtol=1e-9, atol=1e-11)


def test_a_shape_model_looks_at_no_sample():
    class Counted(Bent):
        looks = 0

        def prepare(self, batch):
            self.looks += 1
            return batch

    looks = []
    for components in (None, 1):
        model = cascade(Line(torch.float64), observation=Counted())
        replace(PLAIN, components=components).fit(model, model.problem.data("train"))
        looks.append(model.observation.looks)
    assert looks[0] == looks[1]


def test_directions_of_the_same_appearance_are_searched_for_once(monkeypatch):
    found, eigh = [], scipy.linalg.eigh

    def counted(matrix, **more):
        found.append(len(matrix))
        return eigh(matrix, **more)

    monkeypatch.setattr(scipy.linalg, "eigh", counted)
    model = cascade(Dressed(torch.float64), 3)
    replace(PLAIN, appearance=1).fit(model, model.problem.data("train"))
    assert len(found) == 1


def test_x_never_leaves_the_shape_model():
    problem = Dots()
    model = Cascade.for_problem(problem, num_steps=3)
    replace(PLAIN, components=5, damping=0.1).fit(model, problem.data("train"))
    batch = problem.data("test")
    with torch.no_grad():
        xs = model(batch).xs
    moved = problem.local(xs[0], xs[-1])
    singular = torch.linalg.svdvals(moved)
    assert singular[5] < 1e-4 * singular[4]
    start, end = (problem.error(x, batch).mean() for x in (xs[0], xs[-1]))
    assert end < 0.6 * start


def test_what_a_missing_coordinate_holds_is_not_used():
    problem = Gaps(torch.float64)
    batch = problem.data("train")
    other = {**batch, "x": torch.where(batch["weights"] == 0, 100.0, batch["x"])}
    for components in (None, 1):
        models = [cascade(problem, 2, observation=Bent()) for _ in range(2)]
        for model, samples in zip(models, (batch, other)):
            replace(PLAIN, components=components).fit(model, samples)
        for one, two in zip(*(model.parameters() for model in models)):
            torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-8)


def test_a_sample_of_which_nothing_is_known_teaches_nothing():
    class Still(Gaps):
        def initial(self, batch, generator=None):
            return super().initial(batch)

    problem = Still(torch.float64)
    batch = problem.data("train")
    batch["weights"][5:] = 0
    models = [cascade(problem, observation=Bent()) for _ in range(2)]
    for model, samples in zip(models, (batch, {name: each[:5] for name, each in batch.items()})):
        replace(PLAIN, appearance=1).fit(model, samples)
    for one, two in zip(*(model.parameters() for model in models)):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-8)


def test_a_coordinate_that_is_not_known_is_told_by_the_others():
    basis = torch.tensor([[0.6], [0.8]]).double()
    updates = torch.tensor([[0.6, -7.0]])
    found = in_shape_model(updates, basis, torch.tensor([[1.0, 0.0]]))
    assert found.item() == pytest.approx(1.0, rel=1e-6)
    assert in_shape_model(updates, basis).item() == pytest.approx(0.36 - 5.6)


@pytest.mark.parametrize("problem", [Analytic("erf"), Pose(num_train=200, num_test=50)])
def test_it_needs_no_landmarks(problem):
    model = RECIPES["sdm"].build(problem)
    ProjectOut().fit(model, problem.data("train"), problem.data("val"))
    batch = problem.data("test")
    with torch.no_grad():
        xs = model(batch).xs
    start, end = (problem.error(x, batch).median() for x in (xs[0], xs[-1]))
    assert end < 0.7 * start


def test_other_models_are_refused():
    problem = Line()
    for model in (
        MnemonicDescent.for_problem(problem, hidden=2),
        Cascade.for_problem(problem, hidden=2),
        Cascade.for_problem(problem, bias=False),
    ):
        with pytest.raises(DescentError, match="ProjectOut trains the linear stages of a Cascade"):
            ProjectOut().fit(model, problem.data("train"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"appearance": ()}, "appearance, damping: expected a number >= 0 or several"),
        ({"appearance": (3, -1)}, "appearance: expected"),
        ({"appearance": 1.5}, "appearance: expected a whole number"),
        ({"damping": None}, "damping: expected a number >= 0"),
        ({"damping": -0.5}, "damping: expected"),
        ({"components": 0}, "components: expected"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(DescentError, match=message):
        ProjectOut(**settings)


def test_too_few_samples_to_choose_on_are_refused():
    problem = Line(count=5)
    model = Cascade.for_problem(problem)
    with pytest.raises(DescentError, match="5 samples are too few to choose among"):
        ProjectOut().fit(model, problem.data("train"))
