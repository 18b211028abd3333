"""Labels that look wrong: shapes unlike the others, and points that a fit of the picture does not
find.

A shape is a complex number for each of its points, so that a similarity is a factor, and a mirror
image the conjugate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from ..data.batches import index
from ..data.samples import Batch
from ..errors import DescentError, check_shape
from .problem import Landmarks
from .recipes import RECIPES
from .schema import LandmarkSchema

_FEWEST = 8
"""Labels below which nothing tells which of them is unlike the others."""

_FAR = 4.0
"""Robust standard deviations (of the log) from the median where a label is suspected."""

_BETTER = 0.4
"""The share of the misfit that may be left where a mistake explains it."""

_POINT_OFF = 4.5
"""Standard deviations of a point that lies off."""

_TRIED = 8
"""Points, those that lie farthest off, of which every two are tried as swapped."""

_ROUNDS = 10


@dataclass(frozen=True)
class Suspect:
    """A label that looks wrong.

    Attributes:
        place: which of the labels, from 0.
        reason: what seems to be wrong, in words.
        score: how far it is from the others, in robust standard deviations.
    """

    place: int
    reason: str
    score: float


class _Alignment(NamedTuple):
    """Shapes on the mean shape.

    Attributes:
        factors: the similarity of each, ``(N,)``.
        left: what is left of each point, in standard deviations of that point, ``(N, L)``.
        costs: the sum of its squares over the points, ``(N,)``.
    """

    factors: Complex[Tensor, " N"]
    left: Float[Tensor, "N L"]
    costs: Float[Tensor, " N"]


def suspicious_shapes(
    points: Float[Tensor, "N L 2"],
    schema: LandmarkSchema,
    weights: Float[Tensor, "N L"] | None = None,
) -> list[Suspect]:
    """Labels whose shape is unlike that of the others, and the mistake that would explain it.

    All shapes are brought onto a mean that is that of the half which agrees best. What is far from
    it is tried mirrored, with left and right swapped where the markup has mirror pairs, with any
    two points swapped, and without each point.

    Args:
        points: labelled points, ``(column, row)`` in px.
        schema: their markup.
        weights: what each point counts; 0 for one that is not labelled.

    Returns:
        The suspects, the worst first.

    Raises:
        DescentError: if there are fewer than 8 labels, or fewer than 3 points.

    References:
        J. Gower. Generalized Procrustes analysis. Psychometrika 40, 1975; with the half that agrees
        best in place of all, as in P. Rousseeuw. Least median of squares regression. JASA 79, 1984.

    Example:
        >>> dice = torch.Generator().manual_seed(0)
        >>> mean = torch.tensor([[0.0, 0], [9, 1], [8, 6], [3, 7], [1, 4]])
        >>> points = mean + 0.1 * torch.randn(20, 5, 2, generator=dice)
        >>> points[3] = points[3].flip(0)
        >>> points[7, :, 0] *= -1
        >>> markup = LandmarkSchema("leaf", 5)
        >>> [(suspect.place, suspect.reason) for suspect in suspicious_shapes(points, markup)][-1]
        (7, 'mirrored: left is right')
    """
    sizes = check_shape(points, "N L 2", name="points")
    if sizes["N"] < _FEWEST or sizes["L"] < 3:
        raise DescentError(
            f"suspects: expected {_FEWEST} or more labels of 3 or more points, to tell which are "
            f"unlike the others, got {sizes['N']} of {sizes['L']}"
        )
    counts = torch.ones(points.shape[:2]) if weights is None else weights
    shapes = _centred(torch.view_as_complex(points.double().contiguous()), counts.double())
    mean, spread = _mean_shape(shapes, counts.double())
    own = _aligned(shapes, counts.double(), mean, spread)
    farthest = (own.left * (counts > 0)).amax(1)
    scores = torch.maximum(_scores(own.costs), _scores(farthest.square()))
    turns = (own.factors / own.factors.mean()).angle().abs()
    found = []
    for place in range(len(shapes)):
        if scores[place] > _FAR:
            each = _Label(shapes[place], counts[place].double(), mean, spread, schema)
            found.append(Suspect(place, each.mistake(own, place), float(scores[place])))
        elif turns[place] > max(math.pi / 2, 5 * float(turns.median())):
            degrees = math.degrees(float(turns[place]))
            found.append(Suspect(place, f"turned by {degrees:.0f} degrees", _FAR))
    return sorted(found, key=lambda suspect: -suspect.score)


@dataclass(frozen=True, eq=False)
class _Label:
    """One shape, and what it is compared with."""

    shape: Complex[Tensor, " L"]
    counts: Float[Tensor, " L"]
    mean: Complex[Tensor, " L"]
    spread: Float[Tensor, " L"]
    schema: LandmarkSchema

    def mistake(self, own: _Alignment, place: int) -> str:
        """The mistake that explains most of the misfit, in words."""
        left, cost = own.left[place], float(own.costs[place])
        tried = self._mirrored(own)
        if self.schema.mirror is not None:
            opposite = list(self.schema.mirror)
            tried["left and right points swapped"] = self._cost(
                self.shape[opposite], self.counts[opposite]
            )
        order = (left * (self.counts > 0)).argsort(descending=True)[:_TRIED].tolist()
        for one, other in combinations(sorted(order), 2):
            places = list(range(len(left)))
            places[one], places[other] = other, one
            pair = f"points {_named(self.schema, one)} and {_named(self.schema, other)}"
            tried[f"{pair} swapped"] = self._cost(self.shape[places], self.counts[places])
        best = min(tried, key=tried.__getitem__)
        off = [point for point in order if left[point] > _POINT_OFF]
        if 0 < len(off) <= max(1, len(left) // 4):
            without = self.counts.clone()
            without[off] = 0
            rest = self._cost(self.shape, without)
            if rest < _BETTER * cost and rest < tried[best] / 2:
                names = ", ".join(_named(self.schema, point) for point in sorted(off))
                return f"point{'s' * (len(off) > 1)} {names} off"
        return best if tried[best] < _BETTER * cost else "a shape unlike the others"

    def _mirrored(self, own: _Alignment) -> dict[str, float]:
        """The misfit of the mirror image; how it lies tells which axis was mirrored."""
        found = self._aligned(self.shape.conj(), self.counts)
        usual = own.factors.sgn()  # 0 where a label has one point
        upright = float((found.factors[0] / usual.mean()).real) > 0
        word = "flipped: rows counted from the bottom" if upright else "mirrored: left is right"
        return {word: float(found.costs[0])}

    def _cost(self, shape: Tensor, counts: Tensor) -> float:
        return float(self._aligned(shape, counts).costs[0])

    def _aligned(self, shape: Tensor, counts: Tensor) -> _Alignment:
        shapes = _centred(shape[None], counts[None])
        return _aligned(shapes, counts[None], self.mean, self.spread)


def _named(schema: LandmarkSchema, point: int) -> str:
    return schema.names[point] if schema.names else str(point)


def _centred(shapes: Complex[Tensor, "N L"], counts: Float[Tensor, "N L"]) -> Tensor:
    """Shapes around their middle; a point that is not labelled is there."""
    shapes = torch.where(counts > 0, shapes, torch.zeros_like(shapes))
    middle = (counts * shapes).sum(1, keepdim=True) / counts.sum(1, keepdim=True)
    return torch.where(counts > 0, shapes - middle, torch.zeros_like(shapes))


def _mean_shape(
    shapes: Complex[Tensor, "N L"], counts: Float[Tensor, "N L"]
) -> tuple[Complex[Tensor, " L"], Float[Tensor, " L"]]:
    """The mean of the half of the shapes that agrees best, of unit size, and how far each point
    lies from it, as the standard deviation along an axis.
    """
    whole = (counts > 0).sum(1) == (counts > 0).sum(1).max()
    starts = shapes[whole][: 10 * _FEWEST]
    even = torch.ones(shapes.shape[1], dtype=torch.float64)
    costs = torch.stack([_aligned(shapes, counts, _unit(each), even).costs for each in starts])
    mean = _unit(starts[int(costs.median(1).values.argmin())])
    for _ in range(_ROUNDS):
        fits = _aligned(shapes, counts, mean, even)
        best = fits.costs.argsort()[: (len(shapes) + 1) // 2]
        weighed = counts[best].clamp(min=1e-9)
        placed = fits.factors[best, None] * shapes[best]
        mean = _unit((weighed * placed).sum(0) / weighed.sum(0))
    fits = _aligned(shapes, counts, mean, even)
    lengths = torch.where(counts > 0, fits.left, torch.full_like(fits.left, torch.nan))
    spread = lengths.nanmedian(0).values.nan_to_num(0.0) / math.sqrt(2 * math.log(2))
    return mean, spread.clamp(min=max(0.3 * float(spread.median()), 1e-9))


def _unit(shape: Complex[Tensor, " L"]) -> Complex[Tensor, " L"]:
    shape = shape - shape.mean()
    return shape / shape.abs().square().mean().sqrt().clamp(min=1e-12)


def _aligned(
    shapes: Complex[Tensor, "N L"],
    counts: Float[Tensor, "N L"],
    mean: Complex[Tensor, " L"],
    spread: Float[Tensor, " L"],
) -> _Alignment:
    """Shapes on the mean by the similarity of least squares, each point by what it is worth."""
    worth = counts / spread.square()
    total = worth.sum(1, keepdim=True).clamp(min=1e-12)
    own = shapes - (worth * shapes).sum(1, keepdim=True) / total
    goal = mean - (worth * mean).sum(1, keepdim=True) / total
    sizes = (worth * own.abs().square()).sum(1).clamp(min=1e-12)
    factors = (worth * own.conj() * goal).sum(1) / sizes
    left = (factors[:, None] * own - goal).abs() / spread
    mean_square = (counts * left.square()).sum(1) / counts.sum(1).clamp(min=1e-12)
    return _Alignment(factors, left, mean_square)


def _scores(costs: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """How far each cost lies above the median, in robust standard deviations of the logarithm."""
    logs = costs.clamp(min=1e-12).log()
    away = logs - logs.median()
    return away / (1.4826 * away.abs().median()).clamp(min=0.05)


class Fits(NamedTuple):
    """Labels beside fits by models that were trained without them.

    Attributes:
        suspects: labels that their fits do not find, the worst first.
        start: the median error of the start.
        end: the median error of the fits, in the same unit.
    """

    suspects: list[Suspect]
    start: float
    end: float

    @property
    def follow(self) -> bool:
        """Whether the points follow the pictures at all: a fit comes nearer than its start."""
        return self.end < _FOLLOWS * self.start


_FOLLOWS = 0.5
"""The share of the error of the start that fits leave at most, where points follow pictures."""


def suspicious_fits(
    problem: Landmarks, batch: Batch, known: Sequence[int] = (), *, folds: int = 5, seed: int = 0
) -> Fits:
    """Labels that a fit of their picture does not find.

    The labels are divided into ``folds``; a cascade in closed form that is trained on the others
    fits each of them. Where fit and label differ far more than elsewhere, the label is suspected:
    of lying beside the object if all its points differ in the same way.

    Args:
        problem: the problem of the labels.
        batch: the labels as samples, without mirror images.
        known: labels that are suspected already: no model learns from them.
        folds: how many models are trained.
        seed: the seed of the folds and of the trainings.

    Raises:
        DescentError: if there are fewer than two labels for each fold.
    """
    count, recipe = len(batch["points"]), RECIPES["sdm"]
    # One weight of the penalty: nothing is to be chosen, or said, in each fold.
    recipe = replace(
        recipe,
        trainers={name: own.changed({"ridge": 1.0}) for name, own in recipe.trainers.items()},
    )
    left = [place for place in range(count) if place not in known]
    if folds < 2 or len(left) < 2 * folds:
        raise DescentError(
            f"suspects: expected 2 or more folds, and 2 or more labels for each of them, got "
            f"{folds} and {len(left)} labels; give --folds 0 to look at shapes alone"
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    fitted = torch.empty_like(problem.target(batch))
    for fold in range(folds):
        held = order[fold::folds]
        out = {*held.tolist()}
        others = [place for place in left if place not in out]
        model = recipe.build(problem, seed=seed)
        recipe.fit(model, index(batch, torch.tensor(others)), seed=seed)
        with torch.no_grad():
            fitted[held] = model(index(batch, held)).final
    errors, starts = problem.error(fitted, batch), problem.error(problem.initial(batch), batch)
    moved = problem.points(fitted) - batch["points"]
    lengths = moved.norm(dim=2) * (batch["weights"] > 0 if "weights" in batch else 1)
    scores = torch.maximum(_scores(errors.double()), _scores(lengths.amax(1).double()))
    found = [
        Suspect(place, _beside(problem, batch, moved, place), float(scores[place]))
        for place in range(count)
        if scores[place] > _FAR and place not in known
    ]
    found.sort(key=lambda suspect: -suspect.score)
    return Fits(found, float(starts.median()), float(errors.median()))


def _beside(problem: Landmarks, batch: Batch, moved: Float[Tensor, "N L 2"], place: int) -> str:
    """What a fit says of a label, in px of its photo."""
    own = moved[place]
    counted = batch["weights"][place] > 0 if "weights" in batch else torch.ones(len(own)) > 0
    lengths = own.norm(dim=1).masked_fill(~counted, 0.0)
    shift = own[counted].median(0).values
    rest = (own - shift).norm(dim=1)[counted].mean()
    per_px = float(batch["to_photo"][place, :, :2].det().abs().sqrt())
    if rest < shift.norm() / 2:
        column, row = (per_px * shift).tolist()
        return f"a fit lies beside all its points, by ({column:+.0f}, {row:+.0f}) px"
    far = int(lengths.argmax())
    point = _named(problem.schema, far)
    return f"a fit lies elsewhere, most at point {point}, by {per_px * lengths[far]:.0f} px"
