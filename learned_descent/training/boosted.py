"""An ensemble of regression trees, grown by dlib and kept as tensors."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from ..data.samples import Samples
from ..errors import DescentError, check_real, check_whole
from ..model import DescentModel
from ..models import LocalBinaryFeatures
from ..observations import PixelPool
from ..problem import Problem
from . import ranks
from .equations import check_known
from .rows import Prepared, StageRows
from .trainer import History, Trainer, entered

_MISSING = 2**31 - 1
"""Where dlib has a landmark that is not there, in columns and rows."""


@final
@dataclass(frozen=True)
class BoostedTrees(Trainer):
    """Trains :class:`~learned_descent.models.LocalBinaryFeatures` that see a
    :class:`~learned_descent.observations.PixelPool`: each tree takes its share of what those before
    it leave of the update of all points (ERT).

    The trees are those of dlib's ``train_shape_predictor``, which are read from its file into the
    tensors of the model: nothing but the training needs dlib, and the fits are its own, without its
    rounding to whole pixels. It sees the levels that the eyes prepare, and each sample in a square
    around its start, of the same side for all. Its random starts are shapes of other samples, and
    no picture is varied. A landmark that counts 0 is missing for dlib too; all others count alike.

    Args:
        repeats: starts of each sample.
        rate: the share of what is left that a tree takes.
        nearness: places so far apart, as a fraction of the square, are compared ``e`` times more
            seldom than neighbours.
        tried: splits that a node tries.
        batch_size: samples that are prepared at a time.

    References:
        V. Kazemi and J. Sullivan. One millisecond face alignment with an ensemble of regression
        trees. CVPR 2014, algorithm 1.

    Example:
        >>> BoostedTrees(repeats=5).changed({"rate": 0.2})
        BoostedTrees(repeats=5, rate=0.2, nearness=0.1, tried=20, batch_size=64)
    """

    closed_form: ClassVar[bool] = True

    repeats: int = 20
    rate: float = 0.1
    nearness: float = 0.1
    tried: int = 20
    batch_size: int = 64

    def __post_init__(self) -> None:
        for name in ("repeats", "tried", "batch_size"):
            check_whole(getattr(self, name), name=name)
        check_real(self.rate, name="rate", positive=True, below=1)
        check_real(self.nearness, name="nearness", positive=True)

    def check_installed(self) -> None:
        _dlib()

    def fit(
        self, model: DescentModel, train: Samples, val: Samples | None = None, *, seed: int = 0
    ) -> History:
        """Trains all stages of ``model`` in place, on the CPU.

        Args:
            model: local binary features of a pool of pixels.
            train: training samples.
            val: held-out samples, of which the records tell what the stages leave.
            seed: the seed of starts, places and splits.

        Returns:
            One record per stage: ``stage``, the mean square ``loss`` of the update that is left on
            the training samples in a descent from the start of testing, and where samples are held
            out, ``held_out_loss``: the loss there before and after the stage.

        Raises:
            DescentError: if dlib is not installed, the model is another one or has more stages
                than its eyes, the parameters of the problem are no points in px, or a sample is not
                finite.
        """
        dlib = _dlib()
        model, eyes = _with_a_pool(model)
        began = time.perf_counter()
        train, val = entered(model, train, val, gradients=False, augment=False)
        fabric = ranks.alone(type(self).__name__)
        model.cpu()
        rows = StageRows(fabric, model, seed, 1, 1, False, self.batch_size, every=0)
        with torch.no_grad():
            square = _Square.of(model.problem, eyes, next(iter(rows.prepared(train))))
            square.fill(model, self._grown(dlib, model, square, rows.prepared(train), seed))
            losses = _losses(model, rows.prepared(train))
            held = [] if val is None else _losses(model, rows.prepared(val))
        records: list[dict[str, Any]] = [
            {"stage": stage, "loss": loss} for stage, loss in enumerate(losses[1:])
        ]
        for record, before, after in zip(records, held, held[1:]):
            record["held_out_loss"] = [before, after]
        return History(records, time.perf_counter() - began)

    def _grown(
        self,
        dlib: Any,
        model: LocalBinaryFeatures,
        square: _Square,
        parts: Iterable[Prepared],
        seed: int,
    ) -> Forest:
        """The trees that dlib grows."""
        options = dlib.shape_predictor_training_options()
        options.cascade_depth = model.num_steps
        options.num_trees_per_cascade_level = model.trees
        options.tree_depth = model.depth
        options.feature_pool_size = model.num_features
        options.oversampling_amount = self.repeats
        options.nu = self.rate
        options.lambda_param = self.nearness
        options.num_test_splits = self.tried
        options.random_seed = str(seed)
        options.num_threads = torch.get_num_threads()
        images, truths = [], []
        for part in parts:
            images += list(part.seen["levels"].byte().numpy())
            truths += square.truths(dlib, model.problem, part)
        trees = dlib.train_shape_predictor(images, truths, options)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "trees.dat")
            trees.save(str(file))
            return Forest.of(file.read_bytes())


class Forest(NamedTuple):
    """What a file of dlib's shape predictor holds: ``T`` stages of ``M`` trees with ``N`` nodes
    each and one leaf more, which compare ``P`` places; lengths are in sides of the square.

    Attributes:
        initial: where the ``L`` points start, ``(2 L,)``.
        compared: the places of each node, ``(T, M, N, 2)``.
        thresholds: a node goes to the left where the first place is brighter than the other one by
            more than this, ``(T, M, N)``.
        leaves: the updates, ``(T, M, N + 1, 2 L)``.
        beside: the point of each place, ``(T, P)``.
        places: where the places are from their points, ``(T, P, 2)``.
    """

    initial: np.ndarray
    compared: np.ndarray
    thresholds: np.ndarray
    leaves: np.ndarray
    beside: np.ndarray
    places: np.ndarray

    @classmethod
    def of(cls, content: bytes) -> Forest:
        """Reads the content of a file: a row of whole numbers, where those of which there are
        several come after their number, and a fraction is a mantissa and an exponent.
        """
        row = _Row(_whole_numbers(content))
        row.take(1)  # the version of the format
        size = -row.one()
        row.take(1)  # the columns of a vector
        initial = _fractions(row.take(size, 2))
        nodes, leaves = [], []
        for _ in range(row.one()):
            trees = row.one()
            count = int(row.numbers[row.place])
            parts = row.take(trees, 1 + 4 * count + 1 + (count + 1) * (2 + 2 * size))
            nodes.append(parts[:, 1 : 1 + 4 * count].reshape(trees, count, 4))
            vectors = parts[:, 2 + 4 * count :].reshape(trees, count + 1, 2 + 2 * size)
            leaves.append(_fractions(vectors[..., 2:].reshape(trees, count + 1, size, 2)))
        beside = [row.take(row.one()) for _ in range(row.one())]
        places = [_fractions(row.take(row.one(), 2, 2)) for _ in range(row.one())]
        inner = np.stack(nodes)
        return cls(
            initial,
            inner[..., :2],
            _fractions(inner[..., 2:]),
            np.stack(leaves),
            np.stack(beside),
            np.stack(places),
        )


@dataclass
class _Row:
    """Numbers that are taken one part after the other."""

    numbers: np.ndarray
    place: int = 0

    def take(self, *shape: int) -> np.ndarray:
        """The next ones, in a shape."""
        begun = self.place
        self.place += math.prod(shape)
        return self.numbers[begun : self.place].reshape(shape)

    def one(self) -> int:
        """The next one."""
        return int(self.take(1)[0])


def _whole_numbers(content: bytes) -> np.ndarray:
    """The numbers of a file: a byte says how many follow, and whether the number is below 0."""
    lengths = bytes(byte & 15 for byte in range(256))
    steps = content.translate(lengths)

    def begins() -> Iterator[int]:
        place = 0
        while place < len(steps):
            yield place
            place += 1 + steps[place]

    first = np.fromiter(begins(), np.int64)
    data = np.frombuffer(content + bytes(8), np.uint8)
    sizes = data[first] & 15
    numbers = np.zeros(len(first), np.int64)
    for byte in range(int(sizes.max())):
        numbers += np.where(sizes > byte, data[first + 1 + byte].astype(np.int64) << 8 * byte, 0)
    return np.where(data[first] & 128, -numbers, numbers)


def _fractions(parts: np.ndarray) -> np.ndarray:
    """The numbers of mantissas and exponents ``(..., 2)``."""
    values: np.ndarray = np.ldexp(parts[..., 0].astype(np.float64), parts[..., 1])
    return values.astype(np.float32)


@final
@dataclass(frozen=True)
class _Square:
    """The square in which dlib sees a sample, around its start; what a place is in it, and in the
    updates of the problem.

    Attributes:
        eyes: what looks.
        start: of the first sample, ``(1, p)``.
        side: in levels, of which the eyes may see several in a pixel.
        unit: what an update is of a move by 1 px.
    """

    eyes: PixelPool
    start: Tensor
    side: int
    unit: float

    @classmethod
    def of(cls, problem: Problem, eyes: PixelPool, part: Prepared) -> _Square:
        """That of some samples.

        Raises:
            DescentError: if their parameters are no points.
        """
        x = problem.initial(part.batch)
        points, units = eyes.points(x), problem.local(x, x + 1)
        if points.shape[1] * 2 != x.shape[1] or not torch.equal(points.flatten(1), x):
            raise DescentError(
                "BoostedTrees: expected a problem whose parameters are its points in px, got "
                f"{type(problem).__name__} with {x.shape[1]} parameters and "
                f"{points.shape[1]} points"
            )
        away = (points - points.mean(1, keepdim=True)).abs().max().item()
        return cls(eyes, x[:1], max(2, round(2 * away * eyes.finer)), units.mean().item())

    def corners(self, start: Tensor) -> Tensor:
        """The corners of the squares around starts ``(B, L, 2)``, in whole levels, ``(B, 2)``."""
        return (self._levels(start.mean(1)) - self.side / 2).round()

    def truths(self, dlib: Any, problem: Problem, part: Prepared) -> list[list[Any]]:
        """Samples as dlib is told of them."""
        points = self.eyes.points
        corners = self.corners(points(problem.initial(part.batch))).int().tolist()
        truth = self._levels(points(part.target)).round().long()
        if part.weights is not None:
            truth[points(part.weights) == 0] = _MISSING
        return [
            [
                dlib.full_object_detection(
                    dlib.rectangle(left, top, left + self.side, top + self.side),
                    [dlib.point(column, row) for column, row in shape],
                )
            ]
            for (left, top), shape in zip(corners, truth.tolist())
        ]

    def fill(self, model: LocalBinaryFeatures, forest: Forest) -> None:
        """Puts trees into a model."""
        eyes, longer = self.eyes, self.side / self.eyes.finer
        corner = self.corners(eyes.points(self.start))
        shape = self.side * torch.from_numpy(forest.initial).view(-1, 2) + corner
        initial = (shape + 0.5) / eyes.finer - 0.5
        eyes.refer_to(initial)
        stages = len(forest.places)
        eyes.places[:stages] = longer * torch.from_numpy(forest.places)
        eyes.beside[:stages] = torch.from_numpy(forest.beside)
        # The first stage looks from the start, and so sees what dlib sees from its own
        moved = initial - eyes.points(self.start)[0]
        eyes.places[0] += moved[eyes.beside[0].long()]
        # Its left is the right of the model, which parts at "more than" too
        model.compared.copy_(torch.from_numpy(forest.compared[..., ::-1].copy()))
        below = np.nextafter(-forest.thresholds, np.float32(-np.inf))
        model.thresholds.copy_(torch.from_numpy(below))
        rows = torch.from_numpy(forest.leaves).flatten(1, 2)
        model.rows.copy_(self.unit * longer * rows)
        model.offsets.zero_()
        model.offsets[0] = model.problem.local(self.start, initial.view(1, -1).to(self.start))[0]

    def _levels(self, points: Tensor) -> Tensor:
        """Points in px, in levels."""
        return (points + 0.5) * self.eyes.finer - 0.5


def _dlib() -> Any:
    """The library.

    Raises:
        DescentError: if it is not installed.
    """
    try:
        import dlib
    except ImportError as error:
        raise DescentError(
            "BoostedTrees: the trees are grown by dlib, which is not installed: pip install "
            "dlib-bin"
        ) from error
    return dlib


def _with_a_pool(model: DescentModel) -> tuple[LocalBinaryFeatures, PixelPool]:
    """The model and its eyes, if it is one that can hold the trees.

    Raises:
        DescentError: if it is not.
    """
    eyes = model.observation
    if not isinstance(model, LocalBinaryFeatures) or not isinstance(eyes, PixelPool):
        raise DescentError(
            "BoostedTrees trains LocalBinaryFeatures that see a PixelPool, got "
            f"{type(model).__name__} that sees {eyes.in_words()}"
        )
    if model.num_steps > eyes.stages:
        raise DescentError(
            f"num_steps: expected at most the {eyes.stages} stages of the PixelPool, got "
            f"{model.num_steps}: give it more stages"
        )
    return model, eyes


def _losses(model: LocalBinaryFeatures, parts: Iterable[Prepared]) -> list[float]:
    """The mean square of the updates that are missing at the start of testing and after each stage,
    by what they count.
    """
    total, count = torch.zeros(model.num_steps + 1, dtype=torch.float64), 0.0
    for part in parts:
        for stage, x in enumerate(model.descend(part.seen, model.problem.initial(part.batch)).xs):
            left = model.problem.local(x, part.target).square()
            total[stage] += (left if part.weights is None else part.weights * left).sum()
        count += float(left.numel() if part.weights is None else part.weights.sum())
    check_known(count)
    return [value / count for value in total.tolist()]
