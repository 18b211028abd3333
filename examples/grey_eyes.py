"""Weights of a network that sees colours, made into those of one that sees greys alone: a start for
``learned-descent train --observation.grey true --init runs/grey.safetensors``.

python examples/grey_eyes.py runs/colours/model.safetensors runs/grey.safetensors
"""

import sys

import torch

from learned_descent import load_model, save_model
from learned_descent.checkpoint import find_stored
from learned_descent.errors import DescentError
from learned_descent.observations import ConvolutionalMap

MEAN, DEVIATION = 0.45, 0.22  # of the pixels of a photo, in 0..1


@torch.no_grad()
def main(source, target):
    """The first convolution gets the sum of its weights over the channels, in the units of a
    picture of zero mean and unit deviation: what it saw in a usual grey photo, it sees again.
    """
    stored = find_stored(source)
    model = load_model(stored)
    colours = model.observation
    if not isinstance(colours, ConvolutionalMap) or colours.grey:
        raise DescentError(f"{source}: expected eyes that see colours, a ConvolutionalMap")
    weights = colours.state_dict()
    first, bias = "levels.0.0.weight", "levels.0.0.bias"
    summed = weights[first].sum(1, keepdim=True)
    weights[first] = 2 * DEVIATION * summed  # a picture was given as 2 v - 1
    weights[bias] = weights[bias] + (2 * MEAN - 1) * summed.sum((1, 2, 3))
    settings = {**colours.settings(), "grey": True}
    greys = ConvolutionalMap(colours.points, colours.image, **settings)
    greys.load_state_dict(weights)
    model.observation = greys
    save_model(model, target, training=stored.training)


if __name__ == "__main__":
    main(*sys.argv[1:])
