"""The command line, as a user meets it: what it writes and prints, and what it says to a
mistake."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from learned_descent import Cascade, __version__, weights
from learned_descent.checkpoint import read_description
from learned_descent.checkpoint.model import annotate, load_model, save_model
from learned_descent.cli import program
from learned_descent.cli.main import main
from learned_descent.cli.runs import load_for, problem_of
from learned_descent.names import PROBLEMS
from learned_descent.problems import Analytic

DOT = '''
import torch
from learned_descent import Problem
from learned_descent.observations import Patches


class Dot(Problem):
    """A bright dot in an image of 16 x 16 px.

    Args:
        root: the folder of the data.
        skip_bad: go on.
        width: the width of the dot, in px.
        count: training samples.
    """

    failure_above = 1.0

    def __init__(self, root: str = "here", *, skip_bad: bool = False, width: float = 2.0,
    count: int = 40):
        super().__init__()
        self.root, self.skip_bad, self.width, self.count = root, skip_bad, width, count
        self.register_buffer("middle", torch.full((2,), 7.5))

    def data(self, split):
        if self.root == "nowhere":
            raise FileNotFoundError(f"{self.root}: no such folder")
        draw = torch.Generator().manual_seed({"train": 0, "val": 1, "test": 2}[split])
        count = self.count if split == "train" else 12 if split == "test" or self.count != 30 else 0
        points = 7.5 + 1.5 * torch.randn(count, 1, 2, generator=draw)
        pixels = torch.cartesian_prod(torch.arange(16.0), torch.arange(16.0)).flip(1)
        image = 200 * torch.exp(-((pixels - points).norm(dim=2) / self.width) ** 2)
        return {"image": image.byte().view(-1, 1, 16, 16), "points": points}

    def initial(self, batch, generator=None):
        start = self.middle.repeat(len(batch["image"]), 1)
        return start if generator is None else start + torch.randn(start.shape, generator=generator)

    def target(self, batch):
        return batch["points"].flatten(1)

    def observation(self):
        return Patches(lambda x: x.unflatten(1, (-1, 2)), size=8)

    def settings(self):
        return {"width": self.width, "count": self.count}


class Silent(Dot):
    """Says nothing about its settings."""

    def settings(self):
        return {}


class Unwritable(Dot):
    def settings(self):
        return {"width": object()}


class Wrong(Dot):
    def local(self, x, y):
        return x - y
'''

SIZED = """
import torch
from learned_descent import Problem
from learned_descent.observations import Residual


class Sized(Problem):
    failure_above = 1.0

    def __init__(self, size: int = 2):
        super().__init__()
        self.size = size

    def data(self, split):
        return {"x": torch.rand(20, self.size, generator=torch.Generator().manual_seed(len(split)))}

    def initial(self, batch, generator=None):
        start = torch.zeros_like(batch["x"])
        return start if generator is None else start + torch.rand(start.shape, generator=generator)

    def target(self, batch):
        return batch["x"]

    def observation(self):
        return Residual(lambda x: x, "x")

    def settings(self):
        return {"size": self.size}
"""

QUICK = "--bptt.iterations 4 --bptt.batch_size 8 --bptt.accelerator cpu"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def dot(tmp_path: Path) -> str:
    (tmp_path / "dot_problem.py").write_text(DOT)
    return f"{tmp_path / 'dot_problem.py'}:Dot"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)

    def call(line: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(shlex.split(line))
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def refused(run: Run) -> Callable[[str], str]:
    """Runs a line that must fail with exit code 2 and one message; gives the message."""

    def call(line: str) -> str:
        code, _, err = run(line)
        assert code == 2, err
        assert "Traceback" not in err
        assert err.count("learned-descent: error: ") == 1
        return err.partition("learned-descent: error: ")[2]

    return call


def test_train_writes_weights_settings_and_history(run: Run, dot: str):
    code, out, err = run(
        f"train {dot} --family joint --out runs/joint --seed 3 --model.num_steps 2 --ridge.ridge "
        f"0.1 {QUICK}"
    )
    assert code == 0, err
    assert "validation error after step 0 (the start) to 2: " in out
    assert "weights: runs/joint/model.safetensors" in out
    assert "ridge: 100%" in err
    settings = yaml.safe_load(Path("runs/joint/settings.yaml").read_text())
    assert (settings["family"], settings["seed"], settings["task"]) == ("joint", 3, dot)
    assert (
        settings["model"]["num_steps"],
        settings["ridge"]["ridge"],
        settings["bptt"]["iterations"],
    ) == (2, 0.1, 4)
    history = json.loads(Path("runs/joint/history.json").read_text())
    errors = history["val_error"]["after_step"]
    assert len(errors) == 3
    assert errors[-1] < errors[0]
    assert list(history["trainers"]) == ["ridge", "bptt"]
    assert [len(record["val_error"]) for record in history["trainers"]["bptt"]["records"]] == [
        3
    ] * 5  # one before the first iteration
    assert history["seconds"] > 0
    assert history["data"]["train"]
    assert read_description("runs/joint/model.safetensors")["training"]["settings"] == settings


def test_the_written_settings_repeat_the_training(run: Run, dot: str):
    assert (
        run(f"train {dot} --family mdm --out one --model.hidden 6 --problem.width 3 {QUICK}")[0]
        == 0
    )
    assert run(f"train {dot} --config one/settings.yaml --out two")[0] == 0
    one, two = load_file("one/model.safetensors"), load_file("two/model.safetensors")
    assert one["cell.weight_ih"].shape[0] == 6
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_command_line_goes_before_the_configuration(run: Run, dot: str):
    Path("run.yaml").write_text(
        "family: sdm\nseed: 4\nmodel: {num_steps: 3}\nridge: {ridge: 0.5}\n"
    )
    assert run(f"train {dot} --config run.yaml --out runs --ridge.ridge 0.25")[0] == 0
    settings = yaml.safe_load(Path("runs/settings.yaml").read_text())
    assert (settings["seed"], settings["model"]["num_steps"], settings["ridge"]["ridge"]) == (
        4,
        3,
        0.25,
    )


def test_resume_equals_an_uninterrupted_training(
    run: Run, dot: str, monkeypatch: pytest.MonkeyPatch
):
    line = f"train {dot} --family joint --ridge.ridge 0.1 {QUICK} --bptt.validate_every 1"
    assert run(f"{line} --out whole")[0] == 0
    import learned_descent.training.bptt as bptt

    save, calls = bptt.save_state, []

    def stop(*args: object) -> None:
        save(*args)
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(bptt, "save_state", stop)
    code, _, err = run(f"{line} --out parts")
    assert code == 130
    assert "--resume goes on from the last checkpoint" in err
    monkeypatch.setattr(bptt, "save_state", save)
    code, _, err = run(f"{line} --out parts --resume")
    assert code == 0
    assert "ridge" not in err
    whole, parts = load_file("whole/model.safetensors"), load_file("parts/model.safetensors")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_finished_work_is_replaced_on_demand_only(
    run: Run, refused: Callable[[str], str], dot: str
):
    line = f"train {dot} --family sdm --ridge.ridge 0.1 --out runs"
    assert run(line)[0] == 0
    before = Path("runs/model.safetensors").read_bytes()
    assert (
        "runs/model.safetensors: is there already: give another --out, --resume to go on, or "
        "--overwrite" in refused(line)
    )
    assert Path("runs/model.safetensors").read_bytes() == before
    assert run(f"{line} --overwrite --model.num_steps 2")[0] == 0
    assert load_model("runs/model.safetensors", problem=_dot(dot)).num_steps == 2


def test_joint_starts_from_a_given_sdm(run: Run, refused: Callable[[str], str], dot: str):
    assert run(f"train {dot} --family sdm --out sdm --ridge.ridge 0.1")[0] == 0
    code, _, err = run(
        f"train {dot} --family joint --out joint --init sdm/model.safetensors --bptt.lr 1e-12 "
        f"{QUICK}"
    )
    assert code == 0
    assert "ridge" not in err
    sdm, joint = load_file("sdm/model.safetensors"), load_file("joint/model.safetensors")
    torch.testing.assert_close(joint, sdm)
    first, both = (
        read_description(f"{name}/model.safetensors")["training"] for name in ("sdm", "joint")
    )
    assert both["init"] == first
    assert both["seconds"] > first["seconds"]
    assert "forgets its start" in refused(
        f"train {dot} --family sdm --out x --init sdm/model.safetensors"
    )
    assert "expected the model" in refused(
        f"train {dot} --family mdm --out x --init sdm/model.safetensors {QUICK}"
    )


def test_evaluate_prints_a_table_and_writes_every_error(
    run: Run, refused: Callable[[str], str], dot: str
):
    assert run(f"train {dot} --family sdm --out runs --ridge.ridge 0.1")[0] == 0
    code, out, err = run(
        f"evaluate runs/model.safetensors --problem-file {dot} --data there --batch-size 5"
    )
    assert code == 0, err
    assert "AUC %" in out
    assert "test error after step 0 (the start) to 4: " in out
    stored = json.loads(Path("runs/model.test.json").read_text())
    assert len(stored["errors"]["error"]) == 5
    assert len(stored["errors"]["error"][0]) == 12
    assert (stored["split"], stored["versions"]["learned_descent"]) == ("test", __version__)
    assert "made for the problem Dot, which is not built in" in refused(
        "evaluate runs/model.safetensors"
    )
    line = f"evaluate runs/model.safetensors --problem-file {dot}"
    assert "--split: expected one of 'train', 'val', 'test', got best" in refused(
        f"{line} --split best"
    )
    assert "nowhere: no such folder" in refused(f"{line} --data nowhere")
    assert "unrecognized arguments: --colour" in refused(f"{line} --colour 3")


def test_evaluate_writes_nothing_into_the_package(
    run: Run, dot: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "package")
    assert run(f"train {dot} --family sdm --out package --ridge.ridge 0.1")[0] == 0
    Path("package/model.safetensors").rename("package/tiny.safetensors")
    before = sorted(Path("package").iterdir())
    code, out, err = run(f"evaluate tiny --problem-file {dot} --split val")
    assert code == 0, err
    assert "errors: tiny.val.json" in out
    assert json.loads(Path("tiny.val.json").read_text())["weights"] == str(
        tmp_path / "package" / "tiny.safetensors"
    )
    assert sorted(Path("package").iterdir()) == before


def test_compare_measures_all_families_on_the_same_samples_and_starts(run: Run, dot: str):
    own = (
        QUICK.replace("--", "--joint.")
        + " "
        + QUICK.replace("--", "--mdm.")
        + " --mdm.model.hidden 6"
    )
    code, out, err = run(
        f"compare {dot} --families sdm joint mdm --out all --sdm.ridge.ridge 0.1 "
        f"--joint.ridge.ridge 0.1 {own}"
    )
    assert code == 0, err
    assert "training joint, from sdm (2 of 3)" in err
    assert "measuring sdm, joint, mdm on 12 samples" in err
    assert "ridge: " not in err.partition("training joint")[2]
    for word in (
        "sdm",
        "joint",
        "mdm",
        "training s",
        "ms/sample",
        "parameters",
        "results: all",
        "report: all/report.html",
    ):
        assert word in out
    # What each of them sees through
    assert re.findall(r"(observation|Patches)\n", out) == ["observation"] + 3 * ["Patches"]
    for name in ("ced.png", "steps.png", "time.png", "fits.png"):
        assert Path("all", name).read_bytes().startswith(b"\x89PNG")
    stored = json.loads(Path("all/results.json").read_text())
    families = stored["families"]
    assert list(families) == ["sdm", "joint", "mdm"]
    # The same starts
    assert len({str(family["errors"]["error"][0]) for family in families.values()}) == 1
    assert families["joint"]["training_seconds"] > families["sdm"]["training_seconds"]
    assert set(stored["data"]) == {"train", "test"}
    assert (stored["seed"], set(stored["versions"])) == (
        0,
        {"python", "torch", "numpy", "learned_descent"},
    )
    assert stored["settings"]["mdm"]["model"]["hidden"] == 6
    assert stored["samples"] == {"train": 40, "test": 12}
    assert stored["problem"] == {"name": "custom:Dot", "settings": {"width": 2.0, "count": 40}}
    assert families["joint"]["settings"]["ridge"]["ridge"] == 0.1
    assert families["joint"]["settings"]["bptt"]["iterations"] == 4
    expected = {"name": "mnemonic", "num_steps": 4, "hidden": 6, "cell": "tanh", "memory": True}
    assert families["mdm"]["settings"]["model"] == expected
    assert families["mdm"]["settings"]["observation"] == {
        "name": "patches",
        "size": 8,
        "spacing": 1.0,
    }
    page = Path("all/report.html").read_text()
    assert page.count("data:image/png;base64,") == 4  # twelve starts have no basin
    assert stored["basin"] is None
    assert "300-W" not in page
    assert page.count("<td>patches</td>") == 3

    code, out, err = run(
        f"compare {dot} --families sdm mdm --weights sdm=all/sdm.safetensors "
        "mdm=all/mdm.safetensors"
    )
    assert code == 0, err
    assert "training sdm" not in err
    assert "training mdm" not in err
    again = json.loads(Path("runs/compare/results.json").read_text())["families"]
    assert again["mdm"]["errors"] == families["mdm"]["errors"]
    assert {name: family["settings"] for name, family in again.items()} == {
        name: families[name]["settings"] for name in again
    }  # those of the files, whatever this command would have trained

    code, _, err = run(f"compare {dot} --config all/settings.yaml --out third")
    assert code == 0, err
    third = json.loads(Path("third/results.json").read_text())["families"]
    assert [third[name]["errors"] for name in third] == [
        families[name]["errors"] for name in families
    ]


def test_solvers_are_families_and_nothing_is_trained_twice(run: Run):
    steps = "--lm.num_steps 20 --sdm+lm.num_steps 3 --sdm.model.num_steps 2"
    line = "compare analytic --problem.function exp --problem.num_test 50"
    code, out, err = run(f"{line} --families sdm+lm lm sdm sdm+gn {steps}")
    assert code == 0, err
    assert err.count("training sdm") == 1
    assert "measuring sdm+lm, lm, sdm, sdm+gn on 50 samples" in err
    assert "converged %" in out
    assert "% of the 25 samples of each bin that end with an error of at most 0.1" in out
    folder = Path("runs/compare")
    assert [path.name for path in sorted(folder.glob("*.safetensors"))] == ["sdm.safetensors"]
    assert (folder / "basin.png").read_bytes().startswith(b"\x89PNG")
    stored = json.loads((folder / "results.json").read_text())
    assert stored["basin"]["counts"] == [25, 25]
    families = stored["families"]
    assert list(families) == ["sdm+lm", "lm", "sdm", "sdm+gn"]
    assert [family["num_steps"] for family in families.values()] == [5, 20, 2, 12]
    assert [family["weights"] for family in families.values()] == [
        "runs/compare/sdm.safetensors",
        None,
        "runs/compare/sdm.safetensors",
        "runs/compare/sdm.safetensors",
    ]
    assert families["sdm+lm"]["training_seconds"] == families["sdm"]["training_seconds"] > 0
    assert families["lm"]["training_seconds"] is None
    assert families["lm"]["ended"] == {"converged": 50}
    assert families["lm"]["settings"]["solver"]["name"] == "LevenbergMarquardt"
    assert families["sdm+lm"]["settings"]["solver"]["num_steps"] == 3
    assert families["sdm+lm"]["settings"]["model"] == families["sdm"]["settings"]["model"]
    # Where the learned part ends
    assert families["sdm+lm"]["errors"]["error"][2] == families["sdm"]["errors"]["error"][2]
    assert "<h2>Basin of attraction</h2>" in (folder / "report.html").read_text()

    code, _, err = run(
        "compare --config runs/compare/settings.yaml --weights sdm=runs/compare/sdm.safetensors "
        "--out again"
    )
    assert code == 0, err
    assert "training" not in err
    again = json.loads(Path("again/results.json").read_text())["families"]
    assert [family["errors"] for family in again.values()] == [
        family["errors"] for family in families.values()
    ]
    page = Path("again/report.html").read_text()
    assert (
        "--config again/settings.yaml --weights sdm=runs/compare/sdm.safetensors --out runs/again"
        in page
    )


def test_a_comparison_of_solvers_alone_trains_nothing(run: Run):
    code, out, err = run("compare analytic --families gn lm --out all")
    assert code == 0, err
    assert "training" not in err + out
    assert not list(Path("all").glob("*.safetensors"))


def test_a_problem_that_is_silent_about_its_settings_is_built_as_it_was_trained(run: Run, dot: str):
    silent = dot.replace(":Dot", ":Silent")
    code, _, err = run(f"train {silent} --family sdm --out x --ridge.ridge 0.1 --problem.width 3.5")
    assert code == 0, err
    assert read_description("x/model.safetensors")["problem"]["settings"] == {}
    assert problem_of(Path("x/model.safetensors"), silent).width == 3.5
    code, _, err = run(f"evaluate x/model.safetensors --problem-file {silent}")
    assert code == 0, err


def test_weights_on_a_problem_with_other_settings_say_which(
    run: Run, refused: Callable[[str], str], tmp_path: Path
):
    (tmp_path / "sized.py").write_text(SIZED)
    code, _, err = run(
        "train sized.py:Sized --family sdm --out x --ridge.ridge 0.1 --problem.size 3"
    )
    assert code == 0, err
    message = refused("evaluate x/model.safetensors --problem-file sized.py:Sized --problem.size 2")
    assert message.startswith(
        "x/model.safetensors, trained with {'size': 3}, on a problem with {'size': 2}: features of "
        "step 0"
    )
    assert "made for the problem Sized, got analytic: give the one it was made for" in refused(
        "evaluate x/model.safetensors --problem-file analytic"
    )


@pytest.mark.parametrize(
    "line", ["train DOT --family sdm --out x", "compare DOT --families sdm --out x"]
)
def test_a_model_that_could_not_be_stored_is_not_trained(run: Run, dot: str, line: str):
    code, _, err = run(line.replace("DOT", dot.replace(":Dot", ":Unwritable")))
    assert code == 2
    assert "error: Unwritable.settings()['width']: expected what JSON can hold" in err
    assert "ridge" not in err


def test_compare_says_how_long_it_will_take(run: Run, dot: str):
    code, _, err = run(
        f"compare {dot} --families sdm mdm --out all --mdm.model.hidden 6 "
        f"{QUICK.replace('--', '--mdm.')} --mdm.bptt.iterations 40 --sdm.ridge.ridge 0.1"
    )
    assert code == 0, err
    assert re.search(r"training sdm \(1 of 2; about \d+ s left after the closed form\)", err)
    assert re.search(r"training mdm \(2 of 2; about \d+ s left\)", err)


def test_weights_that_start_elsewhere_or_move_otherwise_are_not_compared(
    run: Run, refused: Callable[[str], str], dot: str
):
    assert run(f"train {dot} --family sdm --out runs --ridge.ridge 0.1")[0] == 0
    path = Path("runs/model.safetensors")
    problem = _dot(dot)
    problem.middle.add_(1)
    with pytest.raises(ValueError, match="starts elsewhere than this problem does"):
        load_for(path, problem, problem.data("test"), Cascade)
    problem = _dot(dot)
    type(problem).retract = lambda self, x, delta: x + 2 * delta if self is problem else x + delta
    with pytest.raises(ValueError, match="moves in other units than this problem"):
        load_for(path, problem, problem.data("test"), Cascade)


def test_check_lists_what_passes_and_what_fails(run: Run, dot: str):
    code, out, err = run(f"check {dot}")
    assert code == 0, out + err
    assert "the contract holds" in out
    for part in (
        "problem: Dot",
        "observation: Patches",
        "family sdm: Cascade",
        "family mdm: MnemonicDescent",
    ):
        assert part in out
    code, out, _ = run(f"check {dot.replace(':Dot', ':Wrong')}")
    assert code == 1
    assert "the contract is broken" in out
    assert "retract, local: inverse to each other" in out


def test_help_shows_every_option(run: Run, capsys: pytest.CaptureFixture[str], dot: str):
    code, out, _ = run("--help")
    assert code == 0
    assert "train PROBLEM --family F --out DIR" in out
    assert run("--version")[1].strip() == __version__
    for line, words in (
        (
            f"train {dot} --family joint --help",
            ("--problem.width", "--model.num_steps", "--ridge.ridge", "--bptt.lr", "--init"),
        ),
        (
            f"compare {dot} --help",
            ("--sdm.ridge.ridge", "--mdm.bptt.iterations", "--families", "--weights"),
        ),
        ("train --help", ("PROBLEM", "--family", "--out")),
        ("evaluate --help", ("--split", "--batch_size")),
        ("align --help", ("PHOTO", "--box", "--boxes", "--weights", "--output", "--format")),
        ("calibrate --help", ("--faces", "--seed")),
    ):
        with pytest.raises(SystemExit, match="0"):
            main(shlex.split(line))
        shown = capsys.readouterr().out
        assert all(word in shown for word in words), (line, shown)
        assert "--bptt.directory" not in shown


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "trian DOT",
            (
                f"command 'trian': expected one of {', '.join(program._COMMANDS)}: "
                "did you mean train?"
            ),
        ),
        (
            "train facse --family sdm --out x",
            "or package.module:Class, or file.py:Class: did you mean faces?",
        ),
        (
            "train DOT --family jiont --out x",
            "did you mean joint?",
        ),
        (
            "train DOT --family mdm --out x --iterations 5",
            "arguments: --iterations 5: did you mean --bptt.iterations?",
        ),
        (
            "train DOT --family mdm --out x --bptt.iteratoins 5",
            "arguments: --bptt.iteratoins 5: did you mean --bptt.iterations?",
        ),
        (
            "train DOT --family mdm --out x --model.cell relu",
            "--model.cell: expected one of 'tanh', 'gru', 'lstm', got relu",
        ),
        ("train DOT --family mdm --out x --bptt.lr 1.5x", "--bptt.lr: expected float, got 1.5x"),
        (
            "train DOT --family mdm --out x --seed 99999999999999999999",
            "seed: expected a whole number of 64 bits",
        ),
        ("train DOT more --family mdm --out x", "unrecognized arguments: more"),
        ("train DOT --family mdm --out", "argument --out: expected one argument"),
        ("train :X --family mdm --out x", "problem ':X': "),
        (
            "train os:system --family mdm --out x",
            "problem 'os:system': expected a subclass of Problem",
        ),
        (
            "evaluate mdm --problem-file analytic",
            "mdm.safetensors: made for the problem faces, got analytic",
        ),
        ("inspect mdm --faces many", "--faces: expected int, got many"),
        (
            "fly",
            "command 'fly': expected one of train, update, evaluate, compare, align, track, ",
        ),
        (
            "train",
            f"expected a problem right after the command: {', '.join(PROBLEMS)}, or file.py:Class",
        ),
        ("train DOT --out x", "--family: expected one of sdm, joint, mdm"),
        ("train DOT --family cnn --out x", "family 'cnn': expected one of sdm, joint, mdm"),
        (
            "train analytic --family lm --out x",
            "--family lm: a classical solver has nothing to train: compare --families lm",
        ),
        (
            "train analytic --family mdm+gn --out x",
            "nothing to train: train mdm, and compare --families mdm+gn",
        ),
        (
            "compare DOT --families sdm lm --out x",
            "family 'lm': a classical solver needs the residuals of a LeastSquares",
        ),
        (
            "compare DOT --families sdm+lm --out x",
            "and Dot is a Problem without: expected one of sdm, joint, mdm",
        ),
        (
            "compare analytic --families sdm+cnn --out x",
            "mdm+lm, lm, learned-lm, gn, scipy, or a learned one and a solver, such as sdm+gn",
        ),
        (
            "compare analytic --families lm --lm.num_steps 0 --out x",
            "num_steps: expected 1 or more, got 0",
        ),
        (
            "compare analytic --families lm --weights lm=a --out x",
            "expected families among learned ones, and there are none",
        ),
        ("train DOT --family sdm", "arguments are required: out"),
        ("train DOT --family sdm --out x --colour 3", "unrecognized arguments: --colour 3"),
        ("train DOT --family sdm --out x --model.num_steps many", "model.num_steps"),
        (
            "train DOT --family sdm --out x --model.num_steps 0",
            "num_steps: expected 1 or more, got 0",
        ),
        ("train DOT --family sdm --out x --ridge.ridge -1", "ridge: expected"),
        ("train DOT --family sdm --out x --ridge.ridge 0 --problem.count 3", "raise ridge"),
        (
            "train DOT --family mdm --out x --bptt.iterations 0",
            "iterations: expected 1 or more, got 0",
        ),
        ("train DOT --family mdm --out x --data nowhere", "nowhere: no such folder"),
        (
            "train DOT --family mdm --out x --problem.count 0",
            "the train data of Dot: samples: expected at least one sample",
        ),
        (
            "train DOT --family mdm --out dot_problem.py/x",
            "dot_problem.py/x: expected a folder that can be written to",
        ),
        (
            "train DOT --family sdm --out x --config gone.yaml",
            "--config gone.yaml: expected a YAML file",
        ),
        (
            "train DOT --family sdm --out x --config dot_problem.py",
            "--config dot_problem.py: expected",
        ),
        ("train DOT --family sdm --out x --init gone.safetensors", "forgets its start"),
        (
            "train DOT --family joint --out x --init gone.safetensors",
            "weights 'gone.safetensors': there is no such file",
        ),
        (
            "train gone.py:Dot --family sdm --out x",
            "gone.py: expected a Python file, found nothing there",
        ),
        (
            "train dot_problem.py:Spot --family sdm --out x",
            "expected a class 'Spot'; it holds the problems Dot, ",
        ),
        ("check gone.py:Dot", "gone.py: expected a Python file, found nothing there"),
        ("compare DOT --families sdm cnn --out x", "family 'cnn': expected one of"),
        (
            "compare DOT --families sdm --weights sdm --out x",
            "--weights: expected FAMILY=FILE, got sdm",
        ),
        (
            "compare DOT --families sdm --weights mdm=a --out x",
            "--weights: expected families among sdm, got mdm",
        ),
        (
            "compare DOT --families sdm --weights sdm=gone --out x",
            "gone: expected a weights file, found nothing there",
        ),
        (
            "compare DOT --families sdm --batch-size 0 --out x",
            "--batch-size: expected 1 or more samples, got 0",
        ),
        (
            "evaluate gone.safetensors",
            "weights 'gone.safetensors': there is no such file; expected a weights file",
        ),
        ("calibrate mdm", "mdm: expected a weights file, found nothing there"),
        ("evaluate dot_problem.py", "dot_problem.py: expected a safetensors file"),
        ("evaluate --split test", "arguments are required: weights"),
    ],
)
def test_a_mistake_gets_one_message_and_exit_code_2(
    refused: Callable[[str], str], dot: str, line: str, message: str
):
    assert message in refused(line.replace("DOT", dot))
    assert not Path("x", "model.safetensors").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there(refused: Callable[[str], str], dot: str):
    assert "PyTorch finds no CUDA device" in refused(
        f"train {dot} --family mdm --out x --bptt.accelerator cuda"
    )
    assert "PyTorch finds no CUDA device" in refused(f"compare {dot} --out x --device cuda")


def test_a_syntax_error_in_a_problem_names_the_line(refused: Callable[[str], str], tmp_path: Path):
    (tmp_path / "bad.py").write_text("x = 1\nclass Dot(:\n")
    assert "bad.py:2: syntax error" in refused("train bad.py:Dot --family sdm --out x")


def test_without_validation_samples_the_training_error_is_shown(run: Run, dot: str):
    code, out, err = run(
        f"train {dot} --family sdm --problem.count 30 --ridge.ridge 0.1 --out runs"
    )
    assert code == 0, err
    assert "training error after step 0" in out
    assert "train_error" in json.loads(Path("runs/history.json").read_text())


def test_short_names(run: Run, dot: str):
    assert (
        run(f"train {dot} --family sdm --data=there --skip-bad --ridge.ridge 0.1 --out runs")[0]
        == 0
    )
    problem = yaml.safe_load(Path("runs/settings.yaml").read_text())["problem"]
    assert (problem["root"], problem["skip_bad"]) == ("there", True)


def test_what_a_file_says_cannot_steer_the_terminal(refused: Callable[[str], str]):
    model = Cascade.for_problem(Analytic("sin"))
    save_model(model, "m.safetensors")
    for name in ("problem", "observation", "model"):
        annotate("m.safetensors", name, {"name": "\x1b[2J\x9b31mevil", "settings": {}})
        message = refused("evaluate m.safetensors")
        assert message.isprintable() or set(
            filter(lambda char: not char.isprintable(), message)
        ) == {"\n"}
        save_model(model, "m.safetensors")


def test_traceback_is_shown_on_demand(run: Run):
    code, _, err = run("evaluate gone.safetensors --traceback")
    assert code == 2
    assert "Traceback" in err


def test_the_installed_program_answers():
    done = subprocess.run(
        [sys.executable, "-m", "learned_descent", "fly"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("learned-descent: error: command 'fly'")


def _dot(name: str):
    from learned_descent.registry import resolve_problem

    return resolve_problem(name)()
