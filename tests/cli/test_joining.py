"""Several comparisons as one table."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from learned_descent import DescentError, Evaluation
from learned_descent.cli.joining import join
from learned_descent.cli.main import main


def family(shift: float, settings: dict[str, Any], **other: Any) -> dict[str, Any]:
    errors = torch.linspace(0.5, 1.5, 30).double() + shift
    result = Evaluation({"error": torch.stack([errors, errors])}, None, 2.0, 1e-3, 4, "cpu")
    return {
        "weights": "x.safetensors",
        "settings": settings,
        "parameters": 8,
        "training_seconds": 2.0,
        "trainers": {"ridge": {}},
        **result.to_json(),
        **other,
    }


def written(folder: Path, seed: int, families: dict[str, Any], **changes: Any) -> Path:
    """What older versions have written, too: without intervals and test."""
    results = {
        "seed": seed,
        "data": {"train": "1", "test": "2"},
        "problem": {"name": "analytic", "settings": {}},
        "split": "test",
        "families": families,
        **changes,
    }
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(results))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    lm = family(-0.4, {}, weights=None, trainers={}, training_seconds=None)
    return [
        written(tmp_path / f"run{seed}", seed, {"sdm": family(seed / 10, {"a": 1}), "lm": lm})
        for seed in (0, 1)
    ]


def test_trainings_from_other_seeds_are_one_family_and_solvers_too(runs):
    text = join(runs)
    rows = [line.split() for line in text.splitlines()]
    assert [row[0] for row in rows[3:5]] == ["sdm", "lm"]
    assert rows[3][1] == "1.050"
    assert "30 samples;" in text
    assert "\u00b1: standard deviation over 2 trainings" in text
    assert "p: AUC against lm" in text
    assert join([runs[0] / "results.json", runs[1]]) == text


@pytest.mark.parametrize(
    "change", ["same seed", "other settings", "other training data", "other weights"]
)
def test_what_is_not_the_same_family_has_the_name_of_its_run(runs, tmp_path, change):
    other, more = family(0.3, {"a": 1}), {}
    seed = 0 if change == "same seed" else 3
    if change == "other settings":
        other["settings"] = {"a": 2}
    if change == "other training data":
        more = {"data": {"train": "3", "test": "2"}}
    if change == "other weights":
        other |= {"trainers": {}, "weights": "y.safetensors"}
    folder = written(tmp_path / "other", seed, {"sdm": other}, **more)
    text = join([runs[0], folder])
    assert f"\nsdm ({runs[0]})" in text
    assert f"\nsdm ({folder})" in text
    assert "\nlm " in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"problem": {"name": "pose"}}, "the problem differ, pose and analytic; join what"),
        ({"data": {"train": "1", "test": "9"}}, "the samples differ, 9 and 2; join what was"),
        ({"split": "val", "data": {"val": "2", "train": "1"}}, "the split differ, val and test"),
    ],
)
def test_runs_of_other_samples_are_refused(runs, tmp_path, change, message):
    other = written(tmp_path / "other", 0, {"sdm": family(0.0, {})}, **change)
    start = f"{other}/results.json: cannot be joined to {runs[0]}/results.json: "
    with pytest.raises(DescentError, match=re.escape(start + message)):
        join([runs[0], other])


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"split": 3}', '{"split": []}', None])
def test_what_compare_has_not_written_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(
        DescentError, match=r"results.json: expected the results.json of a comparison, or its"
    ):
        join([tmp_path])


def test_a_damaged_evaluation_names_its_file(tmp_path):
    damaged = written(tmp_path / "run", 0, {"sdm": family(0.0, {}, errors=None)})
    with pytest.raises(DescentError, match=r"run/results.json: stored evaluation: cannot be read"):
        join([damaged])
    none = written(tmp_path / "none", 0, {})
    with pytest.raises(DescentError, match=r"none/results.json: expected a family, got none"):
        join([none])


def test_the_ending_says_how_a_table_is_written(runs, tmp_path):
    assert join(runs, output=tmp_path / "t.tex").endswith(f"\n\ntable: {tmp_path / 't.tex'}")
    assert (tmp_path / "t.tex").read_text().endswith("\\end{tabular}\n")
    join(runs, output=tmp_path / "t.csv")
    rows = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    assert [(row["family"], row["trainings"]) for row in rows] == [("sdm", "2"), ("lm", "1")]
    assert [row["training s"] for row in rows] == ["2.0", ""]
    join(runs, output=tmp_path / "t.txt")
    assert (tmp_path / "t.txt").read_text().strip() == join(runs).strip()
    with pytest.raises(DescentError, match=r"expected a file that ends in .txt, .csv, .tex"):
        join(runs, output=tmp_path / "t.xlsx")
    with pytest.raises(DescentError, match=r"t.csv: is there already: give another --output, or"):
        join(runs, output=tmp_path / "t.csv")
    join(runs, output=tmp_path / "t.csv", overwrite=True)


def test_the_command(runs, capsys):
    assert main(["table", *map(str, runs)]) == 0
    assert "p: AUC against lm" in capsys.readouterr().out
    assert main(["table", "nowhere"]) == 2
    assert "nowhere: expected the results.json of a comparison" in capsys.readouterr().err
