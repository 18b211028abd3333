"""Basins of attraction: bins of starts, shares, and their confidence."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from learned_descent import DescentError
from learned_descent.evaluation.basin import Basin, basin
from learned_descent.evaluation.evaluation import Evaluation
from learned_descent.evaluation.plots import plot_basin


def made(starts: Tensor, ends: Tensor) -> Evaluation:
    errors = {"error (px)": torch.stack([starts, ends]).double()}
    return Evaluation(
        errors, None, failure_above=1.0, seconds_per_sample=1e-3, batch_size=4, device="cpu"
    )


LEVELS = torch.tensor([1.0, 2.0, 4.0]).repeat(30)


def test_starts_of_equal_size_share_a_bin():
    ends = torch.where(LEVELS == 4, 2.0, 0.5)
    ends[2] = 0.5
    found = basin({"sdm": made(LEVELS, ends), "lm": made(LEVELS, LEVELS)})
    assert found is not None
    assert (found.starts, found.counts) == ((1.0, 2.0, 4.0), (30, 30, 30))
    assert found.solved == {"sdm": (30, 30, 1), "lm": (30, 0, 0)}
    assert found.rates("sdm") == [1.0, 1.0, pytest.approx(1 / 30)]
    assert found.to_json() == {
        "starts": [1.0, 2.0, 4.0],
        "counts": [30, 30, 30],
        "solved": {"sdm": [30, 30, 1], "lm": [30, 0, 0]},
        "within": 1.0,
    }


def test_different_starts_are_binned_by_quantiles():
    starts = torch.rand(500, generator=torch.Generator().manual_seed(0))
    found = basin({"sdm": made(starts, starts)}, within=0.5)
    assert found is not None
    assert len(found.starts) == 10
    assert list(found.starts) == sorted(found.starts)
    assert set(found.counts) == {50}
    assert sum(found.counts) == 500
    assert sum(found.solved["sdm"]) == int((starts <= 0.5).sum())


def test_levels_replace_the_start_error_and_failures_at_the_end_are_no_success():
    ends = torch.full((90,), torch.nan)
    ends[:3] = 0.0
    found = basin({"sdm": made(torch.ones(90), ends)}, LEVELS)
    assert found is not None
    assert found.starts == (1.0, 2.0, 4.0)
    assert found.solved["sdm"] == (1, 1, 1)


def test_a_start_that_is_not_finite_is_in_no_bin():
    starts = LEVELS.clone()
    starts[0] = torch.nan
    found = basin({"sdm": made(starts, LEVELS)})
    assert found is not None
    assert found.counts == (29, 30, 30)


@pytest.mark.parametrize(
    "starts", [torch.arange(39.0), torch.ones(300), torch.cat([torch.ones(50), torch.zeros(19)])]
)
def test_too_few_starts_and_starts_that_are_alike_have_no_basin(starts):
    assert basin({"sdm": made(starts, starts)}) is None
    assert plot_basin({"sdm": made(starts, starts)}) is None


def test_the_interval_is_wilsons():
    """Against the values that statsmodels.stats.proportion.proportion_confint gives by
    method="wilson"."""
    found = Basin((1.0, 2.0, 3.0), (20, 20, 100), {"sdm": (0, 20, 30)}, within=1.0)
    low, high = found.interval("sdm")
    assert low == pytest.approx([0.0, 0.83887, 0.21895], abs=2e-5)
    assert high == pytest.approx([0.16113, 1.0, 0.39585], abs=2e-5)


def test_wrong_requests_are_refused():
    one, other = made(LEVELS, LEVELS), made(LEVELS + 1, LEVELS)
    with pytest.raises(
        DescentError, match="'one' and 'two' start elsewhere: measure both from the same starts"
    ):
        basin({"one": one, "two": other})
    with pytest.raises(DescentError, match="within: expected a positive finite number, got 0"):
        basin({"one": one}, within=0)
    with pytest.raises(DescentError, match="levels"):
        basin({"one": one}, torch.ones(3))


def test_the_figure_shows_every_family_with_its_band():
    figure = plot_basin(
        {"sdm": made(LEVELS, LEVELS / 4), "lm": made(LEVELS, LEVELS)}, label="start (deg)"
    )
    assert figure is not None
    (axes,) = figure.axes
    first, second = axes.get_lines()
    assert (list(first.get_xdata()), list(first.get_ydata())) == (
        [1.0, 2.0, 4.0],
        [100.0, 100.0, 100.0],
    )
    assert list(second.get_ydata()) == [100.0, 0.0, 0.0]
    assert len(axes.collections) == 2
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("start (deg)", "samples solved to 1 (%)")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["sdm", "lm"]
