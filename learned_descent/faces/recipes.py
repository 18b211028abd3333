"""The families on faces. What sdm, joint and mdm see, and how they are trained, was chosen on
held-out training faces; what was measured of the others is in docs/experiments.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..families import Recipe
from ..models import (
    Cascade,
    CoarseToFineSearch,
    GlobalCascade,
    LocalBinaryFeatures,
    MnemonicDescent,
    Tokens,
)
from ..observations import (
    ConvolutionalMap,
    ConvolutionalPatches,
    DenseSIFT,
    NearbyPixels,
    PixelPool,
)
from ..training import (
    BackpropThroughTime,
    BoostedTrees,
    LocalForests,
    ParallelRidge,
    ProjectOut,
    SearchRidge,
    SequentialRidge,
)

_CASCADE = {"num_steps": 5}
_DESCRIPTOR = {"cell": 8, "cells": 3}
# The training faces come with their mirror images, so nothing is augmented; small batches stay in
# fast memory.
_RIDGE = SequentialRidge(ridge=3.0, repeats=4, augment=False, batch_size=16)
_PARALLEL = ParallelRidge(ridge=3.0, repeats=4, augment=False, batch_size=16)

_MAP = {"filters": (32, 64, 96, 128), "scales": 3, "sampled": 48, "size": 3}

RECIPES: Mapping[str, Recipe] = {
    "sdm": Recipe(Cascade, _CASCADE, DenseSIFT, _DESCRIPTOR, trainers={"ridge": _RIDGE}),
    "joint": Recipe(
        Cascade, _CASCADE, DenseSIFT, _DESCRIPTOR, trainers={
            "ridge": _RIDGE,
            "bptt": BackpropThroughTime(iterations=1400, batch_size=32, lr=6e-5, weight_decay=0.0),
        },
    ),
    "global-sdm": Recipe(
        GlobalCascade, {**_CASCADE, "rank": 16}, DenseSIFT, _DESCRIPTOR,
        trainers={"parallel": _PARALLEL},
    ),
    "incremental": Recipe(
        Cascade, _CASCADE, DenseSIFT, _DESCRIPTOR, trainers={"parallel": _PARALLEL}
    ),
    "mdm": Recipe(
        MnemonicDescent, {"num_steps": 4, "hidden": 512},
        ConvolutionalMap, _MAP,
        trainers={"bptt": BackpropThroughTime(
            iterations=7000, batch_size=32, weight_decay=0.1, detach="observation",
            precision="bf16-mixed"
        )},
    ),
    "tokens": Recipe(
        Tokens, {"num_steps": 4, "hidden": 128}, ConvolutionalMap, {**_MAP, "shrinking": True},
        trainers={"bptt": BackpropThroughTime(
            iterations=7000, batch_size=32, weight_decay=0.1, detach="observation",
            precision="bf16-mixed"
        )},
    ),
    "mdm-paper": Recipe(
        MnemonicDescent, {"num_steps": 4, "hidden": 512, "cell": "tanh"},
        ConvolutionalPatches, {"size": 30},
        trainers={"bptt": BackpropThroughTime(
            iterations=100_000, batch_size=60, lr=3e-5, ema=0.9999, precision="bf16-mixed"
        )},  # Adam moves 156,672 inputs of a unit at once: 1e-3 saturates it in a few updates
    ),
    "lbf": Recipe(
        LocalBinaryFeatures, {"num_steps": 5, "trees": 5, "depth": 5}, NearbyPixels,
        trainers={"forests": LocalForests(augment=False)},
    ),
    "ert": Recipe(
        LocalBinaryFeatures, {"num_steps": 10, "trees": 500, "depth": 4}, PixelPool,
        trainers={"boosting": BoostedTrees()},
    ),
    "po-cr": Recipe(
        Cascade, {"num_steps": 8}, DenseSIFT, _DESCRIPTOR, trainers={"jacobians": ProjectOut(
            components=30, appearance=(0, 100, 400), damping=(0.3, 1.0, 3.0, 10.0), augment=False,
            batch_size=16
        )},
    ),
    "cfss": Recipe(
        CoarseToFineSearch, {"num_steps": 6, "candidates": 6}, DenseSIFT, _DESCRIPTOR,
        trainers={"search": SearchRidge(
            ridge=3.0, radius=0.7, repeats=2, augment=False, batch_size=16
        )},
    ),
}  # fmt: skip
"""The families of problems of faces, real and synthetic; ``mdm-paper`` is the network of the
paper."""
