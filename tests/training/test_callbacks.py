"""What is told of a training, when, and that nothing comes of it."""

from __future__ import annotations

import importlib.util
import json
import sys

import pytest
import torch
from lightning_fabric.loggers import CSVLogger

from learned_descent import BackpropThroughTime, DescentError, MnemonicDescent
from learned_descent.families import Recipe
from learned_descent.training import Callback, CSVLog, LightningLog, tensorboard, weights_and_biases

from ..toys import Turn


class Diary(Callback):
    """Writes down what it is told, and does with it what it should not."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def start(self, records):
        self.told.append(("start", [record["iteration"] for record in records]))
        records.clear()

    def record(self, record):
        self.told.append(record["iteration"])
        record["val_error"][-1] = -1.0
        record["iteration"] = 99
        torch.rand(3)

    def end(self, history):
        self.told.append(("end", history.best_step))
        history.records.clear()


def fit(**settings):
    problem = Turn()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MnemonicDescent.for_problem(problem, num_steps=2, hidden=4, dropout=0.5)
    quick = {
        "iterations": 8,
        "batch_size": 8,
        "lr": 1e-2,
        "validate_every": 4,
        "accelerator": "cpu",
    }
    return model, BackpropThroughTime(**{**quick, **settings}).fit(
        model, problem.data("train"), problem.data("val")
    )


def plain(history):
    return [{**record, "seconds": 0} for record in history.records]


def test_every_record_and_the_end_are_told_in_order():
    diary = Diary()
    history = fit(callbacks=[diary])[1]
    assert diary.told == [("start", []), 0, 4, 8, ("end", history.best_step)]


def test_nothing_that_a_callback_does_changes_the_training(tmp_path):
    model, history = fit(directory=str(tmp_path / "alone"))
    other, watched = fit(directory=str(tmp_path / "watched"), callbacks=[Diary()])
    assert plain(history) == plain(watched)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters()))


def test_a_training_goes_on_with_other_callbacks(tmp_path):
    class StopsError(Exception):
        pass

    class Stops(Callback):
        def record(self, record):
            if record["iteration"] == 4:
                raise KeyboardInterrupt

    model, history = fit()
    with pytest.raises(KeyboardInterrupt):
        fit(directory=str(tmp_path), callbacks=[Stops()])
    diary = Diary()
    other, resumed = fit(directory=str(tmp_path), resume=True, callbacks=[diary])
    assert diary.told == [("start", [0, 4]), 8, ("end", resumed.best_step)]
    assert plain(history) == plain(resumed)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters()))
    assert [line.split(",")[0] for line in (tmp_path / "log.csv").read_text().splitlines()] == [
        "iteration",
        "0",
        "4",
        "8",
    ]


def test_the_log_in_the_directory_is_one_of_them(tmp_path):
    fit(directory=str(tmp_path), callbacks=[CSVLog(tmp_path / "mine" / "again.csv")])
    assert (tmp_path / "mine" / "again.csv").read_bytes() == (tmp_path / "log.csv").read_bytes()


def test_a_callback_that_fails_is_named():
    class Broken(Callback):
        def record(self, record):
            return 1 / 0

    with pytest.raises(
        DescentError, match=r"Broken.record failed with ZeroDivisionError.*test_callbacks.py"
    ):
        fit(callbacks=[Broken()])


def test_what_is_no_callback_is_refused():
    with pytest.raises(
        DescentError, match=r"callbacks: expected instances of Callback, got <class .*Diary'>"
    ):
        fit(callbacks=[Diary])


def test_callbacks_are_no_part_of_what_two_trainers_agree_in():
    assert BackpropThroughTime(callbacks=[Diary()]) == BackpropThroughTime()


def test_a_rehearsal_is_told_to_nobody():
    problem, diary = Turn(), Diary()
    trainer = BackpropThroughTime(iterations=60, batch_size=8, accelerator="cpu", callbacks=[diary])
    recipe = Recipe(MnemonicDescent, {"hidden": 4}, trainers={"bptt": trainer})
    assert recipe.forecast(recipe.build(problem), problem.data("train")) > 0
    assert not diary.told


def test_a_logger_of_lightning_gets_numbers_by_name_and_the_iteration(tmp_path):
    fit(callbacks=[LightningLog(CSVLogger(tmp_path, name="", version=""))])
    [path] = tmp_path.rglob("metrics.csv")
    lines = path.read_text().splitlines()
    assert set(lines[0].split(",")) == {
        "loss",
        "lr",
        "seconds",
        "step",
        "val_error_0",
        "val_error_1",
        "val_error_2",
    }
    assert [line.split(",")[lines[0].split(",").index("step")] for line in lines[1:]] == [
        "0",
        "4",
        "8",
    ]


def test_a_missing_package_is_named_with_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr("lightning_fabric.loggers.tensorboard._TENSORBOARD_AVAILABLE", False)
    monkeypatch.setattr("lightning_fabric.loggers.tensorboard._TENSORBOARDX_AVAILABLE", False)
    message = r"is not installed, and this log needs it: pip install 'learned-descent\[logging\]'"
    with pytest.raises(DescentError, match=f"tensorboard: {message}"):
        tensorboard(tmp_path)
    monkeypatch.setitem(sys.modules, "pytorch_lightning.loggers", None)
    with pytest.raises(DescentError, match=f"pytorch-lightning: {message}"):
        weights_and_biases("faces")


def there(*packages: str) -> bool:
    return all(importlib.util.find_spec(package) for package in packages)


@pytest.mark.skipif(not there("tensorboard"), reason="needs the extra logging")
@pytest.mark.filterwarnings("default")
def test_tensorboard_reads_what_was_logged(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = fit(callbacks=[tensorboard(tmp_path, "sin")])[1]
    [file] = tmp_path.rglob("events*")
    events = EventAccumulator(str(file.parent)).Reload()
    found = [(event.step, event.value) for event in events.Scalars("val_error_2")]
    assert found == [
        (record["iteration"], pytest.approx(record["val_error"][2])) for record in history.records
    ]


@pytest.mark.skipif(not there("wandb", "pytorch_lightning"), reason="needs the extra logging")
@pytest.mark.filterwarnings("default")
def test_weights_and_biases_keeps_what_was_logged(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    log = weights_and_biases("learned-descent", directory=tmp_path)
    history = fit(callbacks=[log])[1]
    import wandb

    summary = json.loads(json.dumps(dict(wandb.run.summary), default=str))
    wandb.finish()
    assert summary["val_error_2"] == pytest.approx(history.records[-1]["val_error"][2])
    assert list(tmp_path.rglob("*.wandb"))
