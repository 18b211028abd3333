"""The files of annotated faces: which belong together."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..data.pictures import PICTURE_ENDINGS
from ..errors import DescentError
from ..landmarks.point_files import LANDMARKS, read_landmarks

BOXES = "bounding_boxes"
"""The folder, beside the parts, that holds a box for each image: four corners as landmarks."""


@dataclass
class FaceFiles:
    """The files of one face: they share their path up to the suffix.

    Args:
        name: that path, relative to the root.
        images: its images; one, unless something is wrong.
        landmarks: its files of landmarks; one, unless something is wrong.
    """

    name: str
    images: list[Path] = field(default_factory=list)
    landmarks: list[Path] = field(default_factory=list)


def find_faces(root: Path, part: str) -> list[FaceFiles]:
    """The faces below ``root / part``, in the order of their names; hidden files are passed over.

    Raises:
        DescentError: if there is no such folder below the root, or neither an image nor landmarks
            in it.
    """
    if not root.is_dir():
        raise DescentError(
            f"root: there is no folder {root}; give the folder that holds the parts, as 300-W is "
            "laid out"
        )
    if Path(part).is_absolute() or ".." in Path(part).parts:
        raise DescentError(f"parts: expected folders below {root}, relative to it, got {part!r}")
    folder = root / part
    if not folder.is_dir():
        holds = ", ".join(
            sorted(path.name for path in root.iterdir() if path.is_dir() and path.name != BOXES)
        )
        raise DescentError(
            f"parts: there is no folder {folder}; {root} holds: {holds or 'no folder'} (faces in "
            "another layout, such as WFLW, are data of landmarks: weights are measured on them "
            "with --problem-file landmarks)"
        )
    found: dict[str, FaceFiles] = {}
    for path in sorted(folder.rglob("*")):
        local, kind = path.relative_to(root), path.suffix.lower()
        if (
            kind in PICTURE_ENDINGS | LANDMARKS
            and BOXES not in local.parts
            and not path.name.startswith(".")
        ):
            name = local.with_suffix("").as_posix()
            files = found.setdefault(name, FaceFiles(name))
            (files.images if kind in PICTURE_ENDINGS else files.landmarks).append(path)
    if not found:
        raise DescentError(
            f"parts: there is no image (.jpg, .png, ...) in {folder}; unpack the faces there"
        )
    return list(found.values())


def find_box(root: Path, name: str) -> list[float] | None:
    """The box ``x0 y0 x1 y1`` around the corners that lie in ``bounding_boxes``, in px from 0; None
    if there is none.

    Raises:
        DescentError: if the file cannot be read or does not hold four corners.
    """
    for suffix in sorted(LANDMARKS, reverse=True):
        path = root / BOXES / f"{name}{suffix}"
        if path.is_file():
            corners = read_landmarks(path)
            if len(corners) != 4:
                raise DescentError(
                    f"{path}: {len(corners)} points, expected the 4 corners of a box; mend it"
                )
            return [*corners.min(0).tolist(), *corners.max(0).tolist()]
    return None
