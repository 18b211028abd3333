"""What the command line does with photos: align, and calibrate for it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tqdm import tqdm

from ..checkpoint import StoredModel, find_stored, read_stored
from ..checkpoint.model import annotate, pack
from ..data.pictures import PictureWarning, read_picture
from ..errors import DescentError
from ..problem import Problem
from ..registry import resolve_model
from ..system.progress import progress_bar
from .runs import WAY_OUT, check_measurement, loaded_model, prepare_folder, problem_of

if TYPE_CHECKING:
    from ..landmarks.aligner import Aligner, Fit
    from ..landmarks.output import Format

FORMATS = ("png", "json", "csv", "pts", "ljson")
"""What ``align`` can write."""

_SHOWN = 3
"""So many of the warnings about the fits in one photo are told in full."""


def align(
    photos: Sequence[Path],
    *,
    weights: str = "tokens",
    views: int = 4,
    fast: bool = False,
    anew: bool = True,
    box: Sequence[str] | None = None,
    boxes: Path | None = None,
    detector: str | None = None,
    problem_file: str | None = None,
    model: str | None = None,
    output: Path = Path("aligned"),
    format: Sequence[Format] = ("png", "json"),  # noqa: A002 - the name of the option
    device: Literal["cpu", "cuda"] = "cpu",
    overwrite: bool = False,
) -> tuple[str, bool]:
    """Finds faces or other objects in photos and their landmarks; writes pictures and files.

    A photo that cannot be aligned is named on the error stream, and the others are still done; the
    exit code is 1 then.

    Args:
        photos: the image files.
        weights: the name of weights that come with the package, or a weights file.
        views: how many copies of each object are fitted, from 1 to 4; their mirror images come on
            top.
        fast: one fit of each object, in its crop as it is, as with ``views`` 0; the confidence is
            then unknown, and nothing is sought anew.
        anew: whether an object of which the fits are unsure is sought anew, at any angle and in
            grey.
        box: the box of the one object in the one photo.
        boxes: a .csv of rows IMAGE,x0,y0,x1,y1, or a .json, of the boxes of the objects in pixels
            from 0; a detector finds them where neither --box nor --boxes is given.
        detector: centerface, lbp, picture (the whole picture is the box), or file.py:Class; by
            default that of the weights: faces have a detector, others the whole picture.
        problem_file: the problem of the weights, file.py:Class, where it is not a built-in one.
        model: the class of the model, file.py:Class, where it is not a built-in one.
        output: the folder for STEM.png, STEM.json and STEM.csv of each photo, and STEM_0.pts or
            STEM_0.ljson of each object.
        format: what is written.
        device: cpu or cuda.
        overwrite: replace the files that are there.

    Returns:
        A line for each photo, and whether all went well.
    """
    from ..landmarks.boxes import find_boxes, read_all_boxes

    check_measurement(1, device)
    photos = list(dict.fromkeys(photos))
    if fast and views != 4:
        raise DescentError(f"--fast: is one fit, expected without --views {views}")
    _check_places(photos, box, boxes, detector)
    views = 0 if fast else views
    aligner = aligner_of(weights, problem_file, model, detector, views, device, anew=anew)
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
                    f"{photo}: would replace the files of {owner}: align it by itself, into "
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


def _check_places(
    photos: Sequence[Path], box: Sequence[str] | None, boxes: Path | None, detector: str | None
) -> None:
    """Refuses options that say in two ways where to look."""
    if box is not None and (len(photos) > 1 or boxes is not None):
        raise DescentError(
            "--box: expected one photo and no --boxes; give the boxes of several photos by --boxes "
            "FILE"
        )
    if detector is not None and not (box is None and boxes is None):
        raise DescentError("--detector: expected without --box and --boxes: they say where to look")


def aligner_of(
    weights: str,
    problem_file: str | None,
    model: str | None,
    detector: str | None,
    views: int,
    device: str,
    *,
    anew: bool = True,
) -> Aligner:
    """What the weights do with photos, with the detector that the user names."""
    from ..landmarks.aligner import Aligner
    from ..landmarks.detector import made_detector
    from ..landmarks.problem import Landmarks

    stored = find_stored(weights)
    problem = None if problem_file is None else problem_of(stored, problem_file)
    if problem is not None and not isinstance(problem, Landmarks):
        raise DescentError(
            f"--problem-file {problem_file}: expected a problem of landmarks, got "
            f"{type(problem).__name__}"
        )
    return Aligner.from_pretrained(
        stored,
        problem=problem,
        model=None if model is None else resolve_model(model),
        detector=None if detector is None else made_detector(detector),
        views=views,
        anew=anew,
        device=device,
    )


def calibrate(
    weights: Path | StoredModel,
    *,
    problem: Problem | None = None,
    problem_file: str | None = None,
    model: str | None = None,
    detector: Sequence[str] | None = None,
    faces: int = 600,
    seed: int = 0,
    output: Path | None = None,
    overwrite: bool = False,
) -> str:
    """Fits the offset of the detectors' boxes and the confidence of the fits, and stores both in a
    weights file of landmarks.

    Args:
        weights: the file that ``train`` or ``compare`` wrote.
        problem: the problem; by default it is made as the file says.
        problem_file: the problem, file.py:Class, where it is not a built-in one, or another of its
            kind, such as faces.
        model: the class of the model, file.py:Class, where it is not a built-in one.
        detector: centerface, lbp, picture or file.py:Class, one or more; by default those of the
            problem: both detectors of faces for faces, the whole picture for others.
        faces: at most so many training pictures, of faces or of what else it may be, are shown to
            each detector.
        seed: the seed of the choice of pictures and of the variants of the held-out ones.
        output: a copy to hand on, in half precision and without the folders of this machine.
        overwrite: replace the copy that is there.

    Returns:
        What was found.
    """
    from ..landmarks.calibration import fit_calibration
    from ..landmarks.detector import made_detector
    from ..landmarks.ensemble import landmarks_of

    stored = read_stored(weights)
    if output is not None:
        if output.resolve() == stored.path.resolve():
            raise DescentError(
                f"--output {output}: is the weights file itself, which would lose precision: give "
                "another"
            )
        prepare_folder(output.parent, None if overwrite else output, WAY_OUT)
    loaded = loaded_model(stored, problem, problem_file, model)
    own = landmarks_of(loaded)
    detectors = [made_detector(name) for name in detector or ()] or own.detectors()
    found = fit_calibration(loaded, detectors, count=faces, seed=seed)
    stored = annotate(stored, "calibration", found.to_json())
    lines = [
        f"{name}: finds {offset.found:.1%} of the {own.noun}s; shift {offset.shift[0]:.3f} "
        f"{offset.shift[1]:.3f} (spread {offset.spread[0]:.3f}), log of the scale "
        f"{offset.log_scale:.3f} (spread {offset.spread[1]:.3f})"
        for name, offset in found.boxes.items()
    ]
    if output is not None:
        pack(stored, output)
    return "\n".join(
        [
            *lines,
            f"{found.confidence}",
            f"stored in {stored.path}",
            *([f"packed: {output}"] if output else []),
        ]
    )


def _align_one(
    aligner: Aligner,
    photo: Path,
    boxes: Sequence[Sequence[float]] | None,
    output: Path,
    kinds: Sequence[Format],
    sources: set[Path],
    overwrite: bool,
) -> str:
    """Writes the files of one photo; returns the line that tells of them."""
    from ..landmarks.output import files_of, write_fits

    pixels, noun = read_picture(photo), aligner.problem.noun
    try:
        fits = aligner(pixels, boxes)
    except DescentError as error:
        raise DescentError(f"{photo}: {error}") from error
    files = {kind: files_of(output, photo.stem, kind, len(fits)) for kind in kinds}
    for file in (file for found in files.values() for file in found):
        if file.resolve() in sources:
            raise DescentError(
                f"{photo}: {file} is one of the files to read: give another --output"
            )
        prepare_folder(output, None if overwrite else file, WAY_OUT)
    for kind, found in files.items():
        _look_for_more(output, photo, kind, found, overwrite)
    for kind in files:
        write_fits(output, photo.stem, kind, fits, pixels, aligner.problem.edges, noun)
    if not fits:
        raise DescentError(f"{photo}: no {noun} found; give its box by --box or --boxes")
    written = ", ".join(_span(found) for found in files.values())
    return f"{photo}: {_summary(fits, noun, aligner.views)}; {written}"


def _look_for_more(
    output: Path, photo: Path, kind: Format, files: Sequence[Path], overwrite: bool
) -> None:
    """Tells of the files of more fits of an earlier run: they would pass for those of this one."""
    from ..landmarks.detector import FitWarning
    from ..landmarks.output import files_of

    more = files_of(output, photo.stem, kind, len(files) + 1)[-1]
    if more not in files and more.exists():
        if not overwrite:
            raise DescentError(f"{more}: is there already: {WAY_OUT}")
        warnings.warn(
            f"{more} is left of an earlier run that found more: remove it",
            FitWarning,
            stacklevel=2,
        )


def _summary(fits: Sequence[Fit], noun: str, views: int) -> str:
    """The number of fits and their confidence: one line, however many there are."""
    sure = sorted(f"{fit.confidence:.2f}" for fit in fits)
    span = sure[0] if sure[0] == sure[-1] else f"{sure[0]} to {sure[-1]}"
    known = fits[0].confidence == fits[0].confidence
    plural = "s" * (len(fits) > 1)
    unknown = "unknown: " + ("calibrate the weights" if views else "one fit tells nothing of it")
    return f"{len(fits)} {noun}{plural}, confidence {span if known else unknown}"


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
    from ..landmarks.detector import DetectorWarning, FitWarning

    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            of_fits = [str(note.message) for note in notes if issubclass(note.category, FitWarning)]
            if of_fits:
                more = [f"and {len(of_fits) - _SHOWN} more"] if len(of_fits) > _SHOWN else []
                text = "; ".join([*of_fits[:_SHOWN], *more])
                tqdm.write(f"learned-descent: warning: {photo}: {text}", file=sys.stderr)
            for note in notes:
                text = str(note.message)
                if (
                    issubclass(note.category, (DetectorWarning, PictureWarning))
                    and text not in told
                ):
                    tqdm.write(f"learned-descent: warning: {text}", file=sys.stderr)
                    told.add(text)
