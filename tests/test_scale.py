"""The parts of the measurements of docs/scale.md that are quick."""

from __future__ import annotations

import pytest
import torch

from benchmarks import nodes, ten_million
from learned_descent import DescentError
from learned_descent.data import write_shards
from learned_descent.files import save_state


def test_samples_come_again():
    again = ten_million.Again({"y": torch.arange(3)}, 7)
    assert [int(again[place]["y"]) for place in range(len(again))] == [0, 1, 2, 0, 1, 2, 0]


def test_a_pass_over_shards_is_timed(tmp_path):
    write_shards(tmp_path, ten_million.Again({"y": torch.zeros(3, 2)}, 7), size=4)
    assert 0 < ten_million.reading(tmp_path) < 1
    assert 0 < ten_million.drawing(1000) < 10


def test_a_checkpoint_is_waited_for(tmp_path, monkeypatch):
    checkpoint = tmp_path / "checkpoint.safetensors"
    assert nodes.reached(checkpoint) == 0
    save_state(checkpoint, {"iteration": 40})
    assert nodes.wait_beyond(checkpoint, 20) == 40
    monkeypatch.setattr(nodes, "_DEADLINE", 0.0)
    with pytest.raises(DescentError, match="nothing after iteration 40: see the logs"):
        nodes.wait_beyond(checkpoint, 40)


def test_a_network_that_cannot_be_made_is_said():
    with pytest.raises(DescentError, match=r"ls nowhere-at-all: .*: it takes root on Linux"):
        nodes.run("ls", "nowhere-at-all")
