"""Landmarks that keep to a shape model: a similarity, and principal components of shapes."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from ..data.samples import Batch, Split
from ..errors import DescentError, check_whole
from ..families import Family
from ..names import PROBLEMS
from ..observation import ImageObservation, Observation
from ..problem import Problem
from ..registry import builtin_class, configured, name_of
from .problem import Landmarks
from .recipes import IN_SHAPE_MODEL


@final
class InShapeModel(Problem):
    """Landmarks as another problem has them, with parameters that keep to a shape model.

    ``x (B, 4 + n)`` holds a similarity ``(a, b, column, row)`` and the weights of ``n`` principal
    components: the landmarks are those of the mean shape and the weighted components, turned and
    scaled by the matrix of ``a`` and ``b`` and moved to ``(column, row)``, in px of the crop. The
    mean shape has its middle at 0, and the mean square distance of its landmarks to it is 1, so
    ``a`` and ``b`` are in px; the components are orthonormal, times the root of the number of
    landmarks, and orthogonal to what a similarity does to the mean shape. An update is in units of
    the box's side, the weights as far as they move the landmarks of a mean face.

    The shape model is that of the training samples, each laid on the mean shape by the similarity
    that is nearest. Data, starts, variants and errors are those of the other problem. The target is
    the shape of the model that is nearest to the landmarks: the nearest similarity, then the
    nearest weights. The error is that of the landmarks all the same, so that it is above 0 at the
    target, and can be compared with that of families outside the model.

    Args:
        of: the name of the other problem, a built-in one of landmarks; :meth:`around` takes any.
        settings: its settings, such as ``{schema: ibug49}``.
        data: where its data are.
        components: the number ``n`` of components, at most ``2 L - 4`` for ``L`` landmarks. Of
            fewer samples only so many come; the others stay 0, and move nothing.

    Raises:
        DescentError: if the other problem is none of landmarks, cannot be made, or has only one.

    References:
        T. Cootes, C. Taylor, D. Cooper and J. Graham. Active shape models: their training and
        application. CVIU 61, 1995, section 4.
        I. Matthews and S. Baker. Active appearance models revisited. IJCV 60, 2004, sections 2.1
        and 4.2.

    Example:
        >>> settings = {"count": 20, "test_count": 2, "crop": 64, "box_side": 36.0}
        >>> problem = InShapeModel("synthetic-faces", settings=settings, components=6)
        >>> x = problem.target(problem.data("test"))
        >>> x.shape, problem.points(x).shape
        (torch.Size([2, 10]), torch.Size([2, 68, 2]))
    """

    attained = False

    def __init__(
        self,
        of: str = "landmarks",
        *,
        settings: Mapping[str, Any] | None = None,
        data: str | None = None,
        components: int = 30,
    ) -> None:
        super().__init__()
        check_whole(components, name="components")
        cls = builtin_class(of, PROBLEMS, "of")
        if not issubclass(cls, Landmarks):
            raise DescentError(f"of: expected a problem of landmarks, got {of!r}")
        given = dict(settings or {})
        if data is not None:
            asked = inspect.signature(cls).parameters
            given |= {name: data for name in ("root", "data") if name in asked}
        self._wrap(configured(cls, given), components)  # type: ignore[arg-type]

    @classmethod
    def around(cls, problem: Landmarks, *, components: int = 30) -> InShapeModel:
        """The shape model around a problem that is there already, of any class.

        Args:
            problem: the problem of landmarks.
            components: the number of components, as in the constructor.
        """
        check_whole(components, name="components")
        made = cls.__new__(cls)
        Problem.__init__(made)
        made._wrap(problem, components)
        return made

    mean: Tensor
    components: Tensor
    units: Tensor

    def _wrap(self, problem: Landmarks, components: int) -> None:
        count = problem.schema.num_points
        self.problem = problem
        self.failure_above, self.edges = problem.failure_above, problem.edges
        self.optional, self.pictured = problem.optional, problem.pictured
        number = min(components, max(0, 2 * count - 4))
        self.register_buffer("mean", torch.full((count, 2), torch.nan))
        self.register_buffer("components", torch.zeros(number, count, 2))
        self.register_buffer("units", torch.full((4 + number,), problem.box_side))
        self._known = False
        self.register_load_state_dict_post_hook(InShapeModel._look)  # type: ignore[no-untyped-call]

    def _look(self, *_: object) -> None:
        self._known = bool(self.mean.isfinite().all())

    @classmethod
    def families(cls) -> Mapping[str, Family]:
        return IN_SHAPE_MODEL

    def data(self, split: Split) -> Batch:
        """The samples of the other problem; those of training set the shape model, unless a stored
        model brought it.
        """
        batch = self.problem.data(split)
        if split == "train" and not self._known:
            self._learn(batch["points"])
        return batch

    def names(self, split: Split) -> Sequence[str]:
        return self.problem.names(split)

    def observation(self) -> Observation:
        """That of the other problem, around the landmarks of the shape model."""
        observation = self.problem.observation()
        for part in observation.modules():
            if isinstance(part, ImageObservation):
                part.points = self.points
        return observation

    def _learn(self, shapes: Float[Tensor, "N L 2"]) -> None:
        if len(self.mean) == 1:
            raise DescentError(
                "of: one landmark has neither a size nor a direction: a shape model needs more"
            )
        middle = self.problem.mean_shape - self.problem.mean_shape.mean(0)
        size = middle.square().sum(1).mean().sqrt()
        self.mean.copy_(middle / size)
        _, left = self._aligned(shapes.to(middle))
        found = torch.linalg.svd(left.flatten(1), full_matrices=False).Vh
        found = math.sqrt(len(self.mean)) * found[: len(self.components)]
        self.components[: len(found)] = found.unflatten(1, (-1, 2))
        self.units[4:] = 1 / size
        self._look()

    def _find(self) -> None:
        if not self._known:
            self._look()
        if not self._known:
            self.data("train")

    def _aligned(self, shapes: Float[Tensor, "B L 2"]) -> tuple[Tensor, Tensor]:
        """The similarities that lay the mean shape nearest to shapes, ``(B, 4)``, and what is left
        of those in its frame, ``(B, L, 2)``.
        """
        shift = shapes.mean(1)
        centred = shapes - shift.unsqueeze(1)
        along = (centred * self.mean).sum(2).mean(1)
        across = (self.mean[:, 0] * centred[..., 1] - self.mean[:, 1] * centred[..., 0]).mean(1)
        similarity = torch.cat([torch.stack([along, across], 1), shift], 1)
        back = _turn(along, -across) / (along.square() + across.square())[:, None, None]
        return similarity, centred @ back - self.mean

    def points(self, x: Float[Tensor, "B p"]) -> Float[Tensor, "B L 2"]:
        """The landmarks that ``x`` stands for, ``(column, row)`` in px of the crop."""
        self._find()
        moved = (x[:, 4:, None, None] * self.components).sum(1)
        points: Tensor = (self.mean + moved) @ _turn(x[:, 0], x[:, 1]) + x[:, None, 2:4]
        return points

    def nearest(self, points: Float[Tensor, "B L 2"]) -> Float[Tensor, "B p"]:
        """The parameters of the shape that is nearest to landmarks in px of the crop."""
        self._find()
        similarity, left = self._aligned(points)
        weights = (left.unsqueeze(1) * self.components).sum(3).mean(2)
        return torch.cat([similarity, weights], 1)

    def initial(self, batch: Batch, generator: Generator | None = None) -> Float[Tensor, "B p"]:
        return self.nearest(self.problem.points(self.problem.initial(batch, generator)))

    def target(self, batch: Batch) -> Float[Tensor, "B p"]:
        return self.nearest(self.problem.completed(batch)["points"])

    def augment(self, batch: Batch, generator: Generator) -> Batch:
        return self.problem.augment(batch, generator)

    def retract(self, x: Float[Tensor, "B p"], delta: Float[Tensor, "B d"]) -> Float[Tensor, "B p"]:
        """``x + units * delta``: an update of 1 moves landmarks by the side of the box."""
        self._find()
        return x + self.units * delta

    def local(self, x: Float[Tensor, "B p"], y: Float[Tensor, "B p"]) -> Float[Tensor, "B d"]:
        self._find()
        return (y - x) / self.units

    def loss(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, " B"]:
        """That of the landmarks."""
        return self.problem.loss(self.points(x).flatten(1), batch)

    def error(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, " B"]:
        """That of the landmarks, as the other problem measures it."""
        return self.problem.error(self.points(x).flatten(1), batch)

    def metrics(self, x: Float[Tensor, "B p"], batch: Batch) -> dict[str, Float[Tensor, " B"]]:
        return self.problem.metrics(self.points(x).flatten(1), batch)

    def export_sample(self, count: int) -> Batch:
        return self.problem.export_sample(count)

    def settings(self) -> dict[str, Any]:
        return {
            "of": name_of(type(self.problem), PROBLEMS),
            "settings": self.problem.settings(),
            "components": len(self.components),
        }


def _turn(along: Float[Tensor, " B"], across: Float[Tensor, " B"]) -> Float[Tensor, "B 2 2"]:
    """What turns and scales rows ``(column, row)``."""
    rows: Tensor = torch.stack([along, across, -across, along], 1).unflatten(1, (2, 2))
    return rows
