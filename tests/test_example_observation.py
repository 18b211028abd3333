"""The example of an observation of one's own, through the command line alone."""

from __future__ import annotations

import json
from pathlib import Path

from learned_descent.checkpoint import read_description
from learned_descent.cli.main import main

FILE = Path(__file__).parents[1] / "examples" / "colour_gradients.py"
PROBLEM = f"{FILE}:ColourBlobs"


def test_the_example_is_short():
    assert len(FILE.read_text().splitlines()) <= 60


def test_colour_gradients_through_the_command_line(tmp_path, capsys):
    weights = tmp_path / "sdm" / "model.safetensors"
    assert (
        main(
            [
                "train",
                PROBLEM,
                "--family",
                "sdm",
                "--model.num_steps",
                "3",
                "--out",
                str(weights.parent),
            ]
        )
        == 0
    )
    assert read_description(weights)["observation"] == {
        "name": "custom:ColourGradients",
        "settings": {"size": 7},
    }

    assert main(["evaluate", str(weights), "--problem-file", PROBLEM]) == 0
    (errors,) = json.loads(weights.with_suffix(".test.json").read_text())["errors"].values()
    start, found = (sum(step) / len(step) for step in (errors[0], errors[-1]))
    assert start > 3
    assert found < 1, "in px"

    out = tmp_path / "compared"
    assert (
        main(
            [
                "compare",
                PROBLEM,
                "--families",
                "sdm",
                "--weights",
                f"sdm={weights}",
                "--out",
                str(out),
            ]
        )
        == 0
    )
    assert "ColourGradients" in (out / "results.json").read_text()
    capsys.readouterr()
    assert main(["check", PROBLEM]) == 0
    assert "the contract holds" in capsys.readouterr().out
