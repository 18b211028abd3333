"""Annotated faces on disk, in the layout of 300-W: read once, cropped around their detector boxes,
and accounted for.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from jaxtyping import Float
from torch import Tensor

from ..data.pictures import open_picture
from ..data.samples import Batch
from ..errors import DescentError
from ..landmarks.boxes import read_boxes
from ..landmarks.crops import apply_affine, check_crop, crop_face, invert_affine
from ..landmarks.point_files import quiet_menpo, read_landmarks
from ..landmarks.schema import LandmarkSchema
from ..system.progress import progress_bar
from .files import (
    BOXES,
    FaceFiles,
    find_box,
    find_faces,
)

FACES_OF_300W: Mapping[str, int] = {
    "afw": 337,
    "helen/trainset": 2000,
    "helen/testset": 330,
    "lfpw/trainset": 811,
    "lfpw/testset": 224,
    "ibug": 135,
    "300w/01_Indoor": 300,
    "300w/02_Outdoor": 300,
}
"""How many faces each part of the original 300-W holds."""

TOLERATED = 0.05
"""The share of unusable faces that reading puts up with unasked."""

THIN = 0.01
"""Sides of the box: landmarks that are not so far apart, or have a line so near, are no face."""

SHOWN = 10
"""How many unusable faces the message of an error lists."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PartReport:
    """What was found in one part of a data set.

    Args:
        part: the folder, relative to the root.
        found: the number of faces in it.
        known: the number of faces that this part of the original 300-W holds; None for any other
            folder.
        unusable: for each face that cannot be used, the file at fault and the reason.
    """

    part: str
    found: int
    known: int | None
    unusable: tuple[str, ...] = ()

    def __str__(self) -> str:
        known = "" if self.known is None else f" of the {self.known} in 300-W"
        return f"{self.part}: {self.found} faces{known}, {len(self.unusable)} unusable"


@dataclass(frozen=True)
class FaceData:
    """Annotated faces, each in a square in which the detector's box has a fixed centre and longer
    side.

    Args:
        batch: ``image`` uint8 ``(N, 3, S, S)``; ``points`` ``(N, L, 2)``, the true landmarks as
            ``(column, row)`` in px of the crop, where the centre of the first pixel is ``(0, 0)``,
            and NaN where one is missing;
            ``box`` ``(N, 4)``, the detector's box ``x0 y0 x1 y1`` in px of the crop; ``to_photo``
            ``(N, 2, 3)``, the affine map from the crop to the photo.
        names: the path of each face relative to the root, without a suffix.
        report: what was found, part by part.
    """

    batch: Batch
    names: Sequence[str]
    report: Sequence[PartReport]


def read_faces(
    root: str | Path,
    parts: Sequence[str],
    *,
    schema: LandmarkSchema,
    crop: int,
    box_side: float,
    boxes: str | Path | None = None,
    skip_bad: bool = False,
    progress: bool = True,
) -> FaceData:
    """The annotated faces of a folder in the layout of 300-W.

    ``NAME.pts`` (which counts pixels from 1, as the original; ``nan nan`` stands for a landmark
    that is missing) or ``NAME.ljson`` (from 0) lies beside the image ``NAME.jpg``, ``.png``, ... of
    any size, grey or colour, and the corners of its detector box in
    ``bounding_boxes/PART/NAME.pts``. Faces that cannot be used are logged, and listed in the
    report. Landmarks and boxes count the pixels of the photo as it is displayed: a
    turn that EXIF asks for is made, and logged, for some tools of annotation do not make it.

    Args:
        root: the folder that holds the parts.
        parts: folders relative to ``root``, such as ``"helen/trainset"``; their subfolders belong
            to them.
        schema: the markup to read; points of a larger one that contains it are picked from it.
        crop: the side ``S`` of the crop, in px.
        box_side: the longer side of the box in the crop, in px.
        boxes: a ``.csv`` or ``.json`` of boxes, see
            :func:`~learned_descent.landmarks.boxes.read_boxes`; for the faces that it names it
            goes before ``bounding_boxes``.
        skip_bad: go on even if more than 5 % of the faces cannot be used.
        progress: show a progress bar.

    Raises:
        DescentError: if a folder or the file of boxes is missing or broken, if a folder holds no
            face, if no face can be used, or if more than 5 % cannot and ``skip_bad`` is not set.

    References:
        C. Sagonas, E. Antonakos, G. Tzimiropoulos, S. Zafeiriou and M. Pantic. 300 faces
        in-the-wild challenge: database and results. Image and Vision Computing 47, 2016.

    Example:
        >>> from learned_descent.landmarks.schema import schema
        >>> faces = read_faces("300w", ["afw"], schema=schema("ibug68"), crop=192,
        ...     box_side=112)  # doctest: +SKIP
        >>> faces.batch["image"].shape, str(faces.report[0])  # doctest: +SKIP
        (torch.Size([337, 3, 192, 192]), 'afw: 337 faces of the 337 in 300-W, 0 unusable')
    """
    check_crop(crop, box_side)
    if isinstance(parts, str) or not parts:
        raise DescentError(
            "parts: expected a sequence of folders such as ['afw', 'helen/trainset'], got "
            f"{parts!r}"
        )
    root = Path(root)
    found = {part: find_faces(root, part) for part in parts}
    everything = [files for faces in found.values() for files in faces]
    names = [files.name for files in everything]
    if len(found) < len(parts) or len(set(names)) < len(names):
        raise DescentError(
            f"parts: expected folders of which none contains another, got {', '.join(parts)}"
        )
    given = {} if boxes is None else read_boxes(boxes)
    if boxes is not None:
        _account_of_boxes(boxes, given, everything, root)
    remarks: list[str] = []

    def read(files: FaceFiles) -> dict[str, Tensor] | str:
        try:
            return _read_face(files, root, given, schema, crop, box_side, remarks)
        except DescentError as error:
            return str(error)

    with quiet_menpo(), ThreadPoolExecutor() as pool:
        results = pool.map(read, everything)
        outcomes = list(
            progress_bar(
                results, "reading faces", total=len(names), unit="face", disable=not progress
            )
        )
    outcome = dict(zip(names, outcomes))
    report = tuple(
        _account(part, [outcome[files.name] for files in faces]) for part, faces in found.items()
    )
    _judge(root, report, skip_bad)
    if remarks:
        _log.warning(
            "Photos that are read on an assumption (%d):\n%s",
            len(remarks),
            _listed(sorted(remarks)),
        )
    usable = {name: face for name, face in outcome.items() if not isinstance(face, str)}
    batch = {
        key: torch.stack([face[key] for face in usable.values()])
        for key in ("image", "points", "box", "to_photo")
    }
    return FaceData(batch, tuple(usable), report)


def _read_face(
    files: FaceFiles,
    root: Path,
    boxes: Mapping[str, Sequence[float]],
    schema: LandmarkSchema,
    crop: int,
    box_side: float,
    remarks: list[str],
) -> dict[str, Tensor]:
    """One sample of the batch of :class:`FaceData`, or a ``DescentError`` that names the file at
    fault.

    What is assumed about its photo is added to ``remarks``.
    """
    for kind, paths in (("image", files.images), (".pts or .ljson", files.landmarks)):
        if len(paths) != 1:
            raise DescentError(
                f"{root / files.name}: expected one {kind} of this name, got {len(paths)}; add or "
                "remove files"
            )
    (path,), (landmarks,) = files.images, files.landmarks
    image = path.relative_to(root).as_posix()
    box = boxes[image] if image in boxes else find_box(root, files.name)
    if box is None:
        raise DescentError(
            f"{path}: no box; add {BOXES}/{files.name}.pts to the root, or an entry {image!r} to "
            "the file `boxes`"
        )
    on_photo = read_landmarks(landmarks)
    try:
        on_photo = on_photo[list(schema.within(len(on_photo)))]
    except DescentError as error:
        raise DescentError(
            f"{landmarks}: {error}; mend the file or choose another schema"
        ) from error
    photo = open_picture(path)
    if photo.turned:
        remarks.append(
            f"{path}: EXIF turns it; its landmarks and box are taken to be of the photo as it is "
            "displayed"
        )
    if photo.note:
        remarks.append(f"{path}: {photo.note}")
    try:
        pixels, to_photo = crop_face(photo.pixels, box, crop, box_side)
    except DescentError as error:
        raise DescentError(f"{path}: {error}; mend the box") from error
    to_crop = invert_affine(to_photo.double())
    points = apply_affine(to_crop, torch.from_numpy(on_photo))
    fault = _outside(points, crop) or _no_face(points / box_side, schema)
    if fault:
        raise DescentError(f"{landmarks}: {fault}")
    corners = apply_affine(to_crop, torch.tensor(box, dtype=torch.float64).view(2, 2))
    return {
        "image": pixels,
        "points": points.float(),
        "box": corners.flatten().float(),
        "to_photo": to_photo,
    }


def _outside(points: Float[Tensor, "L 2"], crop: int) -> str:
    """What is wrong with landmarks of which some lie outside the crop; nothing if none does."""
    outside = ((points < 0) | (points > crop - 1)).any(1).nonzero().flatten().tolist()
    if not outside:
        return ""
    column, row = points[outside[0]].tolist()
    return (
        f"landmark {outside[0]} (from 0) falls on ({column:.0f}, {row:.0f}), outside the crop of "
        f"{crop} px around the box ({len(outside)} of {len(points)} landmarks); mend landmarks or "
        "box, or raise crop / box_side"
    )


def _no_face(points: Float[Tensor, "L 2"], schema: LandmarkSchema) -> str:
    """Why nothing can be learnt from landmarks, in sides of the box, nor an error be measured;
    nothing if it can.
    """
    known = points[points.isfinite().all(1)]
    if not len(known):
        return "no landmark is known (all are nan): label some, or remove the file"
    found = []
    if len(known) > 2:
        long, wide = (torch.linalg.svdvals(known - known.mean(0)) / len(known) ** 0.5).tolist()
        found = [(long, "are all in one place"), (wide, "lie on a line")]
    eyes = [points[list(eye)].mean(0) for eye in (schema.left_eye, schema.right_eye) if eye]
    for pair in (eyes, [points[corner] for corner in schema.outer_eye_corners or ()]):
        if pair:
            found.append((torch.dist(pair[0], pair[1]).item(), "have both eyes in one place"))
    for value, fault in found:
        if value < THIN:
            return f"the landmarks {fault}: expected those of a face; mend the file"
    return ""


def _account_of_boxes(
    path: str | Path, boxes: Mapping[str, Sequence[float]], faces: Sequence[FaceFiles], root: Path
) -> None:
    """Logs which images a file of boxes passes over, and raises if it names none that there is."""
    images = {image.relative_to(root).as_posix() for files in faces for image in files.images}
    absent = [name for name in boxes if name not in images and not (root / name).is_file()]
    if len(absent) == len(boxes):
        first = f"its first entry is {absent[0]!r}" if absent else "it is empty"
        raise DescentError(
            f"boxes: {path} names no image in {root}: {first}; expected paths relative to that "
            f"folder, such as {min(images)!r}"
        )
    if absent:
        _log.warning(
            "boxes: %s names images that are not in %s (%d):\n%s",
            path,
            root,
            len(absent),
            _listed(absent),
        )
    missing = len(images - boxes.keys())
    if missing:
        _log.warning(
            "boxes: %s has none for %d of %d images; those in %s serve",
            path,
            missing,
            len(images),
            BOXES,
        )


def _account(part: str, outcomes: Sequence[dict[str, Tensor] | str]) -> PartReport:
    """The report of a part from what became of each of its faces: a sample, or the reason why there
    is none.
    """
    folder = PurePosixPath(part)
    known = sum(
        count for name, count in FACES_OF_300W.items() if PurePosixPath(name).is_relative_to(folder)
    )
    return PartReport(
        part,
        len(outcomes),
        known or None,
        tuple(reason for reason in outcomes if isinstance(reason, str)),
    )


def _judge(root: Path, report: Sequence[PartReport], skip_bad: bool) -> None:
    """Logs the unusable faces, and raises if they are too many."""
    reasons = [reason for part in report for reason in part.unusable]
    found = sum(part.found for part in report)
    share = len(reasons) / found
    if len(reasons) == found or (share > TOLERATED and not skip_bad):
        way_out = (
            ""
            if len(reasons) == found
            else ", or pass --skip-bad (skip_bad=True) to go on without them"
        )
        raise DescentError(
            f"{len(reasons)} of the {found} faces in {root} cannot be used ({share:.1%}; "
            f"{TOLERATED:.0%} are put up with):\n"
            f"{_listed(reasons)}\nMend these files{way_out}."
        )
    if reasons:
        _log.warning(
            "%d of %d faces are left out:\n  %s", len(reasons), found, "\n  ".join(reasons)
        )


def _listed(lines: Sequence[str]) -> str:
    """The first lines, indented, and how many more there are."""
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n".join(f"  {line}" for line in [*lines[:SHOWN], *more])
