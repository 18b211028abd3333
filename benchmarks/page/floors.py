"""What the library costs beyond what it cannot do without: the kernels of PyTorch that it calls,
and the layers of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from learned_descent import DescentModel
from learned_descent.data.batches import index
from learned_descent.faces.recipes import RECIPES
from learned_descent.problems import Pose
from learned_descent.problems.pose import RECIPES as POSES
from learned_descent.solvers import LevenbergMarquardt

from .faces import random_faces, unseen_faces
from .races import Race, Turn, clocked

PRODUCT = 1024
"""The side of the matrices whose product tells what the processor can do."""


def kernels(solve: Callable[[], Any]) -> Turn:
    """The seconds of the kernels by themselves, as torch.profiler sees them."""

    def turn() -> tuple[float, Any]:
        with profile(activities=[ProfilerActivity.CPU], acc_events=True) as seen:
            found = solve()
        return sum(event.self_cpu_time_total for event in seen.key_averages()) / 1e6, found

    return turn


def as_a_product(flops: int) -> Turn:
    """The seconds of so many operations at the rate of a large product."""
    square = torch.ones(PRODUCT, PRODUCT)
    product = clocked(lambda: square @ square)

    def turn() -> tuple[float, Any]:
        seconds, found = product()
        return seconds * flops / (2 * PRODUCT**3), found

    return turn


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


def overheads(seed: int) -> Iterator[Race]:
    """One pose, in float32."""
    problem = Pose(num_train=64, num_test=2, seed=seed)
    batch = index(problem.data("test"), slice(0, 1))
    models: dict[str, DescentModel] = {
        "sdm of ten steps": POSES["sdm"].build(problem).eval(),
        "lm of ten steps": LevenbergMarquardt(problem, num_steps=10, tolerance=0),
    }
    for name, model in models.items():
        solve = torch.inference_mode()(partial(model, batch))
        makers = {"ours": partial(clocked, solve), "its kernels": partial(kernels, solve)}
        yield Race(
            f"One pose by {name}",
            1,
            makers,
            goal=3,
            note="Kernels: the self times of torch.profiler, by the clock on the wall and its own "
            "cost included: beside other work they come out too long.",
        )


def inference(seed: int) -> Iterator[Race]:
    """Fits of mdm."""
    torch.manual_seed(seed)
    problem = unseen_faces()
    for size in (1, 32):
        batch = random_faces(problem, size, torch.device("cpu"))
        problem.data = lambda split, batch=batch: batch  # type: ignore[method-assign,misc]
        model = RECIPES["mdm"].build(problem).eval()
        solve = torch.inference_mode()(partial(model, batch))
        with FlopCounterMode(display=False) as counter:
            solve()
        flops = counter.get_total_flops()
        with torch.no_grad():
            calls = layers_of(model, solve)

        def layers(calls: list[tuple[nn.Module, Tensor]] = calls) -> None:
            for module, value in calls:
                module(value)

        yield Race(
            "Faces by mdm",
            size,
            {
                "ours": partial(clocked, solve),
                "its layers alone": partial(clocked, torch.inference_mode()(layers)),
                "at the rate of a product": partial(as_a_product, flops),
            },
            goal=1.5,
            note=f"{flops / size / 1e6:.0f} MFLOP a face. The limit is the rate of the processor, "
            f"which is that of a product of {PRODUCT} x {PRODUCT} matrices in the same rounds.",
        )


def training(seed: int) -> Iterator[Race]:
    """Steps of back-propagation through time, forward and backward."""
    for family, size in (("mdm", 16), ("mdm-paper", 8)):
        torch.manual_seed(seed)
        problem = unseen_faces()
        batch = random_faces(problem, size, torch.device("cpu"))
        problem.data = lambda split, batch=batch: batch  # type: ignore[method-assign,misc]
        model = RECIPES[family].build(problem)
        detach = RECIPES[family].trainers["bptt"].detach
        generator = torch.Generator().manual_seed(seed)
        run = partial(model, batch, generator=generator, detach=detach)

        def step(
            run: Any = run, problem: Any = problem, batch: Any = batch, model: Any = model
        ) -> None:
            losses = [problem.loss(x, batch).mean() for x in run().xs[1:]]
            torch.stack(losses).sum().backward()
            model.zero_grad()

        layers = bare(layers_of(model, run))

        def alone(layers: Any = layers, model: Any = model) -> None:
            layers()
            model.zero_grad()

        yield Race(
            f"A training step of {family}",
            size,
            {"ours": partial(clocked, step), "its layers alone": partial(clocked, alone)},
            goal=1.15,
        )


def races(seed: int) -> Iterator[Race]:
    yield from overheads(seed)
    yield from inference(seed)
    yield from training(seed)
