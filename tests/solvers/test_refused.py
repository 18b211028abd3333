"""Residuals that torch cannot differentiate are named, with the two ways out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from learned_descent import DescentError
from learned_descent.cli.main import main
from learned_descent.solvers import GaussNewton, LevenbergMarquardt, ScipyLeastSquares
from learned_descent.testing.checks import check_problem

from ..toys import Line
from .toys import Formula, starts


def in_place(x, batch):
    residual = torch.zeros(len(x), 3, dtype=x.dtype)
    residual[:, :2] = x
    residual[:, 2] += x[:, 0]
    return residual - 1


def branching(x, batch):
    return x - 1 if (x > 0).any() else 2 * x - 1


def by_item(x, batch):
    return torch.stack([torch.stack([row[0] - 1, row[1] * row[0].item()]) for row in x])


def in_numpy(x, batch):
    return torch.from_numpy(np.sin(x.detach().numpy()))


@pytest.mark.parametrize("formula", [in_place, branching, by_item, in_numpy])
@pytest.mark.parametrize("solver", [GaussNewton, LevenbergMarquardt])
def test_the_residual_and_both_ways_out_are_named(solver, formula):
    message = (
        r"Formula.residual: .*torch.where for an if, .* or override Formula.jacobian. torch says: "
    )
    with pytest.raises(DescentError, match=message):
        solver(Formula(formula))(starts([0.5, 0.6], [0.7, 0.8]))


@pytest.mark.parametrize("formula", [in_place, branching, by_item, in_numpy])
def test_scipy_takes_them(formula):
    final = ScipyLeastSquares(Formula(formula))(starts([0.5, 0.6], [0.7, 0.8])).final
    assert formula(final, {}).abs().max() < 1e-6


def test_a_residual_that_fails_anyway_keeps_its_own_error():
    def broken(x, batch):
        return x + batch["missing"]

    with pytest.raises(KeyError, match="missing"):
        LevenbergMarquardt(Formula(broken))(starts([0.5]))


def test_scipy_refuses_residuals_that_mix_the_samples():
    mixed = Formula(lambda x, batch: (x - 1) * x.sum())
    with pytest.raises(
        DescentError,
        match=r"Formula.residual: the residuals of a sample depend on the other samples",
    ):
        ScipyLeastSquares(mixed)(starts([0.5, 0.6]))


class InNumpy(Line):
    """A residual in numpy beside a Jacobian of its own."""

    slope = 1.0

    def residual(self, x, batch):
        return torch.from_numpy(x.detach().numpy() @ self.matrix.numpy().T) - batch["y"]

    def jacobian(self, x, batch):
        return self.slope * self.matrix.expand(len(x), -1, -1)


def test_a_jacobian_of_its_own_is_checked_by_differences():
    assert not check_problem(InNumpy()).failures
    wrong = InNumpy()
    wrong.slope = 1.1
    with pytest.raises(DescentError, match="jacobian: expected a difference of at most"):
        check_problem(wrong)
    assert LevenbergMarquardt(InNumpy())(Line().data("test")).final.isfinite().all()


FILE = """
import torch
from learned_descent import LeastSquares
from learned_descent.observations import Residual

class Bent(LeastSquares):
    failure_above = 0.1
    def data(self, split):
        y = torch.linspace(1, 2, 8 + len(split))[:, None]
        return {"x": y, "y": y}
    def initial(self, batch, generator=None):
        x = torch.ones_like(batch["x"])
        return x if generator is None else x + torch.rand(x.shape, generator=generator)
    def target(self, batch):
        return batch["x"]
    def observation(self):
        return Residual(lambda x: x, "y")
    def residual(self, x, batch):
        return x - batch["y"] if (x > 0).any() else x
"""


def test_check_and_compare_name_it_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "bent.py"
    file.write_text(FILE)
    assert main(["check", f"{file}:Bent"]) == 1
    assert (
        "Bent.residual: torch.func (vmap and jacfwd) cannot differentiate it"
        in capsys.readouterr().out
    )
    assert (
        main(
            [
                "compare",
                f"{file}:Bent",
                "--families",
                "sdm",
                "sdm+lm",
                "--out",
                str(tmp_path / "out"),
            ]
        )
        == 2
    )
    shown = capsys.readouterr().err
    assert "or override Bent.jacobian" in shown
    assert "training" not in shown
