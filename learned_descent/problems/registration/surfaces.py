"""Surfaces as points with normals: a blob in closed form, and clouds from files."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree
from torch import Generator, Tensor
from torch.nn.functional import normalize

from ...errors import DescentError


@dataclass(frozen=True)
class Surface:
    """Points on a surface and its normals there.

    Attributes:
        points: the points, ``(P, 3)``.
        normals: the normals, ``(P, 3)`` of length 1; which of the two sides they point to may
            change from point to point.
    """

    points: Float[Tensor, "P 3"]
    normals: Float[Tensor, "P 3"]

    def centred(self) -> Surface:
        """The surface around the middle of its points, in the cube of -1..1."""
        points = self.points - self.points.mean(0)
        return Surface(points / points.abs().max(), self.normals)

    def spread(self, count: int) -> Surface:
        """``count`` of the points, each as far as possible from those before it.

        Raises:
            DescentError: if there are not as many.

        References:
            T. Gonzalez. Clustering to minimize the maximum intercluster distance. Theoretical
            Computer Science 38, 1985.
        """
        if count > len(self.points):
            raise DescentError(
                f"num_model: expected at most the {len(self.points)} points of the surface, got "
                f"{count}"
            )
        chosen = [int(self.points.square().sum(1).argmax())]
        away = torch.full((len(self.points),), torch.inf)
        for _ in range(count - 1):
            away = away.minimum((self.points - self.points[chosen[-1]]).square().sum(1))
            chosen.append(int(away.argmax()))
        return Surface(self.points[chosen], self.normals[chosen])

    def scans(
        self,
        count: int,
        size: int,
        generator: Generator,
        *,
        noise: float = 0.0,
        outliers: float = 0.0,
        kept: float = 1.0,
    ) -> tuple[Float[Tensor, "B S 3"], Bool[Tensor, "B S"]]:
        """Simulated scans: noisy points of a part of the surface, then outliers, then padding.

        Args:
            count: the number ``B`` of scans.
            size: the largest number ``S`` of points of a scan; the smallest is three quarters of
                it.
            generator: draws all that is random.
            noise: the standard deviation of the noise, per axis.
            outliers: the share of the points that are anywhere in the cube of -1.5..1.5.
            kept: the share of the surface that is scanned; the rest is cut off by a random plane.

        Returns:
            The points, ``(B, S, 3)``, and which of them are no padding, ``(B, S)``.
        """

        def uniform(*shape: int) -> Tensor:
            return torch.rand(count, *shape, generator=generator)

        place, left = torch.arange(size), max(1, int(kept * len(self.points)))
        height = (torch.randn(count, 3, generator=generator) @ self.points.T).argsort(1)[:, :left]
        chosen = height.gather(1, uniform(left).argsort(1)[:, place % left])
        points = self.points[chosen] + noise * torch.randn(count, size, 3, generator=generator)
        total = (size * (0.75 + 0.25 * uniform(1))).round()
        outlying = place >= ((1 - outliers) * total).round()
        return torch.where(outlying.unsqueeze(2), 3 * uniform(size, 3) - 1.5, points), place < total


_BUMPS = (  # direction, height, sharpness
    ((1.0, 0.2, 0.1), 0.55, 6.0),
    ((-0.4, 1.0, 0.3), 0.40, 9.0),
    ((-0.6, -0.5, 0.7), 0.65, 5.0),
    ((0.3, -0.8, -0.6), 0.35, 12.0),
    ((-0.2, 0.3, -1.0), 0.50, 7.0),
    ((0.6, 0.5, 0.8), 0.30, 14.0),
)


def blob_surface(count: int = 4096) -> Surface:
    """A smooth body without any symmetry: a ball with six bumps, as evenly sampled as its area.

    In the direction ``u`` from the centre its surface is ``r(u) = 0.6 + sum_k h_k exp(c_k (u . d_k
    - 1))`` away.

    Args:
        count: the number of points.

    Example:
        >>> surface = blob_surface(100)
        >>> surface.points.shape, bool((surface.points.abs() <= 1).all())
        (torch.Size([100, 3]), True)
    """
    place = torch.arange(8 * count, dtype=torch.float64) + 0.5  # Fibonacci's lattice on the sphere
    height, turn = 1 - place / (4 * count), math.pi * (1 + math.sqrt(5)) * place
    ring = (1 - height.square()).sqrt()
    u = torch.stack([ring * turn.cos(), ring * turn.sin(), height], 1)
    directions = normalize(torch.tensor([bump[0] for bump in _BUMPS], dtype=torch.float64), dim=1)
    heights, sharpness = torch.tensor([bump[1:] for bump in _BUMPS], dtype=torch.float64).unbind(1)
    bumps = heights * (sharpness * (u @ directions.T - 1)).exp()
    radius = 0.6 + bumps.sum(1, keepdim=True)
    slope = (bumps * sharpness) @ directions
    gradient = u - (slope - (slope * u).sum(1, keepdim=True) * u) / radius  # of |p| - r(p / |p|)
    area = (radius.square() * torch.linalg.vector_norm(gradient, dim=1, keepdim=True)).squeeze(1)
    chosen = torch.multinomial(area, count, generator=Generator().manual_seed(0))
    return Surface(
        (radius * u)[chosen].float(), normalize(gradient, dim=1)[chosen].float()
    ).centred()


def read_surface(path: str | Path) -> Surface:
    """The cloud in an ``.npz`` file: ``points (P, 3)`` in any unit and, if they are known,
    ``normals (P, 3)``.

    Where there are no normals, they are those of the planes through the 16 nearest points.

    Raises:
        DescentError: if there is no such file, or it holds no finite points ``(P, 3)``, 16 or more.

    References:
        H. Hoppe, T. DeRose, T. Duchamp, J. McDonald and W. Stuetzle. Surface reconstruction from
        unorganized points. SIGGRAPH 1992.
    """
    try:
        with np.load(path) as file:
            arrays = {name: np.asarray(file[name], dtype=np.float64) for name in file.files}
    except FileNotFoundError as error:
        raise DescentError(
            f"model_file: expected an .npz file with points (P, 3), found nothing at {path}"
        ) from error
    except (OSError, ValueError, TypeError, AttributeError, BadZipFile, EOFError) as error:
        raise DescentError(
            "model_file: expected an .npz file with points (P, 3), got one of another kind, "
            f"{path}: store its points by numpy.savez('model.npz', points=points)"
        ) from error
    found = {name: array.shape for name, array in arrays.items()}
    points = arrays.get("points", np.zeros(0))
    if (
        points.ndim != 2
        or points.shape[1] != 3
        or len(points) < 16
        or not np.isfinite(points).all()
    ):
        raise DescentError(
            f"model_file {path}: expected finite points (P, 3), 16 or more, found {found}"
        )
    normals = arrays.get("normals")
    if normals is None:
        around = points[cKDTree(points).query(points, 16)[1]]
        around = around - around.mean(1, keepdims=True)
        normals = np.linalg.eigh(around.swapaxes(1, 2) @ around)[1][:, :, 0]
    elif normals.shape != points.shape:
        raise DescentError(
            f"model_file {path}: expected normals of the shape of the points {points.shape}, found "
            f"{found}"
        )
    return Surface(
        torch.from_numpy(points).float(), normalize(torch.from_numpy(normals).float(), dim=1)
    ).centred()
