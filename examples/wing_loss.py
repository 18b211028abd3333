"""A loss of one's own, for any problem: learned-descent train examples/new_problem.py:Blobs
--family joint --bptt.loss examples/wing_loss.py:Wing --out runs/wing"""

import math

import torch

from learned_descent.training import Loss


class Wing(Loss):
    """The wing loss: small and medium distances count for more than their squares do.

    It shapes what is trained by gradients: ``joint`` and ``mdm``; ``sdm``, the closed form,
    minimises squares.

    References:
        Z. Feng, J. Kittler, M. Awais, P. Huber and X. Wu. Wing loss for robust facial landmark
        localisation with convolutional neural networks. CVPR 2018, equation 5.
    """

    def __init__(self, width=5.0, curve=0.5):
        self.width = width  # where the logarithm ends, in the unit of an update: here px
        self.curve = curve  # how steep it begins

    def __call__(self, problem, x, batch):
        distance = problem.local(x, problem.target(batch)).abs()
        near = self.width * torch.log1p(distance / self.curve)
        far = distance - self.width + self.width * math.log1p(self.width / self.curve)
        loss = torch.where(distance < self.width, near, far)
        weights = problem.target_weights(batch)  # 0 where the truth is missing
        return (loss if weights is None else weights * loss).mean(1)


NARROW = Wing(width=2.0)
