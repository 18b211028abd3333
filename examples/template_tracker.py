"""A template tracker: a warp that is learnt in seconds follows the astronaut's face where
Lucas-Kanade loses it.

``python examples/template_tracker.py``
"""

import torch

from learned_descent import Cascade, SequentialRidge
from learned_descent.problems.photometric.problems import FixedTemplate
from learned_descent.solvers import GaussNewton, LevenbergMarquardt, Polished


def motion(problem, num_frames):
    """Smooth moves of the four corners, in half sides: a swing, a turn and a tilt, each with a
    period of its own."""
    phase = torch.arange(num_frames)[:, None, None] * torch.tensor([0.6, 0.48])
    corners = problem.warps.controls.float()
    return (
        0.45 * phase.sin()
        + 0.25 * phase.flip(2).sin() * corners.flip(1)
        + 0.1 * phase.cos() * corners.prod(1, keepdim=True)
    )


def track(model, images):
    """The warp in every frame, found from that of the frame before: (frames, 9)."""
    x, found = model.problem.centred.float().flatten(1), []
    with torch.inference_mode():
        for image in images:
            x = model({"image": image[None], "start": x}).final
            found.append(x)
    return torch.cat(found)


def main(num_frames=60, num_train=768):
    """Trains, tracks, and returns the error in every frame in px by the name of the tracker."""
    problem = FixedTemplate(
        "astronaut", (175, 70, 270, 165), spread=0.25, num_train=num_train, inverse=True
    )
    frames = problem.simulate(motion(problem, num_frames), torch.Generator().manual_seed(0))
    learned = Cascade.for_problem(problem, num_steps=4)
    SequentialRidge(repeats=4, ridge=0.1, batch_size=256).fit(learned, problem.data("train"))
    trackers = {
        "Lucas-Kanade, 15 steps": GaussNewton(problem, num_steps=15),
        "learned, 4 + 4 steps": Polished(learned, LevenbergMarquardt(problem, num_steps=4)),
    }
    return {
        name: problem.error(track(model, frames["image"]), frames)
        for name, model in trackers.items()
    }


if __name__ == "__main__":
    for name, errors in main().items():
        print(
            f"{name}: {(errors < 1).sum()} of {len(errors)} frames within 1 px, the last one "
            f"within {errors[-1]:.2f} px"
        )
