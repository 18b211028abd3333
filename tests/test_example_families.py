"""The examples of a model and of a trainer of one's own, through the command line alone."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from learned_descent.checkpoint import read_description
from learned_descent.cli.main import main

EXAMPLES = Path(__file__).parents[1] / "examples"

FAMILIES = {
    "LSTM": ("lstm_descent.py", "LSTMDescent", "--{}bptt.iterations 150 --{}bptt.ema 0.9"),
    "GLOBAL": ("global_sdm.py", "GlobalSDM", "--{}ridge.ridge 1e-6"),
    "SEARCHED": ("random_search.py", None, "--{}search.iterations 150"),
}
"""By name of the recipe: its file, the model that is not built in, and options that make it
quick."""


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_of_one_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    source, model, quick = FAMILIES[name]
    assert len((EXAMPLES / source).read_text().splitlines()) <= 60
    family = f"{shlex.quote(str(EXAMPLES / source))}:{name}"
    monkeypatch.chdir(tmp_path)

    def run(line: str) -> str:
        code = main(shlex.split(line))
        found = capsys.readouterr()
        assert code == 0, found.err
        return found.out

    run(f"train analytic --family {family} {quick.format('', '')} --out one")
    weights = tmp_path / "one" / "model.safetensors"
    stored = read_description(weights)["model"]["name"]
    assert stored == ("cascade" if model is None else f"custom:{model}")
    assert main(["evaluate", str(weights)]) == (0 if model is None else 2)
    if model is not None:
        assert (
            f"give its class (model=..., or on the command line --model file.py:{model})"
            in capsys.readouterr().err
        )
        run(f"evaluate one/model.safetensors --model {EXAMPLES / source}:{model}")
    errors = json.loads((tmp_path / "one" / "model.test.json").read_text())["errors"]["error"]
    assert sum(errors[-1]) < 0.7 * sum(errors[0])

    short = quick.format(f"{name}.", f"{name}.")
    run(f"compare analytic --families sdm {family} {family}+lm {short} --out all")
    results = json.loads((tmp_path / "all" / "results.json").read_text())
    assert list(results["families"]) == ["sdm", name, f"{name}+lm"]
    assert results["families"][name]["errors"]["error"][-1] == pytest.approx(errors[-1])
    assert (
        f"--families sdm {family} {family}+lm --config"
        in (tmp_path / "all" / "report.html").read_text()
    )
    run(f"compare analytic --families {family} --weights {name}=all/{name}.safetensors --out again")
    assert f"family {name}" in run(f"check analytic --families {family}")


def test_only_the_user_names_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    code = EXAMPLES / "lstm_descent.py"
    for content, command in (
        (f"family: {code}:LSTM", "train analytic --out x"),
        (f"families: [sdm, '{code}:LSTM']", "compare analytic --out x"),
        (f"families: [sdm, '{code}:LSTM']", "check analytic"),
        (f"model: {code}:LSTMDescent", "evaluate mdm"),
    ):
        (tmp_path / "own.yaml").write_text(content)
        assert main([*command.split(), "--config", str(tmp_path / "own.yaml")]) == 2
        assert "names no code" in capsys.readouterr().err
