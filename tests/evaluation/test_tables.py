"""Tables of evaluations."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from learned_descent import DescentError
from learned_descent.evaluation.evaluation import Evaluation, check_comparable
from learned_descent.evaluation.tables import certainty, table, worst, worst_lines


def made(errors: Mapping[str, Tensor], above: float = 2.0) -> Evaluation:
    return Evaluation(
        errors, None, failure_above=above, seconds_per_sample=1e-3, batch_size=4, device="cpu"
    )


def test_what_was_not_measured_alike_is_not_compared() -> None:
    one = made({"68 points / inter_ocular": torch.ones(2, 3)})
    others = {
        "metrics differ": made({"68 points / inter_pupil": torch.ones(2, 3)}),
        "failure_above differ": made({"68 points / inter_ocular": torch.ones(2, 3)}, 3.0),
        "number of samples differ": made({"68 points / inter_ocular": torch.ones(2, 4)}),
    }
    for message, other in others.items():
        with pytest.raises(
            DescentError, match=f"'one' and 'two' cannot be compared: the {message}"
        ):
            table({"one": one, "two": other})
    check_comparable(
        {"one": one, "more steps": made({"68 points / inter_ocular": torch.ones(5, 3)})}
    )
    with pytest.raises(DescentError, match="evaluations: expected at least one, got none"):
        table({})


def test_table_is_aligned_and_holds_every_column() -> None:
    near = made(
        {"68 points": torch.tensor([[9.0, 9.0], [0.5, 1.5]]), "51 points": torch.ones(2, 2)}
    )
    far = made(
        {"68 points": torch.tensor([[9.0, 9.0], [30.0, 50.0]]), "51 points": torch.ones(2, 2)}
    )
    text = table(
        {"mdm": near, "start": far},
        {"parameters": {"mdm": 1234567}, "s": {"mdm": 0.51234, "start": "none"}},
    )
    assert text.splitlines() == [
        "                  68 points                     51 points",
        "family   mean  median  AUC %  fail. %  mean  median  AUC %  fail. %  parameters      s",
        "--------------------------------------------------------------------------------------",
        "mdm      1.00    1.00  50.00     0.00  1.00    1.00  50.00     0.00   1,234,567  0.512",
        "start   40.00   40.00   0.00   100.00  1.00    1.00  50.00     0.00           -   none",
        "2 samples; AUC up to, and failures above, an error of 2",
        "",
        *certainty({"mdm": near, "start": far}).splitlines(),
    ]


def test_every_figure_of_a_table_has_an_interval_and_a_family_a_test() -> None:
    near = made({"a": torch.stack([torch.full((60,), 9.0), torch.linspace(0.5, 1.5, 60)])})
    far = made({"a": near.errors["a"] + torch.tensor([[0.0], [0.1]])})
    lines = certainty({"far": far, "near": near, "one": near}).splitlines()
    assert lines[1].split() == ["95", "%", "mean", "median", "AUC", "%", "fail.", "%", "p"]
    assert [line.split()[-1] for line in lines[3:6]] == ["<.001", "-", "1.000"]
    assert all(line.count("[") == 4 for line in lines[3:6])
    assert lines[6] == (
        "intervals over samples (bootstrap, 2,000 draws; failures: Wilson); p: AUC against near "
        "(paired permutation test, 9,999 flips, Holm)"
    )
    alone = certainty({"one": made({"a": torch.ones(2, 1)})}).splitlines()
    assert alone[3].split() == ["one", "-", "-", "-", "[0.00,", "79.35]"]


def test_of_several_trainings_a_table_has_the_spread() -> None:
    one, two = (made({"a": torch.full((2, 5), error)}) for error in (0.5, 1.0))
    lines = certainty({"mdm": Evaluation.pooled([one, two]), "lm": one}).splitlines()
    assert "AUC %  ± AUC %" in lines[1]
    assert lines[3].endswith("[62.50, 62.50]    17.68  [0.00, 43.45]       0.00  0.062")
    assert lines[4].endswith("[75.00, 75.00]        -  [0.00, 43.45]          -      -")
    assert "±: standard deviation over 2 trainings" in lines[-1]


def test_table_shows_chosen_metrics_and_tiny_errors() -> None:
    result = made({"a": torch.full((2, 2), 3e-7), "b": torch.ones(2, 2)}, 0.01)
    text = table({"lm": result}, metrics=["a"])
    assert "3.00e-07" in text
    assert " b" not in text.splitlines()[0]
    with pytest.raises(DescentError, match=r"metric: expected one of \['a', 'b'\], got 'c'"):
        table({"lm": result}, metrics=["c"])
    with pytest.raises(DescentError, match=r"metrics: expected some of \['a', 'b'\], got none"):
        table({"lm": result}, metrics=[])
    with pytest.raises(
        DescentError, match=r"column 's': expected values for the families \['lm'\], got \['ml'\]"
    ):
        table({"lm": result}, {"s": {"ml": 1.0}})


def test_the_worst_samples_are_named() -> None:
    result = made({"error": torch.tensor([[9.0, 9.0, 9.0], [1.0, torch.nan, 2.0]])})
    assert worst({"sdm": result}, ["a", "b", "c"], 2) == {"sdm": "b inf, c 2"}
    assert worst({"sdm": result}, ()) == {}
    assert worst_lines({"sdm": result}, "abc") == ["worst of sdm: b inf, c 2, a 1"]
    with pytest.raises(DescentError, match="names: expected one for each of the 3 samples, got 1"):
        worst({"sdm": result}, ["a"])
