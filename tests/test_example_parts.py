"""The short examples of a part of one's own: a loss, a detector."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from examples import bright_detector, grey_eyes, new_problem, wing_loss
from learned_descent import DescentError, MnemonicDescent, load_model, save_model
from learned_descent.checkpoint import read_stored
from learned_descent.cli.main import main
from learned_descent.faces.synthetic import SyntheticFaces
from learned_descent.landmarks.detector import DetectorWarning
from learned_descent.observations import ConvolutionalMap

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize("name", ["wing_loss.py", "bright_detector.py", "grey_eyes.py"])
def test_the_examples_are_short(name):
    assert len((EXAMPLES / name).read_text().splitlines()) <= 60


QUICK = "--model.num_steps 2 --bptt.iterations 10 --bptt.lr 1e-4 --bptt.accelerator cpu"


@pytest.mark.parametrize(("name", "width"), [("Wing", 5.0), ("NARROW", 2.0)])
def test_a_loss_of_ones_own_through_the_command_line(tmp_path, name, width):
    line = f"train {EXAMPLES / 'new_problem.py'}:Blobs --family joint --ridge.repeats 1 {QUICK}"
    chosen = ["--bptt.loss", f"{EXAMPLES / 'wing_loss.py'}:{name}", "--out", str(tmp_path)]
    assert main([*line.split(), *chosen]) == 0
    history = json.loads((tmp_path / "history.json").read_text())
    assert history["val_error"]["after_step"][-1] < 2, "in px"
    assert history["settings"]["bptt"]["loss"] == f"Wing(width={width}, curve=0.5)"


def test_a_wing_is_steep_at_first_and_then_straight():
    batch = {"points": torch.zeros(4, 5, 2)}
    distance = torch.tensor([0.0, 0.1, 5.0, 8.0])
    losses = wing_loss.Wing()(new_problem.Blobs(), distance[:, None].repeat(1, 10), batch)
    near, small, rim, far = losses.tolist()
    assert near == 0
    assert small / 0.1 > 5 * (far - rim) / 3
    assert far - rim == pytest.approx(3)


def test_a_detector_of_ones_own_finds_the_face(tmp_path):
    picture = Image.new("RGB", (200, 160), (20, 20, 30))
    ImageDraw.Draw(picture).ellipse((60, 30, 140, 130), fill=(220, 190, 170))
    file = tmp_path / "face.png"
    picture.save(file)
    with pytest.warns(
        DetectorWarning, match="how the boxes of bright lie on faces: calibrate them"
    ):
        (face,) = bright_detector.main(file)
    assert face.landmarks.shape == (68, 2)
    assert np.allclose(bright_detector.Bright()(np.asarray(picture))[0], (62, 34, 138, 126), atol=3)
    assert bright_detector.Bright()(np.zeros((20, 20, 3), np.uint8)) == []


def test_eyes_for_colours_become_eyes_for_greys(tmp_path):
    """On a grey picture of usual brightness and contrast they see the same."""
    problem = SyntheticFaces(count=4, test_count=2, crop=64, box_side=38.0)
    sizes = {"filters": (8, 8), "embedding": 8, "sampled": 4}
    eyes = ConvolutionalMap(problem.points, num_points=problem.schema.num_points, **sizes)
    model = MnemonicDescent.for_problem(problem, observation=eyes, hidden=8)
    torch.nn.init.normal_(eyes.levels[0][0].bias)
    save_model(model, colours := tmp_path / "colours.safetensors", training={"seed": 3})
    grey_eyes.main(colours, grey := tmp_path / "grey.safetensors")
    made = load_model(grey).observation
    assert made.grey
    assert read_stored(grey).training == {"seed": 3}
    noise = torch.randn(3, 1, 64, 64)
    noise = (noise - noise.mean((1, 2, 3), True)) / noise.std((1, 2, 3), False, True)
    pictures = 255 * (grey_eyes.MEAN + grey_eyes.DEVIATION * noise).expand(-1, 3, -1, -1)
    seen, wanted = (one.prepare({"image": pictures}) for one in (made, eyes))
    seen, wanted = (maps["map0"][..., 8:-8, 8:-8] for maps in (seen, wanted))  # without the rim
    torch.testing.assert_close(seen, wanted, atol=1e-4, rtol=1e-4)
    with pytest.raises(DescentError, match="expected eyes that see colours"):
        grey_eyes.main(grey, tmp_path / "twice.safetensors")
    assert not (tmp_path / "twice.safetensors").exists()
