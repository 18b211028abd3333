"""Faces of random pixels around the mean shape of random points: costs do not depend on what is to
be seen."""

from __future__ import annotations

import torch

from learned_descent.faces.alignment import FaceAlignment


def unseen_faces() -> FaceAlignment:
    """The problem, with a mean shape and the spread of starts."""
    problem = FaceAlignment()
    generator = torch.Generator().manual_seed(0)
    problem.mean_shape.copy_(torch.rand(problem.mean_shape.shape, generator=generator) - 0.5)
    problem.start_factor.copy_(0.05 * torch.eye(4))
    return problem


def random_faces(
    problem: FaceAlignment, count: int, device: torch.device
) -> dict[str, torch.Tensor]:
    """A batch of ``count`` such faces."""
    generator = torch.Generator().manual_seed(1)
    side, half = problem.crop, problem.box_side / 2
    centre = (side - 1) / 2
    box = torch.tensor([centre - half, centre - half, centre + half, centre + half])
    batch = {
        "image": torch.randint(
            0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator
        ),
        "box": box.expand(count, 4).clone(),
        "to_photo": torch.eye(2, 3).expand(count, 2, 3).clone(),
    }
    batch["points"] = problem.initial(batch, generator).unflatten(1, (-1, 2))
    return {name: value.to(device) for name, value in batch.items()}
