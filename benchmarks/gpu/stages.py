"""What is measured: each stage yields its rows one by one, and a row that fails says so."""

from __future__ import annotations

import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch.utils.flop_counter import FlopCounterMode

from learned_descent import Cascade, DescentModel
from learned_descent.data.batches import index
from learned_descent.data.samples import Batch
from learned_descent.faces.recipes import RECIPES
from learned_descent.families import SOLVERS, Recipe
from learned_descent.registry import PROBLEMS, builtin
from learned_descent.training import SequentialRidge

from .faces import PackedFaces, repeated
from .process import bounded
from .scale import Scale

Row: TypeAlias = dict[str, Any]

PRECISIONS = {"float32": "32-true", "bf16": "bf16-mixed"}
"""What a precision is called by the trainer."""

_SOLVED = (
    ("pose", "lm"),
    ("exponentials", "lm"),
    ("pose", "gn"),
    ("registration", "gn"),
    ("any-template", "lm"),
)

SUITE_SECONDS = 135.0

_ENDS = "(PASSED|FAILED|ERROR|SKIPPED|XFAIL)"
_WITH_WORKERS = re.compile(rf"^\[gw\d+\] \[ *\d+%\] {_ENDS} (tests/.*\S)")
_ALONE = re.compile(rf"^(tests/.*\S) {_ENDS}\b")


def measured(row: Row, work: Callable[[], Mapping[str, Any]]) -> Row:
    """A row with what was measured, or with how that failed."""
    try:
        return {**row, **work()}
    except Exception as error:
        return {
            **row,
            "error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
        }


def matrix(scale: Scale, data: Path, out: Path) -> Iterator[Row]:
    """The card's own rate: square products of random numbers."""
    size = scale.of(8192, 128)
    for name, kind, mode in (
        ("float32", torch.float32, "highest"),
        ("tf32", torch.float32, "high"),
        ("bf16", torch.bfloat16, "highest"),
    ):

        def rate(kind: torch.dtype = kind, mode: str = mode) -> Row:
            torch.set_float32_matmul_precision(mode)
            left, right = (torch.randn(size, size, device=scale.device).to(kind) for _ in range(2))
            return {"tflops": 2 * size**3 / scale.seconds(lambda: left @ right) / 1e12}

        yield measured({"precision": name, "size": size}, rate)


def training(scale: Scale, data: Path, out: Path) -> Iterator[Row]:
    """Updates of the recipes on faces, as they are written down."""
    problem = PackedFaces(data, quick=scale.quick)
    for name, precision, factor in product(
        ("mdm", "mdm-paper"), PRECISIONS, scale.of((1, 8), (1,))
    ):
        yield _trained(scale, problem, name, precision, factor, compiled=False)


def compiled(scale: Scale, data: Path, out: Path) -> Iterator[Row]:
    """The same through ``torch.compile``; left out where all is only tried, as it takes a
    minute."""
    problem = PackedFaces(data, quick=scale.quick)
    for name, precision in product(("mdm", "mdm-paper"), PRECISIONS):
        if not scale.quick:
            yield _trained(scale, problem, name, precision, 1, compiled=True)


def _recipe(name: str, scale: Scale) -> Recipe:
    recipe = RECIPES[name]
    return (
        replace(recipe, options={**recipe.options, "hidden": 8})
        if scale.quick and name != "sdm"
        else recipe
    )


def _trained(
    scale: Scale, problem: PackedFaces, name: str, precision: str, factor: int, *, compiled: bool
) -> Row:
    recipe = _recipe(name, scale)
    bptt = recipe.trainers["bptt"]
    size = scale.of(factor * bptt.batch_size, 2)
    row = {
        "model": name,
        "precision": precision,
        "compile": compiled,
        "batch_size": size,
        "faces": problem.origin,
    }

    def rate() -> Row:
        model, batch = (
            recipe.build(problem),
            repeated(problem.data("train"), max(size, scale.of(320, 4)), torch.device("cpu")),
        )
        every = scale.of(20, 1)
        trainer = replace(
            bptt, iterations=4 * every, validate_every=every, batch_size=size,
            precision=PRECISIONS[precision],
            compile=compiled, accelerator=scale.device.type,
        )  # fmt: skip
        scale.memory()
        records = trainer.fit(model, batch).records
        seconds = (records[-1]["seconds"] - records[0]["seconds"]) / (
            records[-1]["iteration"] - records[0]["iteration"]
        )
        flops = (
            _update_flops(model, index(batch, slice(0, 2)), scale, detach=bptt.detach) * size / 2
        )
        return {
            "updates_per_second": 1 / seconds, "samples_per_second": size / seconds,
            "tflops": flops / seconds / 1e12,
            "first_seconds": records[0]["seconds"], "memory_gb": scale.memory(),
        }  # fmt: skip

    return measured(row, rate)


def _update_flops(model: DescentModel, batch: Batch, scale: Scale, *, detach: Any) -> int:
    """The multiplications and additions of products and convolutions in one gradient, as PyTorch
    counts them."""
    batch = {name: value.to(scale.device) for name, value in batch.items()}
    with FlopCounterMode(display=False) as counter:
        xs = model(batch, detach=detach, generator=torch.Generator(scale.device)).xs
        torch.stack([model.problem.loss(x, batch) for x in xs[1:]]).mean().backward()
    return counter.get_total_flops()


def ridge(scale: Scale, data: Path, out: Path) -> Iterator[Row]:
    """The closed form of ``sdm``."""
    problem = PackedFaces(data, quick=scale.quick)
    faces, repeats = problem.data("train"), scale.of(4, 1)
    trainer = SequentialRidge(
        ridge=3.0, repeats=repeats, augment=False, batch_size=64, accelerator=scale.device.type
    )
    for precision, mode in (("float32", "highest"), ("tf32", "high")):

        def rate(mode: str = mode) -> Row:
            torch.set_float32_matmul_precision(mode)
            trainer.fit(_linear(problem, scale), faces)  # warms up
            scale.memory()
            history = trainer.fit(_linear(problem, scale), faces)
            with FlopCounterMode(display=False) as counter:
                model = _linear(problem, scale)
                trainer.fit(model, faces)
            # The second term is that of the factors.
            flops = counter.get_total_flops() + model.num_steps * model.num_features**3 / 3
            rows = model.num_steps * repeats * len(faces["image"])
            return {
                "stages": model.num_steps, "features": model.num_features,
                "seconds": history.seconds,
                "rows_per_second": rows / history.seconds, "tflops": flops / history.seconds / 1e12,
                "loss": history.records[-1]["loss"],
                "memory_gb": scale.memory(),
            }  # fmt: skip

        yield measured(
            {"model": "sdm", "precision": precision, "rows": repeats * len(faces["image"])}, rate
        )


def _linear(problem: PackedFaces, scale: Scale) -> Cascade:
    recipe = RECIPES["sdm"]
    if scale.quick:
        recipe = replace(
            recipe, options={"num_steps": 1}, observation_options={"cell": 8, "cells": 1}
        )
    model = recipe.build(problem)
    assert isinstance(model, Cascade)
    return model


def inference(scale: Scale, data: Path, out: Path) -> Iterator[Row]:
    """Fits of faces, ``prepare`` included."""
    problem = PackedFaces(data, quick=scale.quick)
    some = problem.data("test")
    for name, precision in product(("sdm", "mdm", "mdm-paper"), PRECISIONS):
        model = _recipe(name, scale).build(problem).eval().to(scale.device)
        for size in scale.of((1, 64, 4096), (1, 2)):
            row = {"model": name, "precision": precision, "batch_size": size}
            yield measured(
                row,
                lambda model=model, precision=precision, size=size: _fitted(
                    scale, model, precision, some, size
                ),
            )


def _fitted(scale: Scale, model: DescentModel, precision: str, some: Batch, size: int) -> Row:
    batch = repeated(some, size, scale.device)
    small = repeated(some, 1, scale.device)

    def work() -> None:
        with (
            torch.autocast(scale.device.type, torch.bfloat16, enabled=precision == "bf16"),
            torch.inference_mode(),
        ):
            model(batch)

    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(small)
    scale.memory()
    seconds = scale.seconds(work)
    return {
        "seconds": seconds, "samples_per_second": size / seconds,
        "tflops": counter.get_total_flops() * size / seconds / 1e12,
        "stalls": _stalls(scale, work), "memory_gb": scale.memory(),
    }  # fmt: skip


def _stalls(scale: Scale, work: Callable[[], object]) -> int | None:
    """How often the host waits for the GPU, as CUDA says; ``None`` on a CPU."""
    if not scale.is_cuda:
        return None
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in found)


def solvers(scale: Scale, data: Path, out: Path) -> Iterator[Row]:
    """Classical solvers, at most as many steps as their families take."""
    few = {"num_train": 8, "num_test": 64}
    for name, solver in scale.of(_SOLVED, _SOLVED[:2]):
        for size in scale.of((1, 64, 4096), (1, 2)):
            row = {"problem": name, "solver": solver, "batch_size": size}

            def rate(name: str = name, solver: str = solver, size: int = size) -> Row:
                problem = builtin(PROBLEMS[name])(**few)
                batch = repeated(problem.data("test"), size, scale.device)
                model = SOLVERS[solver].build(problem).eval().to(scale.device)
                scale.memory()
                steps: Counter[str] = Counter()

                def work() -> None:
                    with torch.inference_mode():
                        steps["taken"] = _moving_steps(model(batch).xs)

                seconds = scale.seconds(work)
                found = {
                    "seconds": seconds,
                    "samples_per_second": size / seconds,
                    "steps": steps["taken"],
                }
                return {**found, "stalls": _stalls(scale, work), "memory_gb": scale.memory()}

            yield measured(row, rate)


def _moving_steps(xs: torch.Tensor) -> int:
    """How many steps it took until nothing moved any more."""
    moving = (xs[1:] != xs[:-1]).flatten(1).any(1).tolist()
    return max((step + 1 for step, moves in enumerate(moving) if moves), default=0)


def suite(scale: Scale, data: Path, out: Path) -> Iterator[Row]:
    """The tests that touch a device, on it."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-v",
        "-p",
        "no:cacheprovider",
        "-W",
        "default",
        "--timeout",
        "60",
    ]
    command += ["--continue-on-collection-errors"]
    command += [
        "--device",
        scale.name,
        "-m",
        "on_device",
        scale.of("tests", "tests/models/test_mnemonic.py"),
    ]
    command += [] if scale.quick or not _has_xdist() else ["-n", "8"]
    log = out / "suite.log"
    ended = bounded(command, SUITE_SECONDS, log)
    yield {"ended": ended, **outcomes(log.read_text(encoding="utf-8", errors="replace"))}


def _has_xdist() -> bool:
    try:
        import xdist  # noqa: F401
    except ImportError:
        return False
    return True


def outcomes(log: str) -> Row:
    """How many tests passed, failed and were skipped, by the lines of ``pytest -v``, and which
    failed.

    Lines count as they come, so that those before a time-out do too.
    """
    ends: dict[str, str] = {}
    for line in log.splitlines():
        if match := _WITH_WORKERS.match(line):
            ends[match[2]] = match[1]
        elif match := _ALONE.match(line):
            ends[match[1]] = match[2]
    counts = Counter(ends.values())
    bad = [name for name, end in ends.items() if end in ("FAILED", "ERROR")]
    return {
        "passed": counts["PASSED"],
        "failed": len(bad),
        "skipped": counts["SKIPPED"] + counts["XFAIL"],
        "failures": bad,
    }


STAGES: Mapping[str, Callable[[Scale, Path, Path], Iterator[Row]]] = {
    "matrix": matrix, "training": training, "ridge": ridge, "inference": inference,
    "solvers": solvers, "suite": suite,
    "compiled": compiled,
}  # fmt: skip
