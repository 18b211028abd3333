"""Small models to export, that move their start."""

from __future__ import annotations

import torch
from torch import Generator, nn

from learned_descent import Cascade, MnemonicDescent
from learned_descent.faces.alignment import FaceAlignment
from learned_descent.observations import DenseHOG, Patches


def faces() -> FaceAlignment:
    problem = FaceAlignment(schema="ibug49", crop=32, box_side=20.0)
    shape = torch.rand(problem.mean_shape.shape, generator=Generator().manual_seed(0)) - 0.5
    state = {**problem.state_dict(), "mean_shape": shape}
    problem.load_state_dict(state)
    return problem


def moving(model: nn.Module) -> None:
    """Gives a model weights as if it had been trained."""
    generator = Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(0.02 * torch.randn(weight.shape, generator=generator))


def mnemonic() -> MnemonicDescent:
    problem = faces()
    eyes = Patches(problem.points, size=2)
    model = MnemonicDescent(problem, eyes, 49 * 12, 98, hidden=8, num_steps=2)
    moving(model)
    return model


def cascade() -> Cascade:
    """Coarse to fine: each step has its own map to look at."""
    problem = faces()
    eyes = DenseHOG(problem.points, cell=2, cells=1, orientations=2, spacing=(2, 1))
    model = Cascade(problem, eyes, 49 * 10, 98, num_steps=2)
    moving(model)
    return model
