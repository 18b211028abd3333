"""The public contract: checks that every problem, observation and model passes, ours and
third-party ones alike.

Each function tries every clause and returns a :class:`Report`, or raises a :class:`ContractError`
that carries it.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from ..data.batches import index
from ..data.samples import Batch, Split, floating_type
from ..errors import calling, check_shape
from ..families import held_out_of
from ..look import weights_of
from ..model import DescentModel, Detach, tensors_of
from ..observation import Observation
from ..problem import LeastSquares, Problem
from .contract import (
    Check,
    Contract,
    ContractError,
    Report,
    check_least_squares,
    expect,
    expect_close,
    expect_finite,
    expect_like,
    expect_parameters,
    expect_per_sample,
    expect_rows_alone,
    expect_settings,
    reads,
    samples,
)

__all__ = ["Check", "ContractError", "Report", "check_model", "check_observation", "check_problem"]

_SPLITS: tuple[Split, ...] = ("val", "test")


def check_problem(problem: Problem, *, device: torch.device | str = "cpu") -> Report:
    """Checks the contract of a problem on a few samples of its data.

    Args:
        problem: the problem; it is moved to ``device``.
        device: where the checks run.

    Returns:
        The checks, all passed but for warnings.

    Raises:
        ContractError: if a required check fails.

    Example:
        >>> from learned_descent.problems import Analytic
        >>> print(check_problem(Analytic("sin")).checks[1])
          pass  initial: one finite start (B, p) per sample, always the same
    """
    contract = Contract(problem)
    problem.to(device)
    with contract.clause("data: finite samples with the same names in every split"):
        batch = samples(problem, "train", device)
        for split in _SPLITS:
            if split == "val" and held_out_of(problem) is None:
                continue
            names = sorted(samples(problem, split, device))
            expect(
                {*names} ^ {*batch} <= {*problem.optional},
                f'the split "{split}" has {names}, "train" has {sorted(batch)}',
            )
    contract.settle()  # the rest needs samples
    before = {name: value.clone() for name, value in batch.items()}
    with contract.clause("initial: one finite start (B, p) per sample, always the same"):
        x0 = problem.initial(batch)
        expect_parameters(x0, batch, "initial(batch)")
        expect(
            torch.equal(x0, problem.initial(batch)),
            "two calls without a generator differ; draw from the generator only",
        )
    with contract.clause("target: finite, of the shape, dtype and device of the start"):
        target = problem.target(batch)
        expect_parameters(target, batch, "target(batch)")
        expect_like(target, problem.initial(batch), "target(batch)")
    contract.settle()  # the rest needs a start and a target
    _check_starts(contract, problem, batch, x0)
    _check_geometry(contract, problem, x0, target)
    _check_supervision(contract, problem, batch, x0, target)
    _check_weights(contract, problem, batch, x0)
    _check_rows(contract, problem, batch, x0)
    _check_augment(contract, problem, batch, device)
    _check_settings(contract, problem)
    if isinstance(problem, LeastSquares):
        check_least_squares(contract, problem, batch, x0)
    contract.unchanged(batch, before)
    return contract.settle()


def _check_starts(contract: Contract, problem: Problem, batch: Batch, x0: Tensor) -> None:
    """The random starts of training, and what the start of testing knows."""

    def start(seed: int, rows: Batch) -> Tensor:
        return problem.initial(rows, Generator(x0.device).manual_seed(seed))

    with contract.clause(
        "initial: random starts come from the generator, another one for every sample and seed"
    ):
        state = torch.get_rng_state()
        first = start(0, batch)
        expect_like(first, x0, "initial(batch, generator)")
        expect(
            torch.equal(torch.get_rng_state(), state),
            "the global random state was used; draw from the generator",
        )
        expect(
            torch.equal(first, start(0, batch)),
            "the same seed gives other starts; draw from the generator only",
        )
        expect(not torch.equal(first, start(1, batch)), "another seed gives the same starts")
        twice = start(0, index(batch, torch.tensor([0, 0])))
        expect(
            not torch.equal(twice[0], twice[1]),
            "a sample that is twice in a batch gets one start; draw one for each row",
        )
    with contract.clause("initial: the start of testing does not read the target"):
        eyes = problem.observation().to(x0.device).eval()
        labels = reads(problem.target, batch) - reads(lambda rows: _look(eyes, x0, rows), batch)
        known = bool(labels) and labels <= reads(problem.initial, batch)
        expect(
            not known,
            f"the start follows {sorted(labels)}, which make the target and which no observation "
            "sees",
        )


def _check_geometry(contract: Contract, problem: Problem, x0: Tensor, target: Tensor) -> None:
    """``retract`` and ``local``."""
    with contract.clause("retract, local: inverse to each other, and an update of zero stays"):
        delta = problem.local(x0, target)
        check_shape(delta, "B d", {"B": len(x0)}, name="local(x, y)")
        reached = problem.retract(x0, delta)
        expect_like(reached, x0, "retract(x, delta)")
        zero = torch.zeros_like(delta)
        expect_close(problem.local(x0, x0), zero, "local(x, x)", scale=delta)
        expect_close(problem.retract(x0, zero), x0, "retract(x, 0)")
        expect_close(
            problem.local(reached, target), zero, "local(retract(x, local(x, y)), y)", scale=delta
        )
        expect_close(
            problem.local(x0, problem.retract(x0, delta / 8)),
            delta / 8,
            "local(x, retract(x, delta))",
            scale=delta,
        )


def _check_supervision(
    contract: Contract, problem: Problem, batch: Batch, x0: Tensor, target: Tensor
) -> None:
    """Loss and errors."""
    with contract.clause(
        "error: (B,), zero at the target (if attained) and not elsewhere; the first of the metrics"
    ):
        errors = problem.error(x0, batch)
        expect_per_sample(errors, batch, "error(x, batch)")
        expect(
            bool((errors >= 0).all() and (errors > 0).any()),
            f"expected positive errors at the start, got {errors.tolist()}",
        )
        reached = problem.error(target, batch)
        if problem.attained:
            expect_close(reached, torch.zeros_like(errors), "error at the target", scale=errors)
        else:
            expect(
                bool(reached.mean() < errors.mean()),
                "expected less at the target than at the start, got "
                f"{reached.mean():.3g} and {errors.mean():.3g}",
            )
        metrics = problem.metrics(x0, batch)
        for name, value in metrics.items():
            expect_per_sample(value, batch, f"metrics {name!r}")
        expect(
            torch.equal(next(iter(metrics.values())), errors),
            "the first of metrics(x, batch) is not error(x, batch)",
        )
    with contract.clause(
        "loss: (B,), finite, smallest at the target, with a finite gradient there and at the start"
    ):
        means = []
        for where, x in (("target", target), ("start", x0)):
            moved = x.detach().clone().requires_grad_()
            loss = problem.loss(moved, batch)
            expect_per_sample(loss, batch, f"loss at the {where}")
            expect(loss.requires_grad, "no gradient of the loss reaches x")
            expect_finite(
                torch.autograd.grad(loss.sum(), moved)[0], f"gradient of the loss at the {where}"
            )
            means.append(float(loss.detach().mean()))
        expect(
            means[0] < means[1],
            f"expected less at the target than at the start, got {means[0]:.3g} and {means[1]:.3g}",
        )


def _check_weights(contract: Contract, problem: Problem, batch: Batch, x0: Tensor) -> None:
    """What coordinates count."""
    with contract.clause(
        "target_weights: (B, d), 0 or more, or none; what counts 0 changes no loss and no metric"
    ):
        weights = weights_of(problem, batch, list(range(len(x0))))
        if weights is None:
            return
        delta = problem.local(x0, problem.target(batch))
        check_shape(weights, "B d", {"B": len(x0), "d": delta.shape[1]}, name="target_weights")
        moved = problem.retract(x0, delta.abs().mean() * (weights == 0))
        expect_close(problem.loss(moved, batch), problem.loss(x0, batch), "loss after such a move")
        there, here = problem.metrics(moved, batch), problem.metrics(x0, batch)
        for name, value in here.items():
            expect_close(there[name], value, f"{name} after such a move")


def _check_rows(contract: Contract, problem: Problem, batch: Batch, x0: Tensor) -> None:
    """That no sample minds the others."""
    with contract.clause("rows: a sample alone gives what it gives in a batch"):
        expect_rows_alone(lambda rows, x: problem.initial(rows), batch, x0, "initial")
        expect_rows_alone(lambda rows, x: problem.target(rows), batch, x0, "target")
        expect_rows_alone(
            lambda rows, x: problem.retract(x, problem.local(x, problem.target(rows))),
            batch,
            x0,
            "retract",
        )
        expect_rows_alone(lambda rows, x: problem.error(x, rows)[:, None], batch, x0, "error")
        expect_rows_alone(lambda rows, x: problem.loss(x, rows)[:, None], batch, x0, "loss")


def _check_augment(
    contract: Contract, problem: Problem, batch: Batch, device: torch.device | str
) -> None:
    """The random variants of training."""
    with contract.clause("augment: the same tensors of the same shapes, drawn from the generator"):
        first, second = (problem.augment(batch, Generator(device).manual_seed(0)) for _ in range(2))
        expect(
            sorted(first) == sorted(batch),
            f"augment(batch) has {sorted(first)}, the batch has {sorted(batch)}",
        )
        for name, value in first.items():
            check_shape(
                value, " ".join(map(str, batch[name].shape)), name=f"augment(batch)[{name!r}]"
            )
            expect(
                torch.equal(value, second[name]),
                f"the same seed gives another {name!r}; draw from the generator only",
            )
        expect_parameters(problem.target(first), first, "target of an augmented batch")


def _check_settings(contract: Contract, problem: Problem) -> None:
    """What a weights file keeps of a problem, and what it does not."""
    with contract.clause(
        "settings: JSON that the constructor takes; no learnable weights; failure_above > 0"
    ):
        expect_settings(problem.settings(), type(problem))
        expect(
            not list(problem.parameters()),
            "a problem holds no learnable weights: register buffers instead",
        )
        expect(
            0 < problem.failure_above < float("inf"),
            f"failure_above: expected a number > 0, got {problem.failure_above}",
        )


def check_observation(
    observation: Observation, problem: Problem, *, device: torch.device | str = "cpu"
) -> Report:
    """Checks the contract of an observation on a few samples of a problem that passes
    :func:`check_problem`.

    Args:
        observation: the observation; it is moved to ``device`` and put in evaluation mode.
        problem: the problem that it looks at; it is moved to ``device``.
        device: where the checks run.

    Returns:
        The checks, all passed but for warnings.

    Raises:
        ContractError: if a required check fails.

    Example:
        >>> from learned_descent.problems import Analytic
        >>> problem = Analytic("sin")
        >>> print(check_observation(problem.observation(), problem).checks[-1])
          pass  batch: left as it came
    """
    contract = Contract(observation)
    observation.to(device).eval()
    problem.to(device)
    batch = samples(problem, "train", device)
    before = {name: value.clone() for name, value in batch.items()}
    with calling(f"{type(problem).__name__}.initial or target"):
        x0, target = problem.initial(batch), problem.target(batch)
    with contract.clause("features: (B, F), finite, of the dtype and device of x, always the same"):
        features = _look(observation, x0, batch).detach()
        check_shape(features, "B F", {"B": len(x0)}, name="features")
        expect_like(features, x0.new_empty(features.shape), "features")
        expect_finite(features, "features at the start")
        expect(
            torch.equal(features, _look(observation, x0, batch)),
            "two looks at the same sample differ",
        )
    with contract.clause("features: change with x"):
        change = not torch.equal(_look(observation, target, batch), _look(observation, x0, batch))
        expect(change, "the same at the start and at the target")
    with contract.clause("features: finite ten times as far from the target as the start"):
        for factor in (-10, 10):
            far = problem.retract(target, factor * problem.local(target, x0))
            expect_finite(
                _look(observation, far, batch), "features far away (pad, clamp or squash)"
            )
    with contract.clause("rows: a sample alone gives what it gives in a batch"):
        expect_rows_alone(lambda rows, x: _look(observation, x, rows), batch, x0, "features")
    if observation.differentiable:
        with contract.clause("differentiable: a finite gradient reaches x"):
            moved = x0.detach().clone().requires_grad_()
            looked = _look(observation, moved, batch)
            expect(
                looked.requires_grad,
                "no gradient reaches x; mend it, or declare differentiable = False",
            )
            gradient = torch.autograd.grad(looked.square().sum(), moved, materialize_grads=True)[0]
            expect(bool((gradient != 0).any()), "the gradient with respect to x is zero")
            expect_finite(gradient, "gradient with respect to x")
    with contract.clause("settings: JSON"):
        expect_settings(observation.settings())
    if len(x0) > 1:
        with contract.clause(
            "features: vary less between samples at the target than at the start", required=False
        ):
            right, wrong = (
                float(_look(observation, x, batch).detach().var(0).mean()) for x in (target, x0)
            )
            expect(
                right < wrong,
                f"variance {right:.3g} at the target, {wrong:.3g} at the start: there is little to "
                "go by",
            )
    contract.unchanged(batch, before)
    return contract.settle()


def check_model(
    model: DescentModel, *, untrained: bool = False, device: torch.device | str = "cpu"
) -> Report:
    """Checks the contract of a model on a few samples of its problem.

    Args:
        model: the model; it is moved to ``device`` and put in evaluation mode.
        untrained: whether the model is fresh and has to return its start.
        device: where the checks run.

    Returns:
        The checks, all passed but for warnings.

    Raises:
        ContractError: if a required check fails.

    Example:
        >>> from learned_descent import Cascade
        >>> from learned_descent.problems import Analytic
        >>> print(check_model(Cascade.for_problem(Analytic("sin")), untrained=True).checks[1])
          pass  untrained: returns its start
    """
    contract = Contract(model)
    model.to(device).eval()
    batch = samples(model.problem, "train", device, floating_type(model.parameters()))
    before = {name: value.clone() for name, value in batch.items()}
    steps, x0 = model.num_steps, model.problem.initial(batch)
    with (
        contract.clause("iterates: (T + 1, B, p), finite, from the start on, always the same"),
        torch.no_grad(),
    ):
        xs = model(batch).xs
        check_shape(xs, f"{steps + 1} B p", {"B": len(x0), "p": x0.shape[1]}, name="xs")
        expect_finite(xs, "xs")
        expect(torch.equal(xs[0], x0), "xs[0] is not problem.initial(batch)")
        expect(torch.equal(xs, model(batch, x0).xs), "two runs from the same start differ")
    contract.settle()  # the rest compares with these iterates
    if untrained:
        with contract.clause("untrained: returns its start"):
            expect(
                torch.equal(xs[-1], x0),
                "the last iterate differs from the start; begin with zero weights",
            )
    with contract.clause("num_steps: fewer steps give the first iterates"), torch.no_grad():
        expect_close(model(batch, num_steps=1).xs, xs[:2], "one step against the first of all")
    _check_steps(contract, model, batch, x0)
    with contract.clause("states: (T, B, ...) each, or none"), torch.no_grad():
        for state in tensors_of(model(batch, keep_states=True).states):
            check_shape(state, f"{steps} {len(x0)} ...", name="states")
    cuts: list[Detach] = ["observation", "state"]
    if model.observation.differentiable:
        cuts.append("none")
    with contract.clause("detach: the same iterates wherever back-propagation is cut"):
        for cut in cuts:
            expect_close(model(batch, detach=cut).xs, xs, f'xs with detach="{cut}"')
    with contract.clause("gradient: finite, and it reaches the weights"):
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        if weights:
            # Of every step, as in training: without noise a solver ends at the target, where the
            # loss has no slope.
            iterates = model(batch, detach=cuts[-1]).xs[1:]
            loss = torch.stack([model.problem.loss(x, batch) for x in iterates]).mean()
            found = torch.autograd.grad(loss, weights, materialize_grads=True)
            for grad in found:
                expect_finite(grad, "gradient of a weight")
            expect(
                any(bool((grad != 0).any()) for grad in found),
                "the gradient of every weight is zero",
            )
    with contract.clause("rows: a sample alone gives what it gives in a batch"), torch.no_grad():
        expect_rows_alone(lambda rows, x: model(rows, x).final, batch, x0, "the last iterate")
    with contract.clause("settings: JSON"):
        expect_settings(model.settings())
    contract.unchanged(batch, before)
    return contract.settle()


def _check_steps(contract: Contract, model: DescentModel, batch: Batch, x0: Tensor) -> None:
    """Each step of the loop by itself."""
    with (
        contract.clause("step: an update (B, d), of features and memory alone, always the same"),
        torch.no_grad(),
    ):
        sizes = {"B": len(x0), "d": model.problem.local(x0, x0).shape[1]}
        prepared = model.observation.prepare(batch)
        x, state = x0, model.init_state(x0)
        for k in range(model.num_steps):
            running = model.running(k, state)
            if running is not None and not running.any():
                break
            features = model.observation.observe(k, x, prepared)
            delta, after = model.step(k, features, state)
            check_shape(delta, "B d", sizes, name=f"update of step {k}")
            again, _ = model.step(k, features, state)
            expect(torch.equal(delta, again), f"two updates of step {k} from the same differ")
            x, state = model.move(k, x, delta, after, prepared)


def _look(observation: Observation, x: Tensor, batch: Batch) -> Tensor:
    features: Tensor = observation(x, observation.prepare(batch))
    return features
