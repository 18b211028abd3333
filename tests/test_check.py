from __future__ import annotations

import pytest
import torch

from learned_descent import DescentError, ShapeError
from learned_descent._check import check_shape


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
        (torch.zeros(3, 2), "B p", {"B": 4}, r"x0: expected shape \(B, p\) with B = 4, got \(3, 2\)"),
        (torch.zeros(3), "B p", None, r"x0: expected shape \(B, p\), got \(3,\)"),
        (torch.zeros(3, 4), "B 2", None, r"x0: expected shape \(B, 2\), got \(3, 4\)"),
        (torch.zeros(1), "B ... 2 3", None, r"x0: expected shape \(B, ..., 2, 3\), got \(1,\)"),
        ([1.0], "B", None, r"x0: expected a tensor of shape \(B\), got list"),
    ],
)
def test_another_shape_is_an_error_that_tells_both(value, shape, known, message):
    with pytest.raises(ShapeError, match=message):
        check_shape(value, shape, known, name="x0")


def test_errors_are_value_errors():
    assert issubclass(ShapeError, DescentError)
    assert issubclass(DescentError, ValueError)
