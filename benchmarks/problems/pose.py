"""Pose from correspondences, many of them wrong, against robust Levenberg-Marquardt, scipy and
OpenCV.

``python -m benchmarks.problems.pose``: a known object with half of its points wrong, other points
in every sample with 30 % wrong, and a known object before a camera of unknown focal length. A
problem is solved when the rotation is right to 2 degrees.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learned_descent import DescentModel
from learned_descent.data.samples import Batch
from learned_descent.problems import Pose
from learned_descent.solvers import External, LevenbergMarquardt, Polished, ScipyLeastSquares

from .. import command
from ._common import options, run, trained

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "pose, known object": {},
    "pose, varying points": {"structure": "varying", "outliers": 0.3},
    "pose, unknown focal length": {"focal": True},
}

NUM_TEST = 512
"""Poses to find."""

STEPS, FEW = 40, 4
"""Steps of Levenberg-Marquardt alone, and after a learned descent."""


def opencv(problem: Pose, solve: Callable[..., Any]) -> External:
    """A method of OpenCV, one sample after the other; a sample that it gives up is left where it
    starts."""
    import cv2

    camera = np.eye(3)

    def poses(x0: Tensor, batch: Batch) -> Tensor:
        points = batch["points"] if "points" in batch else problem.object.expand(len(x0), -1, -1)
        found = torch.full((len(x0), 12), torch.nan, dtype=torch.float64)
        for row, known, seen in zip(
            found, points.double().numpy(), batch["projections"].double().numpy()
        ):
            try:
                solved, turn, shift, *_ = solve(known, seen, camera, None)
            except cv2.error:
                continue
            if solved:
                row[:9] = torch.from_numpy(cv2.Rodrigues(turn)[0]).flatten()
                row[9:] = torch.from_numpy(shift).flatten()
        return found

    return External(problem, poses)


def of_opencv(problem: Pose) -> tuple[dict[str, DescentModel], dict[str, str]]:
    """The methods of OpenCV that suit the problem, and why the others are left out."""
    try:
        import cv2
    except ImportError as error:
        return {}, {"OpenCV": f"{error}: pip install opencv-python-headless"}
    if problem.focal:
        return {}, {"OpenCV": "solvePnP and solvePnPRansac take a known focal length"}

    def epnp(*known: Any) -> Any:
        return cv2.solvePnP(*known, flags=cv2.SOLVEPNP_EPNP)

    def ransac(*known: Any) -> Any:
        threshold = 5 * problem.noise
        return cv2.solvePnPRansac(
            *known, iterationsCount=1000, reprojectionError=threshold, confidence=0.999
        )

    return {"EPnP": opencv(problem, epnp), "RANSAC": opencv(problem, ransac)}, {}


def compare(title: str, settings: Mapping[str, Any], arguments: Namespace) -> None:
    """Prints the table of one kind of problem."""
    problem = Pose(**settings, num_test=NUM_TEST)
    plain = Pose(**settings, robust=0.0)
    methods = trained(problem, ["sdm", "mdm"], seed=arguments.seed)
    polish = LevenbergMarquardt(problem, num_steps=FEW)
    methods |= {f"{name}+lm{FEW}": Polished(methods[name], polish) for name in ("sdm", "mdm")}
    methods |= {
        f"lm{STEPS}": LevenbergMarquardt(problem, num_steps=STEPS),
        "plain lm": LevenbergMarquardt(plain, num_steps=STEPS),
        "scipy": ScipyLeastSquares(problem),
    }
    others, left_out = of_opencv(problem)
    batch = problem.data("test")
    run(
        problem,
        {**methods, **others},
        title=title,
        out=arguments.out,
        levels=problem.error(problem.initial(batch), batch).round(decimals=1),
        level="start (deg)",
        rounds=arguments.rounds,
        seed=arguments.seed,
        left_out=left_out,
    )


def main(arguments: Namespace) -> None:
    """Prints a table per kind of problem."""
    for title, settings in SETTINGS.items():
        compare(title, settings, arguments)


if __name__ == "__main__":
    command(lambda: main(options(__doc__)))
