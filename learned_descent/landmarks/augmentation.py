"""Random variants of a batch of faces, made where the batch is: one warp, then colour and noise."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

from ..data.samples import Batch
from ..errors import DescentError
from .crops import apply_affine, invert_affine, sampling_grid
from .disturbances import DISTURBANCES
from .filters import blurred

_SHARES = (
    *("mirror", "occlusion", "roll", "texture", "low_resolution"),
    *("hue", "channel_order", "duotone", "grey", "jpeg"),
)
"""The amounts that are shares."""


@dataclass(frozen=True)
class Augmentation:
    """How far the variants go; every amount is drawn evenly between its negative and itself.

    Args:
        mirror: the share of mirrored faces; none by default, as the training faces come with their
            mirror images.
        rotation: degrees about the centre of the crop.
        scale: log of the factor about the centre of the crop.
        shift: fraction of the side of the crop, along columns and rows.
        contrast: log of the factor of the distance to the mean colour.
        brightness: grey values of 255.
        colour: log of the factor of each channel.
        noise: largest standard deviation of Gaussian noise of the brightness of each pixel, in grey
            values of 255.
        occlusion: the share of faces that lose one random rectangle to its mean colour.
        blur: largest standard deviation of a Gaussian blur, in px of the crop; every second face
            stays sharp.
        turn: degrees by which the head itself turns to a side, and by half of which it nods: see
            :class:`~learned_descent.faces.head_rotation.Turning`.
        roll: the share of faces that lie at any angle, whatever ``rotation`` is.
        texture: the share of faces that something striped hides a part of.
        channel_noise: largest standard deviation of Gaussian noise of each channel by itself, in
            grey values of 255; every second face stays without.
        low_resolution: the share of faces of few pixels: enlarged twice to six times.
        hue: the share of faces whose colours are turned by any angle about the greys.
        channel_order: the share of faces whose channels come in any order, as from OpenCV.
        duotone: the share of faces whose greys are shown by the colours between two.
        grey: the share of faces without colours.
        gamma: log of the power of the brightness.
        jpeg: the share of faces that JPEG has left little of, see
            :func:`~learned_descent.landmarks.disturbances.compress`.

    Raises:
        DescentError: if an amount is negative or not finite, a share is above 1, or heads are to
            turn by more than 45 degrees.

    Example:
        >>> Augmentation(rotation=20.0).scale
        0.15
    """

    mirror: float = 0.0
    rotation: float = 30.0
    scale: float = 0.15
    shift: float = 0.05
    contrast: float = 0.4
    brightness: float = 35.0
    colour: float = 0.2
    noise: float = 10.0
    occlusion: float = 0.4
    blur: float = 0.0
    turn: float = 0.0
    roll: float = 0.0
    texture: float = 0.0
    channel_noise: float = 0.0
    low_resolution: float = 0.0
    hue: float = 0.0
    channel_order: float = 0.0
    duotone: float = 0.0
    grey: float = 0.0
    gamma: float = 0.0
    jpeg: float = 0.0

    def __post_init__(self) -> None:
        most = {**dict.fromkeys(_SHARES, 1.0), "turn": 45.0}
        for name, amount in asdict(self).items():
            if not 0 <= amount <= most.get(name, sys.float_info.max):
                limit = f"from 0 to {most[name]:g}" if name in most else "0 or more"
                raise DescentError(f"augmentation: expected {name} {limit}, got {amount}")


def mirrored(batch: Batch, mirror: Tensor) -> Batch:
    """The mirror image of every face of a batch, to the last bit.

    Args:
        batch: ``image`` ``(B, C, S, S)``, ``points`` ``(B, L, 2)`` and ``box`` ``(B, 4)`` in px,
            ``to_photo`` ``(B, 2, 3)``.
        mirror: the landmark that takes the place of each in the mirrored image, ``(L,)``.

    What a batch may hold besides, ``weights`` and ``visible`` ``(B, L)`` and ``pose`` ``(B, 3)``,
    is mirrored too.
    """
    last = batch["image"].shape[-1] - 1
    points, box, to_photo = (
        batch["points"][:, mirror].clone(),
        batch["box"].clone(),
        batch["to_photo"].clone(),
    )
    points[..., 0] = last - points[..., 0]
    box[:, 0], box[:, 2] = last - batch["box"][:, 2], last - batch["box"][:, 0]
    to_photo[..., 2] += last * to_photo[..., 0]
    to_photo[..., 0] *= -1
    known = {
        **batch,
        "image": batch["image"].flip(-1),
        "points": points,
        "box": box,
        "to_photo": to_photo,
    }
    return {**known, **_mirrored_truth(batch, mirror)}


def _mirrored_truth(batch: Batch, mirror: Tensor) -> dict[str, Tensor]:
    """``weights``, ``visible`` and ``pose`` of the mirrored faces, where a batch has them: yaw and
    roll change sign.
    """
    truth = {name: batch[name][:, mirror] for name in ("weights", "visible") if name in batch}
    if "pose" in batch:
        truth["pose"] = batch["pose"] * torch.tensor([-1.0, 1.0, -1.0], device=mirror.device)
    return truth


class Turn(nn.Module, ABC):
    """What turns the solid shape behind the landmarks out of the plane of a picture."""

    solid: ClassVar[bool] = True
    """Whether a shape in space is known that can turn."""

    @abstractmethod
    def turned(
        self, batch: Batch, turn: Float[Tensor, "B 2"]
    ) -> tuple[Batch, Float[Tensor, "B 2 G G"]]:
        """The batch with its landmarks, boxes and what else is known turned, and the warp that its
        pictures still want.

        Args:
            batch: ``image``, ``points``, ``box`` and what else is known.
            turn: the angles to the right of the picture and up, in rad.
        """


def augment(
    batch: Batch,
    how: Augmentation,
    mirror: Tensor,
    generator: Generator,
    turning: Turn | None = None,
) -> Batch:
    """A random variant of each face: image, points and box move together.

    Args:
        batch: ``image`` ``(B, C, S, S)`` in 0..255, ``points`` ``(B, L, 2)`` and ``box`` ``(B, 4)``
            in px, ``to_photo``.
        how: the amounts.
        mirror: the landmark that takes the place of each in the mirrored image, ``(L,)``.
        generator: on the device of the batch.
        turning: what turns the samples out of the plane of their pictures, if they are to turn.

    Returns:
        The batch with the images as floating point in 0..255, and all that is tied to pixels moved
        along.

    Raises:
        DescentError: if the images have not three channels, and what needs colours is asked for.
    """
    if (how.hue or how.jpeg) and batch["image"].shape[1] != 3:
        raise DescentError(
            f"augmentation: expected images (B, 3, S, S) for hue and jpeg, got "
            f"{tuple(batch['image'].shape)}; set both to 0"
        )
    count, side = len(batch["image"]), batch["image"].shape[-1]

    def draw(amount: float, *shape: int) -> Tensor:
        return (
            torch.rand(count, *shape, generator=generator, device=batch["image"].device) * 2 - 1
        ) * amount

    field = None
    if turning is not None:
        amount = math.radians(how.turn)
        batch, field = turning.turned(batch, torch.cat([draw(amount, 1), draw(amount / 2, 1)], 1))
    image, points, box = batch["image"], batch["points"], batch["box"]
    flipped = torch.rand(count, generator=generator, device=image.device) < how.mirror
    sign = 1.0 - 2.0 * flipped.to(points.dtype)
    angle, factor = draw(math.radians(how.rotation)), draw(how.scale).exp()
    if how.roll > 0:
        rolls = torch.rand(count, generator=generator, device=image.device) < how.roll
        angle = torch.where(rolls, draw(math.pi), angle)
    cos, sin = factor * angle.cos(), factor * angle.sin()
    linear = torch.stack([torch.stack([cos * sign, -sin], 1), torch.stack([sin * sign, cos], 1)], 1)
    centre = (side - 1) / 2
    shift = centre + draw(how.shift * side, 2) - (linear * centre).sum(2)
    move = torch.cat([linear, shift.unsqueeze(2)], 2).to(points.dtype)
    back = invert_affine(move)

    moved = apply_affine(move, points)
    moved = torch.where(flipped[:, None, None], moved[:, mirror], moved)
    centres = apply_affine(move, box.unflatten(1, (2, 2)).mean(1, keepdim=True)).squeeze(1)
    half = (box[:, 2:] - box[:, :2]) * factor.unsqueeze(1) / 2
    grid = sampling_grid(back, side, side)
    if field is not None:
        grid = grid + F.grid_sample(field, grid, align_corners=True).movedim(1, 3)
    warped = F.grid_sample(image.to(torch.float32), grid, align_corners=True)
    warped = _disturbed(warped, how, draw, generator)
    truth = {
        name: torch.where(flipped[:, None], value, batch[name])
        for name, value in _mirrored_truth(batch, mirror).items()
    }
    if "pose" in truth:
        truth["pose"] = truth["pose"] + torch.stack([0 * angle, 0 * angle, angle], 1)
    return {
        **batch,
        **truth,
        "image": warped,
        "points": moved,
        "box": torch.cat([centres - half, centres + half], 1),
        "to_photo": _after(batch["to_photo"], back),
    }


def _disturbed(
    images: Tensor, how: Augmentation, draw: Callable[..., Tensor], generator: Generator
) -> Tensor:
    """The images, which are written over, blurred, in other colours, partly hidden, with noise,
    and further disturbed.
    """
    count, channels, side = images.shape[:3]
    if how.blur > 0:
        images = blurred(images, draw(how.blur).clamp(min=0.1), reach=math.ceil(3 * how.blur))
    mean = images.mean((1, 2, 3), keepdim=True)
    gain = draw(how.contrast, 1, 1, 1).exp() * draw(how.colour, channels, 1, 1).exp()
    images.sub_(mean).mul_(gain).add_(mean + draw(how.brightness, 1, 1, 1))
    if how.occlusion > 0:
        images = _occlude(images, how.occlusion, generator)
    if how.noise > 0:
        noise = torch.randn(count, 1, side, side, generator=generator, device=images.device)
        images.add_(noise.mul_(draw(how.noise, 1, 1, 1)))
    images.clamp_(0, 255)
    for name, disturb in DISTURBANCES.items():
        if (amount := getattr(how, name)) > 0:
            images = disturb(images, amount, generator).clamp_(0, 255)
    return images


def _after(outer: Float[Tensor, "B 2 3"], inner: Float[Tensor, "B 2 3"]) -> Float[Tensor, "B 2 3"]:
    """The affine map that does ``inner`` first."""
    shift = apply_affine(outer, inner[..., 2].unsqueeze(1)).mT
    return torch.cat([outer[..., :2] @ inner[..., :2], shift], 2)


def _occlude(images: Tensor, share: float, generator: Generator) -> Tensor:
    """Fills one rectangle, up to 40 % of the side, of a share of the images with the mean colour
    inside it.
    """
    count, side = len(images), images.shape[-1]
    centre, half = (
        torch.rand(count, 2, 1, 1, 1, generator=generator, device=images.device) * scale * side
        for scale in (1.0, 0.2)
    )
    pixels = torch.arange(side, device=images.device)
    rows, columns = (
        (pixels - centre[:, axis].flatten(1)).abs() <= half[:, axis].flatten(1) for axis in (0, 1)
    )
    columns &= torch.rand(count, 1, generator=generator, device=images.device) < share
    across, down = columns.to(images.dtype), rows.to(images.dtype)
    area = (across.sum(1) * down.sum(1)).clamp(min=1)
    mean = torch.einsum("bchw,bw,bh->bc", images, across, down) / area.unsqueeze(1)
    return torch.where(
        (rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1), mean[..., None, None], images
    )
