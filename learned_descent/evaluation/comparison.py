"""Several models side by side: measured once, and then shown as a table, as figures and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from ..data.samples import Samples
from ..errors import DescentError
from ..files import or_null
from ..model import DescentModel
from .basin import Basin, basin
from .evaluation import Evaluation, check_comparable, evaluate
from .intervals import against_best, estimates
from .publish import latex_table
from .tables import columns, eyes, main_metrics, size, table, unusable, worst_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure


FIGURES = ("ced", "steps", "basin", "time", "fits")
"""The names of all figures of a comparison."""


@final
@dataclass(frozen=True)
class Comparison:
    """What several models reached on the same samples, from the same starts; its text is the table.

    Attributes:
        models: the models by the name of their family.
        evaluations: what each of them reached, by the same names.
        samples: what they were measured on.
        seconds: how long the training of a family took, where it is known.
        origin: what :meth:`to_json` says before all else: seed, versions, data, problem.
        notes: what it says of a family beside its evaluation: ``weights``, ``settings``,
            ``trainers``.
        names: what the samples are called; none where they have no names.
        folder: where the files of the comparison are; ``None`` where none were written.

    Raises:
        DescentError: if there are none, or they were not measured alike (see
            :func:`~learned_descent.evaluation.evaluation.check_comparable`).

    Example:
        >>> from learned_descent import Cascade
        >>> from learned_descent.problems import Analytic
        >>> from learned_descent.solvers import LevenbergMarquardt
        >>> problem = Analytic("erf")
        >>> models = {"still": Cascade.for_problem(problem), "lm": LevenbergMarquardt(problem)}
        >>> comparison = Comparison.measured(models, problem.data("test"))
        >>> comparison.evaluations["lm"].mean() < 1e-4 < comparison.evaluations["still"].mean()
        True
        >>> list(comparison.columns())
        ['converged %', 'ms/sample', 'parameters', 'observation']
        >>> comparison.basin.solved["lm"] == comparison.basin.counts
        True
        >>> lower, upper = comparison.basin.interval("lm")
        >>> min(lower) > 0.8
        True
        >>> sorted(comparison.figures())
        ['basin', 'ced', 'steps', 'time']
    """

    models: Mapping[str, DescentModel]
    evaluations: Mapping[str, Evaluation]
    samples: Samples
    seconds: Mapping[str, float] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    names: Sequence[str] = ()
    folder: Path | None = None

    def __post_init__(self) -> None:
        check_comparable(self.evaluations)

    @classmethod
    def measured(
        cls,
        models: Mapping[str, DescentModel],
        samples: Samples,
        *,
        batch_size: int = 64,
        device: str = "cpu",
    ) -> Comparison:
        """Measures models, trained ones or solvers, one after the other.

        Args:
            models: the models by the names that the table gives them.
            samples: what they are measured on, see :func:`~learned_descent.evaluate`.
            batch_size: samples that are fitted at once.
            device: where the descents run.
        """
        evaluations: dict[str, Evaluation] = {}
        for name, model in models.items():
            evaluations[name] = evaluate(model, samples, batch_size=batch_size, device=device)
        return cls(models, evaluations, samples)

    @classmethod
    def pooled(
        cls, comparisons: Sequence[Comparison], origin: Mapping[str, Any] | None = None
    ) -> Comparison:
        """Several trainings of the same families, measured on the same samples, as one comparison.

        Args:
            comparisons: one for each seed; the first holds every family, and what it alone holds
                was trained, or measured, once.
            origin: what changes in the first one's ``origin``.

        Raises:
            DescentError: if there are none, or they were not measured alike.
        """
        if not comparisons:
            raise DescentError("comparisons: expected one for each seed, got none")
        first = comparisons[0]
        several = {
            name: [other for other in comparisons if name in other.evaluations]
            for name in first.evaluations
        }
        return replace(
            first,
            evaluations={
                name: Evaluation.pooled([other.evaluations[name] for other in others])
                for name, others in several.items()
            },
            seconds={
                name: sum(other.seconds[name] for other in several[name]) / len(several[name])
                for name in first.seconds
            },
            origin={**first.origin, **(origin or {})},
        )

    @cached_property
    def basin(self) -> Basin | None:
        """The share of samples that each family solves, by the error at the start.

        It knows the 95 % interval of each share; ``None`` where the starts are too few, or too much
        alike.
        """
        return basin(self.evaluations)

    def columns(self) -> dict[str, dict[str, float | str]]:
        """The columns beside the errors, by title: seconds, sizes, and what each family sees."""
        return columns(
            self.evaluations,
            self.seconds,
            {name: size(model) for name, model in self.models.items()},
            {name: eyes(model) for name, model in self.models.items()},
        )

    def table(self) -> str:
        """The errors of each family with its columns, what a solver failed on, the worst samples by
        name, and the basin.
        """
        metrics = main_metrics(next(iter(self.evaluations.values())))
        shown = table(self.evaluations, self.columns(), metrics=metrics)
        shown = "\n".join(
            [shown, *unusable(self.evaluations), *worst_lines(self.evaluations, self.names)]
        )
        return shown if self.basin is None else f"{shown}\n\n{self.basin.table()}"

    def latex(self) -> str:
        """The errors of each family with its columns but for what it sees, as a LaTeX table: see
        :func:`~learned_descent.evaluation.publish.latex_table`.
        """
        metrics = main_metrics(next(iter(self.evaluations.values())))
        shown = {title: row for title, row in self.columns().items() if title != "observation"}
        return latex_table(self.evaluations, shown, metrics=metrics)

    def figures(self) -> dict[str, Figure]:
        """New figures by name: those of :data:`FIGURES`, perhaps without ``basin`` and ``fits``."""
        # Only what draws waits for Matplotlib.
        from .plots import plot_basin, plot_ced, plot_fits, plot_steps, plot_time

        drawn = (
            plot_ced(self.evaluations),
            plot_steps(self.evaluations),
            plot_basin(self.evaluations),
            plot_time(self.evaluations),
            plot_fits(self._pairs, self.samples, names=self.names),
        )
        return {name: figure for name, figure in zip(FIGURES, drawn) if figure is not None}

    def descents(self) -> dict[str, Any]:
        """Some samples after every step of each family, as JSON, for the slider of the report: see
        :func:`~learned_descent.evaluation.plots.descents.descents`.
        """
        from .plots.descents import descents

        return descents(self._pairs, self.samples, names=self.names)

    def to_json(self) -> dict[str, Any]:
        """All but the models and the figures: what ``compare`` writes as ``results.json``."""
        test = against_best(self.evaluations)
        return {
            **self.origin,
            "test": {"best": test.best, "p": dict(test.p)},
            "basin": None if self.basin is None else self.basin.to_json(),
            **({"names": list(self.names)} if self.names else {}),
            "families": {
                name: {
                    "weights": None,
                    "settings": {},
                    "parameters": size(self.models[name]),
                    "training_seconds": self.seconds.get(name),
                    "trainers": {},
                    **self.notes.get(name, {}),
                    **evaluation.to_json(),
                    "certainty": _certainty(evaluation),
                }
                for name, evaluation in self.evaluations.items()
            },
        }

    def __str__(self) -> str:
        """The table, and where the files are if there are any."""
        if self.folder is None:
            return self.table()
        gap = "\n" if self.basin is None else "\n\n"
        return f"{self.table()}{gap}results: {self.folder}\nreport: {self.folder / 'report.html'}"

    @property
    def _pairs(self) -> dict[str, tuple[DescentModel, Evaluation]]:
        return {name: (self.models[name], found) for name, found in self.evaluations.items()}


def _certainty(result: Evaluation) -> dict[str, Any]:
    """Interval and spread of every figure, by metric."""
    found: dict[str, Any] = or_null(
        {
            name: {
                figure: estimate._asdict() for figure, estimate in estimates(result, name).items()
            }
            for name in result.metrics
        }
    )
    return found
