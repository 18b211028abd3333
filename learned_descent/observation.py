"""What a model sees at ``x``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .data.samples import Batch


class Observation(nn.Module, ABC):
    """What a model sees: features of a sample at a guess ``x`` of its parameters.

    An observation may hold weights (a convolutional network) or buffers (the kernels of a
    descriptor).
    """

    differentiable: ClassVar[bool] = True
    """Whether :meth:`forward` lets a gradient reach ``x``."""

    coarse: ClassVar[bool] = False
    """Whether :meth:`prepare` may be computed in bfloat16 where that is faster, and the fits need
    not be the same to the last bit: what a network that was trained so sees.
    """

    def prepare(self, batch: Batch) -> Batch:
        """What is computed once per batch, before the first step: feature maps, pyramids,
        encoders.
        """
        return batch

    @abstractmethod
    def forward(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        """The features at ``x`` of a batch that went through :meth:`prepare`."""

    def observe(self, k: int, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        """The features of step ``k``: those of :meth:`forward`, unless they change from step to
        step (coarse to fine).
        """
        features: Tensor = self(x, batch)
        return features

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments that a stored model needs to build the observation again, as
        JSON.
        """
        return {}

    def in_words(self) -> str:
        """What a table calls it: its class, or the classes of what it is made of.

        Example:
            >>> from learned_descent.observations import Residual
            >>> Concat(Frozen(Residual(torch.sin, "y")), Residual(torch.cos, "y")).in_words()
            'frozen Residual + Residual'
        """
        return type(self).__name__


M = TypeVar("M", bound=nn.Module)


@final
class Beside(nn.Module, Generic[M]):
    """Holds a module that moves along with its owner, and whose tensors are stored elsewhere or not
    at all.

    Example:
        >>> owner = nn.ModuleDict({"problem": Beside(nn.Linear(1, 1))})
        >>> owner.double()["problem"].module.weight.dtype, len(owner.state_dict())
        (torch.float64, 0)
    """

    def __init__(self, module: M) -> None:
        super().__init__()
        self._held = [module]  # in a list, where PyTorch does not look for it

    @property
    def module(self) -> M:
        """The module itself."""
        return self._held[0]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Beside[M]:
        self.module._apply(fn, recurse)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


class ImageObservation(Observation):
    """An observation of images around points.

    Args:
        points: maps parameters ``(B, p)`` to the points ``(B, L, 2)`` to look at, as ``(column,
            row)`` in pixels; the centre of the first pixel is ``(0, 0)``.
        image: the name of the images in the batch: ``uint8`` or floating point in 0..255, ``(B, C,
            H, W)``.
    """

    def __init__(self, points: Callable[[Tensor], Tensor], image: str = "image") -> None:
        super().__init__()
        self.points = points
        self.image = image


@final
class Frozen(Observation):
    """Wraps features that no gradient may pass through: opaque code, or an encoder that is to stay
    as it is.

    Back-propagation through the observation (``detach="none"``) is refused for a frozen
    observation.

    Example:
        >>> import torch
        >>> from learned_descent import Frozen
        >>> from learned_descent.observations import Residual
        >>> eyes = Frozen(Residual(torch.sin, "y"))
        >>> x = torch.zeros(1, 1, requires_grad=True)
        >>> eyes(x, {"y": torch.ones(1, 1)}).requires_grad
        False
    """

    differentiable: ClassVar[bool] = False

    def __init__(self, inner: Observation) -> None:
        super().__init__()
        self.inner = inner.requires_grad_(False)

    def in_words(self) -> str:
        return f"frozen {self.inner.in_words()}"

    @torch.no_grad()
    def prepare(self, batch: Batch) -> Batch:
        return self.inner.prepare(batch)

    @torch.no_grad()
    def observe(self, k: int, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        return self.inner.observe(k, x, batch)

    def forward(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        return self.observe(0, x, batch)


@final
class Concat(Observation):
    """Several observations side by side: their features are concatenated in order.

    Example:
        >>> import torch
        >>> from learned_descent import Concat
        >>> from learned_descent.observations import Residual
        >>> eyes = Concat(Residual(torch.sin, "y"), Residual(torch.cos, "y"))
        >>> eyes(torch.zeros(1, 1), eyes.prepare({"y": torch.ones(1, 1)}))
        tensor([[-1.,  0.]])
    """

    def __init__(self, *parts: Observation) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.differentiable = all(part.differentiable for part in parts)  # type: ignore[misc]

    def in_words(self) -> str:
        words = [part.in_words() for part in self.parts]  # type: ignore[operator]
        return " + ".join(dict.fromkeys(words))

    def prepare(self, batch: Batch) -> Batch:
        return {
            f"{index}/{name}": value
            for index, part in enumerate(self.parts)
            for name, value in part.prepare(batch).items()  # type: ignore[operator]
        }

    def observe(self, k: int, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        features = [
            part.observe(k, x, self.part(index, batch))  # type: ignore[operator]
            for index, part in enumerate(self.parts)
        ]
        return torch.cat(features, 1)

    @staticmethod
    def part(index: int, batch: Batch) -> Batch:
        """What the part ``index`` prepared of a batch that went through :meth:`prepare`."""
        prefix = f"{index}/"
        return {
            name.removeprefix(prefix): value
            for name, value in batch.items()
            if name.startswith(prefix)
        }

    def forward(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        return self.observe(0, x, batch)
