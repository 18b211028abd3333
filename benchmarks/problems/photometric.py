"""Photometric alignment: learned descent against Lucas-Kanade, pyramids and OpenCV's ECC.

``python -m benchmarks.problems.photometric --data ../shared/nlls``: the benchmark of Baker and Matthews (IJCV 2004) on its four
images, affine and homography, with its offsets of the control points times 1 to 10 px; solved within 1 px. Without the data, and
after it, skimage photos: a fixed template, the same under an occluder, and templates that were never seen.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import scipy.io
import torch
from torch import Generator, Tensor

from learned_descent import Cascade, DescentModel, Evaluation, SequentialRidge
from learned_descent.problem import Batch
from learned_descent.problems._photometric import Photometric
from learned_descent.problems.photometric import AnyTemplate, FixedTemplate
from learned_descent.problems.warps import Kind
from learned_descent.solvers import External, GaussNewton, LevenbergMarquardt, Polished

from ._common import options, run, trained

IMAGES = {"takeo": "takeo.pgm", "simon": "simon.jpg", "denso": "denso.png", "knee": "knee.jpg"}
OFFSETS: Mapping[Kind, str] = {"affine": "affine_pt_offset.mat", "homography": "homo_pt_offset.mat"}
PER_SIGMA = 125
"""Problems of each image, warp and sigma: 500 of each sigma over the four images."""


def baker_matthews(folder: Path, arguments: Namespace) -> None:
    """The four images, each warp of its own; then what they come to."""
    found: dict[tuple[str, Kind], dict[str, Evaluation]] = {}
    level = torch.arange(1.0, 11.0).repeat_interleave(PER_SIGMA)
    for warp, file in OFFSETS.items():
        offsets = torch.from_numpy(scipy.io.loadmat(folder / file)["pt_offset"]).float().unflatten(1, (-1, 2))
        for image, photo in IMAGES.items():
            corners = scipy.io.loadmat(folder / f"{image}.mat")["tdata"][0, 0]["tmplt"].ravel().astype(int) - 1
            settings = {"warp": warp, "spread": 0.25, "margin": 0.35, "lighting": 0.0, "noise": 1.0, "num_train": 1024}
            box = tuple(corners.tolist())
            problem = FixedTemplate(str(folder / photo), box, grid=25, **settings)
            every = FixedTemplate(str(folder / photo), box, grid=100, **settings)
            half = (torch.tensor(problem.size) - 1) / 2
            moves = level[:, None, None] * offsets[: len(level)] / half
            sdm = Cascade.for_problem(problem, num_steps=4)
            SequentialRidge(repeats=8, batch_size=256).fit(sdm, problem.data("train"))
            methods = {
                "sdm4": sdm,
                "sdm4+lm4": Polished(sdm, LevenbergMarquardt(problem, num_steps=4)),
                **classical(problem, 15),
                "lk15, every pixel": GaussNewton(every, num_steps=15),
            }
            found[image, warp] = run(
                problem,
                methods,
                title=f"lk20 {image} {warp}",
                out=arguments.out,
                samples=problem.simulate(moves, Generator().manual_seed(arguments.seed)),
                levels=level,
                level="sigma (px)",
                sizes=(1, 64, 4096) if image == "takeo" else (64,),
                rounds=arguments.rounds,
                seed=arguments.seed,
            )
    print("\nsdm4+lm4 at each sigma, less what lk15 solves (percent), and its multiple at sigma 10")
    for (image, warp), results in found.items():
        for other in ("lk15", "lk15, every pixel"):
            ours, theirs = ((results[name].error() <= 1).double().view(10, -1).mean(1) for name in ("sdm4+lm4", other))
            gains = " ".join(f"{100 * gain:+5.1f}" for gain in (ours - theirs).tolist())
            print(f"{image:6} {warp:10} {other:18} {gains}  {ours[-1] / theirs[-1]:.2f}x")


def classical(problem: Photometric, steps: int) -> dict[str, DescentModel]:
    """The classical methods by name."""
    return {
        f"lk{steps}": GaussNewton(problem, num_steps=steps),
        f"lm{steps}": LevenbergMarquardt(problem, num_steps=steps),
        f"pyramid lk{steps}": External(problem, pyramid(problem, steps)),
        f"ECC {steps}": External(problem, ecc(problem, steps)),
    }


def pyramid(problem: Photometric, steps: int) -> Callable[[Tensor, Batch], Tensor]:
    """Lucas and Kanade from coarse to fine: a third of the steps on a quarter, on half and on all of the grid."""
    grids = (problem.grid // 4, problem.grid // 2, problem.grid)
    levels = [GaussNewton(type(problem)(**{**problem.settings(), "grid": grid}), num_steps=steps // 3) for grid in grids]

    def solve(x: Tensor, batch: Batch) -> Tensor:
        for level in levels:
            x = level(batch, x).final
        return x

    return solve


def ecc(problem: Photometric, steps: int) -> Callable[[Tensor, Batch], Tensor]:
    """OpenCV's maximisation of the enhanced correlation coefficient, on every pixel."""
    affine = problem.warps.kind == "affine"
    mode = cv2.MOTION_AFFINE if affine else cv2.MOTION_HOMOGRAPHY
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, steps, -1)
    home = torch.linalg.inv(problem.home.double())[0].numpy()

    def solve(x: Tensor, batch: Batch) -> Tensor:
        cv2.setNumThreads(1)
        found = []
        for row, image in enumerate(batch["image"][:, 0].numpy()):
            start = x[row].double().view(3, 3).numpy() @ home
            start = (start / start[2, 2]).astype(np.float32)
            template = _pixels(problem, batch, row)
            try:
                _, warp = cv2.findTransformECC(template, image, start[:2] if affine else start, mode, criteria)
            except cv2.error:  # it did not converge
                warp = np.full((3, 3), np.nan)
            whole = np.vstack([warp, [0, 0, 1]]) if len(warp) == 2 else warp
            end = whole @ np.linalg.inv(home)
            found.append(torch.from_numpy(end / end[2, 2]).flatten())
        return torch.stack(found).float()

    return solve


def _pixels(problem: Photometric, batch: Batch, row: int) -> np.ndarray:
    """The template of a sample."""
    if isinstance(problem, FixedTemplate):
        left, top, right, bottom = problem.box
        return problem.photo_pixels[top : bottom + 1, left : right + 1].byte().numpy()
    return batch["template"][row, 0].numpy()


def photos(arguments: Namespace) -> None:
    """Skimage photos: a fixed template, an occluder, unseen templates; by the share of the side that the corners moved."""
    problems: dict[str, tuple[Photometric, list[str], int]] = {
        "fixed template": (FixedTemplate(), ["sdm"], 50),
        "occluder": (FixedTemplate("astronaut", (175, 70, 270, 165), warp="affine", occluder=0.35), ["sdm", "mdm"], 50),
        "any template": (AnyTemplate(), ["sdm", "mdm"], 50),
    }
    for title, (problem, families, steps) in problems.items():
        samples = problem.data("test")
        methods = trained(problem, families, seed=arguments.seed)
        methods |= {f"{name}+lm10": Polished(methods[name], LevenbergMarquardt(problem, num_steps=10)) for name in families}
        run(
            problem,
            {**methods, **classical(problem, steps)},
            title=title,
            out=arguments.out,
            levels=problem.spread * (torch.arange(len(samples["start"])) % 4 + 1) / 4,
            level="moved (sides)",
            sizes=(1, 64, 1024),
            rounds=arguments.rounds,
            seed=arguments.seed,
        )


def main(arguments: Namespace) -> None:
    """Prints a table per problem."""
    folder = arguments.data / "lk20"
    if folder.is_dir():
        baker_matthews(folder, arguments)
    else:
        print(f"left out: the benchmark of Baker and Matthews: no folder {folder}")
    photos(arguments)


if __name__ == "__main__":
    main(options(__doc__, data=True))
