"""Local forests and a global ridge over their leaves: the training of local binary features."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor

from ..data.batches import mix
from ..data.samples import Samples
from ..errors import DescentError, check_real, check_whole
from ..model import DescentModel
from ..models import LocalBinaryFeatures
from ..system.progress import progress_bar
from . import ranks
from .doubts import doubts_of_ridge, say
from .equations import check_held_known, check_known, joined
from .rows import StageRows
from .trainer import History, Trainer, entered
from .uneven import TOLERANCE, WeighedRows, conjugate_gradients


@final
@dataclass(frozen=True)
class LocalForests(Trainer):
    """Trains :class:`~learned_descent.models.LocalBinaryFeatures` stage after stage: forests first,
    each on its own group of features, and then one ridge regression of the whole update on the
    leaves of all of them.

    The forests are scikit-learn's ``ExtraTreesRegressor``: of the differences that a node tries,
    each at a random threshold, it takes the one that leaves least variance of the update of its own
    point. What their leaves would answer is thrown away. The ridge minimises
    ``sum |local(x_k, x*) - W f(x_k) - b|^2 + ridge v N |W|^2`` over ``N`` rows, where ``v`` is the
    mean variance of a leaf, by conjugate gradients on the sparse leaves.

    What the paper leaves open: places are drawn once for each point and stage and not for each
    node; thresholds are random; the radii are settings and not chosen stage by stage.

    Args:
        ridge: the weight of the penalty, in units of the mean variance of a leaf.
        repeats: random starts per sample and pass.
        passes: passes over the samples, each with fresh augmentation; the rows of all are held in
            memory.
        differences: pairs of features that are drawn for each group and stage.
        tried: how many of them a node tries.
        least: the fewest rows of a leaf.
        augment: whether the samples go through ``problem.augment``.
        batch_size: samples that are prepared at a time.

    References:
        S. Ren, X. Cao, Y. Wei and J. Sun. Face alignment at 3000 FPS via regressing local binary
        features. CVPR 2014, section 3.
        P. Geurts, D. Ernst and L. Wehenkel. Extremely randomized trees. Machine Learning 63, 2006.

    Example:
        >>> from learned_descent.problems import Analytic
        >>> problem = Analytic("sin")
        >>> model = LocalBinaryFeatures.for_problem(problem, num_steps=2, trees=8)
        >>> history = LocalForests(ridge=0.01).fit(model, problem.data("train"))
        >>> all(record["loss"] < 0.2 for record in history.records)
        True
    """

    closed_form: ClassVar[bool] = True

    ridge: float = 30.0
    repeats: int = 5
    passes: int = 1
    differences: int = 500
    tried: int = 40
    least: int = 5
    augment: bool = True
    batch_size: int = 64

    def __post_init__(self) -> None:
        check_real(self.ridge, name="ridge", positive=True)
        for name in ("repeats", "passes", "differences", "tried", "least", "batch_size"):
            check_whole(getattr(self, name), name=name)

    def fit(
        self, model: DescentModel, train: Samples, val: Samples | None = None, *, seed: int = 0
    ) -> History:
        """Trains the stages of ``model`` in place, one after the other, on the CPU.

        Args:
            model: local binary features.
            train: training samples.
            val: held-out samples, which tell whether a stage makes it worse.
            seed: the seed of starts, augmentation and trees.

        Returns:
            One record per stage: ``stage``, ``ridge``, the mean square ``loss`` of the update that
            is left on the training samples, and where samples are held out, ``held_out_loss``: the
            loss there before and after the stage.

        Raises:
            DescentError: if the model has no forests, or a sample is not finite.
        """
        if not isinstance(model, LocalBinaryFeatures):
            raise DescentError(
                "LocalForests trains the forests of LocalBinaryFeatures, got "
                f"{type(model).__name__}: use SequentialRidge or BackpropThroughTime"
            )
        start = time.perf_counter()
        train, val = entered(model, train, val, gradients=False, augment=self.augment)
        fabric = ranks.alone(type(self).__name__)
        model.cpu()
        made = StageRows(
            fabric,
            model,
            seed,
            self.repeats,
            self.passes,
            self.augment,
            self.batch_size,
            every=0,
        )
        records = []
        with (
            torch.no_grad(),
            progress_bar(desc="forests", total=model.num_steps, unit="stage") as progress,
        ):
            for stage in range(model.num_steps):
                rows = joined(list(made.of(stage, train)))
                if rows.weights is not None:
                    check_known(rows.weights.sum().item())
                self._grow(model, stage, rows, seed)
                loss, residual = self._regress(model, stage, rows)
                record: dict[str, Any] = {"stage": stage, "ridge": self.ridge, "loss": loss}
                if not residual <= TOLERANCE:
                    record["residual"] = residual
                if val is not None:
                    held = joined(list(made.of(stage, val, held_out=True)))
                    record["held_out_loss"] = _losses(model, stage, held)
                records.append(record)
                progress.set_postfix(loss=f"{loss:.3g}")
                progress.update()
        doubts = doubts_of_ridge(
            records, (self.ridge,), type(self).__name__, unsolved_for="many leaves hold like rows"
        )
        say(doubts)
        return History(records, time.perf_counter() - start, doubts=doubts)

    def _grow(self, model: LocalBinaryFeatures, stage: int, rows: WeighedRows, seed: int) -> None:
        """Grows the forest of each group, and lays its trees out in the model."""
        from sklearn.ensemble import ExtraTreesRegressor

        pairs = _pairs(model.num_features // model.num_groups)
        compared, thresholds = model.compared[stage], model.thresholds[stage]
        for group, (features, updates, weights) in enumerate(_grouped(rows, model.num_groups)):
            number = mix(seed, stage, group)
            draw = np.random.default_rng(number)
            few = min(self.differences, len(pairs))
            chosen = pairs[draw.choice(len(pairs), few, replace=False)]
            forest = ExtraTreesRegressor(
                model.trees,
                max_depth=model.depth,
                max_features=min(self.tried, few),
                min_samples_leaf=self.least,
                random_state=number % 2**32,
                n_jobs=torch.get_num_threads(),
            )
            forest.fit(_differences(features, chosen), updates, sample_weight=weights)
            names = torch.from_numpy(_named(chosen, features.shape[1], group, model.num_features))
            for tree, grown in enumerate(forest.estimators_, group * model.trees):
                tested, limits = complete_tree(grown.tree_, model.depth)
                compared[tree] = names[tested].to(compared)
                thresholds[tree] = limits.to(thresholds)

    def _regress(
        self, model: LocalBinaryFeatures, stage: int, rows: WeighedRows
    ) -> tuple[float, float]:
        """Solves the ridge regression of the updates on the leaves, and gives the mean square that
        is left, and how far it is from solved.
        """
        features, updates, weights = rows
        from scipy.sparse import csr_matrix

        places = _places(model, stage, features).numpy()
        ones = np.ones(places.size, np.float32)
        starts = np.arange(len(places) + 1) * places.shape[1]
        leaves = csr_matrix(
            (ones, places.flatten(), starts), shape=(len(places), model.rows.shape[1])
        )
        back = leaves.T.tocsr()
        counts = np.ones_like(updates.numpy()) if weights is None else weights.numpy()
        mass = torch.from_numpy(counts.sum(0)).clamp(min=1e-12)
        mean = torch.from_numpy((counts * updates.numpy()).sum(0)) / mass
        missing = updates.numpy() - mean.numpy()
        filled = torch.from_numpy(back @ counts)
        share = filled / mass
        penalty = self.ridge * (filled * (1 - share)).mean(0) + 1e-6 * mass

        def product(solution: Tensor) -> Tensor:
            given = leaves @ solution.numpy()
            return torch.from_numpy(back @ (counts * given)) + penalty * solution

        right = torch.from_numpy(back @ (counts * missing))
        solution, _, residual = conjugate_gradients(
            product, lambda x: x / (filled + penalty), right
        )
        model.rows[stage] = solution.to(model.rows)
        model.offsets[stage] = mean.to(model.offsets)
        left = missing - leaves @ solution.numpy()
        return float((counts * left**2).sum() / counts.sum()), residual


def complete_tree(tree: Any, depth: int) -> tuple[Tensor, Tensor]:
    """A tree of scikit-learn as a complete one: which difference each of its nodes looks at, and
    the threshold, ``(2 ** depth - 1,)`` each.

    Its thresholds are in double precision and what they are compared with is not: rounded down,
    they part the same numbers. A leaf that comes early sends everything to the left.

    Args:
        tree: the ``tree_`` of an estimator.
        depth: the levels of the complete tree, as many as the tree has or more.

    Example:
        >>> from sklearn.tree import DecisionTreeRegressor
        >>> grown = DecisionTreeRegressor(max_depth=1).fit([[0.0], [1.0]], [0.0, 1.0])
        >>> complete_tree(grown.tree_, 2)
        (tensor([ 0, -1, -1]), tensor([0.5000, inf, inf]))
    """
    nodes = np.zeros(2**depth - 1, np.int64)
    for node in range(len(nodes) // 2):
        for side, children in enumerate((tree.children_left, tree.children_right), 1):
            child = children[nodes[node]]
            nodes[2 * node + side] = nodes[node] if child < 0 else child
    inner = tree.children_left[nodes] >= 0
    wide = tree.threshold[nodes]
    near = wide.astype(np.float32)
    down = np.where(near > wide, np.nextafter(near, np.float32(-np.inf)), near)
    tested = np.where(inner, tree.feature[nodes], -1)
    limits = np.where(inner, down, np.float32(np.inf))
    return torch.from_numpy(tested), torch.from_numpy(limits.astype(np.float32))


def _pairs(count: int) -> np.ndarray:
    """All pairs of features of a group, and each feature with the zero behind the last one."""
    return np.stack(np.triu_indices(count + 1, 1), 1)


def _differences(features: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Differences ``(N, pairs)`` of features ``(N, F)``, column after column in memory, as trees
    read them.
    """
    columns = np.ascontiguousarray(np.pad(features, ((0, 0), (0, 1))).T)
    differences: np.ndarray = columns[pairs[:, 0]] - columns[pairs[:, 1]]
    return differences.T


def _named(pairs: np.ndarray, count: int, group: int, total: int) -> np.ndarray:
    """Pairs of features of a group as those of all features, and last the pair of nothing with
    nothing.
    """
    names = np.where(pairs == count, total, group * count + pairs)
    return np.concatenate([names, [[total, total]]])


def _grouped(
    rows: WeighedRows, groups: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    """What the trees of each group see of the rows, what they are to tell apart, and what the rows
    count: the coordinates of their own point, or all where those are not shared out among the
    groups.
    """
    features, updates, weights = rows
    shared = updates.shape[1] % groups == 0
    if weights is not None:  # where nothing is known, a row is like all others
        mean = (weights * updates).sum(0) / weights.sum(0).clamp(min=1e-12)
        updates = torch.where(weights > 0, updates, mean)
    for group, own in enumerate(features.float().chunk(groups, 1)):
        part = slice(None)
        if shared:
            each = updates.shape[1] // groups
            part = slice(group * each, (group + 1) * each)
        own_weights = None if weights is None else weights[:, part].mean(1)
        # Where nothing is known at all, there is nothing to tell apart, whatever a row counts
        counts = None if own_weights is None or not own_weights.any() else own_weights.numpy()
        wanted = updates[:, part].numpy()
        yield own.numpy(), wanted.ravel() if wanted.shape[1] == 1 else wanted, counts


def _places(model: LocalBinaryFeatures, stage: int, features: Tensor) -> Tensor:
    """The rows of the weights that each row of features adds up, ``(N, trees)``."""
    parts = [model.places(stage, part) for part in features.split(1024)]
    return torch.cat(parts)


def _losses(model: LocalBinaryFeatures, stage: int, rows: WeighedRows) -> list[float]:
    """The mean square of the updates of rows, by their weights, before a stage and after it."""
    features, updates, weights = rows
    given = torch.cat([model.step(stage, part, None)[0] for part in features.split(1024)])
    counts = torch.ones_like(updates) if weights is None else weights
    check_held_known(counts.sum().item())
    squares = [(counts * left.square()).sum() for left in (updates, updates - given)]
    return [float(square / counts.sum()) for square in squares]
