from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from benchmarks.problems.learning import CURVES, measured
from learned_descent import DescentError, LearnedLeastSquares, Recipe, learn, least_squares
from learned_descent.checkpoint.model import save_model
from learned_descent.checkpoint.stored import KEY
from learned_descent.files import read_tensors, save_tensors
from learned_descent.fitting.problem import FunctionProblem
from learned_descent.kernels import Huber
from learned_descent.models import Cascade
from learned_descent.problems import Analytic
from learned_descent.registry import recipes_for
from learned_descent.solvers import GaussNewton, LevenbergMarquardt, Status

T = torch.linspace(0, 4, 20, dtype=torch.float64)
FEW = 80


def decay(x, y):
    return x[0] * torch.exp(-x[1] * T) - y


def decays(generator, count):
    x = torch.rand(count, 2, generator=generator, dtype=torch.float64) + 0.5
    return x, x[:, :1] * torch.exp(-x[:, 1:] * T)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def learned():
    return learn(decay, decays, count=FEW)


def test_more_is_solved_than_from_the_mean():
    wave, few = CURVES["wave"], partial(LevenbergMarquardt, num_steps=20)
    own = learn(wave.residual, wave.sampler, count=400)
    x, y = wave.sampler(seeded(1), 40)
    enough = 1.01 * wave_costs(x, y)
    alone = least_squares(wave.residual, own.problem.start, y, solver=few)
    assert (alone.cost <= enough).double().mean() < 0.9
    assert (own.fit(y, solver=few).cost <= enough).double().mean() > 0.95


def test_the_benchmark_measures():
    found = measured(CURVES["decay"], "sdm", 4, 0, training=FEW)
    assert found["solved"] == found["learned, solved"] == 1


def wave_costs(x, y):
    return torch.vmap(CURVES["wave"].residual)(x, y).square().sum(1) / 2


FAMILIES = {
    name: recipe
    for name, recipe in recipes_for(FunctionProblem).items()
    if isinstance(recipe, Recipe)
}


def brief(recipe):
    trainers = {
        name: trainer.changed({"iterations": 3}) if "iterations" in trainer.settings() else trainer
        for name, trainer in recipe.trainers.items()
    }
    return replace(recipe, options={**recipe.options, "num_steps": 2}, trainers=trainers)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_learns_is_polished_and_comes_back(family, tmp_path):
    own = learn(decay, decays, family=brief(FAMILIES[family]), count=FEW)
    x, y = decays(seeded(1), 9)
    found = own.fit(y.numpy())
    np.testing.assert_allclose(found.x, x, atol=1e-8)
    assert found.success.all()
    own.save(tmp_path / "own.safetensors")
    again = LearnedLeastSquares.load(tmp_path / "own.safetensors", decay)
    assert np.array_equal(again.fit(y.numpy(), polish=False).x, own.fit(y.numpy(), polish=False).x)


def test_the_same_seed_learns_the_same(learned):
    y = decays(seeded(1), 3)[1]
    again = learn(decay, decays, count=FEW).fit(y, polish=False)
    assert torch.equal(again.x, learned.fit(y, polish=False).x)
    other = learn(decay, decays, count=FEW, seed=1).fit(y, polish=False)
    assert not torch.equal(again.x, other.x)


def test_the_answer_is_that_of_least_squares_with_more_evaluations(learned):
    y = decays(seeded(1), 5)[1].numpy() + 0.01 * np.random.default_rng(0).normal(size=(5, 20))
    found, classical = learned.fit(y), least_squares(decay, [1.0, 1.0], y)
    assert found.x.dtype == np.float64
    np.testing.assert_allclose(found.x, classical.x, rtol=1e-5)
    np.testing.assert_allclose(found.cost, classical.cost, rtol=1e-9)
    np.testing.assert_allclose(found.covariance, classical.covariance, rtol=1e-3)
    assert (found.evaluations > learned.model.num_steps).all()


def test_derivatives_are_in_the_units_of_an_update(learned):
    x, y = decays(seeded(1), 3)
    x, batch = x.float(), {"data": y.float()}
    slopes = learned.problem.jacobian(x, batch) / learned.problem.scale.float()
    wave = torch.exp(-x[:, 1:].double() * T)
    along_x = torch.stack([wave, -x[:, :1] * T * wave], 2).float()
    torch.testing.assert_close(slopes, along_x)


def test_without_polish_it_is_the_model_alone(learned):
    x, y = decays(seeded(1), 3)
    y[1] = torch.nan
    found = learned.fit(y, polish=False)
    assert found.status.tolist() == [Status.RUNNING, Status.INVALID, Status.RUNNING]
    assert found.messages[:2] == ["learnt, and not polished", "no finite answer"]
    assert (found.evaluations == learned.model.num_steps).all()
    assert (found.x[::2] - x[::2]).abs().max() < 0.1


def test_a_sample_that_is_not_finite_says_so(learned):
    y = decays(seeded(1), 2)[1]
    y[0, 0] = torch.inf
    found = learned.fit(y)
    assert found.status.tolist() == [Status.INVALID, Status.CONVERGED]
    assert "'data' holds NaN or infinity" in found.messages[0]


def test_starts_masks_and_a_solver_are_those_of_least_squares(learned):
    x, y = decays(seeded(1), 4)
    mask = torch.arange(20) < 15
    y[:, 15:] = torch.nan
    found = learned.fit(y, x + 0.1, mask=mask, solver=GaussNewton)
    torch.testing.assert_close(found.x, x)


def test_bounds_hold_and_are_stored(tmp_path):
    bounds = ([0.5, 0.5], [1.5, 1.5])
    learn(decay, decays, bounds=bounds, count=FEW).save(tmp_path / "own.safetensors")
    again = LearnedLeastSquares.load(tmp_path / "own.safetensors", decay)
    y = 3 * torch.exp(-T)[None]
    for polish in (True, False):
        assert again.fit(y, polish=polish).x.max() <= 1.5


def test_a_kernel_is_given_again(tmp_path):
    path = tmp_path / "own.safetensors"
    learn(decay, decays, kernel=Huber(0.1), count=FEW).save(path)
    LearnedLeastSquares.load(path, decay, kernel=Huber(0.1))
    with pytest.raises(DescentError, match=r"learnt with the kernel Huber\(scale=0.1, block=1\)"):
        LearnedLeastSquares.load(path, decay)


def test_weights_of_a_sampler_and_numbers_of_numpy():
    def ragged(generator, count):
        draw = np.random.default_rng(generator.initial_seed())
        x = draw.uniform(0.5, 1.5, (count, 2))
        y = x[:, :1] * np.exp(-x[:, 1:] * T.numpy())
        counts = np.arange(20) < draw.integers(10, 21, (count, 1))
        return x, {"y": np.where(counts, y, 0)}, counts

    own = learn(lambda x, sample: decay(x, sample["y"]), ragged, count=FEW)
    x, data, counts = ragged(seeded(1), 5)
    np.testing.assert_allclose(own.fit(data, mask=counts).x, x, atol=1e-6)


def test_a_parameter_that_is_always_the_same_and_one_given_start():
    def fixed(generator, count):
        x, _ = decays(generator, count)
        x[:, 0] = 1
        return x, x[:, :1] * torch.exp(-x[:, 1:] * T)

    own = learn(decay, fixed, x0=[0.9, 1.0], count=FEW)
    assert own.problem.start.tolist() == [0.9, 1.0]
    x, y = fixed(seeded(1), 3)
    torch.testing.assert_close(own.fit(y).x, x)


def swapped(generator, count):
    x, y = decays(generator, count)
    return x.flip(1) * 9, y


@pytest.mark.parametrize(
    ("sampler", "options", "message"),
    [
        (decays, {"family": "lm"}, "family 'lm': expected one that learns"),
        (decays, {"family": "mdm+lm"}, "family 'mdm.lm': expected one without a solver .* 'mdm'"),
        (decays, {"family": "smd"}, "family 'smd': expected one of sdm"),
        (decays, {"family": 3}, "family: expected a name, such as 'sdm', or a Recipe, got 3"),
        (decays, {"count": 10}, "count: expected 80 or more, got 10"),
        (decays, {"x0": [1.0]}, r"x0: expected shape \(2,\), that of one x, got \(1,\)"),
        (decays, {"bounds": (0, 1)}, "sampler: expected every x within the bounds, got one"),
        (decays, {"kernel": 3}, "kernel: expected one of learned_descent.kernels"),
        (swapped, {}, "expected x that explain their data better than the start does"),
    ],
)
def test_what_cannot_be_learnt_is_told(as_installed, sampler, options, message):
    with pytest.raises(DescentError, match=message):
        learn(decay, sampler, **{"count": FEW, **options})


def test_a_function_that_fails_is_told(as_installed):
    with pytest.raises(DescentError, match="residual failed with TypeError"):
        learn(lambda x: x, decays, count=FEW)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ((np.ones((2, 20)),), {}, "data: expected one array, .* got a tuple of 1 arrays"),
        ({"y": np.ones((2, 20))}, {}, "got arrays by the names y"),
        (np.ones((2, 20)), {"polish": False, "solver": GaussNewton}, "solver: expected none"),
        (np.ones((2, 20)), {"x0": [1.0]}, r"x0: expected shape \(2,\) or \(B, 2\), got \(1,\)"),
        (np.ones((2, 1)), {}, r"data: expected shape \(B, 20\)"),
    ],
)
def test_other_data_than_learnt_are_refused(as_installed, learned, data, options, message):
    with pytest.raises(DescentError, match=message):
        learned.fit(data, **options)


def test_another_function_is_refused(as_installed, learned, tmp_path):
    learned.save(tmp_path / "own.safetensors")
    other = LearnedLeastSquares.load(tmp_path / "own.safetensors", lambda x, y: decay(x, y)[:9])
    with pytest.raises(DescentError, match=r"expected 20 residuals of a sample, .* got 9"):
        other.fit(np.ones((2, 20)))


def test_another_model_is_refused(tmp_path):
    model = Cascade.for_problem(Analytic("sin"))
    with pytest.raises(DescentError, match=r"expected one that learn.. made, got .* Analytic"):
        LearnedLeastSquares(model, {})
    save_model(model, tmp_path / "sin.safetensors")
    with pytest.raises(
        DescentError, match=r"expected what learn.. made, got a model of .* analytic"
    ):
        LearnedLeastSquares.load(tmp_path / "sin.safetensors", decay)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"form": "module:Evil"}, "form: expected one of 'alone', 'tuple', 'names'"),
        ({"shapes": {"data": "B -3"}}, "expected the settings of a function"),
        ({"shapes": {"data": 3}}, "expected the settings of a function"),
        ({"other": 3}, "expected the settings of a function"),
        ({"size": 3}, r"the weights (do not fit|were trained for)"),
    ],
)
def test_a_forged_file_is_refused(as_installed, learned, tmp_path, change, message):
    path = tmp_path / "own.safetensors"
    learned.save(path)
    metadata, tensors = read_tensors(path)
    description = json.loads(metadata[KEY])
    description["problem"]["settings"] |= change
    save_tensors(path, tensors, {KEY: json.dumps(description)})
    with pytest.raises(DescentError, match=message):
        LearnedLeastSquares.load(path, decay)
