from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
import torch

from learned_descent import DescentError, ShapeError
from learned_descent.errors import check_choice, check_real, check_shape, check_whole


@pytest.mark.parametrize(
    ("size", "shape", "known", "found"),
    [
        ((3, 2), "B p", {"B": 3}, {"B": 3, "p": 2}),
        ((), "", None, {}),
        ((5, 2), "B 2", None, {"B": 5}),
        ((5, 1, 4, 2), "B ... 2", {"B": 5}, {"B": 5}),
        ((5, 2), "B ... 2", None, {"B": 5}),
        ((7,), "...", None, {}),
    ],
)
def test_sizes_of_the_named_axes(size, shape, known, found):
    assert check_shape(torch.zeros(size), shape, known) == found


def test_sizes_given_are_not_changed():
    sizes = {"B": 3}
    check_shape(torch.zeros(3, 2), "B p", sizes)
    assert sizes == {"B": 3}


@pytest.mark.parametrize(
    ("value", "shape", "known", "message"),
    [
        (
            torch.zeros(3, 2),
            "B p",
            {"B": 4},
            r"x0: expected shape \(B, p\) with B = 4, got \(3, 2\)",
        ),
        (torch.zeros(3), "B p", None, r"x0: expected shape \(B, p\), got \(3,\)"),
        (torch.zeros(3, 4), "B 2", None, r"x0: expected shape \(B, 2\), got \(3, 4\)"),
        (torch.zeros(1), "B ... 2 3", None, r"x0: expected shape \(B, ..., 2, 3\), got \(1,\)"),
        ([1.0], "B", None, r"x0: expected a tensor of shape \(B\), got list"),
    ],
)
def test_another_shape_is_an_error_that_tells_both(value, shape, known, message):
    with pytest.raises(ShapeError, match=message):
        check_shape(value, shape, known, name="x0")


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (
            lambda: check_choice("gur", Literal["tanh", "gru"], name="cell"),
            "cell: expected one of tanh, gru, got 'gur'",
        ),
        (
            lambda: check_choice(None, Literal["tanh", "gru"], name="cell"),
            "cell: expected one of tanh, gru, got None",
        ),
        (lambda: check_whole(0, name="hidden"), "hidden: expected 1 or more, got 0"),
        (
            lambda: check_whole(-1, name="num_steps", least=0),
            "num_steps: expected 0 or more, got -1",
        ),
        (lambda: check_whole(11, name="views", most=10), "views: expected at most 10, got 11"),
        (
            lambda: check_whole(2.0, name="hidden"),
            "hidden: expected a whole number, 1 or more, got 2.0",
        ),
        (
            lambda: check_whole(True, name="hidden"),
            "hidden: expected a whole number, 1 or more, got True",
        ),
        (lambda: check_real(0, name="lr", positive=True), "lr: expected a positive number, got 0"),
        (lambda: check_real(-0.1, name="noise"), "noise: expected a number >= 0, got -0.1"),
        (lambda: check_real(math.nan, name="noise"), "noise: expected a number >= 0, got nan"),
        (lambda: check_real(math.inf, name="noise"), "noise: expected a number >= 0, got inf"),
        (lambda: check_real("1", name="noise"), "noise: expected a number >= 0, got '1'"),
        (
            lambda: check_real(1, name="dropout", below=1),
            r"dropout: expected a share in [0, 1), got 1",
        ),
        (
            lambda: check_real(0, name="holdout", positive=True, below=1),
            r"holdout: expected a share in (0, 1), got 0",
        ),
    ],
)
def test_settings_out_of_range_say_what_is_in_it(check, message):
    with pytest.raises(DescentError) as error:
        check()
    assert str(error.value) == message


def test_settings_in_range_pass():
    check_choice("gru", Literal["tanh", "gru"], name="cell")
    check_whole(np.int64(3), name="hidden", least=3, most=3)
    check_real(np.float32(0.5), name="dropout", positive=True, below=1)
    check_real(0, name="noise")


def test_errors_are_value_errors():
    assert issubclass(ShapeError, DescentError)
    assert issubclass(DescentError, ValueError)
