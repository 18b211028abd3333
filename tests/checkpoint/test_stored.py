"""A weights file is read once: what was read goes from hand to hand."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from learned_descent import Cascade, DescentError, files, weights
from learned_descent.checkpoint import StoredModel, find_stored, read_stored
from learned_descent.checkpoint.model import annotate, load_model, load_weights, pack, save_model
from learned_descent.cli.main import main
from learned_descent.faces import detectors
from learned_descent.problems import Analytic

from ..faces.fake300w import write_fake_300w
from ..landmarks.aligners import Bright, small_model

QUICK = "--bptt.iterations 2 --bptt.batch_size 8"


@contextmanager
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How often each safetensors file is opened in the block."""
    counts: Counter[str] = Counter()
    really = files.safe_open

    def counted(path: str, **options: Any) -> Any:
        counts[Path(path).name] += 1
        return really(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(files, "safe_open", counted)
        yield counts


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with weights of three kinds and a photo."""
    monkeypatch.chdir(tmp_path)
    save_model(Cascade.for_problem(Analytic("sin"), num_steps=4), "sin.safetensors")
    save_model(small_model(), "tiny.safetensors")
    pixels = np.full((60, 80, 3), 40, dtype=np.uint8)
    pixels[15:45, 20:50] = 200
    Image.fromarray(pixels).save("bright.png")
    monkeypatch.setattr(detectors, "CenterFace", Bright)
    monkeypatch.setattr(detectors, "LBPCascade", Bright)
    return tmp_path


SIN = "analytic --problem.function sin"

COMMANDS = {
    f"train {SIN} --family mdm --init mdm.safetensors --out again {QUICK}": "mdm",
    "evaluate sin.safetensors": "sin",
    "evaluate sin.safetensors --problem-file analytic --problem.function cube": "sin",
    f"compare {SIN} --families sdm lm --weights sdm=sin.safetensors --out all": "sin",
    "align bright.png --weights tiny.safetensors": "tiny",
    "align bright.png --weights tiny.safetensors --problem-file faces": "tiny",
    "calibrate tiny.safetensors --data 300w --faces 12 --output copy.safetensors": "tiny",
}


@pytest.mark.parametrize(("line", "file"), COMMANDS.items())
def test_a_command_reads_weights_once(
    here: Path, monkeypatch: pytest.MonkeyPatch, line: str, file: str
):
    if file == "mdm":
        assert main(shlex.split(f"train {SIN} --family mdm --out m {QUICK}")) == 0
        Path("m/model.safetensors").rename("mdm.safetensors")
    if "300w" in line:
        write_fake_300w(here / "300w", {"afw": 12}, size=96)
        line += " --problem.train [afw] --problem.test [] --problem.val_fraction 0.3"
    with opened(monkeypatch) as counts:
        assert main(shlex.split(line)) == 0
    assert counts == {f"{file}.safetensors": 1}


def test_what_was_read_serves_all(here: Path, monkeypatch: pytest.MonkeyPatch):
    with opened(monkeypatch) as counts:
        stored = read_stored("sin.safetensors")
        assert read_stored(stored) is stored
        assert find_stored(stored) is stored
        model = load_model(stored)
        load_weights(Cascade.for_problem(Analytic("sin"), num_steps=4), stored)
        noted = annotate(stored, "calibration", {"scale": 2.0})
        pack(noted, "half.safetensors")
    assert counts == {"sin.safetensors": 1}
    assert (stored.path, stored.training) == (Path("sin.safetensors"), {})
    assert "calibration" not in stored.description
    again = read_stored("sin.safetensors")
    assert again.description == noted.description
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1)
    assert all(torch.equal(value, again.tensors[name]) for name, value in stored.tensors.items())


def test_a_copy_to_hand_on_leaves_what_was_read_alone(here: Path):
    settings = {"problem": {"root": "/home/me"}, "init": "old"}
    save_model(load_model("sin.safetensors"), "sin.safetensors", training={"settings": settings})
    stored = read_stored("sin.safetensors")
    pack(stored, "half.safetensors")
    assert read_stored("half.safetensors").training == {"settings": {"problem": {}}}
    assert stored.training == {"settings": settings}


def test_weights_that_come_with_the_package_are_found_by_name():
    assert isinstance(find_stored("mdm"), StoredModel)
    assert find_stored("mdm").path == weights.FOLDER / "mdm.safetensors"
    with pytest.raises(DescentError, match="mdm: expected a weights file, found nothing there"):
        read_stored("mdm")
