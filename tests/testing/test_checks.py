"""Every clause of the public contract is broken once, and found."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from learned_descent import Cascade, DescentError, DescentModel, MnemonicDescent, Observation
from learned_descent.families import RECIPES, SOLVERS, Polish
from learned_descent.observations import Residual
from learned_descent.testing.checks import (
    Check,
    ContractError,
    Report,
    check_model,
    check_observation,
    check_problem,
)

from ..toys import Compass, Gaps, Line, Rows, Turn


def assert_first(error: pytest.ExceptionInfo[ContractError], clause: str) -> None:
    """The first failed check, of which others may follow, is the one whose name starts with
    ``clause``."""
    assert error.value.report.failures[0].name.startswith(clause), error.value.report


def varied(**members: object) -> Turn:
    """A problem that differs from one that keeps the contract in ``members`` only."""
    return type("Varied", (Turn,), members)()


def test_what_keeps_the_contract_passes(device):
    for problem in (Turn(), Line()):
        report = check_problem(problem, device=device)
        assert report.subject == type(problem).__name__
        assert len(report.checks) == 16
        assert not report.failures + report.warnings


def test_data_sets_are_checked_like_batches():
    problem = Turn()
    problem.data = lambda split: Rows(Turn().data(split))
    assert not check_problem(problem).failures


def leaky(self, batch, generator=None):
    start = Turn.initial(self, batch, generator)
    return self.retract(start, 0.9 * self.local(start, batch["x"])) if generator is None else start


def no_gradient(self, x, batch):
    return Turn.loss(self, x.detach(), batch)


def naive_error_loss(self, x, batch):
    return self.local(x, self.target(batch)).square().sum(1).sqrt()  # no derivative at zero


def batch_mean_loss(self, x, batch):
    return Turn.loss(self, x, batch) * (1 + Turn.loss(self, x, batch).mean())


def writing_target(self, batch):
    batch["compass"].mul_(2)
    return batch["x"]


def one_for_all(self, batch, generator=None):
    start = Turn.initial(self, batch)
    if generator is None:
        return start
    return self.retract(
        start,
        0.1 * torch.randn(1, 1, generator=generator, device=start.device).expand(len(start), 1),
    )


def global_start(self, batch, generator=None):
    start = Turn.initial(self, batch)
    return (
        start
        if generator is None
        else self.retract(start, 0.1 * torch.randn(len(start), 1).to(start))
    )


def without_nan(name):
    def data(self, split):
        batch = Turn.data(self, split)
        batch[name][3] = torch.nan
        return batch

    return data


BROKEN = {
    "NaN in the data": (
        {"data": without_nan("compass")},
        "data",
        "train data 'compass': expected finite numbers",
    ),
    "other names in a split": (
        {
            "data": lambda self, split: (
                Turn.data(self, split) | ({"more": torch.zeros(7)} if split == "val" else {})
            )
        },
        "data",
        r"the split \"val\" has \['compass', 'more', 'x'\]",
    ),
    "no samples": (
        {
            "data": lambda self, split: {
                name: value[:0] for name, value in Turn.data(self, split).items()
            }
        },
        "data",
        "expected at least one sample, got none",
    ),
    "data raises": (
        {"data": lambda self, split: {}[split]},
        "data",
        "failed with KeyError: 'train'",
    ),
    "start of another shape": (
        {"initial": lambda self, batch, generator=None: torch.ones(len(batch["x"]))},
        "initial",
        r"initial\(batch\): expected shape \(B, p\)",
    ),
    "start of whole numbers": (
        {
            "initial": lambda self, batch, generator=None: torch.ones_like(
                batch["x"], dtype=torch.long
            )
        },
        "initial",
        "expected floating-point parameters, got torch.int64",
    ),
    "start of NaN": (
        {"initial": lambda self, batch, generator=None: batch["x"] * torch.nan},
        "initial",
        "expected finite numbers, got NaN",
    ),
    "random start without a generator": (
        {"initial": lambda self, batch, generator=None: torch.randn(batch["x"].shape)},
        "initial",
        "two calls without a generator differ",
    ),
    "target of another dtype": (
        {"target": lambda self, batch: batch["x"].double()},
        "target",
        "expected dtype torch.float32, got torch.float64",
    ),
    "target of another size": (
        {"target": lambda self, batch: batch["x"][:, :1]},
        "target",
        r"target\(batch\): expected shape \(8, 2\), got \(8, 1\)",
    ),
    "one random start for the batch": (
        {"initial": one_for_all},
        "initial",
        "a sample that is twice in a batch gets one start",
    ),
    "no random start": (
        {"initial": lambda self, batch, generator=None: Turn.initial(self, batch)},
        "initial",
        "another seed gives the same starts",
    ),
    "global random state": (
        {"initial": global_start},
        "initial",
        "the global random state was used",
    ),
    "a start that knows the target": (
        {"initial": leaky},
        "initial: the start of testing",
        r"the start follows \['x'\], which make the target and which no observation sees",
    ),
    "retract is not the inverse of local": (
        {"local": lambda self, x, y: 2 * Turn.local(self, x, y)},
        "retract, local",
        r"local\(retract\(x, local\(x, y\)\), y\): expected a difference of at most",
    ),
    "an update of zero moves": (
        {"retract": lambda self, x, delta: Turn.retract(self, x, delta) + 0.1},
        "retract, local",
        r"retract\(x, 0\): expected a difference",
    ),
    "error is not per sample": (
        {"error": lambda self, x, batch: Turn.error(self, x, batch).mean()},
        "error",
        r"expected shape \(B\)",
    ),
    "error at the target": (
        {
            "error": lambda self, x, batch: Turn.error(self, x, batch) + 1,
            "metrics": lambda self, x, batch: {"e": self.error(x, batch)},
        },
        "error",
        "error at the target: expected a difference",
    ),
    "negative error": (
        {"error": lambda self, x, batch: -Turn.error(self, x, batch)},
        "error",
        "expected positive errors at the start",
    ),
    "the first of the metrics is another error": (
        {
            "metrics": lambda self, x, batch: {
                "half": self.error(x, batch) / 2,
                "error": self.error(x, batch),
            }
        },
        "error",
        r"the first of metrics\(x, batch\) is not error\(x, batch\)",
    ),
    "loss without gradient": ({"loss": no_gradient}, "loss", "no gradient of the loss reaches x"),
    "gradient is not finite at the target": (
        {"loss": naive_error_loss},
        "loss",
        "gradient of the loss at the target: expected finite",
    ),
    "loss is smaller elsewhere": (
        {"loss": lambda self, x, batch: -Turn.loss(self, x, batch)},
        "loss",
        "expected less at the target than at the start",
    ),
    "a row depends on its batch": (
        {"loss": batch_mean_loss},
        "rows",
        "loss of sample 0 alone: expected a difference",
    ),
    "augment forgets a tensor": (
        {"augment": lambda self, batch, generator: {"x": batch["x"]}},
        "augment",
        r"augment\(batch\) has \['x'\], the batch has \['compass', 'x'\]",
    ),
    "augment draws elsewhere": (
        {
            "augment": lambda self, batch, generator: {
                **batch,
                "compass": torch.randn_like(batch["compass"]),
            }
        },
        "augment",
        "the same seed gives another 'compass'",
    ),
    "settings are not JSON": (
        {"settings": lambda self: {"f": torch.sin}},
        "settings",
        r"settings\(\)\['f'\]: expected what JSON can hold",
    ),
    "no failure_above": (
        {"failure_above": 0.0},
        "settings",
        "failure_above: expected a number > 0, got 0",
    ),
    "learnable weights": (
        {
            "__init__": lambda self: (
                Turn.__init__(self),
                setattr(self, "weight", nn.Parameter(torch.ones(1))),
            )[0]
        },
        "settings",
        "a problem holds no learnable weights",
    ),
    "wrong jacobian": (
        {"jacobian": lambda self, x, batch: -Turn.jacobian(self, x, batch)},
        "least squares",
        "jacobian: expected a difference",
    ),
    "wrong linearized": (
        {"linearized": lambda self, x, batch: (x, Turn.jacobian(self, x, batch))},
        "least squares",
        "residual of linearized: expected",
    ),
    "negative weights": (
        {"weights": lambda self, residual: -torch.ones_like(residual)},
        "least squares",
        "weights: expected numbers >= 0",
    ),
    "residuals of the batch": (
        {
            "residual": lambda self, x, batch: (
                Turn.residual(self, x, batch) - batch["compass"].mean(0)
            )
        },
        "least squares",
        "residual of sample 0 alone: expected a difference",
    ),
    "weights of another kernel": (
        {"weights": lambda self, residual: torch.full_like(residual, 0.5)},
        "least squares: the weights",
        "weights times residuals, the derivative of the cost: expected a difference",
    ),
    "normal equations of another cost": (
        {
            "normal_equations": lambda self, x, batch: tuple(
                2 * value for value in Turn.normal_equations(self, x, batch)
            )
        },
        "least squares: the weights",
        "J.T W J of the normal equations: expected a difference",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_problem_is_found(case):
    members, clause, message = BROKEN[case]
    with pytest.raises(ContractError, match=message) as error:
        check_problem(varied(**members))
    assert_first(error, clause)


def test_settings_that_the_constructor_does_not_take_are_found():
    class Renamed(Line):
        def settings(self):
            return {"samples": self.count}

    with pytest.raises(
        ContractError, match=r"the constructor does not take \{'samples': 24\}"
    ) as error:
        check_problem(Renamed())
    assert_first(error, "settings")


def test_a_batch_that_is_written_to_is_found():
    with pytest.raises(ContractError) as error:
        check_problem(varied(target=writing_target))
    assert "['compass'] changed in place; work on a copy" in str(error.value)


def test_a_start_from_what_the_eyes_see_is_no_leak():
    class Rough(Turn):
        """The start is read off the compass, roughly; the target is made of the compass, too."""

        def initial(self, batch, generator=None):
            seen = batch["compass"].sign()
            start = seen / torch.linalg.vector_norm(seen, dim=1, keepdim=True)
            if generator is None:
                return start
            return self.retract(
                start, 0.1 * torch.randn(len(seen), 1, generator=generator, device=seen.device)
            )

        def target(self, batch):
            return batch["compass"] / torch.linalg.vector_norm(
                batch["compass"], dim=1, keepdim=True
            )

    assert not check_problem(Rough()).failures


class Eyes(Observation):
    """A compass with one mistake, given as a function of the features, ``x`` and the batch."""

    change: ClassVar = staticmethod(lambda features, x, batch: features)

    def prepare(self, batch):
        return Compass().prepare(batch)

    def forward(self, x: Tensor, batch) -> Tensor:
        return self.change(Compass()(x, batch), x, batch)


class Count:
    calls = 0

    def __call__(self, features, x, batch):
        self.calls += 1
        return features + self.calls


BLIND = {
    "features of another shape": (
        lambda f, x, b: f[:, 0],
        "features",
        r"features: expected shape \(B, F\)",
    ),
    "features of another dtype": (
        lambda f, x, b: f.double(),
        "features",
        "expected dtype torch.float32, got torch.float64",
    ),
    "features of NaN": (
        lambda f, x, b: f * torch.nan,
        "features",
        "features at the start: expected finite numbers",
    ),
    "a look is not repeatable": (Count(), "features", "two looks at the same sample differ"),
    "features do not see x": (
        lambda f, x, b: b["compass"] + 0 * x,
        "features: change",
        "the same at the start and at the target",
    ),
    "a row depends on its batch": (
        lambda f, x, b: f - f.mean(0),
        "rows",
        "features of sample 0 alone: expected a difference",
    ),
    "no gradient": (
        lambda f, x, b: f.detach(),
        "differentiable",
        "no gradient reaches x; mend it, or declare differentiable = False",
    ),
    "gradient of zero": (
        lambda f, x, b: f.detach() + 0 * x,
        "differentiable",
        "the gradient with respect to x is zero",
    ),
    "gradient is not finite": (
        lambda f, x, b: f + (x - x.detach()).abs().sqrt(),
        "differentiable",
        "gradient with respect to x: expected finite numbers",
    ),
}


@pytest.mark.parametrize("case", BLIND)
def test_a_broken_observation_is_found(case):
    change, clause, message = BLIND[case]
    eyes = type("Broken", (Eyes,), {"change": staticmethod(change)})()
    with pytest.raises(ContractError, match=message) as error:
        check_observation(eyes, Turn())
    assert any(check.name.startswith(clause) for check in error.value.report.failures)


def test_features_that_overflow_far_away_are_found():
    class Steep(Observation):
        def forward(self, x, batch):
            return (5 * (x - batch["x"])).exp()

    with pytest.raises(ContractError, match="features far away") as error:
        check_observation(Steep(), Line())
    assert_first(error, "features: finite ten times as far")


def test_an_observation_whose_settings_are_no_json_is_found():
    class Secret(Eyes):
        def settings(self):
            return {"kernel": torch.ones}

    with pytest.raises(ContractError, match="expected what JSON can hold") as error:
        check_observation(Secret(), Turn())
    assert_first(error, "settings")


def test_an_observation_that_writes_into_the_batch_is_found():
    class Writing(Eyes):
        def prepare(self, batch):
            batch["x"].mul_(1.5)
            return super().prepare(batch)

    with pytest.raises(ContractError, match=r"\['x'\] changed in place"):
        check_observation(Writing(), Turn())


def test_features_that_do_not_look_alike_at_the_target_are_a_warning():
    class Louder(Eyes):
        change = staticmethod(lambda f, x, b: b["compass"] * (0.01 + (-20 * f[:, :1] ** 2).exp()))

    report = check_observation(Louder(), Turn())
    assert not report.failures
    (warning,) = report.warnings
    assert warning.name == "features: vary less between samples at the target than at the start"
    assert "there is little to go by" in warning.detail
    assert "  warn  " in str(report)


def test_opaque_observations_need_no_gradient():
    class Opaque(Eyes):
        differentiable = False
        change = staticmethod(lambda f, x, b: f.detach())

    assert not check_observation(Opaque(), Turn()).failures
    model = Cascade.for_problem(Turn(), observation=Opaque())
    assert not check_model(model, untrained=True).failures


class Plain(DescentModel):
    """A linear step that begins at zero, with one mistake added by a subclass."""

    def __init__(self) -> None:
        super().__init__(Turn(), Compass(), 3)
        self.map = nn.Linear(2, 1, bias=False)
        nn.init.zeros_(self.map.weight)

    def init_state(self, x):
        return None

    def step(self, k, features, state):
        return self.map(features), None


def test_a_step_gives_an_update_and_not_what_it_saw():
    class Smuggler(Plain):
        """What should be done in `step` is done in `move`, from features that pass as an update."""

        def step(self, k, features, state):
            return features, None

        def move(self, k, x, delta, state, batch):
            return self.problem.retract(x, self.map(delta)), state

    model = Smuggler()
    nn.init.ones_(model.map.weight)
    with pytest.raises(
        ContractError, match=r"update of step 0: expected shape \(B, d\) with B = 8, d = 1"
    ):
        check_model(model)


def stateful(self, k, features, state):
    self.calls = getattr(self, "calls", 0) + 1
    return self.map(features) + self.calls, None


WRONG = {
    "NaN": (
        {"step": lambda self, k, f, s: (self.map(f) * torch.nan, None)},
        "iterates",
        "xs: expected finite numbers",
    ),
    "another size": (
        {"step": lambda self, k, f, s: (f[:, :0], None)},
        "iterates",
        "raised|expected shape",
    ),
    "hidden memory": ({"step": stateful}, "iterates", "two runs from the same start differ"),
    "untrained moves": (
        {"step": lambda self, k, f, s: (self.map(f) + 0.1, None)},
        "untrained",
        "the last iterate differs from the start; begin with zero weights",
    ),
    "sees how many steps there are": (
        {"step": lambda self, k, f, s: (self.map(f) + 0.1 * (torch.is_grad_enabled()), None)},
        "detach",
        r'xs with detach="observation": expected a difference',
    ),
    "memory of another shape": (
        {"init_state": lambda self, x: x[0], "step": lambda self, k, f, s: (self.map(f), s)},
        "states",
        "states",
    ),
    "no gradient": (
        {"step": lambda self, k, f, s: (self.map(f).detach() + 0 * self.map(f), None)},
        "gradient",
        "the gradient of every weight is zero",
    ),
    "a row depends on its batch": (
        {"step": lambda self, k, f, s: (self.map(f) + f[:, :1] - f[:, :1].mean(), None)},
        "rows",
        "the last iterate of sample 0 alone",
    ),
    "settings are not JSON": (
        {"settings": lambda self: {"map": self.map}},
        "settings",
        "expected what JSON can hold",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_broken_model_is_found(case):
    members, clause, message = WRONG[case]
    model = type("Broken", (Plain,), members)()
    with pytest.raises(ContractError, match=message) as error:
        check_model(model, untrained=clause == "untrained")
    assert_first(error, clause)


def test_a_step_that_looks_ahead_is_found():
    class Ahead(Plain):
        def step(self, k, features, state):
            return self.map(features) + 0.1 / self.asked, None

    model = Ahead()
    model.asked = 3
    model.register_forward_pre_hook(
        lambda module, args, kwargs: setattr(module, "asked", kwargs.get("num_steps", 3)),
        with_kwargs=True,
    )
    with pytest.raises(ContractError, match="one step against the first of all") as error:
        check_model(model)
    assert_first(error, "num_steps")


class Doubled(Line):
    """A number seen twice as large, without noise and without rounding: a solver ends at the very
    target."""

    def data(self, split):
        x = torch.randint(
            -8, 9, (self.count, 2), generator=torch.Generator().manual_seed(len(split))
        ).float()
        return {"x": x, "y": 2 * x}

    def observation(self):
        return Residual(lambda x: 2 * x, "y")

    def residual(self, x, batch):
        return 2 * x - batch["y"]


@pytest.mark.parametrize("family", ["sdm", "joint", "mdm"])
@pytest.mark.parametrize("solver", ["gn", "lm"])
def test_a_problem_without_noise_is_no_fault_of_a_polished_model(family, solver):
    problem = Doubled()
    model = Polish(RECIPES[family], SOLVERS[solver]).build(problem)
    batch = problem.data("train")
    assert torch.equal(model(batch).final, batch["x"])
    check_model(model)


def test_trained_models_may_move():
    model = MnemonicDescent.for_problem(Turn(), hidden=4)
    nn.init.constant_(model.update.bias, 0.1)
    assert not check_model(model).failures
    with pytest.raises(ContractError, match="untrained"):
        check_model(model, untrained=True)


def test_the_report_is_a_readable_list():
    report = Report(
        "Thing",
        (Check("a", True), Check("b", False, "why"), Check("c", False, "perhaps", required=False)),
    )
    assert str(report) == "Thing\n  pass  a\n  FAIL  b\n        why\n  warn  c\n        perhaps"
    error = ContractError(report)
    assert isinstance(error, DescentError)
    assert error.report is report
    assert str(error) == "Thing fails 1 of 3 checks\n  FAIL  b\n        why"


def test_what_counts_nothing_must_not_be_measured():
    class Careless(Gaps):
        def loss(self, x, batch):
            return (x - batch["x"]).square().mean(1)

    check_problem(Gaps())
    with pytest.raises(ContractError, match="loss after such a move: expected a difference of at"):
        check_problem(Careless())


def test_a_split_may_lack_what_is_optional():
    class Known(Gaps):
        def data(self, split):
            batch = super().data(split)
            return batch if split == "train" else {name: batch[name] for name in ("x", "y")}

    check_problem(Known())
    Known.optional = ()
    with pytest.raises(ContractError, match='the split "val" has'):
        check_problem(Known())
