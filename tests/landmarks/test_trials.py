from __future__ import annotations

import pytest
import torch
from torch import Generator

from learned_descent.faces.alignment import FaceAlignment
from learned_descent.landmarks.trials import TRIALS, VARIANTS, trials_of

from ..faces.fake300w import write_fake_300w
from .dots import Dots


@pytest.fixture
def faces(tmp_path):
    root = write_fake_300w(tmp_path, {"afw": 4}, size=96)
    return FaceAlignment(str(root), train=["afw"], test=[], crop=64, box_side=36.0, val_fraction=0)


@pytest.mark.parametrize("name", TRIALS)
def test_every_kind_makes_other_pictures_of_the_same_samples(faces: FaceAlignment, name: str):
    batch = faces.data("train")
    before = batch["image"].clone()
    made = trials_of(faces)[name](faces, batch, Generator().manual_seed(0))
    assert made["image"].shape == batch["image"].shape
    assert made["image"].isfinite().all()
    assert (made["image"].float() != before.float()).any()
    assert torch.equal(batch["image"], before)
    again = trials_of(faces)[name](faces, batch, Generator().manual_seed(0))
    assert torch.equal(made["image"], again["image"])


def test_a_cut_is_black_on_one_side_and_leaves_the_rest(faces: FaceAlignment):
    batch = {**faces.data("train"), "image": torch.full((8, 3, 64, 64), 200, dtype=torch.uint8)}
    image = TRIALS["cut"](faces, batch, Generator().manual_seed(1))["image"]
    dark = (image == 0).all(1)
    assert ((image == 200) | (image == 0)).all()
    assert (dark.all(1).any(1) ^ dark.all(2).any(1)).sum() >= 6  # whole columns or whole rows
    assert (dark.float().mean((1, 2)) <= 0.5).all()


def test_a_picture_of_nothing_has_the_pixels_of_the_object_elsewhere(faces: FaceAlignment):
    batch = faces.data("train")
    made = TRIALS["nothing"](faces, batch, Generator().manual_seed(0))
    assert not made["there"].any()
    assert torch.equal(
        made["image"].flatten(1).sort(1).values, batch["image"].float().flatten(1).sort(1).values
    )


def test_only_what_is_known_to_be_solid_turns():
    flat = Dots()
    assert set(TRIALS) - set(trials_of(flat)) == {"turned heads"}
    assert set(VARIANTS) == set(TRIALS)
