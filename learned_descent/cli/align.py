"""What the command line does with photos: align, and calibrate for it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tqdm import tqdm

from ..checkpoint.model import annotate, load_model, pack
from ..data.pictures import PictureWarning, read_picture
from ..errors import DescentError
from ..problem import Problem
from ..system.progress import progress_bar
from .runs import check_measurement, prepare_folder, problem_of

if TYPE_CHECKING:
    from ..faces.aligner import Face, FaceAligner
    from ..faces.output import Format

FORMATS = ("png", "json", "csv", "pts", "ljson")
"""What ``align`` can write."""

_WAY_OUT = "give another --output, or --overwrite to replace it"

_SHOWN = 3
"""So many of the warnings about the faces of one photo are told in full."""


def align(
    photos: Sequence[Path],
    *,
    weights: str = "mdm",
    views: int = 4,
    box: Sequence[str] | None = None,
    boxes: Path | None = None,
    output: Path = Path("aligned"),
    format: Sequence[Format] = ("png", "json"),  # noqa: A002 - the name of the option
    device: Literal["cpu", "cuda"] = "cpu",
    overwrite: bool = False,
) -> tuple[str, bool]:
    """Finds the faces in photos and their landmarks; writes pictures and files of landmarks.

    A photo that cannot be aligned is named on the error stream, and the others are still done; the
    exit code is 1 then.

    Args:
        photos: the image files.
        weights: the name of weights that come with the package, or a weights file.
        views: how many copies of each face are fitted, from 1 to 4; their mirror images come on
            top.
        box: the box of the one face in the one photo.
        boxes: a .csv of rows IMAGE,x0,y0,x1,y1, or a .json, of the boxes of the faces in pixels
            from 0; the faces are detected where neither --box nor --boxes is given.
        output: the folder for STEM.png, STEM.json and STEM.csv of each photo, and STEM_0.pts or
            STEM_0.ljson of each face.
        format: what is written.
        device: cpu or cuda.
        overwrite: replace the files that are there.

    Returns:
        A line for each photo, and whether all went well.
    """
    from ..faces.aligner import FaceAligner
    from ..landmarks.boxes import find_boxes, read_all_boxes

    check_measurement(1, device)
    photos = list(dict.fromkeys(photos))
    if box is not None and (len(photos) > 1 or boxes is not None):
        raise DescentError(
            "--box: expected one photo and no --boxes; give the boxes of several photos by --boxes "
            "FILE"
        )
    aligner = FaceAligner.from_pretrained(weights, views=views, device=device)
    given = None if boxes is None else read_all_boxes(boxes)
    prepare_folder(output)
    sources = {file.resolve() for file in (*photos, *([boxes] if boxes else []))}
    owners: dict[str, Path] = {}
    lines, failed, told = [], [], set[str]()
    for photo in progress_bar(photos, "aligning", unit="photo", disable=len(photos) == 1):
        try:
            owner = owners.setdefault(photo.stem, photo)
            if owner != photo:
                raise DescentError(
                    f"{photo}: would replace the faces of {owner}: align it by itself, into "
                    "another --output"
                )
            wanted = None if given is None else find_boxes(given, photo)
            with _printed(photo, told):
                lines.append(
                    _align_one(
                        aligner, photo, _numbers(box) or wanted, output, format, sources, overwrite
                    )
                )
        except Exception as error:  # whatever is odd about one photo, the others are done
            expected = isinstance(error, (DescentError, OSError))
            reason = error if expected else f"{photo}: could not be aligned ({error!r})"
            failed.append(str(photo))
            tqdm.write(f"learned-descent: {reason}", file=sys.stderr)
    if len(photos) > 1 and failed:
        tqdm.write(
            f"learned-descent: {len(failed)} of {len(photos)} photos failed: {', '.join(failed)}",
            file=sys.stderr,
        )
    return "\n".join(lines), not failed


def calibrate(
    weights: Path,
    *,
    problem: Problem | None = None,
    problem_file: str | None = None,
    faces: int = 600,
    seed: int = 0,
    output: Path | None = None,
    overwrite: bool = False,
) -> str:
    """Fits the offset of the detectors' boxes and the confidence of the fits, and stores both in a
    weights file of faces.

    Args:
        weights: the file that ``train`` or ``compare`` wrote.
        problem: the problem; by default it is made as the file says.
        problem_file: the problem, file.py:Class, where it is not a built-in one, or another of its
            kind, such as faces.
        faces: at most so many training faces are shown to each detector.
        seed: the seed of the choice of faces and of the variants of the held-out ones.
        output: a copy to hand on, in half precision and without the folders of this machine.
        overwrite: replace the copy that is there.

    Returns:
        What was found.
    """
    from ..faces.calibration import fit_calibration
    from ..faces.detectors import CenterFace, LBPCascade

    if output is not None:
        if output.resolve() == weights.resolve():
            raise DescentError(
                f"--output {output}: is the weights file itself, which would lose precision: give "
                "another"
            )
        prepare_folder(output.parent, None if overwrite else output, _WAY_OUT)
    model = load_model(weights, problem=problem or problem_of(weights, problem_file))
    found = fit_calibration(model, [CenterFace(), LBPCascade()], faces=faces, seed=seed)
    annotate(weights, "calibration", found.to_json())
    lines = [
        f"{name}: finds {offset.found:.1%} of the faces; shift {offset.shift[0]:.3f} "
        f"{offset.shift[1]:.3f} (spread {offset.spread[0]:.3f}), log of the scale "
        f"{offset.log_scale:.3f} (spread {offset.spread[1]:.3f})"
        for name, offset in found.boxes.items()
    ]
    if output is not None:
        pack(weights, output)
    return "\n".join(
        [
            *lines,
            f"{found.confidence}",
            f"stored in {weights}",
            *([f"packed: {output}"] if output else []),
        ]
    )


def _align_one(
    aligner: FaceAligner,
    photo: Path,
    boxes: Sequence[Sequence[float]] | None,
    output: Path,
    kinds: Sequence[Format],
    sources: set[Path],
    overwrite: bool,
) -> str:
    """Writes the files of one photo; returns the line that tells of them."""
    from ..faces.output import files_of, write_faces

    pixels = read_picture(photo)
    try:
        faces = aligner(pixels, boxes)
    except DescentError as error:
        raise DescentError(f"{photo}: {error}") from error
    files = {kind: files_of(output, photo.stem, kind, len(faces)) for kind in kinds}
    for file in (file for found in files.values() for file in found):
        if file.resolve() in sources:
            raise DescentError(
                f"{photo}: {file} is one of the files to read: give another --output"
            )
        prepare_folder(output, None if overwrite else file, _WAY_OUT)
    for kind, found in files.items():
        _look_for_more(output, photo, kind, found, overwrite)
    for kind in files:
        write_faces(output, photo.stem, kind, faces, pixels, aligner.problem.edges)
    if not faces:
        raise DescentError(f"{photo}: no face found; give its box by --box or --boxes")
    return f"{photo}: {_summary(faces)}; {', '.join(_span(found) for found in files.values())}"


def _look_for_more(
    output: Path, photo: Path, kind: Format, files: Sequence[Path], overwrite: bool
) -> None:
    """Tells of the files of further faces that an earlier run has found: they would pass for faces
    of this one.
    """
    from ..faces.detectors import FaceWarning
    from ..faces.output import files_of

    more = files_of(output, photo.stem, kind, len(files) + 1)[-1]
    if more not in files and more.exists():
        if not overwrite:
            raise DescentError(f"{more}: is there already: {_WAY_OUT}")
        warnings.warn(
            f"{more} is left of an earlier run that found more faces: remove it",
            FaceWarning,
            stacklevel=2,
        )


def _summary(faces: Sequence[Face]) -> str:
    """The number of faces and their confidence: one line, however many there are."""
    sure = sorted(f"{face.confidence:.2f}" for face in faces)
    span = sure[0] if sure[0] == sure[-1] else f"{sure[0]} to {sure[-1]}"
    known = faces[0].confidence == faces[0].confidence
    plural = "s" * (len(faces) > 1)
    return (
        f"{len(faces)} face{plural}, confidence "
        f"{span if known else 'unknown: calibrate the weights'}"
    )


def _span(files: Sequence[Path]) -> str:
    return str(files[0]) if len(files) == 1 else f"{files[0]} to {files[-1].name}"


def _numbers(box: Sequence[str] | None) -> list[list[float]] | None:
    try:
        return None if box is None else [[float(side) for side in box]]
    except ValueError as error:
        raise DescentError(
            f"--box: expected the four numbers x0 y0 x1 y1, got {' '.join(box or [])}"
        ) from error


@contextmanager
def _printed(photo: Path, told: set[str]) -> Iterator[None]:
    """Warnings go to the error stream: those about a photo in one line with its name, those of the
    set-up once.
    """
    from ..faces.detectors import DetectorWarning, FaceWarning

    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            of_faces = [
                str(note.message) for note in notes if issubclass(note.category, FaceWarning)
            ]
            if of_faces:
                more = [f"and {len(of_faces) - _SHOWN} more"] if len(of_faces) > _SHOWN else []
                text = "; ".join([*of_faces[:_SHOWN], *more])
                tqdm.write(f"learned-descent: warning: {photo}: {text}", file=sys.stderr)
            for note in notes:
                text = str(note.message)
                if (
                    issubclass(note.category, (DetectorWarning, PictureWarning))
                    and text not in told
                ):
                    tqdm.write(f"learned-descent: warning: {text}", file=sys.stderr)
                    told.add(text)
