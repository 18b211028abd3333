"""The descents that a page shows: which samples, and what of them."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from learned_descent import Cascade, DescentError, MnemonicDescent, evaluate
from learned_descent.evaluation.plots import descents as module
from learned_descent.evaluation.plots.descents import descents
from learned_descent.problems import Analytic

from .test_plots import Blobs


@pytest.fixture
def blobs():
    problem = Blobs(count=9)
    models = {
        "still": Cascade.for_problem(problem, num_steps=2),
        "mdm": MnemonicDescent.for_problem(problem, num_steps=3, hidden=4),
    }
    samples = problem.data("test")
    return {name: (model, evaluate(model, samples)) for name, model in models.items()}, samples


def test_samples_are_spread_from_the_best_to_the_worst_of_the_first_family(blobs):
    families, samples = blobs
    shown = descents(families, samples, most=3)
    order = families["still"][1].error().argsort().tolist()
    expected = [f"sample {order[place]}" for place in (0, 4, 8)]
    assert [sample["name"] for sample in shown["samples"]] == expected
    assert shown["total"] == 9
    assert [len(found["errors"]) for found in shown["samples"][0]["descents"]] == [3, 4]
    named = descents(families, samples, names=[f"{number}.png" for number in range(9)])
    assert len(named["samples"]) == 9
    assert named["samples"][0]["name"] == f"{order[0]}.png"


def test_points_lie_on_a_small_square_picture(blobs):
    families, samples = blobs
    shown = descents(families, samples, most=1)
    (sample,) = shown["samples"]
    picture = Image.open(BytesIO(b64decode(sample["picture"].partition(",")[2])))
    assert picture.size[0] == picture.size[1] <= 48
    assert len(sample["truth"]) == 10
    assert all(0 <= value <= 1000 for value in sample["truth"])
    # where the picture is brightest there is a point
    points = torch.tensor(sample["truth"]).view(5, 2) / 1000 * picture.size[0] - 0.5
    levels = torch.from_numpy(np.array(picture))
    column, row = points.round().long().clamp(0, picture.size[0] - 1).T
    assert levels[row, column].float().mean() > levels.float().mean() + 40
    assert sample["descents"][0]["x"][0] == sample["descents"][1]["x"][0]
    assert json.loads(json.dumps(shown)) == shown


def test_without_a_picture_parameters_are_shown_and_what_is_not_finite_is_none():
    problem = Analytic("erf")
    samples = problem.data("test")
    model = Cascade.for_problem(problem, num_steps=1)
    result = evaluate(model, samples)
    result.xs[1, 0] = torch.nan
    shown = descents({"sdm": (model, result)}, samples, most=1000)
    assert len(shown["samples"]) == 67
    by_name = {sample["name"]: sample for sample in shown["samples"]}
    assert by_name["sample 0"]["picture"] is None
    assert by_name["sample 0"]["descents"][0]["x"][1] == [None]
    assert by_name["sample 1"]["truth"] == [float(f"{float(samples['x'][1]):.4g}")]


def test_a_page_does_not_grow_without_end(blobs, monkeypatch):
    families, samples = blobs
    monkeypatch.setattr(
        module, "_NUMBERS", 150
    )  # 10 numbers after each of 2 + 3 steps and 2 starts
    assert len(descents(families, samples)["samples"]) == 2
    monkeypatch.setattr(module, "_NUMBERS", 1)
    assert len(descents(families, samples)["samples"]) == 1


def test_other_samples_and_results_without_parameters_are_refused(blobs):
    families, samples = blobs
    fewer = {name: value[:4] for name, value in samples.items()}
    with pytest.raises(DescentError, match="expected the 9 samples of the evaluations, got 4"):
        descents(families, fewer)
    model, result = families["still"]
    with pytest.raises(DescentError, match=re.escape("xs were not stored")):
        descents({"still": (model, replace(result, xs=None))}, samples)
