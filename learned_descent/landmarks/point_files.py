"""The landmarks of one object in one file: ``.pts`` and ``.ljson``, through menpo."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from ..errors import DescentError, check_shape
from ..files import atomic_write

LANDMARKS = frozenset({".ljson", ".pts"})


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
            f"parts: there is no folder {folder}; {root} holds: {holds or 'no folder'}"
        )
    found: dict[str, FaceFiles] = {}
    for path in sorted(folder.rglob("*")):
        local, kind = path.relative_to(root), path.suffix.lower()
        if (
            kind in IMAGES | LANDMARKS
            and BOXES not in local.parts
            and not path.name.startswith(".")
        ):
            name = local.with_suffix("").as_posix()
            files = found.setdefault(name, FaceFiles(name))
            (files.images if kind in IMAGES else files.landmarks).append(path)
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


@contextmanager
def quiet_menpo() -> Iterator[None]:
    """Imports menpo, and keeps what it says about its own inner life to itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import menpo.io  # noqa: F401 (its first import warns)
        from menpo.base import MenpoDeprecationWarning
    with warnings.catch_warnings():
        # .ljson of the older versions is fine
        warnings.simplefilter("ignore", MenpoDeprecationWarning)
        yield


def read_landmarks(path: Path) -> Float[np.ndarray, "L 2"]:
    """The points of a ``.pts`` or ``.ljson`` as ``(column, row)`` in px from 0; call it within
    :func:`quiet_menpo`.

    Raises:
        DescentError: if the file cannot be read, if it holds several groups of points or another
            number of them than it says, or if one is not a pair of finite numbers.
    """
    try:
        points = _read_pts(path) if path.suffix.lower() == ".pts" else _read_ljson(path)
    except DescentError as error:
        raise DescentError(f"{path}: {error}") from error
    except Exception as error:  # every broken file fails in its own way
        raise DescentError(
            f"{path}: not readable as landmarks ({type(error).__name__}: {error}); mend it"
        ) from error
    bad = np.flatnonzero(~np.isfinite(points).all(1)).tolist()
    if bad:
        raise DescentError(
            f"{path}: point {bad[0]} (from 0) is not finite ({len(bad)} of {len(points)} points); "
            "mend it"
        )
    return points


def _read_pts(path: Path) -> Float[np.ndarray, "L 2"]:
    """The points of the format of 300-W, which counts pixels from 1: two numbers a line, between
    braces.
    """
    head, brace, body = path.read_text(encoding="utf-8-sig").partition("{")
    rows = [line.split() for line in body.partition("}")[0].splitlines() if line.strip()]
    if not brace or not rows:
        raise DescentError(
            "not readable as landmarks (there are no points between braces); mend it"
        )
    odd = next((row for row in rows if len(row) != 2), None)
    if odd is not None:
        raise DescentError(
            f"expected a column and a row in each line of points, got {len(odd)} values "
            f"({' '.join(odd)}); remove what is no coordinate, such as the number of the point"
        )
    points = np.array(rows, dtype=np.float64) - 1
    stated = re.search(r"n_points\s*:\s*(\d+)", head)
    if stated and int(stated[1]) != len(rows):
        raise DescentError(
            f"n_points is {stated[1]}, but there are {len(rows)} points; mend the file"
        )
    return points


def _read_ljson(path: Path) -> Float[np.ndarray, "L 2"]:
    """The points of a file of menpo, which names the row first and counts pixels from 0."""
    import menpo.io

    groups = menpo.io.import_landmark_file(path)
    if len(groups) != 1:
        raise DescentError(f"expected one group of landmarks, got {len(groups)}; keep one")
    points = np.asarray(next(iter(groups.values())).points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise DescentError(
            f"expected a row and a column for each point, got an array {points.shape}; keep these "
            "two"
        )
    return points[:, ::-1].copy()


def write_landmarks(path: str | Path, points: Float[Tensor, "L 2"]) -> None:
    """Writes landmarks for menpo, atomically: ``.pts``, which counts pixels from 1, or ``.ljson``,
    which counts from 0.

    Args:
        path: the file; its ending is ``.pts`` or ``.ljson``.
        points: ``(column, row)`` in px, where the centre of the first pixel is ``(0, 0)``.

    Raises:
        DescentError: if the file has another ending, or a point is not finite.
    """
    check_shape(points, "L 2", name="points")
    if Path(path).suffix not in LANDMARKS:
        raise DescentError(
            f"{path}: expected a file name that ends with {' or '.join(sorted(LANDMARKS))}"
        )
    if not points.isfinite().all():
        raise DescentError(f"{path}: expected finite landmarks to write, got NaN or infinity")
    with quiet_menpo():
        import menpo.io
        from menpo.shape import PointCloud

        cloud = PointCloud(points.double().flip(1).numpy())  # menpo counts rows first
        atomic_write(
            path, lambda temporary: menpo.io.export_landmark_file(cloud, temporary, overwrite=True)
        )
