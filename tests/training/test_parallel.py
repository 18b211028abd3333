"""The parallel cascade: adding samples is training on all of them."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from learned_descent import Cascade, DescentError
from learned_descent.checkpoint import load_model
from learned_descent.cli import commands
from learned_descent.cli.main import main
from learned_descent.files import read_tensors, save_tensors
from learned_descent.problems import Analytic
from learned_descent.training import ParallelRidge, parallel
from learned_descent.training.parallel import BEFORE, SUMS

from ..toys import Bent, Gaps, Line

TRAINER = ParallelRidge(ridge=1e-4, accelerator="cpu")


def cut(batch, first, last):
    return {name: value[first:last] for name, value in batch.items()}


def made(problem):
    return Cascade.for_problem(problem, num_steps=3, observation=Bent())


def same(one, other, tolerance):
    for first, second in zip(one.parameters(), other.parameters()):
        torch.testing.assert_close(first, second, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("batch_size", [7, 64])
@pytest.mark.parametrize("simulated", [0.0, 0.5, 1.0])
def test_an_update_is_a_training_on_the_union(tmp_path, monkeypatch, batch_size, simulated):
    problem = Line(count=60)
    batch, val = problem.data("train"), problem.data("val")
    trainer = replace(TRAINER, directory=str(tmp_path), simulated=simulated)
    model, union, levels = made(problem), made(problem), made(problem)
    spreads, measure = {}, parallel._spread

    def first(source, stage, train, held):
        spreads[stage] = measure(source, stage, train, held)
        return spreads[stage]

    def frozen(source, stage, train, held):
        """Residuals and levels stay as the first training found them."""
        layer = source.model.linear(stage - 1)
        found.append(copy.deepcopy(layer))
        layer.load_state_dict(levels.linear(stage - 1).state_dict())
        return spreads[stage]

    monkeypatch.setattr(parallel, "_spread", first)
    own = replace(trainer, batch_size=batch_size)
    own.fit(model, cut(batch, 0, 25), val)
    levels.load_state_dict(model.state_dict())
    for start, end in ((25, 40), (40, 60)):
        own.partial_fit(model, cut(batch, start, end))
    monkeypatch.setattr(parallel, "_spread", frozen)
    found = []
    replace(trainer, directory=None).fit(union, batch, val)
    found.append(union.linear(2))
    same(model, torch.nn.ModuleList(found), 1e-6)


def test_new_samples_descend_through_the_levels_of_the_first_training(tmp_path, monkeypatch):
    problem = Line(count=60)
    batch, model = problem.data("train"), made(problem)
    trainer = replace(TRAINER, directory=str(tmp_path))
    trainer.fit(model, cut(batch, 0, 20))
    first, seen, rows = copy.deepcopy(model.state_dict()), [], ParallelRidge._rows

    def spied(self, source, stage, *rest, **more):
        seen.append(copy.deepcopy(source.model.state_dict()))
        return rows(self, source, stage, *rest, **more)

    monkeypatch.setattr(ParallelRidge, "_rows", spied)
    for start, end in ((20, 40), (40, 60)):
        trainer.partial_fit(model, cut(batch, start, end))
        assert not torch.equal(model.linear(0).weight, first["stages.0.weight"])
    assert len(seen) == 6
    assert all(torch.equal(state[name], first[name]) for state in seen for name in first)


def test_an_update_that_fails_leaves_the_model(tmp_path):
    problem = Gaps()
    batch, model = problem.data("train"), made(problem)
    even = {**batch, "weights": torch.ones_like(batch["weights"])}
    trainer = replace(TRAINER, directory=str(tmp_path))
    trainer.fit(model, even)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(DescentError, match="target_weights: they differ within a sample"):
        trainer.partial_fit(model, batch)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_cost_of_an_update_does_not_grow_with_the_old_samples(tmp_path):
    seen = []
    for count in (20, 200):
        problem, folder = Line(count=count), tmp_path / str(count)
        batch, model = problem.data("train"), made(problem)
        trainer = replace(TRAINER, directory=str(folder))
        trainer.fit(model, cut(batch, 0, count - 5))
        looked, rows = model.observation.forward, []
        model.observation.forward = lambda x, batch, looked=looked, rows=rows: (
            rows.append(len(x)) or looked(x, batch)
        )
        trainer.partial_fit(model, cut(batch, count - 5, count))
        seen.append((sum(rows), (folder / SUMS).stat().st_size // 64))
    assert seen[0] == seen[1]


def test_the_levels_descend():
    problem = Analytic("sin")
    model = Cascade.for_problem(problem)
    history = replace(TRAINER, repeats=20).fit(model, problem.data("train"))
    batch = problem.data("test")
    with torch.no_grad():
        errors = [problem.error(x, batch).mean().item() for x in model(batch).xs]
    assert errors[-1] < 0.1 * errors[0]
    assert [record["stage"] for record in history.records] == [0, 1, 2, 3]


def test_what_cannot_be_updated_is_refused(tmp_path):
    problem = Line()
    batch, model = problem.data("train"), made(problem)
    with pytest.raises(DescentError, match="directory: expected the folder of the sums"):
        TRAINER.partial_fit(model, batch)
    trainer = replace(TRAINER, directory=str(tmp_path))
    with pytest.raises(DescentError, match="expected the sums of a training of the family"):
        trainer.partial_fit(model, batch)
    trainer.fit(model, batch)
    with pytest.raises(DescentError, match="these were added before"):
        trainer.partial_fit(model, batch)
    with pytest.raises(DescentError, match="made with repeats=4, this training has 5"):
        replace(trainer, repeats=5).partial_fit(model, batch)
    with pytest.raises(DescentError, match="the sums are of other weights"):
        trainer.partial_fit(made(problem), problem.data("val"))
    with pytest.raises(DescentError, match="ParallelRidge trains linear stages"):
        trainer.fit(Cascade.for_problem(problem, hidden=3), batch)


def test_sums_of_an_earlier_version_are_refused(tmp_path):
    problem = Line()
    model = made(problem)
    trainer = replace(TRAINER, directory=str(tmp_path))
    trainer.fit(model, problem.data("train"))
    metadata, tensors = read_tensors(tmp_path / SUMS)
    about = json.loads(metadata["learned_descent_sums"])
    del about["settings"]["simulated"]
    save_tensors(tmp_path / SUMS, tensors, {"learned_descent_sums": json.dumps(about)})
    with pytest.raises(DescentError, match="the sums are of an earlier version"):
        trainer.partial_fit(model, problem.data("val"))


def test_a_share_is_one():
    with pytest.raises(DescentError, match=r"simulated: expected a share in \[0, 1\], got 1.5"):
        ParallelRidge(simulated=1.5)


def test_uneven_weights_are_trained_and_keep_no_sums(tmp_path):
    problem = Gaps()
    model = made(problem)
    replace(TRAINER, directory=str(tmp_path)).fit(model, problem.data("train"))
    assert model.stages[0].weight.abs().max() > 0
    assert not (tmp_path / SUMS).exists()


def test_what_a_missing_coordinate_holds_is_not_used():
    problem = Gaps(torch.float64)
    batch = problem.data("train")
    other = {**batch, "x": torch.where(batch["weights"] == 0, 100.0, batch["x"])}
    models = [made(problem).double() for _ in range(2)]
    for model, samples in zip(models, (batch, other)):
        TRAINER.fit(model, samples)
    same(*models, 1e-6)


def test_a_descent_that_leaves_all_bounds_is_said():
    class Wild(Line):
        def retract(self, x, delta):
            return x + delta / 0

    problem = Wild()
    model = made(problem)
    with pytest.raises(
        DescentError, match="expected finite numbers in 'update that is missing in stage 1'"
    ):
        TRAINER.fit(model, problem.data("train"))


def test_an_update_that_was_cut_off_can_be_made_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quick = "--problem.num_points 8 --problem.num_train 32"
    train = f"train pose --family incremental --out one --parallel.accelerator cpu {quick}"
    assert main(train.split()) == 0
    again = "update one/model.safetensors --problem.num_train 40"
    assert main(f"{again} --out two".split()) == 0

    def killed(*_, **__):
        raise DescentError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(commands, "save_model", killed)
        assert main(f"{again} --out one --overwrite".split()) == 2
    assert main(f"{again} --out one --overwrite".split()) == 0
    assert not Path("one", BEFORE).exists()
    same(*(load_model(f"{name}/model.safetensors") for name in ("one", "two")), 1e-6)


def test_the_command_goes_on_with_new_samples(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    quick = "--problem.num_points 8 --problem.num_train 32"
    train = f"train pose --family incremental --out one --parallel.accelerator cpu {quick}"
    assert main(train.split()) == 0
    again = "update one/model.safetensors --out two --problem.num_train 32"
    assert main(again.split()) == 2
    assert "these were added before" in capsys.readouterr().err
    more = "update one/model.safetensors --out two --problem.num_train 40"
    Path("one/model.safetensors").rename("old.safetensors")
    assert main(f"{more} --sums one --out one".replace("one/model", "old").split()) == 2
    assert "one/sums.safetensors: is there already: give another --out" in capsys.readouterr().err
    Path("old.safetensors").rename("one/model.safetensors")
    code = main(more.split())
    found = capsys.readouterr()
    assert code == 0, found.err
    assert "added 40 samples" in found.out
    assert "MB)" in found.out
    old, new = (load_model(f"{name}/model.safetensors") for name in ("one", "two"))
    assert not torch.equal(old.stages[0].weight, new.stages[0].weight)
