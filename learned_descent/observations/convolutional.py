"""Learned features: a small convolutional network on patches around the points, or once over the
whole image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..data.samples import Batch
from ..errors import DescentError, check_real, check_shape, check_whole
from ..observation import ImageObservation
from .patches import as_float, sample_patches, shrink


def _convolution(inputs: int, outputs: int, stride: int = 1, padding: int = 0) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 3, stride, padding)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _even(images: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B 1 1 1"]:
    """The mean of each image, row by row: other runtimes add up numbers one after the other, and
    lose digits over thousands of them.
    """
    return images.mean(3, keepdim=True).mean(2, keepdim=True)


def _standardised(images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 H W"]:
    """The mean of the channels, of zero mean and unit deviation in each image; an even image is 0
    all over.
    """
    grey = images.mean(1, keepdim=True)
    grey = grey - _even(grey)
    deviation = _even(grey.square()).sqrt()
    return grey / deviation.clamp(min=1 / 255)


@final
class ConvolutionalPatches(ImageObservation):
    """The network of mnemonic descent: two convolutions on a patch around every point, shared by
    the points.

    3 x 3 convolution, ReLU, 2 x 2 max-pooling, twice, without padding; the central crop of the
    first convolution's activations, as large as the second pooling's output, is concatenated to it.
    For ``size = 30`` and 32 filters a point has ``6 x 6 x 64`` features.

    Args:
        points: maps parameters ``(B, p)`` to points ``(B, L, 2)`` in pixels.
        image: the name of the images in the batch.
        size: side of a patch, in samples.
        spacing: pixels of the image between neighbouring samples; the image is shrunk by it once
            per batch.
        filters: filters of each convolution.
        channels: channels of the images.

    References:
        G. Trigeorgis et al. Mnemonic descent method. CVPR 2016, section 4.

    Example:
        >>> eyes = ConvolutionalPatches(lambda x: x.unflatten(1, (-1, 2)), channels=1)
        >>> batch = eyes.prepare({"image": torch.zeros(2, 1, 64, 64, dtype=torch.uint8)})
        >>> eyes(torch.full((2, 10), 30.0), batch).shape  # 5 points, 6 x 6 x 64
        torch.Size([2, 11520])
    """

    def __init__(
        self,
        points: Callable[[Tensor], Tensor],
        image: str = "image",
        *,
        size: int = 30,
        spacing: float = 1.0,
        filters: int = 32,
        channels: int = 3,
    ) -> None:
        super().__init__(points, image)
        check_real(spacing, name="spacing", positive=True)
        for name, number in (("filters", filters), ("channels", channels)):
            check_whole(number, name=name)
        if size < 10 or spacing < 1:
            raise DescentError(
                f"expected size >= 10 and spacing >= 1, got size={size} and spacing={spacing}"
            )
        self.size, self.spacing, self.filters, self.channels = size, spacing, filters, channels
        self.first, self.second = _convolution(channels, filters), _convolution(filters, filters)
        self.pool = nn.MaxPool2d(2)

    def prepare(self, batch: Batch) -> Batch:
        check_shape(
            batch[self.image],
            f"B {self.channels} H W",
            name=f"{self.image} (channels={self.channels})",
        )
        images = shrink(as_float(batch[self.image]), self.spacing) * 2 - 1
        return {**batch, "patches": images.contiguous(memory_format=torch.channels_last)}

    def forward(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        patches = sample_patches(
            batch["patches"], (self.points(x) + 0.5) / self.spacing - 0.5, self.size
        )
        patches = patches.flatten(0, 1).permute(0, 3, 1, 2)
        first = self.pool(
            self.first(patches)
        ).relu_()  # ReLU and maximum commute: less to go through
        second = self.pool(self.second(first)).relu_()
        side = second.shape[-1]
        inner = slice((self.size - 2 - side) // 2, (self.size - 2 - side) // 2 + side + 2)
        centre = self.first(
            patches[..., inner, inner]
        ).relu_()  # once more: costs less than a gradient as large as all of it
        return torch.cat([centre, second], 1).reshape(x.shape[0], -1)

    def settings(self) -> dict[str, Any]:
        return {
            "size": self.size,
            "spacing": self.spacing,
            "filters": self.filters,
            "channels": self.channels,
        }


@final
class ConvolutionalMap(ImageObservation):
    """A convolutional network that runs once over the whole image, sampled around every point at
    every scale.

    Level ``i`` of the network has stride ``2^(i+1)``: a convolution of stride 2 and one of stride
    1, each with ReLU. A 1 x 1 convolution brings each of the last ``scales`` levels to ``sampled``
    channels, so that the network may be wide and what is looked up at every step stays narrow. At
    every step a grid of samples around each point is taken from each of them; one linear embedding,
    shared by the points, maps the grids of a point to ``embedding`` numbers, a learnt vector per
    point is added, and ReLU ends it. The cost hardly grows with the number of steps and points.

    Args:
        points: maps parameters ``(B, p)`` to points ``(B, L, 2)`` in pixels.
        image: the name of the images in the batch.
        num_points: the number ``L`` of points.
        filters: filters of each level.
        scales: how many of the last levels are sampled.
        sampled: channels of a level that are sampled.
        size: samples along a side of a grid; neighbours are one pixel of the level apart.
        embedding: numbers per point.
        channels: channels of the images.
        shrinking: whether the look narrows from step to step: each step leaves out the coarsest
            level of the one before, until the finest is left.
        grey: whether the network sees the mean of the channels alone, of zero mean and unit
            deviation in each image, so that neither the order and the hue of the colours nor
            brightness and contrast change what it sees.

    References:
        The shared embedding replaces the layer over all patches of G. Trigeorgis et al. CVPR 2016;
        the map that is computed once is in the spirit of Z. Teed and J. Deng. RAFT. ECCV 2020; the
        lateral 1 x 1 convolutions are those of T.-Y. Lin et al. Feature pyramid networks. CVPR
        2017.

    Example:
        >>> eyes = ConvolutionalMap(lambda x: x.unflatten(1, (-1, 2)), num_points=5, channels=1)
        >>> batch = eyes.prepare({"image": torch.zeros(2, 1, 64, 64, dtype=torch.uint8)})
        >>> eyes(torch.full((2, 10), 30.0), batch).shape
        torch.Size([2, 320])
    """

    coarse: ClassVar[bool] = True

    def __init__(
        self,
        points: Callable[[Tensor], Tensor],
        image: str = "image",
        *,
        num_points: int,
        filters: Sequence[int] = (32, 64),
        scales: int = 2,
        sampled: int = 32,
        size: int = 5,
        embedding: int = 64,
        channels: int = 3,
        shrinking: bool = False,
        grey: bool = False,
    ) -> None:
        super().__init__(points, image)
        numbers = {
            "num_points": num_points,
            "sampled": sampled,
            "size": size,
            "embedding": embedding,
            "channels": channels,
        }
        for name, number in (*numbers.items(), *(("filters", width) for width in filters)):
            check_whole(number, name=name)
        if not 1 <= scales <= len(filters):
            raise DescentError(
                f"scales: expected 1 to {len(filters)}, the number of levels, got {scales}"
            )
        self.num_points, self.filters, self.scales, self.sampled = (
            num_points,
            tuple(filters),
            scales,
            sampled,
        )
        self.size, self.embedding, self.channels = size, embedding, channels
        self.shrinking, self.grey = shrinking, grey
        self.levels = nn.ModuleList(
            nn.Sequential(
                _convolution(inputs, outputs, 2, 1),
                nn.ReLU(True),
                _convolution(outputs, outputs, 1, 1),
                nn.ReLU(True),
            )
            for inputs, outputs in zip((1 if grey else channels, *self.filters), self.filters)
        )
        self.lateral = nn.ModuleList(
            nn.Conv2d(width, sampled, 1) for width in self.filters[-scales:]
        )
        self.embed = nn.ModuleList(
            nn.Linear(size * size * sampled, embedding, bias=False) for _ in range(scales)
        )
        self.point_vectors = nn.Parameter(torch.zeros(num_points, embedding))

    def prepare(self, batch: Batch) -> Batch:
        check_shape(
            batch[self.image],
            f"B {self.channels} H W",
            name=f"{self.image} (channels={self.channels})",
        )
        images = as_float(batch[self.image])
        images = _standardised(images) if self.grey else images * 2 - 1
        maps = images.contiguous(memory_format=torch.channels_last)
        prepared = dict(batch)
        for level, layers in enumerate(self.levels):
            maps = layers(maps)
            scale = level - len(self.levels) + self.scales
            if scale >= 0:
                prepared[f"map{level}"] = self._embedded(scale, self.lateral[scale](maps))
        return prepared

    def _embedded(self, scale: int, maps: Float[Tensor, "B C H W"]) -> Tensor:
        """The embedding of each grid of whole pixels that touches a level, at the place of its
        corner, ``(B, E, H', W')``.

        A grid is rigid and the embedding is linear, so that the embedding of a grid between the
        pixels is the same mixture of the embeddings on the pixels around its corner: a convolution
        does the work once for all steps and points.
        """
        weight = self.embed[scale].get_parameter("weight")
        kernel = weight.unflatten(1, (self.size, self.size, self.sampled)).movedim(3, 1)
        for side in (2, 3):  # farther away than this, all of a grid lies on the repeated border
            first, last = (
                [maps.narrow(side, place, 1)] * (self.size - 1)
                for place in (0, maps.shape[side] - 1)
            )
            maps = torch.cat([*first, maps, *last], side)
        return F.conv2d(maps.contiguous(memory_format=torch.channels_last), kernel)

    def forward(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        return self.observe(0, x, batch)

    def observe(self, k: int, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        finest = len(self.levels) - self.scales
        coarsest = max(finest, len(self.levels) - 1 - (k if self.shrinking else 0))
        centres = self.points(x)
        total: Tensor = self.point_vectors
        check_shape(
            centres, f"B {self.num_points} 2", name=f"points (num_points={self.num_points})"
        )
        for level in range(finest, coarsest + 1):
            corners = centres / 2 ** (level + 1) + (self.size - 1) / 2
            total = total + sample_patches(batch[f"map{level}"], corners, 1).flatten(2)
        return total.relu().flatten(1)

    def settings(self) -> dict[str, Any]:
        names = (
            "num_points",
            "filters",
            "scales",
            "sampled",
            "size",
            "embedding",
            "channels",
            "shrinking",
            "grey",
        )
        return {name: getattr(self, name) for name in names}
