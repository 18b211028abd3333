"""Coordinates that count unlike one another, in closed form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from learned_descent import (
    BackpropThroughTime,
    Cascade,
    DescentError,
    MnemonicDescent,
    SequentialRidge,
)
from learned_descent.models import CoarseToFineSearch, GlobalCascade, LocalBinaryFeatures
from learned_descent.training import LocalForests, ParallelRidge, ProjectOut, SearchRidge, uneven
from learned_descent.training.uneven import KeptRows, WeighedRows, conjugate_gradients

from ..landmarks.dots import Dots
from ..toys import Bent, Gaps


class Still(Gaps):
    """The line problem with missing numbers, and with the start of testing in training too."""

    def initial(self, batch, generator=None):
        return super().initial(batch)


def reference(
    features: Tensor, updates: Tensor, weights: Tensor, ridge: float, bias: bool
) -> tuple[Tensor, Tensor]:
    """Each output alone, as a dense least squares problem of the rows that know it."""
    columns = []
    for update, weight in zip(updates.T, weights.T):
        root = weight.sqrt()[:, None]
        middle = (root**2 * features).sum(0) / weight.sum() if bias else 0 * features[0]
        variance = (root * (features - middle)).square().sum() / features.shape[1]
        rows = torch.cat([features, torch.ones_like(root)], 1) if bias else features
        penalty = (ridge * variance).sqrt() * torch.eye(features.shape[1], rows.shape[1]).to(rows)
        right = torch.cat([root * update[:, None], torch.zeros(len(penalty), 1).to(rows)])
        found = torch.linalg.lstsq(torch.cat([root * rows, penalty]), right).solution[:, 0]
        columns.append(found if bias else torch.cat([found, found.new_zeros(1)]))
    solution = torch.stack(columns, 1)
    return solution[:-1], solution[-1]


def fitted(problem, batch, **settings) -> tuple[Cascade, list]:
    model = Cascade.for_problem(problem, num_steps=2, observation=Bent()).double()
    return model, SequentialRidge(**settings).fit(model, batch).records


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("ridge", [0.0, 1e-3, 1.0])
@pytest.mark.parametrize("batch_size", [7, 64])
def test_a_stage_is_the_least_squares_solution_of_each_output(ridge, bias, batch_size):
    problem = Still(torch.float64, count=50)
    batch = problem.data("train")
    assert (batch["weights"] == 0).any()
    model = Cascade.for_problem(problem, num_steps=2, bias=bias, observation=Bent()).double()
    records = SequentialRidge(ridge=ridge, batch_size=batch_size).fit(model, batch).records
    x, known = problem.initial(batch), batch["weights"]
    for stage, record in zip(model.stages, records):
        features, updates = model.observation(x, batch), batch["x"] - x
        weight, offset = reference(features, updates, known, ridge, bias)
        torch.testing.assert_close(stage.weight, weight.T, rtol=1e-5, atol=1e-5)
        if bias:
            torch.testing.assert_close(stage.bias, offset, rtol=1e-5, atol=1e-5)
        x = x + stage(features)
        left = (known * (batch["x"] - x).square()).sum() / known.sum()
        assert record["loss"] == pytest.approx(left.item(), rel=1e-6)
        assert "residual" not in record


def test_a_number_that_is_missing_of_some_samples_is_trained_on_the_rest():
    """What a coordinate learns is what it learns alone, from the samples that know it."""
    problem = Still(torch.float64, count=60)
    batch = problem.data("train")
    batch["weights"] = (batch["weights"] > 0).double()
    kept = batch["weights"][:, 0] > 0
    assert 10 < kept.sum() < 50
    model, _ = fitted(problem, batch, ridge=1e-2)
    rest = {name: batch[name][kept] for name in ("x", "y")}
    alone, _ = fitted(problem, rest, ridge=1e-2)
    # The first stage: the later ones start where the other coordinate has moved, too
    torch.testing.assert_close(
        model.stages[0].weight[0], alone.stages[0].weight[0], rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(model.stages[0].bias[0], alone.stages[0].bias[0])


def test_what_a_missing_number_is_said_to_be_changes_no_stage():
    problem = Still(torch.float64, count=40)
    batch = problem.data("train")
    other = {**batch, "x": torch.where(batch["weights"] == 0, 1e6, batch["x"])}
    for settings in ({"ridge": 1e-3}, {"ridge": (1e-3, 1.0)}):
        (one, records), (two, again) = (
            fitted(problem, rows, **settings) for rows in (batch, other)
        )
        for first, second in zip(one.parameters(), two.parameters()):
            torch.testing.assert_close(first, second, rtol=1e-9, atol=1e-9)
        assert [record["ridge"] for record in records] == [record["ridge"] for record in again]


def test_weights_of_one_change_no_bit():
    problem = Still(count=40)
    batch = problem.data("train")
    full = {**batch, "weights": torch.ones_like(batch["weights"])}
    bare = {"x": batch["x"], "y": batch["y"]}
    models = []
    for samples in (full, bare):
        models.append(Cascade.for_problem(problem, num_steps=3, observation=Bent()))
        SequentialRidge(ridge=(1e-4, 1e-1)).fit(models[-1], samples)
    for first, second in zip(*(model.parameters() for model in models)):
        assert torch.equal(first, second)


def test_weights_of_samples_need_no_second_pass(monkeypatch):
    """A sample that counts twice is one that is there twice."""
    problem = Still(torch.float64, count=30)
    batch = problem.data("train")
    twice = torch.tensor([row for row in range(30) for _ in range(1 + row % 2)])
    counts = (1.0 + torch.arange(30) % 2)[:, None].double() / 2
    weighed = {**batch, "weights": counts.expand(-1, 2)}
    repeated = {"x": batch["x"][twice], "y": batch["y"][twice]}
    monkeypatch.setattr(uneven, "MOST_PASSES", 0)
    one, records = fitted(problem, weighed, ridge=1e-2)
    two, again = fitted(problem, repeated, ridge=1e-2)
    torch.testing.assert_close(one.stages[0].weight, two.stages[0].weight)
    torch.testing.assert_close(one.stages[0].bias, two.stages[0].bias)
    assert records[0]["loss"] == pytest.approx(again[0]["loss"])
    assert "residual" not in records[0]


def test_held_out_samples_count_by_their_weights():
    problem = Still(torch.float64, count=40)
    batch, held = problem.data("train"), problem.data("val")
    model = Cascade.for_problem(problem, num_steps=1, observation=Bent()).double()
    record = SequentialRidge(ridge=1e-3).fit(model, batch, held).records[0]
    known = held["weights"]
    left = [
        (known * (held["x"] - x).square()).sum() / known.sum()
        for x in (problem.initial(held), model(held).final)
    ]
    assert record["held_out_loss"] == pytest.approx([loss.item() for loss in left])


def test_a_stage_that_is_not_solved_in_time_is_said(monkeypatch, caplog):
    monkeypatch.setattr(uneven, "MOST_PASSES", 1)
    problem = Still(torch.float64, count=40)
    model = Cascade.for_problem(problem, num_steps=2, observation=Bent()).double()
    history = SequentialRidge(ridge=1e-3).fit(model, problem.data("train"))
    residual = max(record["residual"] for record in history.records)
    [doubt] = history.doubts
    assert doubt == (
        "SequentialRidge: the equations of stages 0, 1 are solved to a residual of "
        f"{residual:.2g} only, for what is known differs from coordinate to coordinate: raise ridge"
    )
    assert caplog.messages == [doubt]


@pytest.mark.parametrize("value", [-1.0, torch.inf])
def test_weights_that_make_no_sense(value):
    class Odd(Gaps):
        def target_weights(self, batch):
            return torch.where(batch["x"] == bad, value, 1.0)

    problem = Odd()
    bad = problem.data("train")["x"][17]
    message = (
        r"samples \[17\]: Odd.target_weights\(batch\): expected finite numbers, 0 or more, got"
    )
    with pytest.raises(DescentError, match=message):
        SequentialRidge(ridge=1e-3).fit(Cascade.for_problem(problem), problem.data("train"))


def test_weights_of_another_shape():
    class Odd(Gaps):
        def target_weights(self, batch):
            return torch.ones(len(batch["x"]), 3)

    problem = Odd()
    with pytest.raises(DescentError, match=r"Odd.target_weights\(batch\): expected shape"):
        SequentialRidge(ridge=1e-3).fit(Cascade.for_problem(problem), problem.data("train"))


def test_nothing_that_is_known_is_refused():
    problem = Gaps()
    batch = problem.data("train")
    batch["weights"] = torch.zeros_like(batch["weights"])
    with pytest.raises(DescentError, match="target_weights: all are 0, so nothing is known of any"):
        SequentialRidge(ridge=1e-3).fit(Cascade.for_problem(problem), batch)


@pytest.mark.parametrize(
    ("trainer", "family"), [(ParallelRidge(), Cascade), (SearchRidge(), CoarseToFineSearch)]
)
def test_what_another_closed_form_does_not_solve_is_said(trainer, family, monkeypatch):
    monkeypatch.setattr(uneven, "MOST_PASSES", 1)
    problem = Gaps()
    history = trainer.fit(
        family.for_problem(problem, num_steps=1, observation=Bent()), problem.data("train")
    )
    assert history.records[0]["residual"] > 1e-6
    (doubt,) = history.doubts
    assert doubt.startswith(f"{type(trainer).__name__}: the equations of stage 0 are solved to")


@pytest.mark.parametrize(
    ("trainer", "family"),
    [
        (SequentialRidge(ridge=1e-3), GlobalCascade),
        (ParallelRidge(), Cascade),
        (ProjectOut(appearance=0, damping=0.0), Cascade),
        (SearchRidge(), CoarseToFineSearch),
        (LocalForests(), LocalBinaryFeatures),
    ],
)
def test_no_closed_form_is_made_of_nothing(trainer, family):
    problem = Gaps()
    batch = problem.data("train")
    batch["weights"] = torch.zeros_like(batch["weights"])
    with pytest.raises(DescentError, match="target_weights: all are 0, so nothing is known of any"):
        trainer.fit(family.for_problem(problem), batch)


def test_held_out_samples_of_which_nothing_is_known_are_refused():
    problem = Gaps()
    held = problem.data("val")
    held["weights"] = torch.zeros_like(held["weights"])
    with pytest.raises(DescentError, match="target_weights: all are 0 for the held-out samples"):
        SequentialRidge(ridge=(1e-3, 1.0)).fit(
            Cascade.for_problem(problem), problem.data("train"), held
        )


def test_a_point_that_no_sample_knows_is_left_where_it_starts():
    problem = Still(torch.float64, count=40)
    batch = problem.data("train")
    batch["weights"][:, 1] = 0
    model, _ = fitted(problem, batch, ridge=1e-3)
    assert not model.stages[0].weight[1].any()
    assert not model.stages[0].bias[1].any()


def test_conjugate_gradients_solve_each_column(generator):
    size, count = 12, 5
    raw = torch.randn(count, size, size, generator=generator).double()
    matrices = raw @ raw.mT + torch.eye(size).to(raw)
    right = torch.randn(size, count, generator=generator).double()
    right[:, 2] = 0
    mean = matrices.mean(0).inverse()
    found, rest, relative = conjugate_gradients(
        lambda x: torch.einsum("cij,jc->ic", matrices, x), lambda x: mean @ x, right
    )
    assert relative <= 1e-6
    wanted = torch.linalg.solve(matrices, right.T.unsqueeze(2)).squeeze(2).T
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        rest, right - torch.einsum("cij,jc->ic", matrices, found), rtol=0, atol=1e-9
    )


def test_rows_are_kept_if_they_are_few():
    calls = []

    def make():
        calls.append(1)
        for _ in range(3):
            yield WeighedRows(torch.ones(4, 2), torch.ones(4, 1))

    for most, made in ((12, 1), (11, 3)):
        calls.clear()
        rows = KeptRows(make, most)
        assert [len(list(rows)) for _ in range(3)] == [3, 3, 3]
        assert len(calls) == made


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_landmarks_that_are_missing_are_learnt_from_the_other_faces(missing):
    problem, whole = Dots(missing), Dots()
    problem.data("train")
    model = Cascade.for_problem(problem, num_steps=3)
    SequentialRidge(ridge=0.1, repeats=4, accelerator="cpu").fit(model, problem.data("train"))
    test = whole.data("test")
    before, after = (problem.error(x, test).mean() for x in model(test).xs[[0, 3]])
    assert after < 0.45 * before


def test_gradients_do_not_see_what_a_missing_number_is_said_to_be():
    problem = Dots(0.2)
    batch = dict(problem.data("train"))
    missing = (batch["weights"] == 0).unsqueeze(2)
    other = {**batch, "points": torch.where(missing, -50.0, batch["points"])}
    models = []
    for samples in (batch, other):
        torch.manual_seed(0)
        models.append(MnemonicDescent.for_problem(problem, hidden=4, num_steps=2))
        BackpropThroughTime(iterations=3, batch_size=8, accelerator="cpu").fit(models[-1], samples)
    for first, second in zip(*(model.parameters() for model in models)):
        torch.testing.assert_close(first, second, rtol=1e-6, atol=1e-8)
