"""Files that anybody may have written or damaged: each is read, or refused by one DescentError;
nothing else gets out."""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from learned_descent import (
    Cascade,
    Concat,
    DescentError,
    DescentModel,
    Frozen,
    MnemonicDescent,
)
from learned_descent.checkpoint import read_description
from learned_descent.checkpoint.model import load_model, load_weights, save_model
from learned_descent.checkpoint.stored import KEY
from learned_descent.cli.config import check_options, read_config
from learned_descent.cli.runs import problem_of
from learned_descent.faces.alignment import FaceAlignment
from learned_descent.files import load_state, save_state
from learned_descent.landmarks.boxes import read_all_boxes, read_boxes
from learned_descent.landmarks.calibration import Calibration
from learned_descent.landmarks.formats import FormatName
from learned_descent.landmarks.formats.find import find_format, read_labels
from learned_descent.landmarks.point_files import read_landmarks
from learned_descent.observations import ConvolutionalPatches, DenseHOG
from learned_descent.problems import Analytic
from learned_descent.problems.pose import Pose

COUNT = 300
"""Files of each kind."""

ODD: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        3,
        10**6,
        10**9,
        10**30,
        -(10**9),
        0.5,
        1e300,
        math.nan,
        math.inf,
    ),
    *("", "mnemonic", "evil:Evil", "../../x", "\x1b[31mred", "\0", "é" * 9, "9" * 5000),
    *(
        [],
        {},
        [1],
        [[1]],
        [None],
        ["a", 1],
        {"name": "cascade"},
        {"name": [], "settings": 3},
        {"": {}},
    ),
]
"""What a reader does not expect."""


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every entry of a tree: what holds it, and under which key."""
    found: list[tuple[Any, Any]] = []
    for key in (
        list(value)
        if isinstance(value, dict)
        else range(len(value))
        if isinstance(value, list)
        else []
    ):
        found += [(value, key), *places(value[key])]
    return found


def changed(draw: random.Random, tree: Any) -> Any:
    """A tree of JSON with one to three entries removed, replaced or repeated."""
    tree = copy.deepcopy(tree)
    for _ in range(draw.choice((1, 1, 2, 3))):
        holder, key = draw.choice(places(tree) or [([0], 0)])
        kind = draw.random()
        if kind < 0.2:
            del holder[key]
        elif kind < 0.9:
            holder[key] = copy.deepcopy(draw.choice([*ODD, nested(12), nested(400)]))
        else:
            holder[key] = copy.deepcopy(draw.choice(places(tree))[0])
    return tree


def damaged(draw: random.Random, content: bytes) -> bytes:
    """Bytes with some changed, removed, repeated or cut off."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 3, 10))):
        at = draw.randrange(len(data) or 1)
        kind = draw.randrange(5)
        if kind == 0:
            del data[at:]
        elif kind == 1:
            data[at : at + 1] = bytes([draw.randrange(256)])
        elif kind == 2:
            data[at:at] = data[at : at + draw.randrange(40)]
        elif kind == 3:
            del data[at : at + draw.randrange(1, 20)]
        else:
            data[at:at] = draw.choice(
                (b"\0", b"nan", b"1e999", b"-", b"\xff\xfe", b"{", b'"', b",", b"\n", b"9" * 400)
            )
    return bytes(data)


def odd_files(
    seed: int, *, tree: Any = None, content: bytes = b"", write: Callable[[Any], bytes]
) -> Iterator[bytes]:
    """Half of them with a tree of JSON that was changed, half with bytes that were."""
    draw = random.Random(seed)
    for turn in range(COUNT):
        yield damaged(draw, content) if tree is None or turn % 2 else write(changed(draw, tree))


def outcomes(
    file: Path, contents: Iterator[bytes], read: Callable[[Path], object]
) -> dict[str, int]:
    """How many files were read, and how many refused; any other exception gets out."""
    found = {"read": 0, "refused": 0}
    for content in contents:
        file.write_bytes(content)
        try:
            read(file)
            found["read"] += 1
        except DescentError:
            found["refused"] += 1
    return found


def face_model() -> DescentModel:
    """Two kinds of eyes around the landmarks of a face, one of them frozen."""
    problem = FaceAlignment(crop=64, box_side=40.0)
    problem.mean_shape.copy_(
        32 + 12 * torch.randn(68, 2, generator=torch.Generator().manual_seed(0))
    )
    points = problem.observation().points  # type: ignore[operator]
    eyes = Concat(
        DenseHOG(points, cell=4),
        Frozen(ConvolutionalPatches(points, size=10, filters=2, channels=3)),
    )
    x = torch.full((1, 136), 32.0)
    features = eyes(x, eyes.prepare({"image": torch.zeros(1, 3, 64, 64, dtype=torch.uint8)}))
    return Cascade(problem, eyes, features.shape[1], 136, num_steps=1)


MODELS: dict[str, Callable[[], DescentModel]] = {
    "cascade": lambda: Cascade.for_problem(Analytic("sin"), hidden=3, num_steps=2),
    "mnemonic": lambda: MnemonicDescent.for_problem(
        Pose(num_points=6, num_train=8, num_test=2), hidden=4, cell="gru"
    ),
    "faces": face_model,
}


@pytest.mark.parametrize("name", MODELS)
def test_weights(tmp_path: Path, name: str):
    model, path = MODELS[name](), tmp_path / "model.safetensors"
    training = {
        "seed": 1,
        "seconds": 2.0,
        "settings": {"problem": {"root": "x"}, "ridge": {"ridge": 1.0}},
        "init": {"seconds": 1},
    }
    save_model(model, path, training=training)
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        description = json.loads(file.metadata()[KEY])
    description["calibration"] = Calibration().to_json()

    def write(tree: Any) -> bytes:
        save_file(tensors, path, {KEY: json.dumps(tree)})  # without a checksum, as a forger would
        return path.read_bytes()

    def read(file: Path) -> None:
        problem_of(file, None, {})  # what the commands begin with
        found = read_description(file)
        Calibration.from_json(found.get("calibration"))
        loaded = load_model(file)
        assert loaded.num_steps <= 10_000

    found = outcomes(
        path, odd_files(1, tree=description, content=write(description), write=write), read
    )
    assert found["read"] > 10
    assert found["refused"] > COUNT / 3


def test_weights_for_a_model_that_is_there(tmp_path: Path):
    model, path = MODELS["cascade"](), tmp_path / "model.safetensors"
    save_model(model, path)
    with safe_open(path, "pt") as file:
        description = json.loads(file.metadata()[KEY])
    tensors = load_file(path)

    def write(tree: Any) -> bytes:
        save_file(tensors, path, {KEY: json.dumps(tree)})
        return path.read_bytes()

    contents = odd_files(2, tree=description, content=write(description), write=write)
    found = outcomes(path, contents, lambda file: load_weights(model, file))
    assert found["read"] > 10
    assert found["refused"] > COUNT / 3


def test_states_of_a_training(tmp_path: Path):
    path = tmp_path / "checkpoint.safetensors"
    save_state(
        path,
        {
            "step": 3,
            "moments": {0: [torch.ones(2), None]},
            "best": {"error": 0.5, "weights": {"a": torch.ones(3)}},
        },
    )
    with safe_open(path, "pt") as file:
        packed = json.loads(file.metadata()["state"])
    tensors = load_file(path)

    def write(tree: Any) -> bytes:
        save_file(tensors, path, {"state": json.dumps(tree)})
        return path.read_bytes()

    found = outcomes(
        path, odd_files(3, tree=packed, content=write(packed), write=write), load_state
    )
    assert found["read"] > 10
    assert found["refused"] > COUNT / 3


PTS = b"version: 1\nn_points: 3\n{\n10.5 20.25\n30 40\n50.125 6e1\n}\n"
LJSON = {
    "version": 3,
    "groups": {
        "ibug": {
            "landmarks": {"points": [[10.0, 20.0], [30.0, 40.0]]},
            "labels": [{"label": "all", "mask": [0, 1]}],
        }
    },
}
TITLED = b"image,x0,y0,x1,y1\nafw/a.jpg,10,20,110,120\nafw/b.jpg,11,21,111,121\n"
BOXES = {"afw/a.jpg": [10, 20, 110, 120], "afw/b.jpg": [[1, 2, 30, 40], [5, 6, 70, 80]]}
YAML = {
    "seed": 1,
    "family": "mdm",
    "problem": {"root": "x", "train": ["afw"]},
    "model": {"hidden": 8},
    "bptt": {"lr": 1e-3},
}
TYPES = {
    "seed": int,
    "problem.root": str,
    "problem.train": list[str],
    "model.hidden": int,
    "bptt.lr": float,
}


LABELS: dict[str, Any] = {
    "csv": "image,split,root_x,root_y,root_v\na.png,train,3.5,4,1\nb.png,,5,4,\n",
    "csv-points": "image,point,x,y,visible\na.png,0,3,4,1\na.png,1,50,6,0\n",
    "coco": {
        "images": [{"id": 7, "file_name": "a.png"}],
        "annotations": [{"image_id": 7, "keypoints": [3, 4, 2, 0, 0, 0], "bbox": [1, 2, 3, 4]}],
        "categories": [{"id": 1, "keypoints": ["root", "tip"]}],
    },
    "dlib": "<dataset><images><image file='a.png'><box top='2' left='1' width='60' height='40'>"
    "<part name='0' x='3' y='4'/></box></image></images></dataset>",
    "labelme": {
        "imagePath": "a.png",
        "shapes": [{"label": "tip", "points": [[50, 6]], "shape_type": "point"}],
    },
    "tps": "LM=2\n3 4\n50 6\nCURVES=1\nPOINTS=1\n1 1\nIMAGE=a.png\nID=0\n",
    "cofw": f"a.png {'1 ' * 87} 5 6 70 80\n",
}


def as_json(tree: Any) -> bytes:
    return json.dumps(tree).encode()


def read_config_file(file: Path) -> None:
    read_config(file)
    check_options(file, TYPES)


@pytest.mark.parametrize(
    ("name", "tree", "content", "read"),
    [
        ("face.pts", None, PTS, read_landmarks),
        ("face.ljson", LJSON, as_json(LJSON), read_landmarks),
        ("boxes.csv", None, TITLED, read_boxes),
        ("boxes.csv", None, TITLED, read_all_boxes),
        ("boxes.json", BOXES, as_json(BOXES), read_all_boxes),
        ("options.yaml", YAML, as_json(YAML), read_config_file),
    ],
    ids=["pts", "ljson", "boxes.csv", "all boxes.csv", "boxes.json", "yaml"],
)
def test_small_files(
    tmp_path: Path, name: str, tree: Any, content: bytes, read: Callable[[Path], object]
):
    path = tmp_path / name
    path.write_bytes(content)
    if read is not read_boxes:
        read(path)
    found = outcomes(path, odd_files(4, tree=tree, content=content, write=as_json), read)
    assert found["refused"] > COUNT / 4
    assert found["read"] > 0


@pytest.mark.parametrize("name", LABELS)
def test_labels(tmp_path: Path, name: FormatName):
    text = LABELS[name]
    tree = None if isinstance(text, str) else text
    content = text.encode() if isinstance(text, str) else as_json(text)
    path = tmp_path / f"labels{find_format(name).endings[0]}"
    path.write_bytes(content)

    def read(file: Path) -> None:
        read_labels([file], name)

    read(path)
    found = outcomes(path, odd_files(5, tree=tree, content=content, write=as_json), read)
    assert found["refused"] > COUNT / 5
