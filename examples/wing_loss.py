"""A loss of one's own: learned-descent train examples/wing_loss.py:WingBlobs --family joint --out
runs/wing"""

import torch
from new_problem import Blobs  # the file beside this one


class WingBlobs(Blobs):
    """Blobs whose loss counts small and medium distances for more than their square does: the wing
    loss.

    ``loss`` shapes what is trained by gradients: ``joint`` and ``mdm``; ``sdm``, the closed form,
    minimises squares.

    References:
        Z. Feng, J. Kittler, M. Awais, P. Huber and X. Wu. Wing loss for robust facial landmark
        localisation with convolutional neural networks. CVPR 2018, equation 5.
    """

    width, curve = 5.0, 0.5  # px: where the logarithm ends, and how steep it begins

    def loss(self, x, batch):
        distance = (x - self.target(batch)).abs()
        near = self.width * torch.log1p(distance / self.curve)
        end = self.width * torch.log1p(torch.tensor(self.width / self.curve))
        return torch.where(distance < self.width, near, distance - self.width + end).mean(1)
