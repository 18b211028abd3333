from __future__ import annotations

import gc
import json

import pytest
import torch
from safetensors.torch import save_file

from learned_descent import DescentError
from learned_descent._files import atomic_write, load_state, save_state, write_json


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "made" / "file.txt"
    atomic_write(path, lambda temporary: temporary.write_text("old"))

    def fail(temporary):
        temporary.write_text("half of the n")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        atomic_write(path, fail)
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path], "nothing is left behind"


def test_a_new_file_may_be_read_by_those_the_umask_allows(tmp_path):
    plain, atomic = tmp_path / "plain", tmp_path / "atomic"
    plain.touch()
    atomic_write(atomic, lambda temporary: temporary.touch())
    assert atomic.stat().st_mode == plain.stat().st_mode


def test_json(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1, 2.5, None]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": [1, 2.5, None]}


def test_a_state_leaves_no_copies_of_its_tensors_in_memory(tmp_path):
    state = {"weights": [torch.ones(3), torch.ones(2)]}
    path = tmp_path / "state.safetensors"

    def alive() -> int:
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    save_state(path, state)  # imports what it needs
    gc.collect()
    gc.disable()  # which comes by seldom, beside tensors of gigabytes
    try:
        before = alive()
        save_state(path, state)
        load_state(path)
        assert alive() == before
    finally:
        gc.enable()


def test_a_state_comes_back_as_it_was(tmp_path):
    state = {
        "step": 3,
        "best": float("inf"),
        "none": None,
        "optimizer": {
            "state": {0: {"step": torch.tensor(3.0), "moment": torch.randn(2, 3)}},
            "groups": [{"lr": 0.1, "betas": [0.9, 0.99]}],
        },
        "shared": [torch.arange(4)] * 2,
        "double": torch.rand(2, 3, dtype=torch.float64).T,
    }
    save_state(tmp_path / "state", state)
    found = load_state(tmp_path / "state")
    torch.testing.assert_close(found, state, rtol=0, atol=0)
    assert list(found["optimizer"]["state"]) == [0], "numbers stay numbers as keys"


@pytest.mark.parametrize("content", [b"", b"no state at all", b"\x80\x02pickled"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "state").write_bytes(content)
    with pytest.raises(DescentError, match="state: expected a saved state, could not read it"):
        load_state(tmp_path / "state")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DescentError, match="nowhere: expected a saved state, could not read it"):
        load_state(tmp_path / "nowhere")


def test_tensors_without_a_state_are_refused(tmp_path):
    save_file({"weight": torch.ones(2)}, tmp_path / "weights")
    with pytest.raises(DescentError, match="weights: expected a saved training state, got a safetensors file of another kind"):
        load_state(tmp_path / "weights")


@pytest.mark.parametrize("description", ["{", '{"step": 1}', '{"__items__": [["weights", {"__tensor__": "7"}]]}'])
def test_a_state_whose_description_makes_no_sense(tmp_path, description):
    save_file({"0": torch.ones(1)}, tmp_path / "state", {"state": description})
    with pytest.raises(DescentError, match="expected a saved training state, its description does not make sense"):
        load_state(tmp_path / "state")
