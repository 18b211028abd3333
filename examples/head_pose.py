"""The pose of a head from its 68 landmarks, a fifth of them wrong: python -m examples.head_pose"""

import torch
from torch import Generator

from learned_descent import Cascade, SequentialRidge
from learned_descent.faces.rendering.head import Head
from learned_descent.faces.rendering.zbuffer import angles as yaw_pitch_roll
from learned_descent.faces.rendering.zbuffer import rotation
from learned_descent.faces.synthetic import SyntheticFaces
from learned_descent.problems import Pose
from learned_descent.solvers import LevenbergMarquardt, Polished

WRONG = 0.2
# Z of a head points to the camera, that of the camera away from it
FLIP = torch.tensor([1.0, 1.0, -1.0])


def mean_head():
    """The landmarks of the mean head about their centre, in mm, along the axes of the camera: (68,
    3)."""
    head = Head(32)
    landmarks = FLIP * head.template[: head.num_landmarks]
    return landmarks - landmarks.mean(0)


def pose_of_heads(**settings):
    """The problem: people differ from the mean head, and their landmarks are not exact."""
    return Pose(
        points=mean_head().tolist(), outliers=WRONG, noise=0.012, **{"robust": 0.03, **settings}
    )


def learned(problem):
    """Learned descent, and then a few steps of Levenberg-Marquardt."""
    model = Cascade.for_problem(problem, num_steps=6)
    SequentialRidge(batch_size=256).fit(model, problem.data("train"), problem.data("val"))
    return Polished(model, LevenbergMarquardt(problem, num_steps=4))


def measured(problem, faces, seed=0):
    """Faces as the problem wants them: some of the landmarks anywhere in the picture, and the true
    poses.

    The camera is not known. Any focal length will do that shows a head of average size as large as
    it is at the start.
    """
    points, side = faces["points"], faces["image"].shape[-1]
    draw = torch.rand(*points.shape[:2], 3, generator=Generator().manual_seed(seed))
    wrong = draw[..., 2].argsort(1) < round(WRONG * points.shape[1])
    found = torch.where(wrong.unsqueeze(2), side * draw[..., :2], points)
    start = problem.initial({"projections": points})
    focal = points.sub(points.mean(1, keepdim=True)).std() / problem.project(start, {}).std()
    turn = FLIP.unsqueeze(1) * rotation(faces["pose"]) * FLIP
    return {
        "projections": (found - side / 2) / focal,
        "pose": torch.cat([turn.flatten(1), start[:, 9:]], 1),
    }


def angles(x):
    """Yaw, pitch and roll of the head in degrees, (B, 3)."""
    return yaw_pitch_roll(FLIP.unsqueeze(1) * x[:, :9].unflatten(1, (3, 3)) * FLIP).rad2deg()


def main(count=256, num_train=4096):
    """Prints the median errors of yaw, pitch and roll by method, and returns them, in degrees."""
    problem, plain = pose_of_heads(num_train=num_train), pose_of_heads(robust=0.0)
    batch = measured(problem, SyntheticFaces(count=1, test_count=count).data("test"))
    answers = {"frontal": problem.initial(batch)}
    for name, method in {
        "learned, then 4 steps of robust LM": learned(problem),
        "40 steps of robust LM": LevenbergMarquardt(problem, num_steps=40),
        "40 steps of plain LM": LevenbergMarquardt(plain, num_steps=40),
    }.items():
        with torch.no_grad():
            answers[name] = method(batch).final
    truth = angles(batch["pose"])
    errors = {
        name: (angles(x) - truth).abs().median(0).values.tolist() for name, x in answers.items()
    }
    print(f"{'median error (deg)':36s}    yaw  pitch   roll")
    for name, values in errors.items():
        print(f"{name:36s}" + "".join(f"{value:7.1f}" for value in values))
    return errors


if __name__ == "__main__":
    main()
