"""How much landmarks tremble in a video, and how far they lag: ``python -m
benchmarks.paper.tracking --data DIR``.

Photos of 300-W are moved by a smooth similarity that is known, frame by frame, with the noise of a
camera on each. Measured are fits frame by frame in the boxes of the detector, the tracker, and the
tracker with smoothed landmarks::

    python -m benchmarks.paper.tracking --data ../shared/300w
    python -m benchmarks.paper.tracking --data ../shared/300w --choose

The jitter is the root mean square of what is left of the error of a coordinate when its moving mean
over half a second is taken off, over the distance between the outer corners of the eyes; the lag is
that shift in time at which the landmarks correlate best with the true ones. No photo opens its
mouth: to see how far a change of shape lags, the lower third of the landmarks of the raw fits is
moved up and down. ``--choose`` compares settings of the filters on held-out training faces under
other motion, from which the defaults are. It writes ``tracking.json``.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from learned_descent import DescentError
from learned_descent.faces.aligner import FaceAligner
from learned_descent.faces.alignment import FaceAlignment
from learned_descent.files import write_json
from learned_descent.landmarks.aligner import Aligner, Fit
from learned_descent.landmarks.crops import apply_affine, invert_affine, sampling_grid
from learned_descent.landmarks.metrics import normalising_distance
from learned_descent.landmarks.smoothing import OneEuro, Smoothing
from learned_descent.landmarks.tracker import Tracker
from learned_descent.provenance import provenance
from learned_descent.system.progress import progress_bar
from learned_descent.system.text import lay_out

from .. import command
from ._common import options

RATE = 30.0
WIDTH, HEIGHT, BOX = 480, 360, 150.0
"""The frames, and the side of the face's box in them, in px."""

SPEEDS = {"slow": 0.3, "brisk": 1.0, "fast": 2.0}
"""How fast the motion is played; brisk has frequencies of 0.1 to 1 Hz."""

NOISE = 4.0
"""The standard deviation of the camera's noise, in grey values."""

WINDOW = 15
"""The frames of the moving mean: half a second."""

SETTLED = 10
"""So many frames are left out at the beginning."""

LEAST_LAG = 0.6
"""What is chosen lags by at most so many frames."""


def motion(count: int, speed: float, generator: Generator) -> Tensor:
    """Similarities ``(T, 4)``: log of the scale, angle in rad, shift in px; three waves each."""
    seconds = torch.arange(count) / RATE * speed
    frequency, phase, weight = torch.rand(3, 4, 3, 1, generator=generator)
    waves = (2 * math.pi * ((0.1 + 0.9 * frequency) * seconds + phase)).sin()
    size = torch.tensor([0.08, 0.17, 25.0, 20.0])
    return ((0.5 + 0.5 * weight) * waves).sum(1).T / 1.5 * size


def video(
    image: Tensor, points: Tensor, moves: Tensor, generator: Generator
) -> tuple[list[np.ndarray], Tensor]:
    """The frames of a photo ``(3, S, S)`` that is moved, and its landmarks in them, in px."""
    side = image.shape[-1]
    scale, angle = moves[:, 0].exp(), moves[:, 1]
    a, b = scale * angle.cos(), scale * angle.sin()
    linear = torch.stack([torch.stack([a, -b], 1), torch.stack([b, a], 1)], 1)
    middle = torch.tensor([(WIDTH - 1) / 2, (HEIGHT - 1) / 2]) + moves[:, 2:]
    shift = middle.unsqueeze(2) - linear @ torch.full((2, 1), (side - 1) / 2)
    there = torch.cat([linear, shift], 2)
    frames = []
    for way in there:
        grid = sampling_grid(invert_affine(way.unsqueeze(0)), max(WIDTH, HEIGHT), side)
        seen = F.grid_sample(
            image.unsqueeze(0).float(),
            grid[:, :HEIGHT, :WIDTH],
            align_corners=True,
            padding_mode="reflection",
        )[0]
        noisy = seen + NOISE * torch.randn(seen.shape, generator=generator)
        frames.append(noisy.round().clamp(0, 255).byte().movedim(0, -1).numpy())
    return frames, apply_affine(there, points.expand(len(there), -1, -1))


def jitter(points: Tensor, truth: Tensor, size: Tensor) -> float:
    """The trembling of landmarks ``(T, L, 2)``, over their size ``(T,)``."""
    error = ((points - truth) / size[:, None, None]).flatten(1)
    half = WINDOW // 2
    left = error[half : len(error) - half] - error.unfold(0, WINDOW, 1).mean(-1)
    return float(left.square().mean().sqrt())


def lag(points: Tensor, truth: Tensor, most: int = 6) -> float:
    """By how many frames landmarks ``(T, L, 2)`` come after the true ones: the top of their
    correlation, between frames by a parabola."""
    found, wanted = points.flatten(1).double(), truth.flatten(1).double()
    count = len(found)
    values = []
    for shift in range(-2, most + 1):
        late = found[max(shift, 0) : count + min(shift, 0)]
        early = wanted[max(-shift, 0) : count - max(shift, 0)]
        late, early = late - late.mean(0), early - early.mean(0)
        values.append(float((late * early).sum() / (late.norm() * early.norm())))
    top = int(np.argmax(values[1:-1])) + 1
    before, here, after = values[top - 1 : top + 2]
    return top - 2 + 0.5 * (before - after) / (before - 2 * here + after)


def talking(truth: Tensor, mean_shape: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """A mouth that opens and closes twice a second by a tenth of ``size``: what it adds to the
    landmarks, and which move."""
    low = mean_shape[:, 1] > mean_shape[:, 1].quantile(2 / 3)
    wave = (2 * math.pi * 2.0 * torch.arange(len(truth)) / RATE).sin()
    moved = torch.zeros_like(truth)
    moved[:, low, 1] = 0.1 * (size * wave).unsqueeze(1)
    return moved, low


def smoothed(points: Tensor, smoothing: Smoothing, mean_shape: Tensor) -> Tensor:
    """Landmarks ``(T, L, 2)`` as the tracker smooths them."""
    before, found = None, []
    for number, these in enumerate(points):
        before = smoothing(these, seconds=number / RATE, mean_shape=mean_shape, before=before)
        found.append(before.points)
    return torch.stack(found)


def measured(
    raw: Tensor, truth: Tensor, size: Tensor, mean_shape: Tensor, smoothing: Smoothing | None
) -> list[float]:
    """Jitter, lag, and lag of the mouth, of one video."""

    def done(points: Tensor) -> Tensor:
        found = points if smoothing is None else smoothed(points, smoothing, mean_shape)
        return found[SETTLED:]

    quiet, true = done(raw), truth[SETTLED:]
    moved, low = talking(truth, mean_shape, size)
    mouth = (done(raw + moved) - true)[:, low, 1:]
    return [
        jitter(quiet, true, size[SETTLED:]),
        lag(quiet, true),
        lag(mouth, moved[SETTLED:, low, 1:]),
    ]


def followed(find: Callable[[np.ndarray], Sequence[Fit]], frames: list[np.ndarray], truth: Tensor):
    """The landmarks of the face in each frame ``(T, L, 2)``, and frames a second; where none is
    found those of the frame before count."""
    found, last, begun = [], truth[0], time.perf_counter()
    for frame, true in zip(frames, truth):
        fits = find(frame)
        if fits:
            last = min(
                (fit.landmarks for fit in fits), key=lambda one: float((one - true).square().sum())
            )
        found.append(last)
    return torch.stack(found), len(frames) / (time.perf_counter() - begun)


def tracked(aligner: Aligner) -> Callable[[np.ndarray], Sequence[Fit]]:
    tracker = Tracker(aligner, smoothing=None)
    return lambda frame: [one.fit for one in tracker(frame)]


def videos(arguments: argparse.Namespace, split: str, seed: int):
    """The frames, landmarks and speed of each video."""
    generator = Generator().manual_seed(seed)
    problem = FaceAlignment(
        arguments.data, train=("helen/trainset",), test=arguments.test, crop=448, box_side=BOX
    )
    batch = problem.data(split)
    chosen = torch.randperm(len(batch["image"]), generator=generator).tolist()
    for number, speed in product(range(arguments.faces), SPEEDS):
        place = chosen[(number * len(SPEEDS) + list(SPEEDS).index(speed)) % len(chosen)]
        moves = motion(arguments.frames, SPEEDS[speed], generator)
        frames, truth = video(batch["image"][place], batch["points"][place], moves, generator)
        yield speed, frames, truth, normalising_distance(truth, problem.schema, "inter_ocular")


def choose(arguments: argparse.Namespace) -> None:
    """Prints what settings of the filters do, and which are best."""
    aligner = FaceAligner.from_pretrained(arguments.weights, views=1).aligner
    mean, seen = aligner.problem.mean_shape, []
    for _, frames, truth, size in progress_bar(
        videos(arguments, "val", seed=1), total=len(SPEEDS) * arguments.faces, unit="video"
    ):
        seen.append((followed(tracked(aligner), frames, truth)[0], truth, size))
    rows, usual = [], Smoothing()
    for place, shape, least in product((60.0, 150.0, 400.0), (5.0, 10.0, 20.0, 40.0), (0.2, 0.5)):
        smoothing = Smoothing(
            place=replace(usual.place, gain=place),
            shape=OneEuro(least=least, gain=shape, velocity=usual.shape.velocity),
        )
        values = np.mean([measured(*one, mean, smoothing) for one in seen], 0)
        rows.append(((place, shape, least), values))
    names = ("gain of the place", "gain of the shape", "its least cutoff")
    settings = [[name, *(f"{row[0][i]:g}" for row in rows)] for i, name in enumerate(names)]
    columns = [
        ["jitter", *(f"{100 * row[1][0]:.3f} %" for row in rows)],
        ["lag", *(f"{row[1][1]:.2f}" for row in rows)],
        ["of the mouth", *(f"{row[1][2]:.2f}" for row in rows)],
    ]
    print(lay_out([settings, columns], ["", "mean of all videos"]))
    fit = [row for row in rows if max(row[1][1:]) <= LEAST_LAG]
    if fit:
        best = min(fit, key=lambda row: float(row[1][0]))[0]
        print(f"least jitter at a lag of at most {LEAST_LAG:g} frames: {best}")


def main() -> None:
    """Moves, follows, measures, prints."""
    parser = options(__doc__, "tracking", trains=False)
    parser.add_argument("--weights", default="tokens", help="the name of weights, or a file")
    parser.add_argument("--faces", type=int, default=3, help="so many faces for each speed")
    parser.add_argument("--frames", type=int, default=90, help="the frames of each video")
    parser.add_argument("--choose", action="store_true", help="compare settings of the filters")
    arguments = parser.parse_args()
    if arguments.faces < 1 or arguments.frames < SETTLED + 2 * WINDOW:
        raise DescentError(
            f"--faces and --frames: expected 1 and {SETTLED + 2 * WINDOW} or more, got "
            f"{arguments.faces} and {arguments.frames}"
        )
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if arguments.choose:
        choose(arguments)
        return
    single = FaceAligner.from_pretrained(arguments.weights)
    aligner = FaceAligner.from_pretrained(arguments.weights, views=1).aligner
    mean = aligner.problem.mean_shape
    names = ("frame by frame", "tracked, not smoothed", "tracked")
    found = {name: {speed: [] for speed in SPEEDS} for name in names}
    paces, moving = {name: [] for name in names}, {speed: [] for speed in SPEEDS}
    for speed, frames, truth, size in progress_bar(
        videos(arguments, "test", seed=0), total=len(SPEEDS) * arguments.faces, unit="video"
    ):
        steps = (truth[1:] - truth[:-1]).norm(dim=-1).mean(1) / size[1:] * RATE
        moving[speed].append(float(steps.square().mean().sqrt()))
        for name, find in zip(names, (single, tracked(aligner))):
            points, pace = followed(find, frames, truth)
            paces[name].append(pace)
            found[name][speed].append(measured(points, truth, size, mean, None))
        begun = time.perf_counter()
        found["tracked"][speed].append(measured(points, truth, size, mean, Smoothing()))
        filtering = (time.perf_counter() - begun) / (2 * len(frames))  # it smooths twice
        paces["tracked"].append(1 / (1 / paces[names[1]][-1] + filtering))
    groups, titles = [[["", *names]]], [""]
    for speed in (*SPEEDS, "all"):
        chosen = [speed] if speed in SPEEDS else list(SPEEDS)
        means = [
            np.mean([one for kind in chosen for one in found[name][kind]], 0) for name in names
        ]
        groups.append(
            [
                ["jitter", *(f"{100 * value[0]:.3f} %" for value in means)],
                ["lag", *(f"{value[1]:.2f}" for value in means)],
            ]
        )
        pace = f" ({np.mean(moving[speed]):.1f} / s)" if speed in SPEEDS else ""
        titles.append(f"{speed}{pace}")
    mouths = [np.mean([one[2] for kind in SPEEDS for one in found[name][kind]]) for name in names]
    groups += [[["mouth lags", *(f"{value:.2f}" for value in mouths)]]]
    groups += [[["frames / s", *(f"{np.median(paces[name]):.1f}" for name in names)]]]
    print(lay_out(groups, [*titles, "", ""]))
    settings = {name: value for name, value in vars(arguments).items() if name != "out"}
    write_json(
        arguments.out / "tracking.json",
        {**provenance(0, settings), "results": found, "speeds": moving, "frames_a_second": paces},
    )
    print(f"written to {arguments.out}")


if __name__ == "__main__":
    command(main)
