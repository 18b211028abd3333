"""The page of the library beside its peers, with methods that take the time they are told."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("scipy.optimize")

from benchmarks.page import __main__ as command
from benchmarks.page import floors, peers, races
from benchmarks.page.decays import cosine
from benchmarks.page.races import Race, run
from benchmarks.page.written import since, written
from benchmarks.problems.from_scipy import PAIRS, T
from learned_descent import DescentError


def taking(*seconds: float, found: float = 0.0):
    """Turns that take these times, one after the other."""
    left = iter(seconds)
    return lambda: lambda: (next(left), found)


def absent():
    raise ImportError("no such peer")


@pytest.fixture
def race(monkeypatch: pytest.MonkeyPatch) -> Race:
    monkeypatch.setattr(races, "yard", taking(1.0, 2.0, 1.0))
    methods = {
        "ours": taking(2.0, 6.0, 3.0, found=0.5),
        "theirs": taking(4.0, 8.0, 3.0, found=0.25),
        "absent": absent,
    }
    return Race("Sums", 2, methods, goal=1.5, metric="error (px)", error=lambda found: 2 * found)


@pytest.fixture
def page(race: Race, monkeypatch: pytest.MonkeyPatch) -> dict:
    monkeypatch.setattr(command, "state", lambda name: "not installed")
    return command.measured({"sums": lambda seed: iter([race])}, 0, 3)


def test_ratios_are_medians_of_ratios_within_a_round(race: Race):
    ours, theirs = run(race, 3)
    assert ours == {"who": "ours", "seconds": 1.5, "yards": 3.0, "error": 1.0}
    assert theirs == {"who": "theirs", "seconds": 2.0, "takes": 0.75, "error": 0.5}


def test_what_takes_little_time_runs_several_times_in_a_turn():
    calls = []
    turn = races.clocked(lambda: calls.append(0))
    assert len(calls) == 2
    assert 0 <= turn()[0] < 0.01
    assert len(calls) == 102


def test_what_a_method_cannot_do_without_is_timed_too():
    square = torch.ones(64, 64)
    seconds, found = floors.kernels(lambda: square @ square)()
    assert torch.equal(found, square @ square)
    assert 0 < seconds < 1
    few, many = (floors.as_a_product(flops)()[0] for flops in (10**6, 10**9))
    assert 0 < 10 * few < many


def test_bare_layers_are_those_that_a_model_calls():
    layer = torch.nn.Linear(3, 2)
    calls = floors.layers_of(layer, lambda: layer(torch.ones(4, 3)))
    assert [(module, tuple(value.shape)) for module, value in calls] == [(layer, (4, 3))]
    floors.bare(calls)()
    assert torch.equal(layer.bias.grad, torch.full((2,), 4.0))


def test_the_page_shows_times_ratios_errors_and_who_is_not_there(page: dict):
    text = written(page, None)
    assert "| jaxopt | not installed |" in text
    assert "## Sums, 2 at once" in text
    assert "| ours | 1,500,000 |  | 1.00e+00 |" in text
    assert "| theirs | 2,000,000 | 0.75 | 5.00e-01 |" in text
    assert "at most 1.5 times as long" in text
    assert "No page of this machine to compare with." in text


def test_what_became_slower_or_less_exact_by_a_tenth_is_said(page: dict):
    assert since(page, page)[1] == "Nothing is slower by 10 % or more."
    later = copy.deepcopy(page)
    ours = later["races"]["Sums, 2 at once"]["rows"][0]
    ours["yards"] *= 1.25
    ours["error"] *= 1.5
    later["peers"]["jaxopt"] = "0.8.5"
    lines = since(later, page)
    assert lines[0] == f"Compared with {page['date']}, commit {page['commit']}."
    assert "SLOWER by 25 %: Sums, 2 at once." in lines
    assert "LESS EXACT: Sums, 2 at once: 1.00e+00 before, 1.50e+00 now." in lines
    assert "jaxopt: not installed before, 0.8.5 now." in lines
    ours["yards"] /= 1.2
    assert not any("SLOWER" in line for line in since(later, page))
    later["races"]["New, 1 at once"] = later["races"].pop("Sums, 2 at once")
    assert not any("EXACT" in line for line in since(later, page))


def test_the_command_stores_a_page_and_compares_it_with_the_last_of_the_machine(
    race: Race, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def make(seed: int) -> Iterator[Race]:
        yield race._replace(methods={"ours": taking(*[1.0] * 9)})

    monkeypatch.setattr(command, "CHAPTERS", {"sums": make})
    monkeypatch.setattr(races, "yard", taking(*[1.0] * 9))
    monkeypatch.setattr(sys, "argv", ["page", "--out", str(tmp_path), "--rounds", "2"])
    command.main()
    assert "No page of this machine" in capsys.readouterr().out
    (file,) = tmp_path.glob("page-*.json")
    stored = json.loads(file.read_text(encoding="utf-8"))
    assert stored["seed"] == 0
    assert "torch" in stored["versions"]
    assert file.with_suffix(".md").exists()
    stored["races"]["Sums, 2 at once"]["rows"][0]["yards"] = 0.5
    file.write_text(json.dumps(stored), encoding="utf-8")
    command.main()
    assert "SLOWER by 100 %: Sums, 2 at once." in capsys.readouterr().out
    assert command.last_page(tmp_path, {"processor": "another"}) is None
    monkeypatch.setattr(sys, "argv", ["page", "--rounds", "0"])
    with pytest.raises(DescentError, match="--rounds"):
        command.main()


def test_a_peer_has_a_version_or_a_word_of_why_there_is_none(monkeypatch: pytest.MonkeyPatch):
    assert peers.state("scipy")[0].isdigit()
    monkeypatch.setattr(peers, "PEERS", {"none": "no_such_module", "old": "old_peer"})
    assert peers.state("none") == "not installed"

    def refused(name: str):
        raise ImportError("cannot import name 'simps'")

    monkeypatch.setattr(peers.importlib, "import_module", refused)
    assert peers.state("old") == "does not import: cannot import name 'simps'"


def test_the_cosine_of_decays_vanishes_where_they_fit():
    y = 2 * np.exp(-0.5 * T)[None] + 0.01 * (T - 2)
    assert cosine(y, [[2.1, 0.5]]) > 0.5
    assert cosine(y, PAIRS["decay"].scipy(y)[0]) < 1e-4
