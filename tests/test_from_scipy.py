"""The benchmark of the page for those who come from elsewhere, on a few samples."""

from __future__ import annotations

import pytest

pytest.importorskip("scipy.optimize")

from benchmarks.problems import from_scipy
from benchmarks.problems.five_by_peers import MODULES, SOLVED
from benchmarks.problems.from_scipy import COSTS, PAIRS, measured


@pytest.mark.parametrize("name", PAIRS)
def test_no_cost_is_higher_than_with_scipy(name, monkeypatch):
    monkeypatch.setattr(from_scipy, "find_spec", lambda module: None)
    found = measured(name, 4, 0)
    assert list(found) == ["ours", "scipy"]
    assert found["ours"]["as low"] == 1
    assert found["ours"]["lines"] <= found["scipy"]["lines"]


def test_every_problem_has_its_cost_and_peers_that_are_known():
    assert list(PAIRS) == list(SOLVED) == list(COSTS)
    assert {library for makers in SOLVED.values() for library in makers} == set(MODULES)


@pytest.mark.parametrize(
    ("name", "library"), [(name, library) for name in SOLVED for library in SOLVED[name]]
)
def test_a_peer_solves_it_where_it_is_installed(name, library):
    pytest.importorskip(MODULES[library])
    solve = SOLVED[name][library]()
    data = PAIRS[name].data(from_scipy.np.random.default_rng(0), 3)
    assert solve(data).shape == (3, len(PAIRS[name].ours(data)[0][0]))
