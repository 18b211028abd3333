"""A schedule of one's own, and a callback that watches it: the learning rate falls in steps.

``python examples/schedule.py``, or ``learned-descent train analytic --family mdm --bptt.schedule
examples/schedule.py:Stairs --out runs/stairs``
"""

import torch

from learned_descent import BackpropThroughTime, MnemonicDescent
from learned_descent.problems import Analytic
from learned_descent.training import Callback, Schedule


class Stairs(Schedule):
    """Divides the learning rate by ``drop`` at each of ``count`` steps, which are equally long."""

    def __init__(self, count=3, drop=4.0):
        self.count = count
        self.drop = drop

    def factor(self, iteration, iterations):
        return self.drop ** -int(self.count * iteration / iterations)


class Chart(Callback):
    """Draws a bar for each record: how large the learning rate is, and the error behind it."""

    def __init__(self):
        self.lines = []

    def record(self, record):
        bar = "#" * round(4000 * record["lr"])
        self.lines.append(f"{record['iteration']:4d} {bar:40} {record['val_error'][-1]:.3f}")

    def end(self, history):
        best = f"the best weights are those after {history.best_step} iterations"
        print(*self.lines, best, sep="\n")


def main(iterations=120):
    """Trains, and returns the model and what the training did."""
    problem, chart = Analytic("sin"), Chart()
    torch.manual_seed(0)
    model = MnemonicDescent.for_problem(problem, hidden=32)
    trainer = BackpropThroughTime(
        iterations=iterations,
        batch_size=11,
        lr=1e-2,
        ema=0.9,
        schedule=Stairs(),
        callbacks=[chart],
        accelerator="cpu",
    )
    return model, trainer.fit(model, problem.data("train"), problem.data("val"))


if __name__ == "__main__":
    main()
