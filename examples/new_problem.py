"""Five gray blobs among clutter: learned-descent compare examples/new_problem.py:Blobs"""

import torch

from learned_descent import Problem, observations

MEAN = torch.tensor([-10 - 10j, 10 - 10j, 0, -9 + 10j, 9 + 10j])  # column + row j, from the middle
PIXELS = torch.cartesian_prod(torch.arange(48.0), torch.arange(48.0)).flip(1)


class Blobs(Problem):
    """The centres (B, 10) of five blobs in 48 x 48 px; the error is their mean distance in px."""

    failure_above, edges = 2.0, ((0, 1), (1, 4), (4, 3), (3, 0))

    def data(self, split):
        count = {"train": 1000, "val": 200, "test": 300}[split]
        draw = torch.Generator().manual_seed(count)
        turn, grow, shift, bend = (torch.randn(count, k, 2, generator=draw) for k in (1, 1, 1, 5))
        turned = torch.polar(1 + 0.1 * grow[..., 0], 0.2 * turn[..., 0]) * MEAN
        points = 24 + 2 * shift + torch.view_as_real(turned) + 0.7 * bend
        blobs = torch.cat([points, 48 * torch.rand(count, 8, 2, generator=draw)], 1)  # and clutter
        near = torch.exp(-(torch.cdist(PIXELS, blobs) ** 2) / 12)
        image = torch.normal(40 + near @ torch.tensor([120.0] * 5 + [40] * 8), 10, generator=draw)
        return {"image": image.clamp(0, 255).byte().view(-1, 1, 48, 48), "points": points}

    def initial(self, batch, generator=None):
        shift = torch.zeros(len(batch["image"]), 1, 2, device=batch["image"].device)
        shift = shift if generator is None else shift.normal_(0, 2, generator=generator)
        return (24 + torch.view_as_real(MEAN).to(shift.device) + shift).flatten(1)

    def target(self, batch):
        return batch["points"].flatten(1)

    def error(self, x, batch):
        return (x - self.target(batch)).unflatten(1, (-1, 2)).norm(dim=2).mean(1)

    def observation(self):
        return observations.DenseHOG(points=lambda x: x.unflatten(1, (-1, 2)), cell=4)
