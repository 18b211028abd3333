"""What is asked for: the geometry of the parameters, and the supervision."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MethodType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn
from torch.utils.data import Dataset

from .data.batches import first_samples
from .data.samples import Batch, Split, as_samples
from .errors import DescentError
from .kernels import Kernel, Squares
from .linear import normal_equations

if TYPE_CHECKING:
    from .observation import Observation


class OtherData(NamedTuple):
    """Known data on which the families of a problem can be compared too: a section of the report.

    Attributes:
        title: the heading, such as ``"On the faces of 300-W"``.
        command: what to type; ``{options}`` stands for the families and the seed of the comparison.
        note: where the data come from, as HTML.
    """

    title: str
    command: str
    note: str


class Problem(nn.Module, ABC):
    """A task that asks for the parameters ``x`` of each sample of a batch.

    A problem holds geometry and supervision, never learnable weights. A new problem defines
    :meth:`data`, :meth:`initial`, :meth:`target`, :meth:`observation` and ``failure_above``, and
    mostly :meth:`error`; parameters on a manifold also override :meth:`retract` and :meth:`local`.

    Sizes: ``B`` batch, ``p`` stored size of the parameters, ``d`` size of an update (``d = p``
    unless the parameters live on a manifold).

    References:
        X. Xiong and F. De la Torre. Supervised descent method and its applications to face
        alignment. CVPR 2013.
    """

    failure_above: float
    """An error above this counts as a failure; the CED curve and the AUC end there. In the unit of
    :meth:`error`."""

    attained: bool = True
    """Whether the error is 0 at the target; not where no ``x`` says the whole truth, such as that
    of a shape model."""

    shapes: Mapping[str, str] = {}
    """Shapes that tensors of a batch must have, such as ``{"points": "B N 3", "pixels": "B N 2"}``:
    checked before the loop."""

    images: Sequence[str] = ()
    """Names of tensors of a batch that hold grey levels or colours in 0..255, beside those that an
    observation looks at."""

    optional: Sequence[str] = ()
    """Names of tensors that the data of one split may have and those of another lack."""

    edges: Sequence[tuple[int, int]] = ()
    """Pairs of points that a plot of an image problem joins by a line."""

    pictured: str = "fits"
    """What the figure of the best, median and worst fits shows: one word, which names its file."""

    other_data: OtherData | None = None
    """What the report of a comparison points to beside data of one's own."""

    @abstractmethod
    def initial(self, batch: Batch, generator: Generator | None = None) -> Float[Tensor, "B p"]:
        """The start ``x0``: without a generator the deterministic start of testing, with one a
        random start of training.
        """

    @abstractmethod
    def target(self, batch: Batch) -> Float[Tensor, "B p"]:
        """The true parameters ``x*``, for trainers and evaluation; no model ever sees them."""

    def target_weights(self, batch: Batch) -> Float[Tensor, "B d"] | None:
        """How much each coordinate of the update that leads to the target counts, from 0 (its truth
        is not known, and what the target holds there is never used); ``None``, the default, where
        all count alike.

        Trainers, the default :meth:`loss` and the default :meth:`error` weigh by them; a problem
        that overrides those two weighs there as well.
        """
        return None

    @abstractmethod
    def observation(self) -> Observation:
        """A fresh copy of the problem's default observation."""

    @abstractmethod
    def data(self, split: Split) -> Batch | Dataset[dict[str, Tensor]]:
        """The samples of ``split``: one batch of all of them, or a data set of single samples for
        what does not fit.
        """

    def held_out(self) -> Batch | Dataset[dict[str, Tensor]]:
        """The samples that a training is validated on, and that choose among its weights: those of
        ``data("val")`` by default.
        """
        return self.data("val")

    def names(self, split: Split) -> Sequence[str]:
        """What the samples of ``split`` are called, such as the paths of their pictures, in the
        order of :meth:`data`: reports name the worst ones. None by default.
        """
        return ()

    def marks(self, x: Float[Tensor, "B p"]) -> Float[Tensor, "B L 2"]:
        """The points in the picture of each sample that ``x`` stands for, ``(column, row)`` in px:
        for a problem whose batch holds pictures that no :class:`ImageObservation` looks at.
        """
        raise DescentError(f"{type(self).__name__}: its samples have no points in a picture")

    def export_sample(self, count: int) -> Batch:
        """Some samples to trace and to try a model on, again and again the first ones for testing;
        a problem that knows their shapes needs no data for them.
        """
        samples = as_samples(self.data("test"), f"{type(self).__name__}.data('test')")
        few = first_samples(samples, count)
        rows = torch.arange(count) % next(iter(few.values())).shape[0]
        return {name: value[rows] for name, value in few.items()}

    def export_notes(self) -> dict[str, Any]:
        """What somebody must know who has nothing but an exported graph, as JSON: units, sizes, the
        start; the settings by default.
        """
        return self.settings()

    def augment(self, batch: Batch, generator: Generator) -> Batch:
        """A random variant of a training batch, made where the batch is; the batch itself by
        default.
        """
        return batch

    def retract(self, x: Float[Tensor, "B p"], delta: Float[Tensor, "B d"]) -> Float[Tensor, "B p"]:
        """The parameters reached from ``x`` by the update ``delta``; ``x + delta`` by default."""
        return x + delta

    def local(self, x: Float[Tensor, "B p"], y: Float[Tensor, "B p"]) -> Float[Tensor, "B d"]:
        """The update that leads from ``x`` to ``y``: the inverse of :meth:`retract` in its second
        argument.
        """
        return y - x

    def loss(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, " B"]:
        """What back-propagation minimises, per sample; the mean square of the update that is left
        by default, each coordinate times its weight.
        """
        squares = self.local(x, self.target(batch)).square()
        weights = self.target_weights(batch)
        return (squares if weights is None else weights * squares).mean(1)

    def error(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, " B"]:
        """The reported error per sample, in the unit of ``failure_above``; the length of the update
        left by default, with its weights.
        """
        left = self.local(x, self.target(batch))
        weights = self.target_weights(batch)
        length: Tensor = torch.linalg.vector_norm(
            left if weights is None else weights.sqrt() * left, dim=1
        )
        return length

    def metrics(self, x: Float[Tensor, "B p"], batch: Batch) -> dict[str, Float[Tensor, " B"]]:
        """Every error worth reporting, by name (the name states the normaliser); the first one is
        :meth:`error`.
        """
        return {"error": self.error(x, batch)}

    @classmethod
    def families(cls) -> Mapping[str, object]:
        """The families that it brings by name, such as a
        :class:`~learned_descent.families.Recipe`: beside the general ones and those of its bases,
        or in place of one of that name.

        Example:
            >>> from learned_descent.problems import Pose
            >>> list(Pose.families())
            ['sdm', 'mdm']
        """
        return {}

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments that a stored model needs to build the problem again, as
        JSON; none by default.
        """
        return {}


class LeastSquares(Problem):
    """A problem whose cost can be written down: what Gauss-Newton, Levenberg-Marquardt and
    polishing need.

    The cost of a sample is ``kernel.cost(residual)``: half the sum of squares, unless the problem
    has a robust kernel. What follows from the residuals follows from those of the class itself:
    where it overrides :meth:`residual` or :meth:`retract` and inherits a :meth:`jacobian`,
    :meth:`linearized`, :meth:`cost` or :meth:`normal_equations` that was written for others, it has
    the general ones of this class.

    References:
        J. Nocedal and S. Wright. Numerical Optimization, chapter 10. Springer 2006.
    """

    kernel: Kernel = Squares()
    """What a residual costs, and what it weighs."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name, sources in _DERIVED.items():
            if any(_place_of(source, cls) < _place_of(name, cls) for source in sources):
                setattr(cls, name, getattr(LeastSquares, name))

    def prepare(self, batch: Batch) -> Batch:
        """What the residuals need and ``x`` does not change, computed once per batch; the batch
        itself by default.
        """
        return batch

    @abstractmethod
    def residual(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B R"]:
        """The residuals at ``x``, given a prepared batch; zero where the model explains the sample
        perfectly.
        """

    def residual_of_one(self, x: Float[Tensor, " p"], sample: Batch) -> Float[Tensor, " R"]:
        """The residuals of one sample, for ``torch.vmap``; override it where :meth:`residual` is
        made of it.
        """
        single = {name: value.unsqueeze(0) for name, value in sample.items()}
        return self.residual(x.unsqueeze(0), single).squeeze(0)

    @property
    def additive(self) -> bool:
        """Whether an update is added to ``x``, so that a derivative along it is one along ``x``:
        unless :meth:`retract` is overridden.
        """
        return self.retract == MethodType(Problem.retract, self)

    def jacobian(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, "B R d"]:
        """The derivative of :meth:`residual` along :meth:`retract` at ``x``, by forward-mode
        differentiation.

        Override it with the analytic one where that is known: it is several times faster.

        Raises:
            DescentError: if :meth:`residual` does what ``torch.func`` cannot follow: writing in
                place, ``if`` on a tensor, ``.item()``, numpy.
        """
        return self._differentiated(x, batch)[1]

    def linearized(
        self, x: Float[Tensor, "B p"], batch: Batch
    ) -> tuple[Float[Tensor, "B R"], Float[Tensor, "B R d"]]:
        """The residuals at ``x`` and their :meth:`jacobian`, given a prepared batch.

        Override it where both share work.
        """
        if self.jacobian == MethodType(LeastSquares.jacobian, self):
            return self._differentiated(x, batch)
        return self.residual(x, batch), self.jacobian(x, batch)

    def _differentiated(self, x: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Residuals and derivatives by one pass of forward-mode differentiation."""

        def moved(delta: Tensor, row: Tensor, sample: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            if not self.additive:
                row = self.retract(row.unsqueeze(0), delta.unsqueeze(0)).squeeze(0)
            residual = self.residual_of_one(row, sample)
            return residual, residual

        zero = torch.zeros_like(self.local(x, x))
        # Along x itself where an update is added to it: a sum less in every pass
        both = torch.vmap(torch.func.jacfwd(moved, argnums=int(self.additive), has_aux=True))
        try:
            jacobian, residual = both(zero, x, dict(batch))
        except (DescentError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # torch raises many kinds
            # Where this fails too, its own error says more
            self.residual(self.retract(x, zero), batch)
            own = type(self).__name__
            raise DescentError(
                f"{own}.residual: torch.func (vmap and jacfwd) cannot differentiate it: write it "
                "with torch operations alone (torch.where for an if, torch.cat or torch.stack for "
                f"writing in place, no .item(), no numpy), or override {own}.jacobian. torch says: "
                f"{_brief(error)}"
            ) from error
        return residual, jacobian

    def cost(self, x: Float[Tensor, "B p"], batch: Batch) -> Float[Tensor, " B"]:
        """The cost at ``x``, given a prepared batch."""
        return self.kernel.cost(self.residual(x, batch))

    def faults(self, x: Float[Tensor, "B p"], batch: Batch) -> Mapping[str, Bool[Tensor, " B"]]:
        """What makes a sample ``INVALID`` to a solver, in words, and whether it does; given a
        prepared batch. None by default.

        It is only asked for samples that are ``INVALID``; the first word that holds for a sample is
        reported.
        """
        return {}

    def room(
        self, x: Float[Tensor, "B p"], batch: Batch
    ) -> tuple[Float[Tensor, "B d"], Float[Tensor, "B d"]] | None:
        """How far each coordinate of an update may go from ``x`` within bounds, down (at most 0)
        and up (at least 0); given a prepared batch. ``None``, the default, where there are none.

        Steps of Gauss-Newton and Levenberg-Marquardt are the best ones within them. A problem that
        has bounds keeps to them in :meth:`~Problem.retract` too, for what rounding adds and for
        learned steps.
        """
        return None

    def weights(self, residual: Float[Tensor, "B R"]) -> Float[Tensor, "B R"]:
        """The weights of iteratively re-weighted least squares: those of the kernel."""
        return self.kernel.weights(residual)

    def normal_equations(
        self, x: Float[Tensor, "B p"], batch: Batch
    ) -> tuple[Float[Tensor, "B d d"], Float[Tensor, "B d"], Float[Tensor, " B"]]:
        """``J^T W J``, ``J^T W r`` and the cost at ``x``, given a prepared batch.

        Override it where they can be had without the whole Jacobian.
        """
        residual, jacobian = self.linearized(x, batch)
        matrix, gradient = normal_equations(jacobian, self.weights(residual), residual)
        return matrix, gradient, self.kernel.cost(residual)


def with_cost(problem: Problem, who: str = "a classical solver") -> LeastSquares:
    """The problem itself, which has to have residuals.

    Args:
        problem: the problem.
        who: what the message calls those who need them.

    Raises:
        DescentError: if it has none.
    """
    if not isinstance(problem, LeastSquares):
        raise DescentError(
            f"{type(problem).__name__}: {who} needs the residuals of a LeastSquares problem; this "
            "is a Problem"
        )
    return problem


_DERIVED: Mapping[str, Sequence[str]] = {
    "jacobian": ("residual", "retract"),
    "linearized": ("residual", "retract", "jacobian"),
    "cost": ("residual",),
    "normal_equations": ("residual", "retract", "jacobian", "linearized", "weights"),
}
"""What follows from what; in this order, for the last one follows from the first."""


def _place_of(method: str, cls: type) -> int:
    """How far up its ancestors a class finds a method."""
    return next(place for place, base in enumerate(cls.__mro__) if method in vars(base))


def _brief(error: Exception) -> str:
    """The beginning of a message, on one line."""
    words = " ".join(str(error).split())
    return words if len(words) <= 120 else f"{words[:120]}..."
