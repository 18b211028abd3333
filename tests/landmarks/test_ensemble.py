from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from learned_descent.faces.alignment import FaceAlignment
from learned_descent.landmarks import ensemble
from learned_descent.landmarks.crops import apply_affine
from learned_descent.landmarks.ensemble import (
    VIEWS,
    _fits,
    _onto,
    _seen,
    _view,
    agree,
    fit_anew,
    fit_often,
    fit_once,
)
from learned_descent.landmarks.geometry import fit_similarity

from .aligners import small_model


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(
        0, 256, (3, 3, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def test_the_first_view_is_the_fit_of_testing_in_the_box_around_a_first_fit(images: torch.Tensor):
    model = small_model()
    torch.nn.init.normal_(
        model.stages[0].weight, std=1e-3, generator=torch.Generator().manual_seed(0)
    )
    box = torch.tensor([[9.5, 9.5, 37.5, 37.5]]).expand(3, 4)
    start = model.problem.points(model.problem.initial({"box": box[:1]}))
    first = _fits(model, images, start.flatten(1))
    torch.testing.assert_close(
        first[0], model.problem.points(model({"image": images, "box": box}).final)
    )
    back = _onto(start, agree(torch.stack(first, 1))[0])
    wanted = apply_affine(
        back, model.problem.points(model({"image": _seen(images, back), "box": box}).final)
    )
    for views in (1, 3):
        fits = fit_often(model, images, views=views)
        assert fits.shape == (3, 2 * views, model.problem.schema.num_points, 2)
        torch.testing.assert_close(fits[:, 0], wanted)


def test_eyes_that_may_are_computed_in_sixteen_bits_where_that_is_fast(
    images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
):
    model, seen = small_model(), []
    monkeypatch.setattr(
        model.observation,
        "prepare",
        lambda batch: (
            seen.append(torch.is_autocast_enabled("cpu"))
            or {**batch, "patches": batch["image"].float() / 255}
        ),
    )
    for coarse, quick in ((True, True), (True, False), (False, True)):
        monkeypatch.setattr(type(model.observation), "coarse", coarse)
        monkeypatch.setattr(ensemble, "multiplies_bfloat16", lambda quick=quick: quick)
        assert fit_once(model, images).dtype == torch.float32
    assert seen == [True, False, False]


@pytest.mark.parametrize(("larger", "factor"), [(1.3, 1.3 / 1.04), (9.0, 2.0), (0.1, 0.5)])
def test_the_box_is_laid_around_a_fit(larger: float, factor: float):
    start = 50 + 20 * torch.rand(1, 9, 2, generator=torch.Generator().manual_seed(0))
    found = larger * start + torch.tensor([[[4.0, -7.0]], [[0.0, 2.0]]])
    moved = apply_affine(_onto(start, found), start.expand(2, -1, -1))
    torch.testing.assert_close(moved.amax(1) + moved.amin(1), found.amax(1) + found.amin(1))
    before, after = (points.amax(1) - points.amin(1) for points in (start, moved))
    torch.testing.assert_close(after / before, torch.full((2, 2), factor))


def test_the_mirrored_crop_gives_the_mirrored_fit(images: torch.Tensor):
    model = small_model()
    torch.nn.init.normal_(
        model.stages[0].weight, std=1e-3, generator=torch.Generator().manual_seed(0)
    )
    fits, mirrored = (fit_often(model, faces, views=1) for faces in (images, images.flip(-1)))
    back = mirrored[:, :, model.problem.mirror_points]
    torch.testing.assert_close(fits[:, 1:, :, 0], 47 - back[:, :1, :, 0])
    torch.testing.assert_close(fits[:, 1:, :, 1], back[:, :1, :, 1])


@pytest.mark.parametrize(("degrees", "factor"), VIEWS[1:])
def test_a_view_shows_the_crop_turned_and_enlarged_about_its_middle(degrees: float, factor: float):
    pixels = torch.arange(48.0)
    place = torch.tensor([30.0, 14.0])
    dot = torch.exp(
        -((pixels - place[0]).square() + (pixels[:, None] - place[1]).square()) / 8
    ).expand(1, 3, 48, 48)
    seen, back = _view(255 * dot, degrees, factor)
    mass = seen[0, 0] / seen[0, 0].sum()
    found = torch.stack([(mass.sum(0) * pixels).sum(), (mass.sum(1) * pixels).sum()])
    torch.testing.assert_close(apply_affine(back[0], found[None])[0], place, atol=0.02, rtol=0)
    assert (found - 23.5).norm() / (place - 23.5).norm() == pytest.approx(factor, rel=2e-3)


def test_a_face_does_not_depend_on_the_others_nor_on_the_time_of_day(images: torch.Tensor):
    model = small_model()
    torch.nn.init.normal_(
        model.stages[0].weight, std=1e-3, generator=torch.Generator().manual_seed(0)
    )
    together = fit_often(model, images, views=3, batch_size=2)
    torch.testing.assert_close(together[1:2], fit_often(model, images[1:2], views=3))


def test_a_model_that_does_not_move_starts_elsewhere_in_every_view(images: torch.Tensor):
    model = small_model()
    assert isinstance(model.problem, FaceAlignment)
    fits = fit_often(model, images, views=len(VIEWS))
    start = fits[:, 0]
    centre = (start.amin(1, keepdim=True) + start.amax(1, keepdim=True)) / 2
    # Of the crop that is cut around the first fit, which is the start
    middle = centre + (23.5 - centre) / 1.04
    torch.testing.assert_close(fits[:, 3] - middle, (start - middle) / 1.08)
    apart = torch.cdist(fits[0].flatten(1), fits[0].flatten(1))
    assert apart[:4, :4].add(100 * torch.eye(4)).min() > 1.0


@pytest.mark.parametrize("mirror", [True, False])
def test_anew_an_object_is_fitted_upright_in_colours_and_in_grey(
    images: torch.Tensor, mirror: bool, monkeypatch: pytest.MonkeyPatch
):
    """The turn in which the fits agree best is that in which the object is looked at."""
    model = small_model()
    if not mirror:
        bare = replace(model.problem.schema, mirror=None)
        monkeypatch.setattr(model.problem, "schema", bare)
        assert bare.mirror is None
    usual = ensemble._fitted_twice

    def sure_of_one(model, copies, degrees, start):
        points, spread = usual(model, copies, degrees, start)
        return points, spread if degrees == 120.0 else spread + 1000

    monkeypatch.setattr(ensemble, "_fitted_twice", sure_of_one)
    colours, grey = fit_anew(model, images, views=1)
    assert colours.shape == grey.shape == fit_often(model, images, views=1).shape
    mean = model.problem.mean_shape
    for fits in (colours, grey):  # of a model that leaves the mean shape where it is
        angle = fit_similarity(mean - mean.mean(0), fits[:, 0])[:, 1].rad2deg()
        torch.testing.assert_close(angle, torch.full((3,), 120.0), atol=0.1, rtol=0)


def test_grey_is_the_brightest_channel():
    blue = torch.tensor([0, 0, 200], dtype=torch.uint8)[None, :, None, None].expand(1, 3, 4, 4)
    assert (ensemble._grey(blue) == 200).all()
