from __future__ import annotations

import gc
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import save_file

from learned_descent import Cascade, DescentError, save_model
from learned_descent.evaluation.plots.frames import canvas
from learned_descent.files import atomic_write, load_state, save_figure, save_state, write_json
from learned_descent.problems import Analytic
from learned_descent.training import History


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "made" / "file.txt"
    atomic_write(path, lambda temporary: temporary.write_text("old"))

    def fail(temporary):
        temporary.write_text("half of the n")
        raise OSError("disk full")

    with pytest.raises(
        DescentError, match=r"file.txt: this .* written \(disk full\); the one that was there is"
    ):
        atomic_write(path, fail)
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path], "nothing is left behind"


def test_a_pdf_has_its_fonts_inside_and_no_date(tmp_path):
    figure = canvas(4, 3)
    figure.text(0.5, 0.5, "A name")
    files = [tmp_path / "one.pdf", tmp_path / "two.pdf"]
    for file in files:
        save_figure(file, figure)
    content = files[0].read_bytes()
    assert content == files[1].read_bytes()
    assert b"/FontFile2" in content  # TrueType
    assert b"/Type3" not in content
    assert b"CreationDate" not in content


@contextmanager
def small_disk(size: int = 500) -> Iterator[None]:
    """No file grows beyond ``size`` bytes, as on a disk that is nearly full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("kind", ["state", "weights", "json", "log", "figure"])
def test_on_a_full_disk_every_writer_names_the_file_and_keeps_the_old_one(tmp_path, kind):
    path = tmp_path / "folder" / "file.png"
    writers = {
        "state": lambda: save_state(path, {"weights": torch.ones(5000)}),
        "weights": lambda: save_model(Cascade.for_problem(Analytic("sin"), hidden=2000), path),
        "json": lambda: write_json(path, list(range(5000))),
        "log": lambda: History([{"iteration": number} for number in range(5000)]).write_csv(path),
        "figure": lambda: save_figure(path, canvas(4, 3)),
    }
    with (
        small_disk(),
        pytest.raises(
            DescentError,
            match=r"file.png: this file could not be written .*File too large.*nothing",
        ),
    ):
        writers[kind]()
    path.write_bytes(b"old")
    with (
        small_disk(),
        pytest.raises(
            DescentError, match=r"file.png: this .*; the one that was there is kept; make room, or"
        ),
    ):
        writers[kind]()
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path], "nothing is left behind"


def test_a_new_file_may_be_read_by_those_the_umask_allows(tmp_path):
    plain, atomic = tmp_path / "plain", tmp_path / "atomic"
    plain.touch()
    atomic_write(atomic, lambda temporary: temporary.touch())
    assert atomic.stat().st_mode == plain.stat().st_mode


def test_json(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1, 2.5, None]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": [1, 2.5, None]}


def test_json_holds_no_number_that_is_not_finite(tmp_path):
    """Seen before: NaN and Infinity, which only Python reads."""
    write_json(
        tmp_path / "a.json",
        {"nan": float("nan"), "in": [(1.0, float("inf")), {"deep": -float("inf")}], "kept": 1e300},
    )
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {
        "nan": None,
        "in": [[1.0, None], {"deep": None}],
        "kept": 1e300,
    }


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


def test_no_flipped_bit_is_read_in_silence(tmp_path):
    state = {
        "step": 3,
        "moments": {0: torch.randn(4), 1: torch.ones(3, dtype=torch.bfloat16)},
        "empty": torch.zeros(0),
    }
    path = tmp_path / "state"
    save_state(path, state)
    content = path.read_bytes()
    refused = 0
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            torch.testing.assert_close(load_state(path), state, rtol=0, atol=0)
        except DescentError:
            refused += 1
    assert refused > 0.9 * len(content), "the rest is harmless: blanks, or the name of the checksum"


def test_a_state_without_a_checksum_is_read(tmp_path):
    save_file(
        {"0": torch.ones(2)},
        tmp_path / "state",
        {"state": '{"__items__": [["weights", {"__tensor__": "0"}]]}'},
    )
    assert load_state(tmp_path / "state")["weights"].tolist() == [1, 1]


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DescentError, match="nowhere: expected a saved state, could not read it"):
        load_state(tmp_path / "nowhere")


def test_tensors_without_a_state_are_refused(tmp_path):
    save_file({"weight": torch.ones(2)}, tmp_path / "weights")
    with pytest.raises(
        DescentError,
        match="weights: expected a saved training state, got a safetensors file of another kind",
    ):
        load_state(tmp_path / "weights")


@pytest.mark.parametrize(
    "description", ["{", '{"step": 1}', '{"__items__": [["weights", {"__tensor__": "7"}]]}']
)
def test_a_state_whose_description_makes_no_sense(tmp_path, description):
    save_file({"0": torch.ones(1)}, tmp_path / "state", {"state": description})
    with pytest.raises(
        DescentError, match="expected a saved training state, its description does not make sense"
    ):
        load_state(tmp_path / "state")
