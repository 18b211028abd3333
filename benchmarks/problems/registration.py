"""Registration of scans with outliers and missing parts to a known model, against the iterative
closest point.

``python -m benchmarks.problems.registration [--data ../shared/nlls]``: the Stanford bunny where it
is, and else the blob that the library makes itself; 512 scans, turned by 30, 60, 90 and 120
degrees, then others with more outliers and less of the model.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn.functional import normalize

from learned_descent import DescentModel, evaluate
from learned_descent.data.samples import Batch
from learned_descent.files import write_json
from learned_descent.problems.registration.problem import ANGLES, Registration
from learned_descent.provenance import provenance
from learned_descent.solvers import External, GaussNewton, LevenbergMarquardt, Polished
from learned_descent.system.text import lay_out

from .. import command
from ._common import options, run, trained
from ._restarts import restarted

STEPS, FEW = 30, 20
"""Steps of the iterative closest point alone, and of its polish."""

WIDE = 10.0
"""A reach that leaves no point without a correspondence."""


HARMS = (
    ("outliers", "points that lie anywhere (%)", (0.0, 0.2, 0.4, 0.6)),
    ("kept", "of the surface that is seen (%)", (1.0, 0.7, 0.5, 0.3)),
)
"""Settings of the problem, what they are, and their amounts; 20 % and 70 % are those of the
training."""


def turned(problem: Registration) -> Any:
    """Draws starts that are turned from the given one about any axis, by at most the largest angle
    of the test."""

    def draw(x0: Tensor, batch: Batch, generator: Generator) -> Tensor:
        axis = normalize(torch.randn(len(x0), 3, generator=generator), dim=1)
        angle = torch.tensor(ANGLES[-1]).deg2rad() * torch.rand(len(x0), 1, generator=generator)
        return problem.retract(x0, torch.cat([axis * angle, torch.zeros_like(axis)], 1))

    return draw


def open3d_icp(problem: Registration, o3d: Any) -> External:
    """open3d's point-to-plane ICP with Tukey's kernel, on all points of the surface."""
    icp = o3d.pipelines.registration
    model = _cloud(o3d, problem.surface.points)
    model.normals = o3d.utility.Vector3dVector(problem.surface.normals.double().numpy())
    estimate = icp.TransformationEstimationPointToPlane(icp.TukeyLoss(k=problem.robust))
    criteria = icp.ICPConvergenceCriteria(max_iteration=STEPS)

    def solve(x0: Tensor, batch: Batch) -> Tensor:
        reached = []
        for x, scan, valid in zip(x0.double(), batch["scan"], batch["valid"]):
            start = torch.eye(4, dtype=torch.float64)
            start[:3, :3], start[:3, 3] = x[:9].unflatten(0, (3, 3)), x[9:]
            source = _cloud(o3d, scan[valid])
            found = icp.registration_icp(
                source, model, problem.reach, start.numpy(), estimate, criteria
            )
            motion = torch.tensor(found.transformation)
            reached.append(torch.cat([motion[:3, :3].flatten(), motion[:3, 3]]))
        return torch.stack(reached)

    return External(problem, solve)


def _cloud(o3d: Any, points: Tensor) -> Any:
    return o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points.double().numpy()))


def harmed(
    problem: Registration, methods: Mapping[str, DescentModel], arguments: Namespace
) -> None:
    """How many scans each method lays onto the model as more points lie anywhere, and as more of
    the surface is missing.

    All methods are as they were: nothing is trained for the scans of here. All angles are there in
    equal parts.
    """
    written = {}
    for name, title, amounts in HARMS:
        shares: dict[str, list[float]] = {method: [] for method in methods}
        for amount in amounts:
            settings = {
                **problem.settings(),
                name: amount,
                "num_test": 256,
                "seed": problem.seed + 1,
            }
            samples = Registration(**settings).data("test")
            for method, model in methods.items():
                error = evaluate(model, samples, batch_size=64).error()
                shares[method].append(
                    round(100 * float((error <= problem.failure_above).double().mean()), 1)
                )
        rows = [title, *(f"{100 * amount:.0f}" for amount in amounts)]
        columns = [
            [method, *(f"{share:.0f}" for share in values)] for method, values in shares.items()
        ]
        print(f"\n{lay_out([[rows], columns], ['', '% solved'])}")
        written[name] = {"amounts": amounts, "solved_percent": shares}
    print("\n% of 256 scans, at all four angles, that end with an error of at most 5 degrees")
    write_json(
        arguments.out / "registration-harm.json", {**provenance(arguments.seed, None), **written}
    )


def main(arguments: Namespace) -> None:
    """Prints the tables."""
    bunny = arguments.data / "points" / "bunny.npz"
    if not bunny.exists():
        print(f"{bunny} is not there: the blob takes its place")
    problem = Registration(str(bunny) if bunny.exists() else None)
    plain = Registration(problem.model_file, metric="point", robust=0.0, reach=WIDE)
    methods: dict[str, DescentModel] = trained(problem, ["sdm", "mdm"], seed=arguments.seed)
    polish, icp = GaussNewton(problem, num_steps=FEW), GaussNewton(problem, num_steps=STEPS)
    methods |= {f"{name}+icp{FEW}": Polished(methods[name], polish) for name in ("sdm", "mdm")}
    methods |= {
        f"icp{STEPS}": icp,
        f"lm{STEPS}": LevenbergMarquardt(problem, num_steps=STEPS),
        "icp, 10 starts": restarted(icp, 10, turned(problem)),
        "plain icp": GaussNewton(plain, num_steps=STEPS),
    }
    left_out = {}
    try:
        import open3d
    except ImportError as error:
        left_out["open3d"] = f"{error}: pip install open3d-cpu"
    else:
        methods["open3d"] = open3d_icp(problem, open3d)
    run(
        problem,
        methods,
        title="registration",
        out=arguments.out,
        level="turned by (deg)",
        rounds=arguments.rounds,
        seed=arguments.seed,
        left_out=left_out,
    )
    compared = [f"sdm+icp{FEW}", f"mdm+icp{FEW}", f"icp{STEPS}", "open3d"]
    harmed(problem, {name: methods[name] for name in compared if name in methods}, arguments)


if __name__ == "__main__":
    command(lambda: main(options(__doc__, data=True)))
