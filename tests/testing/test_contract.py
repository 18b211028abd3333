"""The public contract on every problem and observation that is shipped, under every family."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from examples.new_problem import Blobs
from learned_descent import (
    Cascade,
    Concat,
    DescentModel,
    Frozen,
    MnemonicDescent,
    Observation,
    Problem,
    ShapeError,
)
from learned_descent.faces.alignment import FaceAlignment
from learned_descent.families import image_observation
from learned_descent.models import GlobalCascade, LocalBinaryFeatures, Tokens
from learned_descent.observations import (
    ConvolutionalMap,
    ConvolutionalPatches,
    DenseHOG,
    DenseSIFT,
    NearbyPixels,
    Patches,
    PixelPool,
)
from learned_descent.problems import Analytic, Pose
from learned_descent.problems.curves import Sinusoid, TwoExponentials
from learned_descent.problems.photometric.problems import AnyTemplate, FixedTemplate
from learned_descent.problems.registration.problem import Registration
from learned_descent.testing.checks import check_model, check_observation, check_problem

from ..faces.fake300w import write_fake_300w
from ..toys import Line, Turn

SIMULATED: dict[str, Callable[[], Problem]] = {
    "sinusoid": lambda: Sinusoid(num_train=16, num_test=8),
    "exponentials": lambda: TwoExponentials(num_train=16, num_test=8),
    "pose": lambda: Pose(num_points=12, num_train=16, num_test=8),
    "registration": lambda: Registration(num_model=32, num_scan=40, num_train=16, num_test=8),
    "fixed-template": lambda: FixedTemplate(grid=8, num_train=16, num_test=8),
    "any-template": lambda: AnyTemplate(side=32, grid=16, num_train=16, num_test=8),
}

PROBLEMS = ["sin", "cube", "erf", "exp", "sin_erf", "blobs", "faces", "line", "turn", *SIMULATED]

FAMILIES: dict[str, Callable[..., DescentModel]] = {
    "linear": lambda problem, **eyes: Cascade.for_problem(problem, num_steps=2, **eyes),
    "mlp": lambda problem, **eyes: Cascade.for_problem(problem, num_steps=2, hidden=4, **eyes),
    "tanh": lambda problem, **eyes: MnemonicDescent.for_problem(
        problem, num_steps=2, hidden=4, **eyes
    ),
    "gru": lambda problem, **eyes: MnemonicDescent.for_problem(
        problem, num_steps=2, hidden=4, cell="gru", **eyes
    ),
    "global-sdm": lambda problem, **eyes: GlobalCascade.for_problem(problem, num_steps=2, **eyes),
    "lbf": lambda problem, **eyes: LocalBinaryFeatures.for_problem(
        problem, num_steps=2, trees=2, depth=2, **eyes
    ),
    "tokens": lambda problem, **eyes: Tokens.for_problem(problem, num_steps=2, hidden=4, **eyes),
}


def sizes(problem: Problem) -> dict[str, int]:
    return {"channels": problem.data("train")["image"].shape[1]}


EYES: dict[str, Callable[[Problem], Observation]] = {
    "patches": lambda problem: Patches(problem.observation().points),
    "pixels": lambda problem: image_observation(NearbyPixels, problem, {"count": 8}),
    "pool": lambda problem: image_observation(PixelPool, problem, {"count": 8}),
    "hog": lambda problem: DenseHOG(problem.observation().points),
    "sift": lambda problem: DenseSIFT(problem.observation().points),
    "convolutional-patches": lambda problem: ConvolutionalPatches(
        problem.observation().points, size=14, **sizes(problem)
    ),
    "convolutional-map": lambda problem: ConvolutionalMap(
        problem.observation().points,
        num_points=len(problem.data("train")["points"][0]),
        **sizes(problem),
    ),
    "frozen": lambda problem: Frozen(problem.observation()),
    "concat": lambda problem: Concat(problem.observation(), Patches(problem.observation().points)),
}


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    return write_fake_300w(
        tmp_path_factory.mktemp("faces"), {"afw": 24, "helen/testset": 4}, size=96
    )


@pytest.fixture
def make(faces, dtype) -> Callable[[str], Problem]:
    """Builds a problem by its name in :data:`PROBLEMS`."""

    def build(name: str) -> Problem:
        if name == "faces":
            return FaceAlignment(
                str(faces),
                train=["afw"],
                test=["helen/testset"],
                crop=64,
                box_side=40,
                val_fraction=0.25,
            )
        builders = {"blobs": Blobs, "line": lambda: Line(dtype), "turn": Turn, **SIMULATED}
        problem = builders[name]() if name in builders else Analytic(name, dtype=dtype)
        problem.data = functools.cache(problem.data)
        return problem

    return build


@pytest.mark.parametrize("name", PROBLEMS)
def test_problem(make, name, device):
    assert not check_problem(make(name), device=device).failures


@pytest.mark.parametrize("name", PROBLEMS)
def test_own_observation(make, name, device):
    problem = make(name)
    assert not check_observation(problem.observation(), problem, device=device).failures


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", PROBLEMS)
def test_family(make, name, family, device):
    problem = make(name)
    dtype = problem.initial(problem.data("train")).dtype
    assert not check_model(
        FAMILIES[family](problem).to(dtype), untrained=True, device=device
    ).failures


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("name", ["blobs", "faces"])
def test_image_observation(make, name, eyes, device):
    problem = make(name)
    problem.data("train")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        observation = EYES[eyes](problem)
    assert not check_observation(observation, problem, device=device).failures
    model = FAMILIES["tanh"](problem, observation=observation)
    assert not check_model(model, untrained=True, device=device).failures


@pytest.mark.parametrize(
    "eyes", [ConvolutionalPatches, functools.partial(ConvolutionalMap, num_points=5)]
)
def test_images_of_other_channels_are_refused(eyes):
    observation = eyes(lambda x: x.unflatten(1, (-1, 2)), channels=3)
    with pytest.raises(
        ShapeError,
        match=r"image \(channels=3\): expected shape \(B, 3, H, W\), got \(2, 1, 48, 48\)",
    ):
        observation.prepare({"image": torch.zeros(2, 1, 48, 48, dtype=torch.uint8)})
