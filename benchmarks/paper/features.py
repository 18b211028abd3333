"""Figure 5 (top): hand-made and learnt features under the same recurrent model: ``python -m
benchmarks.paper.features``.

The paper has SIFT, HOG, and the features of its convolutions. All see the same faces, starts and
augmentations; the descriptors have nothing to train, so that the memory learns alone. Writes
``features.json`` and its figures.
"""

from __future__ import annotations

from dataclasses import replace

from learned_descent.faces.recipes import RECIPES
from learned_descent.families import Recipe
from learned_descent.observations import DenseHOG, DenseSIFT

from .. import command
from ._common import measured, options, problem_of, report, trained


def main() -> None:
    """Trains what is missing, and measures."""
    arguments = options(__doc__, "features").parse_args()
    learnt, sdm = RECIPES["mdm"], RECIPES["sdm"]
    recipes: dict[str, Recipe] = {
        name: replace(learnt, observation=eyes, observation_options=sdm.observation_options)
        for name, eyes in (("HOG", DenseHOG), ("SIFT", DenseSIFT))
    }
    problem = problem_of(arguments)
    models = trained(problem, {**recipes, "learnt": learnt}, arguments)
    report(problem, measured(models, problem), arguments, "features")


if __name__ == "__main__":
    command(main)
