"""Pose from 2-D to 3-D correspondences, many of them wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, cast, final

import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn.functional import normalize, pad

from ..data.samples import Batch, Split
from ..errors import DescentError, check_choice, check_shape
from ..families import Family, Recipe
from ..kernels import Cauchy, Kernel, Squares
from ..linear import normal_equations
from ..models import Cascade, MnemonicDescent
from ..observations import GaussNewtonSteps
from ..problem import LeastSquares
from ..training import BackpropThroughTime, SequentialRidge
from .points import as_points, collinear, cube, undetermined
from .rotations import at_rest, rotmat_geodesic_distance, rotmat_to_rotvec, rotvec_to_rotmat

Structure: TypeAlias = Literal["fixed", "varying"]

LEVELS = (0.25, 0.5, 1.0, 1.5)
"""How far the test samples start from the truth, in equal parts: multiples of a turn by 90 degrees,
a shift by 0.15 distances and, where the focal length is unknown, a zoom by a factor of
``exp(0.3)``."""

_REACH = 1.75  # the largest level of training
_TURN, _SHIFT, _ZOOM = math.pi / 2, 0.15, 0.3
_UNIT = (1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.2)  # of an update: rad, distances, log focal length
_NEAR = 0.1  # the smallest depth that is divided by, in object sizes
_JITTER = 0.1  # of the starts of training, in units of an update
_FIELD = 1.0  # the side of the square in which outliers lie, in focal lengths
_KERNELS = 0.02, 0.08, 0.3  # of the eyes, in focal lengths
_SEEDS: Mapping[Split, int] = {"train": 0, "val": 1, "test": 2}


@final
class Pose(LeastSquares):
    """The pose of an object whose points are found in an image, many of them in a wrong place.

    A batch holds the ``projections (B, N, 2)``, relative to the principal point and in units of the
    focal length (where that is unknown: of a nominal one), and the true ``pose (B, p)``. ``x (B,
    12)`` is the rotation matrix ``R``, row by row, and the translation ``t``: a point ``X`` of the
    object lies at ``R X + t`` before a camera that looks along z. Where the focal length is
    unknown, ``x (B, 13)`` ends with its logarithm. The start is the same for all: no rotation, and
    ``distance`` object sizes away (the size is the root mean square of the points).

    An update turns the object about its own origin along the axes of the camera by a rotation
    vector in rad (the exponential map), and moves it, in tenths of the distance. A change of the
    log focal length, in units of 0.2, moves it too, so that its image keeps its size (a dolly
    zoom). The error is the angle of the rotation that is left, in degrees.

    Points behind the camera are taken for very near ones. A sample with fewer than three points in
    front, with collinear points or with NaN is ``INVALID`` to the solvers, and none of their steps
    leads there.

    Args:
        structure: ``"fixed"``, one known object; or ``"varying"``, where every sample has ``points
            (B, N, 3)`` of its own, of size 1.
        points: the known object ``(N, 3)`` in any unit, around its origin; ``None`` draws one in a
            cube.
        num_points: the number of points where they are drawn.
        distance: from the camera to the object at the start, in object sizes.
        focal: whether the focal length is unknown.
        outliers: the share of the projections that are anywhere in the image.
        noise: the standard deviation of the others, in units of the focal length.
        robust: the residual at which the Cauchy kernel sets in, in units of the focal length; 0 for
            plain squares.
        num_train: simulated samples for training.
        num_test: simulated samples for testing, and as many for validation.
        seed: the seed of all that is simulated.

    Raises:
        DescentError: if a number is out of its range, or the object has fewer than four points or
            collinear ones.

    References:
        X. Xiong and F. De la Torre. Supervised descent method for solving nonlinear least squares
        problems in computer vision. 2014 (the pose of a known object).
        J. Solà, J. Deray and D. Atchuthan. A micro Lie theory for state estimation in robotics.
        2018, section IV.

    Example:
        >>> problem = Pose(num_test=4)
        >>> batch = problem.data("test")
        >>> problem.error(problem.initial(batch), batch)
        tensor([ 22.5000,  45.0000,  90.0000, 135.0000])
    """

    failure_above = 2.0

    object: Tensor
    spans: Tensor
    unit: Tensor

    def __init__(
        self,
        structure: Structure = "fixed",
        *,
        points: Sequence[Sequence[float]] | NDArray[Any] | Tensor | None = None,
        num_points: int = 40,
        distance: float = 5.0,
        focal: bool = False,
        outliers: float = 0.5,
        noise: float = 0.002,
        robust: float = 0.01,
        num_train: int = 8192,
        num_test: int = 1024,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_choice(structure, Structure, name="structure")
        if structure == "varying" and points is not None:
            raise DescentError(
                "points: expected none where they vary: put them into the batch, or take "
                'structure="fixed"'
            )
        numbers = {"distance": distance, "outliers": outliers, "noise": noise, "robust": robust}
        if not (
            distance > 0
            and outliers < 1
            and all(0 <= value < math.inf for value in numbers.values())
        ):
            raise DescentError(
                "expected a distance > 0, 0 <= outliers < 1, noise >= 0 and robust >= 0, got "
                f"{numbers}"
            )
        if min(num_train, num_test) < 1 or num_points < 4:
            raise DescentError(
                f"expected num_train, num_test >= 1, num_points >= 4, got {num_train}, {num_test}, "
                f"{num_points}"
            )
        known = (
            cube(1, num_points, Generator().manual_seed(seed))[0]
            if points is None
            else _checked_points(points)
        )
        self.size = float(known.square().sum(1).mean().sqrt()) if structure == "fixed" else 1.0
        spans = torch.tensor(_UNIT[: 6 + focal])
        unit = spans.clone()
        unit[3:6] *= distance * self.size
        self.register_buffer("object", known, persistent=False)
        self.register_buffer("spans", spans, persistent=False)
        self.register_buffer("unit", unit, persistent=False)
        self.structure, self.given, self.distance, self.focal = structure, points, distance, focal
        self.outliers, self.noise, self.robust, self.seed = outliers, noise, robust, seed
        self.num_points, self.num_train, self.num_test = len(known), num_train, num_test
        self.kernel: Kernel = Cauchy(robust, block=2) if robust else Squares()
        varying = {"points": "B N 3", "projections": "B N 2"}
        self.shapes = varying if structure == "varying" else {"projections": f"B {len(known)} 2"}

    def data(self, split: Split) -> dict[str, Tensor]:
        """``projections (N, num_points, 2)``, ``pose (N, p)``, ``simulated (N,)`` and, if they
        vary, ``points``.
        """
        check_choice(split, Split, name="split")
        count = self.num_train if split == "train" else self.num_test
        levels = (
            torch.tensor(LEVELS)[torch.arange(count) % len(LEVELS)] if split == "test" else None
        )
        return self.simulate(count, Generator().manual_seed(3 * self.seed + _SEEDS[split]), levels)

    def simulate(
        self, count: int, generator: Generator, levels: Float[Tensor, " N"] | None = None
    ) -> dict[str, Tensor]:
        """Random samples.

        Args:
            count: the number of samples.
            generator: draws all that is random, on its device.
            levels: how far each starts from the truth, see :data:`LEVELS`; by default random, to a
                little beyond the largest.
        """
        device = generator.device
        uniform = torch.rand(count, 2 + self.num_points, 3, generator=generator, device=device)
        normal = torch.randn(count, 2 + self.num_points, 3, generator=generator, device=device)
        level = _REACH * uniform[:, 0, 0] if levels is None else levels.to(device)
        axis, direction = (normalize(normal[:, row], dim=1) for row in range(2))
        sides = (uniform[:, 0, 1:2] < 0.5).float() * 2 - 1
        offset = torch.cat([_TURN * axis, _SHIFT * direction, _ZOOM * sides], 1)[
            :, : len(self.unit)
        ]
        x = self._start(count, axis)
        batch = {
            "pose": self.retract(x, level.unsqueeze(1) * offset / self.spans.to(offset)),
            "simulated": torch.ones(count, dtype=torch.bool, device=device),
        }
        if self.structure == "varying":
            batch["points"] = cube(count, self.num_points, generator)
        found = self.project(batch["pose"], batch) + self.noise * normal[:, 2:, :2]
        wrong = uniform[:, 2:, 2].argsort(1) < round(self.outliers * self.num_points)
        return {
            **batch,
            "projections": torch.where(
                wrong.unsqueeze(2), _FIELD * (uniform[:, 2:, :2] - 0.5), found
            ),
        }

    def augment(self, batch: Batch, generator: Generator) -> Batch:
        """Other simulated samples, as many; a batch without ``simulated``, which comes from
        elsewhere, is left as it is.
        """
        if "simulated" not in batch:
            return batch
        return {
            name: value.to(batch[name])
            for name, value in self.simulate(len(batch["pose"]), generator).items()
        }

    def initial(self, batch: Batch, generator: Generator | None = None) -> Float[Tensor, "B p"]:
        x = self._start(batch["projections"].shape[0], batch["projections"])
        if generator is None:
            return x
        size = len(x), len(self.unit)
        return self.retract(
            x, _JITTER * torch.randn(size, generator=generator, dtype=x.dtype, device=x.device)
        )

    def _start(self, count: int, like: Tensor) -> Float[Tensor, "B p"]:
        x = pad(at_rest(count, like), (0, int(self.focal)))
        x[:, 11] = self.distance * self.size
        return x

    def target(self, batch: Batch) -> Float[Tensor, "B p"]:
        return batch["pose"]

    def loss(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, " B"]:
        """The length of the update that is left, not its square: the worst samples must not
        outweigh the others.
        """
        return super().error(x, batch)

    def observation(self) -> GaussNewtonSteps:
        """Gauss-Newton steps under narrow and wide Cauchy kernels, whatever the structure."""
        return GaussNewtonSteps(self, kernels=[Cauchy(scale, block=2) for scale in _KERNELS])

    def retract(self, x: Float[Tensor, "B p"], delta: Float[Tensor, "B d"]) -> Float[Tensor, "B p"]:
        turn, shift, zoom = (delta * self.unit.to(x)).tensor_split([3, 6], 1)
        rotation = rotvec_to_rotmat(turn) @ _rotation(x)
        return torch.cat(
            [
                rotation.flatten(1),
                x[:, 9:12] * zoom.sum(1, keepdim=True).exp() + shift,
                x[:, 12:] + zoom,
            ],
            1,
        )

    def local(self, x: Float[Tensor, "B p"], y: Float[Tensor, "B p"]) -> Float[Tensor, "B d"]:
        zoom = y[:, 12:] - x[:, 12:]
        shift = y[:, 9:12] - x[:, 9:12] * zoom.sum(1, keepdim=True).exp()
        return torch.cat(
            [rotmat_to_rotvec(_rotation(y) @ _rotation(x).mT), shift, zoom], 1
        ) / self.unit.to(x)

    def prepare(self, batch: Batch) -> Batch:
        return (
            batch
            if self.structure == "fixed"
            else {**batch, "collinear": collinear(batch["points"])}
        )

    def project(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B N 2"]:
        """Where the points are seen; of the batch it reads the ``points``, if they vary."""
        return self._view(x, batch).seen.mT

    def residual(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B R"]:
        return (self.project(x, batch) - batch["projections"]).flatten(1)

    def jacobian(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B R d"]:
        return self._slopes(x, self._view(x, batch))

    def linearized(
        self, x: Float[Tensor, "B p"], batch: Batch
    ) -> tuple[Float[Tensor, "B R"], Float[Tensor, "B R d"]]:
        view = self._view(x, batch)
        return (view.seen.mT - batch["projections"]).flatten(1), self._slopes(x, view)

    def cost(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, " B"]:
        view = self._view(x, batch)
        return self._cost(view, (view.seen.mT - batch["projections"]).flatten(1), batch)

    def normal_equations(
        self, x: Float[Tensor, "B p"], batch: Batch
    ) -> tuple[Float[Tensor, "B d d"], Float[Tensor, "B d"], Float[Tensor, " B"]]:
        view = self._view(x, batch)  # once for all three
        residual, jacobian = (view.seen.mT - batch["projections"]).flatten(1), self._slopes(x, view)
        matrix, gradient = normal_equations(jacobian, self.weights(residual), residual)
        return matrix, gradient, self._cost(view, residual, batch)

    def _view(self, x: Tensor, batch: Batch) -> _View:
        points = self.object.to(x) if self.structure == "fixed" else batch["points"]
        turned = _rotation(x) @ points.mT
        placed = turned + x[:, 9:12, None]
        depth = placed[:, 2:].clamp(min=_NEAR * self.size)
        across = x[:, 12:, None].sum(1, keepdim=True).exp() / depth
        return _View(turned, across, across * placed[:, :2], depth, placed[:, 2:] == depth)

    def _slopes(self, x: Tensor, view: _View) -> Float[Tensor, "B R d"]:
        (right, down, ahead), across = view.turned.unbind(1), view.across.squeeze(1)
        along = torch.where(view.front, -view.seen / view.depth, 0)
        (of_u, of_v), zero = along.unbind(1), torch.zeros_like(across)
        u = [down * of_u, ahead * across - right * of_u, -down * across, across, zero, of_u]
        v = [down * of_v - ahead * across, -right * of_v, right * across, zero, across, of_v]
        if self.focal:
            zoom = view.seen + view.across * x[:, 9:11, None] + along * x[:, 11:12, None]
            u, v = [*u, zoom[:, 0]], [*v, zoom[:, 1]]
        return cast(
            Tensor, torch.stack([*u, *v], 2).unflatten(2, (2, -1)).flatten(1, 2) * self.unit.to(x)
        )

    def _cost(self, view: _View, residual: Tensor, batch: Batch) -> Float[Tensor, " B"]:
        """Infinite unless three points or more are in front of the camera, and not all on one
        line.
        """
        determined = view.front.sum((1, 2)) >= 3
        if self.structure == "varying":
            determined &= ~batch["collinear"]
        return self.kernel.cost(residual).where(determined, torch.inf)

    def faults(self, x: Float[Tensor, "B p"], batch: Batch) -> dict[str, Bool[Tensor, " B"]]:
        return undetermined(
            batch["projections"], self._view(x, batch).front, batch.get("collinear")
        )

    def error(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, " B"]:
        angle = rotmat_geodesic_distance(_rotation(x), _rotation(self.target(batch)))
        return torch.rad2deg(angle)

    def metrics(self, x: Float[Tensor, "B p"], batch: Batch) -> dict[str, Float[Tensor, " B"]]:
        """The rotation error in degrees; that of the translation and of the focal length relative
        to the true ones.
        """
        left = x[:, 9:] - batch["pose"][:, 9:]
        distance = torch.linalg.vector_norm(batch["pose"][:, 9:12], dim=1)
        relative = {"translation": torch.linalg.vector_norm(left[:, :3], dim=1) / distance}
        if self.focal:
            relative["focal"] = left[:, 3].expm1().abs()
        return {"rotation": self.error(x, batch), **relative}

    @classmethod
    def families(cls) -> Mapping[str, Family]:
        return RECIPES

    def settings(self) -> dict[str, Any]:
        names = (
            "structure",
            "num_points",
            "distance",
            "focal",
            "outliers",
            "noise",
            "robust",
            "seed",
        )
        return {"points": self.given, **{name: getattr(self, name) for name in names}}


def _checked_points(
    points: Sequence[Sequence[float]] | NDArray[Any] | Tensor,
) -> Float[Tensor, "N 3"]:
    """An object that determines a pose."""
    known = as_points(points)
    check_shape(known, "N 3", name="points")
    if len(known) < 4 or not known.isfinite().all() or collinear(known.unsqueeze(0)).item():
        raise DescentError(f"points: expected four or more, finite and not collinear, got {points}")
    return known


class _View(NamedTuple):
    """What the camera makes of the points."""

    turned: Float[Tensor, "B 3 N"]  # about the origin of the object, along the axes of the camera
    across: Float[Tensor, "B 1 N"]  # the derivative of what is seen along x and y
    seen: Float[Tensor, "B 2 N"]
    depth: Float[Tensor, "B 1 N"]  # that which was divided by
    front: Bool[Tensor, "B 1 N"]


def _rotation(x: Float[Tensor, "B p"]) -> Float[Tensor, "B 3 3"]:
    return cast(Tensor, x[:, :9].unflatten(1, (3, 3)))


_BPTT = BackpropThroughTime(iterations=600, batch_size=128, lr=3e-3, ema=0.99, detach="observation")

RECIPES: Mapping[str, Family] = {
    "sdm": Recipe(Cascade, {"num_steps": 10}, trainers={"ridge": SequentialRidge(batch_size=256)}),
    "mdm": Recipe(
        MnemonicDescent, {"num_steps": 6, "hidden": 128, "cell": "gru"}, trainers={"bptt": _BPTT}
    ),
}
"""The families on poses."""
