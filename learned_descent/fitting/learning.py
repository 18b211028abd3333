"""A plain function as a trained model: its wide basin, and then the precision of a solver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from ..checkpoint.model import load_model, save_model
from ..checkpoint.stored import check_arguments, read_stored
from ..data.samples import Batch
from ..errors import DescentError, ShapeError, check_whole
from ..families import Classical, Polish, Recipe
from ..kernels import Kernel, Squares
from ..model import DescentModel
from ..provenance import provenance
from ..registry import recipe_for
from ..solvers import Status
from ..training import Trainer
from .arguments import (
    START_KEY,
    TRUTH_KEY,
    Arguments,
    Array,
    Data,
    Form,
    ResidualFunction,
    as_arguments,
    as_tensor,
)
from .problem import LEARNT_IN, FunctionProblem, kernel_in_words
from .sampling import Sampler, Sampling
from .solving import (
    Found,
    LeastSquaresResult,
    SolverMaker,
    gathered,
    prepare,
    solver_for,
    stepped,
)

_NAME = "custom:FunctionProblem"
"""What a file calls the problem of a function."""

_FEWEST = 80
"""The fewest samples to learn from: of them, ten are held out."""

_WORDS: Mapping[Status, str] = {
    Status.RUNNING: "learnt, and not polished",
    Status.INVALID: "no finite answer",
}


@dataclass(frozen=True)
class _Settings:
    """What a file says of the problem of a function."""

    size: int
    num_residuals: int
    form: Form
    shapes: Mapping[str, str]
    bounded: bool
    kernel: str
    kind: Literal["torch.float32", "torch.float64"]


def learn(
    residual: ResidualFunction,
    sampler: Sampler,
    *,
    family: str | Recipe = "sdm",
    count: int = 4096,
    x0: Array | None = None,
    bounds: tuple[Array, Array] | None = None,
    kernel: Kernel | None = None,
    seed: int = 0,
) -> LearnedLeastSquares:
    """Trains a model that finds ``x`` of new data, from the function of
    :func:`~learned_descent.least_squares` and samples whose ``x`` is known.

    A learned descent reaches the right minimum from farther away than a solver does; where it ends,
    the solver goes on, see :meth:`LearnedLeastSquares.fit`. The model sees what the function leaves
    at the start and where it is, and the steps of Gauss-Newton; its updates are in units of the
    standard deviations of the true ``x``.

    Args:
        residual: the residuals of one sample, as for :func:`~learned_descent.least_squares`.
        sampler: draws samples, ``sampler(generator, count)``: the true ``x (count, p)`` and their
            data, noise and all, as a pair; or these two and the weights ``(count, m)`` of the
            residuals, 0 for what does not count. It is given a new ``torch.Generator`` in each
            call, from which all that is random comes: with numpy, that is
            ``numpy.random.default_rng(generator.initial_seed())``.
        family: a family of :func:`~learned_descent.recipes_for` by its name, such as ``"sdm"``,
            ``"mdm"`` or ``"learned-lm"``, or a :class:`~learned_descent.Recipe`.
        count: samples for training; an eighth as many are held out. Where they are augmented,
            families that are trained by gradients see others all the time.
        x0: where the descent starts, ``(p,)``; ``None`` for the mean of the true ``x``.
        bounds: as for :func:`~learned_descent.least_squares`.
        kernel: as there.
        seed: the seed of samples, weights and starts.

    Raises:
        DescentError: if an argument is none of those above, the sampler gives something else, draws
            other samples when it is asked again, or its ``x`` explain its data no better than the
            start does; as :func:`~learned_descent.least_squares` does.

    References:
        X. Xiong and F. De la Torre. Supervised descent method and its applications to face
        alignment. CVPR 2013.

    Example:
        >>> t = torch.linspace(0, 4, 40)
        >>> def peak(x, y):  # the place and the width of a peak
        ...     return torch.exp(-(((t - x[0]) / x[1]) ** 2)) - y
        >>> def sampler(generator, count):
        ...     x = torch.rand(count, 2, generator=generator) * torch.tensor([4.0, 0.3])
        ...     x[:, 1] += 0.1
        ...     return x, torch.exp(-(((t - x[:, :1]) / x[:, 1:]) ** 2))
        >>> learned = learn(peak, sampler, count=512)
        >>> x, y = sampler(torch.Generator().manual_seed(1), 100)
        >>> found = learned.fit(y)
        >>> bool((found.x - x).abs().mean() < 0.01)
        True
    """
    check_whole(count, name="count", least=_FEWEST)
    recipe = _recipe(family)
    problem = _problem(residual, Sampling(sampler, count, seed), x0, bounds, kernel)
    recipe = replace(
        recipe,
        trainers={
            name: _suited(trainer, problem.low.device) for name, trainer in recipe.trainers.items()
        },
    )
    model, histories = recipe.train(problem, seed=seed)
    problem.sampling = None
    settings = {"family": family if isinstance(family, str) else "", "count": count} | {
        name: trainer.settings() for name, trainer in recipe.trainers.items()
    }
    seconds = sum(history.seconds for history in histories.values())
    return LearnedLeastSquares(model, {**provenance(seed, settings), "seconds": seconds})


@final
class LearnedLeastSquares:
    """What :func:`learn` makes: a trained model of a function, and a solver behind it.

    Args:
        model: the model, for the problem of a function.
        training: where it comes from, as JSON.

    Attributes:
        model: the trained model.
        problem: the function as a problem.
        training: seed, settings, versions and seconds.
    """

    def __init__(self, model: DescentModel, training: Mapping[str, Any]) -> None:
        if not isinstance(model.problem, FunctionProblem):
            raise DescentError(
                "model: expected one that learn() made, got one for the problem "
                f"{type(model.problem).__name__}"
            )
        self.model, self.problem, self.training = model.eval(), model.problem, dict(training)

    def fit(
        self,
        data: Data,
        x0: Array | None = None,
        *,
        weights: Array | None = None,
        mask: Array | None = None,
        polish: bool = True,
        solver: SolverMaker | None = None,
        absolute_sigma: bool = False,
    ) -> LeastSquaresResult:
        """Finds ``x`` for new data: by the model, and then by a solver that starts where the model
        ends.

        Args:
            data: new data, of the shapes and the structure of those of the sampler.
            x0: the starts ``(B, p)``, or one ``(p,)`` for all; ``None`` for that of the training.
            weights: as for :func:`~learned_descent.least_squares`.
            mask: as there.
            polish: whether the solver goes on; without it the answer is that of the model.
            solver: as for :func:`~learned_descent.least_squares`.
            absolute_sigma: as there.

        Returns:
            The answer as :func:`~learned_descent.least_squares` gives it. Each step of the model
            counts as an evaluation. A sample that the model makes nothing of goes on from its
            start.

        Raises:
            DescentError: if the data are others than those of the sampler, or a solver is given and
                not used; as :func:`~learned_descent.least_squares` does.
        """
        if solver is not None and not polish:
            raise DescentError("solver: expected none without polishing: leave it or polish=False")
        problem = self.problem
        self._check(as_arguments(data), x0)
        prepared = prepare(
            problem.function,
            problem.start.float().cpu().numpy() if x0 is None else x0,
            data,
            weights=weights,
            mask=mask,
            bounds=(problem.low, problem.high) if problem.bounded else None,
            kernel=problem.kernel,
        )
        if prepared.num_residuals != problem.num_residuals:
            raise ShapeError(
                f"residual: expected {problem.num_residuals} residuals of a sample, as in "
                f"training, got {prepared.num_residuals}: give the function that was learnt"
            )
        self.model.to(prepared.batch[START_KEY].device)
        made = solver_for(prepared.problem, solver)

        def find(batch: Batch) -> Found:
            x = self._learned(batch)
            if not polish:
                return self._unpolished(prepared.problem, x, batch)
            polished = stepped(made, {**batch, START_KEY: x})
            return polished._replace(evaluations=polished.evaluations + self.model.num_steps)

        steps = max(self.model.num_steps, made.num_steps)
        return gathered(prepared, find, steps, absolute_sigma=absolute_sigma)

    def _check(self, arguments: Arguments, x0: Array | None) -> None:
        """Refuses starts of another size, and data of another structure than those of the sampler;
        their shapes are checked by the model.
        """
        size = len(self.problem.low)
        given = None if x0 is None else tuple(as_tensor(x0, "x0").shape)
        if given is not None and given[-1:] != (size,):
            raise ShapeError(f"x0: expected shape ({size},) or (B, {size}), got {given}")
        wanted = _told(self.problem.form, list(self.problem.shapes))
        came = _told(arguments.form, list(arguments.batch))
        if came != wanted:
            raise DescentError(f"data: expected {wanted}, as of the sampler, got {came}")

    def _learned(self, batch: Batch) -> Float[Tensor, "B p"]:
        """Where the model ends; the start where that is not finite."""
        start = batch[START_KEY]
        reduced = {
            name: value.to(LEARNT_IN) if value.is_floating_point() else value
            for name, value in batch.items()
        }
        x: Tensor = self.model(reduced).final.to(start)
        return torch.where(x.isfinite().all(1, keepdim=True), x, start)

    def _unpolished(self, problem: FunctionProblem, x: Float[Tensor, "B p"], batch: Batch) -> Found:
        finite = problem.cost(x, batch).isfinite()
        status = torch.where(finite, int(Status.RUNNING), int(Status.INVALID))
        messages = [_WORDS[Status(end)] for end in status.tolist()]
        return Found(x, status, messages, torch.full_like(status, self.model.num_steps))

    def save(self, path: str | Path) -> None:
        """Writes weights and settings as one safetensors file, atomically; the function is not in
        it.

        Args:
            path: the file.
        """
        save_model(self.model, path, training=self.training)

    @classmethod
    def load(
        cls,
        path: str | Path,
        residual: ResidualFunction,
        *,
        kernel: Kernel | None = None,
        model: type[DescentModel] | None = None,
    ) -> LearnedLeastSquares:
        """What :meth:`save` wrote; no code runs on the word of the file.

        Args:
            path: the file.
            residual: the function that was learnt.
            kernel: the kernel that it was learnt with.
            model: the class of the model, where a recipe named one that is not built in.

        Raises:
            DescentError: if the file holds something else, or the kernel is another one.

        Example:
            >>> import tempfile
            >>> def residual(x, y):
            ...     return x**3 - y
            >>> def sampler(generator, count):
            ...     x = torch.rand(count, 1, generator=generator)
            ...     return x, x**3
            >>> path = Path(tempfile.mkdtemp()) / "cube.safetensors"
            >>> learn(residual, sampler, count=128).save(path)
            >>> again = LearnedLeastSquares.load(path, residual)
            >>> again.fit(torch.tensor([[0.125]])).x
            tensor([[0.5000]])
        """
        stored = read_stored(path)
        described = stored.description["problem"]
        if described["name"] != _NAME:
            raise DescentError(
                f"{path}: expected what learn() made, got a model of the problem "
                f"{described['name']}: read it with load_model"
            )
        problem = _problem_of(residual, described["settings"], kernel, path)
        return cls(load_model(stored, problem=problem, model=model), stored.training)


def _recipe(family: object) -> Recipe:
    """The family to train."""
    if isinstance(family, Recipe):
        return family
    if not isinstance(family, str):
        raise DescentError(f"family: expected a name, such as 'sdm', or a Recipe, got {family!r}")
    found = recipe_for(FunctionProblem, family)
    if isinstance(found, Polish):
        raise DescentError(
            f"family {family!r}: expected one without a solver behind it, which fit() brings: "
            f"{family.partition('+')[0]!r}"
        )
    if isinstance(found, Classical):
        raise DescentError(
            f"family {family!r}: expected one that learns, such as 'sdm': a solver is what "
            "least_squares() takes, and fit(solver=...)"
        )
    return found


def _suited(trainer: Trainer, device: torch.device) -> Trainer:
    """A trainer that stays where the variables of the function are, and asks for no gradients of
    it.
    """
    fitting = {"accelerator": ("auto", device.type), "detach": ("none", "observation")}
    settings = trainer.settings()
    changed = {name: own for name, (usual, own) in fitting.items() if settings.get(name) == usual}
    return trainer.changed(changed)


def _problem(
    residual: ResidualFunction,
    sampling: Sampling,
    x0: Array | None,
    bounds: tuple[Array, Array] | None,
    kernel: Kernel | None,
) -> FunctionProblem:
    """The function as a problem with samples, and what these tell: start, units and sizes."""
    sampling.check()
    first = sampling.split("train")
    truth = first.batch[TRUTH_KEY].double()
    size = truth.shape[1]
    problem = FunctionProblem(
        residual,
        first.arguments,
        size,
        bounds=bounds,
        kernel=kernel,
        kind=first.kind,
        sampling=sampling,
    ).to(truth.device)
    if bool((problem.within(truth) != truth).any()):
        raise DescentError("sampler: expected every x within the bounds, got one outside")
    start = truth.mean(0) if x0 is None else as_tensor(x0, "x0").to(truth)
    if start.shape != (size,):
        raise ShapeError(f"x0: expected shape ({size},), that of one x, got {tuple(start.shape)}")
    problem.start.copy_(problem.within(start[None])[0])
    scale = truth.std(0)
    problem.scale.copy_(scale.where(scale > 0, 1))
    batch = problem.data("train")
    problem.num_residuals = problem.count(problem.start, batch)
    with torch.no_grad():
        away = problem.residual(problem.initial(batch), batch)
        if not bool(problem.cost(truth.to(away), batch).sum() < problem.kernel.cost(away).sum()):
            raise DescentError(
                "sampler: expected x that explain their data better than the start does, got a "
                "cost that is no lower: does it return what the residual takes, in that order?"
            )
    problem.reach.copy_(away[away.isfinite()].square().mean().sqrt())
    return problem


def _problem_of(
    residual: ResidualFunction, settings: Mapping[str, Any], kernel: Kernel | None, path: str | Path
) -> FunctionProblem:
    """The problem that a file describes, without its samples."""
    try:
        check_arguments(_Settings, settings)
        given = _Settings(**settings)
        shapes = {name: map(int, shape.split()[1:]) for name, shape in given.shapes.items()}
        batch = {name: torch.empty(0, *shape) for name, shape in shapes.items()}
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise DescentError(f"{path}: expected the settings of a function: {error}") from error
    own = kernel_in_words(Squares() if kernel is None else kernel)
    if own != given.kernel:
        raise DescentError(
            f"{path}: learnt with the kernel {given.kernel}, got {own}: give that one, kernel=..."
        )
    problem = FunctionProblem(
        residual,
        Arguments(batch, given.form, False),
        given.size,
        bounds=(-torch.inf, torch.inf) if given.bounded else None,
        kernel=kernel,
        kind=getattr(torch, given.kind.removeprefix("torch.")),
    )
    problem.num_residuals = given.num_residuals
    return problem


def _told(form: Form, names: list[str]) -> str:
    if form == "names":
        return f"arrays by the names {', '.join(names)}"
    return f"a tuple of {len(names)} arrays" if form == "tuple" else "one array"
