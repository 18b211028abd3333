"""Photometric alignment: learned descent against Lucas-Kanade, pyramids and OpenCV's ECC.

``python -m benchmarks.problems.photometric --data ../shared/nlls``: the benchmark of Baker and
Matthews (IJCV 2004) on its four images, affine and homography, with its offsets of the control
points times 1 to 10 px; solved within 1 px. Without the data, and after it, skimage photos: a fixed
template, the same under an occluder, and templates that were never seen.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import scipy.io
import torch
from torch import Generator, Tensor

from learned_descent import Cascade, DescentModel, SequentialRidge, evaluate
from learned_descent.data.samples import Batch
from learned_descent.problems.photometric.base import Photometric
from learned_descent.problems.photometric.problems import AnyTemplate, FixedTemplate
from learned_descent.problems.photometric.warps import Kind
from learned_descent.solvers import External, GaussNewton, LevenbergMarquardt, Polished
from learned_descent.system.text import lay_out

from .. import command
from ._common import options, run, trained

try:
    import cv2
except ImportError:  # ECC is left out
    cv2 = None

IMAGES = {"takeo": "takeo.pgm", "simon": "simon.jpg", "denso": "denso.png", "knee": "knee.jpg"}
OFFSETS: Mapping[Kind, str] = {"affine": "affine_pt_offset.mat", "homography": "homo_pt_offset.mat"}
PER_SIGMA = 50
"""Problems of each image, warp and sigma: 400 of each sigma over the four images and two warps."""

STEPS, SIZES = 50, (1, 64, 4096)
"""On photos: steps of the classical methods, and the batch sizes that are timed."""

OURS, CLASSICAL = "sdm4+gn3", ("lk15", "lk15 on all")
"""The learned method, and the inverse compositional ones that it is held against: on its grid, and
on every pixel."""


def baker_matthews(folder: Path, arguments: Namespace) -> None:
    """The four images, each warp of its own; then what they come to."""
    rows: list[list[str]] = []
    bars = {name: torch.zeros(3, dtype=torch.long) for name in CLASSICAL}
    level = torch.arange(1.0, 11.0).repeat_interleave(PER_SIGMA)
    for warp, file in OFFSETS.items():
        offsets = (
            torch.from_numpy(scipy.io.loadmat(folder / file)["pt_offset"])
            .float()
            .unflatten(1, (-1, 2))
        )
        for image, photo in IMAGES.items():
            corners = (
                scipy.io.loadmat(folder / f"{image}.mat")["tdata"][0, 0]["tmplt"]
                .ravel()
                .astype(int)
                - 1
            )
            settings = {
                "warp": warp,
                "spread": 0.25,
                "margin": 0.35,
                "lighting": 0.0,
                "noise": 1.0,
                "inverse": True,
            }
            photo, box = str(folder / photo), corners.tolist()
            problem = FixedTemplate(photo, box, grid=25, num_train=1024, **settings)
            shown, moved = (
                FixedTemplate(photo, box, grid=25, elsewhere=share, **settings)
                for share in (0.0, 1.0)
            )
            every = FixedTemplate(photo, box, grid=100, **settings)
            sdm = Cascade.for_problem(problem, num_steps=4)
            SequentialRidge(ridge=(1e-3, 1e-2, 1e-1), repeats=8, batch_size=256).fit(
                sdm, problem.data("train"), seed=arguments.seed
            )
            methods = {
                "sdm4": sdm,
                OURS: Polished(sdm, GaussNewton(problem, num_steps=3)),
                "lk15": GaussNewton(problem, num_steps=15),
                "lk15 on all": GaussNewton(every, num_steps=15),
                "pyramid lk15": External(problem, pyramid(problem, 15)),
            }
            if cv2 is not None:
                methods["ECC 15"] = External(problem, ecc(problem, 15))
            half = (torch.tensor(problem.size) - 1) / 2
            moves = level[:, None, None] * offsets[: len(level)] / half
            found, timings = run(
                problem,
                methods,
                title=f"lk20 {image} {warp}",
                out=arguments.out,
                samples=shown.simulate(moves, Generator().manual_seed(arguments.seed)),
                levels=level,
                level="sigma (px)",
                sizes=(1, 64, 4096) if image == "takeo" else (64,),
                rounds=arguments.rounds,
                seed=arguments.seed,
            )
            other = moved.simulate(moves, Generator().manual_seed(arguments.seed))
            found |= {
                f"{name}, moved": evaluate(methods[name], other, batch_size=64)
                for name in ("sdm4", OURS, "lk15")
            }
            taken = {name: figures[64] for name, figures in timings.items()}
            solved = {
                name: (result.error() <= 1).double().view(10, -1).mean(1)
                for name, result in found.items()
            }
            for name, shares in solved.items():
                cells = [f"{100 * share:.0f}" for share in shares.tolist()]
                rows.append(
                    [
                        f"{image} {warp}",
                        name,
                        *cells,
                        f"{taken[name]:,.0f}" if name in taken else "",
                    ]
                )
            for name in CLASSICAL:
                ours, theirs = solved[OURS], solved[name]
                reached = [
                    bool((ours >= theirs).all()),
                    bool(ours[-1] >= 1.5 * theirs[-1]),
                    taken[OURS] < taken[name],
                ]
                bars[name] += torch.tensor(reached)
    header = ["image and warp", "method", *map(str, range(1, 11)), "us"]
    columns = [list(column) for column in zip(header, *rows)]
    groups = [columns[:2], columns[2:12], columns[12:]]
    print(f"\n{lay_out(groups, ['', '% within 1 px at sigma (px)', ''])}\n")
    print(
        "moved: the template in other photos, which nothing was trained on; us: microseconds per "
        "problem, B=64"
    )
    for name, reached in bars.items():
        often, half_more, quick = reached.tolist()
        print(
            f"{OURS} against {name}, in 8 runs: at least as often at every sigma in {often}, at "
            f"sigma 10 at least 1.5 times as often in {half_more}, in less time in {quick}"
        )


def classical(problem: Photometric, steps: int) -> dict[str, DescentModel]:
    """The classical methods by name."""
    methods: dict[str, DescentModel] = {
        f"lk{steps}": GaussNewton(problem, num_steps=steps),
        f"lm{steps}": LevenbergMarquardt(problem, num_steps=steps),
        # More levels solve less
        f"pyramid lk{steps}": External(problem, pyramid(problem, steps, (2, 1))),
    }
    if cv2 is not None:
        methods[f"ECC {steps}"] = External(problem, ecc(problem, steps))
    return methods


def pyramid(
    problem: Photometric, steps: int, factors: Sequence[int] = (4, 2, 1)
) -> Callable[[Tensor, Batch], Tensor]:
    """Lucas and Kanade from coarse to fine: equal shares of the steps on a quarter, on half and on
    all of the grid."""
    grids, few = [problem.grid // factor for factor in factors], steps // len(factors)
    levels = [
        GaussNewton(type(problem)(**{**problem.settings(), "grid": grid}), num_steps=few)
        for grid in grids
    ]

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
                _, warp = cv2.findTransformECC(
                    template, image, start[:2] if affine else start, mode, criteria
                )
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
    """Skimage photos: a fixed template, an occluder, unseen templates."""
    face = (175, 70, 270, 165)
    hidden = FixedTemplate(
        "astronaut", face, warp="affine", blur=0.5, occluder=0.35, inverse=True, robust=1.0
    )
    photo("fixed template", FixedTemplate(inverse=True), arguments)
    photo("occluder", hidden, arguments)
    photo("any template", AnyTemplate(inverse=True), arguments)


def photo(title: str, problem: Photometric, arguments: Namespace) -> None:
    """The table of one problem, by the share of the side that the corners moved."""
    samples = problem.data("test")
    methods = trained(problem, ["sdm", "mdm"], seed=arguments.seed)
    polish = LevenbergMarquardt(problem, num_steps=10)
    methods |= {f"{name}+lm10": Polished(model, polish) for name, model in methods.items()}
    methods |= classical(problem, STEPS)
    if problem.settings()["robust"]:
        squares = type(problem)(**{**problem.settings(), "robust": 0.0})
        methods[f"lk{STEPS}, squares"] = GaussNewton(squares, num_steps=STEPS)
    run(
        problem,
        methods,
        title=title,
        out=arguments.out,
        samples=samples,
        levels=problem.spread * (torch.arange(len(samples["start"])) % 4 + 1) / 4,
        level="moved (sides)",
        loose=0.03 * min(problem.size),
        sizes=SIZES,
        rounds=arguments.rounds,
        seed=arguments.seed,
    )


def main(arguments: Namespace) -> None:
    """Prints a table per problem."""
    if cv2 is None:
        print("left out: ECC: pip install opencv-python-headless")
    folder = arguments.data / "lk20"
    if folder.is_dir():
        baker_matthews(folder, arguments)
    else:
        print(f"left out: the benchmark of Baker and Matthews: no folder {folder}")
    photos(arguments)


if __name__ == "__main__":
    command(lambda: main(options(__doc__, data=True)))
