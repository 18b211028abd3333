"""What memory and joint training are worth, on identical features, data and starts: ``python -m
benchmarks.paper.ablation``.

All families see SIFT at their landmarks. ``sdm`` is stage-wise, ``joint`` is trained through all
its steps from random weights, ``sdm, joint`` goes on jointly from the stage-wise cascade; ``mdm
without memory`` shares one step without a state, ``mdm`` has both. Writes ``ablation.json`` and its
figures.
"""

from __future__ import annotations

from dataclasses import replace

from learned_descent.faces.recipes import RECIPES

from .. import command
from ._common import measured, options, problem_of, report, trained


def main() -> None:
    """Trains what is missing, and measures."""
    arguments = options(__doc__, "ablation").parse_args()
    sdm, joint, learnt = (RECIPES[name] for name in ("sdm", "joint", "mdm"))
    mdm = replace(learnt, observation=sdm.observation, observation_options=sdm.observation_options)
    recipes = {
        "sdm": sdm,
        "joint": replace(joint, trainers=mdm.trainers),
        "sdm, joint": joint,
        "mdm without memory": replace(mdm, options={**mdm.options, "memory": False}),
        "mdm": mdm,
    }
    problem = problem_of(arguments)
    report(problem, measured(trained(problem, recipes, arguments), problem), arguments, "ablation")


if __name__ == "__main__":
    command(main)
