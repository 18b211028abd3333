"""The command for a card that is lent: all of it on the CPU, in tiny sizes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import page, run, stages
from benchmarks.gpu.faces import MOST, PackedFaces
from benchmarks.gpu.process import bounded
from benchmarks.gpu.scale import Scale

DOCS = Path(__file__).parents[1] / "docs"
QUICK = ["--device", "cpu", "--quick"]


def quiet(text: str) -> Iterator[dict[str, Any]]:
    yield {"read": text}


def test_all_stages_run_and_make_a_page(tmp_path: Path):
    names = [name for name in run.BUDGETS if name != "suite"]
    assert command.main([*QUICK, "--out", str(tmp_path), "--stages", *names]) == 0
    result = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert list(result["stages"]) == names
    assert {found["ended"] for found in result["stages"].values()} == {"well"}
    rows = {name: found.get("rows", []) for name, found in result["stages"].items()}
    assert not [row for found in rows.values() for row in found if "error" in row]
    assert {(row["model"], row["precision"]) for row in rows["training"]} == {
        (model, precision) for model in ("mdm", "mdm-paper") for precision in ("float32", "bf16")
    }
    assert all(
        row["tflops"] > 0
        for name in ("matrix", "training", "ridge", "inference")
        for row in rows[name]
    )
    assert (
        {row["batch_size"] for row in rows["inference"]}
        == {row["batch_size"] for row in rows["solvers"]}
        == {1, 2}
    )
    text = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert text == page.written(result)
    assert "| mdm-paper | bf16 | no | 2 | synthetic |" in text
    assert "no figure means anything" in text
    assert not list(tmp_path.glob("part-*"))


def test_a_stage_that_fails_is_told_and_the_next_ones_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def half(scale: Scale, data: Path, out: Path) -> Iterator[dict[str, Any]]:
        yield {"precision": "float32", "tflops": 2.0}
        raise RuntimeError("the card went away")

    monkeypatch.setattr(
        stages, "STAGES", {**stages.STAGES, "matrix": half, "ridge": lambda *_: quiet("on")}
    )
    assert (
        run.everything(["matrix", "ridge"], Scale("cpu", True), tmp_path / "none", tmp_path, 60)
        == 1
    )
    assert "the card went away" in capsys.readouterr().err
    found = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["stages"]
    assert found["matrix"]["ended"] == "RuntimeError: the card went away"
    assert found["matrix"]["rows"] == [{"precision": "float32", "tflops": 2.0}]
    assert found["ridge"]["rows"] == [{"read": "on"}]
    assert "This stage did not end well: RuntimeError" in (tmp_path / "gpu.md").read_text(
        encoding="utf-8"
    )


def test_a_row_that_fails_says_so():
    def work() -> dict[str, Any]:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 28 GiB")

    row = stages.measured({"model": "mdm-paper"}, work)
    assert row == {"model": "mdm-paper", "error": "OutOfMemoryError: CUDA out of memory."}


def test_no_stage_begins_when_the_time_is_over(tmp_path: Path):
    assert run.everything(["matrix"], Scale("cpu", True), tmp_path / "none", tmp_path, 1) == 1
    found = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["stages"]["matrix"]
    assert found["ended"] == "no time was left"


def test_a_command_ends_with_its_time_and_so_do_its_children(tmp_path: Path):
    child = "import subprocess, sys; print('begun', flush=True); subprocess.run(['sleep', '60'])"
    begun = time.monotonic()
    assert bounded([sys.executable, "-c", child], 1.0, tmp_path / "log") == "its 1 s were over"
    assert time.monotonic() - begun < 20
    assert (tmp_path / "log").read_text(encoding="utf-8") == "begun\n"
    assert bounded([sys.executable, "-c", "raise SystemExit(3)"], 60.0) == "exit code 3"


LOG = """
tests/test_data.py::test_index_and_device PASSED                         [  1%]
[gw0] [  5%] PASSED tests/test_data.py::test_batches[a b]
[gw1] [  7%] FAILED tests/faces/test_turning.py::test_a_turn
[gw1] [  9%] SKIPPED tests/test_cli.py::test_shared
tests/test_model.py::test_one FAILED                                     [ 12%]
FAILED tests/test_model.py::test_one - assert 1 == 2
"""


def test_the_lines_of_a_log_are_counted_also_when_it_ends_early():
    assert stages.outcomes(LOG) == {
        "passed": 2, "failed": 2, "skipped": 1,
        "failures": ["tests/faces/test_turning.py::test_a_turn", "tests/test_model.py::test_one"],
    }  # fmt: skip


def test_packed_faces_are_small_and_are_read_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "run" / "faces.safetensors"
    command.main(["pack", "--count", "3", "--to", str(path)])
    assert f"{path}: 3 faces" in capsys.readouterr().out
    assert path.stat().st_size < MOST
    problem = PackedFaces(path, quick=False)
    batch = problem.data("train")
    assert torch.equal(batch["image"], load_file(path)["image"])
    assert problem.initial(batch).isfinite().all()
    assert problem.origin == "faces.safetensors"


def test_the_page_of_the_documentation_is_that_of_its_json():
    stored = DOCS / "gpu.json"
    result = json.loads(stored.read_text(encoding="utf-8")) if stored.exists() else None
    assert (DOCS / "gpu.md").read_text(encoding="utf-8") == page.written(result)


def test_a_page_is_published(tmp_path: Path):
    (tmp_path / "gpu.json").write_text(
        json.dumps({"made": "today", "facts": {"device": "A card"}, "stages": {}}), encoding="utf-8"
    )
    docs = tmp_path / "docs"
    page.publish(tmp_path / "gpu.json", docs)
    assert "On A card" in (docs / "gpu.md").read_text(encoding="utf-8")
    assert json.loads((docs / "gpu.json").read_text(encoding="utf-8"))["made"] == "today"
