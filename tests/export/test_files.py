from __future__ import annotations

import builtins
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from learned_descent import DescentError, MnemonicDescent, Observation
from learned_descent.export import files, graph_of, write_graph

from ..toys import Line
from .models import cascade, mnemonic

pytestmark = pytest.mark.usefixtures("as_installed")  # in a graph, a size is no whole number


@pytest.mark.parametrize("made", [mnemonic, cascade])
def test_onnx_does_what_the_model_does_for_batches_of_any_size(made, tmp_path: Path):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    graph = graph_of(made())
    written = write_graph(graph, tmp_path / "all.onnx", metadata={"terms": "any"})
    assert written.difference <= 1e-4
    onnx.checker.check_model(str(written.path), full_check=True)
    session = onnxruntime.InferenceSession(str(written.path))
    texts = session.get_modelmeta().custom_metadata_map
    assert {name: json.loads(text) for name, text in texts.items()} == written.metadata
    assert written.metadata["inputs"]["x0"] == {"type": "float32", "shape": ["batch", 98]}
    assert [value.shape[0] for value in session.get_inputs()] == ["batch", "batch"]
    for count in (1, 3, 17):
        values = {name: value.numpy() for name, value in graph.draw(count).items()}
        (x,) = session.run(["x"], values)
        (wanted,) = graph.module(*graph.draw(count).values())
        assert (torch.from_numpy(x) - wanted).abs().max() <= 1e-4
    assert [file.name for file in tmp_path.iterdir()] == ["all.onnx"]


@pytest.mark.parametrize(("part", "step"), [("descent", None), ("prepare", None), ("step", 1)])
def test_a_program_of_torch_is_bit_equal(part, step, tmp_path: Path):
    graph = graph_of(cascade(), part, step=step)
    written = write_graph(graph, tmp_path / "all.pt2", format="torch", metadata={"terms": "any"})
    assert written.difference == 0
    extra = {"metadata.json": ""}
    torch.export.load(written.path, extra_files=extra)
    assert json.loads(extra["metadata.json"])["terms"] == "any"


class Asking(Observation):
    def forward(self, x: Tensor, batch: dict[str, Tensor]) -> Tensor:
        return x if x.sum() > 0 else -x


class Counting(Observation):
    def forward(self, x: Tensor, batch: dict[str, Tensor]) -> Tensor:
        return x * len(x)


@pytest.mark.parametrize(
    ("eyes", "message"),
    [
        (Asking, r"MnemonicDescent: it cannot be exported, .*torch.where for an if"),
        (Counting, r"MnemonicDescent: .* batches of one size: .* x.shape\[0\], not by len\(x\)"),
    ],
)
def test_what_looks_into_tensors_is_refused_and_leaves_no_file(eyes, message: str, tmp_path: Path):
    model = MnemonicDescent.for_problem(Line(), observation=eyes(), hidden=4)
    with pytest.raises(DescentError, match=message):
        write_graph(graph_of(model), tmp_path / "all.pt2", format="torch")
    assert not list(tmp_path.iterdir())


def test_a_file_that_differs_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(files, "FARTHEST", -1.0)
    with pytest.raises(DescentError, match="the output 'x' of the file differs from the model's"):
        write_graph(graph_of(mnemonic()), tmp_path / "all.pt2", format="torch")
    assert not list(tmp_path.iterdir())


def test_another_ending_and_another_format_are_refused(tmp_path: Path):
    graph = graph_of(mnemonic())
    with pytest.raises(DescentError, match=r"expected a file that ends in \.pt2 for the format"):
        write_graph(graph, tmp_path / "all.onnx", format="torch")
    with pytest.raises(DescentError, match="format: expected one of onnx, torch, got 'tflite'"):
        write_graph(graph, tmp_path / "all.onnx", format="tflite")


def test_the_extra_is_named_where_a_package_is_missing(monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def missing(name: str, *rest: object) -> object:
        if name == "onnx":
            raise ImportError("No module named 'onnx'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(
        DescentError, match=r"package onnx.*pip install 'learned-descent\[export\]'"
    ):
        files.check_packages()
