"""Photographs of faces as if the heads had turned a little: new poses from old pictures."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..data.samples import Batch
from ..errors import DescentError
from ..landmarks.augmentation import Turn
from ..landmarks.schema import IBUG68, LandmarkSchema
from .rendering.head import Head, spline_kernel
from .rendering.zbuffer import angles, rotation

_GRID, _FRAME = 25, 4
"""The points along each side of the grid on which the warp is known, and those that hold the rim of
the picture."""
_SMOOTHING = 1e-3
"""How far the spline may miss its landmarks to stay smooth, where closed lips or a contour ask it
for a tear."""
_SMALLEST_CELL = 0.05
"""The share of its area to which a cell of the grid may shrink; it may grow by as much. Beyond, the
picture would fold."""


class Turning(Turn):
    """Turns the head in a picture: its landmarks move as those of a mean head do, and the picture
    moves along.

    The mean head is laid on the landmarks by the best scaled orthographic camera, and turned; its
    jaw is the contour that is seen, where annotators put it. A thin-plate spline through what its
    landmarks travel, which leaves the rim of the picture in place, moves the landmarks of the face,
    so that it keeps a shape of its own; another one, through these, moves the pixels. What was
    hidden cannot be uncovered: a face keeps its pose if the picture would have to fold.

    Args:
        schema: the markup of the landmarks.

    Raises:
        DescentError: if the markup does not say which of the 68 points of the head are its own.

    References:
        X. Zhu, Z. Lei, X. Liu, H. Shi and S. Z. Li. Face alignment across large poses: a 3D
        solution. CVPR 2016: training faces turned out of their photographs. Here the warp is one
        smooth spline, without a mesh.
        F. L. Bookstein. Principal warps: thin-plate splines and the decomposition of deformations.
        PAMI 1989.

    Example:
        >>> from learned_descent.landmarks.schema import schema
        >>> _ = torch.manual_seed(0)
        >>> points = 40 + 60 * torch.rand(2, 49, 2)
        >>> moved, field, turn = Turning(schema("ibug49"))(points, torch.zeros(2, 2), side=160)
        >>> bool((moved - points).abs().max() < 1e-3), field.shape
        (True, torch.Size([2, 2, 25, 25]))
    """

    def __init__(self, schema: LandmarkSchema) -> None:
        super().__init__()
        head = Head(8)
        try:
            kept = torch.tensor(schema.among(IBUG68))
        except DescentError as error:
            raise DescentError(f"augmentation.turn: {error}; or set it to 0") from error
        inner = (kept >= head.num_jaw).nonzero().flatten()
        solid = head.template[kept[inner]]
        forehead = (head.template[:, 1] < -40) & (head.template[:, 2] > -22)
        ticks = torch.linspace(-1, 1, _FRAME)
        frame = torch.cartesian_prod(ticks, ticks)
        lines = torch.linspace(-1, 1, _GRID)
        self.head = head
        self.register_buffer("kept", kept, persistent=False)
        self.register_buffer("inner", inner, persistent=False)
        self.register_buffer("solid_mean", solid.mean(0), persistent=False)
        self.register_buffer(
            "to_camera", torch.linalg.pinv(solid - solid.mean(0)), persistent=False
        )
        self.register_buffer("forehead", head.template[forehead].mT, persistent=False)
        self.register_buffer("frame", frame[frame.abs().amax(1) == 1], persistent=False)
        self.register_buffer("grid", torch.cartesian_prod(lines, lines).flip(1), persistent=False)

    kept: Tensor
    inner: Tensor
    solid_mean: Tensor
    to_camera: Tensor
    forehead: Tensor
    frame: Tensor
    grid: Tensor

    def forward(
        self, points: Float[Tensor, "B L 2"], turn: Float[Tensor, "B 2"], side: int
    ) -> tuple[Float[Tensor, "B L 2"], Float[Tensor, "B 2 G G"], Float[Tensor, "B 2"]]:
        """Where the landmarks go, and where the pixels come from.

        Args:
            points: the landmarks, in px.
            turn: how far the head turns to the right of the picture and up, in rad.
            side: of the picture, in px.

        Returns:
            The landmarks in px; on a grid over the picture, columns before rows, how far from there
            the pixel is taken, in half sides of the picture; and the turns of the heads that did
            turn, 0 for the others.
        """
        middle = (side - 1) / 2
        before = (points - middle) / middle
        camera, turned, scale = self._cameras(before, turn)
        start, end = self._seen(camera, scale), self._seen(turned, scale)
        travel = end - start
        travel = travel - travel[:, : points.shape[1]].mean(1, keepdim=True)
        inner = before[:, self.inner].mean(1, keepdim=True)
        start = start + inner - (scale * camera[:, :2] @ self.solid_mean.unsqueeze(1)).mT
        frame = self.frame.expand(len(points), -1, -1)
        after = before + _spline(
            torch.cat([start, frame], 1), F.pad(travel, (0, 0, 0, frame.shape[1])), before
        )
        old, new = (torch.cat([face, frame], 1) for face in (before, after))
        field = _spline(new, old - new, self.grid).mT.unflatten(2, (_GRID, _GRID))
        whole = _cell_areas(field + self.grid.mT.unflatten(1, (_GRID, _GRID))).flatten(1)
        keeps = (whole.amin(1) > _SMALLEST_CELL) & (whole.amax(1) < 1 / _SMALLEST_CELL)
        moved = points + middle * (after - before) * keeps[:, None, None]
        return moved, field * keeps[:, None, None, None], turn * keeps.unsqueeze(1)

    def turned(
        self, batch: Batch, turn: Float[Tensor, "B 2"]
    ) -> tuple[Batch, Float[Tensor, "B 2 G G"]]:
        moved, field, turn = self(batch["points"], turn, batch["image"].shape[-1])
        old, new = (
            torch.cat([points.amin(1), points.amax(1)], 1) for points in (batch["points"], moved)
        )
        truth = {"points": moved, "box": batch["box"] + new - old}
        if "pose" in batch:
            truth["pose"] = angles(rotation(batch["pose"]) @ rotation(F.pad(turn, (0, 1))))
        return {**batch, **truth}, field

    def _cameras(self, points: Tensor, turn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The rotation of the head in the picture, that of the turned head, and the scale ``(B, 1,
        1)``.
        """
        inner = points[:, self.inner]
        affine = (self.to_camera @ (inner - inner.mean(1, keepdim=True))).mT
        left, sizes, right = torch.linalg.svd(affine, full_matrices=False)
        rows = left @ right
        camera = torch.cat([rows, torch.linalg.cross(rows[:, :1], rows[:, 1:])], 1)
        turned = camera @ rotation(F.pad(turn, (0, 1)))
        return camera, turned, sizes.mean(1)[:, None, None]

    def _seen(self, camera: Tensor, scale: Tensor) -> Tensor:
        """The landmarks of the mean head, then points of its forehead, as a camera sees them."""
        head = self.head
        landmarks = camera @ head.template[: head.num_landmarks].mT
        contours = camera @ head.contours(head.template[None])
        marks = head.with_contour(landmarks, contours, angles(camera)[:, 2])[..., self.kept]
        return (scale * torch.cat([marks, camera @ self.forehead], 2)[:, :2]).mT


def _spline(
    at: Float[Tensor, "B K 2"], values: Float[Tensor, "B K 2"], wanted: Float[Tensor, "*B N 2"]
) -> Float[Tensor, "B N 2"]:
    """The smoothing thin-plate spline through values at some places of the plane, at other
    places.
    """
    count = at.shape[1]
    affine = F.pad(at, (1, 0), value=1.0)
    bending = spline_kernel(at, at) + _SMOOTHING * torch.eye(count, device=at.device)
    system = torch.cat([torch.cat([bending, affine], 2), F.pad(affine.mT, (0, 3))], 1)
    weights = torch.linalg.solve_ex(system, F.pad(values, (0, 0, 0, 3)))[0]
    wanted = wanted.expand(len(at), -1, -1)
    return torch.baddbmm(
        F.pad(wanted, (1, 0), value=1.0) @ weights[:, count:],
        spline_kernel(wanted, at),
        weights[:, :count],
    )


def _cell_areas(places: Float[Tensor, "B 2 G G"]) -> Float[Tensor, "B G-1 G-1"]:
    """The areas of the cells of a warped grid, as shares of what they were; negative where it
    folds.
    """
    along, down = places.diff(dim=3)[:, :, :-1], places.diff(dim=2)[..., :-1]
    return (along[:, 0] * down[:, 1] - along[:, 1] * down[:, 0]) * ((_GRID - 1) / 2) ** 2
