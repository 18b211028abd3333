"""Labels that look wrong: a tenth of a drawn set is spoilt in each way, and found again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.landmarks.wings import POINTS, posed, wing
from learned_descent import DescentError
from learned_descent.cli.main import main
from learned_descent.landmarks.schema import LandmarkSchema
from learned_descent.landmarks.suspects import suspicious_shapes

from .drawn import SHAPE, draw_wings, write_wings

MARKUP = LandmarkSchema("wing", len(POINTS), names=tuple("abcdefghijkl"))
SPOILT = [3, 14, 22, 35, 41, 58]
UP = torch.tensor([1.0, -1.0])


def labels(count: int = 60, seed: int = 0) -> Tensor:
    """The points of drawn wings, ``(N, 12, 2)`` in px, as a hand marks them."""
    every = []
    for number in range(count):
        dice = np.random.default_rng([seed, number])
        every.append(posed(wing(dice), dice) + dice.normal(0, 1, (len(POINTS), 2)))
    return torch.tensor(np.stack(every))


MISTAKES: dict[str, Callable[[Tensor], Tensor]] = {
    "mirrored: left is right": lambda points: torch.tensor([320.0, 0]) - points * UP,
    "flipped: rows counted from the bottom": lambda points: torch.tensor([0, 240]) + points * UP,
    "points b and i swapped": lambda points: points[[0, 8, 2, 3, 4, 5, 6, 7, 1, 9, 10, 11]],
    "point f off": lambda points: points + torch.eye(12)[5][:, None] * torch.tensor([60.0, 30.0]),
    "turned by 180 degrees": lambda points: torch.tensor([320.0, 240]) - points,
    "a shape unlike the others": lambda points: points[torch.arange(12) * 5 % 12],
}


@pytest.mark.parametrize("reason", MISTAKES)
def test_a_tenth_that_is_spoilt_is_found(reason: str) -> None:
    found, wrong, told = 0, 0, 0
    for seed in range(3):
        points = labels(seed=seed)
        for place in SPOILT:
            points[place] = MISTAKES[reason](points[place])
        suspects = suspicious_shapes(points, MARKUP)
        found += sum(suspect.place in SPOILT for suspect in suspects)
        wrong += sum(suspect.place not in SPOILT for suspect in suspects)
        told += sum(suspect.reason[:9] == reason[:9] for suspect in suspects)
    assert found >= 0.9 * 3 * len(SPOILT), "recall"
    assert wrong <= 0.1 * found, "precision"
    assert told >= 0.8 * found


def test_good_labels_are_left_alone() -> None:
    assert [len(suspicious_shapes(labels(seed=seed), MARKUP)) for seed in range(3)] == [0, 0, 0]


def test_what_is_not_labelled_is_no_reason() -> None:
    points, weights = labels(), torch.ones(60, len(POINTS))
    points[7, 5], weights[7, 5] = torch.tensor([900.0, -50.0], dtype=points.dtype), 0.0
    assert not suspicious_shapes(points, MARKUP, weights)
    assert [suspect.place for suspect in suspicious_shapes(points, MARKUP)] == [7]


def test_a_label_of_one_point_takes_no_word_from_the_others() -> None:
    flipped = "flipped: rows counted from the bottom"
    points, weights = labels(), torch.ones(60, len(POINTS))
    points[3], weights[7, 1:] = MISTAKES[flipped](points[3]), 0.0
    [suspect] = suspicious_shapes(points, MARKUP, weights)
    assert (suspect.place, suspect.reason) == (3, flipped)


def test_left_and_right_points_that_are_swapped_are_told() -> None:
    dice = torch.Generator().manual_seed(0)
    half = torch.tensor([[10.0, 0], [20, 5], [12, 30]])
    mean = torch.cat([half, half * torch.tensor([-1.0, 1]), torch.tensor([[0.0, 45]])])
    points = mean + torch.randn(30, 7, 2, generator=dice)
    points[4] = points[4, [3, 4, 5, 0, 1, 2, 6]]
    markup = LandmarkSchema("face", 7, mirror=(3, 4, 5, 0, 1, 2, 6))
    [suspect] = suspicious_shapes(points, markup)
    assert suspect.place == 4
    assert suspect.reason in ("left and right points swapped", "mirrored: left is right")


@pytest.mark.parametrize("size", [(7, 5), (20, 2)])
def test_too_little_to_tell(size: tuple[int, int]) -> None:
    with pytest.raises(DescentError, match=f"expected 8 or more labels .* got {size[0]} of"):
        suspicious_shapes(torch.rand(*size, 2), LandmarkSchema("few", size[1]))


def write(file: Path, points: Tensor) -> str:
    """Points as the labels of the pictures of ``write_wings``."""
    head = file.read_text().splitlines()[0]
    rows = [
        f"{number:02d}.png," + ",".join(f"{value:.2f}" for value in row.flatten().tolist())
        for number, row in enumerate(points)
    ]
    file.write_text("\n".join([head, *rows]) + "\n")
    return str(file)


def test_the_command_names_shapes_and_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_wings(tmp_path, 20)
    points = draw_wings(tmp_path, 20)
    points[5] = points[5, [2, 1, 0, 3, 4]]
    points[9] += torch.tensor([14.0, 6.0])
    words = ["--data", write(file, points), "--problem.crop=64", "--folds=2"]
    assert main(["suspects", "landmarks", *words]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[:2] == ["labels: 20", "shapes unlike the others: 1"]
    assert shown[2].startswith("  05.png: ")
    assert shown[3] == "pictures in which a fit finds other points: 1"
    assert shown[4].startswith("  09.png: a fit lies ")
    assert len(shown) == 5


def test_labels_that_are_all_for_training_are_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_wings(tmp_path, 20)
    head, *rows = file.read_text().splitlines()
    file.write_text("\n".join([f"{head},split", *(f"{row},train" for row in rows)]))
    words = ["--data", str(file), "--problem.crop=64", "--folds=0"]
    assert main(["suspects", "landmarks", *words]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "labels: 20"


def test_points_that_do_not_follow_the_pictures_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_wings(tmp_path, 20)
    dice = torch.Generator().manual_seed(1)
    moved = 12 * torch.randn(20, 1, 2, generator=dice) + torch.tensor([80.0, 60.0])
    other = SHAPE + moved + 2 * torch.randn(20, 5, 2, generator=dice)
    words = ["--data", write(file, other), "--problem.crop=64", "--folds=2"]
    assert main(["suspects", "landmarks", *words]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("the points do not follow the pictures: the start has an error of")
    assert "learned-descent show draws them" in last


def test_what_has_no_suspects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["suspects", "analytic"]) == 2
    assert "expected a problem of landmarks in pictures" in capsys.readouterr().err
    data = str(write_wings(tmp_path, 12))
    assert main(["suspects", "landmarks", "--data", data, "--folds", "8"]) == 2
    assert "give --folds 0 to look at shapes alone" in capsys.readouterr().err
    assert main(["suspects", "landmarks", "--data", data, "--folds", "0"]) == 0
    assert "shapes unlike the others: 0\n" in capsys.readouterr().out
