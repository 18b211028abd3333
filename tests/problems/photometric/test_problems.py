from __future__ import annotations

import functools

import pytest
import torch

from learned_descent import Cascade, DescentError, LeastSquares, SequentialRidge, ShapeError
from learned_descent.problems.photometric.blur import smoothed
from learned_descent.problems.photometric.photos import photo_of, sample, slopes
from learned_descent.problems.photometric.problems import AnyTemplate, FixedTemplate
from learned_descent.solvers import GaussNewton, LevenbergMarquardt, Polished, Status

SMALL = {"grid": 12, "spread": 0.1, "margin": 0.2, "num_train": 96, "num_test": 8}


@functools.cache
def fixed(warp: str = "homography") -> FixedTemplate:
    return FixedTemplate(warp=warp, **SMALL, elsewhere=0.0)


@functools.cache
def anything(warp: str = "homography") -> AnyTemplate:
    return AnyTemplate(side=48, warp=warp, **{**SMALL, "grid": 24})


PROBLEMS = [
    (fixed, "affine"),
    (fixed, "homography"),
    (anything, "affine"),
    (anything, "homography"),
]


@pytest.mark.parametrize(("make", "warp"), PROBLEMS)
def test_the_jacobian_is_that_of_automatic_differentiation(make, warp):
    problem = make(warp)
    batch = {name: value.double() for name, value in problem.data("test").items()}
    prepared, x = problem.prepare(batch), batch["start"]
    exact = LeastSquares.jacobian(problem, x, prepared)
    assert torch.allclose(problem.jacobian(x, prepared), exact, atol=1e-5 * exact.abs().max())


def test_slopes_are_those_of_the_interpolation():
    draw = torch.Generator().manual_seed(0)
    image = torch.rand(2, 1, 6, 5, generator=draw, dtype=torch.float64)
    points = (torch.rand(2, 9, 2, generator=draw, dtype=torch.float64) * 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda where: sample(image, where), points)
    assert (slopes(image, points.detach() + 20) == 0).all(), "beyond the border nothing changes"


@pytest.mark.parametrize(("make", "warp"), PROBLEMS)
def test_image_and_template_agree_at_the_target(make, warp):
    problem = make(warp)
    batch = problem.data("test")
    prepared = problem.prepare(batch)
    right, wrong = (
        problem.cost(x, prepared).mean() for x in (problem.target(batch), problem.initial(batch))
    )
    assert right < 0.3 * wrong


@pytest.mark.parametrize(("make", "warp"), PROBLEMS)
def test_gain_and_bias_do_not_matter(make, warp):
    problem = make(warp)
    batch = {name: value.double() for name, value in problem.data("test").items()}
    other = {**batch, "image": 0.3 * batch["image"] + 50}
    x = problem.initial(batch)
    assert torch.allclose(
        problem.residual(x, problem.prepare(batch)), problem.residual(x, problem.prepare(other))
    )


@pytest.mark.parametrize(("make", "warp"), PROBLEMS)
def test_lucas_kanade_converges_from_nearby(make, warp):
    problem = make(warp)
    batch = problem.data("test")
    near = slice(None, None, 4)  # the smallest level of the four
    for solver in (GaussNewton(problem, num_steps=15), LevenbergMarquardt(problem, num_steps=15)):
        assert (problem.error(solver(batch).final, batch)[near] < 1).all()


@pytest.mark.parametrize("warp", ["affine", "homography"])
def test_starts_are_as_far_away_as_they_should_be(warp):
    problem = fixed(warp)
    batch = problem.data("test")
    sides = problem.error(problem.initial(batch), batch) / 96
    assert torch.allclose(sides, 0.1 * (torch.arange(8) % 4 + 1) / 4, rtol=0.02)
    random = torch.cat(
        [problem.initial(batch, torch.Generator().manual_seed(seed)) for seed in range(20)]
    )
    repeated = {name: value.repeat(20, *[1] * (value.ndim - 1)) for name, value in batch.items()}
    assert 0.03 < problem.error(random, repeated).mean() / 96 < 0.08


def test_the_loss_grows_with_the_logarithm_of_the_error_in_half_sides():
    problem = fixed()
    batch = problem.data("test")
    x = problem.initial(batch)
    assert torch.allclose(problem.loss(x, batch).expm1(), problem.error(x, batch) / 47.5, rtol=0.03)
    assert (problem.loss(batch["truth"], batch) < 0.02).all()


def test_a_model_learns_a_template_by_heart():
    problem = fixed()
    model = Cascade.for_problem(problem, num_steps=3)
    SequentialRidge(repeats=4, ridge=0.1, batch_size=96).fit(model, problem.data("train"))
    batch = problem.data("test")
    with torch.no_grad():
        errors = torch.stack([problem.error(x, batch) for x in model(batch).xs]).mean(1)
    assert errors[3] < 0.4 * errors[0]
    polished = Polished(model, LevenbergMarquardt(problem, num_steps=6))
    assert (problem.error(polished(batch).final, batch) < 1).all()


def test_a_blur_is_as_wide_as_it_should_be():
    point = torch.zeros(1, 1, 21, 21, dtype=torch.float64)
    point[..., 10, 10] = 1
    along = smoothed(point, 1.5)[0, 0].sum(0)
    ticks = torch.arange(21.0, dtype=torch.float64) - 10
    assert along.sum().item() == pytest.approx(1)
    assert (along * ticks**2).sum().sqrt().item() == pytest.approx(1.5, rel=0.02)
    assert torch.allclose(smoothed(torch.ones(1, 1, 4, 4), 2.0), torch.ones(1, 1, 4, 4)), (
        "beyond the border it goes on"
    )


BLURRED = [
    *(
        (FixedTemplate, {"elsewhere": 0.0, "warp": "affine", **more})
        for more in ({}, {"inverse": True}, {"robust": 1.0})
    ),
    (FixedTemplate, {"elsewhere": 0.0, "warp": "homography", "grid": 48}),
    *(
        (AnyTemplate, {"margin": 1.0, **more})
        for more in ({}, {"inverse": True}, {"robust": 1.0}, {"warp": "affine"})
    ),
]


@pytest.mark.parametrize("blur", [1.0, 2.0, 4.0])
@pytest.mark.parametrize(("kind", "settings"), BLURRED)
def test_the_truth_is_a_minimum_under_a_blur(kind, settings, blur):
    """It was .44, 1.57 and 7.74 px off: the template was smoothed without what is around it."""
    still = {"spread": 0.0, "noise": 0.0, "lighting": 0.0, "num_test": 4, "num_train": 4}
    problem = kind(blur=blur, **still, **settings)
    batch = problem.data("test")
    end = LevenbergMarquardt(problem, num_steps=20)(batch, batch["truth"]).final
    assert (problem.error(end, batch) < 0.02).all()


def test_every_level_of_a_pyramid_has_its_minimum_at_the_truth():
    for grid in (32, 16, 8):
        problem = AnyTemplate(
            grid=grid, blur=0.5, margin=1.0, spread=0.0, noise=0.0, lighting=0.0, num_test=4
        )
        batch = problem.data("test")
        end = LevenbergMarquardt(problem, num_steps=20)(batch, batch["truth"]).final
        assert (problem.error(end, batch) < 0.02).all()


def test_a_blur_that_leaves_too_little_of_a_template_is_refused():
    with pytest.raises(
        DescentError,
        match=r"blur: expected at most 1.83 spacings of a grid of 16 points, "
        r"got 2.0: .* raise grid",
    ):
        AnyTemplate(grid=16, blur=2.0)
    wide = AnyTemplate(blur=4.0, num_train=4, num_test=4)
    assert wide.inner == pytest.approx(0.21, abs=0.01)
    assert Cascade.for_problem(wide, num_steps=1).num_features > 0, (
        "its eyes see through a smaller blur where it leaves too little"
    )


def test_a_blur_is_in_spacings_of_the_grid():
    coarse, fine = (AnyTemplate(side=48, grid=grid, blur=0.5, num_test=1) for grid in (12, 24))
    assert coarse.blur * coarse.pool == 2 * fine.blur * fine.pool == 2


def test_photos_of_the_splits_differ():
    photos = AnyTemplate.photos
    assert not set(photos["train"]) & set(photos["val"]) | set(
        photos["train"] + photos["val"]
    ) & set(photos["test"])


def test_an_occluder_hides_its_share():
    settings = {**SMALL, "lighting": 0.0, "noise": 0.0, "spread": 0.0}
    plain, hidden = (
        FixedTemplate(occluder=share, **settings).data("test")["image"] for share in (0.0, 0.35)
    )
    changed = (plain != hidden).float().mean((1, 2, 3)) * (1 + 2 * SMALL["margin"]) ** 2
    assert changed.mean().item() == pytest.approx(0.35, abs=0.02)


def occluded(
    robust: float, **settings
) -> tuple[FixedTemplate, dict[str, torch.Tensor], torch.Tensor]:
    """A template of which a third is hidden, its test samples, and starts 4 px or so away."""
    problem = FixedTemplate(
        warp="affine",
        occluder=0.35,
        robust=robust,
        **{**SMALL, "grid": 24, "num_test": 32},
        **settings,
    )
    batch = problem.data("test")
    moves = 0.05 * torch.randn(len(batch["truth"]), 6, generator=torch.Generator().manual_seed(0))
    return problem, batch, problem.retract(batch["truth"], moves)


@pytest.mark.parametrize("inverse", [False, True])
def test_robust_steps_are_right_where_an_occluder_misleads_squares(inverse):
    shares = []
    for robust in (0.0, 1.0):
        problem, batch, start = occluded(robust, inverse=inverse)
        end = LevenbergMarquardt(problem, num_steps=10)(batch, start).final
        shares.append((problem.error(end, batch) < 1).float().mean())
    assert shares[1] > 0.6
    assert shares[1] > shares[0] + 0.3


def test_robust_equations_point_as_the_gradient_of_the_cost_does():
    problem, batch, start = occluded(1.0)
    prepared = problem.prepare(batch)
    _, gradient, cost = problem.normal_equations(start, prepared)
    delta = torch.zeros(len(start), 6, requires_grad=True)
    reached = problem.cost(problem.retract(start, delta), prepared)
    (exact,) = torch.autograd.grad(reached.sum(), delta)
    assert torch.equal(cost, problem.cost(start, prepared))
    assert torch.cosine_similarity(gradient, exact).median() > 0.9


def test_around_a_template_that_lies_elsewhere_is_another_photo():
    settings = {**SMALL, "lighting": 0.0, "noise": 0.0, "spread": 0.0}
    own, other = (
        FixedTemplate(elsewhere=share, **settings).data("test")["image"] for share in (0.0, 1.0)
    )
    edge = (own.shape[2] - 96) // 2 + 1
    inside = (..., slice(edge, -edge), slice(edge, -edge))
    assert torch.equal(own[inside], other[inside])
    assert (own[..., : edge - 2] != other[..., : edge - 2]).float().mean() > 0.9


@pytest.mark.parametrize("warp", ["affine", "homography"])
def test_inverse_compositional_equations_point_as_those_of_the_cost_do_at_the_target(warp):
    settings = {**SMALL, "warp": warp, "spread": 0.0, "lighting": 0.0, "noise": 0.0, "grid": 48}
    exact, inverse = (
        FixedTemplate(inverse=inverse, elsewhere=0.0, **settings) for inverse in (False, True)
    )
    batch = exact.prepare(exact.data("test"))
    ours, theirs = (problem.normal_equations(batch["truth"], batch) for problem in (inverse, exact))
    assert torch.equal(ours[2], theirs[2])
    cosine = torch.cosine_similarity(ours[0].flatten(1), theirs[0].flatten(1))
    assert (cosine > 0.9).all()


def test_the_eyes_of_any_template_fit_a_small_grid():
    problem = AnyTemplate(side=48, **SMALL)
    assert Cascade.for_problem(problem, num_steps=1).num_features == 3 * 3 * 8 + 3 * 17


def spoilt(
    make, name: str, value: float
) -> tuple[LeastSquares, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """A problem, its test samples, and those with one tensor of the first sample replaced."""
    problem = make()
    good = {key: tensor.float() for key, tensor in problem.data("test").items()}
    bad = {key: tensor.clone() for key, tensor in good.items()}
    bad[name][0] = value
    return problem, good, bad


SPOILT = [
    (fixed, "image", 128.0), (fixed, "image", torch.nan), (fixed, "start", torch.nan), (anything,
    "image", 0.0),
    (anything, "template", 77.0), (anything, "template", torch.nan),
]  # fmt: skip


@pytest.mark.parametrize(("make", "name", "value"), SPOILT)
@pytest.mark.parametrize("solver", [GaussNewton, LevenbergMarquardt])
def test_a_sample_that_is_flat_or_nan_is_invalid_and_harms_no_other(make, name, value, solver):
    problem, good, bad = spoilt(make, name, value)
    method = solver(problem, num_steps=4)
    usual, found = method(good, keep_states=True), method(bad, keep_states=True)
    status = method.status(found)
    assert status[0] == Status.INVALID
    assert (status[1:] != Status.INVALID).all()
    assert torch.equal(found.final[0], bad["start"][0]) or name == "start"
    assert torch.allclose(found.final[1:], usual.final[1:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("make", "name", "value"), SPOILT)
def test_a_learned_model_survives_a_sample_that_is_flat_or_nan(make, name, value):
    problem, good, bad = spoilt(make, name, value)
    model = Cascade.for_problem(problem, num_steps=2)
    SequentialRidge(ridge=1.0, batch_size=96).fit(model, problem.data("train"))
    with torch.no_grad():
        usual, found = model(good).final, model(bad).final
    assert found[0].isfinite().all() or name == "start"
    assert torch.allclose(found[1:], usual[1:], rtol=1e-4, atol=1e-3)


def test_a_warp_that_leaves_the_image_sees_its_border():
    problem = fixed()
    batch = problem.data("test")
    x = batch["start"].clone()
    x[:, [2, 5]] += 1e6
    prepared = problem.prepare(batch)
    assert problem.residual(x, prepared).isnan().all(), "one grey level is no contrast"
    assert problem.error(x, batch).isfinite().all()


def test_wrong_shapes_are_refused_before_the_loop():
    problem = anything()
    batch = problem.data("test")
    with pytest.raises(
        ShapeError,
        match=r"template: expected shape \(B, 1, 48, 48\) with B = 8, got \(8, 1, 40, 48\)",
    ):
        GaussNewton(problem)({**batch, "template": batch["template"][:, :, :40]})
    with pytest.raises(DescentError, match="batch: expected a tensor 'image'"):
        GaussNewton(problem)({name: value for name, value in batch.items() if name != "image"})


@pytest.mark.parametrize("make", [fixed, anything])
def test_settings_build_it_again(make):
    problem = make()
    assert type(problem)(**problem.settings()).settings() == problem.settings()


def test_a_photo_from_a_file(tmp_path):
    from PIL import Image

    path = tmp_path / "photo.png"
    Image.fromarray(photo_of("camera").byte().numpy()).save(path)
    assert torch.equal(photo_of(str(path)), photo_of("camera"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"photo": "nobody"},
            "photo: expected the path of an image, or one of astronaut, .*; got 'nobody'",
        ),
        (
            {"box": (0, 0, 500, 50)},
            r"box: expected a part of the photo, whose last pixel is \(383, 302\), got",
        ),
        ({"photo": "page", "box": (294, 0, 301, 7)}, "box: expected a part of page with contrast"),
        ({"grid": 3}, "grid: expected 4 to 96 points along a side, got 3"),
        ({"spread": 0.6}, "spread: expected a share of the side, 0 to 0.5, got 0.6"),
        ({"margin": -1}, "margin: expected a share of the side, 0 to 4, got -1"),
        ({"lighting": 1}, "lighting: expected a share, 0 to 0.9, got 1"),
        ({"noise": -1}, "noise: expected grey levels, 0 to 255, got -1"),
        ({"occluder": 1}, "occluder: expected a share of the template, 0 to 0.9, got 1"),
        ({"blur": -1}, "blur: expected spacings of the grid, 0 to 4, got -1"),
        ({"robust": -1}, "robust: expected standard deviations, or 0 for squares, got -1"),
        ({"elsewhere": 2}, "elsewhere: expected a share of the images, 0 to 1, got 2"),
        ({"num_train": 0}, "num_train: expected 1 or more images, got 0"),
        ({"num_test": 0}, "num_test: expected 1 or more images, got 0"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(DescentError, match=message):
        FixedTemplate(**{"grid": 4, **settings})


def test_a_template_larger_than_a_photo_is_refused():
    problem = AnyTemplate(side=200, num_test=1)
    with pytest.raises(DescentError, match="side: expected at most 191"):
        problem.data("test")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"photo": "/"}, "photo: expected the path"),
        ({"box": (1, 2, 3)}, "box: expected first column"),
        ({"box": (140, 100, 141, 101)}, "size: expected 4 px or more"),
    ],
)
def test_a_template_that_cannot_be_is_refused(settings, message):
    with pytest.raises(DescentError, match=message):
        FixedTemplate(**settings)
