"""A loss in place of the problem's own, chosen by name or given in Python."""

from __future__ import annotations

import json

import pytest
import torch

from learned_descent import BackpropThroughTime, DescentError, MnemonicDescent, ShapeError
from learned_descent.cli.main import main
from learned_descent.files import load_state, save_state
from learned_descent.training import Loss, ProblemLoss

from ..toys import Turn


class Times(Loss):
    """The loss of the problem, so many times."""

    def __init__(self, factor=2.0):
        self.factor = factor

    def __call__(self, problem, x, batch):
        return self.factor * problem.loss(x, batch)


class Mean(Loss):
    def __call__(self, problem, x, batch):
        return problem.loss(x, batch).mean()


class Cut(Loss):
    def __call__(self, problem, x, batch):
        return problem.loss(x.detach(), batch)


def fit(**settings):
    """The loss of every iteration of a short training."""
    problem = Turn()
    quick = {"iterations": 6, "batch_size": 8, "validate_every": 1, "accelerator": "cpu"}
    torch.manual_seed(0)
    model = MnemonicDescent.for_problem(problem, num_steps=2, hidden=4)
    history = BackpropThroughTime(**{**quick, **settings}).fit(model, problem.data("train"))
    return [record["loss"] for record in history.records if record["loss"] is not None]


def test_the_loss_is_that_of_the_problem_unless_another_is_given():
    assert fit() == fit(loss=ProblemLoss())
    assert fit(loss=Times(2.0))[0] == pytest.approx(2 * fit()[0])


def test_losses_are_equal_by_their_settings():
    assert Times(2.0) == Times(2.0) != Times(3.0)
    assert (str(ProblemLoss()), str(Times())) == ("problem", "Times(factor=2.0)")


def test_a_training_goes_on_with_its_own_loss_only(tmp_path):
    place = {"directory": str(tmp_path), "resume": True}
    fit(**place, loss=Times(2.0))
    fit(**place, loss=Times(2.0))
    with pytest.raises(DescentError, match=r"loss='Times\(factor=2.*this training has 'problem'"):
        fit(**place)


def test_a_checkpoint_from_before_there_were_losses_is_read(tmp_path):
    fit(directory=str(tmp_path))
    state = load_state(tmp_path / "checkpoint.safetensors")
    del state["identity"]["settings"]["loss"]
    save_state(tmp_path / "checkpoint.safetensors", state)
    fit(directory=str(tmp_path), resume=True)


def test_what_is_no_loss_is_refused_before_the_training():
    with pytest.raises(
        DescentError, match=r"loss: expected a Loss, such as ProblemLoss\(\), got 3"
    ):
        BackpropThroughTime(loss=3)
    with pytest.raises(ShapeError, match=r"Mean\(problem, x, batch\): expected"):
        fit(loss=Mean())
    with pytest.raises(
        DescentError, match=r"Cut\(problem, x, batch\): no gradient of it reaches x"
    ):
        fit(loss=Cut())


def test_a_name_that_is_no_loss(tmp_path, capsys):
    line = "train analytic --family mdm --bptt.iterations 2 --bptt.accelerator cpu"
    assert main([*line.split(), "--bptt.loss", "problem", "--out", str(tmp_path)]) == 0
    assert (
        json.loads((tmp_path / "history.json").read_text())["settings"]["bptt"]["loss"] == "problem"
    )
    (tmp_path / "wants.py").write_text(
        "from learned_descent.training import Loss\nclass Wants(Loss):\n"
        "    def __init__(self, width): ...\n    def __call__(self, problem, x, batch): ...\n"
    )
    for name, message in (
        (
            "huber",
            "--bptt.loss: loss 'huber': expected one of problem, or package.module:NAME, or ",
        ),
        (f"{tmp_path / 'wants.py'}:Wants", "Wants() failed with TypeError: "),
        ("learned_descent.training:Linear", "expected a Loss, got"),
    ):
        capsys.readouterr()
        assert main([*line.split(), "--bptt.loss", name, "--out", str(tmp_path / "b")]) == 2
        assert message in capsys.readouterr().err
