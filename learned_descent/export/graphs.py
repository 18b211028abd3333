"""What of a model becomes a graph: all its steps, what comes once before them, or one of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Generator, Tensor, nn

from ..errors import DescentError, calling, check_choice, check_whole
from ..model import MOST_STEPS, DescentModel, State

Part: TypeAlias = Literal["descent", "prepare", "step"]
"""What of a model is in a graph: ``"descent"``, all its steps; ``"prepare"``, what the observation
computes once, before the first step; ``"step"``, one step on what was prepared."""

Values: TypeAlias = dict[str, Tensor]
"""Tensors by name."""

_KEPT: Mapping[Part, Collection[str]] = {"descent": {"x0"}, "prepare": (), "step": {"x", "state"}}
"""Inputs that a graph has even where its outputs are the same without them."""

_COUNT = 3
"""Samples that a graph is traced with: neither one, which PyTorch takes for a constant, nor as many
as any other axis has often."""


@dataclass(frozen=True)
class Graph:
    """A part of a model as a function from tensors by name to tensors by name.

    Attributes:
        module: takes the inputs in order, and gives the outputs in order.
        inputs: three samples of each input by name, ``(3, ...)``.
        outputs: the names of the outputs.
        draw: makes inputs of as many samples as it is told, to compare on.
        notes: what is to be known of it, as JSON.
    """

    module: nn.Module
    inputs: Values
    outputs: tuple[str, ...]
    draw: Callable[[int], Values]
    notes: Mapping[str, Any]


class _Function(nn.Module):
    """A function of tensors by name, as a module of tensors in order."""

    def __init__(
        self, model: DescentModel, run: Callable[[Values], Values], names: Collection[str]
    ) -> None:
        super().__init__()
        self.model = model  # whose weights the graph holds
        self.run = run
        self.names = tuple(names)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.run(dict(zip(self.names, tensors))).values())


def graph_of(
    model: DescentModel,
    part: Part = "descent",
    *,
    step: int | None = None,
    num_steps: int | None = None,
) -> Graph:
    """A part of a learned model, with the tensors that it needs and no others.

    Args:
        model: the model, on the CPU; it goes to evaluation mode.
        part: which part.
        step: which step ``"step"`` is, from 0; needed where they differ, as in a cascade.
        num_steps: the number of steps of ``"descent"``; ``None`` for the model's own.

    Raises:
        DescentError: if the model is or ends with a classical solver, which ends where its data
            tell it to; if ``step`` is needed, or is none that there is; if a single step has more
            memory than one tensor; if there is nothing to prepare; if the model fails on a sample
            of its problem.

    Example:
        >>> from learned_descent import Cascade
        >>> from learned_descent.problems import Analytic
        >>> model = Cascade.for_problem(Analytic("sin"))
        >>> graph = graph_of(model)
        >>> list(graph.inputs), graph.outputs
        (['y', 'x0'], ('x',))
    """
    check_choice(part, Part, name="graph")
    _check_learned(model)
    for name, value, its in (("step", step, "step"), ("num_steps", num_steps, "descent")):
        if value is not None and part != its:
            raise DescentError(
                f"{name}: expected none for the graph {part!r}, got {value!r}: leave it out, or "
                f"export the graph {its!r}"
            )
    model.eval()
    with torch.no_grad(), calling(f"{type(model).__name__} on a sample of its problem"):
        if part == "prepare":
            return _made(part, model, _prepare(model, _prepared(model)), _batch(model), {})
        if part == "step":
            notes = {"step": step, "state_start": _state_start(model)}
            return _made(part, model, _step(model, _chosen(model, step)), _begun(model), notes)
        steps = model.num_steps if num_steps is None else num_steps
        check_whole(steps, name="num_steps", most=MOST_STEPS)
        run = _descent(model, steps)
        return _made(part, model, run, _from_start(model), {"num_steps": steps})


def _check_learned(model: DescentModel) -> None:
    if model.classical_solver() is not None:
        learned = model.learned_model()
        raise DescentError(
            f"{type(model).__name__}: a classical solver ends where its data tell it to, which a "
            "graph of fixed operations cannot: "
            + ("export a learned model" if learned is None else "export its learned part alone")
        )


def _made(
    part: Part,
    model: DescentModel,
    run: Callable[[Values], Values],
    draw: Callable[[int], Values],
    notes: Mapping[str, Any],
) -> Graph:
    inputs = _least(run, draw(_COUNT), _KEPT[part])

    def drawn(count: int) -> Values:
        found = draw(count)
        return {name: found[name] for name in inputs}

    return Graph(_Function(model, run, inputs), inputs, tuple(run(inputs)), drawn, notes)


def _least(run: Callable[[Values], Values], values: Values, kept: Collection[str]) -> Values:
    """The values without which the outputs would not be the same: what a graph does not read, such
    as the truth, is none of its inputs.
    """
    wanted = run(values)
    needed = values
    for name in [name for name in values if name not in kept]:
        fewer = {other: value for other, value in needed.items() if other != name}
        try:
            found = run(fewer)
        except Exception:  # whatever a model does without something that it needs
            continue
        if found.keys() == wanted.keys() and all(
            torch.equal(found[key], wanted[key]) for key in wanted
        ):
            needed = fewer
    return needed


def _batch(model: DescentModel) -> Callable[[int], Values]:
    """Samples of the problem, as they lie in memory when another program made them."""

    def draw(count: int) -> Values:
        samples = model.problem.export_sample(count)
        return {name: value.contiguous() for name, value in samples.items()}

    return draw


def _from_start(model: DescentModel) -> Callable[[int], Values]:
    """A batch, and where its descent starts."""

    def draw(count: int) -> Values:
        batch = _batch(model)(count)
        return {**batch, "x0": model.problem.initial(batch).contiguous()}

    return draw


def _begun(model: DescentModel) -> Callable[[int], Values]:
    """A batch that went through ``prepare``, the parameters and the memory before a step."""

    def draw(count: int) -> Values:
        batch = _batch(model)(count)
        x = model.problem.initial(batch).contiguous()
        prepared = model.observation.prepare(batch)
        values = {name: value.contiguous() for name, value in prepared.items()}
        state = _memory(model, model.init_state(x))
        if state is None:
            return {**values, "x": x}
        noise = torch.randn(state.shape, generator=Generator().manual_seed(count))
        return {**values, "x": x, "state": state + 0.1 * noise.to(state)}  # as after some steps

    return draw


def _descent(model: DescentModel, num_steps: int) -> Callable[[Values], Values]:
    def run(values: Values) -> Values:
        batch = {name: value for name, value in values.items() if name != "x0"}
        return {"x": model(batch, values["x0"], num_steps=num_steps).final}

    return run


def _prepared(model: DescentModel) -> list[str]:
    """The names of what ``prepare`` makes of a batch and a step needs.

    Raises:
        DescentError: if there is nothing.
    """
    needed: set[str] = set()
    for k in range(model.num_steps):  # which may look at other maps, from coarse to fine
        needed |= _least(_step(model, k), _begun(model)(_COUNT), _KEPT["step"]).keys()
    batch = _batch(model)(_COUNT)
    prepared = model.observation.prepare(batch).items()
    made = [name for name, value in prepared if name in needed and value is not batch.get(name)]
    if not made:
        raise DescentError(
            f"graph: {type(model.observation).__name__} has nothing to prepare: a step takes the "
            "tensors of a batch as they are; export the step alone"
        )
    return made


def _prepare(model: DescentModel, made: Collection[str]) -> Callable[[Values], Values]:
    def run(values: Values) -> Values:
        prepared = model.observation.prepare(values)
        return {name: prepared[name].contiguous() for name in made}

    return run


def _step(model: DescentModel, k: int) -> Callable[[Values], Values]:
    def run(values: Values) -> Values:
        batch = {name: value for name, value in values.items() if name not in ("x", "state")}
        features = model.observation.observe(k, values["x"], batch)
        delta, state = model.step(k, features, values.get("state"))
        x, state = model.move(k, values["x"], delta, state, batch)
        after = _memory(model, state)
        return {"x_next": x, **({} if after is None else {"state_next": after})}

    return run


def _chosen(model: DescentModel, step: int | None) -> int:
    """The step to export, which must be said where it is not one for all."""
    if step is not None:
        check_whole(step, name="step", least=0, most=model.num_steps - 1)
        return step
    values = _begun(model)(_COUNT)
    first = _step(model, 0)(values)
    for k in range(1, model.num_steps):
        found = _step(model, k)(values)
        if any(not torch.equal(found[name], first[name]) for name in first):
            raise DescentError(
                f"step: the {model.num_steps} steps of this {type(model).__name__} differ: "
                f"expected one of 0 to {model.num_steps - 1}, a file each"
            )
    return 0


def _state_start(model: DescentModel) -> Any:
    """The memory before the first step: none, ``"zeros"``, or its numbers."""
    state = _memory(model, model.init_state(model.problem.initial(_batch(model)(1))))
    if state is None:
        return None
    return state[0].tolist() if state.any() else "zeros"


def _memory(model: DescentModel, state: State) -> Tensor | None:
    """The memory of a step, which has one name in a graph."""
    if isinstance(state, tuple):
        raise DescentError(
            f"graph: the memory of {type(model).__name__} is more than one tensor, which a graph "
            'of one step has no names for: export the graph "descent"'
        )
    return state
