"""The families on landmarks of any kind. Those of sdm, joint and mdm were chosen for some dozen to
some hundred pictures.
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
from ..observations import DenseSIFT, NearbyPixels, PixelPool
from ..training import (
    BackpropThroughTime,
    BoostedTrees,
    LocalForests,
    ParallelRidge,
    ProjectOut,
    SearchRidge,
    SequentialRidge,
)

# So few pictures teach no network what to look at: the families see a descriptor made by hand.
_DESCRIPTOR = {"cell": 8, "cells": 3}

_RIDGE = SequentialRidge(ridge=(0.1, 0.3, 1.0, 3.0), repeats=None, augment=False, batch_size=16)

RECIPES: Mapping[str, Recipe] = {
    "sdm": Recipe(Cascade, {"num_steps": 5}, DenseSIFT, _DESCRIPTOR, trainers={"ridge": _RIDGE}),
    "global-sdm": Recipe(
        GlobalCascade, {"num_steps": 5, "rank": 16}, DenseSIFT, _DESCRIPTOR,
        trainers={"ridge": _RIDGE},
    ),
    "incremental": Recipe(
        Cascade, {"num_steps": 5}, DenseSIFT, _DESCRIPTOR, trainers={"parallel": ParallelRidge(
            ridge=1.0, repeats=20, augment=False, batch_size=16
        )},
    ),
    "mdm": Recipe(
        MnemonicDescent, {"num_steps": 4, "hidden": 128}, DenseSIFT, _DESCRIPTOR,
        trainers={"bptt": BackpropThroughTime(
            iterations=None, batch_size=16, lr=3e-3, ema=0.99, patience=8
        )},
    ),
    "tokens": Recipe(
        Tokens, {"num_steps": 4, "hidden": 32}, DenseSIFT, _DESCRIPTOR,
        trainers={"bptt": BackpropThroughTime(
            iterations=None, batch_size=16, lr=3e-3, ema=0.99, patience=8
        )},
    ),
    "lbf": Recipe(
        LocalBinaryFeatures, {"num_steps": 5, "trees": 5, "depth": 5}, NearbyPixels,
        trainers={"forests": LocalForests(repeats=20, augment=False)},
    ),
    "ert": Recipe(
        LocalBinaryFeatures, {"num_steps": 10, "trees": 100, "depth": 4}, PixelPool,
        trainers={"boosting": BoostedTrees()},
    ),
    "po-cr": Recipe(
        Cascade, {"num_steps": 5}, DenseSIFT, _DESCRIPTOR, trainers={"jacobians": ProjectOut(
            components=20, damping=(0.3, 1.0, 3.0, 10.0), augment=False, batch_size=16
        )},
    ),
    "cfss": Recipe(
        CoarseToFineSearch, {"num_steps": 6, "candidates": 6}, DenseSIFT, _DESCRIPTOR,
        trainers={"search": SearchRidge(
            ridge=1.0, radius=0.7, repeats=2, augment=False, batch_size=16
        )},
    ),
}  # fmt: skip
"""The families of ``landmarks``; their trainings follow from the number of pictures."""

IN_SHAPE_MODEL: Mapping[str, Recipe] = {
    **{name: RECIPES[name] for name in ("sdm", "global-sdm", "incremental", "mdm", "cfss")},
    "po-cr": Recipe(
        Cascade, {"num_steps": 5}, DenseSIFT, _DESCRIPTOR, trainers={"jacobians": ProjectOut(
            damping=(0.3, 1.0, 3.0, 10.0), augment=False, batch_size=16
        )},
    ),
}  # fmt: skip
"""Those of landmarks in a shape model: a family that goes from landmark to landmark has none
there."""
