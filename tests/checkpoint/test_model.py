"""Weights files: what goes in comes back, and what is no such file is refused with one clear
message."""

from __future__ import annotations

import copy
import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
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
    Problem,
)
from learned_descent.checkpoint import read_description
from learned_descent.checkpoint.description import describe
from learned_descent.checkpoint.model import (
    annotate,
    check_storable,
    load_model,
    load_weights,
    pack,
    save_model,
)
from learned_descent.files import save_state
from learned_descent.observations import ConvolutionalPatches, DenseHOG, Patches, Residual
from learned_descent.problems import Analytic, Pose
from learned_descent.solvers import LevenbergMarquardt, Polished
from tests.toys import Line, Turn


class Photo(Line):
    """Points in an image: two parameters are one point."""

    def data(self, split):
        return {
            **super().data(split),
            "image": torch.zeros(self.count, 1, 16, 16, dtype=torch.uint8),
        }

    def observation(self):
        return Patches(lambda x: x.unflatten(1, (-1, 2)), size=2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def shaken(model: DescentModel) -> DescentModel:
    """The model with other than fresh weights."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data += (
            torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) / 100
        )
    return model


def edit(path: Path, **changes: Any) -> None:
    """Changes entries of the description, given by their path: ``model__name="x"``."""
    with safe_open(path, "pt") as file:
        description = json.loads(file.metadata()["learned_descent"])
    for where, value in changes.items():
        *outer, last = where.split("__")
        part = description
        for name in outer:
            part = part[name]
        part[last] = value
    save_file(load_file(path), path, {"learned_descent": json.dumps(description)})


@pytest.mark.parametrize(
    "model",
    [
        Cascade.for_problem(Analytic("cube"), num_steps=3, hidden=5, bias=False),
        MnemonicDescent.for_problem(Analytic("erf"), hidden=5, cell="gru"),
        Cascade.for_problem(Analytic("sin", dtype=torch.float64)).double(),
    ],
    ids=["mlp", "gru", "float64"],
)
def test_a_model_comes_back_bit_by_bit(model: DescentModel, path: Path):
    shaken(model)
    save_model(model, path, training={"seed": 3})
    loaded = load_model(path)
    batch = model.problem.data("test")
    assert describe(loaded) == describe(model)
    assert not loaded.training
    assert torch.equal(loaded(batch, detach="state").xs, model(batch, detach="state").xs)
    assert loaded(batch).xs.dtype == model(batch).xs.dtype
    assert read_description(path)["training"] == {"seed": 3}


@pytest.mark.parametrize(
    "eyes",
    [
        lambda points: DenseHOG(points, cell=2),
        lambda points: Frozen(ConvolutionalPatches(points, size=10, filters=2, channels=1)),
        lambda points: Concat(Patches(points, size=3), Frozen(DenseHOG(points, cell=2))),
    ],
    ids=["built-in", "frozen", "concat"],
)
def test_image_observations_are_rebuilt_around_the_points_of_the_problem(eyes: Any, path: Path):
    problem = Photo()
    model = shaken(
        Cascade.for_problem(
            problem, observation=eyes(lambda x: x.unflatten(1, (-1, 2))), num_steps=2
        )
    )
    save_model(model, path)
    loaded = load_model(path, problem=Photo())
    batch = {**problem.data("test"), "image": torch.arange(24 * 256).view(24, 1, 16, 16) % 251}
    assert describe(loaded) == describe(model)
    assert torch.equal(loaded(batch, detach="state").xs, model(batch, detach="state").xs)


def test_the_buffers_of_the_problem_come_from_the_file(path: Path):
    problem = Line()
    problem.matrix.mul_(3)
    save_model(Cascade.for_problem(problem), path)
    assert torch.equal(load_model(path, problem=Line()).problem.matrix, problem.matrix)


def test_a_file_never_imports_code(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    save_model(Cascade.for_problem(Analytic("sin")), path)
    for change in (
        {"problem__name": "evil:Problem"},
        {"model__name": "evil:Model"},
        {"observation__name": "evil:Eyes"},
    ):
        save_model(Cascade.for_problem(Analytic("sin")), path)
        edit(path, **change)
        with pytest.raises(DescentError, match="evil"):
            load_model(path)


def test_a_problem_that_is_not_built_in_is_asked_for(path: Path):
    save_model(Cascade.for_problem(Turn()), path)
    with pytest.raises(
        DescentError,
        match=r"made for the problem Turn, which is not built in: .*--problem-file file.py:Turn",
    ):
        load_model(path)
    with pytest.raises(
        DescentError, match=r"model.safetensors: made for the problem Turn, got Line"
    ):
        load_model(path, problem=Line())
    assert isinstance(load_model(path, problem=Turn()).problem, Turn)


def test_an_observation_that_is_not_built_in_must_be_the_problems_own(path: Path):
    problem = Line()
    save_model(
        Cascade.for_problem(
            problem, observation=Residual(lambda x: x @ problem.matrix.T, "y", "tanh")
        ),
        path,
    )
    with pytest.raises(
        DescentError,
        match=r"the observation Residual .*tanh.* is not built in, and Line.observation\(\) gives",
    ):
        load_model(path, problem=Line())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "expected format 1, got 2"),
        ({"model__settings__hidden": 7}, "the weights do not fit the model"),
        ({"model__settings__num_steps": 2}, "the weights do not fit the model"),
        ({"model__settings__colour": 7}, "could not use it: TypeError.*colour"),
        (
            {"model": None},
            "expected the name and the settings of the model in the description, got None",
        ),
        ({"problem__settings__function": "tan"}, "function: expected one of"),
        ({"problem__settings__colour": 1}, "Analytic: cannot be made with the settings .*colour"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_description_that_does_not_fit_is_refused(
    path: Path, change: dict[str, Any], message: str
):
    save_model(Cascade.for_problem(Analytic("sin")), path)
    edit(path, **change)
    with pytest.raises(DescentError, match=rf"model.safetensors: .*{message}"):
        load_model(path)


@pytest.mark.parametrize("change", ["missing", "unknown", "shape"])
def test_tensors_are_strict(path: Path, change: str):
    save_model(Cascade.for_problem(Analytic("sin")), path)
    with safe_open(path, "pt") as file:
        metadata = {"learned_descent": file.metadata()["learned_descent"]}  # without the checksum
    tensors = load_file(path)
    if change == "missing":
        del tensors["stages.0.weight"]
    else:
        tensors["more" if change == "unknown" else "stages.0.weight"] = torch.zeros(3)
    save_file(tensors, path, metadata)
    with pytest.raises(
        DescentError, match=r"(?s)the weights do not fit the model.*(stages.0.weight|more)"
    ):
        load_model(path)


def test_files_of_other_kinds_are_refused(path: Path):
    with pytest.raises(DescentError, match="expected a weights file, found nothing there"):
        load_model(path)
    with pytest.raises(DescentError, match="expected a weights file, found a folder there"):
        load_model(path.parent)
    path.write_bytes(b"PK\x03\x04 a pickle")
    with pytest.raises(
        DescentError,
        match=r"expected a safetensors file, could not read it .* truncated or foreign",
    ):
        load_model(path)
    save_file({"weight": torch.zeros(1)}, path)
    with pytest.raises(
        DescentError,
        match="expected a model of learned_descent, got a safetensors file of another program",
    ):
        load_model(path)
    save_state(path, {"iteration": 3})
    with pytest.raises(
        DescentError, match=r"the state of a training, not a model: give model.safetensors"
    ):
        load_model(path)
    save_file({"weight": torch.zeros(1)}, path, {"learned_descent": "{"})
    with pytest.raises(DescentError, match="expected a description as JSON in the metadata"):
        load_model(path)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9, 0.999])
def test_a_truncated_file_is_refused(path: Path, share: float):
    save_model(MnemonicDescent.for_problem(Analytic("sin"), hidden=32), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DescentError, match=r"could not read it .* truncated or foreign"):
        load_model(path)


def test_a_damaged_file_is_refused_and_one_without_a_checksum_is_read(path: Path):
    model = shaken(Cascade.for_problem(Analytic("sin"), num_steps=2))
    save_model(model, path)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # the last bit of a weight
    with pytest.raises(
        DescentError,
        match=r"model.safetensors: is damaged: its content and its checksum do not agree",
    ):
        load_model(path)
    # As older versions wrote it
    save_file(model.state_dict(), path, {"learned_descent": json.dumps(describe(model))})
    assert all(
        torch.equal(value, load_model(path).state_dict()[name])
        for name, value in model.state_dict().items()
    )


def test_what_cannot_be_stored_is_refused_and_the_old_file_stays(path: Path):
    model = Cascade.for_problem(Analytic("sin"))
    save_model(model, path)
    content = path.read_bytes()
    with pytest.raises(DescentError, match="expected JSON"):
        save_model(model, path, training={"seed": object()})
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


class Own(DescentModel):
    """A model that is not built in."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem, problem.observation(), 2)
        self.linear = torch.nn.Linear(1, 1)

    def init_state(self, x):
        return None

    def step(self, k, features, state):
        return self.linear(features), None


def test_a_model_of_ones_own_is_stored_and_goes_back_into_one_of_its_class(path: Path):
    model, other = Own(Analytic("sin")), Own(Analytic("sin"))
    save_model(model, path)
    with pytest.raises(
        DescentError, match="made with the model Own, which is not built in: give its class"
    ):
        load_model(path)
    load_weights(other, path)
    assert torch.equal(other.linear.weight, model.linear.weight)
    with pytest.raises(DescentError, match="expected the model"):
        load_weights(Cascade.for_problem(Analytic("sin")), path)


def test_a_solver_is_not_stored(path: Path):
    solver = LevenbergMarquardt(problem := Analytic("sin"))
    with pytest.raises(
        DescentError,
        match="expected a learned model, got LevenbergMarquardt, which has no weights to store",
    ):
        save_model(solver, path)
    with pytest.raises(
        DescentError, match=r"got a Polished one: store what it learned, its \.model"
    ):
        save_model(Polished(Cascade.for_problem(problem), solver), path)


class Marked(Analytic):
    """A problem with a setting of any kind."""

    def __init__(self, mark: Any) -> None:
        super().__init__("sin")
        self.mark = mark

    def settings(self):
        return self.mark if self.mark is None else {"mark": self.mark}


@pytest.mark.parametrize(
    ("mark", "stored"),
    [
        (np.eye(2), [[1, 0], [0, 1]]),
        (torch.ones(2), [1, 1]),
        (np.float32(0.5), 0.5),
        (Path("faces"), "faces"),
        ({1: (np.zeros(1), True)}, {"1": [[0], True]}),
    ],
)
def test_settings_may_hold_arrays(mark: Any, stored: Any, path: Path):
    save_model(Cascade.for_problem(Marked(mark)), path)
    assert read_description(path)["problem"]["settings"] == {"mark": stored}


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        (
            object(),
            (
                r"Marked.settings\(\)\['mark'\]: expected what JSON can hold .*, got object: "
                r".*register it as a buffer"
            ),
        ),
        (
            [{"a": torch.sin}],
            r"Marked.settings\(\)\['mark'\]\['a'\]: expected what JSON can hold .*, got builtin",
        ),
        (
            None,
            r"Marked.settings\(\): expected the constructor's arguments as a dict, got NoneType",
        ),
    ],
)
def test_settings_that_cannot_be_stored_are_named(mark: Any, message: str):
    with pytest.raises(DescentError, match=message):
        check_storable(Cascade.for_problem(Marked(mark)))


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor, list, tuple])
def test_a_known_object_may_be_an_array(kind: Any, path: Path):
    points = [[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0.1]]
    problem = Pose(points=kind(points), num_train=8, num_test=4)
    model = shaken(Cascade.for_problem(problem, num_steps=2))
    save_model(model, path)
    batch = problem.data("test")
    assert torch.equal(load_model(path)(batch).final, model(batch).final)


def test_weights_move_into_a_model_of_the_same_kind_only(path: Path):
    stored = shaken(Cascade.for_problem(Line()))
    save_model(stored, path)
    other = Line()
    other.matrix.mul_(2)
    model = Cascade.for_problem(other)
    load_weights(model, path)
    assert torch.equal(model.stages[2].weight, stored.stages[2].weight)
    assert torch.equal(model.problem.matrix, other.matrix)
    assert not torch.equal(model.problem.matrix, stored.problem.matrix)
    with pytest.raises(
        DescentError,
        match=r"expected the model .*'num_steps': 2.*, the file holds .*'num_steps': 4",
    ):
        load_weights(Cascade.for_problem(Line(), num_steps=2), path)
    with pytest.raises(DescentError, match=r"expected the observation .*tanh"):
        load_weights(
            Cascade.for_problem(
                Line(), observation=Residual(lambda x: x @ Line().matrix.T, "y", "tanh")
            ),
            path,
        )


def test_settings_that_came_later_have_their_defaults(path: Path):
    stored = shaken(MnemonicDescent.for_problem(Line()))
    save_model(stored, path)
    earlier = read_description(path)["model"]
    assert earlier["settings"].pop("memory") is True
    annotate(path, "model", earlier)
    model = MnemonicDescent.for_problem(Line())
    load_weights(model, path)
    assert torch.equal(model.cell.weight_hh, stored.cell.weight_hh)
    with pytest.raises(
        DescentError,
        match=r"expected the model .*'memory': False.*, the file holds .*'memory': True",
    ):
        load_weights(MnemonicDescent.for_problem(Line(), memory=False), path)


def test_an_annotation_changes_nothing_else(path: Path):
    model = Cascade.for_problem(Analytic("sin"))
    save_model(model, path, training={"seed": 1})
    before, tensors = read_description(path), load_file(path)
    annotate(path, "calibration", {"a": [1.0, 2.0]})
    annotate(path, "calibration", {"a": [3.0]})
    assert read_description(path) == {**before, "calibration": {"a": [3.0]}}
    assert all(torch.equal(value, tensors[name]) for name, value in load_file(path).items())
    assert load_model(path).num_steps == model.num_steps
    with pytest.raises(DescentError, match="expected a weights file, found nothing"):
        annotate(path.with_name("gone"), "calibration", {})


def test_a_packed_copy_is_half_as_large_and_names_no_folder(path: Path):
    model = shaken(Cascade.for_problem(Line(), num_steps=2))
    typed = {
        "family": "sdm",
        "problem": {"root": "/home/me/faces", "boxes": "/home/me/boxes.csv", "crop": 96},
    }
    second = {"init": "/home/me/first.safetensors", "problem": {"root": "/home/me/faces"}}
    save_model(
        model,
        path,
        training={"seed": 3, "settings": second, "init": {"seed": 2, "settings": typed}},
    )
    copy = path.with_name("copy.safetensors")
    pack(path, copy)
    assert b"/home/me" in path.read_bytes()
    assert b"/home/me" not in copy.read_bytes()
    first = {"seed": 2, "settings": {"family": "sdm", "problem": {"crop": 96}}}
    assert read_description(copy)["training"] == {
        "seed": 3,
        "settings": {"problem": {}},
        "init": first,
    }
    loaded = load_model(copy, problem=Line())
    for name, value in load_model(path, problem=Line()).state_dict().items():
        assert load_file(copy)[name].dtype == torch.float16
        torch.testing.assert_close(loaded.state_dict()[name], value, atol=1e-4, rtol=1e-3)


def test_a_file_without_settings_is_packed_too(path: Path):
    save_model(Cascade.for_problem(Analytic("cube")), path)
    pack(path, path)
    assert load_model(path).state_dict()["stages.0.weight"].dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model__settings__hidden": 10**6},
            r"the model that it describes has [\d,]{15,} numbers, and the file holds",
        ),
        (
            {"model__settings__num_features": 10**7},
            r"the model that it describes has [\d,]{9,} numbers",
        ),
        (
            {"model__settings__num_steps": 10**9},
            "model.num_steps: expected whole numbers of at most 10,000,000",
        ),
        (
            {"model__settings__num_steps": 10**6},
            "num_steps: expected at most 10,000, got 1,000,000",
        ),
        ({"model__settings__hidden": "8"}, "MnemonicDescent: hidden: expected int, got '8'"),
        ({"model__settings__hidden": None}, "MnemonicDescent: hidden: expected int, got None"),
        (
            {"model__settings__cell": "relu"},
            "cell: expected one of 'tanh', 'gru', 'lstm', got 'relu'",
        ),
        ({"model__name": ["mnemonic"]}, "expected the name and the settings of the model"),
        ({"observation": {"name": "concat", "parts": {}}}, "expected the parts of the observation"),
        (
            {"observation": {"name": "dense-hog", "settings": {"cell": 0.5}}},
            "cell: expected int, got 0.5",
        ),
        ({"training": {"seconds": "long"}}, "expected what is said of the training"),
        (
            {"training": {"settings": {"problem": 3}}},
            "expected the settings of the training by section",
        ),
        (
            {"calibration": json.loads("[" * 40 + "]" * 40)},
            "expected a description of at most 30 levels",
        ),
    ],
)
def test_a_forged_description_is_refused_before_memory_is_taken(
    path: Path, change: dict[str, Any], message: str
):
    save_model(MnemonicDescent.for_problem(Analytic("sin"), hidden=4), path)
    edit(path, **change)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DescentError, match=rf"model.safetensors: .*({message})"):
        load_model(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_sizes_of_eyes_are_compared_with_the_file_too(path: Path):
    eyes = ConvolutionalPatches(lambda x: x.unflatten(1, (-1, 2)), size=10, filters=2, channels=1)
    save_model(Cascade.for_problem(Photo(), observation=eyes), path)
    edit(path, observation__settings__filters=10**6)
    with pytest.raises(
        DescentError, match=r"the observation that it describes has [\d,]{12,} numbers"
    ):
        load_model(path, problem=Photo())


def test_a_model_of_images_computes_in_single_precision(path: Path):
    model = shaken(Cascade.for_problem(Photo(), num_steps=2))
    batch = {
        **model.problem.data("test"),
        "image": torch.arange(24 * 256).view(24, 1, 16, 16) % 251,
    }
    save_model(copy.deepcopy(model).double(), path)
    loaded = load_model(path, problem=Photo())
    assert torch.equal(loaded(batch, detach="state").xs, model(batch, detach="state").xs)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_two_bytes_a_number_are_a_way_to_store(path: Path, kind: torch.dtype):
    model = shaken(MnemonicDescent.for_problem(Analytic("sin"), hidden=4))
    for value in model.parameters():
        value.data = value.data.to(kind).float()
    save_model(copy.deepcopy(model).to(kind), path)
    batch = model.problem.data("test")
    loaded = load_model(path)
    assert loaded(batch).xs.dtype == torch.float32
    assert torch.equal(loaded(batch).xs, model(batch).xs)
