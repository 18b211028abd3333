"""Clauses that are all tried, the report, and what clauses are made of: the machinery of
:mod:`.checks`.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..checkpoint.description import plain_settings
from ..data.batches import first_samples, index
from ..data.samples import Batch, Split, as_samples
from ..errors import DescentError, calling, check_shape
from ..problem import LeastSquares, Problem
from ..solvers import GaussNewton


@dataclass(frozen=True)
class Check:
    """One clause of the contract and how it went.

    Attributes:
        name: what is asked for.
        passed: whether it was found.
        detail: what was found instead; empty if passed.
        required: a failed check that is not required is a warning.
    """

    name: str
    passed: bool
    detail: str = ""
    required: bool = True

    def __str__(self) -> str:
        mark = "pass" if self.passed else "FAIL" if self.required else "warn"
        return f"  {mark}  {self.name}" + (f"\n        {self.detail}" if self.detail else "")


@dataclass(frozen=True)
class Report:
    """The checks of one object, in order; printed, it is a list of passes, warnings and failures.

    Attributes:
        subject: the class of the object.
        checks: how each clause went.
    """

    subject: str
    checks: tuple[Check, ...]

    @property
    def failures(self) -> tuple[Check, ...]:
        """The required checks that failed."""
        return tuple(check for check in self.checks if check.required and not check.passed)

    @property
    def warnings(self) -> tuple[Check, ...]:
        """The checks that failed and are not required."""
        return tuple(check for check in self.checks if not check.required and not check.passed)

    def __str__(self) -> str:
        return "\n".join([self.subject, *map(str, self.checks)])


class ContractError(DescentError):
    """An object breaks the contract.

    Attributes:
        report: every check; the message lists those that failed.
    """

    def __init__(self, report: Report) -> None:
        failed = [str(check) for check in report.failures]
        super().__init__(
            "\n".join(
                [f"{report.subject} fails {len(failed)} of {len(report.checks)} checks", *failed]
            )
        )
        self.report = report


class Contract:
    """Tries clauses one after the other: a failure is noted, and the rest is tried all the same."""

    def __init__(self, subject: object) -> None:
        self.subject = type(subject).__name__
        self.checks: list[Check] = []

    @contextmanager
    def clause(self, name: str, *, required: bool = True) -> Iterator[None]:
        """The body passes if it raises nothing."""
        try:
            yield
        except DescentError as error:
            self.checks.append(Check(name, False, str(error), required))
        except Exception as error:  # whatever third-party code raises is a finding
            self.checks.append(
                Check(name, False, f"raised {type(error).__name__}: {error}", required)
            )
        else:
            self.checks.append(Check(name, True))

    def unchanged(self, batch: Batch, before: Batch) -> None:
        """The last clause: nothing wrote into the batch."""
        with self.clause("batch: left as it came"):
            changed = [
                name
                for name in before
                if name not in batch or not torch.equal(batch[name], before[name])
            ]
            expect(not changed, f"{changed} changed in place; work on a copy")

    def settle(self) -> Report:
        """The report so far.

        Raises:
            ContractError: if a required clause failed.
        """
        report = Report(self.subject, tuple(self.checks))
        if report.failures:
            raise ContractError(report)
        return report


def expect(condition: bool, message: str) -> None:
    """Fails the clause with ``message`` unless ``condition`` holds."""
    if not condition:
        raise DescentError(message)


def expect_close(value: Tensor, wanted: Tensor, name: str, *, scale: Tensor | None = None) -> None:
    """Fails the clause unless ``value`` equals ``wanted`` up to rounding, relative to the largest
    of ``scale``.
    """
    expect(
        value.shape == wanted.shape,
        f"{name}: expected shape {tuple(wanted.shape)}, got {tuple(value.shape)}",
    )
    size = float((wanted if scale is None else scale).detach().abs().max())
    tolerance = 4 * torch.finfo(wanted.dtype).eps ** 0.5 * size
    worst = float((value - wanted).detach().abs().max())
    expect(
        worst <= tolerance,
        f"{name}: expected a difference of at most {tolerance:.2g}, got {worst:.2g}",
    )


def expect_like(value: Tensor, wanted: Tensor, name: str) -> None:
    """Fails the clause unless ``value`` has the shape, dtype and device of ``wanted``."""
    check_shape(value, " ".join(map(str, wanted.shape)), name=name)
    expect(value.dtype == wanted.dtype, f"{name}: expected dtype {wanted.dtype}, got {value.dtype}")
    expect(
        value.device == wanted.device,
        f"{name}: expected a tensor on {wanted.device}, got one on {value.device}",
    )


def expect_finite(value: Tensor, name: str) -> None:
    """Fails the clause if ``value`` holds NaN or infinity."""
    expect(bool(value.isfinite().all()), f"{name}: expected finite numbers, got NaN or infinity")


def expect_parameters(x: Tensor, batch: Batch, name: str) -> None:
    """Fails the clause unless ``x`` is ``(B, p)``, floating, finite and on the device of the
    batch.
    """
    like = next(iter(batch.values()))
    check_shape(x, "B p", {"B": len(like)}, name=name)
    expect(x.is_floating_point(), f"{name}: expected floating-point parameters, got {x.dtype}")
    expect(
        x.device == like.device,
        f"{name}: expected a tensor on {like.device} as the batch is, got one on {x.device}",
    )
    expect_finite(x, name)


def expect_per_sample(value: Tensor, batch: Batch, name: str) -> None:
    """Fails the clause unless ``value`` is ``(B,)`` and finite."""
    check_shape(value, "B", {"B": len(next(iter(batch.values())))}, name=name)
    expect_finite(value, name)


def expect_rows_alone(
    function: Callable[[Batch, Tensor], Tensor], batch: Batch, x: Tensor, name: str
) -> None:
    """Fails the clause unless each row of ``function(batch, x)`` is what the row alone gives."""
    together = function(batch, x)
    for row in range(len(x)):
        alone = function(index(batch, slice(row, row + 1)), x[row : row + 1])
        expect_close(
            alone, together[row : row + 1], f"{name} of sample {row} alone", scale=together
        )


def expect_settings(
    settings: Mapping[str, Any], constructor: Callable[..., object] | None = None
) -> None:
    """Fails the clause unless JSON can hold ``settings`` and they are arguments of
    ``constructor``.
    """
    plain_settings(settings)
    if constructor is not None:
        try:
            inspect.signature(constructor).bind(**settings)
        except TypeError as error:
            raise DescentError(
                f"settings(): the constructor does not take {settings} ({error})"
            ) from error


def check_least_squares(contract: Contract, problem: LeastSquares, batch: Batch, x: Tensor) -> None:
    """The clauses of a cost that can be written down."""
    with contract.clause(
        "least squares: residual (B, R), weights >= 0, jacobian (B, R, d) its derivative along "
        "retract"
    ):
        ready = problem.prepare(batch)
        residual = problem.residual(x, ready).detach()
        sizes = check_shape(residual, "B R", {"B": len(x)}, name="residual")
        weights = problem.weights(residual)
        check_shape(weights, "B R", sizes, name="weights")
        expect(bool((weights >= 0).all()), "weights: expected numbers >= 0, got a negative one")
        jacobian = problem.jacobian(x, ready)
        expect_close(jacobian, _derivative(problem, x, ready), "jacobian")
        expect_rows_alone(
            lambda rows, x: problem.residual(x, problem.prepare(rows)), batch, x, "residual"
        )
        both = zip(("residual", "jacobian"), problem.linearized(x, ready), (residual, jacobian))
        for name, value, want in both:
            expect_close(value, want, f"{name} of linearized")
    name = "least squares: a solver can make something of every sample at its start"
    with contract.clause(name, required=False):
        solver = GaussNewton(problem, num_steps=1, damping=1.0)
        words = solver.explain(solver(batch, x, keep_states=True), batch)
        counts = Counter(word for word in words if word)
        reasons = "; ".join(f"{count}: {reason}" for reason, count in counts.items())
        expect(not counts, f"{counts.total()} of {len(x)} samples are INVALID ({reasons})")
    with contract.clause(
        "least squares: the weights give the slope of the kernel's cost, and both the normal "
        "equations"
    ):
        ready = problem.prepare(batch)
        residual = problem.residual(x, ready).detach().requires_grad_()
        weights = problem.weights(residual.detach())
        slope = torch.autograd.grad(problem.kernel.cost(residual).sum(), residual)[0]
        expect_close(
            weights * residual.detach(),
            slope,
            "weights times residuals, the derivative of the cost",
        )
        jacobian, found = problem.jacobian(x, ready), problem.normal_equations(x, ready)
        wanted = (
            jacobian.mT @ (weights.unsqueeze(2) * jacobian),
            (slope.unsqueeze(1) @ jacobian).squeeze(1),
        )
        for name, value, want in zip(
            ("J^T W J", "J^T W r", "cost"), found, (*wanted, problem.cost(x, ready))
        ):
            expect_close(value, want, f"{name} of the normal equations")


def _derivative(problem: LeastSquares, x: Tensor, ready: Batch) -> Tensor:
    """The derivative that a Jacobian is held against; by differences where a problem has one
    because torch finds none.
    """
    try:
        return LeastSquares.jacobian(problem, x, ready)
    except DescentError:
        if type(problem).jacobian is LeastSquares.jacobian:
            raise
    steps = torch.finfo(x.dtype).eps ** (1 / 3) * torch.eye(problem.local(x, x).shape[1]).to(x)
    ends = [
        [problem.residual(problem.retract(x, by.expand(len(x), -1)), ready) for by in (step, -step)]
        for step in steps
    ]
    return torch.stack([(ahead - behind) / (2 * float(steps[0, 0])) for ahead, behind in ends], 2)


def samples(
    problem: Problem,
    split: Split,
    device: torch.device | str,
    dtype: torch.dtype | None = None,
    count: int = 8,
) -> Batch:
    """The first samples of a split, checked: tensors of finite numbers."""
    name = f"{type(problem).__name__}.data({split!r})"
    with calling(name):
        given: object = problem.data(split)
    batch = first_samples(as_samples(given, name), count, device=device, dtype=dtype)
    for name, value in batch.items():
        check_shape(value, "B ...", name=f"{split} data {name!r}")
        expect_finite(value, f"{split} data {name!r}")
    return batch


def reads(function: Callable[[Batch], Tensor], batch: Batch) -> set[str]:
    """The names of the tensors that ``function`` depends on, found by exchanging the samples of one
    tensor at a time.
    """
    usual = function(batch)
    return {
        name
        for name, value in batch.items()
        if not torch.equal(function({**batch, name: value.roll(1, 0)}), usual)
    }
