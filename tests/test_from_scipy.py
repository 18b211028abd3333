"""The benchmark of the page for those who come from scipy, on a few samples."""

from __future__ import annotations

import pytest

pytest.importorskip("scipy.optimize")

from benchmarks.problems.from_scipy import PAIRS, measured


@pytest.mark.parametrize("name", PAIRS)
def test_no_cost_is_higher_than_with_scipy(name):
    found = measured(PAIRS[name], 4, 0)
    assert found["ours as low"] == 1
    assert found["ours lines"] <= found["scipy lines"]
