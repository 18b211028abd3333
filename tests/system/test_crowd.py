from __future__ import annotations

import os
import sys

import pytest
import torch

from learned_descent import BackpropThroughTime, MnemonicDescent
from learned_descent.files import load_state
from learned_descent.system import crowd
from learned_descent.system.crowd import Crowd, times_of_threads

from ..toys import Turn

ALONE = {"a": (1.0, 0.0), "b": (1.0, 0.05), "idle": (0.0, 0.0)}
CROWDED = {"a": (1.0, 1.0), "b": (0.9, 1.1), "idle": (0.0, 0.0)}


@pytest.fixture
def two_threads(monkeypatch):
    """A process that may choose between two threads, and whose trial takes no time."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(crowd, "_TRIAL", 0.0)
    monkeypatch.setattr(crowd, "_SECONDS", 0.0)
    usual = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(usual)


def told(monkeypatch, *spent):
    """What the system tells of the threads: nothing at first, and what they spent between one
    decision and the next."""
    total = dict.fromkeys(ALONE, (0.0, 0.0))
    answers = [total, total]  # at the beginning of everything and at that of the trial
    for new in spent:
        total = {
            name: (ran + new[name][0], waited + new[name][1])
            for name, (ran, waited) in total.items()
        }
        answers += [total, total]
    monkeypatch.setattr(
        crowd, "times_of_threads", lambda: answers.pop(0) if len(answers) > 1 else answers[0]
    )


@pytest.mark.usefixtures("two_threads")
def test_threads_with_a_processor_to_themselves_stay(monkeypatch, caplog):
    told(monkeypatch, ALONE, ALONE)
    with Crowd() as found:
        found.begin()
        found.look()
        assert found.threads == torch.get_num_threads() == 2
    assert not caplog.messages


@pytest.mark.usefixtures("two_threads")
def test_threads_that_wait_are_given_up_before_a_training(monkeypatch, caplog):
    told(monkeypatch, CROWDED)
    with Crowd() as found:
        found.begin()
        assert found.threads == torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    [message] = caplog.messages
    assert message.startswith("Others keep the processors busy: the training takes 1 of 2 threads")


@pytest.mark.usefixtures("two_threads")
def test_threads_that_have_to_wait_later_are_given_up_then(monkeypatch):
    told(monkeypatch, ALONE, CROWDED)
    with Crowd() as found:
        found.begin()
        assert torch.get_num_threads() == 2
        found.look()
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_the_number_that_the_user_sets_stays(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    told(monkeypatch, CROWDED, CROWDED)
    with Crowd() as found:
        found.begin()
        found.look()
        assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_a_training_goes_on_with_the_threads_that_it_had(monkeypatch, tmp_path):
    problem, seen = Turn(), []

    class StoppedError(Exception):
        pass

    def augment(batch, generator):
        seen.append(torch.get_num_threads())
        if len(seen) == 8:
            raise StoppedError
        return batch

    problem.augment = augment
    settings = {
        "iterations": 10,
        "batch_size": 8,
        "validate_every": 5,
        "accelerator": "cpu",
        "directory": str(tmp_path),
    }
    told(monkeypatch, CROWDED)
    with pytest.raises(StoppedError):
        BackpropThroughTime(**settings).fit(
            MnemonicDescent.for_problem(problem, hidden=4), problem.data("train")
        )
    assert load_state(tmp_path / "checkpoint.safetensors")["threads"] == 1
    told(monkeypatch, ALONE)
    BackpropThroughTime(**settings, resume=True).fit(
        MnemonicDescent.for_problem(problem, hidden=4), problem.data("train")
    )
    assert seen[-5:] == [1] * 5
    assert torch.get_num_threads() == 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_the_system_tells_of_every_thread():
    before = times_of_threads()
    assert str(os.getpid()) in before
    sum(range(10**6))
    after = times_of_threads()
    assert after[str(os.getpid())] > before[str(os.getpid())]
