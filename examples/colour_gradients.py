"""An observation of one's own: learned-descent compare examples/colour_gradients.py:ColourBlobs
--families sdm"""

import torch
import torch.nn.functional as F

from learned_descent import ImageObservation, Problem
from learned_descent.observations.patches import as_float, sample_patches

MEAN = torch.tensor([[14.0, 16.0], [34.0, 16.0], [24.0, 33.0]])  # (column, row) in px
HUES = 1.5 * torch.eye(3) - 0.5  # each of mean 0: a grey picture is flat
PIXELS = torch.cartesian_prod(torch.arange(48.0), torch.arange(48.0)).flip(1)


class ColourGradients(ImageObservation):
    """The gradient of the channel in which it is largest, around the points (Dalal and Triggs, CVPR
    2005, section 6.1)."""

    def __init__(self, points, image="image", *, size=7):
        super().__init__(points, image)
        self.size = size

    def prepare(self, batch):  # once per batch, before the first step
        padded = F.pad(as_float(batch[self.image]), (1, 1, 1, 1), mode="replicate")
        along, down = (
            padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2],
            padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1],
        )
        largest = (along**2 + down**2).argmax(1, keepdim=True)
        return {
            **batch,
            "gradients": torch.cat([along.gather(1, largest), down.gather(1, largest)], 1),
        }

    def forward(self, x, batch):  # at every step, differentiable in x
        return sample_patches(batch["gradients"], self.points(x), self.size, spacing=2).flatten(1)

    def settings(self):
        return {"size": self.size}  # which a weights file keeps


class ColourBlobs(Problem):
    """The centres of three coloured blobs in an image of 48 x 48 px: x is (B, 6) in px, the error
    their mean distance."""

    failure_above = 2.0

    def data(self, split):
        count = {"train": 1000, "val": 100, "test": 200}[split]
        draw = torch.Generator().manual_seed(count)
        points = (
            MEAN
            + 3 * torch.randn(count, 1, 2, generator=draw)
            + torch.randn(count, 3, 2, generator=draw)
        )
        image = 128 + 80 * torch.exp(-(torch.cdist(PIXELS, points) ** 2) / 20) @ HUES
        image = torch.normal(image, 5, generator=draw).mT.unflatten(2, (48, 48))
        return {"image": image.clamp(0, 255).byte(), "points": points}

    def initial(self, batch, generator=None):
        start = MEAN.flatten().to(batch["image"].device).repeat(len(batch["image"]), 1)
        return (
            start
            if generator is None
            else start + torch.randn(start.shape, generator=generator, device=start.device)
        )

    def target(self, batch):
        return batch["points"].flatten(1)

    def error(self, x, batch):
        return (x - self.target(batch)).unflatten(1, (-1, 2)).norm(dim=2).mean(1)

    def observation(self):
        return ColourGradients(points=lambda x: x.unflatten(1, (-1, 2)))
