"""Tables for papers and for other programs."""

from __future__ import annotations

import csv
import io
import re

import pytest
import torch
from torch import Tensor

from learned_descent import DescentError
from learned_descent.evaluation.evaluation import Evaluation
from learned_descent.evaluation.publish import csv_table, escaped, latex_table


def made(errors: Tensor, names: tuple[str, ...] = ("error",)) -> Evaluation:
    stored = {name: torch.stack([errors, errors]).double() for name in names}
    return Evaluation(stored, None, 2.0, 1e-3, 4, "cpu")


@pytest.fixture
def evaluations() -> dict[str, Evaluation]:
    errors = torch.linspace(0.5, 1.5, 40)
    names = ("68 points / box", "51 points / box")
    trained = Evaluation.pooled([made(errors + 0.1, names), made(errors + 0.2, names)])
    return {"my_sdm & co": trained, "mdm": made(errors, names)}


def test_every_row_has_as_many_cells_as_columns(evaluations: dict[str, Evaluation]) -> None:
    text = latex_table(evaluations, {"ms/sample": {"mdm": 2.0}, "seen": {"mdm": "50% [x]"}})
    columns = re.search(r"\\begin\{tabular\}\{(l r*)\}", text.replace("{lr", "{l r"))
    assert columns is not None
    assert len(columns[1]) - 1 == 12
    rows = text.split("\\midrule")[1].split("\\bottomrule")[0].strip().splitlines()
    assert [row.replace("\\&", "").count("&") for row in rows] == [11] * 4
    assert all(row.endswith("\\\\") for row in rows)
    assert rows[0].startswith(r"my\_sdm \& co & ")
    assert rows[2].endswith(r"& - & 2 & 50\% {[}x{]} \\")
    assert rows[2].count(r"\textbf{") == 6  # all but the failures, which are alike
    assert rows[1].count(r"$\pm$") == 6  # all but the medians
    assert r"\cmidrule(lr){2-5} \cmidrule(lr){6-9}" in text
    assert text.splitlines()[1].count("\n") == 0


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a_b", r"a\_b"),
        ("100%", r"100\%"),
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("a^b~c", r"a\textasciicircum{}b\textasciitilde{}c"),
        ("one\n% two", r"one \% two"),
        ("$x$ #1 & <2>", r"\$x\$ \#1 \& \textless{}2\textgreater{}"),
        ("*[x]", "{*}{[}x{]}"),
    ],
)
def test_a_name_is_printed_as_it_is(name: str, shown: str) -> None:
    assert escaped(name) == shown


def test_no_name_ends_the_comment_or_the_row() -> None:
    evil = "mdm\n\\input{secret}"
    text = latex_table({evil: made(torch.ones(3)), "sdm": made(torch.ones(3) * 2)})
    assert r"\input" not in text
    assert len(text.splitlines()) == 14


def test_a_table_of_numbers_can_be_read_again(evaluations: dict[str, Evaluation]) -> None:
    text = csv_table(evaluations, {"parameters": {"mdm": 1000}}, metrics=["51 points / box"])
    sdm, mdm = csv.DictReader(io.StringIO(text))
    assert (sdm["family"], sdm["trainings"], sdm["samples"]) == ("my_sdm & co", "2", "40")
    assert float(sdm["mean_low"]) < float(sdm["mean"]) < float(sdm["mean_high"])
    assert float(mdm["auc"]) == pytest.approx(0.5)
    assert (mdm["p"], mdm["mean_sd"], mdm["parameters"]) == ("", "", "1000")
    assert float(sdm["p"]) < 0.001


def test_what_a_single_sample_does_not_tell_is_empty() -> None:
    text = csv_table({"near": made(torch.ones(1)), "far": made(torch.full((1,), 1.5))})
    near, far = csv.DictReader(io.StringIO(text))
    assert (near["mean"], near["mean_low"], near["auc_high"], near["p"]) == ("1.0", "", "", "")
    assert (far["mean_sd"], far["p"]) == ("", "1.0")


def test_what_is_unknown_is_refused(evaluations: dict[str, Evaluation]) -> None:
    for write in (latex_table, csv_table):
        with pytest.raises(DescentError, match=r"metric: expected one of .* got 'c'"):
            write(evaluations, metrics=["c"])
        with pytest.raises(DescentError, match="column 's': expected values for the families"):
            write(evaluations, {"s": {"ml": 1.0}})
