"""A folder has one run at a time."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from learned_descent import BackpropThroughTime, DescentError, MnemonicDescent
from learned_descent.problems import Analytic
from learned_descent.system.lock import LOCK, locked

HOLD = """
import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""

FORK = """
import os, sys, time
from learned_descent.system.lock import locked
with locked(sys.argv[1]):
    child = os.fork()
    if child == 0:
        os.close(1)
        os.close(2)
        time.sleep(60)
        os._exit(0)
    print(child, flush=True)
    os.kill(os.getpid(), 9)
"""


@contextmanager
def held_elsewhere(folder) -> Iterator[subprocess.Popen[str]]:
    """Another process holds the lock of a folder, as this library does."""
    (folder / LOCK).write_text("process 77 on far\x1b[31m since noon")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder / LOCK)], text=True, **pipes
    ) as other:
        assert other.stdout.readline() == "held\n"
        yield other
        other.kill()


def test_a_folder_that_is_in_use_is_refused_and_its_files_stay(tmp_path):
    (tmp_path / ".learned_descent-abc.safetensors").touch()
    expected = (
        rf"{tmp_path}: is in use by another run \(process 77 on far\[31m since noon\): wait for "
        r"its end or stop it"
    )
    with held_elsewhere(tmp_path):
        with pytest.raises(DescentError, match=expected), locked(tmp_path):
            pass
        assert (tmp_path / ".learned_descent-abc.safetensors").exists(), "it may be the other's"


def test_the_lock_dies_with_its_holder(tmp_path):
    with held_elsewhere(tmp_path) as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
        with locked(tmp_path):
            assert re.fullmatch(
                rf"process {os.getpid()} on .* since .*", (tmp_path / LOCK).read_text()
            )


def test_what_killed_writers_left_is_swept_and_nothing_else(tmp_path):
    (tmp_path / "inner").mkdir()
    kept = [tmp_path / ".hidden.safetensors", tmp_path / "model.safetensors", tmp_path / "inner"]
    for path in (
        *kept[:2],
        tmp_path / ".learned_descent-a1.safetensors",
        tmp_path / ".learned_descent-b2.csv",
    ):
        path.touch()
    with locked(tmp_path):
        assert sorted(tmp_path.iterdir()) == sorted([*kept, tmp_path / LOCK])
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_what_a_process_has_locked_it_may_use(tmp_path):
    with locked(tmp_path):
        with locked(tmp_path / "." / "x" / ".."):
            pass
        assert (tmp_path / LOCK).exists(), "the inner one does not end the outer one"
    assert not (tmp_path / LOCK).exists()


def test_the_other_ranks_of_a_run_share_its_lock(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with held_elsewhere(tmp_path), locked(tmp_path):
        pass


def test_forked_workers_do_not_keep_the_lock(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FORK, str(tmp_path)], capture_output=True, text=True, check=False
    )
    try:
        assert done.returncode == -signal.SIGKILL
        with locked(tmp_path):
            pass
    finally:
        os.kill(int(done.stdout), signal.SIGKILL)


def test_a_trainer_keeps_its_directory_and_its_checkpoint(tmp_path):
    problem = Analytic("sin")
    with torch.random.fork_rng(devices=[]):
        model = MnemonicDescent.for_problem(problem, hidden=4)
    trainer = BackpropThroughTime(
        iterations=2, batch_size=8, accelerator="cpu", directory=str(tmp_path)
    )
    with held_elsewhere(tmp_path), pytest.raises(DescentError, match="is in use by another run"):
        trainer.fit(model, problem.data("train"))
    trainer.fit(model, problem.data("train"))
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    with pytest.raises(
        DescentError, match=r"checkpoint.safetensors: is there already: give resume=True to go on"
    ):
        trainer.fit(model, problem.data("train"))
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before
