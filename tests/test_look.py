"""The first look: a mistake in a problem is one message, before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from learned_descent import (
    BackpropThroughTime,
    Cascade,
    DescentError,
    MnemonicDescent,
    Observation,
    SequentialRidge,
    evaluate,
)
from learned_descent.observations import Residual
from learned_descent.solvers import LevenbergMarquardt

from .toys import Line, Rows

BPTT = BackpropThroughTime(iterations=2, batch_size=8, accelerator="cpu")
RIDGE = SequentialRidge(ridge=0.1, accelerator="cpu")


class Blind(Observation):
    """Eyes made of one function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x, batch):
        return self.function(x, batch)

    def observe(self, k, x, batch):
        return self(x, batch)


def seeing(function: Callable[..., Any]) -> Callable[..., Observation]:
    return lambda self: Blind(function)


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "initial of another shape": (
        {"initial": lambda self, batch, generator=None: torch.zeros(2)},
        r"Mine.initial of one sample: expected shape \(1, p\), got \(2,\)",
    ),
    "initial of one sample": (
        {"initial": lambda self, batch, generator=None: torch.zeros(1, 2)},
        r"Mine.initial\(batch\): expected shape \(B, p\) with B = 5, got \(1, 2\)",
    ),
    "initial of whole numbers": (
        {
            "initial": lambda self, batch, generator=None: torch.zeros(
                len(batch["x"]), 2, dtype=torch.long
            )
        },
        r"Mine.initial: expected floating-point numbers, got torch.int64",
    ),
    "initial in numpy": (
        {"initial": lambda self, batch, generator=None: np.zeros((len(batch["x"]), 2))},
        r"Mine.initial of one sample: expected a tensor of shape \(1 p\), got ndarray",
    ),
    "initial fails": (
        {"initial": lambda self, batch, generator=None: batch["start"]},
        r"Mine.initial failed with KeyError: 'start' \(.*test_look.py:\d+\)",
    ),
    "random starts of another shape": (
        {
            "initial": lambda self, batch, generator=None: torch.zeros(
                len(batch["x"]) if generator is None else 1, 2
            )
        },
        (
            r"Mine.initial\(batch, generator\): expected shape \(B, p\) with B = 5, p = 2, "
            r"got \(1, 2\)"
        ),
    ),
    "target of another shape": (
        {"target": lambda self, batch: batch["x"][:, :1]},
        r"Mine.target\(batch\): expected shape \(B, p\) with B = 5, p = 2, got \(5, 1\)",
    ),
    "target in double precision": (
        {"target": lambda self, batch: batch["x"].double()},
        r"Mine.target: expected torch.float32, as the weights of the model are, got torch.float64",
    ),
    "target NaN": (
        {"target": lambda self, batch: batch["x"].log()},
        r"samples \[.*\]: the error at the start is NaN",
    ),
    "target nothing": (
        {"target": lambda self, batch: None},
        r"Mine.target\(batch\): expected a tensor .*, got NoneType",
    ),
    "no observation": (
        {"observation": lambda self: None},
        r"Mine.observation\(\): expected an Observation, got NoneType",
    ),
    "features without a batch": (
        {"observation": seeing(lambda x, batch: (x - batch["x"]).flatten().unsqueeze(0))},
        r"features of Blind: expected shape \(B, F\) with B = 5, got \(1, 10\)",
    ),
    "features in double precision": (
        {"observation": seeing(lambda x, batch: (x - batch["x"]).double())},
        r"features of Blind: expected torch.float32, as the weights are, got torch.float64",
    ),
    "features NaN": (
        {"observation": seeing(lambda x, batch: (x - 9).log())},
        r"samples \[0, .*\]: expected finite numbers in 'the features of Blind'",
    ),
    "features fail": (
        {"observation": lambda self: Residual(lambda x: x @ torch.zeros(5, 5), "y")},
        (
            r"the observation Residual failed with RuntimeError: mat1 and mat2 .* "
            r"\(.*test_look.py:\d+\)"
        ),
    ),
    "augment drops a tensor": (
        {"augment": lambda self, batch, generator: {"y": batch["y"]}},
        (
            r"Mine.augment\(batch, generator\): expected the tensors \['x', 'y'\] of the batch, "
            r"got \['y'\]"
        ),
    ),
    "augment drops samples": (
        {
            "augment": lambda self, batch, generator: {
                name: value[:3] for name, value in batch.items()
            }
        },
        (
            r"Mine.augment\(batch, generator\)\['x'\]: expected shape \(B, ...\) with B = 5, "
            r"got \(3, 2\)"
        ),
    ),
    "augment nothing": (
        {"augment": lambda self, batch, generator: None},
        r"of the batch, got NoneType",
    ),
    "augment fails": (
        {"augment": lambda self, batch, generator: 1 / 0},
        r"Mine.augment failed with ZeroDivisionError",
    ),
    "error of all": (
        {"metrics": lambda self, x, batch: {"error": (x - batch["x"]).norm()}},
        r"metric 'error' of Mine: expected shape \(B\) with B = 5, got \(\)",
    ),
    "error a number": (
        {"metrics": lambda self, x, batch: {"error": 1.0}},
        r"metric 'error' of Mine: expected a tensor of shape \(B\), got float",
    ),
    "metrics without names": (
        {"metrics": lambda self, x, batch: [self.error(x, batch)]},
        r"Mine.metrics\(x, batch\): expected errors \(B,\) by name, got list",
    ),
    "failure_above text": (
        {"failure_above": "0.5"},
        r"Mine.failure_above: expected a number > 0, .*, got '0.5'",
    ),
    "failure_above missing": (
        {"failure_above": None},
        r"Mine.failure_above: expected a number > 0, .*, got None",
    ),
    "retract of another shape": (
        {"retract": lambda self, x, delta: (x + delta).sum(1)},
        r"Mine.retract\(x, delta\): expected shape \(B, p\) with B = 5, p = 2, got \(5,\)",
    ),
    "local of another shape": (
        {"local": lambda self, x, y: (y - x).flatten()},
        r"Mine.local of one sample: expected shape \(1, d\), got \(2,\)",
    ),
    "data a tuple": (
        {"data": lambda self, split: (torch.ones(3), torch.ones(3))},
        (
            r"Mine.data\('train'\): expected a batch .* or a data set of dicts with a length, got "
            r"tuple"
        ),
    ),
    "data fails": (
        {"data": lambda self, split: {}["lost"]},
        r"Mine.data\('train'\) failed with KeyError: 'lost'",
    ),
    "super().__init__ left out": (
        {"__init__": lambda self: None},
        r"Mine.__init__: begin it with super\(\).__init__\(\)",
    ),
}


def mine(changes: dict[str, Any]) -> Line:
    return type("Mine", (Line,), changes)()


@pytest.mark.parametrize("trainer", [RIDGE, BPTT], ids=["closed form", "gradients"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_problem_is_one_message_before_the_first_step(
    mistake: str, trainer: SequentialRidge
):
    changes, message = MISTAKES[mistake]

    def train() -> None:
        problem = mine(changes)
        trainer.fit(
            Cascade.for_problem(problem, num_steps=1), problem.data("train"), problem.data("val")
        )

    with pytest.raises(DescentError, match=message):
        train()


def test_a_loss_that_gradients_cannot_use_is_one_message():
    for loss, message in (
        (
            lambda self, x, batch: (x - batch["x"]).square().mean(),
            r"Mine.loss\(x, batch\): expected shape \(B\) with B = 5",
        ),
        (
            lambda self, x, batch: self.error(x.detach(), batch),
            r"Mine.loss\(x, batch\): no gradient of it reaches x",
        ),
    ):
        problem = mine({"loss": loss})
        with pytest.raises(DescentError, match=message):
            BPTT.fit(Cascade.for_problem(problem), problem.data("train"))
    with pytest.raises(
        DescentError,
        match="expected one with weights to train, got LevenbergMarquardt, which has none",
    ):
        BPTT.fit(LevenbergMarquardt(Line()), Line().data("train"))


def test_held_out_samples_are_looked_at_too():
    problem = Line()
    train = problem.data("train")
    with pytest.raises(
        DescentError, match=r"the held-out samples: Line.initial failed with KeyError: 'x'"
    ):
        RIDGE.fit(Cascade.for_problem(problem), train, {"y": train["y"]})
    with pytest.raises(DescentError, match=r"samples: expected at least one sample, got none"):
        BPTT.fit(Cascade.for_problem(problem), train, {})


def test_a_target_that_is_nan_is_named_wherever_it_is():
    problem = mine(
        {"target": lambda self, batch: torch.where(batch["x"] > 1.6, torch.nan, batch["x"])}
    )
    train = problem.data("train")
    bad = [row for row, x in enumerate(train["x"]) if (x > 1.6).any()]
    assert min(bad) > 4
    cascade = Cascade.for_problem(problem, num_steps=1)
    with pytest.raises(
        DescentError, match=rf"samples \[{bad[0]}.*\]: expected finite numbers in 'target'"
    ):
        RIDGE.fit(cascade, train)
    with pytest.raises(DescentError, match=r"samples \[.*\]: expected finite numbers in 'target'"):
        BackpropThroughTime(iterations=2, batch_size=24, accelerator="cpu").fit(cascade, train)
    with pytest.raises(
        DescentError,
        match=rf"samples \[{bad[0]}.*\]: the error at the start is NaN: look at their targets",
    ):
        evaluate(cascade, train, batch_size=4)


KINDS: dict[str, Callable[[dict[str, torch.Tensor]], Any]] = {
    "arrays": lambda batch: {name: value.numpy() for name, value in batch.items()},
    "double arrays": lambda batch: {name: value.double().numpy() for name, value in batch.items()},
    "double": lambda batch: {name: value.double() for name, value in batch.items()},
    "lists": lambda batch: {name: value.tolist() for name, value in batch.items()},
    "rows of arrays": lambda batch: [
        {name: value[row].numpy() for name, value in batch.items()} for row in range(24)
    ],
    "rows of doubles": lambda batch: Rows({name: value.double() for name, value in batch.items()}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_samples_of_any_kind_train_and_measure_as_tensors_do(kind: str):
    problem, other = Line(), Line()
    own = {split: problem.data(split) for split in ("train", "val", "test")}
    other.data = lambda split: KINDS[kind](own[split])  # type: ignore[method-assign]
    found = []
    for task in (problem, other):
        train, val, test = (task.data(split) for split in ("train", "val", "test"))
        cascade = Cascade.for_problem(task, num_steps=1)
        RIDGE.fit(cascade, train, val)
        torch.manual_seed(0)
        mnemonic = MnemonicDescent.for_problem(task, hidden=3, num_steps=2)
        BPTT.fit(mnemonic, train, val)
        found.append([evaluate(model, test).error() for model in (cascade, mnemonic)])
        assert {weight.dtype for weight in mnemonic.parameters()} == {torch.float32}
    for one, two in zip(*found):
        assert torch.equal(one, two)


def test_training_in_double_precision_leaves_the_model_and_the_problem_as_they_were():
    problem = Line()
    model = MnemonicDescent.for_problem(problem, hidden=3, num_steps=2)
    trainer = BackpropThroughTime(
        iterations=2, batch_size=8, accelerator="cpu", precision="64-true"
    )
    history = trainer.fit(model, problem.data("train"), problem.data("val"))
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    assert problem.matrix.dtype == torch.float32
    assert evaluate(model, problem.data("val")).mean() == pytest.approx(
        min(r["val_error"][-1] for r in history.records)
    )


def test_a_batch_that_is_none_is_named_by_the_model():
    model = Cascade.for_problem(Line())
    batch = Line().data("test")
    for given, message in (
        (
            {**batch, "y": batch["y"].numpy()},
            r"batch: expected a tensor \(B, ...\) as 'y', got ndarray \(24, 3\): make it one",
        ),
        (list(batch.values()), r"batch: expected tensors by name \(a dict\), got list"),
    ):
        with pytest.raises(DescentError, match=message):
            model(given)
    double = Cascade.for_problem(Line(torch.float64))
    with pytest.raises(
        DescentError,
        match=r"features of step 0: expected torch.float32, as the weights are, got torch.float64",
    ):
        double(Line(torch.float64).data("test"))
