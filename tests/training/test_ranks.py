from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from learned_descent import DescentError
from learned_descent.files import load_state
from learned_descent.system.allocator import keep_freed_memory
from learned_descent.training.ranks import TIMEOUT, launch, longest_wait

from . import parted_ranks, two_ranks


@pytest.mark.slow
def test_two_data_parallel_ranks_equal_one(tmp_path):
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        two_ranks.__file__,
    ]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    done = subprocess.run(
        [*command, str(tmp_path / "two")],
        capture_output=True,
        text=True,
        env=environment,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    found, wanted = load_state(tmp_path / "two"), two_ranks.train()
    assert found["world"] == 2
    assert found["weights"].keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(
            found["weights"][name],
            value,
            rtol=1e-7,
            atol=1e-9,
            msg=lambda text, name=name: f"{name}: {text}",
        )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_is_refused_where_there_is_none():
    with pytest.raises(DescentError, match='accelerator="cuda": PyTorch finds no CUDA device'):
        launch("cuda", 1)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_memory_is_used_again():
    import resource

    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(4_000_000)  # 3,906 pages
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    assert keep_freed_memory()
    assert min(faults() for _ in range(5)) < 100


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_the_memory_of_very_large_tensors_goes_back():
    import resource

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    assert keep_freed_memory()
    before = resident()
    torch.ones(40_000_000)
    assert resident() - before < 40_000_000, (
        "of 160,000,000 bytes: they would leave holes that small ones fall into"
    )


def test_more_processes_than_cores_are_refused_before_they_start():
    with pytest.raises(DescentError, match=r"devices: expected at most \d+ .*, got 4096"):
        launch("cpu", 4096)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no signal that stops a process")
def test_ranks_that_are_parted_say_so(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "test",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        TIMEOUT: "10",
    }
    started = [
        subprocess.Popen(
            [sys.executable, parted_ranks.__file__, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    try:
        found, _ = started[0].communicate(timeout=120)
    finally:
        for rank in started:
            rank.kill()
            rank.communicate()
    apart, silent = found.splitlines()[-2:]
    assert apart == (
        f"{tmp_path}/disk-0/checkpoint.safetensors: cannot resume: rank 0 would go on from "
        "iteration 2, and others from other ones: give a directory that all nodes share"
    )
    assert silent == (
        "rank 0 of 2: another rank did not answer; it has 10 s (LEARNED_DESCENT_RANK_TIMEOUT): "
        "look whether it ended, is stopped, swapped out or cut off, and go on from the last "
        "checkpoint"
    )


@pytest.mark.parametrize("value", ["0", "-1", "soon", "inf", "nan"])
def test_a_time_that_is_none_is_refused(monkeypatch, value):
    monkeypatch.setenv(TIMEOUT, value)
    with pytest.raises(DescentError, match=f"{TIMEOUT}: expected a number of seconds > 0, got"):
        launch("cpu", 1)
    monkeypatch.delenv(TIMEOUT)
    assert longest_wait() == 1800
