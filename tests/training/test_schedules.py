"""How the learning rate falls, and what a resume and the command line know of it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import yaml

from examples.schedule import Stairs, main
from learned_descent import BackpropThroughTime, DescentError, MnemonicDescent
from learned_descent.cli.main import main as command
from learned_descent.files import load_state, save_state
from learned_descent.training.schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    Linear,
    Schedule,
)

from ..toys import Turn


def fit(**settings) -> list[float]:
    """The learning rates of a short training."""
    problem = Turn()
    quick = {
        "iterations": 20,
        "batch_size": 8,
        "lr": 1e-2,
        "warmup": 0.2,
        "validate_every": 1,
        "accelerator": "cpu",
    }
    model = MnemonicDescent.for_problem(problem, num_steps=2, hidden=4)
    history = BackpropThroughTime(**{**quick, **settings}).fit(model, problem.data("train"))
    return [record["lr"] for record in history.records]


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_begins_at_one_never_rises_and_has_a_name(name):
    schedule = SCHEDULES[name]
    factors = [schedule.factor(iteration, 50) for iteration in range(51)]
    assert factors[0] == 1
    assert factors == sorted(factors, reverse=True)
    assert min(factors) >= 0
    assert str(schedule) == name
    assert repr(schedule) == f"{type(schedule).__name__}()"


def test_the_default_is_a_warm_up_and_half_a_cosine():
    rise = [1e-2 * (iteration + 1) / 5 for iteration in range(4)]
    fall = [1e-2 * 0.5 * (1 + math.cos(math.pi * iteration / 16)) for iteration in range(16)]
    assert fit() == fit(schedule=Cosine()) == rise + fall


def test_what_is_given_goes_on_after_the_warm_up():
    rise = [1e-2 * (iteration + 1) / 5 for iteration in range(4)]
    assert fit(schedule=Constant()) == [*rise, *[1e-2] * 16]
    assert fit(schedule=Linear())[4:] == [1e-2 * (1 - iteration / 16) for iteration in range(16)]
    assert fit(schedule=Stairs(count=2, drop=10.0))[4:] == [*[1e-2] * 8, *[1e-3] * 8]


def test_schedules_are_equal_by_their_settings():
    assert Stairs(3) == Stairs(3) != Stairs(2)
    assert len({Stairs(3), Stairs(3), Stairs(2), Cosine(), Linear()}) == 4
    assert str(Stairs(3, 2.0)) == "Stairs(count=3, drop=2.0)"


def test_a_training_goes_on_with_its_own_schedule_only(tmp_path):
    place = {"directory": str(tmp_path), "resume": True}
    fit(**place, schedule=Stairs(3))
    fit(**place, schedule=Stairs(3))
    with pytest.raises(
        DescentError,
        match=r"made with schedule='Stairs\(count=3.*this training has 'Stairs\(count=2",
    ):
        fit(**place, schedule=Stairs(2))
    with pytest.raises(
        DescentError, match=r"made with schedule='Stairs\(.*this training has 'cosine'"
    ):
        fit(**place)


def test_a_checkpoint_from_before_there_were_schedules_is_read(tmp_path):
    fit(directory=str(tmp_path))
    path = tmp_path / "checkpoint.safetensors"
    state = load_state(path)
    del state["identity"]["settings"]["schedule"]
    save_state(path, state)
    fit(directory=str(tmp_path), resume=True)
    with pytest.raises(
        DescentError, match="made with schedule='cosine', this training has 'linear'"
    ):
        fit(directory=str(tmp_path), resume=True, schedule=Linear())


def test_what_is_no_schedule_is_refused():
    with pytest.raises(
        DescentError, match=r"schedule: expected a Schedule, such as Cosine\(\), got 'cosine'"
    ):
        BackpropThroughTime(schedule="cosine")
    with pytest.raises(TypeError, match="abstract"):
        Schedule()


def test_the_command_line_and_its_files_name_a_schedule(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = "train analytic --family mdm --bptt.iterations 2 --bptt.accelerator cpu"
    assert command([*line.split(), "--bptt.schedule", "constant", "--out", "one"]) == 0
    assert yaml.safe_load(Path("one/settings.yaml").read_text())["bptt"]["schedule"] == "constant"
    assert command([*["train", "analytic", "--config", "one/settings.yaml", "--out", "two"]]) == 0
    assert yaml.safe_load(Path("two/settings.yaml").read_text())["bptt"]["schedule"] == "constant"
    capsys.readouterr()
    assert command([*line.split(), "--bptt.schedule", "os.system", "--out", "three"]) == 2
    assert "--bptt.schedule" in (said := capsys.readouterr().err)
    assert (
        "expected one of constant, cosine, linear, or package.module:NAME, or file.py:NAME" in said
    )
    compare = "compare analytic --families mdm --mdm.bptt.iterations 2 --mdm.bptt.accelerator cpu"
    assert command([*compare.split(), "--mdm.bptt.schedule", "linear", "--out", "four"]) == 0
    assert '"schedule": "linear"' in Path("four/results.json").read_text()


def test_the_example_is_chosen_on_the_command_line_alone(tmp_path, capsys, monkeypatch):
    stairs = f"{Path('examples/schedule.py').resolve()}:Stairs"
    monkeypatch.chdir(tmp_path)
    line = "train analytic --family mdm --bptt.iterations 60 --bptt.warmup 0 --bptt.accelerator cpu"
    chosen = ["--bptt.schedule", stairs]
    assert command([*line.split(), *chosen, "--out", "one"]) == 0
    settings = yaml.safe_load(Path("one/settings.yaml").read_text())
    assert settings["bptt"]["schedule"] == "Stairs(count=3, drop=4.0)"
    history = json.loads(Path("one/history.json").read_text())
    rates = [record["lr"] for record in history["trainers"]["bptt"]["records"]]
    assert sorted({rate / rates[0] for rate in rates}) == pytest.approx([1 / 16, 1 / 4, 1])
    assert command([*line.split(), *chosen, "--out", "one", "--resume"]) == 0
    capsys.readouterr()
    assert command([*line.split(), "--out", "one", "--resume"]) == 2
    assert "schedule" in capsys.readouterr().err
    again = ["train", "analytic", "--config", "one/settings.yaml"]
    assert command([*again, "--out", "two"]) == 2
    assert (
        "--config one/settings.yaml: bptt.schedule: Stairs(count=3, drop=4.0) is one of your own, "
        "and a file names no code: remove this line, and type --bptt.schedule file.py:Stairs"
    ) in capsys.readouterr().err
    lines = Path("one/settings.yaml").read_text().splitlines()
    Path("less.yaml").write_text("\n".join(line for line in lines if "Stairs" not in line))
    again = ["train", "analytic", "--config", "less.yaml", *chosen]
    assert command([*again, "--out", "three"]) == 0
    assert yaml.safe_load(Path("three/settings.yaml").read_text()) == settings
    Path("own.yaml").write_text(f"bptt: {{schedule: '{stairs}'}}")
    assert command([*line.split(), "--out", "two", "--config", "own.yaml"]) == 2
    assert "bptt.schedule: a file sets options and names no code" in capsys.readouterr().err


def test_the_example_climbs_down_its_stairs(capsys):
    model, history = main(iterations=60)
    errors = [record["val_error"][-1] for record in history.records]
    assert errors[-1] < 0.5 * errors[0]
    assert not model.training
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(history.records) + 1
    assert lines[-1] == f"the best weights are those after {history.best_step} iterations"
    assert len({line[5:45] for line in lines[-22:-1]}) >= 3, "three heights"
    assert len(Path("examples/schedule.py").read_text().splitlines()) <= 60
