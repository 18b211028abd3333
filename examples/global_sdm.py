"""Global SDM (Xiong and De la Torre, CVPR 2015): a linear map for each domain, told by two signs of
the features."""

from dataclasses import dataclass

import torch

from learned_descent import DescentModel, History, Recipe, Trainer
from learned_descent.data.batches import batches
from learned_descent.look import eyes_of, probe


class GlobalSDM(DescentModel):
    def __init__(self, problem, observation, sizes: tuple[int, int], *, num_steps: int):
        super().__init__(problem, observation, num_steps)
        self.register_buffer("centres", torch.zeros(num_steps, sizes[0]))
        self.register_buffer("directions", torch.zeros(num_steps, sizes[0], 2))
        self.maps = torch.nn.Parameter(torch.zeros(num_steps, 4, sizes[0] + 1, sizes[1]))

    @classmethod
    def for_problem(cls, problem, *, observation=None, num_steps: int = 10):
        eyes = observation or eyes_of(problem)
        return cls(problem, eyes, probe(problem, eyes), num_steps=num_steps)

    def init_state(self, x):
        return None

    def step(self, k, features, state):
        rows, domains = self.placed(k, features)
        return torch.einsum("bf,bfd->bd", rows, self.maps[k][domains]), None

    def placed(self, k, features):
        signs = ((features - self.centres[k]) @ self.directions[k] > 0).long()
        return torch.nn.functional.pad(features, (0, 1), value=1.0), signs[:, 0] + 2 * signs[:, 1]

    def settings(self):
        return super().settings() | {"sizes": [self.maps.shape[2] - 1, self.maps.shape[3]]}


@dataclass(frozen=True)
class FitPerDomain(Trainer):
    closed_form = True
    rtol: float = 1e-4

    @torch.no_grad()
    def fit(self, model, train, val=None, *, seed=0):
        problem, eyes, generator = (
            model.eval().problem,
            model.observation,
            torch.Generator().manual_seed(seed),
        )
        for k in range(model.num_steps):
            starts = [
                (batch, model(batch, num_steps=k, generator=generator).final)
                for batch in [*batches(train, 256)] * 4
            ]
            seen = torch.cat([eyes.observe(k, x, eyes.prepare(batch)) for batch, x in starts])
            left = torch.cat([problem.local(x, problem.target(batch)) for batch, x in starts])
            axes = torch.linalg.svd(seen - seen.mean(0), full_matrices=False).Vh[:2]
            model.centres[k], model.directions[k] = seen.mean(0), axes.mT
            rows, domains = model.placed(k, seen)
            for part in range(4):
                own = rows.mT * (domains == part)
                model.maps[k, part] = torch.linalg.pinv(own @ rows, rtol=self.rtol) @ own @ left
        return History()


GLOBAL = Recipe(GlobalSDM, trainers={"domains": FitPerDomain()})
