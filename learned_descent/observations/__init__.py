"""The observations: what a model can see at a guess of the parameters."""

from .convolutional import ConvolutionalMap, ConvolutionalPatches
from .descriptors import DenseHOG, DenseSIFT
from .gauss_newton import GaussNewtonSteps
from .patches import Patches
from .pixels import NearbyPixels, PixelPool
from .residual import Residual
from .scaled_equations import ScaledEquations

__all__ = [
    "ConvolutionalMap",
    "ConvolutionalPatches",
    "DenseHOG",
    "DenseSIFT",
    "GaussNewtonSteps",
    "NearbyPixels",
    "Patches",
    "PixelPool",
    "Residual",
    "ScaledEquations",
]
