"""The report: everything is in it, nothing outside is needed, and names cannot break it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from learned_descent import cli
from learned_descent.cli.report import report
from learned_descent.evaluation.evaluation import Evaluation
from learned_descent.evaluation.plots.frames import color_of
from learned_descent.faces.other_data import THREE_HUNDRED_W

PNG = b"\x89PNG no image"
METRICS = ("68 points / inter_ocular", "51 points / inter_ocular", "68 points / box")


class Page(HTMLParser):
    """Elements, headings and rows of a page; an element that is not closed, or not open, is an
    error."""

    VOID = ("meta", "img", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[tuple[str, str]] = []
        self.rows: list[list[str]] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.headings.append((self.open[-1], data))
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def evaluation(last: list[float]) -> Evaluation:
    errors = torch.tensor([[0.2] * len(last), last])
    return Evaluation(
        dict.fromkeys(METRICS, errors),
        None,
        0.08,
        seconds_per_sample=2e-3,
        batch_size=64,
        device="cpu",
    )


def family(last: list[float], settings: dict[str, Any], **other: Any) -> dict[str, Any]:
    return {
        "weights": "runs/x.safetensors",
        "settings": settings,
        "parameters": 3_329_960,
        "training_seconds": 51.3,
        "trainers": {"ridge": {}},
        **evaluation(last).to_json(),
        **other,
    }


@pytest.fixture
def results() -> dict[str, Any]:
    cascade = {"model": {"name": "cascade", "num_steps": 5, "bias": True}, "ridge": {"ridge": 3.0}}
    mnemonic = {
        "model": {"name": "mnemonic", "num_steps": 4},
        "bptt": {"lr": 2e-5, "clip": None, "betas": [0.9, 0.99]},
    }
    return {
        "seed": 7,
        "settings": {"task": "there.py:Faces"},
        "versions": {"python": "3.11", "torch": "2.13"},
        "machine": {"device": "x86_64", "threads": 2},
        "data": {"train": "436d4de472d947a6", "test": "9786ca2e98b2877b"},
        "samples": {"train": 2284, "test": 4},
        "problem": {"name": "custom:Faces", "settings": {"crop": 192}},
        "split": "test",
        "families": {
            "sdm": family([0.02, 0.03, 0.04, 0.07], cascade),
            "mdm": family(
                [0.02, 0.02, 0.02, 0.09],
                mnemonic,
                training_seconds=None,
                trainers={},
                weights="my runs/m.safetensors",
            ),
        },
    }


def made(
    results: dict[str, Any],
    names: tuple[str, ...] = ("ced", "steps", "fits"),
    faces: bool = True,
    steps: dict[str, Any] | None = None,
) -> str:
    other = THREE_HUNDRED_W if faces else None
    images = dict.fromkeys(names, PNG)
    return report(results, images, folder=Path("runs/compare"), steps=steps, other=other)


def steps_of(name: str, picture: str | None = None) -> dict[str, Any]:
    descent = {"errors": [0.2, None], "x": [[1, 2], [3, 4]]}
    return {
        "metric": METRICS[0],
        "failure_above": 0.08,
        "total": 4000,
        "edges": [[0, 0]],
        "families": [{"name": name, "color": "#000000", "dashes": "-"}],
        "samples": [{"name": name, "picture": picture, "truth": [5, 6], "descents": [descent]}],
    }


def test_headings_and_facts(results):
    page, text = Page(made(results)), made(results)
    assert page.headings[0] == ("h1", "sdm and mdm on Faces")
    sections = [name for tag, name in page.headings if tag == "h2"]
    assert sections == [
        "Results",
        "Error distribution",
        "Error after each step",
        "Fits",
        "Settings",
        "Run it again",
    ]
    for fact in (
        "436d4de472d947a6, 2,284 samples",
        "9786ca2e98b2877b, 4 samples",
        "x86_64, 2 threads",
        "torch 2.13",
        "<dd>7</dd>",
    ):
        assert fact in text
    assert f"Smallest mean error ({METRICS[0]}): mdm, 0.0375. Fewest failures: sdm, 0.00 %." in text


def test_the_table_has_a_row_per_family(results):
    page = Page(made(results))
    assert page.rows[0] == ["family", *METRICS[:2], "test", "training", "fit", "size"]
    measured = ["0.0400", "0.0350", "50.00", "0.00"]
    assert page.rows[2] == ["sdm", *measured, *measured, "0.500", "51.3", "2", "3,329,960"]
    assert page.rows[3][-4:] == ["-", "–", "2", "3,329,960"]  # noqa: RUF001 - loaded from a file that does not know its time
    assert page.rows[4][1] == METRICS[2]  # the other normalisers have a table of their own
    best = re.findall(r'class="[^"]*best[^"]*">([^<]*)<', made(results))
    assert best == [
        "0.00",
        "0.00",
        "0.0375",
        "0.0200",
        "56.25",
        "0.0375",
        "0.0200",
        "56.25",
        "0.00",
        "0.0375",
        "0.0200",
        "56.25",
    ]


def test_a_number_has_its_interval_and_a_family_the_colour_of_the_figures(results):
    text = made(results)
    assert re.search(r'best">0\.0375<small>\[0\.0200, 0\.0\d+\]</small>', text)
    assert "p: AUC against mdm (paired permutation test, 9,999 flips, Holm)." in text
    assert "One training each" in text
    for name in ("sdm", "mdm"):
        assert f'border-left-color: {color_of(name)}">{name}<' in text


def test_of_several_trainings_a_number_has_its_spread(results):
    mdm = Evaluation.from_json(results["families"]["mdm"])
    results["families"]["mdm"] |= Evaluation.pooled([mdm, mdm]).to_json()
    text = made(results)
    assert "] ± 0.0000</small>" in text
    assert "±: standard deviation over 2 trainings" in text
    assert "One training each" not in text


def test_the_settings_stand_side_by_side(results):
    rows = Page(made(results)).rows
    for row in (
        ["setting", "sdm", "mdm"],
        ["model", "", ""],
        ["num_steps", "5", "4"],
        ["bias", "true", "–"],  # noqa: RUF001
        ["lr", "–", "2e-05"],  # noqa: RUF001
        ["clip", "–", "none"],  # noqa: RUF001
        ["betas", "–", "0.9, 0.99"],  # noqa: RUF001
    ):
        assert row in rows


def test_nothing_outside_is_needed(results):
    text = made(results)
    page = Page(text)
    assert not page.all("script")
    assert not page.all("link")
    assert "url(" not in text
    assert "@import" not in text
    images = page.all("img")
    assert [image["src"].partition(",")[0] for image in images] == ["data:image/png;base64"] * 3
    assert all(len(image["alt"]) > 40 for image in images)
    assert "sdm: 50.0 % AUC; mdm: 56.3 % AUC" in images[0]["alt"]
    assert "sdm: 0.2, 0.04; mdm: 0.2, 0.0375" in images[1]["alt"]


def test_the_steps_of_samples_are_data_that_a_script_of_the_page_shows(results):
    evil = "</script><b>'&"
    text = made(results, steps=steps_of(evil))
    page = Page(text)
    assert [script.get("src") for script in page.all("script")] == [None, None]
    stored = re.search(r'id="steps-data">(.*?)</script>', text)
    assert json.loads(stored[1]) == steps_of(evil)
    assert not page.all("b")
    assert "1 of the 4,000 samples" in text
    assert "first 2 parameters" in text
    assert "Blue: the truth" in made(results, steps=steps_of("sdm", "data:image/jpeg;base64,"))


def test_all_that_the_script_asks_for_is_in_the_page_and_has_a_name(results):
    page = Page(made(results, steps=steps_of("sdm")))
    script = Path(cli.__file__).with_name("templates") / "steps.js"
    asked = re.search(r'\[("section".*?)\]\.map', script.read_text("utf-8"))[1]
    wanted = {"data", "previous", "next", *re.findall(r'"(\w+)"', asked)}
    found = {attributes.get("id") for _, attributes in page.found}
    assert {f"steps-{name}" for name in wanted} <= found
    assert all(button["aria-label"] for button in page.all("button"))
    assert len(page.all("label")) == len(page.all("select")) + len(page.all("input"))


def test_wide_contents_scroll_by_keyboard_too(results):
    regions = [
        attributes
        for attributes in Page(made(results)).all("div")
        if attributes.get("class") == "scroll"
    ]
    assert len(regions) == 4
    assert all(region["tabindex"] == "0" and region["aria-label"] for region in regions)


def test_names_are_text(results):
    evil = "<script>alert('&')</script>"
    results["families"] = {evil: results["families"]["sdm"]}
    results["families"][evil]["settings"] = {evil: {evil: evil}}
    results["settings"]["task"] = results["machine"]["device"] = results["problem"]["name"] = evil
    page = Page(made(results))
    assert not page.all("script")
    assert page.headings[0] == ("h1", f"{evil} on {evil}")
    assert [evil, evil] in page.rows


def test_commands(results):
    text = made(results)
    again = (
        "compare there.py:Faces --config runs/compare/settings.yaml --weights &#39;mdm=my "
        "runs/m.safetensors&#39;"
    )
    assert f"{again} --out runs/again" in text
    assert "compare faces --data /path/to/300w --families sdm mdm --seed 7" in text
    assert "compare my_problem.py:MyProblem --families sdm mdm --seed 7" in text


def test_other_problems_have_no_300w_and_perhaps_no_fits(results):
    text = made(results, ("ced", "steps"), faces=False)
    assert "300w" not in text
    assert "Fits" not in [name for _, name in Page(text).headings]


def test_errors_that_are_not_finite(results):
    results["families"] = {"sdm": family([float("nan"), 0.02, 0.02, 0.02], {})}
    assert Page(made(results)).rows[2][1:5] == ["inf", "0.0200", "56.25", "25.00"]


def test_the_same_results_give_the_same_page(results):
    assert made(results) == made(results)


def test_solvers_have_no_weights_and_a_column_of_their_own(results):
    solver = {"solver": {"name": "LevenbergMarquardt", "num_steps": 50}}
    lm = family(
        [0.02, 0.02, 0.02, 0.09],
        solver,
        training_seconds=None,
        trainers={},
        weights=None,
        parameters=0,
    )
    results["families"]["lm"] = {**lm, "status": [1, 1, 1, 3]}
    results["families"]["lm"]["invalid"] = {"the points lie on a line": 1}
    results["families"]["mdm+lm"] = {**results["families"]["mdm"], "status": [1, 1, 0, 0]}
    text = made(results, ("ced", "steps", "basin", "time"), faces=False)
    page = Page(text)
    assert page.rows[0] == ["family", *METRICS[:2], "test", "training", "fit", "size", "converged"]
    assert page.rows[1][-3:] == ["ms/sample", "parameters", "%"]
    assert [row[-1] for row in page.rows[2:6]] == ["–", "–", "75.0", "50.0"]  # noqa: RUF001
    assert ["name", "cascade", "mnemonic", "–", "mnemonic"] in page.rows  # noqa: RUF001
    assert ["num_steps", "–", "–", "50", "–"] in page.rows  # noqa: RUF001
    assert "--weights &#39;mdm=my runs/m.safetensors&#39; --out runs/again" in text
    assert "<dt>lm</dt><dd>3 converged, 1 invalid (1: the points lie on a line)</dd>" in text
    assert "<dt>mdm+lm</dt><dd>2 running, 2 converged</dd>" in text
    sections = [name for tag, name in page.headings if tag == "h2"]
    assert sections[3:5] == ["Basin of attraction", "Error against time"]
    assert "mdm: 0.02 in 2 ms" in page.all("img")[3]["alt"]
