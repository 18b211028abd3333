"""The experiments of the paper, from end to end on cartoons with networks of a few weights."""

from __future__ import annotations

import importlib
import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import command
from benchmarks.paper import (
    _common,
    detach,
    faces,
    robustness,
    steps,
)
from benchmarks.paper import table as paper_table
from learned_descent import DescentError, Evaluation
from learned_descent.evaluation.tables import certainty, main_metrics, table
from learned_descent.faces.recipes import RECIPES

from .faces.fake300w import write_fake_300w

Run = Callable[..., str]

FAMILIES = ("--families", "sdm", "joint", "mdm")
COMPETITION = ("300w/01_Indoor", "300w/02_Outdoor")
EYES = {"cell": 8, "cells": 1}
MAP = {"filters": (2,), "scales": 1, "sampled": 2, "size": 1, "embedding": 1}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parts = {"afw": 4, "helen/testset": 2, **dict.fromkeys(COMPETITION, 1)}
    return write_fake_300w(tmp_path_factory.mktemp("faces"), parts, size=96)


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    """Recipes of a few weights and iterations, and short studies."""
    sdm, joint, mdm = (RECIPES[name] for name in ("sdm", "joint", "mdm"))
    trainer = replace(mdm.trainers["bptt"], iterations=4, batch_size=2, precision="32-true")
    cascade = {"options": {"num_steps": 1}, "observation_options": EYES}
    ridge = {"ridge": replace(sdm.trainers["ridge"], repeats=1)}
    small = {
        "sdm": replace(sdm, **cascade, trainers=ridge),
        "joint": replace(
            joint, **cascade, trainers={**ridge, "bptt": replace(trainer, lr=1e-5, detach="none")}
        ),
        "mdm": replace(
            mdm,
            options={"num_steps": 2, "hidden": 3},
            observation_options=MAP,
            trainers={"bptt": trainer},
        ),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, recipe in small.items():
            patch.setitem(RECIPES, name, recipe)
        patch.setattr(steps, "MOST", 2)
        patch.setattr(steps, "USUAL", 1)
        patch.setattr(faces, "COUNTS", (2,))
        patch.setattr(robustness, "SYNTHETIC", 16)
        patch.setattr(robustness, "FEWEST", 8)
        patch.setattr(robustness, "YAWS", (0.0, 60.0))
        patch.setattr(detach, "STEPS", (1, 3))
        yield


@pytest.fixture
def run(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs an experiment on the cartoons, and gives back what it printed."""

    def call(name: str, out: Path, *words: object, data: bool = True) -> str:
        places = ["--data", root, "--train", "afw", "--kept", out] if data else []
        monkeypatch.setattr("sys.argv", [name, "--out", str(out), *map(str, [*places, *words])])
        importlib.import_module(f"benchmarks.paper.{name}").main()
        return capsys.readouterr().out

    return call


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def numbers(value: object) -> list[float]:
    """All numbers of nested results; a missing one is not a number."""
    if isinstance(value, dict):
        return [number for item in value.values() for number in numbers(item)]
    if isinstance(value, list):
        return [number for item in value for number in numbers(item)]
    return [] if isinstance(value, str) else [math.nan if value is None else float(value)]


def are_figures(folder: Path, *names: str) -> bool:
    return all((folder / f"{name}.png").read_bytes().startswith(b"\x89PNG") for name in names)


@pytest.fixture(scope="module")
def table_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("table")


@pytest.fixture
def trained_table(run: Run, table_folder: Path) -> Path:
    """The folder with the families in it, for tests that run alone."""
    if not (table_folder / "table.json").exists():
        run("table", table_folder, "--iterations", 2, *FAMILIES)
    return table_folder


def test_the_table_trains_every_family_once(run: Run, table_folder: Path):
    first = run("table", table_folder, "--iterations", 2, *FAMILIES)
    assert [line for line in first.splitlines() if line.startswith("training ")] == [
        f"training {name}" for name in ("sdm", "joint", "mdm")
    ]
    assert "training s  ms/face  parameters\n" in first
    assert "68 points / inter_ocular" in first
    assert "51 points / inter_ocular" in first
    found = read(table_folder / "table.json")
    assert list(found["results"]) == ["sdm", "joint", "mdm"] == list(found["training s"])
    assert all(
        map(math.isfinite, numbers([found["results"], found["training s"], found["ms/face"]]))
    )
    assert found["settings"]["iterations"] == 2
    assert are_figures(table_folder, "table-ced", "table-ced-51", "table-ced-49", "table-steps")
    again = run("table", table_folder, "--iterations", 2, *FAMILIES)
    assert "training sdm" not in again
    assert (
        read(table_folder / "table.json")["results"]["mdm"]["errors"]
        == found["results"]["mdm"]["errors"]
    )


def test_the_table_is_of_all_that_a_cpu_can_train(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.argv", ["table", "--data", "faces"])
    learned = set(paper_table.learned())
    families = paper_table.chosen(paper_table.arguments_of())
    assert set(families) | {"ert"} == learned - {"mdm-paper"}
    assert set(RECIPES) <= learned


def test_what_another_training_left_is_not_taken(run: Run, trained_table: Path):
    with pytest.raises(
        DescentError,
        match=r"sdm.safetensors: is kept from another training \(seed 0, not 1\); give another "
        r"--out",
    ):
        run("table", trained_table, "--seed", 1, *FAMILIES)


def test_the_table_of_trained_weights_trains_nothing(run: Run, trained_table: Path, tmp_path: Path):
    weights = [f"recurrent={trained_table / 'mdm.safetensors'}", trained_table / "sdm.safetensors"]
    text = run("table", tmp_path, "--weights", *weights)
    assert "\ntraining" not in text
    found, trained = read(tmp_path / "table.json"), read(trained_table / "table.json")
    assert found["results"]["recurrent"]["errors"] == trained["results"]["mdm"]["errors"]
    assert found["training s"] == {
        "recurrent": trained["training s"]["mdm"],
        "sdm": trained["training s"]["sdm"],
    }
    assert list(found["data"]) == ["test"]


def test_weights_of_different_crops_are_not_compared(run: Run, trained_table: Path, tmp_path: Path):
    weights = [trained_table / "mdm.safetensors", "mdm-synthetic"]
    with pytest.raises(
        DescentError,
        match=r"mdm-synthetic: has another markup, crop or side of the box than the first weights",
    ):
        run("table", tmp_path, "--weights", *weights)


def test_without_dlib_the_table_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, "dlib", None)
    monkeypatch.setattr("sys.argv", ["table", "--data", "faces"])
    assert "ert" not in paper_table.chosen(paper_table.arguments_of())
    assert "left out: ert: BoostedTrees: the trees are grown by dlib" in capsys.readouterr().out


def test_the_table_is_of_any_parts_and_markup(run: Run, tmp_path: Path):
    words = ("--families", "sdm", "--schema", "ibug49", "--test", *COMPETITION)
    assert "51 points" not in run("table", tmp_path, *words)
    found = read(tmp_path / "table.json")
    assert found["results"]["sdm"]["num_samples"] == 2
    assert found["settings"]["test"] == list(COMPETITION)


@pytest.mark.parametrize(
    ("name", "results", "figures"),
    [
        (
            "ablation",
            ["sdm", "joint", "sdm, joint", "mdm without memory", "mdm"],
            ["ablation-ced", "ablation-steps"],
        ),
        ("features", ["HOG", "SIFT", "learnt"], ["features-ced", "features-steps"]),
        ("faces", ["2", "4"], ["faces"]),
    ],
)
def test_an_experiment_trains_each_of_its_models_once(
    run: Run, tmp_path: Path, name: str, results: list[str], figures: list[str]
):
    first = run(name, tmp_path, "--iterations", 1)
    assert all(f"training {result}\n" in first for result in results)
    assert all(any(line.startswith(result) for line in first.splitlines()) for result in results)
    found = read(tmp_path / f"{name}.json")
    assert list(found["results"]) == results
    assert all(map(math.isfinite, numbers(found["results"])))
    assert are_figures(tmp_path, *figures)
    assert "training " not in run(name, tmp_path, "--iterations", 1)


def test_more_faces_are_measured_for_any_family(run: Run, tmp_path: Path):
    out = run("faces", tmp_path, "--family", "sdm")
    assert "training 2\n" in out
    assert read(tmp_path / "faces.json")["settings"]["family"] == "sdm"


def test_a_training_that_another_experiment_did_is_taken_over(run: Run, tmp_path: Path):
    one, other = tmp_path / "features", tmp_path / "ablation"
    run("features", one, "--iterations", 1)
    text = run("ablation", other, "--iterations", 1, "--kept", tmp_path)
    assert f"taken over: mdm, from {one / 'SIFT.safetensors'}" in text
    assert "training mdm without memory" in text
    assert "training mdm\n" not in text
    assert (other / "mdm.safetensors").read_bytes() == (one / "SIFT.safetensors").read_bytes()
    with pytest.raises(
        DescentError,
        match=r"joint.safetensors: is kept from another training \(iterations 1, not 2; digest",
    ):
        run("ablation", other, "--iterations", 2)


def test_seeds_have_a_mean_and_a_spread(run: Run, tmp_path: Path):
    first = run("seeds", tmp_path, "--iterations", 1, "--family", "mdm", "--seeds", 0, 1)
    assert [line for line in first.splitlines() if line.startswith("training ")] == [
        "training seed 0",
        "training seed 1",
    ]
    found = read(tmp_path / "seeds.json")
    assert list(found["results"]) == ["seed 0", "seed 1"]
    both = [Evaluation.from_json(result) for result in found["results"].values()]
    whole = {"all": Evaluation.pooled(both)}
    metrics = [*main_metrics(both[0]), "68 points / inter_pupil"]
    assert table(whole, metrics=metrics) in first
    assert certainty(whole, metrics) in first
    assert "±: standard deviation over 2 trainings" in first
    files = [tmp_path / f"seed {seed}.safetensors" for seed in (0, 1)]
    again = run("seeds", tmp_path / "again", "--weights", *files)
    assert "training seed" not in again
    assert first.splitlines()[-1] == again.splitlines()[-1]
    with pytest.raises(DescentError, match=r"each from a seed of its own, got the seeds \[0, 0\]"):
        run("seeds", tmp_path / "again", "--weights", files[0], files[0])
    with pytest.raises(
        DescentError,
        match=r"--seeds: expected two different ones or more, which have a spread, got \[3\]",
    ):
        run("seeds", tmp_path, "--seeds", 3)


def test_seeds_of_other_faces_are_not_averaged(run: Run, trained_table: Path, tmp_path: Path):
    run("table", tmp_path, "--families", "mdm", "--iterations", 1, "--seed", 1,
    "--train", "helen/testset",
        "--test", "afw")  # fmt: skip
    with pytest.raises(DescentError, match=r"mdm.safetensors: was trained on other faces than"):
        run(
            "seeds",
            tmp_path,
            "--weights",
            trained_table / "mdm.safetensors",
            tmp_path / "mdm.safetensors",
        )


def test_steps_are_trained_for_and_run_for(run: Run, tmp_path: Path):
    first = run("steps", tmp_path, "--iterations", 1)
    assert "training T2\n" in first
    found = read(tmp_path / "steps.json")
    assert found["steps"] == [1, 2]
    own, one = found["mean"].values()
    assert own[0] == one[0]  # trained for one step, and run for one
    assert all(map(math.isfinite, [*own, *one, *found["failures"]]))
    assert are_figures(tmp_path, "steps")
    assert "training T" not in run("steps", tmp_path, "--iterations", 1, "--most", 1)
    assert read(tmp_path / "steps.json")["steps"] == [1]
    words = ("--iterations", 1, "--cell", "gru", "lstm", "--extra-steps", 2)
    assert "training gru1-3\ntraining lstm1-3\n" in run("steps", tmp_path, *words)
    found = read(tmp_path / "steps.json")["mean"]
    assert list(found)[2:] == ["gru1-3, run for T", "lstm1-3, run for T"]
    assert all(map(math.isfinite, numbers(found)))
    with pytest.raises(DescentError, match="--most: expected 1 or more, got 0"):
        run("steps", tmp_path, "--most", 0)


def test_robustness_measures_every_harm(
    run: Run, trained_table: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    text = run(
        "robustness",
        tmp_path,
        "--data",
        root,
        "--weights",
        f"one={trained_table / 'mdm.safetensors'}",
        "--every",
        2,
        data=False,
    )
    found = read(tmp_path / "robustness.json")
    assert len(found["studies"]) == 9
    assert found["studies"]["colours"]["amounts"] == list(robustness.COLOURS)
    for label, study in found["studies"].items():
        assert label in text
        assert len(study["families"]) == len(study["amounts"])
        assert all(map(math.isfinite, numbers(study)))
    assert are_figures(tmp_path, "robustness")


def test_the_colours_of_robustness_keep_what_they_say():
    image = 255 * torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    found = {name: change(image) for name, change in robustness.COLOURS.items()}
    assert torch.equal(found["BGR"][:, 0], image[:, 2])
    assert (found["blue"][:, :2] == 0).all()
    torch.testing.assert_close(found["yellow"][:, 0], image.mean(1))
    for turned in (found["hue 90"], found["hue 180"]):
        assert (turned - image).abs().amax() > 50
        torch.testing.assert_close(turned.amax(1), image.amax(1), atol=1e-2, rtol=0)
        torch.testing.assert_close(turned.amin(1), image.amin(1), atol=1e-2, rtol=0)


def test_a_rolled_crop_has_its_face_where_the_points_are():
    """A bright pixel beside the middle of the box is below it after a quarter of a turn."""
    image = torch.zeros(1, 1, 41, 41)
    image[0, 0, 20, 30] = 255
    batch = {"image": image, "points": torch.tensor([[[30.0, 20.0]]]), "box": torch.zeros(1, 4)}
    quarter = torch.tensor([-math.pi / 2])
    found = robustness.recropped(batch, 31, torch.zeros(1, 2), torch.ones(1), quarter)
    torch.testing.assert_close(found["points"], torch.tensor([[[15.0, 25.0]]]))
    assert found["image"][0, 0, 25, 15] == pytest.approx(255, abs=0.1)


def test_several_fits_are_measured_beside_one(
    run: Run, trained_table: Path, root: Path, tmp_path: Path
):
    weights = f"one={trained_table / 'mdm.safetensors'}"
    run("views", tmp_path, "--data", root, "--weights", weights, data=False)
    found, table = read(tmp_path / "views.json"), read(trained_table / "table.json")
    assert found["fits"] == {
        "one": 1,
        "one, 1 copy": 4,
        "one, 2 copies": 6,
        "one, 3 copies": 8,
        "one, 4 copies": 10,
    }
    assert found["results"]["one"]["errors"] == table["results"]["mdm"]["errors"]
    ends = {
        name: result["errors"]["68 points / inter_ocular"][-1]
        for name, result in found["results"].items()
    }
    assert all(map(math.isfinite, numbers(ends)))
    assert len({tuple(end) for end in ends.values()}) == len(ends)
    assert are_figures(tmp_path, "views")


def test_a_cut_saves_memory_from_the_second_step_on(run: Run, tmp_path: Path):
    text = run("detach", tmp_path, "--batch-size", 4, "--rounds", 1, data=False)
    assert all(mode in text for mode in detach.MODES)
    stored = read(tmp_path / "detach.json")
    eyes, (one, three) = stored["eyes"]["MiB"], stored["steps"].values()
    assert len({found["MiB"] for found in one.values()}) == 1
    memory = [
        one["none"]["MiB"],
        three["observation"]["MiB"],
        three["state"]["MiB"],
        three["none"]["MiB"],
    ]
    assert 0 < eyes < memory[0] < memory[1] <= memory[2] < memory[3]
    assert three["none"]["time"] == 1
    assert all(map(math.isfinite, numbers([one, three])))
    assert are_figures(tmp_path, "detach")


def test_what_is_kept_is_counted_once():
    weight = torch.ones(100, requires_grad=True)
    assert detach.kept(lambda: weight * weight) == 4 * 100
    assert detach.kept(lambda: [weight * weight, (weight * 2).exp()]) == 2 * 4 * 100
    assert detach.kept(lambda: (weight * weight).sum().item()) == 0  # the graph is gone


def test_what_a_training_does_not_say_is_not_held_against_it(tmp_path: Path):
    _common.check_kept(tmp_path, {"seed": 0}, {"seed": 0, "iterations": 5})


def test_a_mistake_of_the_user_ends_a_command_with_one_message(capsys):
    def mistaken():
        raise DescentError("root: there is no folder nowhere")

    with pytest.raises(SystemExit) as exit_info:
        command(mistaken)
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == "error: root: there is no folder nowhere\n"
