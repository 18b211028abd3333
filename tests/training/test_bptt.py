from __future__ import annotations

import csv
import dataclasses
import gc
import math
import random
import weakref
from typing import ClassVar

import pytest
import torch

from learned_descent import (
    BackpropThroughTime,
    Cascade,
    DescentError,
    DescentModel,
    Frozen,
    MnemonicDescent,
)
from learned_descent.faces.recipes import RECIPES
from learned_descent.faces.synthetic import SyntheticFaces
from learned_descent.files import load_state, save_state
from learned_descent.problems import Analytic

from ..toys import Compass, Line, Rows, Turn


def recurrent(problem, num_steps: int = 3, **settings) -> MnemonicDescent:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MnemonicDescent.for_problem(problem, num_steps=num_steps, hidden=8, **settings)


def trainer(device=None, **settings) -> BackpropThroughTime:
    accelerator = "cpu" if device is None else device.type
    return BackpropThroughTime(
        **{"iterations": 20, "batch_size": 8, "lr": 1e-2, "accelerator": accelerator, **settings}
    )


def weights(model: DescentModel) -> list[torch.Tensor]:
    return [weight.detach().clone() for weight in model.parameters()]


def equal(one: DescentModel, other: DescentModel) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters()))


@pytest.mark.parametrize("problem", [Analytic("sin"), Line(), Turn()], ids=["sin", "line", "turn"])
@pytest.mark.parametrize("family", ["linear", "mlp", "tanh", "gru", "lstm"])
def test_every_family_learns(problem, family, device):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = (
            Cascade.for_problem(problem, num_steps=3, hidden=None if family == "linear" else 16)
            if family in ("linear", "mlp")
            else MnemonicDescent.for_problem(problem, num_steps=3, hidden=16, cell=family)
        )
    history = trainer(device, iterations=150, lr=0.02).fit(
        model, problem.data("train"), problem.data("val")
    )
    errors = [record["val_error"] for record in history.records]
    assert errors[-1][-1] < 0.4 * errors[0][0]
    assert (
        history.best_step
        == min(history.records, key=lambda record: record["val_error"][-1])["iteration"]
    )
    assert not model.training


def test_the_gradient_is_that_of_the_weighted_losses():
    problem = Turn()
    model, batch = recurrent(problem), problem.data("train")
    problem.initial = lambda batch, generator=None, start=problem.initial: start(batch)
    torch.nn.init.constant_(model.update.weight, 0.1)
    before, step_weights = weights(model), (0.0, 0.5, 2.0)
    xs = model(batch).xs
    loss = sum(weight * problem.loss(x, batch) for weight, x in zip(step_weights, xs[1:])).mean()
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    settings = {
        "iterations": 1,
        "batch_size": 24,
        "lr": 1e-3,
        "warmup": 0,
        "ema": 0,
        "clip": None,
        "weight_decay": 0,
    }
    history = trainer(**settings, step_weights=step_weights).fit(model, batch)
    assert history.records[0]["loss"] == pytest.approx(loss.item())
    # The first step of Adam is lr * sign
    for old, new, gradient in zip(before, model.parameters(), gradients):
        torch.testing.assert_close(
            old - new, 1e-3 * gradient / (gradient.abs() + 1e-8), rtol=1e-3, atol=1e-6
        )


def test_step_weights_change_the_result_and_need_one_for_each_step():
    problem = Turn()
    models = [recurrent(problem) for _ in range(2)]
    for model, step_weights in zip(models, (None, (0.0, 0.0, 1.0))):
        trainer(step_weights=step_weights).fit(model, problem.data("train"))
    assert not equal(*models)
    with pytest.raises(
        DescentError, match="step_weights: expected one for each of the 3 steps, got 2"
    ):
        trainer(step_weights=(1.0, 1.0)).fit(models[0], problem.data("train"))


@pytest.mark.parametrize(
    ("stop", "dropout", "by_columns", "extra_steps"),
    [(10, 0.0, False, 0), (15, 0.5, False, 0), (10, 0.0, True, 0), (10, 0.0, False, 3)],
)
def test_resume_equals_an_uninterrupted_run(tmp_path, stop, dropout, by_columns, extra_steps):
    problem = Turn()
    train, val = problem.data("train"), problem.data("val")

    class StopHereError(Exception):
        pass

    class Fragile(Turn):
        """Fails in an iteration."""

        calls = 0

        def augment(self, batch, generator):
            self.calls += 1
            if self.calls > stop + 2:  # two iterations after the checkpoint
                raise StopHereError
            return batch

    whole, broken = recurrent(problem, dropout=dropout), recurrent(Fragile(), dropout=dropout)
    fresh = MnemonicDescent.for_problem(  # other first weights: all is in the checkpoint
        problem, num_steps=3, hidden=8, dropout=dropout
    )
    for model in (whole, broken, fresh) if by_columns else ():
        model.cell.weight_ih.data = model.cell.weight_ih.data.T.contiguous().T
    settings = {"iterations": 30, "validate_every": 5, "ema": 0.9, "extra_steps": extra_steps}
    wanted = trainer(**settings, directory=str(tmp_path / "whole")).fit(whole, train, val, seed=3)
    with pytest.raises(StopHereError):
        trainer(**settings, directory=str(tmp_path / "broken")).fit(broken, train, val, seed=3)
    assert load_state(tmp_path / "broken" / "checkpoint.safetensors")["iteration"] == stop
    found = trainer(**settings, directory=str(tmp_path / "broken"), resume=True).fit(
        fresh, train, val, seed=3
    )
    assert equal(fresh, whole)
    assert found.best_step == wanted.best_step
    for record, other in zip(found.records, wanted.records):
        assert {**record, "seconds": 0} == {**other, "seconds": 0}
    assert len(found.records) == len(wanted.records) == 7
    ends = [load_state(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "broken")]
    for name in ("weights", "average", "best_weights"):
        assert all(torch.equal(one, other) for one, other in zip(*(end[name] for end in ends)))


def test_a_training_with_convolutions_survives_twenty_interruptions(tmp_path):
    """What ships for faces, with its convolutions, bfloat16 and average, stopped wherever it
    happens to be."""

    class StoppedError(BaseException):
        """Not an error of the problem, which would be named: it comes from outside, as Ctrl-C
        does."""

    class Fragile:
        """Stops a training after some calls of the functions that it wraps: within an update or
        within a validation."""

        left = math.inf

        def __call__(self, function):
            def wrapped(*args):
                self.left -= 1
                if self.left < 0:
                    raise StoppedError
                return function(*args)

            return wrapped

    problem, fragile = (
        SyntheticFaces(count=24, test_count=1, crop=48, box_side=28.0, val_fraction=0.1),
        Fragile(),
    )
    train, val = problem.data("train"), problem.data("val")
    problem.augment, problem.loss = fragile(problem.augment), fragile(problem.loss)
    problem.error = fragile(problem.error)

    def fit(name: str, *, resume: bool = False) -> DescentModel:
        shipped = RECIPES["mdm"].trainers["bptt"]
        short = {
            "iterations": 42,
            "batch_size": 4,
            "validate_every": 1,
            "accelerator": "cpu",
            "resume": resume,
        }
        bptt = dataclasses.replace(shipped, directory=str(tmp_path / name), **short)
        recipe = dataclasses.replace(RECIPES["mdm"], trainers={"bptt": bptt})
        model = recipe.build(problem, seed=0)
        recipe.fit(model, train, val)
        return model

    whole, draw, begun = fit("whole"), random.Random(0), set()
    for cut in range(20):
        # Ten calls an iteration, after four of a first look. The first stretch is longer:
        # its first moments are zero, and zeros lie well in any order.
        fragile.left = draw.randrange(34, 64) if cut == 0 else draw.randrange(2, 34)
        with pytest.raises(StoppedError):
            fit("broken", resume=cut > 0)
        begun.add(load_state(tmp_path / "broken" / "checkpoint.safetensors")["iteration"])
    assert len(begun) >= 12, "most of the fresh starts went on somewhere else"
    fragile.left = math.inf
    assert equal(fit("broken", resume=True), whole)
    ends = [load_state(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "broken")]
    for name in ("weights", "average", "best_weights"):
        assert all(torch.equal(one, other) for one, other in zip(*(end[name] for end in ends)))


def test_a_training_holds_one_batch_at_a_time_and_none_when_it_ends():
    """Without the garbage collector, which would hide a cycle of references."""

    class Watched(Turn):
        seen: ClassVar[list[weakref.ref]] = []
        alive: ClassVar[list[int]] = []

        def augment(self, batch, generator):
            self.seen.append(weakref.ref(batch["compass"]))
            self.alive.append(sum(batch() is not None for batch in self.seen))
            return batch

    problem = Watched()
    gc.collect()
    gc.disable()
    try:
        trainer(validate_every=5).fit(
            recurrent(problem), problem.data("train"), problem.data("val")
        )
        left = [batch() for batch in problem.seen if batch() is not None]
    finally:
        gc.enable()
    assert len(problem.seen) == 21  # a first look, and the iterations
    assert max(problem.alive) <= 2  # one, and its predecessor while the next is made
    assert not left


def test_dropout_depends_on_the_seed_of_the_training_alone():
    problem, models = Turn(), []
    for dropout, seed, elsewhere in ((0.0, 3, 0), (0.5, 3, 0), (0.5, 3, 1), (0.5, 4, 0)):
        models.append(recurrent(problem, dropout=dropout))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(elsewhere)
            before = torch.get_rng_state()
            trainer().fit(models[-1], problem.data("train"), seed=seed)
            assert torch.equal(torch.get_rng_state(), before)
    plain, one, other, otherwise = models
    assert equal(one, other)
    assert not equal(one, plain)
    assert not equal(one, otherwise)


@pytest.mark.parametrize("cell", ["tanh", "gru", "lstm"])
def test_with_extra_steps_more_steps_do_no_harm(cell):
    problem = Analytic("sin")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MnemonicDescent.for_problem(problem, num_steps=4, hidden=16, cell=cell)
    test = problem.data("test")
    trainer(iterations=150, ema=0.9, extra_steps=4).fit(
        model, problem.data("train"), problem.data("val")
    )
    with torch.no_grad():
        errors = [problem.error(x, test).mean() for x in model(test, num_steps=8).xs]
    assert errors[8] <= errors[4] < 0.1 * errors[0]


def test_extra_steps_are_drawn_for_each_batch(monkeypatch):
    problem = Turn()
    taken = []

    def counted(self, *arguments, num_steps=None, forward=MnemonicDescent.forward, **settings):
        if self.training:
            taken.append(num_steps)
        return forward(self, *arguments, num_steps=num_steps, **settings)

    monkeypatch.setattr(MnemonicDescent, "forward", counted)
    for extra_steps, seed in ((0, 0), (2, 0), (2, 0), (2, 1)):
        trainer(extra_steps=extra_steps).fit(recurrent(problem), problem.data("train"), seed=seed)
    plain, one, same, other = (taken[first : first + 20] for first in range(0, 80, 20))
    assert set(plain) == {3}
    assert set(one) == {3, 4, 5}
    assert one == same != other


def test_the_extra_steps_have_the_last_weight():
    problem = Turn()
    models = [recurrent(problem) for _ in range(2)]
    for model, extra_steps in zip(models, (0, 2)):
        trainer(extra_steps=extra_steps, step_weights=(1.0, 1.0, 0.0), iterations=1).fit(
            model, problem.data("train")
        )
    assert equal(*models)


def test_a_model_without_further_steps_is_refused_before_training():
    problem = Turn()
    model = Cascade.for_problem(problem, num_steps=3)
    before = weights(model)
    with pytest.raises(
        DescentError, match="extra_steps: num_steps: Cascade runs at most the 3 steps"
    ):
        trainer(extra_steps=1).fit(model, problem.data("train"))
    assert all(map(torch.equal, before, model.parameters()))


def test_resume_of_a_finished_training_returns_its_weights(tmp_path):
    problem = Turn()
    model, again = recurrent(problem), recurrent(problem)
    wanted = trainer(directory=str(tmp_path)).fit(model, problem.data("train"), problem.data("val"))
    found = trainer(directory=str(tmp_path), resume=True).fit(
        again, problem.data("train"), problem.data("val")
    )
    assert equal(model, again)
    assert found.records == wanted.records


def test_resume_without_a_checkpoint_starts_afresh(tmp_path):
    problem = Turn()
    models = [recurrent(problem) for _ in range(2)]
    trainer(directory=str(tmp_path), resume=True).fit(models[0], problem.data("train"))
    trainer().fit(models[1], problem.data("train"))
    assert equal(*models)


def test_resume_with_another_model_is_refused(tmp_path):
    problem = Turn()
    trainer(directory=str(tmp_path)).fit(recurrent(problem), problem.data("train"))
    other = MnemonicDescent.for_problem(problem, hidden=3)
    with pytest.raises(
        DescentError, match=r"cannot resume: the checkpoint was made with parameters=\[\["
    ):
        trainer(directory=str(tmp_path), resume=True).fit(other, problem.data("train"))


@pytest.mark.parametrize(
    ("settings", "seed", "split", "message"),
    [
        ({"lr": 0.5}, 0, "train", "the checkpoint was made with lr=0.01, this training has 0.5"),
        ({}, 1, "train", "the checkpoint was made with seed=0, this training has 1"),
        ({}, 0, "test", "the checkpoint was made with data="),
        ({"step_weights": (1.0, 1.0, 2.0)}, 0, "train", "step_weights=None"),
    ],
)
def test_resume_of_another_training_is_refused(tmp_path, settings, seed, split, message):
    problem = Turn()
    trainer(directory=str(tmp_path)).fit(recurrent(problem), problem.data("train"))
    with pytest.raises(DescentError, match=f"checkpoint.safetensors: cannot resume: .*{message}"):
        trainer(directory=str(tmp_path), resume=True, **settings).fit(
            recurrent(problem), problem.data(split), seed=seed
        )


def test_only_one_rank_goes_on_from_what_an_earlier_version_made(tmp_path):
    problem, checkpoint = Turn(), tmp_path / "checkpoint.safetensors"
    trainer(directory=str(tmp_path)).fit(recurrent(problem), problem.data("train"))
    state = load_state(checkpoint)
    del state["identity"]["drawn"]
    again = trainer(directory=str(tmp_path), resume=True)
    for devices in (1, 2):
        state["identity"]["settings"]["devices"] = devices
        save_state(checkpoint, state)
        if devices == 1:
            again.fit(recurrent(problem), problem.data("train"))
    with pytest.raises(DescentError, match="cannot resume on 2 ranks: an earlier version made it"):
        again.fit(recurrent(problem), problem.data("train"))
    with pytest.raises(DescentError, match="cannot resume on 2 ranks: an earlier version made it"):
        again.check_checkpoint(recurrent(problem), problem.data("train"))


def test_resume_from_a_truncated_checkpoint_is_refused(tmp_path):
    problem = Turn()
    trainer(directory=str(tmp_path)).fit(recurrent(problem), problem.data("train"))
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(
        DescentError, match=r"checkpoint.safetensors: expected a saved state, could not read it"
    ):
        trainer(directory=str(tmp_path), resume=True).fit(recurrent(problem), problem.data("train"))


def test_log_holds_every_validation(tmp_path):
    problem = Turn()
    history = trainer(directory=str(tmp_path), validate_every=4).fit(
        recurrent(problem), problem.data("train"), problem.data("val")
    )
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["iteration"]) for row in rows] == [0, 4, 8, 12, 16, 20]
    for row, record in zip(rows, history.records):
        assert [float(row[f"val_error_{step}"]) for step in range(4)] == record["val_error"]
        assert row["loss"] == ("" if record["loss"] is None else str(record["loss"]))


def test_validation_is_the_mean_error_after_every_step_of_the_averaged_weights():
    problem = Turn()
    model, val = recurrent(problem), problem.data("val")
    history = trainer(iterations=9, validate_every=9, batch_size=4).fit(
        model, problem.data("train"), val
    )
    with torch.no_grad():
        wanted = [problem.error(x, val).mean().item() for x in model(val).xs]
    assert history.records[-1]["val_error"] == pytest.approx(wanted, rel=1e-5)


def test_the_best_validated_weights_are_kept(caplog):
    problem = Turn()
    model, val = recurrent(problem), problem.data("val")
    history = trainer(iterations=40, validate_every=1, lr=0.3, ema=0).fit(
        model, problem.data("train"), val
    )
    lasts = [record["val_error"][-1] for record in history.records]
    assert min(lasts) < lasts[-1], (
        "the learning rate is so large that the last weights are not the best"
    )
    [doubt] = history.doubts
    rise = f"from {min(lasts):.3g} after {history.best_step} iterations to {lasts[-1]:.3g} after 40"
    assert (
        f"BackpropThroughTime: the validation error rises {rise}, and the weights of then are kept"
        in doubt
    )
    assert caplog.messages[-1:] == history.doubts
    with torch.no_grad():
        assert problem.error(model(val).final, val).mean().item() == pytest.approx(
            min(lasts), rel=1e-5
        )


def test_a_training_without_progress_ends_when_patience_does(tmp_path):
    problem = Turn()
    settings = {"iterations": 40, "validate_every": 1, "lr": 0.3, "ema": 0}
    model, val = recurrent(problem), problem.data("val")
    patient = trainer(**settings, patience=3, directory=str(tmp_path / "patient"), resume=True)
    history = patient.fit(model, problem.data("train"), val)
    assert history.records[-1]["iteration"] == history.best_step + 3 < 40
    assert not history.doubts, "an error that rises is what patience is for"
    kept = weights(model)
    again = patient.fit(model, problem.data("train"), val)
    assert again.records == history.records, "what has ended does not go on"
    assert all(torch.equal(old, new) for old, new in zip(kept, model.parameters()))


def test_iterations_follow_from_the_number_of_samples(tmp_path):
    chosen = {count: trainer(iterations=None).sized(count).iterations for count in (5, 100, 5000)}
    assert chosen == {5: 400, 100: 800, 5000: 8000}
    assert trainer().sized(5).iterations == 20, "what is given stays"
    with pytest.raises(DescentError, match="iterations: expected a number, got None"):
        trainer(iterations=None).num_iterations  # noqa: B018
    problem = Line(count=8)
    train, models = problem.data("train"), [recurrent(problem), recurrent(problem)]
    for model, iterations in zip(models, (None, 400)):
        settings = trainer(iterations=iterations, directory=str(tmp_path), resume=True)
        settings.check_checkpoint(model, train)
        history = settings.fit(model, train)
        assert history.records[-1]["iteration"] == 400
    assert equal(*models)


def test_a_training_never_ends_worse_than_it_began():
    problem = Turn()
    model, val = recurrent(problem), problem.data("val")
    assert not trainer(iterations=60).fit(model, problem.data("train"), val).doubts
    before = weights(model)
    history = trainer(iterations=3, lr=5.0, warmup=0, ema=0).fit(model, problem.data("train"), val)
    assert history.best_step == 0
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters()))


def test_without_validation_the_last_weights_are_kept():
    problem = Turn()
    model = recurrent(problem)
    history = trainer(ema=0).fit(model, problem.data("train"))
    assert history.best_step is None
    assert "val_error" not in history.records[-1]


def test_average_is_exponential():
    problem = Turn()
    models = [recurrent(problem) for _ in range(3)]
    trainer(iterations=1, ema=0).fit(models[0], problem.data("train"))
    trainer(iterations=1, ema=0.99).fit(models[1], problem.data("train"))
    for start, last, average in zip(
        models[2].parameters(), models[0].parameters(), models[1].parameters()
    ):
        # The decay begins at 1 / 10
        torch.testing.assert_close(average, start + 0.9 * (last - start))


def test_a_data_set_equals_a_batch():
    problem = Turn()
    models = [recurrent(problem) for _ in range(2)]
    for model, wrap in zip(models, (dict, Rows)):
        trainer(batch_size=7).fit(model, wrap(problem.data("train")), wrap(problem.data("val")))
    assert equal(*models)


def test_the_seed_decides_and_a_second_fit_forgets_the_first():
    problem = Turn()
    models = [recurrent(problem) for _ in range(3)]
    same = trainer()
    same.fit(models[0], problem.data("train"), seed=1)
    same.fit(models[1], problem.data("train"), seed=1)
    same.fit(models[2], problem.data("train"), seed=2)
    assert equal(models[0], models[1])
    assert not equal(models[0], models[2])


def test_no_global_random_state_is_touched():
    problem = Turn()
    model = recurrent(problem)
    state = torch.get_rng_state()
    trainer().fit(model, problem.data("train"), problem.data("val"))
    assert torch.equal(torch.get_rng_state(), state)


def test_augmentation_and_random_starts_are_used():
    class Augmented(Turn):
        calls, starts = 0, []

        def augment(self, batch, generator):
            self.calls += 1
            return batch

        def initial(self, batch, generator=None):
            x = super().initial(batch, generator)
            if generator is not None:
                self.starts.append(x.sum().item())
            return x

    problem = Augmented()
    trainer(iterations=6).fit(recurrent(problem), problem.data("train"))
    assert problem.calls == 7  # a first look, and six batches
    assert len(set(problem.starts)) == 7


@pytest.mark.parametrize("detach", ["state", "observation"])
def test_opaque_eyes_need_a_cut(detach):
    problem = Turn()
    model = Cascade.for_problem(problem, observation=Frozen(Compass()))
    with pytest.raises(DescentError, match='train with detach="observation" or detach="state"'):
        trainer().fit(model, problem.data("train"))
    history = trainer(iterations=100, detach=detach, lr=0.05).fit(
        model, problem.data("train"), problem.data("val")
    )
    assert history.records[-1]["val_error"][-1] < 0.3 * history.records[-1]["val_error"][0]


def test_gradients_are_clipped():
    problem = Turn()
    model = recurrent(problem)
    before = weights(model)
    trainer(iterations=1, clip=1e-12, weight_decay=0, ema=0).fit(model, problem.data("train"))
    # Far below the epsilon of Adam, which would else step by lr
    for old, new in zip(before, model.parameters()):
        assert (old - new).abs().max() < 1e-5


def test_learning_rate_warms_up_and_decays():
    rates = [
        record["lr"]
        for record in trainer(iterations=20, warmup=0.2, validate_every=1)
        .fit(recurrent(Turn()), Turn().data("train"))
        .records
    ]
    assert rates[:4] == sorted(rates[:4])
    assert max(rates) == rates[4] == 1e-2
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] < 2e-4


def test_samples_that_are_not_finite_are_named():
    problem = Turn()
    batch = problem.data("train")
    batch["compass"][[2, 9]] = math.inf
    model = recurrent(problem)
    before = weights(model)
    with pytest.raises(
        DescentError, match=r"samples \[2, 9\]: expected finite numbers in 'compass'"
    ):
        trainer().fit(model, batch)
    with pytest.raises(
        DescentError, match=r"samples \[[29](, [29])?\]: expected finite numbers in 'compass'"
    ):
        trainer(batch_size=24).fit(model, Rows(batch))
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters()))


def test_losses_that_are_not_finite_are_named():
    class Sharp(Turn):
        def loss(self, x, batch):
            return super().loss(x, batch) / (batch["x"][:, 1] != self.pole)

    problem = Sharp()
    batch = problem.data("train")
    problem.pole = batch["x"][7, 1]
    with pytest.raises(
        DescentError,
        match=r"iteration 0: the loss of samples \[7\] is not finite; lower lr or clip",
    ):
        trainer(batch_size=24).fit(recurrent(problem), batch)


def test_bfloat16_learns():
    problem = Turn()
    model = recurrent(problem)
    history = trainer(iterations=80, precision="bf16-mixed", lr=0.02).fit(
        model, problem.data("train"), problem.data("val")
    )
    assert history.records[-1]["val_error"][-1] < 0.4 * history.records[0]["val_error"][0]
    assert all(weight.dtype == torch.float32 for weight in model.parameters())


def test_settings_are_frozen_and_few():
    assert len(dataclasses.fields(BackpropThroughTime)) <= 21  # the last one: extra_steps
    with pytest.raises(dataclasses.FrozenInstanceError):
        trainer().lr = 1.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"iterations": 0}, "iterations: expected 1 or more, got 0"),
        ({"batch_size": 0}, "batch_size: expected 1 or more, got 0"),
        ({"devices": 0}, "devices: expected 1 or more, got 0"),
        ({"lr": 0.0}, "lr: expected a positive number, got 0"),
        ({"lr": math.nan}, "lr: expected a positive number, got nan"),
        ({"ema": 1.0}, r"ema: expected a share in \[0, 1\), got 1"),
        ({"warmup": -0.1}, r"warmup: expected a share in \[0, 1\), got -0.1"),
        ({"clip": 0.0}, "clip: expected a positive number, got 0"),
        ({"validate_every": -1}, "validate_every: expected 0 or more, got -1"),
        ({"patience": -1}, "patience: expected 0 or more, got -1"),
        ({"extra_steps": -1}, "extra_steps: expected 0 or more, got -1"),
        ({"extra_steps": 1.5}, "extra_steps: expected a whole number, 0 or more, got 1.5"),
        (
            {"resume": True},
            "resume: expected a directory that holds the checkpoint, got directory=None",
        ),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(DescentError, match=message):
        trainer(**settings)


def test_no_samples():
    with pytest.raises(DescentError, match="samples: expected at least one sample, got none"):
        trainer().fit(recurrent(Turn()), {"compass": torch.zeros(0, 2), "x": torch.zeros(0, 2)})
