"""Several trainings of each family in one comparison."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from learned_descent.cli.main import main

COMPARE = (
    "compare analytic --families sdm lm mdm --sdm.ridge.ridge 0.1 --lm.num_steps 3 "
    "--mdm.model.hidden 4 --mdm.bptt.iterations 4 --mdm.bptt.batch_size 8"
)
Run = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a line; gives the exit code, what it prints, and what it says of an error."""
    monkeypatch.chdir(tmp_path)

    def call(line: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(shlex.split(line))
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def stored(folder: str) -> dict:
    return json.loads(Path(folder, "results.json").read_text())


def test_seeds_give_mean_and_spread(run: Run) -> None:
    code, shown, _ = run(f"{COMPARE} --seeds 3 5 --out both --latex t.tex")
    assert code == 0
    assert "±: standard deviation over 2 trainings" in shown
    assert run(f"{COMPARE} --seed 5 --out one")[0] == 0
    both, one = stored("both"), stored("one")
    assert (both["seeds"], both["settings"]["seeds"]) == ([3, 5], [3, 5])
    for name in ("sdm", "mdm"):
        found, single = both["families"][name], one["families"][name]
        rows, last = found["errors"]["error"], single["errors"]["error"]
        assert (found["trainings"], found["num_samples"]) == (2, single["num_samples"])
        assert [row[single["num_samples"] :] for row in rows] == last
        assert found["certainty"]["error"]["mean"]["spread"] > 0
    assert "trainings" not in both["families"]["lm"]  # measured once
    assert "$\\pm$" in Path("t.tex").read_text()
    page = Path("both/report.html").read_text()
    assert "<dd>3, 5</dd>" in page
    assert "--seeds 3 5" in page


def test_a_comparison_of_seeds_is_repeated_and_goes_on(run: Run) -> None:
    assert run(f"{COMPARE} --seeds 0 1 --out a")[0] == 0
    assert run("compare analytic --config a/settings.yaml --out b")[0] == 0
    first, again = stored("a"), stored("b")
    assert first["families"]["mdm"]["errors"] == again["families"]["mdm"]["errors"]
    own = yaml.safe_load(Path("a/seed-1/settings.yaml").read_text())
    assert (own["seed"], own["seeds"]) == (1, None)
    code, _, said = run(f"{COMPARE} --seeds 0 2 --out a")
    assert code == 2
    assert "a/results.json: is there already: give another --out, --resume to go on" in said
    Path("a/results.json").unlink()
    code, _, said = run(f"{COMPARE} --seeds 2 0 --out a")
    assert code == 2
    assert "a/seed-0/sdm.safetensors: is there already" in said
    assert not Path("a/seed-2").exists()
    code, _, said = run(f"{COMPARE} --seeds 0 1 2 --out a --resume")
    assert code == 0
    more = stored("a")["families"]["mdm"]
    assert more["trainings"] == 3
    samples = more["num_samples"]
    for row, before in zip(more["errors"]["error"], first["families"]["mdm"]["errors"]["error"]):
        assert row[: 2 * samples] == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--seeds 1", "--seeds: expected two different ones or more, which have a spread, got 1;"),
        ("--seeds 1 1", "--seeds: expected two different ones or more, which have a spread, got 1"),
        ("--seeds 0 1 --families lm", "--seeds: expected a family that is trained, got lm: what"),
        ("--seeds a b", "--seeds: expected int, got a"),
        ("--seeds 0 1 --seed 3", "--seed 3: expected none beside --seeds, which names all of them"),
    ],
)
def test_seeds_without_a_spread_are_refused(run: Run, options: str, message: str) -> None:
    code, _, said = run(f"compare analytic --families sdm {options} --out a")
    assert code == 2
    assert message in said
    assert not Path("a/settings.yaml").exists()


def test_loaded_models_are_measured_once(run: Run) -> None:
    assert run(f"{COMPARE} --seed 0 --out a")[0] == 0
    line = f"{COMPARE} --seeds 0 1 --out b --weights mdm=a/mdm.safetensors"
    assert run(line)[0] == 0
    found = stored("b")["families"]
    assert (found["sdm"]["trainings"], "trainings" in found["mdm"]) == (2, False)
    assert not Path("b/seed-1/mdm.safetensors").exists()
