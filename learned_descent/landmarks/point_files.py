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
    """The points of a ``.pts`` or ``.ljson`` as ``(column, row)`` in px from 0, NaN where one is
    missing; call it within :func:`quiet_menpo`.

    Raises:
        DescentError: if the file cannot be read, if it holds several groups of points or another
            number of them than it says, or if one is neither a pair of finite numbers nor of NaN.
    """
    try:
        points = _read_pts(path) if path.suffix.lower() == ".pts" else _read_ljson(path)
    except DescentError as error:
        raise DescentError(f"{path}: {error}") from error
    except Exception as error:  # every broken file fails in its own way
        raise DescentError(
            f"{path}: not readable as landmarks ({type(error).__name__}: {error}); mend it"
        ) from error
    bad = np.flatnonzero(~(np.isfinite(points) | np.isnan(points).all(1, keepdims=True)).all(1))
    if len(bad):
        raise DescentError(
            f"{path}: point {bad[0]} (from 0) is not finite ({len(bad)} of {len(points)} points); "
            "mend it, or write nan nan where it is missing"
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
        points: ``(column, row)`` in px, where the centre of the first pixel is ``(0, 0)``;
            NaN where one is missing.

    Raises:
        DescentError: if the file has another ending, or a point is neither finite nor missing.
    """
    check_shape(points, "L 2", name="points")
    if Path(path).suffix not in LANDMARKS:
        raise DescentError(
            f"{path}: expected a file name that ends with {' or '.join(sorted(LANDMARKS))}"
        )
    if not (points.isfinite().all(1) | points.isnan().all(1)).all():
        raise DescentError(
            f"{path}: expected finite landmarks to write, or two NaN where one is missing, got "
            "infinity or half a position"
        )
    with quiet_menpo():
        import menpo.io
        from menpo.shape import PointCloud

        cloud = PointCloud(points.double().flip(1).numpy())  # menpo counts rows first
        atomic_write(
            path, lambda temporary: menpo.io.export_landmark_file(cloud, temporary, overwrite=True)
        )
