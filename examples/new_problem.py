"""A new problem in one file, five gray blobs among clutter: learned-descent compare
examples/new_problem.py:Blobs"""

import torch

from learned_descent import Problem
from learned_descent.observations import DenseHOG

# (column, row) in px
MEAN = torch.tensor([[14.0, 14.0], [34.0, 14.0], [24.0, 24.0], [15.0, 34.0], [33.0, 34.0]])
PIXELS = torch.cartesian_prod(torch.arange(48.0), torch.arange(48.0)).flip(1)


class Blobs(Problem):
    """The centres of five blobs in an image of 48 x 48 px: x is (B, 10) in px, the error their mean
    distance in px."""

    failure_above, edges = 2.0, ((0, 1), (1, 4), (4, 3), (3, 0))

    def data(self, split):
        count = {"train": 1000, "val": 200, "test": 300}[split]
        draw = torch.Generator().manual_seed(count)
        turn, grow, shift, bend = (torch.randn(count, k, 2, generator=draw) for k in (1, 1, 1, 5))
        # Scale and rotation as a complex number
        similarity = torch.polar(1 + 0.1 * grow[..., 0], 0.2 * turn[..., 0])
        points = (
            24
            + 2 * shift
            + torch.view_as_real(similarity * torch.view_as_complex(MEAN - 24))
            + 0.7 * bend
        )
        # The last eight are clutter
        centres = torch.cat([points, 48 * torch.rand(count, 8, 2, generator=draw)], 1)
        image = 40 + torch.exp(-(torch.cdist(PIXELS, centres) ** 2) / 12) @ torch.tensor(
            [120.0] * 5 + [40] * 8
        )
        return {
            "image": torch.normal(image, 10, generator=draw)
            .clamp(0, 255)
            .byte()
            .view(-1, 1, 48, 48),
            "points": points,
        }

    def initial(self, batch, generator=None):
        start = MEAN.to(batch["image"].device).repeat(len(batch["image"]), 1, 1)
        jitter = (
            0
            if generator is None
            else 2 * torch.randn(len(start), 1, 2, generator=generator, device=start.device)
        )
        return (start + jitter).flatten(1)

    def target(self, batch):
        return batch["points"].flatten(1)

    def error(self, x, batch):
        return (x - self.target(batch)).unflatten(1, (-1, 2)).norm(dim=2).mean(1)

    def observation(self):
        return DenseHOG(points=lambda x: x.unflatten(1, (-1, 2)), cell=4)
