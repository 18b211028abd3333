"""The example of a landmark schema of one's own, through the command line alone, on pictures that
are drawn here."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw

from learned_descent.checkpoint import read_description
from learned_descent.cli.main import main

from .faces.fake300w import write_pts

HINGE = Path(__file__).parents[1] / "examples" / "hinge.yaml"

LEAF = torch.tensor([[0.1, -1.0], [1.0, -0.9], [1.0, 0.9], [0.1, 1.0]])
HOLES = torch.tensor([[0.6, -0.55], [0.6, 0.35]])


def draw_hinges(root: Path, part: str, count: int) -> None:
    """Hinges of 12 points, some more open than others, and their boxes, in the layout of 300-W."""
    generator = torch.Generator().manual_seed(count)
    for number in range(count):
        left, right, turn, across, down = (torch.rand(5, generator=generator) * 2 - 1).tolist()
        flip = torch.tensor([-1.0, 1.0])
        points = torch.cat([LEAF * flip, LEAF, HOLES * flip, HOLES])
        points[[0, 1, 2, 3, 8, 9], 0] *= 1 + 0.3 * left
        points[[4, 5, 6, 7, 10, 11], 0] *= 1 + 0.3 * right
        angle = 0.15 * turn
        rotation = torch.tensor(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        )
        points = 60 + 30 * points @ rotation.mT
        picture = Image.new("L", (120, 120), 60)
        pen = ImageDraw.Draw(picture)
        pen.polygon([(column, row) for column, row in points[:4].tolist()], fill=170)
        pen.polygon([(column, row) for column, row in points[4:8].tolist()], fill=220)
        for column, row in points[8:].tolist():
            pen.ellipse((column - 3, row - 3, column + 3, row + 3), fill=20)
        middle, side = points.mean(0) + 4 * torch.tensor([across, down]), 70.0
        corners = torch.cartesian_prod(*torch.stack([middle - side / 2, middle + side / 2], 1))
        folder = root / part
        write_pts(folder / f"hinge{number}.pts", points)
        write_pts(root / "bounding_boxes" / part / f"hinge{number}.pts", corners)
        picture.save(folder / f"hinge{number}.png")


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What every command is given: the pictures, and a schema that it has never heard of."""
    root = tmp_path_factory.mktemp("hinges")
    draw_hinges(root, "train", 40)
    draw_hinges(root, "test", 12)
    settings = {
        "data": root,
        "problem.train": "train",
        "problem.test": "test",
        "problem.schema": HINGE,
        "problem.normaliser": "box",
        "problem.augmentation.turn": 0,
        "problem.crop": 80,
        "problem.box_side": 48,
    }
    return [word for name, value in settings.items() for word in (f"--{name}", str(value))]


def test_hinge_through_the_command_line(words, tmp_path, capsys, monkeypatch):
    weights = tmp_path / "sdm" / "model.safetensors"
    quick = ["--model.num_steps", "3", "--ridge.repeats", "2"]
    assert (
        main(["train", "faces", "--family", "sdm", *words, *quick, "--out", str(weights.parent)])
        == 0
    )
    kept = read_description(weights)["problem"]["settings"]["schema"]
    assert kept["name"] == "hinge"
    assert kept["num_points"] == 12

    capsys.readouterr()
    monkeypatch.chdir(tmp_path)  # where there is no such schema: the weights file holds it
    assert main(["evaluate", str(weights), "--data", words[1]]) == 0
    out = capsys.readouterr().out
    assert "12 points / box" in out
    assert "eye" not in out.replace("eyes", "")
    result = json.loads(weights.with_suffix(".test.json").read_text())
    errors = torch.tensor(result["errors"]["12 points / box"])
    assert errors[-1].mean() < 0.4 * errors[0].mean()
    assert "holes points / box" in result["errors"]

    command = [
        "compare",
        "faces",
        *words,
        "--families",
        "sdm",
        "--weights",
        f"sdm={weights}",
        "--out",
        "compared",
    ]
    assert main(command) == 0
    assert (tmp_path / "compared" / "results.json").exists()
    assert main(["check", "faces", *words]) == 0


def test_what_a_hinge_has_not_is_refused_in_one_line(words, tmp_path, capsys):
    command = ["train", "faces", "--family", "sdm", *words, "--out", str(tmp_path)]
    assert main([*command, "--problem.normaliser", "inter_ocular"]) == 2
    assert (
        "'inter_ocular' needs the outer_eye_corners of the schema, and 'hinge' has none: expected "
        "'box'" in capsys.readouterr().err
    )
    assert main([*command, "--problem.augmentation.turn", "15"]) == 2
    assert "or set it to 0" in capsys.readouterr().err
