"""Test error against training time: follows a training by back-propagation through time and
measures its snapshots.

Start it beside ``learned-descent train``, in the same folder::

    learned-descent train faces --family mdm --data ../shared/300w --out runs/mdm &
    python -m benchmarks.learning_curve runs/mdm --data ../shared/300w

It copies each checkpoint while the training goes on, which costs next to nothing, and measures the
moving averages of the weights in the end. It writes ``curve.json`` and ``curve.png`` into the
folder. Nothing is chosen by these figures.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

from matplotlib.figure import Figure

from learned_descent import DescentError, evaluate, load_model
from learned_descent.cli.runs import problem_of
from learned_descent.files import load_state, write_json

from . import command


def follow(run: Path, snapshots: Path, seconds: float = 5.0) -> None:
    """Copies every checkpoint of a training until its weights are there."""
    seen, done = 0.0, False
    while not done:
        done = (run / "model.safetensors").exists()
        checkpoint = run / "checkpoint.safetensors"
        if checkpoint.exists() and checkpoint.stat().st_mtime > seen:
            seen = checkpoint.stat().st_mtime
            shutil.copy(checkpoint, snapshots / f"{seen:.0f}.safetensors")
        if not done:
            time.sleep(seconds)


def main() -> None:
    """Follows, measures, draws."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="the folder of the training")
    parser.add_argument("--data", required=True, help="a folder in the layout of 300-W")
    arguments = parser.parse_args()
    snapshots = arguments.run / "snapshots"
    snapshots.mkdir(parents=True, exist_ok=True)
    follow(arguments.run, snapshots)

    weights = arguments.run / "model.safetensors"
    model = load_model(weights, problem=problem_of(weights, "faces", {"root": arguments.data}))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    test = model.problem.data("test")
    curve = []
    for path in sorted(snapshots.glob("*.safetensors")):
        state = load_state(path)
        if len(state["average"]) != len(trained):
            raise DescentError(f"{path}: is no snapshot of {weights}")
        for parameter, value in zip(trained, state["average"]):
            parameter.data.copy_(value)
        result = evaluate(model, test)
        point = {
            "iteration": state["iteration"],
            "minutes": state["seconds"] / 60,
            "auc": 100 * result.auc(),
            "failures": 100 * result.failure_rate(),
            "mean": result.mean(),
        }
        curve.append(point)
        print(
            "{iteration:6d} iterations  {minutes:5.1f} min  AUC {auc:5.2f}  failures "
            "{failures:4.2f} %  mean {mean:.4f}".format(**point)
        )
    write_json(
        arguments.run / "curve.json",
        {"weights": str(weights), "metric": result.metrics[0], "curve": curve},
    )
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(
        [point["minutes"] for point in curve],
        [point["auc"] for point in curve],
        marker="o",
        markersize=3,
    )
    axes.set(
        xlabel="training time (minutes)",
        ylabel=f"AUC at {result.failure_above:g} (%), {result.metrics[0]}",
    )
    axes.grid(alpha=0.3)
    figure.savefig(arguments.run / "curve.png", dpi=150)


if __name__ == "__main__":
    command(main)
