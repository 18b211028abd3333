"""Registration of a point cloud to a known model: a scan with outliers and missing parts, turned by
any angle.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, NamedTuple, TypeAlias, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor
from torch.nn.functional import normalize

from ...data.samples import Batch, Split
from ...errors import DescentError, check_choice
from ...families import Classical, Family, Polish, Recipe
from ...kernels import Kernel, Squares, Tukey
from ...linear import normal_equations
from ...models import Cascade, MnemonicDescent
from ...problem import LeastSquares
from ...solvers import GaussNewton
from ...training import BackpropThroughTime, SequentialRidge
from ..points import on_a_line
from ..rotations import at_rest, rotmat_geodesic_distance, rotmat_to_rotvec, rotvec_to_rotmat
from .occupancy import Sides, pieces
from .surfaces import blob_surface, read_surface

Metric: TypeAlias = Literal["plane", "point"]
"""What is measured between a point of the scan and its nearest point of the model: along its
normal, or in all directions."""

ANGLES = (30.0, 60.0, 90.0, 120.0)
"""The angles between start and truth of the test samples, in equal parts, in degrees."""

# The largest angle of training, in degrees: beyond that of the test, so that no end of a range lies
# there
_TOP = 135.0
_SHIFT = 0.3  # the largest translation of a scan along each axis, in half sides
_UNIT = (1.0, 1.0, 1.0, 0.25, 0.25, 0.25)  # of an update
# Modulo 3 they differ, so that no seed shares samples
_SEEDS: Mapping[Split, int] = {
    "train": 0,
    "val": 1,
    "test": 302,
}


@final
class Registration(LeastSquares):
    """The rigid motion that lays a scan onto a known model: no correspondences, outliers, and a
    part that is missing.

    ``x (B, 12)`` is a rotation matrix, row by row, and a translation: a point ``s`` of the scan
    lies at ``R s + t`` on the model, which is centred and scaled to fit into the cube of -1..1. A
    batch holds the ``scan (B, S, 3)``, which of its points are ``valid (B, S)`` (the others pad
    it), and its ``motion (B, 12)``. The start is the identity. Random starts are turned by 0 to 135
    degrees from the truth.

    An update turns and moves the scan in the frame of the model: a rotation vector in rad about its
    centre (the exponential map), then a translation in units of 0.25. The error is the angle that
    is left, in degrees. The cost is that of the iterative closest point: its Gauss-Newton is ICP. A
    scan with points that are not finite, or whose valid points lie on a line, is ``INVALID`` to the
    solvers; learned models pass over points that are not finite.

    Args:
        model_file: an ``.npz`` file with ``points (P, 3)`` and, if they are known, ``normals (P,
            3)``; ``None`` for a blob.
        num_model: the number ``M`` of points of the model, spread evenly over its surface.
        num_scan: the largest number ``S`` of points of a simulated scan; the smallest is three
            quarters of it.
        noise: the standard deviation of the points of a scan, per axis.
        outliers: the share of the points of a scan that are anywhere in the cube of -1.5..1.5.
        kept: the share of the surface that is scanned; the rest is cut off by a random plane.
        metric: what is measured to the nearest point of the model: ``"plane"`` or ``"point"``.
        robust: the distance at which Tukey's kernel is constant; 0 for plain squares.
        reach: points farther from the model have no correspondence.
        num_train: simulated scans for training.
        num_test: simulated scans for testing, and a quarter of it for validation.
        seed: the seed of all that is simulated.

    Raises:
        DescentError: if a number is out of its range, or the file holds no points.

    References:
        J. Vongkulbhisal, F. De la Torre and J. Costeira. Discriminative optimization: theory and
        applications to point cloud registration. CVPR 2017.
        S. Rusinkiewicz and M. Levoy. Efficient variants of the ICP algorithm. 3DIM 2001.

    Example:
        >>> problem = Registration(num_test=4)
        >>> batch = problem.data("test")
        >>> problem.error(problem.initial(batch), batch)
        tensor([ 30.0000,  60.0000,  90.0000, 120.0000])
    """

    failure_above = 5.0

    shapes: Mapping[str, str] = {"scan": "B S 3", "valid": "B S"}

    points: Tensor
    normals: Tensor
    unit: Tensor

    def __init__(
        self,
        model_file: str | None = None,
        *,
        num_model: int = 320,
        num_scan: int = 200,
        noise: float = 0.02,
        outliers: float = 0.2,
        kept: float = 0.7,
        metric: Metric = "plane",
        robust: float = 0.25,
        reach: float = 0.5,
        num_train: int = 4096,
        num_test: int = 512,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_choice(metric, Metric, name="metric")
        for name, value, ok, wanted in (
            ("num_model", num_model, num_model >= 8, "8 or more"),
            ("num_scan", num_scan, num_scan >= 8, "8 or more"),
            ("noise", noise, 0 <= noise < float("inf"), "a number >= 0"),
            ("outliers", outliers, 0 <= outliers < 1, "a share in [0, 1)"),
            ("kept", kept, 0 < kept <= 1, "a share in (0, 1]"),
            ("robust", robust, 0 <= robust < float("inf"), "a number >= 0"),
            ("reach", reach, reach > 0, "a positive number"),
            (
                "num_train and num_test",
                min(num_train, num_test),
                min(num_train, num_test) >= 4,
                "4 or more",
            ),
        ):
            if not ok:
                raise DescentError(f"{name}: expected {wanted}, got {value}")
        self.surface = blob_surface() if model_file is None else read_surface(model_file)
        chosen = self.surface.spread(num_model)
        self.register_buffer("points", chosen.points)
        self.register_buffer("normals", chosen.normals)
        self.register_buffer("unit", torch.tensor(_UNIT), persistent=False)
        block = 1 if metric == "plane" else 3
        self.kernel: Kernel = Tukey(robust, block) if robust else Squares(block=block)
        self.model_file, self.num_scan, self.noise, self.outliers, self.kept = (
            model_file,
            num_scan,
            noise,
            outliers,
            kept,
        )
        self.metric, self.robust, self.reach, self.seed = metric, robust, reach, seed
        self.num_train, self.num_test = num_train, num_test

    def data(self, split: Split) -> dict[str, Tensor]:
        """The samples of ``split``: ``scan (N, S, 3)``, ``valid (N, S)`` and ``motion (N, 12)``."""
        check_choice(split, Split, name="split")
        generator = Generator().manual_seed(3 * self.seed + _SEEDS[split])
        count = {"train": self.num_train, "val": self.num_test // 4, "test": self.num_test}[split]
        shares = {"noise": self.noise, "outliers": self.outliers, "kept": self.kept}
        parts = [
            self.surface.scans(min(256, count - at), self.num_scan, generator, **shares)
            for at in range(0, count, 256)
        ]
        scan, valid = (torch.cat(part) for part in zip(*parts))
        angle = torch.tensor(ANGLES).repeat(-(-count // len(ANGLES)))[:count]
        motion = self._apart(at_rest(count, scan), angle.deg2rad(), generator)
        rotation, shift = _parts(motion)
        scan = torch.where(valid.unsqueeze(2), (scan - shift) @ rotation, 0)
        return {"scan": scan, "valid": valid, "motion": motion}

    def _apart(
        self, x: Float[Tensor, "B 12"], angle: Float[Tensor, " B"], generator: Generator
    ) -> Float[Tensor, "B 12"]:
        """Motions that differ from ``x`` by ``angle`` in rad about a random axis, and by a random
        translation.
        """
        place = {"generator": generator, "dtype": x.dtype, "device": x.device}
        axis = normalize(torch.randn(len(x), 3, **place), dim=1)  # type: ignore[call-overload]
        shift = _SHIFT * (2 * torch.rand(len(x), 3, **place) - 1)  # type: ignore[call-overload]
        return self.retract(x, torch.cat([axis * angle.unsqueeze(1), shift], 1) / self.unit.to(x))

    def initial(self, batch: Batch, generator: Generator | None = None) -> Float[Tensor, "B 12"]:
        if generator is None:
            return at_rest(batch["scan"].shape[0], batch["scan"])
        target = self.target(batch)
        unit = torch.rand(
            len(target), generator=generator, dtype=target.dtype, device=target.device
        )
        return self._apart(target, math.radians(_TOP) * unit, generator)

    def target(self, batch: Batch) -> Float[Tensor, "B 12"]:
        return batch["motion"]

    def loss(self, x: Float[Tensor, "B 12"], batch: Batch) -> Float[Tensor, " B"]:
        """The length of the update that is left, not its square: scans that are beyond help must
        not outweigh the others.
        """
        return super().error(x, batch)

    def observation(self) -> Sides:
        return Sides(self)

    def retract(
        self, x: Float[Tensor, "B 12"], delta: Float[Tensor, "B 6"]
    ) -> Float[Tensor, "B 12"]:
        (rotation, shift), delta = _parts(x), delta * self.unit.to(x)
        turn = rotvec_to_rotmat(delta[:, :3])
        return torch.cat(
            [(turn @ rotation).flatten(1), (shift @ turn.mT).squeeze(1) + delta[:, 3:]], 1
        )

    def local(self, x: Float[Tensor, "B 12"], y: Float[Tensor, "B 12"]) -> Float[Tensor, "B 6"]:
        (rotation, shift), (wanted, place) = _parts(x), _parts(y)
        turn = wanted @ rotation.mT
        return torch.cat(
            [rotmat_to_rotvec(turn), (place - shift @ turn.mT).squeeze(1)], 1
        ) / self.unit.to(x)

    def check_valid(self, batch: Batch) -> None:
        """Refuses a batch whose ``valid`` is no mask."""
        if batch["valid"].dtype != torch.bool:
            raise DescentError(
                "valid: expected whether each point of a scan is there, bool, got "
                f"{batch['valid'].dtype}"
            )

    def moved(self, x: Float[Tensor, "B 12"], batch: Batch) -> Float[Tensor, "B S 3"]:
        """The scan, laid onto the model."""
        rotation, shift = _parts(x)
        return batch["scan"] @ rotation.mT + shift

    def nearest(self, moved: Float[Tensor, "B S 3"]) -> Int[Tensor, "B S"]:
        """The nearest point of the model to every point, a bounded number of pairs at a time."""
        points = self.points.to(moved)
        squares = points.square().sum(1)
        return torch.cat(
            [(squares - 2 * part @ points.T).argmin(2) for part in pieces(moved, len(points))]
        )

    def residual(self, x: Float[Tensor, "B 12"], batch: Batch) -> Float[Tensor, "B R"]:
        return self._residual(self._match(x, batch), batch)

    def jacobian(self, x: Float[Tensor, "B 12"], batch: Batch) -> Float[Tensor, "B R 6"]:
        return self._jacobian(self._match(x, batch), batch)

    def _match(self, x: Tensor, batch: Batch) -> _Match:
        moved = self.moved(x, batch)
        nearest = self.nearest(moved)
        between = moved - self.points.to(moved)[nearest]
        near = torch.linalg.vector_norm(between.detach(), dim=2, keepdim=True) <= self.reach
        normals = self.normals.to(moved)[nearest]
        if self.metric == "plane":
            between = (between * normals).sum(2, keepdim=True)
        return _Match(moved, between, normals, near)

    def _residual(self, match: _Match, batch: Batch) -> Float[Tensor, "B R"]:
        # What no match costs, whatever x is
        far = (self.robust or self.reach) / math.sqrt(match.between.shape[2])
        residual = torch.where(match.near | match.between.isnan(), match.between, far)
        return torch.where(batch["valid"].unsqueeze(2), residual, 0).flatten(1)

    def _jacobian(self, match: _Match, batch: Batch) -> Float[Tensor, "B R 6"]:
        moved, used = match.moved, match.near & batch["valid"].unsqueeze(2)
        if self.metric == "plane":
            rows = torch.cat([torch.linalg.cross(moved, match.normals), match.normals], 2)
            return torch.where(used, rows * self.unit.to(moved), 0)
        axes = torch.eye(3, dtype=moved.dtype, device=moved.device).expand(*moved.shape, 3)
        rows = torch.cat([torch.linalg.cross(moved.unsqueeze(2).expand_as(axes), axes), axes], 3)
        return torch.where(used.unsqueeze(3), rows * self.unit.to(moved), 0).flatten(1, 2)

    def prepare(self, batch: Batch) -> Batch:
        """Adds ``sound (B,)``: whether the valid points of a scan are finite and do not lie on a
        line.
        """
        self.check_valid(batch)
        valid = batch["valid"].unsqueeze(2)
        scan = torch.where(valid, batch["scan"], 0)
        finite = scan.isfinite().flatten(1).all(1)
        scan = torch.where(finite[:, None, None], scan, 0)
        centred = torch.where(
            valid, scan - scan.sum(1, keepdim=True) / valid.sum(1, keepdim=True).clamp(min=1), 0
        )
        return {**batch, "sound": finite & ~on_a_line(centred)}

    def normal_equations(
        self, x: Float[Tensor, "B 12"], batch: Batch
    ) -> tuple[Float[Tensor, "B 6 6"], Float[Tensor, "B 6"], Float[Tensor, " B"]]:
        match = self._match(x, batch)  # once for both
        residual, jacobian = self._residual(match, batch), self._jacobian(match, batch)
        matrix, gradient = normal_equations(jacobian, self.weights(residual), residual)
        gradient = torch.where(batch["sound"].unsqueeze(1), gradient, torch.nan)
        return matrix, gradient, self.kernel.cost(residual)

    def faults(self, x: Float[Tensor, "B 12"], batch: Batch) -> dict[str, Bool[Tensor, " B"]]:
        near = self._match(x, batch).near & batch["valid"].unsqueeze(2)
        far = (
            f"no point of the scan is within {self.reach:g} half sides of the model: is it in "
            "another unit?"
        )
        return {
            "the valid points of the scan lie on a line": ~batch["sound"],
            far: ~near.any(2).any(1),
        }

    def error(self, x: Float[Tensor, "B 12"], batch: Batch) -> Float[Tensor, " B"]:
        angle = rotmat_geodesic_distance(_parts(x)[0], _parts(self.target(batch))[0])
        return angle.rad2deg()

    def metrics(self, x: Float[Tensor, "B 12"], batch: Batch) -> dict[str, Float[Tensor, " B"]]:
        shift = self.local(x, self.target(batch))[:, 3:] * self.unit[3:].to(x)
        return {
            "degrees": self.error(x, batch),
            "half_sides": torch.linalg.vector_norm(shift, dim=1),
        }

    @classmethod
    def families(cls) -> Mapping[str, Family]:
        return RECIPES

    def settings(self) -> dict[str, Any]:
        names = ("model_file", "num_scan", "noise", "outliers", "kept", "metric", "robust", "reach")
        return {"num_model": len(self.points), **{name: getattr(self, name) for name in names}}


class _Match(NamedTuple):
    """Every point of a scan on the model, ``(B, S, 3)``, and the nearest point of the model.

    ``between (B, S, 1 or 3)`` is what is measured between them, ``near (B, S, 1)`` whether the
    metric counts.
    """

    moved: Tensor
    between: Tensor
    normals: Tensor
    near: Tensor


def _parts(x: Float[Tensor, "B 12"]) -> tuple[Float[Tensor, "B 3 3"], Float[Tensor, "B 1 3"]]:
    """The rotation and, as a row, the translation."""
    return x[:, :9].unflatten(1, (3, 3)), x[:, None, 9:]


_SDM = Recipe(
    Cascade,
    {"num_steps": 12},
    trainers={"ridge": SequentialRidge(ridge=(0.03, 0.3, 3.0), repeats=2, batch_size=128)},
)
_MDM = Recipe(
    MnemonicDescent, {"num_steps": 8, "hidden": 256, "cell": "gru"},
    trainers={"bptt": BackpropThroughTime(iterations=1500, batch_size=64, lr=3e-3, ema=0.99,
    detach="observation")},
)  # fmt: skip
_ICP = Classical(GaussNewton, {"num_steps": 20})

RECIPES: Mapping[str, Family] = {
    "sdm": _SDM,
    "sdm+gn": Polish(_SDM, _ICP),
    "mdm": _MDM,
    "mdm+gn": Polish(_MDM, _ICP),
    "gn": replace(_ICP, options={"num_steps": 40}),
}
"""The families on point clouds; ``sdm`` is discriminative optimization, and ``gn`` is ICP.

Gauss-Newton finds more than Levenberg-Marquardt: a step that raises the cost is right where it
brings other points together.
"""
