"""Landmarks that keep to a shape model."""

from __future__ import annotations

import json

import pytest
import torch

from learned_descent import Cascade, DescentError
from learned_descent.checkpoint import load_model, read_stored, save_model
from learned_descent.cli.main import main
from learned_descent.landmarks.geometry import apply_similarity
from learned_descent.landmarks.shape_model import InShapeModel
from learned_descent.testing.checks import check_problem
from learned_descent.training import ProjectOut

from .dots import Dots
from .drawn import write_wings


@pytest.fixture(scope="module")
def kites() -> InShapeModel:
    return InShapeModel.around(Dots(), components=4)


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_the_contract_holds(missing):
    check_problem(InShapeModel.around(Dots(missing), components=4))


def test_every_shape_of_the_model_is_found_again(kites):
    batch = kites.data("train")
    x = kites.target(batch)
    torch.testing.assert_close(kites.nearest(kites.points(x)), x, rtol=1e-4, atol=1e-4)
    left = (kites.points(x) - batch["points"]).norm(dim=2).mean()
    without = torch.cat([x[:, :4], torch.zeros_like(x[:, 4:])], 1)
    assert left < 0.7 * (kites.points(without) - batch["points"]).norm(dim=2).mean()


def test_all_components_say_any_shape():
    problem = InShapeModel.around(Dots(), components=10)  # 4 + 10 numbers for 7 landmarks
    batch = problem.data("test")
    torch.testing.assert_close(
        problem.points(problem.target(batch)), batch["points"], rtol=0, atol=1e-3
    )


def test_a_similarity_changes_no_weight(kites):
    points = kites.points(kites.target(kites.data("train")))
    moved = torch.cat(
        [apply_similarity(torch.tensor([[0.3, 2.5, 7.0, -4.0]]), shape) for shape in points]
    )
    weights = kites.nearest(points)[:, 4:]
    torch.testing.assert_close(kites.nearest(moved)[:, 4:], weights, rtol=1e-4, atol=1e-4)


def test_starts_are_those_of_the_other_problem(kites):
    batch = kites.data("val")
    for draw in (None, torch.Generator().manual_seed(0)):
        again = None if draw is None else torch.Generator().manual_seed(0)
        x, other = kites.initial(batch, draw), kites.problem.initial(batch, again)
        torch.testing.assert_close(kites.points(x).flatten(1), other, rtol=0, atol=1e-3)
        assert x[:, 4:].abs().max() < 1e-4


def test_an_update_moves_landmarks_by_as_much_as_it_says(kites):
    x = kites.initial(kites.data("val"))
    middle = kites.points(x)
    for number in range(x.shape[1]):
        delta = torch.zeros_like(x)
        delta[:, number] = 0.1
        moved = kites.points(kites.retract(x, delta)) - middle
        far = moved.square().sum(2).mean(1).sqrt() / kites.problem.box_side
        torch.testing.assert_close(far, torch.full_like(far, 0.1), rtol=1e-3, atol=0)


def test_what_a_missing_landmark_holds_is_not_used():
    targets = []
    for filler in (-30.0, 70.0):
        problem = InShapeModel.around(Dots(0.2, filler), components=4)
        batch = {**problem.data("train")}
        missing = batch["weights"] == 0
        batch["points"] = batch["points"].masked_fill(missing.unsqueeze(2), filler)
        targets.append(problem.target(batch))
    torch.testing.assert_close(*targets, rtol=1e-4, atol=1e-3)


def test_the_error_is_that_of_the_landmarks(kites):
    batch = kites.data("test")
    x = kites.initial(batch)
    torch.testing.assert_close(
        kites.error(x, batch), kites.problem.error(kites.problem.initial(batch), batch)
    )
    assert kites.error(kites.target(batch), batch).min() > 0
    assert next(iter(kites.metrics(x, batch))) == "7 points / inter_ocular"


def test_po_cr_descends_and_is_saved_with_its_shapes(kites, tmp_path):
    model = Cascade.for_problem(kites, num_steps=3)
    ProjectOut(appearance=(0, 10), damping=(0.1, 1.0), accelerator="cpu").fit(
        model, kites.data("train"), kites.data("val")
    )
    batch, path = kites.data("test"), tmp_path / "model.safetensors"
    with torch.no_grad():
        found = model(batch).final
        assert (
            kites.error(found, batch).mean() < 0.6 * kites.error(kites.initial(batch), batch).mean()
        )
        save_model(model, path)
        other = InShapeModel.around(Dots(), components=4)
        other.mean.zero_()  # what the file says of shapes is taken
        again = load_model(path, problem=other)
        assert torch.equal(again(batch).final, found)


def test_the_command_line_wraps_a_problem(tmp_path, capsys):
    data = str(write_wings(tmp_path, 12))
    words = f"--data {data} --problem.components 3 --out {tmp_path / 'out'}"
    more = '--problem.settings {"crop":64,"box_side":36} --family po-cr --observation.cells 1'
    few = "--jacobians.appearance [0] --jacobians.accelerator cpu --model.num_steps 1"
    assert main(f"train in-shape-model {more} {few} {words}".split()) == 0, capsys.readouterr().err
    weights = tmp_path / "out" / "model.safetensors"
    stored = read_stored(weights).description["problem"]
    assert stored["settings"]["of"] == "landmarks"
    assert stored["settings"]["settings"]["crop"] == 64
    assert data not in json.dumps(stored)
    assert load_model(weights).problem.components.shape == (3, 5, 2)
    assert main(["evaluate", str(weights), "--data", data]) == 0, capsys.readouterr().err


def test_what_cannot_be_wrapped_is_refused():
    with pytest.raises(DescentError, match="of: expected a problem of landmarks, got 'pose'"):
        InShapeModel("pose")
    with pytest.raises(DescentError, match=r"of 'mine\.py:Mine': expected one of analytic, "):
        InShapeModel("mine.py:Mine")
    point = InShapeModel("landmarks", settings={"schema": {"name": "one", "num_points": 1}})
    with pytest.raises(DescentError, match="one landmark has neither a size nor a direction"):
        point._learn(torch.rand(4, 1, 2))
    with pytest.raises(DescentError, match="components: expected 1 or more, got 0"):
        InShapeModel.around(Dots(), components=0)


def test_few_shapes_make_few_components():
    problem = InShapeModel.around(Dots(), components=10)
    few = {name: value[:6] for name, value in problem.problem.data("train").items()}
    problem.problem._data["train"] = few
    check_problem(problem)
    assert problem.components.flatten(1).any(1).sum() == 6
