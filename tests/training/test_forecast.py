"""How long a training will take."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from learned_descent import recipes_for
from learned_descent.problems import Analytic


@pytest.fixture
def problem() -> Analytic:
    return Analytic("sin")


def test_a_rehearsal_tells_the_time_and_leaves_no_trace(problem, capsys):
    recipe = recipes_for(Analytic)["mdm"]
    model, samples = recipe.build(problem), problem.data("train")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert 0 < recipe.forecast(model, samples) < 600
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert capsys.readouterr().err == ""


def test_twice_the_iterations_take_twice_as_long(problem, monkeypatch):
    recipe = recipes_for(Analytic)["mdm"]
    model, samples = recipe.build(problem), problem.data("train")
    clock = iter(range(1000))
    monkeypatch.setattr("learned_descent.training.bptt.time.perf_counter", lambda: next(clock))
    longer = replace(recipe, trainers={"bptt": recipe.trainers["bptt"].changed({"iterations": 70})})
    assert longer.forecast(model, samples) == 70


def test_the_closed_form_is_no_part_of_it(problem):
    recipe = recipes_for(Analytic)["sdm"]
    assert recipe.forecast(recipe.build(problem), problem.data("train")) == 0


def test_what_cannot_be_told(problem, tmp_path):
    recipe = recipes_for(Analytic)["mdm"]
    model, samples = recipe.build(problem), problem.data("train")
    short = replace(recipe, trainers={"bptt": recipe.trainers["bptt"].changed({"iterations": 39})})
    assert short.forecast(model, samples) is None
    broken = {name: torch.full_like(value, torch.nan) for name, value in samples.items()}
    assert recipe.forecast(model, broken) is None
    (tmp_path / "checkpoint.safetensors").touch()
    resumed = recipe.within(tmp_path, resume=True)
    assert resumed.forecast(model, samples) is None
