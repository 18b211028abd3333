"""Pose from 2-D to 3-D correspondences, many of them wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, final, get_args

import roma
import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from .._check import DescentError
from ..kernels import Cauchy, Kernel, Squares
from ..observation import Observation
from ..observations import GaussNewtonSteps
from ..problem import Batch, LeastSquares, Split

Structure: TypeAlias = Literal["fixed", "varying"]

LEVELS = (0.25, 0.5, 1.0, 1.5)
"""The offsets between start and truth of the test samples, in equal parts, in units of :data:`TURN` and its like."""

TURN, SHIFT, ZOOM = math.pi / 2, 0.75, 0.3
"""An offset of level 1: the angle in rad, the translation in object sizes, and that of the log focal length."""

DISTANCE = 5.0
"""Between camera and object at the start, in object sizes."""

_NEAR = 0.5  # depths are kept above, in object sizes
_SEEDS: Mapping[Split, int] = {"train": 0, "val": 1, "test": 2}


@final
class Pose(LeastSquares):
    """The pose of an object whose points are seen in an image, where many correspondences are wrong.

    ``x (B, 12)`` is the rotation matrix, row by row, and the translation: a point ``X`` of the object lies at ``R X + t``
    before the camera, which looks along z. With ``focal``, ``x (B, 13)`` ends with the logarithm of the focal length. A
    batch holds the ``projections (B, N, 2)``, relative to the principal point and in units of the (nominal) focal length,
    and, if the structure varies, the ``points (B, N, 3)``. The start is the same for all: no rotation, five object sizes
    away.

    An update is a rotation vector in rad (the exponential map, about the origin of the object, along the axes of the camera),
    a translation in half object sizes, and a change of the log focal length in units of 0.2. The error is the angle of the
    rotation that is left, in degrees. Points behind the camera are moved to a small depth; a sample with fewer than three
    points in front, or with collinear points, is ``INVALID`` to the solvers.

    Args:
        structure: ``"fixed"``, one known object, or ``"varying"``, other points in every sample.
        points: the known object, ``(N, 3)`` in any unit, around its origin; ``None`` draws ``num_points`` in a unit cube.
        num_points: the number of points.
        focal: whether the focal length is unknown too.
        outliers: the share of wrong correspondences.
        noise: the standard deviation of the others, in units of the focal length.
        robust: the residual at which the Cauchy kernel sets in, in units of the focal length; 0 for plain squares.
        num_train: simulated samples for training.
        num_test: simulated samples for testing, and as many for validation.
        seed: the seed of all that is simulated.

    Raises:
        DescentError: if a number is out of its range, or the points of the object are collinear.

    References:
        X. Xiong and F. De la Torre. Supervised descent method for solving nonlinear least squares problems in computer
        vision. 2014, section 5 (pose of a known object).
        J. Solà, J. Deray and D. Atchuthan. A micro Lie theory for state estimation in robotics. 2018.

    Example:
        >>> problem = Pose(num_test=4)
        >>> batch = problem.data("test")
        >>> problem.error(problem.initial(batch), batch)
        tensor([ 22.5000,  45.0000,  90.0000, 135.0000])
    """

    failure_above = 2.0

    object: Tensor
    scale: Tensor

    def __init__(
        self,
        structure: Structure = "fixed",
        *,
        points: Sequence[Sequence[float]] | None = None,
        num_points: int = 40,
        focal: bool = False,
        outliers: float = 0.5,
        noise: float = 0.002,
        robust: float = 0.01,
        num_train: int = 8192,
        num_test: int = 1024,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if structure not in get_args(Structure):
            raise DescentError(f"structure: expected one of {', '.join(get_args(Structure))}, got {structure!r}")
        drawn = 2 * torch.rand(num_points, 3, generator=Generator().manual_seed(seed)) - 1
        known = drawn if points is None else torch.as_tensor(points, dtype=torch.float32)
        self.size = float(known.square().sum(1).mean().sqrt()) if structure == "fixed" else 1.0
        scale = [1.0] * 3 + [0.5 * self.size] * 3 + [0.2] * focal
        self.register_buffer("object", known, persistent=False)
        self.register_buffer("scale", torch.tensor(scale), persistent=False)
        self.structure, self.focal, self.outliers, self.noise, self.seed = structure, focal, outliers, noise, seed
        self.num_points, self.num_train, self.num_test, self.robust = len(known), num_train, num_test, robust
        self.kernel: Kernel = Cauchy(robust, block=2) if robust else Squares()
        self.shapes = (
            {"projections": f"B {len(known)} 2"} if structure == "fixed" else {"points": "B N 3", "projections": "B N 2"}
        )

    def data(self, split: Split) -> dict[str, Tensor]:
        """The samples of ``split``: ``projections (N, num_points, 2)``, ``pose (N, p)`` and, if they vary, ``points``."""
        generator = Generator().manual_seed(3 * self.seed + _SEEDS[split])
        count = self.num_train if split == "train" else self.num_test
        levels = torch.tensor(LEVELS).repeat(-(-count // len(LEVELS)))[:count] if split == "test" else None
        return self.simulate(count, generator, levels)

    def simulate(self, count: int, generator: Generator, levels: Float[Tensor, " B"] | None = None) -> dict[str, Tensor]:
        """Random samples.

        Args:
            count: the number of samples.
            generator: draws all that is random, on its device.
            levels: the size of every offset between start and truth, see :data:`LEVELS`; by default random up to the largest.
        """
        device = generator.device

        def normal(*size: int) -> Tensor:
            return torch.randn(count, *size, generator=generator, device=device)

        def uniform(*size: int) -> Tensor:
            return torch.rand(count, *size, generator=generator, device=device)

        if levels is None:
            levels = LEVELS[-1] * uniform()
        level = levels.to(device).unsqueeze(1)
        axis, direction = (torch.nn.functional.normalize(normal(3), dim=1) for _ in range(2))
        sign = 1 - 2 * (uniform(1) < 0.5).float()
        offset = torch.cat([TURN * axis, SHIFT * self.size * direction, ZOOM * sign][: 2 + self.focal], 1) * level
        x = self.retract(self._nominal(count, axis), offset / self.scale.to(axis))
        batch = {"pose": x}
        if self.structure == "varying":
            batch["points"] = math.sqrt(3) * (2 * uniform(self.num_points, 3) - 1) / math.sqrt(3)
        seen = self.project(x, batch)
        seen = seen + self.noise * normal(self.num_points, 2)
        wrong = uniform(self.num_points).argsort(1) < round(self.outliers * self.num_points)
        batch["projections"] = torch.where(wrong.unsqueeze(2), uniform(self.num_points, 2) - 0.5, seen)
        return batch

    def augment(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """Other simulated samples, as many."""
        drawn = self.simulate(len(batch["pose"]), generator)
        return {name: value.to(batch[name]) for name, value in drawn.items()}

    def initial(self, batch: Batch, generator: Generator | None = None) -> Float[Tensor, "B p"]:
        seen = batch["projections"]
        x = self._nominal(len(seen), seen)
        if generator is None:
            return x
        d = len(self.scale)
        return self.retract(x, 0.1 * torch.randn(len(x), d, generator=generator, dtype=x.dtype, device=x.device))

    def _nominal(self, count: int, like: Tensor) -> Float[Tensor, "B p"]:
        row = [1.0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, DISTANCE * self.size] + [0.0] * self.focal
        return like.new_tensor(row).repeat(count, 1)

    def target(self, batch: Batch) -> Float[Tensor, "B p"]:
        return batch["pose"]

    def observation(self) -> Observation:
        """Squashed residuals of a fixed structure, Gauss-Newton steps under several kernels of a varying one."""
        if self.structure == "fixed":
            return _Squashed(self, 0.1)
        kernels = [Cauchy(scale, block=2) for scale in (0.02, 0.08, 0.3)]
        return GaussNewtonSteps(self, kernels=kernels)

    def retract(self, x: Float[Tensor, "B p"], delta: Float[Tensor, "B d"]) -> Float[Tensor, "B p"]:
        turn, shift, zoom = (delta * self.scale.to(x)).tensor_split([3, 6], 1)
        rotation = roma.rotvec_to_rotmat(turn) @ x[:, :9].unflatten(1, (3, 3))
        moved = x[:, 9:12] * zoom.sum(1, keepdim=True).exp() + shift
        return torch.cat([rotation.flatten(1), moved, x[:, 12:] + zoom], 1)

    def local(self, x: Float[Tensor, "B p"], y: Float[Tensor, "B p"]) -> Float[Tensor, "B d"]:
        first, second = (value[:, :9].unflatten(1, (3, 3)) for value in (x, y))
        zoom = y[:, 12:] - x[:, 12:]
        shift = y[:, 9:12] - x[:, 9:12] * zoom.sum(1, keepdim=True).exp()
        return torch.cat([roma.rotmat_to_rotvec(second @ first.mT), shift, zoom], 1) / self.scale.to(x)

    def _place(self, x: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The points turned but not yet moved, and before the camera, ``(B, N, 3)``, with the focal length ``(B, 1, 1)``."""
        points = self.object.to(x) if self.structure == "fixed" else batch["points"]
        turned = points @ x[:, :9].unflatten(1, (3, 3)).mT
        focal = x[:, 12:13].exp() if self.focal else x.new_ones(1, 1)
        return turned, turned + x[:, None, 9:12], focal.unsqueeze(2)

    def project(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B N 2"]:
        """Where the points are seen; those behind the camera are moved to a small depth."""
        _, placed, focal = self._place(x, batch)
        return focal * placed[..., :2] / placed[..., 2:].clamp(min=_NEAR * self.size)

    def residual(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B R"]:
        return (self.project(x, batch) - batch["projections"]).flatten(1)

    def jacobian(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B R d"]:
        turned, placed, focal = self._place(x, batch)
        depth = placed[..., 2:].clamp(min=_NEAR * self.size)
        across = focal / depth
        seen = across * placed[..., :2]
        along = torch.where(placed[..., 2:] == depth, -seen / depth, 0).unsqueeze(3)
        eye = torch.eye(2, dtype=x.dtype, device=x.device)
        moved = torch.cat([across.unsqueeze(3) * eye, along.expand(*seen.shape, 1)], 3)  # (B, N, 2, 3)
        parts = [torch.linalg.cross(turned.unsqueeze(2).expand_as(moved), moved), moved]
        if self.focal:
            parts.append(seen.unsqueeze(3) + moved @ x[:, None, 9:12, None])
        return torch.cat(parts, 3).flatten(1, 2) * self.scale.to(x)

    def cost(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, " B"]:
        return super().cost(x, batch).where(self._determined(x, batch), torch.inf)

    def normal_equations(
        self, x: Float[Tensor, "B p"], batch: Batch
    ) -> tuple[Float[Tensor, "B d d"], Float[Tensor, "B d"], Float[Tensor, " B"]]:
        hessian, gradient, cost = super().normal_equations(x, batch)
        return hessian, gradient, cost.where(self._determined(x, batch), torch.inf)

    def _determined(self, x: Tensor, batch: Batch) -> Bool[Tensor, " B"]:
        """Whether three points or more lie in front of the camera, and not all points on one line."""
        _, placed, _ = self._place(x, batch)
        return (placed[..., 2] > _NEAR * self.size).sum(1) >= 3

    def error(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, " B"]:
        first, second = (value[:, :9].unflatten(1, (3, 3)) for value in (x, self.target(batch)))
        return roma.rotmat_geodesic_distance(first, second).rad2deg()

    def settings(self) -> dict[str, Any]:
        return {}


class _Squashed(Observation):
    def __init__(self, problem: Pose, scale: float) -> None:
        super().__init__()
        self._problem = [problem]
        self.scale = scale

    def forward(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B F"]:
        return (self._problem[0].residual(x, batch) / self.scale).tanh()
