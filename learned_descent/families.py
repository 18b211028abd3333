"""A family as data: a model, its eyes, and how it is trained; or a classical solver; or one after
the other.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, final

import torch

from .data.samples import Samples, as_samples
from .errors import DescentError, calling
from .look import count_points, eyes_of
from .model import DescentModel
from .models import (
    Cascade,
    CoarseToFineSearch,
    GlobalCascade,
    LearnedLevenbergMarquardt,
    MnemonicDescent,
)
from .observation import ImageObservation
from .problem import Problem
from .solvers import GaussNewton, LevenbergMarquardt, Polished, ScipyLeastSquares, Solver
from .training import (
    BackpropThroughTime,
    History,
    ParallelRidge,
    ProjectOut,
    SearchRidge,
    SequentialRidge,
    Trainer,
)

_RESERVED = {
    "model",
    "observation",
    "problem",
    "task",
    "family",
    "out",
    "seed",
    "init",
    "resume",
    "overwrite",
    "config",
}
"""Names of other options and sections, which no trainer can have."""


@final
@dataclass(frozen=True)
class Recipe:
    """A learned family: which model, what it sees, and which trainers shape it in which order.

    Attributes:
        model: the class of the model.
        options: arguments of its ``for_problem``, other than the problem and the observation.
        observation: a class of image observations; ``None`` for the problem's own eyes.
        observation_options: arguments of that class, other than ``points`` and ``image``.
        trainers: what shapes it, by name and in order; the options of a trainer carry its name, as
            in ``--bptt.lr``.

    Example:
        >>> from learned_descent.problems import Analytic
        >>> model, histories = RECIPES["sdm"].train(Analytic("sin"))
        >>> type(model).__name__, list(histories)
        ('Cascade', ['ridge'])
    """

    model: type[DescentModel]
    options: Mapping[str, Any] = field(default_factory=dict)
    observation: type[ImageObservation] | None = None
    observation_options: Mapping[str, Any] = field(default_factory=dict)
    trainers: Mapping[str, Trainer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.observation is None and self.observation_options:
            raise DescentError(
                "observation_options: expected none without an observation, got "
                f"{dict(self.observation_options)}"
            )
        if not self.trainers:
            raise DescentError(
                'recipe: expected a trainer, such as trainers={"ridge": SequentialRidge()}, got '
                "none"
            )
        for name, trainer in self.trainers.items():
            if not name.isidentifier() or name in _RESERVED:
                raise DescentError(
                    "trainers: expected names as in Python, and none of "
                    f"{', '.join(sorted(_RESERVED))}, got {name!r}"
                )
            given: object = trainer
            if not isinstance(given, Trainer) or not is_dataclass(given):
                raise DescentError(
                    f"trainers: {name}: expected a Trainer that is a frozen dataclass, got "
                    f"{type(given).__name__}"
                )

    def build(self, problem: Problem, *, seed: int = 0) -> DescentModel:
        """An untrained model for a problem; its random weights depend on the seed alone.

        Args:
            problem: the task; its own observation tells an image observation where to look.
            seed: the seed of the weights.

        Raises:
            DescentError: if the recipe names an image observation and the problem has no points in
                an image, or the seed has more than 64 bits.
        """
        if not -(2**63) <= seed < 2**63:
            raise DescentError(f"seed: expected a whole number of 64 bits, got {seed}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            eyes = (
                None
                if self.observation is None
                else image_observation(self.observation, problem, self.observation_options)
            )
            return self.model.for_problem(problem, observation=eyes, **self.options)

    def fit(
        self, model: DescentModel, train: Samples, val: Samples | None = None, *, seed: int = 0
    ) -> dict[str, History]:
        """Trains a model that :meth:`build` made, in place.

        A trainer that resumes from its checkpoint leaves those before it out: the checkpoint came
        after them.

        Args:
            model: the model.
            train: training samples.
            val: held-out samples.
            seed: the seed of all that is random.

        Returns:
            What each trainer did, by its name.
        """
        return {
            name: trainer.fit(model, train, val, seed=seed)
            for name, trainer in self._left().items()
        }

    def train(self, problem: Problem, *, seed: int = 0) -> tuple[DescentModel, dict[str, History]]:
        """A trained model, and what each trainer did: :meth:`build` and :meth:`fit` on the
        problem's own samples.
        """
        model = self.build(problem, seed=seed)
        return model, self.fit(model, problem.data("train"), held_out_of(problem), seed=seed)

    def within(self, folder: Path, *, resume: bool) -> Recipe:
        """The recipe with its checkpoints and logs in a folder; each trainer in one of its own,
        where several keep files.

        Args:
            folder: the folder.
            resume: whether to go on from the checkpoints that are there.
        """
        placed = {
            name: trainer.within(folder, resume=resume) for name, trainer in self.trainers.items()
        }
        keeping = [name for name, trainer in placed.items() if trainer.files()]
        if len(keeping) > 1:
            placed |= {
                name: self.trainers[name].within(folder / name, resume=resume) for name in keeping
            }
        return replace(self, trainers=placed)

    def sized(self, count: int) -> Recipe:
        """The recipe with a value for each setting of its trainers that is to follow from the
        number of training samples, see :meth:`Trainer.sized`.
        """
        trainers = {name: trainer.sized(count) for name, trainer in self.trainers.items()}
        return replace(self, trainers=trainers)

    def files(self) -> list[Path]:
        """The files that the trainers keep."""
        return [file for trainer in self.trainers.values() for file in trainer.files()]

    def checkpoints(self) -> list[Path]:
        """The files that a training goes on from."""
        return [trainer.files()[0] for trainer in self.trainers.values() if trainer.files()]

    def check_installed(self) -> None:
        """Refuses a training for which a library is missing, before anything is done."""
        for trainer in self.trainers.values():
            trainer.check_installed()

    def check_checkpoint(self, model: DescentModel, train: Samples, *, seed: int = 0) -> None:
        """Refuses a checkpoint that a trainer cannot go on from, before anything is done."""
        for trainer in self.trainers.values():
            trainer.check_checkpoint(model, train, seed=seed)

    def forecast(self, model: DescentModel, train: Samples, *, seed: int = 0) -> float | None:
        """The seconds that the training will take; ``None`` if a trainer cannot tell.

        Args:
            model: the untrained model; it stays as it is.
            train: training samples.
            seed: the seed of the training.
        """
        known = [trainer.forecast(model, train, seed=seed) for trainer in self._left().values()]
        seconds = [value for value in known if value is not None]
        return sum(seconds) if len(seconds) == len(known) else None

    def begun(self) -> Recipe | None:
        """What is left to train where weights are given: all but closed forms; ``None`` if that is
        nothing.

        Example:
            >>> list(RECIPES["joint"].begun().trainers)
            ['bptt']
            >>> RECIPES["sdm"].begun() is None
            True
        """
        left = {name: trainer for name, trainer in self.trainers.items() if not trainer.closed_form}
        return replace(self, trainers=left) if left else None

    def after(self, other: Recipe) -> Recipe | None:
        """What is left to train once ``other`` has trained a model; ``None`` if ``other`` is no
        beginning of this recipe.

        Example:
            >>> list(RECIPES["joint"].after(RECIPES["sdm"]).trainers)
            ['bptt']
            >>> RECIPES["mdm"].after(RECIPES["sdm"]) is None
            True
        """
        own, done = list(self.trainers.items()), list(other.trainers.items())
        begins = [(name, type(trainer), trainer.settings()) for name, trainer in own[: len(done)]]
        if len(own) <= len(done) or begins != [
            (name, type(trainer), trainer.settings()) for name, trainer in done
        ]:
            return None
        if replace(other, trainers=self.trainers) != self:
            return None
        return replace(self, trainers=dict(own[len(done) :]))

    def _left(self) -> dict[str, Trainer]:
        """The trainers that still have something to do: from the last one on that resumes."""
        trainers = list(self.trainers.items())
        resumed = [place for place, (_, trainer) in enumerate(trainers) if trainer.resumes()]
        return dict(trainers[max(resumed, default=0) :])


@final
@dataclass(frozen=True)
class Classical:
    """A family without weights: a classical solver.

    Attributes:
        solver: the class of the solver.
        options: its arguments, other than the problem.

    Example:
        >>> from learned_descent.problems import Analytic
        >>> Classical(LevenbergMarquardt, {"num_steps": 20}).build(Analytic("sin")).num_steps
        20
    """

    solver: type[Solver]
    options: Mapping[str, Any] = field(default_factory=dict)

    def build(self, problem: Problem, *, seed: int = 0) -> Solver:
        """The solver for a problem; the seed is not used."""
        return self.solver(problem, **self.options)

    def train(self, problem: Problem, *, seed: int = 0) -> tuple[DescentModel, dict[str, History]]:
        """The solver; there is nothing to train."""
        return self.build(problem), {}

    def brief(self) -> Classical:
        """The same solver with ten steps, where it counts steps: enough for what a learned descent
        leaves.
        """
        if "num_steps" not in inspect.signature(self.solver).parameters:
            return self
        return replace(self, options={**self.options, "num_steps": 10})


@final
@dataclass(frozen=True)
class Polish:
    """A family of two: a learned descent, for its wide basin, and then a classical solver, for its
    precision.

    Attributes:
        learned: what is trained, as if it were alone.
        solver: what goes on where that ends.
    """

    learned: Recipe
    solver: Classical

    def build(self, problem: Problem, *, seed: int = 0) -> DescentModel:
        """An untrained model for a problem, with the solver behind it."""
        return self.finish(self.learned.build(problem, seed=seed))

    def train(self, problem: Problem, *, seed: int = 0) -> tuple[DescentModel, dict[str, History]]:
        """A trained model with the solver behind it, and what each trainer did."""
        model, histories = self.learned.train(problem, seed=seed)
        return self.finish(model), histories

    def finish(self, model: DescentModel) -> DescentModel:
        """A model, trained or not, with the solver behind it."""
        return Polished(model, self.solver.build(model.problem))


Family: TypeAlias = Recipe | Classical | Polish
"""What a row of a comparison can be."""


def learned_part(family: str) -> str:
    """The name under which the learned part of a family is trained: ``"mdm"`` of ``"mdm+lm"``."""
    return family.partition("+")[0]


def learned_parts(families: Mapping[str, Family]) -> dict[str, Recipe]:
    """What is to be trained for several families, by name; a polished family and the plain one
    share their training.

    Raises:
        DescentError: if they do not agree on it.

    Example:
        >>> mdm = RECIPES["mdm"]
        >>> list(learned_parts({"mdm": mdm, "mdm+lm": Polish(mdm, SOLVERS["lm"]),
        ...     "lm": SOLVERS["lm"]}))
        ['mdm']
    """
    parts: dict[str, Recipe] = {}
    for name, family in families.items():
        if not isinstance(family, Classical):
            recipe, part = (
                family.learned if isinstance(family, Polish) else family,
                learned_part(name),
            )
            if parts.setdefault(part, recipe) != recipe:
                raise DescentError(
                    f"family {name!r}: expected the training of {part!r}, which is shared, got "
                    "another one"
                )
    return parts


def held_out_of(problem: Problem) -> Samples | None:
    """The validation samples, or ``None`` where there are none.

    Raises:
        DescentError: if the problem gives something else, or fails.
    """
    name = f"{type(problem).__name__}.held_out()"
    with calling(name):
        given: object = problem.held_out()
    if given is None:
        return None
    samples = as_samples(given, name)
    none = not samples or (
        isinstance(samples, Mapping) and all(len(value) == 0 for value in samples.values())
    )
    return None if none else samples


def image_observation(
    cls: type[ImageObservation], problem: Problem, options: Mapping[str, Any]
) -> ImageObservation:
    """An image observation that looks where the problem's own observation looks.

    Args:
        cls: the class to build.
        problem: its own observation gives ``points`` and the name of the images.
        options: the other arguments; ``num_points`` is found on a training sample where the class
            asks for it.

    Raises:
        DescentError: if the problem's own observation is not one of images, or an option is
            unknown.
    """
    for own in eyes_of(problem).modules():
        if isinstance(own, ImageObservation):
            break
    else:
        raise DescentError(
            f"{cls.__name__} looks at points in an image, and "
            f"{type(problem).__name__}.observation() does not say where they are: return an "
            "ImageObservation there, or use a recipe with observation=None"
        )
    given = {"image": own.image, **options}
    if "num_points" in inspect.signature(cls).parameters and "num_points" not in given:
        given["num_points"] = count_points(problem, own)
    try:
        return cls(own.points, **given)
    except TypeError as error:
        raise DescentError(
            f"{cls.__name__}: cannot be built with the options {dict(options)}: {error}"
        ) from error


def joint(sdm: Recipe, mdm: Recipe) -> Recipe:
    """The cascade of ``sdm``, then trained by gradients as ``mdm`` is, in steps of a tenth: it
    begins near its end.
    """
    gradients = {
        name: trainer.changed({"lr": trainer.lr / 10})
        for name, trainer in mdm.trainers.items()
        if isinstance(trainer, BackpropThroughTime)
    }
    return replace(sdm, trainers={**sdm.trainers, **gradients})


_SDM = Recipe(Cascade, {"num_steps": 4}, trainers={"ridge": SequentialRidge()})
_MDM = Recipe(
    MnemonicDescent, {"num_steps": 4, "hidden": 128}, trainers={"bptt": BackpropThroughTime()}
)

_INCREMENTAL = Recipe(Cascade, {"num_steps": 4}, trainers={"parallel": ParallelRidge()})
_GLOBAL = Recipe(GlobalCascade, {"num_steps": 4}, trainers={"ridge": SequentialRidge()})

RECIPES: Mapping[str, Recipe] = {
    "sdm": _SDM,
    "joint": joint(_SDM, _MDM),
    "mdm": _MDM,
    "global-sdm": _GLOBAL,
    "incremental": _INCREMENTAL,
    "po-cr": Recipe(Cascade, {"num_steps": 4}, trainers={"jacobians": ProjectOut()}),
    "cfss": Recipe(CoarseToFineSearch, {"num_steps": 4}, trainers={"search": SearchRidge()}),
}
"""The families of any problem, with the problem's own eyes.

* ``sdm``: a linear cascade in closed form (Xiong and De la Torre, CVPR 2013).
* ``joint``: the same cascade, then trained jointly by gradients (Shi et al., 2014).
* ``mdm``: one recurrent step for all iterations (Trigeorgis et al., CVPR 2016).
* ``global-sdm``: a cascade with a linear map for each domain (Xiong and De la Torre, CVPR 2015).
* ``incremental``: a cascade whose levels learn on by themselves (Asthana et al., CVPR
  2014).
* ``po-cr``: averaged Jacobians, projected out of the appearance (Tzimiropoulos, CVPR 2015).
* ``cfss``: coarse-to-fine search with several candidates a step (Zhu et al., CVPR 2015).
"""

RARE = frozenset(
    {
        "cfss",
        "ert",
        "global-sdm",
        "incremental",
        "lbf",
        "learned-lm",
        "mdm-paper",
        "po-cr",
        "tokens",
    }
)
"""Families that are in a comparison only where they are named: it is done sooner without them."""

LEARNED_LM = Recipe(
    LearnedLevenbergMarquardt,
    trainers={
        "bptt": BackpropThroughTime(
            iterations=1000, batch_size=64, lr=3e-3, ema=0.99, detach="observation"
        )
    },
)
"""The family ``learned-lm`` of any least-squares problem: a recurrent model that gives damping and
step (Clark et al., ECCV 2018), and never raises the cost."""

SOLVERS: Mapping[str, Classical] = {
    "gn": Classical(GaussNewton),
    "lm": Classical(LevenbergMarquardt),
    "scipy": Classical(ScipyLeastSquares),
}
"""The classical families of any least-squares problem: Gauss-Newton, Levenberg-Marquardt, and
scipy's ``least_squares``."""
