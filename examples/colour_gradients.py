"""An observation of one's own: learned-descent compare examples/colour_gradients.py:ColourBlobs"""

import torch
import torch.nn.functional as F

from learned_descent import ImageObservation, Problem
from learned_descent.observations.patches import as_float, sample_patches

MEAN = torch.tensor([[14.0, 16.0], [34.0, 16.0], [24.0, 33.0]])  # (column, row) in px
HUES = 1.5 * torch.eye(3) - 0.5  # each of mean 0: a grey picture is flat
PIXELS = torch.cartesian_prod(torch.arange(48.0), torch.arange(48.0)).flip(1)


class ColourGradients(ImageObservation):
    """The gradient of the channel in which it is largest (Dalal and Triggs, CVPR 2005)."""

    def __init__(self, points, image="image", *, size=7):
        super().__init__(points, image)
        self.size = size

    def prepare(self, batch):  # once per batch, before the first step
        padded = F.pad(as_float(batch[self.image]), (1, 1, 1, 1), mode="replicate")
        along = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
        down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
        largest = (along**2 + down**2).argmax(1, keepdim=True)
        gradients = torch.cat([along.gather(1, largest), down.gather(1, largest)], 1)
        return {**batch, "gradients": gradients}

    def forward(self, x, batch):  # at every step, differentiable in x
        return sample_patches(batch["gradients"], self.points(x), self.size, spacing=2).flatten(1)

    def settings(self):
        return {"size": self.size}  # which a weights file keeps


class ColourBlobs(Problem):
    """The centres of three coloured blobs in an image: x is (B, 6) in px, the error its length."""

    failure_above = 2.0

    def data(self, split):
        count = {"train": 1000, "val": 100, "test": 200}[split]
        draw = torch.Generator().manual_seed(count)
        moved = 3 * torch.randn(count, 1, 2, generator=draw)
        points = MEAN + moved + torch.randn(count, 3, 2, generator=draw)
        image = 128 + 80 * torch.exp(-(torch.cdist(PIXELS, points) ** 2) / 20) @ HUES
        image = torch.normal(image, 5, generator=draw).clamp(0, 255).byte()
        return {"image": image.mT.unflatten(2, (48, 48)), "points": points}

    def initial(self, batch, generator=None):
        start = MEAN.flatten().to(batch["image"].device).repeat(len(batch["image"]), 1)
        if generator is not None:
            start += torch.randn(start.shape, generator=generator, device=start.device)
        return start

    def target(self, batch):
        return batch["points"].flatten(1)

    def observation(self):
        return ColourGradients(points=lambda x: x.unflatten(1, (-1, 2)))
