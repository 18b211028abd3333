"""Pose and focal length from 50 real views of a checkerboard, against OpenCV's calibration of the
same corners.

``python -m benchmarks.problems.calibration [--data ../shared/nlls]``: 25 views of a board of 9 x 6
corners by each of two cameras. Lens distortion and principal point are OpenCV's. First the pose
alone, where 30 % of the corners are anywhere; then the pose and the focal length of every view on
its own, from the width of the image as a guess; then all views of a camera at once. What is learnt
is learnt on simulated views of the board.
"""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from learned_descent import LeastSquares, Observation
from learned_descent.data.samples import Batch, Split
from learned_descent.files import write_json
from learned_descent.problems import Pose
from learned_descent.provenance import provenance
from learned_descent.solvers import LevenbergMarquardt, Polished
from learned_descent.system.text import lay_out

from .. import command
from ._common import options, run, trained
from .pose import FEW, STEPS, of_opencv

WRONG, REPEATS = 0.3, 10
"""The share of the corners that are put anywhere, and how often this is done to every view."""

JOINT = 20
"""Steps of Levenberg-Marquardt on all views at once."""

BOARD: Mapping[str, Any] = {"distance": 7.5, "noise": 0.0005, "robust": 0.005}
"""How far away the board is at the start, in its sizes; the noise of the corners, and where the
kernel sets in."""


class Camera(NamedTuple):
    """The views ``(V, N, 2)`` of one camera, and OpenCV's calibration of it."""

    pixels: Tensor
    """Without distortion, from the principal point."""
    poses: Tensor
    """By solvePnP with the known camera, ``(V, 12)``."""
    focal: float
    """In px, the mean of both axes."""
    width: int
    rms: float
    """The root mean square distance of a corner from its projection after OpenCV's calibration, in
    px."""


def read(files: Any, name: str, board: Tensor, cv2: Any) -> Camera:
    """The views of the camera ``name``."""
    matrix, distortion = files[f"{name}_opencv_K"], files[f"{name}_opencv_distortion"]
    focal = float(matrix[0, 0] + matrix[1, 1]) / 2
    pixels, poses = [], []
    for corners in files[name].astype(np.float64):
        straight = cv2.undistortPoints(corners, matrix, distortion).squeeze(1)
        _, turn, shift = cv2.solvePnP(board.double().numpy(), straight, np.eye(3), None)
        poses.append(np.concatenate([cv2.Rodrigues(turn)[0].ravel(), shift.ravel()]))
        pixels.append(straight * matrix.diagonal()[:2])
    views, found = (torch.from_numpy(np.stack(value)).float() for value in (pixels, poses))
    return Camera(
        views, found, focal, int(files["image_size"][0]), float(files[f"{name}_opencv_rms"])
    )


class Joint(LeastSquares):
    """All views of a camera as one sample: a pose per view, and one focal length.

    ``x (1, 13 V)`` holds the ``x`` of every view, which share their focal length; an update is
    ``(1, 6 V + 1)``.
    """

    failure_above = 0.01

    def __init__(self, view: Pose, projections: Tensor, start: Tensor, focal: float) -> None:
        super().__init__()
        self.view, self.projections, self.start, self.focal = view, projections, start, focal
        self.kernel = view.kernel

    def data(self, split: Split) -> dict[str, Tensor]:
        return {"projections": self.projections.unsqueeze(0)}

    def initial(self, batch: Batch, generator: Generator | None = None) -> Tensor:
        zoom = self.start[:, 12:].median() - self.start[:, 12:]
        delta = torch.cat([self.start.new_zeros(len(zoom), 6), zoom / self.view.unit[6]], 1)
        return self.view.retract(self.start, delta).flatten().unsqueeze(0)

    def target(self, batch: Batch) -> Tensor:
        raise NotImplementedError("nobody knows")

    def observation(self) -> Observation:
        raise NotImplementedError("for solvers only")

    def retract(self, x: Tensor, delta: Tensor) -> Tensor:
        views = self._views(x)
        steps = delta[:, :-1].view(len(views), 6)
        return self.view.retract(
            views, torch.cat([steps, delta[:, -1:].expand(len(views), 1)], 1)
        ).view_as(x)

    def local(self, x: Tensor, y: Tensor) -> Tensor:
        steps, zoom = self.view.local(self._views(x), self._views(y)).split([6, 1], 1)
        return torch.cat([steps.flatten(), zoom.mean(0)]).unsqueeze(0)

    def residual(self, x: Tensor, batch: Batch) -> Tensor:
        return (
            self.view.residual(self._views(x), {"projections": batch["projections"][0]})
            .flatten()
            .unsqueeze(0)
        )

    def jacobian(self, x: Tensor, batch: Batch) -> Tensor:
        views = self._views(x)
        own, shared = self.view.jacobian(views, {"projections": batch["projections"][0]}).split(
            [6, 1], 2
        )
        blocks = torch.einsum("vrd,vw->vrwd", own, torch.eye(len(views), dtype=x.dtype)).flatten(2)
        return torch.cat([blocks, shared], 2).flatten(0, 1).unsqueeze(0)

    def error(self, x: Tensor, batch: Batch) -> Tensor:
        return (self._views(x)[:1, 12].exp() / self.focal - 1).abs()

    def _views(self, x: Tensor) -> Tensor:
        return x.view(-1, 13)


def known_camera(board: Tensor, cameras: dict[str, Camera], arguments: Namespace) -> None:
    """Prints the table of the views with wrong corners."""
    problem = Pose(points=board.tolist(), outliers=WRONG, **BOARD)
    projections = torch.cat([camera.pixels / camera.focal for camera in cameras.values()]).repeat(
        REPEATS, 1, 1
    )
    generator = Generator().manual_seed(0)
    draw = torch.rand(*projections.shape[:2], 3, generator=generator)
    wrong = draw[..., 2].argsort(1) < round(WRONG * len(board))
    samples = {
        "projections": torch.where(wrong.unsqueeze(2), draw[..., :2] - 0.5, projections),
        "pose": torch.cat([camera.poses for camera in cameras.values()]).repeat(REPEATS, 1),
    }
    sdm = trained(problem, ["sdm"], seed=arguments.seed)["sdm"]
    methods = {
        "sdm": sdm,
        f"sdm+lm{FEW}": Polished(sdm, LevenbergMarquardt(problem, num_steps=FEW)),
        f"lm{STEPS}": LevenbergMarquardt(problem, num_steps=STEPS),
    }
    others, left_out = of_opencv(problem)
    run(
        problem,
        {**methods, **others},
        title="checkerboard",
        out=arguments.out,
        samples=samples,
        level="start (deg)",
        rounds=arguments.rounds,
        seed=arguments.seed,
        left_out=left_out,
    )


def unknown_focal(board: Tensor, cameras: dict[str, Camera], arguments: Namespace) -> None:
    """Prints what is found of the focal length, per view and jointly."""
    problem = Pose(points=board.tolist(), focal=True, outliers=0.0, **BOARD)
    sdm = trained(problem, ["sdm"], seed=arguments.seed)["sdm"]
    solver = LevenbergMarquardt(problem, num_steps=STEPS)
    found = {}
    for name, camera in cameras.items():
        projections, unit = camera.pixels / camera.width, camera.focal / camera.width
        pose = torch.cat([camera.poses, torch.full((len(camera.poses), 1), math.log(unit))], 1)
        batch = {"projections": projections, "pose": pose}
        methods = {f"sdm+lm{STEPS}": Polished(sdm, solver), f"lm{STEPS}": solver}
        views = {method: model(batch).final.detach() for method, model in methods.items()}
        rows = {
            f"{method}, each view": _described(problem, x, batch, camera)
            for method, x in views.items()
        }
        for method, x in views.items():
            joint = Joint(problem, projections.double(), x.double(), unit)
            answer = LevenbergMarquardt(joint, num_steps=JOINT)(joint.data("test")).final.view(
                -1, 13
            )
            rows[f"{method}, then jointly"] = _described(problem, answer.float(), batch, camera)
        found[name] = rows
        columns = [
            [f"{value:.4g}" for value in column]
            for column in zip(*(row.values() for row in rows.values()))
        ]
        heads = next(iter(rows.values()))
        blocks = [
            [[f"{name} camera", *rows]],
            [[head, *column] for head, column in zip(heads, columns)],
        ]
        print(f"\n{lay_out(blocks, ['', ''])}\nOpenCV: {camera.focal:.1f} px, {camera.rms:.3f} px")
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_json(
        arguments.out / "calibration.json", {**provenance(arguments.seed, None), "cameras": found}
    )


def _described(problem: Pose, x: Tensor, batch: Batch, camera: Camera) -> dict[str, float]:
    """What is found of all views, by the name of a column."""
    off = problem.metrics(x, batch)
    return {
        "views within 2 deg": float((off["rotation"] <= problem.failure_above).sum()),
        "focal (px)": float(x[:, 12].exp().median()) * camera.width,
        "median off (%)": 100 * float(off["focal"].median()),
        "median rms (px)": float(_rms(problem.residual(x, batch)).median()) * camera.width,
    }


def _rms(residual: Tensor) -> Tensor:
    """The root mean square length of the residual vectors of every view, ``(V,)``."""
    return residual.unflatten(1, (-1, 2)).square().sum(2).mean(1).sqrt()


def main(arguments: Namespace) -> None:
    """Prints both tables."""
    path = arguments.data / "calibration" / "checkerboard_9x6.npz"
    try:
        import cv2
    except ImportError as error:
        print(f"nothing to compare with: {error}: pip install opencv-python-headless")
        return
    if not path.exists():
        print(f"{path} is not there: name the folder of the real views with --data")
        return
    files = np.load(path)
    board = torch.from_numpy(files["object_points"]).float()
    board -= board.mean(0)
    cameras = {name: read(files, name, board, cv2) for name in ("left", "right")}
    known_camera(board, cameras, arguments)
    unknown_focal(board, cameras, arguments)


if __name__ == "__main__":
    command(lambda: main(options(__doc__, data=True)))
