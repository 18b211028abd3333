"""No mix of devices, and no question that stalls a GPU: for every problem and family, without a
GPU."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from learned_descent import DescentModel, MnemonicDescent, Observation, Problem, recipes_for
from learned_descent.data.samples import Batch
from learned_descent.families import Recipe
from learned_descent.observation import Beside
from learned_descent.registry import PROBLEMS, builtin
from learned_descent.solvers import GaussNewton, LevenbergMarquardt, Polished, Solver
from learned_descent.testing.checks import check_model, check_observation, check_problem

from .toys import Line
from .watching import DEVICE, watching

FEW: dict[str, Any] = {"num_train": 8, "num_test": 4}
SCAN: dict[str, Any] = {**FEW, "num_model": 16, "num_scan": 12}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "analytic": ("analytic", {"function": "sin_erf"}),
    "pose": ("pose", FEW),
    "pose of many structures": ("pose", {"structure": "varying", "focal": True, **FEW}),
    "faces": ("synthetic-faces", {"count": 5, "test_count": 3, "crop": 64, "box_side": 38.0}),
    "faces in a shape model": (
        "in-shape-model",
        {
            "of": "synthetic-faces",
            "settings": {"count": 5, "test_count": 3, "crop": 64, "box_side": 38.0},
            "components": 6,
        },
    ),
    "sinusoid": ("sinusoid", FEW),
    "exponentials": ("exponentials", FEW),
    "registration": ("registration", SCAN),
    "registration, point to point": ("registration", {"metric": "point", "robust": 0.3, **SCAN}),
    "template": ("fixed-template", {"grid": 12, **FEW}),
    "template, robust": (
        "fixed-template",
        {"grid": 12, "robust": 1.0, "inverse": True, "blur": 1.0, **FEW},
    ),
    "any template": ("any-template", {"grid": 12, **FEW}),
    "any template, affine": ("any-template", {"grid": 12, "warp": "affine", **FEW}),
}
"""Every problem but those of pictures in files, which share all else with the synthetic ones."""


@cache
def _made(case: str) -> tuple[Problem, Batch]:
    name, settings = CASES[case]
    problem: Problem = builtin(PROBLEMS[name])(**settings)
    batch = problem.data("train")
    assert isinstance(batch, dict)
    return problem, {name: value[:3] for name, value in batch.items()}


def built(case: str) -> tuple[Problem, Batch]:
    """A problem of one's own, and three of its samples."""
    problem, batch = _made(case)
    return deepcopy(problem), batch


def away(batch: Batch) -> Batch:
    return {name: value.to(DEVICE) for name, value in batch.items()}


class MetaGenerator(Generator):
    """Says that it lives where the samples do."""

    device = DEVICE


LEARNED = [
    (case, family)
    for case, (name, _) in CASES.items()
    for family, recipe in recipes_for(builtin(PROBLEMS[name])).items()
    if isinstance(recipe, Recipe)
]


def test_every_built_in_problem_is_here():
    assert {name for name, _ in CASES.values()} == set(PROBLEMS) - {"faces", "landmarks"}


@pytest.mark.parametrize(("case", "family"), LEARNED)
def test_a_learned_forward_pass_stays_on_its_device_and_asks_nothing(case: str, family: str):
    problem, batch = built(case)
    recipe = recipes_for(type(problem))[family]
    model = recipe.build(problem).eval().to(DEVICE)
    batch = away(batch)
    with watching() as seen, torch.no_grad():
        final = model(batch, num_steps=1).final
    assert final.device == DEVICE
    assert not seen.questions
    assert not seen.copies


@pytest.mark.parametrize("case", CASES)
def test_a_training_step_stays_on_its_device_and_asks_nothing(case: str):
    problem, batch = built(case)
    model = MnemonicDescent.for_problem(problem, num_steps=1, hidden=8).to(DEVICE)
    batch = away(batch)
    with watching() as seen:
        loss = problem.loss(
            model(batch, generator=MetaGenerator(), detach="observation").final, batch
        )
        loss.mean().backward()
        if not case.startswith("faces"):  # whose heads turn by a linear system, which is checked
            problem.augment(batch, MetaGenerator())
    assert loss.device == DEVICE
    assert model.update.weight.grad is not None
    assert not seen.questions
    assert not seen.copies


@pytest.mark.parametrize("case", CASES)
def test_a_model_is_built_where_a_training_left_its_problem(
    case: str, monkeypatch: pytest.MonkeyPatch
):
    problem, batch = built(case)
    monkeypatch.setattr(problem, "data", lambda split: batch)  # on the CPU, as it is read or made
    recipes = recipes_for(type(problem)).values()
    models = [recipe.build(problem.to(DEVICE)) for recipe in recipes if isinstance(recipe, Recipe)]
    expected = {DEVICE} if list(problem.buffers()) else {torch.device("cpu")}
    for model in models:
        assert {value.device for value in (*model.parameters(), *model.buffers())} == expected


@pytest.mark.parametrize("case", CASES)
def test_every_problem_keeps_its_contract_on_a_gpu(case: str, device: torch.device):
    if device.type == "cpu":
        pytest.skip("the tests of each problem check it there")
    problem, _ = built(case)
    assert not check_problem(problem, device=device).failures
    assert not check_observation(problem.observation(), problem, device=device).failures
    assert not check_model(
        MnemonicDescent.for_problem(problem, hidden=8), untrained=True, device=device
    ).failures


SOLVED = [case for case in CASES if not case.startswith("faces")]


@pytest.mark.parametrize("solver", [GaussNewton, LevenbergMarquardt])
@pytest.mark.parametrize("case", SOLVED)
def test_a_solver_asks_once_a_step_whether_to_go_on(case: str, solver: Callable[..., Solver]):
    problem, batch = built(case)
    model = solver(problem, num_steps=2).to(DEVICE)
    batch = away(batch)
    with watching() as seen, torch.no_grad():
        final = model(batch).final
    assert final.device == DEVICE
    assert seen.questions.total() <= 2
    assert not seen.copies


def test_a_polished_model_asks_only_in_the_steps_of_the_solver():
    problem, batch = built("pose")
    model = Polished(
        MnemonicDescent.for_problem(problem, num_steps=2, hidden=8),
        GaussNewton(problem, num_steps=2),
    )
    model, batch = model.to(DEVICE), away(batch)
    with watching() as seen, torch.no_grad():
        model(batch)
    assert seen.questions.total() <= 2
    assert not seen.copies


class Finals(nn.Module):
    """The last iterate after two steps."""

    def __init__(self, model: DescentModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Tensor:
        return self.model(batch, num_steps=2).final


@pytest.mark.usefixtures("as_installed")  # in a graph, a size is no whole number
@pytest.mark.parametrize(
    ("case", "family"),
    [
        ("analytic", "sdm"),
        ("sinusoid", "mdm"),
        ("pose", "mdm"),
        ("registration", "sdm"),
        ("template", "sdm"),
        ("faces", "sdm"),
        ("faces", "mdm"),
        ("faces", "mdm-paper"),
    ],
)
def test_a_learned_model_can_be_exported_for_any_number_of_samples(case: str, family: str):
    problem, batch = built(case)
    model = recipes_for(type(problem))[family].build(problem).eval()
    any_number = {name: {0: torch.export.Dim("batch")} for name in batch}
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.01 * torch.randn(weight.shape, generator=Generator().manual_seed(0))
        exported = torch.export.export(
            Finals(model).eval(), (batch,), dynamic_shapes=(any_number,)
        ).module()
        for rows in ([2, 1, 0], [2, 0, 1, 1, 0], [1]):
            other = {name: value[rows] for name, value in batch.items()}
            torch.testing.assert_close(exported(other), model(other, num_steps=2).final)


class Asking(Observation):
    """Eyes that stall a GPU in the way that is asked for."""

    def __init__(self, how: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        return self.how(x)


@pytest.mark.parametrize(
    "how",
    [
        lambda x: x * float(x.sum()),
        lambda x: x if (x > 0).any() else -x,
        lambda x: x.where(x.isfinite().all(),
        0) + len(x.flatten()[x.flatten() > 0]) if x.max() > 0 else x,
        lambda x: torch.linalg.inv(x[:, :, None] + torch.eye(2, device=x.device)).flatten(1),
    ],
)  # fmt: skip
def test_questions_are_seen(how: Callable[[Tensor], Tensor]):
    model, batch = (
        MnemonicDescent.for_problem(Line(), observation=Asking(how), num_steps=2, hidden=4),
        Line().data("train"),
    )
    model, batch = model.to(DEVICE), away(batch)
    with watching() as seen, torch.no_grad():
        model(batch)
    assert seen.questions.total() >= 2


@pytest.mark.parametrize(
    "how",
    [
        lambda x: x * x.new_tensor([1.0, 2.0]),
        lambda x: x * torch.tensor([1.0, 2.0], device=x.device),
        lambda x: x * torch.ones(2).to(x),
        lambda x: x[:, [1, 0]],
        lambda x: x[:, torch.tensor([1, 0])],
    ],
)  # fmt: skip
def test_copies_are_seen(how: Callable[[Tensor], Tensor]):
    model, batch = (
        MnemonicDescent.for_problem(Line(), observation=Asking(how), num_steps=2, hidden=4),
        Line().data("train"),
    )
    model, batch = model.to(DEVICE), away(batch)
    with watching() as seen, torch.no_grad():
        model(batch)
    assert seen.copies.total() >= 2


def test_a_mix_of_devices_is_refused():
    eyes = Asking(lambda x: x * torch.ones(2))
    model, batch = (
        MnemonicDescent.for_problem(Line(), observation=eyes, num_steps=1, hidden=4),
        Line().data("train"),
    )
    model, batch = model.to(DEVICE), away(batch)
    with watching(), torch.no_grad(), pytest.raises(RuntimeError, match="same device"):
        model(batch)


def test_what_an_observation_borrows_moves_along_and_is_not_stored():
    model = MnemonicDescent.for_problem(_made("any template")[0], num_steps=1, hidden=4)
    assert not [name for name in model.state_dict() if name.startswith("observation.")]
    lent = {
        value.dtype
        for part in model.double().modules()
        if isinstance(part, Beside)
        for value in part.module.buffers()
    }
    assert lent == {torch.float64}


def test_the_starts_of_a_stored_problem_are_known_when_it_is_loaded():
    problem, batch = built("faces")
    again: Problem = builtin(PROBLEMS["synthetic-faces"])(**CASES["faces"][1])
    again.load_state_dict(problem.state_dict())
    again, batch = again.to(DEVICE), away(batch)
    with watching() as seen:
        again.initial(batch)
    assert not seen.questions
