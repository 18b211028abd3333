from __future__ import annotations

import pytest
import torch

from learned_descent import DescentError
from learned_descent.fitting.sampling import Sampling

X, Y = torch.ones(8, 2), torch.ones(8, 5)
NAN = Y.where(Y != Y, torch.nan)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (X, r"expected the true x and their data, .* got a tensor \(8, 2\)"),
        ((X,), "or .x, data, weights., got tuple of 1"),
        ({"x": X}, "got dict"),
        ((X, None), "expected data beside x, got none"),
        ((X[:, 0], Y), r"sampler: x: expected shape \(B, p\) with B = 8, got \(8,\)"),
        ((X[:3], Y), r"sampler: x: expected shape \(B, p\) with B = 8, got \(3, 2\)"),
        ((X, Y[:3]), r"sampler: data: expected shape \(B, ...\) with B = 8"),
        ((X, NAN), "sampler: data: expected finite numbers, got NaN or infinity"),
        ((X, Y, Y[:, 0]), r"sampler: weights: expected shape \(B, m\)"),
        ((X, Y, -Y), "sampler: weights: expected finite numbers >= 0"),
        ((X, Y, 0 * Y), "sampler: mask, weights: expected a residual that counts"),
        (("words", Y), "sampler: x: expected an array of numbers, got 'words'"),
    ],
)
def test_a_wrong_sampler_is_told(as_installed, given, message):
    with pytest.raises(DescentError, match=message):
        Sampling(lambda generator, count: given, 64, 0).split("val")


def test_a_sampler_that_fails_is_told():
    with pytest.raises(DescentError, match="sampler failed with ZeroDivisionError"):
        Sampling(lambda generator, count: count / 0, 64, 0).split("val")


def test_a_sampler_that_heeds_no_seed_is_told():
    sampling = Sampling(lambda generator, count: (torch.rand(count, 2), torch.rand(count)), 64, 0)
    with pytest.raises(
        DescentError, match="expected the same samples of a generator with the same"
    ):
        sampling.check()


def test_splits_share_no_samples():
    def sampler(generator, count):
        x = torch.rand(count, 1, generator=generator)
        return x, x[:, 0]

    sampling = Sampling(sampler, 64, 0)
    drawn = [sampling.split(split).batch["data"] for split in ("train", "val", "test")]
    assert [len(split) for split in drawn] == [64, 8, 8]
    assert len(torch.cat(drawn).unique()) == 80
