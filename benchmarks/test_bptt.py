"""What back-propagation through time costs beyond the convolutions and linear layers that it cannot
do without."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

from learned_descent.faces.alignment import FaceAlignment
from learned_descent.faces.recipes import RECIPES
from learned_descent.model import DescentModel

from .conftest import random_faces

ROUNDS = 7


def layers_of(model: DescentModel, run: Callable[[], Any]) -> list[tuple[nn.Module, Tensor]]:
    """Every convolution, linear layer and recurrent cell that ``run`` calls, with an input like its
    own, in order."""
    calls: list[tuple[nn.Module, Tensor]] = []

    def note(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        calls.append(
            (module, torch.randn_like(args[0].detach()).requires_grad_(args[0].requires_grad))
        )

    kinds = (nn.Conv2d, nn.Linear, nn.RNNCell)
    hooks = [
        module.register_forward_pre_hook(note)
        for module in model.modules()
        if isinstance(module, kinds)
    ]
    run()
    for hook in hooks:
        hook.remove()
    return calls


def bare(calls: list[tuple[nn.Module, Tensor]]) -> Callable[[], None]:
    """The same layers on random inputs of the same shapes and types, forward and backward, and
    nothing between them."""

    def run() -> None:
        outputs: list[Tensor] = []
        for module, value in calls:
            value.grad = None  # nothing to add to
            if isinstance(module, nn.RNNCell):
                state = value.new_zeros(len(value), module.hidden_size).requires_grad_()
                outputs += [
                    F.linear(value, module.weight_ih, module.bias_ih),
                    F.linear(state, module.weight_hh, module.bias_hh),
                ]
            else:
                outputs.append(module(value))
        torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])

    return run


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("family", "batch_size"), [("mdm", 32), ("mdm-paper", 24)])
def test_a_step_against_its_bare_layers(
    benchmark: BenchmarkFixture,
    facts: dict[str, Any],
    faces: FaceAlignment,
    device: torch.device,
    family: str,
    batch_size: int,
    precision: str,
) -> None:
    torch.manual_seed(0)
    batch = random_faces(faces, batch_size, device)
    faces.data = lambda split: batch  # type: ignore[method-assign]
    recipe = RECIPES[family]
    model, detach = recipe.build(faces).to(device), recipe.trainers["bptt"].detach
    generator = torch.Generator(device).manual_seed(0)

    def autocast() -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")

    def step() -> None:
        with autocast():
            xs = model(batch, generator=generator, detach=detach).xs[1:]
            loss = torch.stack([faces.loss(x, batch).mean() for x in xs]).sum()
        loss.backward()
        model.zero_grad()

    with autocast():
        layers = bare(layers_of(model, lambda: model(batch, generator=generator, detach=detach)))

    def without() -> None:
        with autocast():
            layers()
        model.zero_grad()

    def timed(run: Callable[[], None]) -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    for run in (step, without):
        run()
    ratios, seconds = [], []
    for _ in range(ROUNDS):  # in turns, so that a busy machine slows both
        seconds.append(timed(step))
        ratios.append(seconds[-1] / timed(without))
    benchmark.extra_info.update(
        facts,
        batch=batch_size,
        steps=model.num_steps,
        precision=precision,
        over_bare_layers=statistics.median(ratios),
    )
    benchmark.pedantic(step, rounds=3, warmup_rounds=1)
    print(f"\n{family} {precision}: {1e3 * statistics.median(seconds) / batch_size:.2f} ms per "
          "face, "
          f"{statistics.median(ratios):.2f} times its bare layers")  # fmt: skip
    assert all(parameter.isfinite().all() for parameter in model.parameters())
